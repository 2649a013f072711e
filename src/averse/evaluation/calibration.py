"""Is the critic's return distribution right? A risk measure of a wrong distribution is worth nothing.

The probability integral transform (PIT) of a realised return y under the predicted distribution F is F(y): uniform on
[0, 1] if and only if the predictions are calibrated. Low values too often: outcomes are worse than predicted; a
U-shaped histogram: the predictions are too narrow; a hump: too wide. Predictions are discrete, hence two treatments:

* "randomised" (default): the categorical critic's own projection is applied to y (it goes to one of its two
  neighbouring atoms, at random, with the probabilities of linear interpolation) and the PIT is drawn uniformly within
  that atom's jump. *Exactly* uniform for a critic that predicts the projected distribution, point masses included.
* "midpoint": no randomness. Every atom's mass is spread evenly over its cell (half way to the neighbouring atoms) and F
  is linear between. Uniform up to the atom spacing, for returns without point masses.

Visited states of one episode are dependent, so the distances below are measures of size, not tests; no p-value is
given. Axes: M visited states, N atoms or quantiles. Sources: Dawid 1984; Czado, Gneiting, Held 2009 (discrete PIT).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from averse.arguments import numbers
from averse.errors import AverseError
from averse.settings import Count, Whole, check_value
from averse.statistics.samples import Confidence, sample

Treatment = Literal["randomised", "midpoint"]
LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
CENTRAL = (0.5, 0.8, 0.9, 0.95)
BINS = 20
_DISTANCES = ("kolmogorov_smirnov", "cramer_von_mises", "bias", "clamped_fraction")  # numbers of a calibration
_STREAM = 0x917  # keeps the draws apart from others made with the same seed


@dataclass(frozen=True)
class QuantileRow:
    """One level of the table of predicted against realised quantiles, in units of the return."""

    level: float
    predicted: float  # quantile of the predicted distributions pooled over all states
    realised: float  # quantile of the realised returns
    fraction_below: float  # how often a return fell below its own state's predicted quantile; calibrated: level


@dataclass(frozen=True, repr=False)
class Calibration:
    """How predicted return distributions compare with the returns that followed."""

    pit: np.ndarray  # float64 [M]
    histogram: np.ndarray  # fraction of PIT values in each of equal bins, [bins]; calibrated: 1 / bins each
    kolmogorov_smirnov: float  # largest distance of the PIT's distribution function from the uniform one, 0..1
    cramer_von_mises: float  # integral of that distance squared; 0..1/3, calibrated about 1/(6 M)
    quantiles: tuple[QuantileRow, ...]  # a row per level
    coverage: Mapping[float, float]  # central interval's nominal probability -> fraction of returns inside
    bias: float  # mean predicted minus mean realised return; positive: optimistic
    clamped_fraction: float  # of returns outside the support: below the first or above the last atom or quantile
    states: int  # M, how many visited states the figures rest on

    def __repr__(self) -> str:
        return f"Calibration({self}, states={self.states})"

    def __str__(self) -> str:
        return (
            f"bias {self.bias:+.2f}, distance of the PIT from uniform {self.kolmogorov_smirnov:.2f}, returns beyond "
            f"the support {self.clamped_fraction:.1%}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the PIT values themselves."""
        return {
            "histogram": [float(x) for x in self.histogram],
            "kolmogorov_smirnov": self.kolmogorov_smirnov,
            "cramer_von_mises": self.cramer_von_mises,
            "quantiles": [vars(row) for row in self.quantiles],
            "coverage": [{"nominal": level, "actual": actual} for level, actual in self.coverage.items()],
            "bias": self.bias,
            "clamped_fraction": self.clamped_fraction,
            "states": self.states,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Calibration":
        """The inverse of `to_dict`, but for the PIT values themselves, which files do not hold: none.

        Raises AverseError for what is no such dictionary.
        """
        try:
            return cls(
                pit=np.empty(0),
                histogram=sample(fields["histogram"], "histogram"),
                quantiles=tuple(QuantileRow(**row) for row in fields["quantiles"]),
                coverage={float(row["nominal"]): float(row["actual"]) for row in fields["coverage"]},
                states=check_value("states", Count, fields["states"]),
                **{name: check_value(name, float, fields[name]) for name in _DISTANCES},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise AverseError(f"not a calibration: {error}") from None


def calibrate_categorical(
    atoms: ArrayLike,
    probs: ArrayLike,
    realised: ArrayLike,
    treatment: Treatment = "randomised",
    seed: int = 0,
    levels: Sequence[float] = LEVELS,
    bins: int = BINS,
) -> Calibration:
    """Calibration of a categorical critic (C51).

    Args:
      atoms: [N], ascending, in units of the return.
      probs: [M, N], of each visited state.
      realised: [M], the discounted returns that followed.
      treatment: see above.
      seed: of the "randomised" treatment.
      levels: of the table of quantiles, in (0, 1).
      bins: of the histogram.

    Raises AverseError for other shapes and kinds, probabilities that do not sum to 1, and numbers that are not finite.
    """
    levels = _checked(treatment, seed, levels, bins)
    support, weights, returns = _categorical(atoms, probs, realised)
    pit = categorical_pit(support, weights, returns, treatment, seed)
    pooled = _weighted_quantiles(support, weights.mean(0), levels)
    clamped = (returns < support[0]) | (returns > support[-1])
    return _calibration(pit, pooled, returns, (weights @ support).mean(), clamped, levels, bins)


def calibrate_quantiles(
    quantiles: ArrayLike,
    realised: ArrayLike,
    treatment: Treatment = "randomised",
    seed: int = 0,
    levels: Sequence[float] = LEVELS,
    bins: int = BINS,
) -> Calibration:
    """Calibration of a quantile critic.

    `clamped_fraction` is here how often a return left the range of its state's quantiles; calibrated: 1 / N.

    Args:
      quantiles: [M, N] of each visited state, at the levels (2 i + 1) / 2 N, in units of the return.
      realised: [M], the discounted returns that followed.
      treatment: see above.
      seed: of the "randomised" treatment.
      levels: of the table of quantiles, in (0, 1).
      bins: of the histogram.

    Raises AverseError for other shapes and kinds, and for numbers that are not finite.
    """
    levels = _checked(treatment, seed, levels, bins)
    predicted, returns = _quantiles(quantiles, realised)
    pit = quantile_pit(predicted, returns, treatment, seed)
    flat = np.sort(predicted.ravel())
    pooled = _weighted_quantiles(flat, np.full(flat.size, 1 / flat.size), levels)
    clamped = (returns < predicted[:, 0]) | (returns > predicted[:, -1])
    return _calibration(pit, pooled, returns, predicted.mean(), clamped, levels, bins)


def categorical_pit(
    atoms: ArrayLike, probs: ArrayLike, realised: ArrayLike, treatment: Treatment = "randomised", seed: int = 0
) -> np.ndarray:
    """PIT values [M] of realised returns [M] under categorical distributions: atoms [N], probs [M, N].

    Raises AverseError as `calibrate_categorical`.
    """
    _checked(treatment, seed)
    support, weights, returns = _categorical(atoms, probs, realised)
    cumulative = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, -1)], -1)  # [M, N + 1]
    rows, last = np.arange(len(returns)), support.size - 1
    if treatment == "midpoint":
        middle = (support[1:] + support[:-1]) / 2
        edges = np.concatenate([[2 * support[0] - middle[0]], middle, [2 * support[-1] - middle[-1]]])  # [N + 1]
        cell = np.clip(np.searchsorted(edges, returns, side="right") - 1, 0, last)
        within = np.clip((returns - edges[cell]) / (edges[cell + 1] - edges[cell]), 0.0, 1.0)
        return np.clip(cumulative[rows, cell] + within * weights[rows, cell], 0.0, 1.0)
    generator = np.random.default_rng([seed, _STREAM])
    clipped = np.clip(returns, support[0], support[-1])
    below = np.clip(np.searchsorted(support, clipped, side="right") - 1, 0, last - 1)
    upward = (clipped - support[below]) / (support[below + 1] - support[below])
    atom = below + (generator.random(returns.size) < upward)
    pit = cumulative[rows, atom] + generator.random(returns.size) * weights[rows, atom]
    return np.clip(pit, 0.0, 1.0)


