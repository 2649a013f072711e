"""Results as figures and animations; nothing here computes a new figure. `averse.report.style` says how they look."""

from averse.report.animation import animate
from averse.report.games import draw_map, draw_people, draw_regret
from averse.report.plots import plot_calibration, plot_cvar_curves, plot_learning_curves, plot_returns, plot_tradeoff

__all__ = [
    "animate",
    "draw_map",
    "draw_people",
    "draw_regret",
    "plot_calibration",
    "plot_cvar_curves",
    "plot_learning_curves",
    "plot_returns",
    "plot_tradeoff",
]


def __dir__() -> list[str]:
    return __all__
