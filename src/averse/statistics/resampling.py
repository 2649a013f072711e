"""Intervals of any figure of a weighted sample, whatever the weights stand for: the one place that makes them.

Many independent units (training seeds, or episodes): bootstrap. Few: Student's interval with the jackknife's standard
error, as a bootstrap of three values never leaves their range, which holds the truth three times out of four.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtrit

from averse.arguments import numbers
from averse.errors import AverseError
from averse.settings import Count, Whole, check_value
from averse.statistics.estimate import Estimate
from averse.statistics.samples import Confidence

Resample = Literal["seeds+episodes", "seeds", "episodes"]
RESAMPLES = 2_000
# Units below which Student's interval takes the bootstrap's place: measured coverage, docs/evaluation.md.
FEW_SEEDS = 20
FEW_VALUES = 8  # a jackknife of single values needs a smooth statistic, which the median is not
_CHUNK = 1_000_000  # drawn values held in memory at a time
_STREAM = 0xB007  # keeps the draws apart from others made with the same seed

Figures = Callable[[np.ndarray], np.ndarray]
"""Counts of the pooled values [r, n] -> figures [r, L]."""


def intervals(
    figures: Figures,
    values: np.ndarray,
    sizes: Sequence[int],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
    resample: Resample = "seeds+episodes",
) -> list[Estimate]:
    """The intervals of L figures of pooled values, all from the same resamples.

    Args:
      figures: of counts [r, n] of the pooled values: [r, L].
      values: the figures themselves, [L].
      sizes: of the training seeds' samples, in the order in which they are pooled.

    The other arguments, and Raises, as `averse.statistics.stratified_bootstrap_interval`.
    """
    check_resampling(confidence, seed, resamples, resample)
    strata = _strata(sizes, resample)
    if min(strata) < 2:  # a single unit, or a stratum of one, tells nothing of its spread
        return [Estimate(float(value)) for value in values]
    if min(strata) < (FEW_SEEDS if _by_seed(sizes, strata) else FEW_VALUES):
        replicates = np.concatenate([figures(counts) for counts in _leave_one_out(sizes, strata)])
        return [
            _student_interval(column, float(value), strata, confidence) for column, value in zip(replicates.T, values)
        ]
    replicates = np.concatenate([figures(counts) for counts in resample_counts(sizes, resamples, seed, resample)])
    return [
        percentile_interval(column, float(value), sum(strata), confidence)
        for column, value in zip(replicates.T, values)
    ]


def check_resampling(confidence: float, seed: int, resamples: int, resample: Resample) -> None:
    """Raises AverseError for the first of these that is not as it must be."""
    check_value("confidence", Confidence, confidence)
    check_value("seed", Whole, seed)
    check_value("resamples", Count, resamples)
    check_value("resample", Resample, resample)


def resample_counts(
    sizes: Sequence[int], resamples: int = RESAMPLES, seed: int = 0, resample: Resample = "seeds+episodes"
) -> Iterator[np.ndarray]:
    """How often each pooled value is drawn in each resample, in chunks: int64 [r, sum(sizes)], `resamples` rows in all.

    The kinds of `stratified_bootstrap_interval`. Rows sum to sum(sizes) where all sizes are equal.

    Raises AverseError for no sizes, sizes below 1, an unknown kind, a seed below 0, and fewer than one resample.
    """
    check_resampling(0.95, seed, resamples, resample)
    size = np.asarray(check_value("sizes", tuple[Count, ...], sizes), np.int64)
    if size.size == 0:
        raise AverseError("sizes is empty: no sample to draw from")
    return _drawn(size, resamples, seed, resample)


def _drawn(size: np.ndarray, resamples: int, seed: int, resample: Resample) -> Iterator[np.ndarray]:
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


def percentile_interval(replicates: ArrayLike, value: float, units: int, confidence: float = 0.95) -> Estimate:
    """The expanded percentile interval from bootstrap replicates [R] of a statistic of `units` independent units.

    The plain percentile interval is too narrow for few units, as the normal interval with the uncorrected variance is;
    the tail levels here are those at which the mean of normal data would get its Student interval:
    Phi(sqrt(n / (n - 1)) t_{n-1}(tail)) instead of tail (Hesterberg 2015, section 4.4). That helps as far as replicates
    reach: those of three values never leave the values' range, which is why the intervals of `averse.statistics` are
    Student's where units are few. Undefined replicates (NaN) are left out; one unit has no interval.

    Raises AverseError for replicates of several axes, units below 1, and a confidence outside (0, 1).
    """
    found = numbers("replicates", replicates)
    if found.ndim != 1:
        raise AverseError(f"replicates must have one axis, not shape {found.shape}")
    check_value("value", float, value)
    check_value("units", Count, units)
    check_value("confidence", Confidence, confidence)
    found = found[np.isfinite(found)]
    if units < 2 or found.size == 0:
        return Estimate(float(value))
    tail = float(ndtr(np.sqrt(units / (units - 1)) * stdtrit(units - 1, (1 - confidence) / 2)))
    low, high = np.quantile(found, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high))


def _strata(sizes: Sequence[int], resample: Resample) -> list[int]:
    """How many independent units a resampling draws from each of the sets that it draws from.

    The seeds are one set; where seeds are kept or single, each seed's episodes are one.
    """
    if resample == "episodes" or (len(sizes) == 1 and resample != "seeds"):
        return list(sizes)
    return [len(sizes)]


def _by_seed(sizes: Sequence[int], strata: Sequence[int]) -> bool:
    """Whether the units are training seeds rather than values."""
    return len(strata) < len(sizes)


def _leave_one_out(sizes: Sequence[int], strata: Sequence[int]) -> Iterator[np.ndarray]:
    """Counts of the pooled values [r, n] with one unit left out at a time, in chunks; a row per unit, in order.

    Where there are several strata, what is left of one stands for the whole of it.
    """
    seed_of = np.repeat(np.arange(len(sizes)), sizes)
    total = seed_of.size
    units, rows_per_chunk = sum(strata), max(1, _CHUNK // total)
    stratum_of = np.repeat(np.arange(len(strata)), strata)
    for first in range(0, units, rows_per_chunk):
        left_out = np.arange(first, min(first + rows_per_chunk, units))[:, None]
        if _by_seed(sizes, strata):
            yield (seed_of != left_out).astype(np.int64)
            continue
        size = np.asarray(strata)[stratum_of[left_out]]
        counts = np.where(seed_of == stratum_of[left_out], size, size - 1) if len(strata) > 1 else 1
        yield np.where(np.arange(total) == left_out, 0, counts)


def _student_interval(replicates: np.ndarray, value: float, strata: Sequence[int], confidence: float) -> Estimate:
    """Student's interval of a figure from what it is without each unit, [units].

    The standard error is the stratified jackknife's (for the mean of one stratum: the usual one, exactly), the degrees
    of freedom are Welch's. There is no interval where the figure is undefined without one of the units.
    """
    if not np.isfinite(replicates).all():
        return Estimate(value)
    parts = np.split(replicates, np.cumsum(strata)[:-1])
    variances = np.array([(n - 1) / n * ((part - part.mean()) ** 2).sum() for n, part in zip(strata, parts)])
    total = variances.sum()
    if total == 0.0:
        return Estimate(value, value, value)
    freedom = total**2 / (variances**2 / (np.asarray(strata) - 1)).sum()
    half = -float(stdtrit(freedom, (1 - confidence) / 2) * np.sqrt(total))
    return Estimate(value, value - half, value + half)
