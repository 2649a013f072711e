"""`car-following`: both cars on the road to the target, their speeds, and where one of them crashed."""

from typing import Any

from PIL import Image

from averse.environments.car_following import ROUNDING, SECONDS_PER_STEP
from averse.evaluation.recording import RecordedEpisode
from averse.report.canvas import BLUE, FAINT, GREEN, GRID, INK, ORANGE, RED, WASH, Canvas
from averse.report.film import Drawing

WIDTH, HEIGHT = 480, 200  # px
FLASH = 8  # steps for which a crash is seen
_LANES, _CAR = (92, 60), (15, 7)  # px: the heights of both lanes; half a car's length and width


def frame(episode: RecordedEpisode, index: int) -> Image.Image:
    """The road after `index` steps. A bar above each car's name is its speed, red above the safe one."""
    environment: Any = episode.environment
    state, canvas = episode.state(index), Canvas(WIDTH, HEIGHT)
    metre = (WIDTH - 60) / (2 * environment.target)

    def at(position: float) -> float:
        return 30 + metre * position

    canvas.box(at(0) - 20, 44, at(2 * environment.target) + 20, 108, WASH)
    canvas.line([(at(0) - 20, 76), (at(2 * environment.target) + 20, 76)], GRID, 2)
    canvas.line([(at(environment.target), 38), (at(environment.target), 114)], GREEN, 3)
    canvas.text(at(environment.target), 30, "target", 11, GREEN)
    for tick in range(int(2 * environment.target) + 1):
        canvas.text(at(tick), 14, f"{tick} m", 10, FAINT)
    crashing = _crashed_lately(episode, index)
    for car, (height, color) in enumerate(zip(_LANES, (BLUE, ORANGE))):
        x, speed = at(float(state.position[car])), float(state.speed[car])
        canvas.box(x - _CAR[0], height - _CAR[1], x + _CAR[0], height + _CAR[1], color)
        canvas.text(x, height, str(car + 1), 11, WASH, bold=True)
        _draw_speed(canvas, 14 + car * 235, speed, environment, f"car {car + 1}", color)
    if crashing:
        canvas.text(WIDTH / 2, 124, "crash", 14, RED, bold=True)
    words = f"{index * SECONDS_PER_STEP:.1f} s    {int(state.crashes)} crashes    {int(state.arrived.sum())} arrived"
    canvas.text(WIDTH / 2, 188, words, 12, INK)
    return canvas.image()


def _crashed_lately(episode: RecordedEpisode, index: int) -> bool:
    before = episode.state(max(0, index - FLASH)).crashes
    return bool(episode.state(index).crashes > before)


def _draw_speed(canvas: Canvas, left: float, speed: float, environment: Any, name: str, color: Any) -> None:
    """A bar as long as the speed, on a scale to the cap, with a mark at the safe speed."""
    long, fast = 120.0, abs(speed) > environment.safe_speed + ROUNDING
    canvas.text(left, 155, name, 11, color, "lm", bold=True)
    canvas.box(left + 42, 149, left + 42 + long, 161, GRID)
    canvas.box(
        left + 42, 149, left + 42 + long * min(1.0, abs(speed) / environment.speed_cap), 161, RED if fast else color
    )
    safe = left + 42 + long * min(1.0, environment.safe_speed / environment.speed_cap)
    canvas.line([(safe, 145), (safe, 165)], INK, 1.5)
    canvas.text(left + 48 + long, 155, f"{speed:.2f} m/s", 11, RED if fast else INK, "lm")


DRAWING = Drawing(frame, SECONDS_PER_STEP)
"""Real time."""
