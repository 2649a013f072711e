"""Intervals over few training seeds: Student's, as wide as they claim."""

import numpy as np
import pytest
from scipy import stats

from averse.errors import AverseError
from averse.evaluation import Episodes, summarise
from averse.evaluation.summary import seed_spread
from averse.report.plots import interquartile_band
from averse.statistics import (
    bootstrap_interval,
    cvar,
    cvar_curve_intervals,
    interquartile_mean,
    mean,
    paired_difference_interval,
    proportion_interval,
    standard_deviation,
    stratified_bootstrap_interval,
    worst,
)

REPETITIONS = 300


def students(values, confidence=0.95):
    """The textbook's interval of the mean of independent values."""
    return stats.t.interval(confidence, len(values) - 1, np.mean(values), stats.sem(values))


def ends(estimate):
    return estimate.low, estimate.high


def coverage(interval_of, truth, seeds, spread, episodes=40):
    """How often an interval holds the truth where seeds are N(0, spread^2) and episodes N(0, 1) around them."""
    hits = 0
    for repetition in range(REPETITIONS):
        generator = np.random.default_rng(repetition)
        values = spread * generator.normal(size=(seeds, 1)) + generator.normal(size=(seeds, episodes))
        low, high = ends(interval_of(values))
        hits += low <= truth <= high
    return hits / REPETITIONS


@pytest.mark.parametrize(("seeds", "spread"), [(2, 1.0), (3, 1.0), (3, 0.2), (5, 1.0), (7, 0.5), (19, 1.0)])
def test_the_mean_of_few_seeds_is_covered(seeds, spread):
    """Nominal .95; a bootstrap of 3 seeds has .75-.8, of 5 .91."""
    found = coverage(lambda values: stratified_bootstrap_interval(values, mean), 0.0, seeds, spread)
    assert 0.925 <= found <= 0.98


@pytest.mark.parametrize("seeds", [3, 5])
def test_paired_differences_of_few_seeds_are_covered(seeds):
    """Two methods on the same seeds, whose difference differs by seed; a shared part cancels."""

    def interval(values):
        shared = np.random.default_rng(int(1e6 * abs(values[0, 0]))).normal(size=values.shape) * 5
        return paired_difference_interval(list(values + shared), list(shared))

    assert 0.925 <= coverage(interval, 0.0, seeds, 0.5) <= 0.98


@pytest.mark.parametrize(("statistic", "seeds", "least"), [(worst(0.1), 3, 0.88), (standard_deviation, 4, 0.88)])
def test_tails_of_few_seeds_are_nearly_covered_where_seeds_differ_less_than_episodes(statistic, seeds, least):
    """Spread .3: the pooled distribution is normal with variance 1.09."""
    scale = np.sqrt(1.09)
    tail = -stats.norm.pdf(stats.norm.ppf(0.1)) / 0.1 * scale
    truth = scale if statistic is standard_deviation else tail
    found = coverage(lambda values: stratified_bootstrap_interval(values, statistic), truth, seeds, 0.3, episodes=200)
    assert found >= least


def test_strata_of_few_scores_are_covered():
    """26 tasks with 3 scores each, their aggregate of few scores: a bootstrap within tasks has .89."""
    hits = 0
    for repetition in range(REPETITIONS):
        generator = np.random.default_rng(repetition)
        scores = generator.normal(size=(26, 3))
        low, high = ends(stratified_bootstrap_interval(scores, mean, resample="episodes"))
        hits += low <= 0 <= high
    assert 0.925 <= hits / REPETITIONS <= 0.98


