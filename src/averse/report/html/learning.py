"""Learning curves and diagnostics of a report: metrics over training, thinned to what a screen shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from averse.report.html.charts import Chart, Trace, axis, band, choice, line, menu, number, plain, short
from averse.report.html.runs import Curves
from averse.report.plots import interquartile_band
from averse.report.style import PALETTE

POINTS = 400  # of a curve, at most
DIAGNOSTIC_POINTS = 150
THIN = 20  # seeds that are drawn one by one, at most
CURVES = {"return": "return", "cvar_05": "worst-5% return", "objective": "J", "eta": "mean reward per step"}
"""Metrics that have a figure of their own, in the order of the page, and what they are called."""


def thinned(count: int, points: int) -> np.ndarray:
    """The places of at most `points` out of `count` reports, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, points)).round().astype(int))


def learning_curves(curves: Mapping[str, Curves], metric: str, points: int = POINTS) -> Chart | None:
    """A metric over training: each seed thin, the interquartile mean over seeds thick with its 95 % interval.

    Two buttons say whether against steps or seconds, where the seconds are known. None where nobody has the metric.
    """
    known = {name: each for name, each in curves.items() if np.isfinite(each.figures.get(metric, np.nan)).any()}
    if not known:
        return None
    data: list[Trace] = []
    seconds: list[list[float | None]] = []
    for place, (name, each) in enumerate(known.items()):
        for trace, clock in _traces(name, each, metric, place, points):
            data.append(trace)
            seconds.append(clock)
    title = CURVES.get(metric, metric.replace("_", " "))
    layout: dict[str, Any] = {"xaxis": axis("environment steps"), "yaxis": axis(title, **_range(data))}
    if any(value is not None for clock in seconds for value in clock):
        steps = [trace["x"] for trace in data]
        words = (("steps", steps, "environment steps"), ("seconds", seconds, "seconds of training"))
        buttons = choice([(name, {"x": x}, {"xaxis.title.text": text}) for name, x, text in words])
        layout["updatemenus"] = [menu(buttons, "right")]
    return Chart(f"Learning: {title}", _caption(known, points), data, layout, 400)


def _range(data: Sequence[Trace]) -> dict[str, Any]:
    """The range of the lines: the bands of two or three seeds may be ten times as wide."""
    drawn = [y for trace in data if "fill" not in trace for y in trace["y"] if y is not None]
    if not drawn:
        return {}
    low, high = min(drawn), max(drawn)
    room = 0.12 * (high - low) or 0.5
    return {"range": [low - room, high + room]}


def _caption(known: Mapping[str, Curves], points: int) -> str:
    words = ["Thin: each training seed. Thick: their interquartile mean, with its 95 % interval, which may be cut."]
    if max(each.steps.size for each in known.values()) > points:
        words.append(f"Thinned: {points} reports of each curve, evenly spread.")
    if max(len(each.seeds) for each in known.values()) > THIN:
        words.append(f"Of more than {THIN} seeds the first {THIN} are drawn one by one.")
    return " ".join(words)


def _traces(name: str, curves: Curves, metric: str, place: int, points: int) -> list[tuple[Trace, list[float | None]]]:
    """The lines of a name, each with its seconds in place of its steps."""
    chosen = thinned(curves.steps.size, points)
    steps, values, clock = curves.steps[chosen], curves.figures[metric][:, chosen], curves.seconds[:, chosen]
    group, several = f"g{place}", len(curves.seeds) > 1
    found: list[tuple[Trace, list[float | None]]] = []
    for place_of_seed, seed in enumerate(curves.seeds[:THIN] if several else ()):
        thin = {"color": PALETTE[place % len(PALETTE)], "width": 1}
        trace = {
            "type": "scatter", "mode": "lines", "x": short(steps), "y": short(values[place_of_seed]), "line": thin,
            "opacity": 0.55, "showlegend": False, "legendgroup": group, "connectgaps": True,
            "hovertemplate": f"seed {seed}: %{{y}}<extra></extra>",
        }  # fmt: skip
        found.append((trace, short(clock[place_of_seed])))
    middle, low, high = interquartile_band(values)
    usual = np.array(
        [column[np.isfinite(column)].mean() if np.isfinite(column).any() else np.nan for column in clock.T]
    )
    if several:
        inside = np.isfinite(low) & np.isfinite(high)
        around = usual[inside]
        found.append((band(steps, low, high, place, group), short(np.concatenate([around, around[::-1]]))))
    seeds = f"{len(curves.seeds)} seed{'s' * several}"
    trace = {
        "type": "scatter", "mode": "lines" if steps.size > 1 else "markers", "name": plain(f"{name} ({seeds})"),
        "x": short(steps), "y": short(middle), "line": line(place, 2.4), "legendgroup": group,
        "connectgaps": True,
    }  # fmt: skip
    found.append((trace, short(usual)))
    return found


def diagnostics(curves: Mapping[str, Curves], points: int = DIAGNOSTIC_POINTS) -> list[Chart]:
    """A small figure per metric that has none of its own: the mean over seeds, over training."""
    names = dict.fromkeys(name for each in curves.values() for name in each.figures if name not in CURVES)
    return [chart for name in names if (chart := _diagnostic(curves, name, points)) is not None]


def _diagnostic(curves: Mapping[str, Curves], metric: str, points: int) -> Chart | None:
    data: list[Trace] = []
    for place, (name, each) in enumerate(curves.items()):
        values = each.figures.get(metric)
        if values is None or not np.isfinite(values).any():
            continue
        chosen = thinned(each.steps.size, points)
        columns = values[:, chosen].T
        average = [number(c[np.isfinite(c)].mean()) if np.isfinite(c).any() else None for c in columns]
        mode = "lines" if chosen.size > 1 else "markers"
        data.append({
            "type": "scatter", "mode": mode, "name": plain(name), "x": short(each.steps[chosen]), "y": average,
            "line": line(place, 1.6), "showlegend": False, "connectgaps": True,
        })  # fmt: skip
    return Chart(metric.replace("_", " "), "", data, {"xaxis": {"nticks": 4}}, 200) if data else None


def points_for(curves: Mapping[str, Curves], budget: int = 12_000) -> int:
    """Points per curve, so that many curves together have at most about `budget`."""
    lines: Sequence[int] = [min(len(each.seeds), THIN) + 3 for each in curves.values()]
    return int(np.clip(budget // max(sum(lines), 1), 20, POINTS))