def quantile_pit(
    quantiles: ArrayLike, realised: ArrayLike, treatment: Treatment = "randomised", seed: int = 0
) -> np.ndarray:
    """PIT values [M] of realised returns [M] under predicted quantiles [M, N] at the levels (2 i + 1) / 2 N.

    Between two neighbouring quantiles lies probability 1/N, beyond the outer ones 1/2N, and a return that equals k of
    them has the mass k/N of a jump. "randomised" draws within that interval of levels, "midpoint" interpolates
    linearly (and takes the middle of the outer intervals and of jumps). Raises AverseError as `calibrate_quantiles`.
    """
    _checked(treatment, seed)
    predicted, returns = _quantiles(quantiles, realised)
    count = predicted.shape[1]
    smaller = (predicted < returns[:, None]).sum(-1)
    not_larger = (predicted <= returns[:, None]).sum(-1)
    between = 0.5 * (smaller == not_larger)
    low = np.maximum((smaller - between) / count, 0.0)
    high = np.minimum((not_larger + between) / count, 1.0)
    if treatment == "midpoint":
        rows = np.arange(len(returns))
        inside = (smaller > 0) & (not_larger < count) & (smaller == not_larger)
        left = predicted[rows, np.clip(smaller - 1, 0, count - 1)]
        right = predicted[rows, np.clip(smaller, 0, count - 1)]
        share = np.where(inside, (returns - left) / np.where(right > left, right - left, 1.0), 0.5)
        return low + share * (high - low)
    return low + np.random.default_rng([seed, _STREAM]).random(returns.size) * (high - low)


