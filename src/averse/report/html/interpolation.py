"""The interpolation of a study, with a slider: figures against alpha, and the way between two policies."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from averse.report.html.charts import Chart, Trace, axis, band, line, number, plain, short
from averse.report.html.studies import Figures, Row
from averse.report.style import FAINT, PALETTE, YELLOW
from averse.statistics import Estimate

Points = Sequence[tuple[float, Figures]]
FIRST, SECOND = "return", "worst_5"


def interpolation(points: Points, chord: Points, reference: Sequence[Row], names: Mapping[str, str]) -> Chart:
    """Above: figures against alpha with bands, and the chord. Below: one against the other, with the references.

    A slider moves a marker in both, and tells the figures at its alpha.

    Args:
      names: figures -> what they are called; the first two that points have are drawn.
    """
    points = sorted(points, key=lambda point: point[0])
    alphas = [alpha for alpha, _ in points]
    shown = [name for name in _ordered(names) if any(_value(figures, name) is not None for _, figures in points)][:2]
    data: list[Trace] = []
    for place, name in enumerate(shown):
        data += _against_alpha(points, chord, name, place, names[name])
    across, up = shown[0], shown[-1]
    data += _way(points, chord, reference, across, up)
    markers = [_marker(points[0], name, "x", "y", names[name]) for name in shown]
    markers.append({**_marker(points[0], up, "x2", "y2", "alpha"), "x": [_value(points[0][1], across)]})
    first = len(data)
    data += markers
    layout = {
        "xaxis": axis("alpha", anchor="y", range=[min(alphas) - 0.03, max(alphas) + 0.03]),
        "yaxis": axis("figure", domain=[0.6, 1], anchor="x"),
        "xaxis2": axis(names[across], anchor="y2"),
        "yaxis2": axis(names[up], domain=[0, 0.4], anchor="x2"),
        "annotations": [_told(points[0], shown, names)],
        "sliders": [_slider(points, shown, names, first)],
        "legend": {"yref": "paper", "y": 1.12, "yanchor": "bottom"},
        "margin": {"t": 120},
    }
    words = (
        "At every step the first policy acts with probability alpha, else the second. The dotted line is the chord "
        "between the ends; points beside the way are policies trained for themselves."
    )
    return Chart("Between two policies", words, data, layout, 760)


def _against_alpha(points: Points, chord: Points, name: str, place: int, title: str) -> list[Trace]:
    estimates = [figures.get(name, Estimate(math.nan)) for _, figures in points]
    x = [alpha for alpha, _ in points]
    found = [
        band(x, [e.low for e in estimates], [e.high for e in estimates], place, f"i{place}"),
        {
            "type": "scatter", "mode": "lines+markers", "name": plain(title), "x": short(x), "marker": {"size": 5},
            "y": short([e.value for e in estimates]), "line": line(place), "legendgroup": f"i{place}",
        },
    ]  # fmt: skip
    ends = [(alpha, value) for alpha, figures in chord if (value := _value(figures, name)) is not None]
    if len(ends) > 1:
        found.append({
            "type": "scatter", "mode": "lines", "x": [a for a, _ in ends], "y": [v for _, v in ends],
            "showlegend": False,
            "line": {"color": PALETTE[place], "width": 1, "dash": "dot"}, "legendgroup": f"i{place}",
            "hovertemplate": "chord: %{y}<extra></extra>",
        })  # fmt: skip
    return found


def _way(points: Points, chord: Points, reference: Sequence[Row], across: str, up: str) -> list[Trace]:
    found: list[Trace] = [{
        "type": "scatter", "mode": "lines+markers", "name": "interpolation", "xaxis": "x2", "yaxis": "y2",
        "x": [_value(f, across) for _, f in points], "y": [_value(f, up) for _, f in points],
        "text": [f"alpha {alpha:g}" for alpha, _ in points], "line": line(2), "marker": {"size": 5},
    }]  # fmt: skip
    if len(chord) > 1:
        found.append({
            "type": "scatter", "mode": "lines", "name": "chord", "xaxis": "x2", "yaxis": "y2",
            "x": [_value(f, across) for _, f in chord], "y": [_value(f, up) for _, f in chord],
            "line": {"color": FAINT, "width": 1, "dash": "dot"},
        })  # fmt: skip
    if reference:
        found.append({
            "type": "scatter", "mode": "markers+text", "name": "trained for themselves", "xaxis": "x2", "yaxis": "y2",
            "x": [_value(row.metrics, across) for row in reference],
            "y": [_value(row.metrics, up) for row in reference],
            "text": [plain(row.label) for row in reference], "textposition": "top center",
            "marker": {"size": 9, "symbol": "diamond", "color": PALETTE[3]}, "textfont": {"size": 11, "color": FAINT},
        })  # fmt: skip
    return found


def _marker(point: tuple[float, Figures], name: str, x: str, y: str, words: str) -> Trace:
    """What the slider moves."""
    return {
        "type": "scatter", "mode": "markers", "showlegend": False, "xaxis": x, "yaxis": y, "name": plain(words),
        "x": [number(point[0])], "y": [_value(point[1], name)],
        "marker": {"size": 15, "color": YELLOW, "line": {"color": "#222222", "width": 1.5}},
    }  # fmt: skip


def _told(point: tuple[float, Figures], shown: Sequence[str], names: Mapping[str, str]) -> dict[str, object]:
    """The figures at an alpha, in words above the upper panel."""
    parts = [f"{names[name]} {point[1][name]}" for name in shown if name in point[1]]
    text = f"<b>alpha = {point[0]:g}</b><br>{'<br>'.join(plain(part) for part in parts)}"
    return {
        "text": text, "xref": "paper", "yref": "paper", "x": 0, "y": 1.01, "xanchor": "left", "yanchor": "bottom",
        "showarrow": False, "align": "left", "font": {"size": 12},
    }  # fmt: skip


def _slider(points: Points, shown: Sequence[str], names: Mapping[str, str], first: int) -> dict[str, object]:
    """A step per alpha: where the markers are then, and the words."""
    places = list(range(first, first + len(shown) + 1))
    steps = []
    for point in points:
        x = [[number(point[0])]] * len(shown) + [[_value(point[1], shown[0])]]
        y = [[_value(point[1], name)] for name in (*shown, shown[-1])]
        change = {"annotations": [_told(point, shown, names)]}
        steps.append({"label": f"{point[0]:g}", "method": "update", "args": [{"x": x, "y": y}, change, places]})
    return {
        "active": 0, "steps": steps, "pad": {"t": 46, "b": 4}, "currentvalue": {"prefix": "alpha = "}, "y": 0,
        "yanchor": "top", "len": 1, "x": 0,
    }  # fmt: skip


def _ordered(names: Mapping[str, str]) -> list[str]:
    """Return and tail first."""
    return [*(name for name in (FIRST, SECOND) if name in names), *(n for n in names if n not in (FIRST, SECOND))]


def _value(figures: Figures, name: str) -> float | None:
    return number(figures[name].value) if name in figures and np.isfinite(figures[name].value) else None
