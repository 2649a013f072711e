"""The probability of improvement: Mann and Whitney's U, by scipy and by hand, and an interval that is never certain."""

import numpy as np
import pytest
from scipy import optimize, stats

from averse.errors import AverseError
from averse.statistics import percentile_interval, probability_of_improvement

RNG = np.random.default_rng(0)
SAMPLES = [(RNG.normal(size=n), RNG.normal(0.5, size=m)) for n, m in ((2, 2), (5, 5), (3, 8), (10, 10))]
SAMPLES.append((np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0, 0.0])))  # ties


@pytest.mark.parametrize(("x", "y"), SAMPLES)
def test_it_is_mann_and_whitneys_u_over_the_pairs(x, y):
    found = probability_of_improvement(x, y).value
    by_hand = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a in x for b in y])
    assert found == pytest.approx(stats.mannwhitneyu(x, y).statistic / (x.size * y.size), abs=1e-12)
    assert found == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(("x", "y"), SAMPLES)
def test_the_interval_holds_the_bootstraps_and_the_scores(x, y):
    """Each is made here in another way: resamples one by one, and the roots of Newcombe's equation by scipy."""
    found = probability_of_improvement(x, y, resamples=400)
    if min(x.size, y.size) >= 10:  # of fewer the levels are so far out that they are those of single resamples
        generator = np.random.default_rng(1)
        drawn = [
            stats.mannwhitneyu(generator.choice(x, x.size), generator.choice(y, y.size)).statistic / (x.size * y.size)
            for _ in range(400)
        ]
        bootstrap = percentile_interval(drawn, found.value, min(x.size, y.size))
        assert found.low <= bootstrap.low + 0.06
        assert found.high >= bootstrap.high - 0.06
    z, half, pairs = stats.norm.ppf(0.975), (x.size + y.size) / 2 - 1, x.size * y.size

    def beyond(p):
        return abs(found.value - p) - z * np.sqrt(
            p * (1 - p) * (1 + half * (1 - p) / (2 - p) + half * p / (1 + p)) / pairs
        )

    low, high = optimize.brentq(beyond, 1e-12, found.value), optimize.brentq(beyond, found.value, 1 - 1e-12)
    assert found.low == pytest.approx(min(low, found.low), abs=1e-9)
    assert found.high == pytest.approx(max(high, found.high), abs=1e-9)


def test_winning_every_time_is_not_certain():
    few, many = (probability_of_improvement(np.arange(n) + 100.0, np.arange(n)) for n in (3, 30))
    assert (few.value, few.high) == (many.value, many.high) == (1.0, 1.0)
    assert few.low < 0.75 < many.low < 1.0
    turned = probability_of_improvement(np.arange(3), np.arange(3) + 100.0)
    assert turned.low == 0.0
    assert turned.high == pytest.approx(1 - few.low, abs=1e-12)


def test_how_often_the_interval_holds_the_truth():
    generator, truth, held = np.random.default_rng(2), stats.norm.cdf(1 / np.sqrt(2)), 0
    for _ in range(200):
        found = probability_of_improvement(generator.normal(1, size=5), generator.normal(size=5), resamples=200)
        held += found.low <= truth <= found.high
    assert held >= 180


def test_one_training_has_no_interval():
    assert not probability_of_improvement([1.0], [0.0]).has_interval


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([], [1.0]), "first is empty"),
        (([1.0], [np.nan]), "second must be finite"),
        (([1.0], [1.0], 1.0), "confidence must be a number in"),
        (([1.0], [1.0], 0.9, 0, 0), "resamples must be a whole number"),
    ],
)
def test_what_is_refused(arguments, words):
    with pytest.raises(AverseError, match=words):
        probability_of_improvement(*arguments)
