"""Honest figures of a sample of returns: tails, averages robust to a bad seed, and the intervals around them.

Everything is float64 numpy. A *statistic* is either any function `values [n] -> float` (`np.median`), or one of the
objects below, which also know their value under integer weights and are therefore resampled as one matrix operation:

* `mean`, `interquartile_mean`, `worst(alpha)`: a `QuantileMean`, the mean of the quantile function between two levels;
* `standard_deviation`.

Every function raises AverseError for a sample that is empty, has several axes or values that are not finite.

Sources: Rockafellar, Uryasev 2002 (CVaR of discrete distributions); Agarwal et al. 2021, "Deep RL at the edge of the
statistical precipice" (interquartile mean, stratified bootstrap); Davison, Hinkley 1997, section 3.8 (two-level
bootstrap); Hesterberg 2015, "What teachers should know about the bootstrap" (expanded percentile interval);
Wilson 1927 (proportions).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtrit

from averse.errors import AverseError

__all__ = [
    "Estimate",
    "QuantileMean",
    "StandardDeviation",
    "Statistic",
    "bootstrap_interval",
    "cvar",
    "cvar_curve",
    "cvar_curve_intervals",
    "interquartile_mean",
    "mean",
    "paired_difference_interval",
    "proportion_interval",
    "standard_deviation",
    "stratified_bootstrap_interval",
    "worst",
]

Resample = Literal["seeds+episodes", "seeds", "episodes"]
RESAMPLES = 2_000
_CHUNK = 1_000_000  # drawn values held in memory at a time
_STREAM = 0xB007  # keeps the draws apart from others made with the same seed


# ----------------------------------------------------------------------------------------------------- estimates


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval. `low` and `high` are NaN where no interval can be given (a sample of one)."""

    value: float  # the figure, in units of what it is a figure of
    low: float = float("nan")
    high: float = float("nan")

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def to_dict(self) -> dict[str, float | None]:
        """Ready for JSON: what is not a finite number is None."""
        return {"value": _finite(self.value), "low": _finite(self.low), "high": _finite(self.high)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, float | None]) -> "Estimate":
        """The inverse of `to_dict`; what is None or missing becomes NaN."""
        return cls(*(float("nan") if fields.get(k) is None else float(fields[k]) for k in ("value", "low", "high")))  # type: ignore[arg-type]

    def __format__(self, spec: str) -> str:
        """`f"{estimate:.1%}"` -> "2.5% [1.8%, 3.4%]"; without a format, as many decimals as the interval justifies."""
        if not np.isfinite(self.value):
            return "undefined"
        spec = spec or f".{self._decimals()}f"
        text = format(self.value + 0.0, spec)
        return f"{text} [{self.low + 0.0:{spec}}, {self.high + 0.0:{spec}}]" if self.has_interval else text

    def __str__(self) -> str:
        return format(self)

    def _decimals(self) -> int:
        """Decimals that show the interval's width (or, without one, the value) to two significant digits, 0..6."""
        width = self.high - self.low if self.has_interval else abs(self.value)
        return 2 if width <= 0 or not np.isfinite(width) else int(np.clip(1 - np.floor(np.log10(width)), 0, 6))


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


# ----------------------------------------------------------------------------------------------------- statistics


