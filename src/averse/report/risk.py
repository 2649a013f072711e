"""The distribution of some numbers, its tail, and what measures of risk say of it."""

import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from averse.report.distributions import tail_cut
from averse.report.style import BLUE, WIDTH, check_figure, legend_above, line_styles, panels, percent, save
from averse.settings import Share, check_value
from averse.statistics import Estimate, sample


def plot_risk(
    values: ArrayLike,
    measures: Mapping[str, Estimate],
    path: str | os.PathLike,
    *,
    tail: float = 0.05,
    title: str = "",
    xlabel: str = "value",
) -> None:
    """The histogram of values [n], the worst share of them filled darker, and a line with its interval per measure.

    Args:
      measures: what measures say of the values, by name.
      tail: the share that is filled, in (0, 1].

    Raises AverseError for values that are no sample, no measures, a share out of range and another suffix.
    """
    check_figure("measures", Estimate, "measures", measures, path, title=title, xlabel=xlabel)
    ascending, tail = np.sort(sample(values, "values")), check_value("tail", Share, tail)
    figure, ((axes,),) = panels(size=(WIDTH, 3.4 + 0.2 * len(measures)), title=title)
    edges = _edges(ascending)
    height = np.histogram(ascending, edges)[0] / ascending.size
    grid, steps, threshold = tail_cut(ascending, edges, tail)
    for part, alpha, label in ((grid <= threshold, 0.6, f"worst {percent(tail)}"), (grid >= threshold, 0.12, None)):
        axes.fill_between(grid[part], steps[part], step="post", color=BLUE, alpha=alpha, linewidth=0, label=label)
    axes.stairs(height, edges, color=BLUE, linewidth=1.2)
    for (name, style), estimate in zip(line_styles(["", *measures]).items(), [None, *measures.values()]):
        if estimate is None:  # the histogram has the first colour
            continue
        axes.axvline(estimate.value, linewidth=1.6, label=f"{name}: {estimate}, interval at 95 %", **style)
        if estimate.has_interval:
            axes.axvspan(estimate.low, estimate.high, color=style["color"], alpha=0.15, linewidth=0)
    axes.set(ylabel="share per bin", xlabel=xlabel, ylim=(0, None))
    axes.yaxis.set_major_formatter(percent)
    legend_above(axes)
    save(figure, path)


def _edges(ascending: np.ndarray) -> np.ndarray:
    """Bins of equal width over all values: as many as the square root of their number, 10 to 60."""
    low, high = float(ascending[0]), float(ascending[-1])
    if low == high:
        half = max(abs(low) * 0.05, 0.5)
        low, high = low - half, high + half
    return np.linspace(low, high, int(np.clip(np.sqrt(ascending.size), 10, 60)) + 1)