@pytest.mark.parametrize("seeds", [2, 3, 7, 19])
def test_equally_long_samples_have_students_interval_of_the_seeds_means(seeds):
    values = np.random.default_rng(seeds).normal(size=(seeds, 30)) + np.arange(seeds)[:, None]
    for confidence in (0.8, 0.95):
        expected = pytest.approx(students(values.mean(1), confidence))
        for statistic in (mean, np.mean):
            assert ends(stratified_bootstrap_interval(list(values), statistic, confidence)) == expected
        assert ends(stratified_bootstrap_interval(values, mean, confidence, resample="seeds")) == expected
        assert ends(cvar_curve_intervals(values, [0.5, 1.0], confidence)[1.0]) == expected
        assert ends(paired_difference_interval(list(values), list(0 * values), mean, confidence)) == expected


def test_seeds_of_unequal_lengths_weigh_by_their_episodes():
    """The ratio estimate of cluster sampling (Cochran 1977, section 6.3), to first order."""
    generator = np.random.default_rng(0)
    groups = [generator.normal(k, 1, size) for k, size in ((0.0, 200), (0.1, 220), (-0.1, 210), (0.05, 190))]
    sizes, means = np.array([len(g) for g in groups]), np.array([g.mean() for g in groups])
    center = np.concatenate(groups).mean()
    error = np.sqrt(4 / 3 * (sizes**2 * (means - center) ** 2).sum()) / sizes.sum()
    expected = center + np.array([-1, 1]) * stats.t.ppf(0.975, 3) * error
    assert ends(stratified_bootstrap_interval(groups, mean)) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("count", [2, 4, 7])
def test_few_episodes_of_one_policy_have_students_interval_too(count):
    values = np.random.default_rng(count).normal(size=count)
    assert ends(bootstrap_interval(values, mean)) == pytest.approx(students(values))
    other = np.random.default_rng(9).normal(size=count)
    assert ends(paired_difference_interval(values, other)) == pytest.approx(students(values - other))


def test_strata_of_one_value_claim_no_certainty():
    for groups in ([[1.0], [2.0], [3.0]], [[1.0, 2.0], [3.0]]):
        assert not stratified_bootstrap_interval(groups, mean, resample="episodes").has_interval
    assert stratified_bootstrap_interval([[1.0], [2.0], [3.0]], mean).has_interval  # three seeds of an episode each


def test_a_constant_is_certain():
    assert ends(stratified_bootstrap_interval(np.full((3, 5), 500.0), mean)) == (500.0, 500.0)


def test_a_standard_deviation_is_not_negative():
    values = np.random.default_rng(0).normal(size=(2, 50)) * [[0.1], [5.0]]
    assert stratified_bootstrap_interval(values, standard_deviation).low == 0.0


def episodes_of(values, crossing=None, collision=None):
    seeds, count = values.shape
    metrics = {"crossing_time": values.ravel() if crossing is None else crossing}
    if collision is not None:
        metrics["collision"] = collision
    return Episodes(
        np.repeat(np.arange(seeds), count), np.arange(values.size), values.ravel(), 10 + np.arange(values.size),
        np.zeros(values.size, bool), metrics,
    )  # fmt: skip


def test_all_means_of_a_summary_are_students():
    values = np.random.default_rng(1).normal(size=(3, 400)) + np.array([[0.0], [0.4], [1.0]])
    summary = summarise(episodes_of(values))
    expected = pytest.approx(students(values.mean(1)))
    for estimate in (summary.mean, summary.metrics["crossing_time"].mean, summary.cvar_curve[1.0]):
        assert ends(estimate) == expected
    lengths = (10 + np.arange(values.size)).reshape(values.shape)
    assert ends(summary.length) == pytest.approx(students(lengths.mean(1)))


def test_a_metric_that_one_seed_alone_has_gets_no_interval():
    """As one seed tells nothing of the others; the mean over the defined stays."""
    crossing = np.full(1200, np.nan)
    crossing[:5] = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = summarise(episodes_of(np.random.default_rng(0).normal(size=(3, 400)), crossing)).metrics["crossing_time"]
    assert found.mean.value == 3.0
    assert not found.mean.has_interval


