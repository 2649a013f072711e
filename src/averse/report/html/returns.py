"""Distributions of returns in a report: histograms with the worst 5 % filled, and CVaR at every alpha."""

from collections.abc import Mapping

import numpy as np

from averse.evaluation import Episodes
from averse.report.distributions import TAIL, common_bins, tail_cut
from averse.report.html.charts import Chart, Trace, axis, band, faded, line, plain, short
from averse.report.style import FAINT, PALETTE
from averse.statistics import cvar_curve, cvar_curve_intervals

MANY = 20_000  # episodes from which on a page holds quantiles in place of returns, and curves have no bands
QUANTILES = 1_001


def quantile_table(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels [Q] and the quantiles [Q] of returns [n] at them: what stands for more than `MANY`."""
    levels = np.linspace(0, 1, QUANTILES)
    return levels, np.quantile(returns, levels)


def histogram(tables: Mapping[str, Episodes]) -> Chart:
    """Fraction of the episodes per bin, by policy; the worst 5 % are filled."""
    ascending = {name: np.sort(table.episode_return) for name, table in tables.items()}
    edges = common_bins(np.concatenate(list(ascending.values())))
    data: list[Trace] = []
    for place, (name, values) in enumerate(ascending.items()):
        grid, height, threshold = tail_cut(values, edges)
        color, shape = PALETTE[place % len(PALETTE)], {**line(place, 1.8), "shape": "hv"}
        tail = grid <= threshold
        data.append({
            "type": "scatter", "mode": "lines", "x": short(grid[tail]), "y": short(height[tail]), "fill": "tozeroy",
            "fillcolor": faded(color, 0.6), "line": {"width": 0, "shape": "hv"}, "legendgroup": f"g{place}",
            "showlegend": False, "hoverinfo": "skip",
        })  # fmt: skip
        data.append({
            "type": "scatter", "mode": "lines", "x": short(grid), "y": short(height), "name": plain(name),
            "line": shape,
            "fill": "tozeroy", "fillcolor": faded(color, 0.1 if len(tables) < 4 else 0.0), "legendgroup": f"g{place}",
        })  # fmt: skip
    words = f"Share of episodes by their return; the worst {TAIL:.0%} of each policy are filled."
    layout = {"xaxis": axis("episode return"), "yaxis": axis("share of episodes", tickformat=".0%", rangemode="tozero")}
    return Chart("Returns", words, data, layout, 400)


def cvar_curves(tables: Mapping[str, Episodes]) -> Chart:
    """Mean of the worst alpha of the episodes against alpha, with 95 % bands where episodes are not too many."""
    data: list[Trace] = []
    smallest = max(min(len(table) for table in tables.values()), 2)
    alphas = np.geomspace(min(max(0.005, 5 / smallest), 0.5), 1.0, 61)  # at least five episodes at the left end
    bare = []
    for place, (name, table) in enumerate(tables.items()):
        group = f"g{place}"
        if len(table) > MANY:
            bare.append(name)
            values = cvar_curve(table.episode_return, alphas)
        else:
            curve = list(cvar_curve_intervals(table.by_training_seed(), list(alphas)).values())
            values = np.array([point.value for point in curve])
            low, high = np.array([point.low for point in curve]), np.array([point.high for point in curve])
            data.append(band(alphas, low, high, place, group))
        data.append({
            "type": "scatter", "mode": "lines", "name": plain(name), "x": short(alphas), "y": short(values),
            "line": line(place),
            "legendgroup": group,
        })  # fmt: skip
    words = "Mean of the worst share of episodes (CVaR), from the tail on the left to the mean at 100 %."
    if bare:
        words += f" Without bands where there are more than {MANY:,} episodes."
    ticks = [tick for tick in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if tick >= alphas[0]]
    layout = {
        "xaxis": axis("worst share of episodes", type="log", tickvals=ticks, ticktext=[f"{100 * t:g}%" for t in ticks]),
        "yaxis": axis("mean of these returns"),
        "shapes": [] if alphas[0] > TAIL else [{
            "type": "line", "x0": TAIL, "x1": TAIL, "yref": "paper", "y0": 0, "y1": 1,
            "line": {"color": FAINT, "width": 1, "dash": "dot"},
        }],
    }  # fmt: skip
    return Chart("CVaR at every alpha", words, data, layout, 400)
