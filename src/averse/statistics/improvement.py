"""How often one method beats another: the probability of improvement of Agarwal et al. 2021."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from averse.statistics.estimate import Estimate
from averse.statistics.resampling import RESAMPLES, check_resampling, percentile_interval
from averse.statistics.samples import sample

_STREAM = 0x1417  # keeps the draws apart from others made with the same seed


def probability_of_improvement(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The probability that a training of one method comes to a better score than a training of another.

    P(X > Y) + P(X = Y) / 2 for independent trainings X and Y: Mann and Whitney's U over the number of pairs. The
    interval is that of a bootstrap that draws the scores of either method anew (Agarwal et al. 2021, "Deep RL at the
    edge of the statistical precipice"), widened to Newcombe's score interval (2006, "Confidence intervals for an effect
    size measure based on the Mann-Whitney statistic", part 2, method 5): where every score of one method beats every
    score of the other, a bootstrap would claim certainty.

    Args:
      first: scores [n] of the method that is to be better, one per training seed; larger is better.
      second: scores [m] of the other.
      confidence: of the interval, in (0, 1).
      seed: of the resampling.
      resamples: how many.

    Raises AverseError for what is no sample, a confidence outside (0, 1), and no resamples.
    """
    check_resampling(confidence, seed, resamples, "seeds")
    x, y = sample(first, "first"), sample(second, "second")
    wins = np.where(x[:, None] == y, 0.5, x[:, None] > y)
    value = float(wins.mean())
    if min(x.size, y.size) < 2:
        return Estimate(value)
    generator = np.random.default_rng([seed, _STREAM])
    of_first = generator.multinomial(x.size, np.full(x.size, 1 / x.size), resamples) / x.size
    of_second = generator.multinomial(y.size, np.full(y.size, 1 / y.size), resamples) / y.size
    drawn = np.einsum("rn,nm,rm->r", of_first, wins, of_second)
    bootstrap = percentile_interval(drawn, value, min(x.size, y.size), confidence)
    low, high = _score_interval(value, x.size, y.size, confidence)
    return Estimate(value, max(0.0, min(low, bootstrap.low)), min(1.0, max(high, bootstrap.high)))


def _score_interval(value: float, n: int, m: int, confidence: float) -> tuple[float, float]:
    """Newcombe's: all probabilities p from which the value is at most z standard errors (those of p) away."""
    z, half = float(ndtri(0.5 + confidence / 2)), (n + m) / 2 - 1

    def beyond(p: np.ndarray) -> np.ndarray:
        variance = p * (1 - p) * (1 + half * (1 - p) / (2 - p) + half * p / (1 + p)) / (n * m)
        return (value - p) ** 2 - z * z * variance

    ends = []
    for outer in (0.0, 1.0):  # bisection: within the interval at the value, beyond it at the end
        inside, outside = value, outer
        if beyond(np.array(outer)) <= 0:
            ends.append(outer)
            continue
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if beyond(np.array(middle)) <= 0 else (inside, middle)
        ends.append(inside)
    return ends[0], ends[1]