def test_a_collision_rate_stays_one():
    collision = np.repeat([0.0, 0.0, 1.0], 400)
    rate = summarise(episodes_of(np.zeros((3, 400)), collision=collision)).collision_rate
    assert ends(rate) == (0.0, 1.0)


EVENT, FRACTION = "1 if the pole fell", "fraction of the steps that were risky"


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_rate_of_few_seeds_is_covered_within_0_and_1(seeds):
    """Seeds' rates are Beta(5, 45) around .1; Student's interval alone goes below 0 in a part of these experiments."""
    covered = outside = 0
    for repetition in range(REPETITIONS):
        generator = np.random.default_rng(repetition)
        events = (generator.random((seeds, 200)) < generator.beta(5, 45, (seeds, 1))).astype(float)
        outside += events.mean(1).std() > 0 and students(events.mean(1))[0] < 0
        table = Episodes(
            np.repeat(np.arange(seeds), 200), np.arange(events.size), events.ravel(), np.ones(events.size, int),
            np.zeros(events.size, bool), {"failure": events.ravel()},
        )  # fmt: skip
        rate = summarise(table, {"failure": EVENT}, resamples=1).metrics["failure"].mean
        assert 0.0 <= rate.low <= rate.value <= rate.high <= 1.0
        covered += rate.low <= 0.1 <= rate.high
    assert outside > 0
    assert 0.92 <= covered / REPETITIONS <= 0.99


def test_what_is_a_rate_is_said_by_the_words_and_by_the_values():
    values = np.repeat([[0.0], [0.0], [1.0]], 400, axis=1)

    def found(metric, words):
        made = episodes_of(np.zeros((3, 400)), metric.ravel())
        return ends(summarise(made, {"crossing_time": words}, resamples=1).metrics["crossing_time"].mean)

    uncut = pytest.approx(students([0.0, 0.0, 1.0]))
    assert uncut.expected[0] < 0 < 1 < uncut.expected[1]
    assert found(values, "cars that arrived (0-2)") == uncut
    assert found(values, EVENT) == found(values, FRACTION) == (0.0, 1.0)
    assert found(values + 1, EVENT) == pytest.approx(students([1.0, 1.0, 2.0]))  # no rate, whatever its words
    assert found(0 * values, FRACTION) == (0.0, 0.0)
    assert found(0 * values, EVENT) == ends(proportion_interval(0, 1200))  # none was seen, which is not never


def test_a_summary_says_where_tails_are_narrower_than_they_claim():
    generator = np.random.default_rng(0)
    for seeds, spread, warned in ((3, 2.0, True), (10, 2.0, True), (3, 0.1, False), (25, 2.0, False)):
        values = spread * generator.normal(size=(seeds, 1)) + generator.normal(size=(seeds, 400))
        words = summarise(episodes_of(values), resamples=50).warning
        assert (words is not None and "narrower than they claim" in words) == warned


def test_the_spread_of_seeds_is_without_what_their_episodes_explain():
    generator = np.random.default_rng(0)
    same = generator.normal(size=(200, 10))
    assert seed_spread(list(same)) < 0.15  # of the raw means it would be .32
    assert seed_spread(list(same + 2 * generator.normal(size=(200, 1)))) == pytest.approx(2.1, abs=0.2)
    assert seed_spread([np.zeros(3), np.ones(3)]) == np.inf
    assert seed_spread([np.zeros(3), np.zeros(3)]) == 0.0


def test_bands_of_learning_curves_are_wider_than_the_seeds_range():
    values = np.array([[1.0], [2.0], [4.0]])
    middle, low, high = interquartile_band(values)
    assert (low[0], high[0]) == ends(bootstrap_interval([1.0, 2.0, 4.0], interquartile_mean))
    assert low[0] < 1.0 < 4.0 < high[0]
    assert middle[0] == interquartile_mean([1.0, 2.0, 4.0])


# ------------------------------------------------------------------------------------------------------ bad input

