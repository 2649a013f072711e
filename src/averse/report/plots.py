"""Figures of evaluations and training.

Every function takes a mapping name -> data and a path whose suffix (.png, .svg, .pdf) is the format; the order of the
mapping is the order of colours and of the legend. All raise AverseError where there is nothing to plot and for other
suffixes.
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike

from averse.arguments import numbers
from averse.errors import AverseError, shown, unknown_name
from averse.evaluation.calibration import Calibration
from averse.evaluation.episodes import Episodes
from averse.evaluation.summary import Summary
from averse.report.distributions import TAIL, common_bins, tail_cut
from averse.report.style import (
    FAINT,
    INK,
    MARKERS,
    WIDTH,
    check_figure,
    legend_above,
    line_styles,
    panels,
    percent,
    plain_logarithm,
    save,
    thousands,
)
from averse.settings import Number, check_value
from averse.statistics import (
    Estimate,
    bootstrap_interval,
    cvar_curve_intervals,
    interquartile_mean,
    mean,
    sample,
    stratified_bootstrap_interval,
    worst,
)

Returns = Episodes | ArrayLike | Sequence[ArrayLike]  # episodes, returns [n], or one array of returns per training seed


def plot_returns(
    returns: Mapping[str, Returns], path: str | os.PathLike, title: str = "", xlabel: str = "episode return"
) -> None:
    """Return distributions over common bins, their worst 5% filled and averaged, above the tails on a log scale.

    Upper panel: fraction of episodes per bin; darker is each policy's worst 5%, the triangle its mean (CVaR).
    Lower panel: fraction of episodes with a return at most x, where one episode in a thousand is still to be seen.

    Args:
      returns: of each policy; `Episodes`, returns [n], or one array of returns per training seed.

    Raises AverseError for no returns at all, and for returns that are not finite.
    """
    check_figure("returns", object, "returns", returns, path, title=title, xlabel=xlabel)
    groups = _groups(returns)
    size = (WIDTH, 5.1 + 0.18 * len(groups))  # as much higher as the legend has lines
    figure, ((top,), (bottom,)) = panels(2, 1, size, title, heights=(3, 2), sharex=True)
    pooled = {name: np.sort(np.concatenate(parts)) for name, parts in groups.items()}
    edges = common_bins(np.concatenate(list(pooled.values())))
    for name, style in line_styles(pooled).items():
        tail = stratified_bootstrap_interval(groups[name], worst(TAIL))
        label = f"{name}: mean {mean(pooled[name]):.4g}, worst 5% {tail}"
        _draw_distribution(top, pooled[name], edges, style["color"], 0.12 if len(pooled) <= 3 else 0.04, label)
        top.plot([tail.value], [-0.035], "^", color=style["color"], markersize=9, markeredgecolor="white",
                 clip_on=False, transform=top.get_xaxis_transform(), zorder=5)  # fmt: skip
        fraction = np.arange(1, pooled[name].size + 1) / pooled[name].size
        bottom.step(pooled[name], fraction, where="post", linewidth=1.6, **style)
    top.set(ylabel="episodes per bin", ylim=(0, None), xlim=(edges[0], edges[-1]))
    top.yaxis.set_major_formatter(percent)
    top.plot([], [], "^", color=FAINT, markersize=8, label="mean of the worst 5%, which is filled darker")
    legend_above(top)
    smallest = min(0.01, *(1 / values.size for values in pooled.values()))
    bottom.axhspan(smallest / 1.5, TAIL, color=INK, alpha=0.06, linewidth=0)
    bottom.text(0.995, TAIL, "worst 5% ", transform=bottom.get_yaxis_transform(), ha="right", va="top", color=FAINT)
    bottom.set(yscale="log", ylim=(smallest / 1.5, 1.15), ylabel="episodes at most this", xlabel=xlabel)
    plain_logarithm(bottom.yaxis, percent)
    save(figure, path)


def _draw_distribution(axes: Axes, values: np.ndarray, edges: np.ndarray, color: str, shade: float, label: str) -> None:
    """The histogram of ascending values [n] over common edges, the worst part of them filled darker."""
    grid, steps, threshold = tail_cut(values, edges)
    for part, alpha in ((grid <= threshold, 0.65), (grid >= threshold, shade)):
        axes.fill_between(grid[part], steps[part], step="post", color=color, alpha=alpha, linewidth=0)
    axes.stairs(np.histogram(values, edges)[0] / values.size, edges, color=color, linewidth=1.4, label=label)


def plot_cvar_curves(
    returns: Mapping[str, Returns], path: str | os.PathLike, title: str = "", ylabel: str = "mean of the worst returns"
) -> None:
    """Mean return of the worst alpha of episodes against alpha, from the extreme tail to the mean, with 95% bands.

    A curve above another at every alpha is better whatever one's risk aversion. Returns as for `plot_returns`; raises
    AverseError as it does.
    """
    check_figure("returns", object, "returns", returns, path, title=title, ylabel=ylabel)
    groups = _groups(returns)
    figure, ((axes,),) = panels(title=title)
    smallest = max(min(sum(map(len, parts)) for parts in groups.values()), 2)
    alphas = np.geomspace(min(max(0.01, 5 / smallest), 0.5), 1.0, 61)  # at least five episodes at the left end
    for name, style in line_styles(groups).items():
        curve = list(cvar_curve_intervals(groups[name], list(alphas)).values())
        axes.plot(alphas, [point.value for point in curve], label=name, linewidth=1.8, **style)
        low, high = [p.low for p in curve], [p.high for p in curve]
        axes.fill_between(alphas, low, high, color=style["color"], alpha=0.18, linewidth=0)
    if alphas[0] <= TAIL:
        axes.axvline(TAIL, color=FAINT, linewidth=0.9, linestyle=":")
    axes.set(xscale="log", xlim=(alphas[0], 1.0), ylabel=ylabel, xlabel="worst fraction of episodes (100% is the mean)")
    ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if t >= alphas[0]]
    axes.set_xticks(ticks, [f"{100 * t:g}%" for t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    legend_above(axes)
    save(figure, path)


def plot_learning_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    path: str | os.PathLike,
    title: str = "",
    ylabel: str = "return",
    xlabel: str = "environment steps",
    lines: Mapping[str, float] | None = None,
    ylim: tuple[float, float] | None = None,
) -> None:
    """Learning curves: name -> (steps [P], values [S, P]); each seed thin, the interquartile mean over seeds thick.

    The band is its pointwise 95% interval over seeds (none for a single seed). NaN marks points a seed has
    not reached. `lines` are levels to compare with, such as a known optimum: name -> value.

    Raises AverseError for no curve at all, and for values that do not belong to the steps.
    """
    check_figure("curves", Sequence, "learning curves", curves, path, title=title, ylabel=ylabel, xlabel=xlabel)
    lines = check_value("lines", dict[str, float] | None, lines)
    ylim = check_value("ylim", tuple[Number, Number] | None, ylim)
    checked = {name: _curve(name, curve) for name, curve in curves.items()}
    figure, ((axes,),) = panels(title=title)
    for name, style in line_styles(curves).items():
        steps, values = checked[name]
        for seed_values in values:
            axes.plot(steps, seed_values, color=style["color"], linewidth=0.6, alpha=0.3)
        middle, low, high = interquartile_band(values)
        seeds = f"{len(values)} seed{'s' * (len(values) > 1)}"
        axes.plot(steps, middle, label=f"{name} ({seeds})", linewidth=2.0, **style)
        axes.fill_between(steps, low, high, color=style["color"], alpha=0.2, linewidth=0)
    for (name, value), dashes in zip((lines or {}).items(), cycle(("--", ":", "-."))):
        axes.axhline(value, color=INK, linewidth=1.2, linestyle=dashes, label=f"{name}: {value:.4g}")
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=ylim)
    axes.margins(x=0.01)
    axes.xaxis.set_major_formatter(thousands)
    legend_above(axes)
    save(figure, path)


AXES = {
    "mean": "mean return",
    "std": "standard deviation of the return",
    "cvar_05": "mean of the worst 5% of returns",
    "collision_rate": "collision rate",
    "length": "episode length",
}


def _curve(name: str, curve: Sequence[ArrayLike]) -> tuple[np.ndarray, np.ndarray]:
    """Steps [P] and values [S, P] of a learning curve. Raises AverseError for what is none."""
    if isinstance(curve, str | bytes) or len(curve) != 2:
        raise AverseError(f"curve {name!r} must be (steps [P], values [S, P]), not {shown(curve)}")
    steps, values = (numbers(f"curve {name!r}", x) for x in curve)
    values = values[None] if values.ndim == 1 else values
    if steps.ndim != 1 or values.ndim != 2 or values.shape[1] != steps.size:
        raise AverseError(f"curve {name!r}: values {values.shape} must be [seeds, points] with {steps.size} points")
    return steps, values


def plot_tradeoff(
    summaries: Mapping[str, Summary],
    path: str | os.PathLike,
    title: str = "",
    connect: Sequence[Sequence[str]] = (),
    x: str = "mean",
    y: str = "cvar_05",
    xlabel: str = "",
    ylabel: str = "",
) -> None:
    """One figure against another, a cross of 95% intervals per policy: what safety costs.

    Args:
      connect: groups of policies of one colour and joined by a line, each in its order (a sweep of tau).
      x, y: `mean`, `std`, `cvar_05`, `collision_rate`, `length` or a metric's name.
      xlabel, ylabel: other words for these.

    Raises AverseError for no summary at all, and for a figure that a summary does not have.
    """
    check_figure(
        "summaries", Summary, "summaries", summaries, path, title=title, x=x, y=y, xlabel=xlabel, ylabel=ylabel
    )
    points = {name: (_estimate(summary, x), _estimate(summary, y)) for name, summary in summaries.items()}
    for name in itertools.chain(*check_value("connect", tuple[tuple[str, ...], ...], connect)):
        if name not in points:
            raise unknown_name("summary to connect", name, points)
    figure, ((axes,),) = panels(size=(WIDTH, 4.4), title=title)
    grouped = set(itertools.chain(*connect))
    families = [list(group) for group in connect if group] + [[name] for name in points if name not in grouped]
    styles = line_styles([family[0] for family in families])
    drawn = {name: (styles[family[0]]["color"], MARKERS[i % len(MARKERS)]) for family in families
             for i, name in enumerate(family)}  # fmt: skip
    for family in families:
        line = np.array([[estimate.value for estimate in points[name]] for name in family])
        axes.plot(*line.T, color=styles[family[0]]["color"], alpha=0.5, linewidth=1.2, zorder=1)
    for name, (across, up) in points.items():
        color, marker = drawn[name]
        axes.errorbar(across.value, up.value, xerr=arms(across), yerr=arms(up), color=color,
                      marker=marker, linestyle="none", markersize=8, elinewidth=1.3, markeredgecolor="white",
                      markeredgewidth=0.8, label=name, zorder=3)  # fmt: skip
    words = [given or AXES.get(name, name.replace("_", " ")) for given, name in ((xlabel, x), (ylabel, y))]
    axes.set(xlabel=words[0], ylabel=words[1])
    axes.margins(0.08)
    legend_above(axes)
    save(figure, path)


def _estimate(summary: Summary, name: str) -> Estimate:
    estimate = getattr(summary, name) if name in AXES else getattr(summary.metrics.get(name), "mean", None)
    if estimate is None:
        raise unknown_name("figure", name, [*AXES, *summary.metrics])
    return estimate


def plot_calibration(calibrations: Mapping[str, Calibration], path: str | os.PathLike, title: str = "") -> None:
    """Histograms of the PIT of realised returns: flat is calibrated, high left too optimistic, a U too narrow.

    Raises AverseError for no calibration at all.
    """
    check_figure("calibrations", Calibration, "calibrations", calibrations, path, title=title)
    figure, ((axes,),) = panels(title=title)
    for name, style in line_styles(calibrations).items():
        relative = calibrations[name].histogram * calibrations[name].histogram.size
        edges = np.linspace(0, 1, relative.size + 1)
        label = f"{name}: distance {calibrations[name].kolmogorov_smirnov:.2f}"
        axes.stairs(relative, edges, linewidth=1.8, label=label, **style)
        axes.stairs(relative, edges, fill=True, alpha=0.08, color=style["color"])
    axes.axhline(1.0, color=INK, linewidth=1.0, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, None), ylabel="frequency, 1 is calibrated")
    axes.set_xlabel("predicted probability of a return at most the realised one")
    legend_above(axes)
    save(figure, path)


def interquartile_band(values: np.ndarray, resamples: int = 1_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interquartile mean over seeds at every point, with its 95% interval: values [S, P] -> three [P].

    The interval is that of `averse.statistics.bootstrap_interval`: Student's where fewer than 8 seeds have reached the
    point. NaN values are left out; a point that fewer than two seeds have reached has no interval (NaN).
    """
    result = np.full((3, values.shape[1]), np.nan)
    for p, column in enumerate(values.T):
        reached = column[np.isfinite(column)]
        if reached.size > 0:
            estimate = bootstrap_interval(reached, interquartile_mean, resamples=resamples)
            result[:, p] = estimate.value, estimate.low, estimate.high
    return result[0], result[1], result[2]


# ------------------------------------------------------------------------------------------------------- helpers


def _groups(returns: Mapping[str, Returns]) -> dict[str, list[np.ndarray]]:
    """Every entry as returns by training seed, failed episodes left out."""
    groups = {}
    for name, data in returns.items():
        parts: Sequence[ArrayLike]
        if isinstance(data, Episodes):
            parts = data.completed().by_training_seed()
        elif isinstance(data, (list, tuple)) and len(data) and np.ndim(data[0]) > 0:
            parts = list(data)
        else:
            parts = [data]  # type: ignore[list-item]
        if not parts:
            raise AverseError(f"{name!r} has no completed episode to plot")
        groups[name] = [sample(part, f"returns of {name!r}") for part in parts]
    return groups


def arms(estimate: Estimate) -> np.ndarray | None:
    """Lengths of an interval's arms below and above the value, [2, 1]; None without an interval."""
    if not estimate.has_interval:
        return None
    arms = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
    return np.maximum(np.array(arms), 0.0)
