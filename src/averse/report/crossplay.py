"""The figure of a crossplay: a matrix per figure, egos in rows, partners in columns."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.patches import Rectangle

from averse.errors import AverseError
from averse.report.style import INK, PAPER, WIDTH, check_figure, panels, save
from averse.settings import check_value
from averse.statistics import Estimate

LONGEST = 22  # letters of a label


def plot_matrix(
    labels: Sequence[str],
    matrices: Mapping[str, Sequence[Sequence[Estimate]]],
    path: str | os.PathLike,
    title: str = "",
) -> None:
    """Every figure as a matrix of numbers with their intervals, own play framed; darker is higher.

    Args:
      labels: of the rows, and of the columns, N.
      matrices: what a figure is called -> estimates [N][N], a row per ego.

    Raises AverseError for no figure, for one that is not N x N, and for a path that is no figure's.
    """
    check_figure("matrices", Sequence, "matrices", matrices, path, title=title)
    count = len(check_value("labels", tuple[str, ...], tuple(labels)))
    for name, rows in matrices.items():
        if len(rows) != count or any(len(row) != count for row in rows):
            raise AverseError(f"the matrix {name!r} must be {count} x {count}, as there are {count} labels")
    short = [label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…" for label in labels]
    size = max(WIDTH, 1.6 + 1.15 * count)
    figure, axes = panels(len(matrices), 1, (size, 0.7 + len(matrices) * (1.2 + 0.62 * count)), title)
    for (ax,), (name, rows) in zip(axes, matrices.items()):
        values = np.array([[cell.value for cell in row] for row in rows])
        ax.grid(False)
        ax.imshow(values, cmap="Blues", aspect="auto", vmin=_low(values), vmax=_high(values))
        ax.set_xticks(range(count), short, rotation=0 if count < 4 else 30, ha="center" if count < 4 else "right")
        ax.set_yticks(range(count), short)
        ax.set_title(f"{name} (rows: ego, columns: partners)", fontsize=10, loc="left", color=INK)
        dark = (values - _low(values)) / (_high(values) - _low(values)) > 0.6
        for i, row in enumerate(rows):
            for j, cell in enumerate(row):
                words = _words(cell, ".1%" if "rate" in name else "")
                ax.text(j, i, words, ha="center", va="center", fontsize=8, color=PAPER if dark[i, j] else INK)
            ax.add_patch(_frame(i))
    save(figure, path)


def _words(cell: Estimate, spec: str) -> str:
    return format(cell, spec).replace(" [", "\n[")


def _low(values: np.ndarray) -> float:
    return float(np.nanmin(values)) if np.isfinite(values).any() else 0.0


def _high(values: np.ndarray) -> float:
    low = _low(values)
    high = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    return high if high > low else low + 1.0


def _frame(i: int) -> Rectangle:
    return Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1.6)
