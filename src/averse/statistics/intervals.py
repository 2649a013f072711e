"""Intervals over training seeds and episodes, of differences of paired samples, and of proportions."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from averse.errors import AverseError, shown
from averse.settings import Count, Whole, check_value
from averse.statistics.estimate import Estimate
from averse.statistics.figures import CVaRCurve, StandardDeviation, Statistic, mean
from averse.statistics.resampling import RESAMPLES, Resample, check_resampling, intervals
from averse.statistics.samples import Confidence, one_or_many, samples_by_seed

AnyStatistic = Statistic | Callable[[np.ndarray], float]


def bootstrap_interval(
    values: ArrayLike,
    statistic: AnyStatistic,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Interval of a statistic of independent values [n] (episodes of one policy).

    Says what another n episodes *of the same policy* would give; see `stratified_bootstrap_interval` for what
    training anew would give, and for how the interval is made: a bootstrap from 8 values on, Student's interval below.

    Raises AverseError for values that are no sample, a confidence outside (0, 1) and no resamples.
    """
    check_resampling(confidence, seed, resamples, "episodes")
    groups = one_or_many("values", values)
    if len(groups) > 1 or getattr(values, "ndim", 1) != 1:
        raise AverseError(f"values must have one axis, not shape {np.shape(values)}")
    return _estimated(_checked(statistic), groups, confidence, seed, resamples, "seeds+episodes")


def stratified_bootstrap_interval(
    values_by_seed: Sequence[ArrayLike] | np.ndarray,
    statistic: AnyStatistic,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
    resample: Resample = "seeds+episodes",
) -> Estimate:
    """Interval of a statistic of the pooled values of several training seeds (arrays [n], of any lengths).

    `resample` says what would be drawn anew:

    * "seeds+episodes" (default): S of the S training seeds, then for each drawn one as many of its episodes as it
      has. What S *new trainings*, evaluated on new episodes, would give. For the mean it is exact when seeds differ
      much more than their episodes' average does, and conservative (up to 1.4 times too wide) when seeds are equal.
    * "seeds": S of the S seeds, each with all its episodes.
    * "episodes": episodes within every seed, the seeds kept. What re-evaluating these very policies would give.
      With one array of training-seed scores *per task* this is rliable's stratified bootstrap (strata = tasks).

    With a single seed the first kind draws its episodes only, "seeds" gives no interval. Units that are drawn are seeds
    or, where seeds are kept or single, each seed's episodes.

    From 20 seeds on (8 values of each seed, where values are the units) it is a bootstrap, with replacement, and the
    expanded percentile interval of its replicates (`percentile_interval`). Below it is Student's interval around the
    value: the standard error is the jackknife's, which leaves out one unit at a time, with Welch's degrees of freedom
    where there are several sets of units. For a mean of equally long samples that is the textbook's interval over the
    seeds' means. A bootstrap of so few never leaves their range: at nominal .95 it held the mean of 3 seeds three times
    out of four. Where a set has one unit there is no interval.

    Measured coverage is in `docs/evaluation.md`. Known limit: where few seeds differ as much as their episodes do, the
    pooled *tail* is ruled by the worst seed, and its interval is too narrow.

    Raises AverseError for no sample at all, a sample that is empty, has another shape or is not finite, a statistic
    that cannot be called, a confidence outside (0, 1), no resamples, and an unknown `resample`.
    """
    check_resampling(confidence, seed, resamples, resample)
    groups = samples_by_seed("values_by_seed", values_by_seed)
    return _estimated(_checked(statistic), groups, confidence, seed, resamples, resample)


def cvar_curve_intervals(
    values_by_seed: Sequence[ArrayLike] | np.ndarray,
    alphas: ArrayLike,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
    resample: Resample = "seeds+episodes",
) -> dict[float, Estimate]:
    """`cvar` at every level with the pointwise intervals of `stratified_bootstrap_interval`: {alpha: Estimate}.

    `values_by_seed` is a list of arrays [n], one per training seed, of any lengths.

    Raises AverseError as that does, and for a level outside (0, 1].
    """
    check_resampling(confidence, seed, resamples, resample)
    groups, curve = samples_by_seed("values_by_seed", values_by_seed), CVaRCurve(alphas)
    pooled, sizes = np.concatenate(groups), [group.size for group in groups]
    found = intervals(
        lambda counts: curve.weighted(pooled, counts),
        curve.weighted(pooled, np.ones((1, pooled.size)))[0],
        sizes,
        confidence,
        seed,
        resamples,
        resample,
    )
    return dict(zip(curve.alphas.tolist(), found))


