"""`corridor`: the steps in a row, which of them were risky, and what they paid."""

from typing import Any

from PIL import Image

from averse.environments.corridor import RISKY
from averse.evaluation.recording import RecordedEpisode
from averse.report.canvas import BLUE, FAINT, GREEN, GRID, INK, PAPER, RED, YELLOW, Canvas
from averse.report.film import Drawing

WIDTH, HEIGHT = 480, 140  # px
SHOWN = 12  # steps that fit in side by side


def frame(episode: RecordedEpisode, index: int) -> Image.Image:
    """The corridor after `index` steps: green was safe, yellow risky and well, red risky and badly."""
    environment: Any = episode.environment
    count = min(SHOWN, environment.length)
    first = max(0, min(index - count // 2, environment.length - count))  # of the steps that are shown
    canvas, wide = Canvas(WIDTH, HEIGHT), (WIDTH - 20) / count
    for k in range(count):
        step, left = first + k, 10 + k * wide
        done = step < index
        color = _color(episode, step) if done else PAPER
        canvas.box(left + 2, 50, left + wide - 2, 100, color, None if done else GRID)
        if done:
            words = f"{float(episode.rewards[step, 0]):+.3g}"
            canvas.text(left + wide / 2, 75, words, 12, INK if color == YELLOW else PAPER, bold=True)
        canvas.text(left + wide / 2, 38, str(step + 1), 10, FAINT)
        if step == index or (step == index - 1 and index == environment.length):
            canvas.disc(left + wide / 2, 114, 7, BLUE)
    for k, (color, words) in enumerate(((GREEN, "safe"), (YELLOW, "risky"), (RED, "risky, and bad"))):
        canvas.box(12 + 80 * k, 8, 24 + 80 * k, 20, color)
        canvas.text(30 + 80 * k, 14, words, 11, INK, "lm")
    return canvas.image()


def _color(episode: RecordedEpisode, step: int) -> tuple[int, int, int]:
    environment: Any = episode.environment
    if int(episode.actions[step, 0]) != RISKY:
        return GREEN
    reward = float(episode.rewards[step, 0])
    bad = abs(reward - environment.bad_reward) < abs(reward - environment.good_reward)
    return RED if bad else YELLOW


DRAWING = Drawing(frame, 0.4)
