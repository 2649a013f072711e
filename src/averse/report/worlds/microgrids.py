"""`microgrids`: curves over the days, of the power sold, the batteries, and the wind and load behind both."""

from typing import Any

import numpy as np
from PIL import Image

from averse.evaluation.recording import RecordedEpisode
from averse.report.canvas import BLUE, COLORS, FAINT, GREEN, GRID, INK, ORANGE, PINK, RED, SKY, YELLOW, Canvas
from averse.report.film import Drawing

WIDTH, HEIGHT = 480, 400  # px
HOURS = 24  # of a day
_LEFT, _RIGHT, _PANELS = 52, 470, ((268, 372), (152, 236), (30, 120))  # px: of the axes, and their lower and upper ends
_ONES = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY)


def frame(episode: RecordedEpisode, index: int) -> Image.Image:
    """The curves up to `index` hours, on axes for the whole episode."""
    canvas, hours = Canvas(WIDTH, HEIGHT), len(episode)
    environment: Any = episode.environment
    sold = np.asarray(episode.rewards, float).mean(-1)
    low, high = environment.reward_bounds
    power, level, supply = (_Axes(canvas, bottom, top, hours) for bottom, top in _PANELS)
    power.draw(min(low, 0.0), high, "power sold, MW (in black its mean so far)")
    power.curve(np.arange(1, index + 1), sold[:index], SKY, 1.4)
    so_far = np.cumsum(sold[:index]) / np.arange(1, index + 1)
    power.curve(np.arange(1, index + 1), so_far, INK, 2)
    level.draw(0, max(1, environment.battery_levels - 1), "batteries, level")
    for i, series in enumerate(np.asarray(episode.states.battery[: index + 1]).T):
        level.curve(np.arange(index + 1), series, _ONES[i % len(_ONES)], 1.4)
    wind, load = _supply(episode)
    supply.draw(0, max(wind.max(), load.max(), 1e-6), "wind (green) and load (red) of all, MW")
    supply.curve(np.arange(index + 1), wind[: index + 1], GREEN, 1.4)
    supply.curve(np.arange(index + 1), load[: index + 1], RED, 1.4)
    canvas.text(_RIGHT, 388, f"day {index // HOURS + 1}, hour {index % HOURS}", 12, INK, "rm")
    canvas.text((_LEFT + _RIGHT) / 2, 8, "day", 11, FAINT)
    return canvas.image()


class _Axes:
    """One panel: hours to the right, with a line at each day that has room for its number."""

    def __init__(self, canvas: Canvas, bottom: float, top: float, hours: int):
        self.canvas, self.bottom, self.top, self.hours = canvas, bottom, top, hours

    def draw(self, low: float, high: float, words: str) -> None:
        """The scale and the words above it."""
        self.low, self.high, canvas = low, high, self.canvas
        days = -(-self.hours // HOURS)
        every = max(1, -(-days // 14))
        for day in range(0, days, every):
            x = self._x(day * HOURS)
            canvas.line([(x, self.bottom), (x, self.top)], GRID, 1)
            if self.bottom == _PANELS[-1][0]:
                canvas.text(x, self.bottom - 10, str(day + 1), 10, FAINT)
        for value in (low, high):
            canvas.text(_LEFT - 6, self._y(value), f"{value:.3g}", 10, FAINT, "rm")
        zero = min(max(0.0, low), high)
        canvas.line([(_LEFT, self._y(zero)), (_RIGHT, self._y(zero))], FAINT, 1)
        canvas.text(_LEFT, self.top + 10, words, 11, INK, "lm")

    def curve(self, hours: Any, values: Any, color: Any, width: float) -> None:
        """Values at some hours; nothing where there are fewer than two."""
        if len(hours) > 1:
            points = [(self._x(h), self._y(v)) for h, v in zip(hours.tolist(), np.asarray(values, float).tolist())]
            self.canvas.line(points, color, width)

    def _x(self, hour: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * hour / max(1, self.hours)

    def _y(self, value: float) -> float:
        return self.bottom + (self.top - self.bottom) * (value - self.low) / (self.high - self.low)


def _supply(episode: RecordedEpisode) -> tuple[np.ndarray, np.ndarray]:
    """Wind and load of all microgrids at each hour, MW, [T + 1]."""
    environment: Any = episode.environment
    totals = np.zeros((2, len(episode) + 1))
    for i, model in enumerate(environment.local_models()):
        for total, chain, levels in (
            (totals[0], model.wind, episode.states.wind),
            (totals[1], model.load, episode.states.load),
        ):
            total += np.asarray(chain.power, float)[np.asarray(levels)[:, i]]
    return totals[0], totals[1]


DRAWING = Drawing(frame, 0.04, COLORS)
"""A day a second."""