nan, inf = float("nan"), float("inf")
PAIR = [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cvar([1.0, nan], 0.5), "returns must be finite, but value 1 of 2 is nan"),
        (lambda: cvar([-inf, 1.0], 0.5), "returns must be finite, but value 0 of 2 is -inf"),
        (lambda: cvar([], 0.5), "returns is empty"),
        (lambda: cvar("12", 0.5), "returns must be numbers"),
        (lambda: cvar(["1", "2"], 0.5), "returns must be numbers"),
        (lambda: cvar(None, 0.5), "returns must be numbers"),
        (lambda: cvar([[1.0], [1.0, 2.0]], 0.5), "returns must be numbers"),
        (lambda: cvar([1.0 + 2j], 0.5), "returns must be numbers"),
        (lambda: cvar([1.0], "0.5"), "alpha must be a number in"),
        (lambda: cvar([1.0], True), "alpha must be a number in"),
        (lambda: cvar_curve_intervals(PAIR, [0.5, 1.5]), r"alphas\[1\] must be"),
        (lambda: cvar_curve_intervals(PAIR, []), "alphas must be one or more"),
        (lambda: mean([nan]), "values must be finite"),
        (lambda: mean.weighted([1.0, 2.0], [[0.0, 0.0]]), "weights must not be all 0"),
        (lambda: worst(0.5).weighted([1.0, 2.0], [[1.0, -1.0]]), "weights must be finite numbers from 0 on"),
        (lambda: standard_deviation.weighted([1.0, 2.0], [[1.0, nan]]), "weights must be finite"),
        (lambda: mean.weighted([1.0, 2.0], [1.0, 2.0]), r"weights must have the shape \[R, 2\]"),
        (lambda: bootstrap_interval(PAIR, mean), "values must have one axis"),
        (lambda: bootstrap_interval([1.0, nan], mean), "values must be finite"),
        (lambda: bootstrap_interval([1.0, 2.0], "mean"), "statistic must be a function"),
        (lambda: bootstrap_interval([1.0, 2.0], lambda x: x), "statistic must tell one number"),
        (lambda: bootstrap_interval([1.0, 2.0], mean, "95 %"), "confidence must be a number in"),
        (lambda: bootstrap_interval([1.0, 2.0], mean, nan), "confidence must be a number in"),
        (lambda: bootstrap_interval([1.0, 2.0], mean, seed=-1), "seed must be a whole number >= 0"),
        (lambda: bootstrap_interval([1.0, 2.0], mean, resamples=10.5), "resamples must be a whole number >= 1"),
        (lambda: stratified_bootstrap_interval([1.0, 2.0], mean), r"values_by_seed\[0\] must have one axis"),
        (lambda: stratified_bootstrap_interval([[1.0], []], mean), r"values_by_seed\[1\] is empty"),
        (lambda: stratified_bootstrap_interval(5, mean), "values_by_seed must be a list of arrays"),
        (lambda: stratified_bootstrap_interval("ab", mean), "values_by_seed must be a list of arrays"),
        (lambda: stratified_bootstrap_interval(PAIR, mean, resample="seed"), "resample 'seed'; did you mean seeds"),
        (lambda: paired_difference_interval([1.0, nan], [1.0, 2.0]), "first must be finite"),
        (lambda: paired_difference_interval(PAIR, None), "second must be numbers"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named_in_one_line(call, words):
    with pytest.raises(AverseError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_lists_tuples_and_arrays_are_the_same():
    for values in (PAIR, tuple(map(tuple, PAIR)), np.array(PAIR), [np.array(PAIR[0], np.float32), (3, 4)]):
        assert stratified_bootstrap_interval(values, mean) == stratified_bootstrap_interval(PAIR, mean)
        assert paired_difference_interval(values, PAIR).value == 0.0
    assert cvar((3, 1, 2), 1) == 2.0
    assert mean.weighted([1, 2], [[1, 3]]) == pytest.approx([1.75])
