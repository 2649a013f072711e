"""Honest figures of a sample of returns: tails, averages robust to a bad seed, and the intervals around them.

Everything is float64 numpy. A *statistic* is either any function `values [n] -> float` (`np.median`), or one of the
objects below, which also know their value under integer weights and are therefore resampled as one matrix operation:

* `mean`, `interquartile_mean`, `worst(alpha)`: a `QuantileMean`, the mean of the quantile function between two levels;
* `standard_deviation`.

Every function takes lists and arrays alike, and raises AverseError, which names the argument, for a sample that is
empty, has several axes or values that are not finite numbers: NaN is neither left out nor passed on.

Sources: Rockafellar, Uryasev 2002 (CVaR of discrete distributions); Agarwal et al. 2021, "Deep RL at the edge of the
statistical precipice" (interquartile mean, stratified bootstrap); Davison, Hinkley 1997, section 3.8 (two-level
bootstrap); Hesterberg 2015, "What teachers should know about the bootstrap" (expanded percentile interval); Efron,
Tibshirani 1993, chapter 11 (jackknife); Wilson 1927 (proportions).
"""

from averse.statistics.estimate import Estimate
from averse.statistics.figures import (
    QuantileMean,
    StandardDeviation,
    Statistic,
    cvar,
    cvar_curve,
    integrated_quantile,
    interquartile_mean,
    mean,
    standard_deviation,
    worst,
)
from averse.statistics.improvement import probability_of_improvement
from averse.statistics.intervals import (
    bootstrap_interval,
    cvar_curve_intervals,
    paired_difference_interval,
    proportion_interval,
    stratified_bootstrap_interval,
)
from averse.statistics.resampling import percentile_interval, resample_counts
from averse.statistics.samples import sample

__all__ = [
    "Estimate",
    "QuantileMean",
    "StandardDeviation",
    "Statistic",
    "bootstrap_interval",
    "cvar",
    "cvar_curve",
    "cvar_curve_intervals",
    "integrated_quantile",
    "interquartile_mean",
    "mean",
    "paired_difference_interval",
    "percentile_interval",
    "probability_of_improvement",
    "proportion_interval",
    "resample_counts",
    "sample",
    "standard_deviation",
    "stratified_bootstrap_interval",
    "worst",
]


def __dir__() -> list[str]:
    return __all__