@runtime_checkable
class Statistic(Protocol):
    """A figure of a sample that is also defined under weights, so that a bootstrap needs no loop."""

    def __call__(self, values: ArrayLike) -> float:
        """The figure of a sample, values [n]."""
        ...

    def weighted(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The figure where values [n] occur weights [R, n] times; [R]."""
        ...


@dataclass(frozen=True)
class QuantileMean:
    """The mean of the quantile function over the levels (low, high): a trimmed mean with fractional end samples.

    (0, 1) is the mean, (0, alpha) the CVaR of the lower tail, (.25, .75) the interquartile mean.

    Raises AverseError unless 0 <= low < high <= 1.
    """

    low: float  # level in [0, 1]
    high: float  # level in [0, 1]

    def __post_init__(self) -> None:
        if not 0.0 <= self.low < self.high <= 1.0:
            raise AverseError(f"quantile levels must satisfy 0 <= low < high <= 1, not ({self.low}, {self.high})")

    def __call__(self, values: ArrayLike) -> float:
        values = sample(values)
        return float(self.weighted(values, np.ones((1, values.size)))[0])

    def weighted(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if (self.low, self.high) == (0.0, 1.0):
            return weights @ values / weights.sum(-1)
        low, high = integrated_quantile(values, weights, [self.low, self.high]).T
        return (high - low) / (self.high - self.low)


@dataclass(frozen=True)
class StandardDeviation:
    """The standard deviation of the sample as a population (divided by n, not n - 1)."""

    def __call__(self, values: ArrayLike) -> float:
        return float(sample(values).std())

    def weighted(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        centred = values - values.mean()  # against cancellation
        total = weights.sum(-1)
        variance = weights @ centred**2 / total - (weights @ centred / total) ** 2
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
    if not 0.0 < alpha <= 1.0:
        raise AverseError(f"alpha must be in (0, 1], not {alpha}: it is the tail mass to average over")
    return QuantileMean(0.0, float(alpha))


def cvar(returns: ArrayLike, alpha: float) -> float:
    """Mean of the worst `alpha` mass of returns [n], the last sample counted by the fraction that falls in the tail.

    cvar([1, 2, 3, 4], .375) = (1 * 1 + .5 * 2) / 1.5. alpha = 1 is the mean; alpha <= 1/n the minimum. In units of the
    returns. Raises AverseError for an alpha outside (0, 1].
    """
    return worst(alpha)(returns)


def cvar_curve(returns: ArrayLike, alphas: ArrayLike) -> np.ndarray:
    """`cvar` at every level: returns [n], alphas [L] -> [L], non-decreasing in alpha. Raises AverseError as it does."""
    return _CVaRCurve(alphas)(returns)


class _CVaRCurve:
    """All levels at once (a statistic of L figures): one sort and one pass over the weights."""

    def __init__(self, alphas: ArrayLike):
        self.alphas = np.array([worst(alpha).high for alpha in np.atleast_1d(np.asarray(alphas, float))])

    def __call__(self, values: ArrayLike) -> np.ndarray:
        values = sample(values)
        return self.weighted(values, np.ones((1, values.size)))[0]

    def weighted(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return integrated_quantile(values, weights, self.alphas) / self.alphas


def integrated_quantile(values: np.ndarray, weights: np.ndarray, levels: ArrayLike) -> np.ndarray:
    """Integral from 0 to each level of the quantile function of a weighted sample (its generalised Lorenz curve).

    values [n], non-negative weights [R, n] with positive row sums, levels [L] in [0, 1] -> [R, L].
    """
    levels = np.asarray(levels, float)
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


# ----------------------------------------------------------------------------------------------------- bootstrap


def bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic | Callable[[np.ndarray], float],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Bootstrap interval of a statistic of independent values [n] (episodes of one policy).

    Says what another n episodes *of the same policy* would give; see `stratified_bootstrap_interval` for what
    training anew would give. The interval is the expanded percentile interval (see `percentile_interval`). Raises
    AverseError for a confidence outside (0, 1) and for no resamples.
    """
    return stratified_bootstrap_interval([values], statistic, confidence, seed, resamples)


def stratified_bootstrap_interval(
    values_by_seed: Sequence[ArrayLike],
    statistic: Statistic | Callable[[np.ndarray], float],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
    resample: Resample = "seeds+episodes",
) -> Estimate:
    """Bootstrap interval of a statistic of the pooled values of several training seeds (arrays [n], of any lengths).

    `resample` says what is drawn anew, always with replacement:

    * "seeds+episodes" (default): S of the S training seeds, then for each drawn one as many of its episodes as it
      has. What S *new trainings*, evaluated on new episodes, would give. For the mean it is exact when seeds differ
      much more than their episodes' average does, and conservative (up to 1.4 times too wide) when seeds are equal.
    * "seeds": S of the S seeds, each with all its episodes.
    * "episodes": episodes within every seed, the seeds kept. What re-evaluating these very policies would give.
      With one array of training-seed scores *per task* this is rliable's stratified bootstrap (strata = tasks).

    With a single seed the first kind draws its episodes only, "seeds" gives no interval. Known limit: with few seeds
    that differ much, the pooled *tail* is ruled by the worst seed, and any bootstrap of it is too narrow.
    Raises AverseError for no samples, an unknown `resample`, a confidence outside (0, 1), and no resamples.

    Measured coverage of the default at nominal .95 (`tests/test_statistics.py`): mean .93-1, CVaR .1 of
    10 seeds .95-.99 unless the seeds' spread rivals that of episodes.

    Raises AverseError for no sample at all, a sample that is empty, has another shape or is not finite, a confidence
    outside (0, 1), and an unknown `resample`.
    """
    groups = [sample(values) for values in values_by_seed]
    if not groups:
        raise AverseError("no training seed to compute a statistic of: the list of samples is empty")
    pooled = np.concatenate(groups)
    sizes = [group.size for group in groups]
    replicates = [_replicate(statistic, pooled, counts) for counts in resample_counts(sizes, resamples, seed, resample)]
    value = float(statistic(pooled))
    return percentile_interval(np.concatenate(replicates), value, _units(sizes, resample), confidence)


def cvar_curve_intervals(
    values_by_seed: Sequence[ArrayLike],
    alphas: Sequence[float],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
    resample: Resample = "seeds+episodes",
) -> dict[float, Estimate]:
    """`cvar` at every level with the pointwise intervals of `stratified_bootstrap_interval`: {alpha: Estimate}.

    `values_by_seed` is a list of arrays [n], one per training seed, of any lengths.

    Raises AverseError as that does, and for a level outside (0, 1].
    """
    groups = [sample(values) for values in values_by_seed]
    if not groups:
        raise AverseError("no training seed to compute a statistic of: the list of samples is empty")
    pooled, sizes, curve = np.concatenate(groups), [group.size for group in groups], _CVaRCurve(alphas)
    replicates = np.concatenate(
        [curve.weighted(pooled, counts) for counts in resample_counts(sizes, resamples, seed, resample)]
    )
    units = _units(sizes, resample)
    return {
        float(alpha): percentile_interval(replicates[:, i], float(value), units, confidence)
        for i, (alpha, value) in enumerate(zip(curve.alphas, curve(pooled)))
    }


def paired_difference_interval(
    first: ArrayLike | Sequence[ArrayLike],
    second: ArrayLike | Sequence[ArrayLike],
    statistic: Statistic | Callable[[np.ndarray], float] = mean,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
    resample: Resample = "seeds+episodes",
) -> Estimate:
    """Interval of statistic(first) - statistic(second) on common random numbers.

    Both are arrays [n] whose entries belong to the same episode seeds, or lists of such arrays, one per training
    seed. Pairs are drawn together, so that what both policies share (a hard episode, a training seed) cancels. Raises
    AverseError for samples of unequal lengths, and for what `stratified_bootstrap_interval` refuses.
    """
    firsts, seconds = _as_groups(first), _as_groups(second)
    if [len(x) for x in firsts] != [len(x) for x in seconds]:
        raise AverseError(
            f"paired samples must have equal lengths, not {[len(x) for x in firsts]} and {[len(x) for x in seconds]}"
        )
    sizes, a, b = [len(x) for x in firsts], np.concatenate(firsts), np.concatenate(seconds)
    replicates = [
        _replicate(statistic, a, counts) - _replicate(statistic, b, counts)
        for counts in resample_counts(sizes, resamples, seed, resample)
    ]
    value = float(statistic(a)) - float(statistic(b))
    return percentile_interval(np.concatenate(replicates), value, _units(sizes, resample), confidence)


def resample_counts(
    sizes: Sequence[int], resamples: int = RESAMPLES, seed: int = 0, resample: Resample = "seeds+episodes"
) -> Iterator[np.ndarray]:
    """How often each pooled value is drawn in each resample, in chunks: int64 [r, sum(sizes)], `resamples` rows in all.

    The kinds of `stratified_bootstrap_interval`. Rows sum to sum(sizes) where all sizes are equal. Raises AverseError
    for an unknown kind and for fewer than one resample.
    """
    if resample not in ("seeds+episodes", "seeds", "episodes"):
        raise AverseError(f'resample must be "seeds+episodes", "seeds" or "episodes", not {resample!r}')
    if resamples < 1:
        raise AverseError(f"resamples must be at least 1, not {resamples}")
    size = np.asarray(sizes, np.int64)
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    groups, total, longest = size.size, int(size.sum()), int(size.max())
    within = np.arange(longest, dtype=np.int64)
    generator = np.random.default_rng([seed, _STREAM])
    rows_per_chunk = max(1, _CHUNK // (groups * longest))
    for first in range(0, resamples, rows_per_chunk):
        rows = min(rows_per_chunk, resamples - first)
        if resample == "episodes":
            chosen = np.broadcast_to(np.arange(groups), (rows, groups))
        else:
            chosen = generator.integers(0, groups, (rows, groups))
        offset = (start[chosen] + total * np.arange(rows)[:, None])[..., None]
        shape = (rows, groups, longest)
        if resample == "seeds":
            position = np.broadcast_to(offset + within, shape)
        elif (size == longest).all():
            position = offset + generator.integers(0, longest, shape, dtype=np.int32)
        else:
            position = offset + generator.integers(0, size[chosen][..., None], shape)
        if (size != longest).any():
            position = position[within < size[chosen][..., None]]
        yield np.bincount(position.ravel(), minlength=rows * total).reshape(rows, total)


def percentile_interval(replicates: np.ndarray, value: float, units: int, confidence: float = 0.95) -> Estimate:
    """The expanded percentile interval from bootstrap replicates [R] of a statistic of `units` independent units.

    The plain percentile interval is too narrow for few units (training seeds), as the normal interval with the
    uncorrected variance is; the tail levels here are those at which the mean of normal data would get its Student
    interval: Phi(sqrt(n / (n - 1)) t_{n-1}(tail)) instead of tail (Hesterberg 2015, section 4.4). Undefined
    replicates (NaN) are left out; one unit has no interval. Raises AverseError for a confidence outside (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise AverseError(f"confidence must be in (0, 1), not {confidence}")
    replicates = replicates[np.isfinite(replicates)]
    if units < 2 or replicates.size == 0:
        return Estimate(float(value))
    tail = float(ndtr(np.sqrt(units / (units - 1)) * stdtrit(units - 1, (1 - confidence) / 2)))
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high))


def _replicate(statistic: Callable, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The statistic of every resample: values [n], counts [r, n] -> [r]."""
    if isinstance(statistic, Statistic):
        return statistic.weighted(values, counts)
    return np.array([float(statistic(np.repeat(values, count))) for count in counts])


def _units(sizes: Sequence[int], resample: Resample) -> int:
    """Number of independent units a resampling draws: the seeds, or the episodes where seeds are kept or single."""
    return sum(sizes) if resample == "episodes" or (len(sizes) == 1 and resample != "seeds") else len(sizes)


# ----------------------------------------------------------------------------------------------------- proportions


def proportion_interval(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval of a proportion, for n independent trials; sensible at 0 and n successes too.

    Raises AverseError unless 0 <= successes <= n, n > 0, and the confidence is in (0, 1).
    """
    if n <= 0 or not 0 <= successes <= n:
        raise AverseError(f"a proportion needs 0 <= successes <= n and n > 0, not {successes} of {n}")
    if not 0.0 < confidence < 1.0:
        raise AverseError(f"confidence must be in (0, 1), not {confidence}")
    z = float(ndtri(0.5 + confidence / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return Estimate(p, low, high)


# ----------------------------------------------------------------------------------------------------- input checks


def sample(values: ArrayLike) -> np.ndarray:
    """`values` as a checked float64 [n]. Raises AverseError unless there is one axis, not empty, and all are finite."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise AverseError(f"a sample must have one axis, not shape {values.shape}")
    if values.size == 0:
        raise AverseError("a sample is empty: no episode to compute a statistic of")
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise AverseError(f"a sample must be finite, but value {bad} of {values.size} is {values[bad]}")
    return values


def _as_groups(values: ArrayLike | Sequence[ArrayLike]) -> list[np.ndarray]:
    """An array [n] or a list of arrays (one per training seed), as a list of checked samples."""
    grouped = isinstance(values, (list, tuple)) and len(values) > 0 and np.ndim(values[0]) > 0
    if grouped or (isinstance(values, np.ndarray) and values.ndim == 2):
        return [sample(group) for group in values]  # type: ignore[union-attr]
    return [sample(values)]  # type: ignore[arg-type]