def paired_difference_interval(
    first: ArrayLike | Sequence[ArrayLike],
    second: ArrayLike | Sequence[ArrayLike],
    statistic: AnyStatistic = mean,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
    resample: Resample = "seeds+episodes",
) -> Estimate:
    """Interval of statistic(first) - statistic(second) on common random numbers.

    Both are arrays [n] whose entries belong to the same episode seeds, or lists of such arrays, one per training
    seed. Pairs are drawn (where units are few: left out) together, so that what both policies share (a hard episode, a
    training seed) cancels; else as `stratified_bootstrap_interval`.

    Raises AverseError for samples of unequal lengths, and for what `stratified_bootstrap_interval` refuses.
    """
    check_resampling(confidence, seed, resamples, resample)
    statistic = _checked(statistic)
    firsts, seconds = one_or_many("first", first), one_or_many("second", second)
    sizes = [len(x) for x in firsts]
    if sizes != [len(x) for x in seconds]:
        raise AverseError(f"paired samples must have equal lengths, not {sizes} and {[len(x) for x in seconds]}")
    a, b = np.concatenate(firsts), np.concatenate(seconds)
    return intervals(
        lambda counts: (_replicate(statistic, a, counts) - _replicate(statistic, b, counts))[:, None],
        np.array([_figure(statistic, a) - _figure(statistic, b)]),
        sizes,
        confidence,
        seed,
        resamples,
        resample,
    )[0]


def proportion_interval(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval of a proportion, for n independent trials; sensible at 0 and n successes too.

    Raises AverseError unless 0 <= successes <= n, n > 0, and the confidence is in (0, 1).
    """
    check_value("successes of a proportion", Whole, successes)
    check_value("n of a proportion", Count, n)
    check_value("confidence", Confidence, confidence)
    if successes > n:
        raise AverseError(f"a proportion needs 0 <= successes <= n and n > 0, not {successes} of {n}")
    z = float(ndtri(0.5 + confidence / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return Estimate(float(p), low, high)


def _estimated(
    statistic: AnyStatistic, groups: list[np.ndarray], confidence: float, seed: int, resamples: int, resample: Resample
) -> Estimate:
    pooled = np.concatenate(groups)
    found = intervals(
        lambda counts: _replicate(statistic, pooled, counts)[:, None],
        np.array([_figure(statistic, pooled)]),
        [group.size for group in groups],
        confidence,
        seed,
        resamples,
        resample,
    )[0]
    return within(found, low=0.0) if isinstance(statistic, StandardDeviation) else found


def within(estimate: Estimate, low: float = -math.inf, high: float = math.inf) -> Estimate:
    """The estimate with its interval cut to where the truth can be, [low, high] (a Student interval is symmetric)."""
    if not estimate.has_interval:
        return estimate
    return Estimate(estimate.value, max(estimate.low, low), min(estimate.high, high))


def _checked(statistic: AnyStatistic) -> AnyStatistic:
    if isinstance(statistic, type) or not callable(statistic):
        raise AverseError(f"statistic must be a function from values [n] to a number, not {shown(statistic)}")
    return statistic


def _figure(statistic: AnyStatistic, values: np.ndarray) -> float:
    """What a statistic says of a sample. Raises AverseError where that is no number."""
    found = statistic(values)
    try:
        return float(found)
    except (TypeError, ValueError):
        raise AverseError(f"statistic must tell one number of values [n], not {shown(found)}") from None


def _replicate(statistic: AnyStatistic, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The statistic of every resample: values [n], counts [r, n] -> [r]."""
    if isinstance(statistic, Statistic):
        return statistic.weighted(values, counts)
    return np.array([_figure(statistic, np.repeat(values, count)) for count in counts])
