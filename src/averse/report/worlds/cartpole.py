"""`risky-cartpole`: the cart on its track, the pole, the push, and the cone in which the pole must stay."""

import math
from typing import Any

from PIL import Image

from averse.environments.protocol import Box
from averse.environments.risky_cartpole import ANGLE_LIMIT, POLE_HALF_LENGTH, SECONDS_PER_STEP, TRACK
from averse.evaluation.recording import RecordedEpisode
from averse.report.canvas import BLUE, FAINT, GRID, INK, ORANGE, PAPER, RED, WASH, YELLOW, Canvas
from averse.report.film import Drawing

WIDTH, HEIGHT = 480, 210  # px
_VIEW = (-2.8, 2.8, -0.6, 1.85)  # m, of the same scale both ways
_CART = (0.25, 0.25)  # half its width, its height, m


def frame(episode: RecordedEpisode, index: int) -> Image.Image:
    """The cart after `index` steps; red where it has failed."""
    x, _, angle, _ = episode.state(index).physics.tolist()
    failed = episode.told(index).get("failure", 0.0) > 0
    canvas, top = Canvas(WIDTH, HEIGHT, _VIEW, WASH), _CART[1]
    _draw_track(canvas, episode.environment)
    for limit in (-ANGLE_LIMIT, ANGLE_LIMIT):
        canvas.line([(x, top), _tip(x, limit)], GRID, 1.5)
    canvas.box(x - _CART[0], 0.0, x + _CART[0], top, RED if failed else BLUE)
    for wheel in (-0.13, 0.13):
        canvas.disc(x + wheel, 0.0, 4, INK)
    canvas.line([(x, top), _tip(x, angle)], RED if failed else ORANGE, 7)
    canvas.disc(x, top, 4, INK)
    if index:
        _draw_push(canvas, x, _push(episode, index))
    canvas.text(-2.3, 1.7, f"{index * SECONDS_PER_STEP:.1f} s", 13, INK, "lm")
    canvas.text(2.3, 1.7, f"{math.degrees(angle):+.1f}°, {x:+.2f} m", 13, RED if failed else FAINT, "rm", failed)
    return canvas.image()


def _draw_track(canvas: Canvas, environment: Any) -> None:
    """The track, its ends in red, and with `corridor` the way to where the reward is."""
    if environment.corridor:
        canvas.polygon([(0.0, -0.14), (TRACK, -0.14), (TRACK, -0.34)], YELLOW)
        canvas.text(TRACK, -0.46, "reward", 11, INK, "rm")
    for side in (-1, 1):
        canvas.box(side * TRACK, -0.6, side * 2.8, 1.85, PAPER)
        canvas.line([(side * TRACK, -0.3), (side * TRACK, 1.85)], RED, 2)
    canvas.line([(-TRACK, -0.05), (TRACK, -0.05)], INK, 2)


def _tip(x: float, angle: float) -> tuple[float, float]:
    """The upper end of a pole on the cart at x that leans by an angle."""
    length = 2 * POLE_HALF_LENGTH
    return x + length * math.sin(angle), _CART[1] + length * math.cos(angle)


def _push(episode: RecordedEpisode, index: int) -> float:
    """The force of the last action, shares of the largest."""
    action = float(episode.actions[index - 1].ravel()[0])
    space: Any = episode.environment.action_space
    return max(-1.0, min(1.0, action)) if isinstance(space, Box) else 2.0 * action - 1.0


def _draw_push(canvas: Canvas, x: float, force: float) -> None:
    if abs(force) < 0.02:
        return
    side = math.copysign(1.0, force)
    start = x + side * (_CART[0] + 0.05)
    end = start + 0.3 * force
    canvas.line([(start, 0.12), (end, 0.12)], INK, 2)
    canvas.polygon([(end, 0.2), (end, 0.04), (end + side * 0.1, 0.12)], INK)


DRAWING = Drawing(frame, SECONDS_PER_STEP)
"""Real time."""