def uniform_distances(pit: np.ndarray) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of values [M] from uniform, and the Cramer-von Mises one, int (F_M(u) - u)^2 du."""
    ordered, m = np.sort(pit), pit.size
    rank = np.arange(1, m + 1)
    distance = max((rank / m - ordered).max(), (ordered - (rank - 1) / m).max())
    squared = 1 / (12 * m * m) + ((ordered - (2 * rank - 1) / (2 * m)) ** 2).mean()
    return float(distance), float(squared)


def _calibration(
    pit: np.ndarray,
    pooled: np.ndarray,
    realised: np.ndarray,
    predicted_mean: float,
    clamped: np.ndarray,
    levels: Sequence[float],
    bins: int,
) -> Calibration:
    distance, squared = uniform_distances(pit)
    actual = np.quantile(realised, levels, method="inverted_cdf")
    rows = (
        QuantileRow(float(level), float(predicted), float(real), float((pit <= level).mean()))
        for level, predicted, real in zip(levels, pooled, actual)
    )
    return Calibration(
        pit=pit,
        histogram=np.histogram(pit, bins, (0.0, 1.0))[0] / pit.size,
        kolmogorov_smirnov=distance,
        cramer_von_mises=squared,
        quantiles=tuple(rows),
        coverage={level: float((np.abs(pit - 0.5) <= level / 2).mean()) for level in CENTRAL},
        bias=float(predicted_mean - realised.mean()),
        clamped_fraction=float(clamped.mean()),
        states=pit.size,
    )


def _weighted_quantiles(values: np.ndarray, weights: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Smallest of the ascending values [K] at which the cumulated weights [K] reach each level."""
    cumulative = np.cumsum(weights)
    index = np.searchsorted(cumulative, np.asarray(levels) * cumulative[-1] - 1e-12)
    return values[np.minimum(index, values.size - 1)]


def _categorical(atoms: ArrayLike, probs: ArrayLike, realised: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    support, weights, returns = numbers("atoms", atoms), numbers("probs", probs), _returns(realised)
    if support.ndim != 1 or support.size < 2 or not np.isfinite(support).all() or not (np.diff(support) > 0).all():
        raise AverseError("atoms must be at least two ascending finite numbers")
    if weights.shape != (returns.size, support.size):
        raise AverseError(
            f"probs {weights.shape} must be [states, atoms] = ({returns.size}, {support.size}) with realised [states]"
        )
    if not (weights >= 0).all() or not np.allclose(weights.sum(-1), 1.0, atol=1e-3):
        raise AverseError("probs must be non-negative and sum to 1 in every state")
    return support, weights / weights.sum(-1, keepdims=True), returns


def _quantiles(quantiles: ArrayLike, realised: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    predicted, returns = numbers("quantiles", quantiles), _returns(realised)
    if predicted.ndim != 2 or returns.shape != predicted.shape[:1] or predicted.shape[1] == 0:
        raise AverseError(f"quantiles {predicted.shape} must be [states, quantiles] with realised [states]")
    if not np.isfinite(predicted).all():
        raise AverseError("predicted quantiles must be finite")
    return np.sort(predicted, axis=-1), returns


def _returns(realised: ArrayLike) -> np.ndarray:
    returns = numbers("realised", realised)
    if returns.ndim == 1 and returns.size == 0:
        raise AverseError("realised is empty: no visited states to calibrate on")
    return sample(returns, "realised")


def _checked(treatment: str, seed: int, levels: Sequence[float] = LEVELS, bins: int = BINS) -> tuple[float, ...]:
    """The levels. Raises AverseError for the first argument that is not as it must be."""
    check_value("treatment", Treatment, treatment)
    check_value("seed", Whole, seed)
    check_value("bins", Count, bins)
    return check_value("levels", tuple[Confidence, ...], levels)
