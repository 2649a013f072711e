"""How often 95 % intervals over few training seeds hold the truth: made-up experiments whose truth is known."""

from collections.abc import Callable

import numpy as np
from scipy import stats

from averse.evaluation import Episodes, summarise
from averse.statistics import (
    Estimate,
    mean,
    paired_difference_interval,
    percentile_interval,
    resample_counts,
    standard_deviation,
    stratified_bootstrap_interval,
    worst,
)

EXPERIMENTS, BOOTSTRAPS, EPISODES = 400, 150, 200
TAIL = 0.05
Draw = Callable[[np.random.Generator], np.ndarray]
"""The values of one experiment, [seeds, episodes]."""


def held(interval: Callable[[np.ndarray], Estimate], draw: Draw, truth: float, experiments: int = EXPERIMENTS) -> float:
    """The share of experiments whose interval holds the truth."""
    found = [interval(draw(np.random.default_rng(k))) for k in range(experiments)]
    return sum(each.low <= truth <= each.high for each in found) / experiments


def normal(seeds: int, spread: float) -> Draw:
    """Seeds are N(0, spread^2), the episodes of each N(0, 1) around it."""
    return lambda generator: spread * generator.normal(size=(seeds, 1)) + generator.normal(size=(seeds, EPISODES))


def bootstrap(values: np.ndarray) -> Estimate:
    """The interval of the mean by a bootstrap, however few the seeds."""
    counts = np.concatenate(list(resample_counts([EPISODES] * len(values), 500)))
    return percentile_interval(mean.weighted(values.ravel(), counts.astype(float)), values.mean(), len(values))


def rate(values: np.ndarray) -> Estimate:
    """That of a metric which is 0 or 1 in each episode."""
    count = values.size
    table = Episodes(
        np.repeat(np.arange(len(values)), EPISODES), np.arange(count), np.arange(count) / count,
        np.ones(count, int), np.zeros(count, bool), {"event": values.ravel()},
    )  # fmt: skip
    return summarise(table, {"event": "1 if it happened"}, resamples=1).metrics["event"].mean


def events(seeds: int, probability: float, spread: float) -> Draw:
    """Each seed has a rate of its own: Beta with this mean and standard deviation."""
    total = probability * (1 - probability) / spread**2 - 1

    def draw(generator: np.random.Generator) -> np.ndarray:
        rates = generator.beta(probability * total, (1 - probability) * total, (seeds, 1))
        return (generator.random((seeds, EPISODES)) < rates).astype(float)

    return draw


def coverage() -> None:
    """Prints shares of experiments, for means, tails, standard deviations, rates and paired differences."""
    print(f"{EXPERIMENTS} experiments of {EPISODES} episodes per seed; of a bootstrap {BOOTSTRAPS}; nominal .95")
    print("seeds | mean, spread 0, .3, 1 (bootstrap) | worst 5 %, spread .3, 1 | std, spread .3, 1")
    for seeds in (2, 3, 5, 7, 10, 15):
        cells = []
        for spread in (0.0, 0.3, 1.0):
            found = held(lambda v: stratified_bootstrap_interval(v, mean), normal(seeds, spread), 0.0)
            old = held(bootstrap, normal(seeds, spread), 0.0, BOOTSTRAPS)
            cells.append(f"{found:.2f} ({old:.2f})")
        for statistic in (worst(TAIL), standard_deviation):
            for spread in (0.3, 1.0):
                scale = np.hypot(1.0, spread)
                tail = -scale * stats.norm.pdf(stats.norm.ppf(TAIL)) / TAIL
                truth = scale if statistic is standard_deviation else tail
                found = held(lambda v, s=statistic: stratified_bootstrap_interval(v, s), normal(seeds, spread), truth)  # type: ignore[misc]
                cells.append(f"{found:.2f}")
        print(f"{seeds:5} | " + " | ".join(cells))
    for probability, spread in ((0.02, 0.02), (0.1, 0.04), (0.1, 0.1), (0.5, 0.2)):
        cells = [f"{s} seeds {held(rate, events(s, probability, spread), probability):.2f}" for s in (2, 3, 5, 10)]
        print(f"rate {probability:g}, spread {spread:g}: " + ", ".join(cells))
    for seeds in (3, 5):
        shared = np.random.default_rng(seeds).normal(size=(seeds, EPISODES)) * 5
        found = held(lambda v, s=shared: paired_difference_interval(list(v + s), list(s)), normal(seeds, 0.5), 0.0)  # type: ignore[misc]
        print(f"paired differences, {seeds} seeds: {found:.2f}")
    for seeds in (3, 5, 10):
        skewed = held(
            lambda v: stratified_bootstrap_interval(v, mean),
            lambda g, s=seeds: g.exponential(size=(s, 1)) + g.normal(size=(s, EPISODES)),  # type: ignore[misc]
            1.0,
        )
        failing = held(
            lambda v: stratified_bootstrap_interval(v, mean),
            lambda g, s=seeds: -10.0 * (g.random((s, 1)) < 0.2) + g.normal(size=(s, EPISODES)),  # type: ignore[misc]
            -2.0,
        )
        print(f"{seeds} seeds: exponential spread {skewed:.2f}, one training in five fails {failing:.2f}")
