"""How figures look: one palette, one way to make panels, legends and files. No pyplot: no global state, no display."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from averse.errors import AverseError, shown
from averse.evaluation.arguments import mapping
from averse.files import as_path, written_whole
from averse.settings import check_value

# Okabe and Ito's colours, which the colour-blind can tell apart, and a brown.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
BLUE, ORANGE, GREEN, PINK, YELLOW, *_ = PALETTE
INK, FAINT, GRID, WASH, PAPER = "#222222", "#767676", "#E6E6E6", "#F6F6F6", "#FFFFFF"
# The same on a dark page: colour on paper -> colour there; those that are not named are as they are.
DARK = {
    INK: "#E6E6E6", FAINT: "#9AA0A6", GRID: "#33373D", WASH: "#1E2227", PAPER: "#15181C",
    "#000000": "#E6E6E6", "#0072B2": "#3D9BD9", "#8C6D31": "#B8935A",
}  # fmt: skip
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
MARKERS = ("o", "s", "D", "^", "v", "P", "*", "X", "<", ">")
WIDTH = 7.2  # of a figure of one column, inches
SUFFIXES = (".png", ".svg", ".pdf")
_DPI = 160
Corner = Literal["upper left", "upper right", "lower left", "lower right"]
Shared = bool | Literal["none", "all", "row", "col"]


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a colour "#RRGGBB"."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def line_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and, past the palette, dashes of every name, in the order of the names: for `axes.plot(..., **style)`."""
    return {
        name: {"color": PALETTE[i % len(PALETTE)], "linestyle": DASHES[i // len(PALETTE) % len(DASHES)]}
        for i, name in enumerate(names)
    }


def panels(
    rows: int = 1,
    columns: int = 1,
    size: tuple[float, float] = (WIDTH, 4.0),
    title: str = "",
    *,
    heights: Sequence[float] | None = None,
    sharex: Shared = False,
    sharey: Shared = False,
) -> tuple[Figure, np.ndarray]:
    """A figure of empty panels: (figure, axes [rows, columns]).

    Args:
      size: width and height in inches.
      title: of the whole.
      heights: of the rows, relative to one another.
      sharex, sharey: which panels have the same axis, as in matplotlib.
    """
    figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights, sharex=sharex, sharey=sharey)
    if title:
        figure.suptitle(title, fontsize=12, color=INK, x=0.02, ha="left", fontweight="bold")
    for ax in axes.ravel():
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(FAINT)
        ax.tick_params(which="both", colors=INK, labelsize=9)
        ax.grid(True, color=GRID, linewidth=0.7)
        ax.set_axisbelow(True)
    return figure, axes


def legend_above(axes: Axes) -> None:
    """The legend over the axes, where it hides no data; one line per entry if they are long."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 1 if max(map(len, labels)) > 34 else min(len(labels), 3 if max(map(len, labels)) > 20 else 4)
    axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=9,
                borderaxespad=0.2, handlelength=1.8, columnspacing=1.4)  # fmt: skip


def legend_within(axes: Axes, where: Corner, columns: int = 1) -> None:
    """The legend in a corner of the axes ("upper left"), on paper that dims what is behind it."""
    axes.legend(loc=where, ncols=columns, fontsize=8, framealpha=0.9, edgecolor=PAPER)


def thousands(x: float, _: object = None) -> str:
    """1500 -> "1.5k", 2e6 -> "2M": for `axis.set_major_formatter`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:g}{letter}"
    return f"{x:g}"


def percent(x: float, _: object = None) -> str:
    """0.125 -> "12.5%": for `axis.set_major_formatter`."""
    return f"{100 * x:.3g}%"


def plain_logarithm(axis: Axis, words: Callable[[float, Any], str], steps: Sequence[int] = (1,)) -> None:
    """Ticks of a logarithmic axis (`axes.xaxis`) at `steps` times powers of ten, in the words of a function."""
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(words)
    axis.set_minor_locator(NullLocator())


def check_suffix(path: str | os.PathLike) -> str:
    """The format of a figure's file: "png". Raises AverseError for a path that does not end in one of `SUFFIXES`."""
    suffix = as_path("path", path).suffix.lower()
    if suffix not in SUFFIXES:
        raise AverseError(f"a figure's file name must end in .png, .svg or .pdf, not {shown(Path(path).name)}")
    return suffix[1:]


def check_texts(**texts: Any) -> None:
    """Raises AverseError, which names it, for a title or a label that is no text."""
    for name, text in texts.items():
        check_value(name, str, text)


def check_figure(name: str, kind: Any, words: str, given: Any, path: str | os.PathLike, **texts: Any) -> None:
    """What every figure of some named things is given, checked before anything is drawn.

    Args:
      name: of the argument that holds the things, a mapping from names to instances of `kind`.
      words: what the things are, in messages.
      texts: title and labels.

    Raises AverseError for no things and for other ones, for what are no texts, and for a path that is no figure's.
    """
    mapping(name, kind, words, given)
    if not given:
        raise AverseError(f"{name} is empty: no {words} to plot")
    check_suffix(path)
    check_texts(**texts)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure whole, in the format of the path's suffix; the same data give the same file.

    Raises AverseError for another suffix.
    """
    format = check_suffix(path)
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(format)
    with matplotlib.rc_context({"svg.hashsalt": "averse"}), written_whole(path) as temporary:
        figure.savefig(temporary, format=format, dpi=_DPI, metadata=metadata)
