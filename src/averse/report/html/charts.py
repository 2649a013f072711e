"""The figures of a report, as plotly's data: plain dictionaries, which `page.js` draws.

Colours are those of `averse.report.style`; the page replaces ink, grid and paper where it is dark. Numbers have six
digits; what is not finite is None.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, ClassVar

import numpy as np

from averse.report.style import INK, PALETTE, rgb
from averse.statistics import Estimate

DASHES = ("solid", "dash", "dot", "dashdot")
CELL = "#111111"  # what is written on the colours of a heat map, by day and by night
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")

Trace = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A figure: what plotly draws, and the words around it."""

    kind: ClassVar[str] = "chart"
    title: str
    caption: str
    data: Sequence[Trace]
    layout: Mapping[str, Any] = field(default_factory=dict)
    height: int = 380  # px

    @property
    def spec(self) -> dict[str, Any]:
        """What the page hands to plotly: data and layout."""
        return {"data": list(self.data), "layout": {"height": self.room, **self.layout}}

    @property
    def room(self) -> int:
        """Its height with that of its legend, px."""
        entries = sum("name" in trace and trace.get("showlegend", True) for trace in self.data)
        return self.height + 20 * (entries // 4)


def plain(text: str) -> str:
    """A text for plotly, which takes tags such as <b> for markup: it appears as it is."""
    return html.escape(text, quote=False)


def short(values: Any) -> list[Any]:
    """Numbers of any shape as lists, with six digits; None for what is not finite."""
    return [short(row) if np.ndim(row) else number(row) for row in np.asarray(values, float)]


def number(value: float) -> float | None:
    """A number with six digits; None for what is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def faded(color: str, opacity: float) -> str:
    """A colour "#RRGGBB" that lets through what is behind it."""
    return "rgba({}, {}, {}, {})".format(*rgb(color), opacity)


def line(place: int, width: float = 2.0) -> dict[str, Any]:
    """Colour, dashes and width of the line of the name at some place in the order of names."""
    dashes = DASHES[place // len(PALETTE) % len(DASHES)]
    return {"color": PALETTE[place % len(PALETTE)], "dash": dashes, "width": width}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with its title."""
    return {"title": {"text": plain(title)}, **more}


def band(x: Any, low: Any, high: Any, place: int, group: str, **more: Any) -> Trace:
    """The area between two curves, of the colour of a name; empty where either is not known."""
    known = np.isfinite(low) & np.isfinite(high)
    x, low, high = (np.asarray(values, float)[known] for values in (x, low, high))
    return {
        "type": "scatter", "mode": "lines", "x": short(np.concatenate([x, x[::-1]])), "showlegend": False,
        "y": short(np.concatenate([high, low[::-1]])), "fill": "toself", "line": {"width": 0}, "hoverinfo": "skip",
        "fillcolor": faded(PALETTE[place % len(PALETTE)], 0.16), "legendgroup": group, **more,
    }  # fmt: skip


def errors(estimates: Iterable[Estimate]) -> dict[str, Any]:
    """Arms of intervals, for `error_x` and `error_y`; none where there is no interval."""
    found = list(estimates)
    above = [max(each.high - each.value, 0.0) if each.has_interval else 0.0 for each in found]
    below = [max(each.value - each.low, 0.0) if each.has_interval else 0.0 for each in found]
    return {"type": "data", "symmetric": False, "array": short(above), "arrayminus": short(below), "thickness": 1.3}


def tradeoff(rows: Mapping[str, Mapping[str, Estimate]], across: str, names: Mapping[str, str]) -> Chart | None:
    """One point per policy with a cross of intervals: a figure against another, which a menu chooses.

    Args:
      rows: policy -> figure -> estimate.
      across: the figure of the horizontal axis.
      names: the figures -> what they are called, in the order of the menu.

    None where fewer than two policies have two figures.
    """
    shown = {label: figures for label, figures in rows.items() if _known(figures, across)}
    choices = [n for n in names if n != across and sum(_known(figures, n) for figures in shown.values()) > 1]
    if len(shown) < 2 or not choices:
        return None

    def up(name: str) -> tuple[list[Any], list[Any]]:
        values = [figures.get(name, Estimate(math.nan)) for figures in shown.values()]
        return [[number(each.value)] for each in values], [errors([each]) for each in values]

    y, arms = up(choices[0])
    symbols = cycle(SYMBOLS)
    data = [
        {
            "type": "scatter", "mode": "markers", "name": plain(label), "x": [number(figures[across].value)], "y": y[k],
            "error_x": errors([figures[across]]), "error_y": arms[k],
            "marker": {"color": PALETTE[k % len(PALETTE)], "symbol": next(symbols), "size": 11},
        }
        for k, (label, figures) in enumerate(shown.items())
    ]  # fmt: skip
    buttons = []
    for name in choices:
        y, arms = up(name)
        change = {"y": y, "error_y": arms}
        buttons.append(_button(names[name], "update", [change, {"yaxis.title.text": plain(names[name])}]))
    layout: dict[str, Any] = {"xaxis": axis(names[across]), "yaxis": axis(names[choices[0]])}
    if len(buttons) > 1:
        layout["updatemenus"] = [menu(buttons)]
    words = "What safety costs: one point per policy, arms are 95 % intervals."
    return Chart("Trade-off", words, data, layout, 420)


def calibration(histograms: Mapping[str, np.ndarray]) -> Chart:
    """Histograms of the PIT [bins] by name; flat is calibrated."""
    data: list[Trace] = []
    for place, (name, histogram) in enumerate(histograms.items()):
        relative = histogram * histogram.size
        edges = np.linspace(0, 1, histogram.size + 1)
        data.append({
            "type": "scatter", "mode": "lines", "name": plain(name), "x": short(edges),
            "line": {**line(place), "shape": "hv"}, "y": short([*relative, relative[-1]]), "fill": "tozeroy",
            "fillcolor": faded(PALETTE[place % len(PALETTE)], 0.1 if len(histograms) < 4 else 0.0),
        })  # fmt: skip
    words = (
        "How often returns fell where the critic said they would (PIT). Flat at 1 is calibrated, high on the left is "
        "too optimistic, a U too narrow, a hump too wide."
    )
    layout = {
        "xaxis": axis("predicted probability (PIT)", range=[0, 1]),
        "yaxis": axis("frequency", rangemode="tozero"),
        "shapes": [{
            "type": "line", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "line": {"color": INK, "width": 1, "dash": "dot"},
        }],
    }  # fmt: skip
    return Chart("Calibration of the critic", words, data, layout, 340)


def matrix(name: str, labels: Sequence[str], cells: Sequence[Sequence[Estimate]], bad: bool, format: str) -> Chart:
    """A heat map of estimates [row][column] with their values in the cells; whose figures, against with whom.

    Args:
      bad: whether large is bad: the colours then run from paper to orange, else to blue.
    """
    values = [[cell.value for cell in row] for row in cells]
    words = [[f"{cell:{format}}" for cell in row] for row in cells]
    texts = [["" if math.isnan(cell.value) else f"{cell.value:{format or '.3g'}}" for cell in row] for row in cells]
    # Labels may be the same or long: cells stand at numbers, which the ticks name.
    ticks = {"tickvals": list(range(len(labels))), "ticktext": [plain(_cut(label)) for label in labels]}
    trace = {
        "type": "heatmap", "z": short(values), "text": texts, "texttemplate": "%{text}", "customdata": words,
        "textfont": {"color": CELL},
        "hovertemplate": "%{customdata}<extra></extra>", "xgap": 2, "ygap": 2,
        "colorscale": [[0, "#EEF2F5"], [1, PALETTE[4] if bad else PALETTE[5]]], "colorbar": {"thickness": 12},
    }  # fmt: skip
    layout = {
        "xaxis": axis("with", **ticks, showgrid=False, side="bottom"),
        "yaxis": axis("policy", **ticks, showgrid=False, autorange="reversed"),
    }
    words_below = "Rows: whose figures. Columns: with whom they act. The diagonal is own play."
    return Chart(name, words_below, [trace], layout, 240 + 44 * len(labels))


def menu(buttons: Sequence[Mapping[str, Any]], direction: str = "down") -> dict[str, Any]:
    """A menu above the left end of a figure; "right" shows all buttons side by side."""
    kind = "buttons" if direction == "right" else "dropdown"
    return {
        "type": kind, "direction": direction, "buttons": list(buttons), "x": 0, "xanchor": "left", "y": 1.02,
        "yanchor": "bottom", "pad": {"t": 0, "b": 0}, "showactive": True,
    }  # fmt: skip


def _button(label: str, method: str, arguments: Sequence[Any]) -> dict[str, Any]:
    return {"label": plain(label), "method": method, "args": list(arguments)}


def _known(figures: Mapping[str, Estimate], name: str) -> bool:
    return name in figures and math.isfinite(figures[name].value)


def _cut(label: str, longest: int = 24) -> str:
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


def choice(charts: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Buttons that each change traces and layout: (label, of the traces, of the layout)."""
    return [_button(label, "update", [dict(traces), dict(layout)]) for label, traces, layout in charts]
