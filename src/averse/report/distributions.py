"""Histograms of returns with their tails, as numbers that any figure draws."""

import numpy as np

TAIL = 0.05


def common_bins(values: np.ndarray) -> np.ndarray:
    """Edges of bins [B + 1] for values [n]: Freedman and Diaconis' width, between 25 and 80 bins."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9 * max(1.0, abs(low)):
        low, high = low - 0.5, high + 0.5
    spread = np.subtract(*np.quantile(values, [0.75, 0.25]))
    width = 2 * spread / np.cbrt(values.size)
    count = 80 if width <= 0 else int(np.clip(np.ceil((high - low) / width), 25, 80))
    return np.linspace(low, high, count + 1)


def tail_cut(ascending: np.ndarray, edges: np.ndarray, tail: float = TAIL) -> tuple[np.ndarray, np.ndarray, float]:
    """The histogram of ascending values [n] over edges [B + 1], its bins cut where the worst share of them ends.

    Returns:
      (grid [B + 2], fraction of the values in the bin that begins at each point of the grid [B + 2], the value at which
      the tail ends).
    """
    height = np.histogram(ascending, edges)[0] / ascending.size
    threshold = float(ascending[int(np.ceil(tail * ascending.size)) - 1])
    grid = np.sort(np.concatenate([edges, [threshold]]))
    return grid, height[np.clip(np.searchsorted(edges, grid, side="right") - 1, 0, height.size - 1)], threshold
