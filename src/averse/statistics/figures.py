"""Figures of a sample: averages robust to a bad seed, and tails."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from averse.arguments import numbers
from averse.errors import AverseError
from averse.settings import Fraction, Share, check_value, settings
from averse.statistics.samples import sample


@runtime_checkable
class Statistic(Protocol):
    """A figure of a sample that is also defined under weights, so that a bootstrap needs no loop."""

    def __call__(self, values: ArrayLike) -> float:
        """The figure of a sample, values [n]."""
        ...

    def weighted(self, values: ArrayLike, weights: ArrayLike) -> np.ndarray:
        """The figure where values [n] occur weights [R, n] times; [R]."""
        ...


@settings
class QuantileMean:
    """The mean of the quantile function over the levels (low, high): a trimmed mean with fractional end samples.

    (0, 1) is the mean, (0, alpha) the CVaR of the lower tail, (.25, .75) the interquartile mean.

    Raises AverseError unless 0 <= low < high <= 1.
    """

    low: Fraction
    """Level in [0, 1]."""
    high: Fraction
    """Level in [0, 1]."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise AverseError(f"quantile levels must satisfy 0 <= low < high <= 1, not ({self.low}, {self.high})")

    def __call__(self, values: ArrayLike) -> float:
        array = sample(values, "values")
        return float(self.weighted(array, np.ones((1, array.size)))[0])

    def weighted(self, values: ArrayLike, weights: ArrayLike) -> np.ndarray:
        """The figure where values [n] occur weights [R, n] times; [R].

        Raises AverseError for weights that are negative, not finite or all 0 in a row.
        """
        array, mass = _weighted_sample(values, weights)
        if (self.low, self.high) == (0.0, 1.0):
            return mass @ array / mass.sum(-1)
        low, high = _integrated_quantile(array, mass, np.array([self.low, self.high])).T
        return (high - low) / (self.high - self.low)


class StandardDeviation:
    """The standard deviation of the sample as a population (divided by n, not n - 1)."""

    def __call__(self, values: ArrayLike) -> float:
        return float(sample(values, "values").std())

    def weighted(self, values: ArrayLike, weights: ArrayLike) -> np.ndarray:
        """The figure where values [n] occur weights [R, n] times; [R].

        Raises AverseError for weights that are negative, not finite or all 0 in a row.
        """
        array, mass = _weighted_sample(values, weights)
        centred = array - array.mean()  # against cancellation
        total = mass.sum(-1)
        variance = mass @ centred**2 / total - (mass @ centred / total) ** 2
        return np.sqrt(np.maximum(variance, 0.0))


mean = QuantileMean(0.0, 1.0)
"""The statistic "mean"."""
interquartile_mean = QuantileMean(0.25, 0.75)
"""The statistic "mean of the middle half": robust to a bad seed (Agarwal et al. 2021)."""
standard_deviation = StandardDeviation()
"""The statistic "standard deviation"."""


def worst(alpha: float) -> QuantileMean:
    """The statistic "mean of the worst `alpha` of the sample": CVaR of the lower tail.

    Raises AverseError for an alpha outside (0, 1].
    """
    return QuantileMean(0.0, check_value("alpha", Share, alpha))


def cvar(returns: ArrayLike, alpha: float) -> float:
    """Mean of the worst `alpha` mass of returns [n], the last sample counted by the fraction that falls in the tail.

    cvar([1, 2, 3, 4], .375) = (1 * 1 + .5 * 2) / 1.5. alpha = 1 is the mean; alpha <= 1/n the minimum. In units of the
    returns. Raises AverseError for an alpha outside (0, 1], and for returns that are none at all, have several axes or
    are not all finite: a NaN is never left out nor passed on.
    """
    return worst(alpha)(sample(returns, "returns"))


def cvar_curve(returns: ArrayLike, alphas: ArrayLike) -> np.ndarray:
    """`cvar` at every level: returns [n], alphas [L] -> [L], non-decreasing in alpha. Raises AverseError as it does."""
    array = sample(returns, "returns")
    return CVaRCurve(alphas).weighted(array, np.ones((1, array.size)))[0]


class CVaRCurve:
    """All levels at once (a statistic of L figures): one sort and one pass over the weights."""

    def __init__(self, alphas: ArrayLike):
        """Raises AverseError for no level, and for one outside (0, 1]."""
        levels = np.atleast_1d(numbers("alphas", alphas))
        if levels.ndim != 1 or levels.size == 0:
            raise AverseError(f"alphas must be one or more levels [L], not an array of shape {levels.shape}")
        self.alphas = np.array([check_value(f"alphas[{i}]", Share, level) for i, level in enumerate(levels.tolist())])

    def weighted(self, values: ArrayLike, weights: ArrayLike) -> np.ndarray:
        """Values [n], weights [R, n] -> [R, L]."""
        return _integrated_quantile(*_weighted_sample(values, weights), self.alphas) / self.alphas


def integrated_quantile(values: ArrayLike, weights: ArrayLike, levels: ArrayLike) -> np.ndarray:
    """Integral from 0 to each level of the quantile function of a weighted sample (its generalised Lorenz curve).

    values [n], non-negative weights [R, n] with positive row sums, levels [L] in [0, 1] -> [R, L].

    Raises AverseError for other shapes, values, weights and levels.
    """
    where = sample(levels, "levels")
    if where.min() < 0.0 or where.max() > 1.0:
        raise AverseError(f"levels must be in [0, 1], not {where[(where < 0.0) | (where > 1.0)][0]:g}")
    return _integrated_quantile(*_weighted_sample(values, weights), where)


def _weighted_sample(values: Any, weights: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values [n] and weights [R, n] that have a mean."""
    array, mass = sample(values, "values"), numbers("weights", weights)
    if mass.ndim != 2 or mass.shape[1] != array.size:
        raise AverseError(f"weights must have the shape [R, {array.size}], a column per value, not {mass.shape}")
    if not np.isfinite(mass).all() or (mass.size and mass.min() < 0.0):
        raise AverseError("weights must be finite numbers from 0 on")
    if not (mass.sum(-1) > 0.0).all():
        raise AverseError(f"weights must not be all 0: those of row {int(np.argmin(mass.sum(-1)))} are")
    return array, mass


def _integrated_quantile(values: np.ndarray, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """`integrated_quantile` of what was checked."""
    order = np.argsort(values, kind="stable")
    total = weights.sum(-1)
    # Sorted columns beyond the highest level do not matter: keep those that certainly reach it, else all.
    enough = min(values.size, int(levels.max() * values.size + 8 * np.sqrt(values.size)) + 1)
    sorted_weights = weights[:, order[:enough]]
    if enough < values.size and (sorted_weights.sum(-1) < levels.max() * total).any():
        enough, sorted_weights = values.size, weights[:, order]
    sorted_values = values[order[:enough]]
    mass = np.cumsum(sorted_weights, axis=-1, dtype=float)
    lorenz = np.cumsum(sorted_weights * sorted_values, axis=-1)
    result = np.empty((len(weights), levels.size))
    for r, (mass_r, lorenz_r) in enumerate(zip(mass, lorenz)):
        target = levels * total[r]
        last = np.minimum(np.searchsorted(mass_r, target), enough - 1)  # the sample that the level cuts
        result[r] = lorenz_r[last] - (mass_r[last] - target) * sorted_values[last]
    return result / total[:, None]
