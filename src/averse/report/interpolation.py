"""Figures of policies between two others: every figure against alpha, and the front of tail against mean."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from averse.errors import AverseError
from averse.report.plots import arms
from averse.report.style import (
    BLUE,
    FAINT,
    INK,
    MARKERS,
    ORANGE,
    PALETTE,
    WIDTH,
    check_figure,
    check_suffix,
    check_texts,
    legend_above,
    panels,
    percent,
    save,
)
from averse.statistics import Estimate

Metrics = Mapping[str, Estimate]


def plot_against_alpha(
    points: Mapping[float, Metrics],
    references: Mapping[str, Metrics],
    ends: tuple[str, str],
    metrics: Mapping[str, str],
    path: str | os.PathLike,
    title: str = "",
) -> None:
    """Some figures against alpha, with their 95 % bands, the chord between the ends, and references as levels.

    Args:
      points: alpha -> figures by name; 0 and 1 among them.
      references: name -> figures of other policies.
      ends: names of the policies at alpha 0 and 1.
      metrics: names of the figures to show -> what they are called.

    Raises AverseError for points without both ends, for no metric, and for a path that is no figure's.
    """
    check_figure("metrics", str, "names of figures", metrics, path, title=title)
    alphas = _alphas(points)
    figure, axes = panels(len(metrics), 1, (WIDTH, 0.6 + 1.9 * len(metrics)), title, sharex=True)
    for (ax,), (name, words) in zip(axes, metrics.items()):
        values = [points[alpha][name] for alpha in alphas]
        middle = np.array([value.value for value in values])
        low, high = (np.array([getattr(value, side) for value in values]) for side in ("low", "high"))
        ax.fill_between(alphas, low, high, color=BLUE, alpha=0.18, linewidth=0)
        ax.plot(alphas, middle, "o-", color=BLUE, markersize=4, linewidth=1.8, label="mixture")
        ax.plot([0, 1], [middle[0], middle[-1]], color=INK, linewidth=1.2, linestyle="--", label="chord")
        for k, (label, found) in enumerate(references.items()):
            color = PALETTE[1 + k % (len(PALETTE) - 1)]
            ax.axhline(found[name].value, color=color, linewidth=1.1, linestyle=":", label=label)
        ax.set_ylabel(words)
        if name.endswith("_rate"):
            ax.yaxis.set_major_formatter(percent)
    legend_above(axes[0, 0])
    axes[-1, 0].set(xlim=(-0.02, 1.02), xlabel=f"alpha (0 is {ends[0]}, 1 is {ends[1]})")
    save(figure, path)


def plot_front(
    points: Mapping[float, Metrics],
    references: Mapping[str, Metrics],
    ends: tuple[str, str],
    path: str | os.PathLike,
    title: str = "",
) -> None:
    """The worst 5 % of the returns against their mean: the way of the mixtures from one end to the other, references.

    Arguments as of `plot_against_alpha`; raises AverseError as it does.
    """
    check_suffix(path)
    check_texts(title=title)
    alphas = _alphas(points)
    figure, ((ax,),) = panels(size=(WIDTH, 4.4), title=title)
    way = np.array([[points[alpha][name].value for name in ("return", "worst_5")] for alpha in alphas])
    ax.plot(*way[[0, -1]].T, color=INK, linewidth=1.2, linestyle="--", label="chord", zorder=1)
    ax.plot(*way.T, "o-", color=BLUE, markersize=4, linewidth=1.6, label="mixtures", zorder=2)
    crosses = {ends[0]: points[0.0], ends[1]: points[1.0], **references}
    for k, (label, found) in enumerate(crosses.items()):
        color = (BLUE, ORANGE)[k] if k < 2 else (PALETTE[2 + (k - 2) % (len(PALETTE) - 2)])
        across, up = found["return"], found["worst_5"]
        ax.errorbar(across.value, up.value, xerr=arms(across), yerr=arms(up), color=color, linestyle="none",
                    marker=MARKERS[k % len(MARKERS)], markersize=8, elinewidth=1.2, markeredgecolor="white",
                    label=label, zorder=3)  # fmt: skip
    for alpha, (x, y) in zip(alphas, way):
        if 0 < alpha < 1:
            ax.annotate(f"{alpha:g}", (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7, color=FAINT)
    ax.set(xlabel="mean return", ylabel="mean of the worst 5% of returns")
    ax.margins(0.1)
    legend_above(ax)
    save(figure, path)


def _alphas(points: Mapping[float, Metrics]) -> Sequence[float]:
    alphas = sorted(points)
    if alphas[:1] != [0.0] or alphas[-1:] != [1.0]:
        raise AverseError(f"points must hold the ends 0 and 1, not only {alphas}")
    return alphas
