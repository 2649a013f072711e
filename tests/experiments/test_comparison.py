"""The figures of a study against scipy and brute force, and the rule by which a claim gets its verdict."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from averse.errors import AverseError
from averse.evaluation import Episodes
from averse.experiments.comparison import difference, pareto_front, rows_of, seed_means, slopes
from averse.experiments.study import all_hold, judged, verdict_of
from averse.statistics import Estimate, percentile_interval, resample_counts

SEEDS, EPISODES = 8, 40  # 8 seeds: the middle half of them are four, as scipy's trimmed mean has it


def table(seed: int, shift: float = 0.0, seeds: int = SEEDS, order: int = 1) -> Episodes:
    """Made-up episodes; those of the same training seed and episode seed have something in common."""
    common, own = np.random.default_rng(5), np.random.default_rng(seed)
    count = seeds * EPISODES
    training = np.repeat(np.arange(seeds), EPISODES)
    returns = shift + common.normal(size=count) + 0.3 * own.normal(size=count) + 0.2 * own.normal(size=seeds)[training]
    rows = slice(None, None, order)
    return Episodes(
        training[rows],
        (np.arange(count) + 1_000_000)[rows],
        returns[rows],
        np.full(count, 10)[rows],
        np.zeros(count, bool)[rows],
        {"failure": (returns < -1.5).astype(float)[rows]},
    )


FIRST, SECOND = table(1), table(2, shift=0.4, order=-1)  # the second in another order


@pytest.fixture(scope="module")
def found():
    return difference("second", SECOND, "first", FIRST, "failure")


def by_seed(episodes: Episodes, values: np.ndarray) -> np.ndarray:
    return np.array([values[episodes.training_seed == seed].mean() for seed in range(SEEDS)])


def test_the_paired_difference_of_means_is_students(found):
    means = [by_seed(each, each.episode_return) for each in (SECOND, FIRST)]
    test = stats.ttest_rel(*means)
    interval = test.confidence_interval(0.95)
    expected = [np.mean(means[0] - means[1]), interval.low, interval.high]
    assert [found.metrics["return"].value, found.metrics["return"].low, found.metrics["return"].high] == pytest.approx(
        expected, abs=1e-12
    )


def test_the_difference_of_failure_rates_is_students_too(found):
    rates = [by_seed(each, each.episode_return < -1.5) for each in (SECOND, FIRST)]
    interval = stats.ttest_rel(*rates).confidence_interval(0.95)
    rate = found.metrics["failure_rate"]
    assert [rate.value, rate.low, rate.high] == pytest.approx(
        [np.mean(rates[0] - rates[1]), interval.low, interval.high], abs=1e-12
    )


def test_the_worst_five_percent_by_hand(found):
    worst = [np.sort(each.episode_return)[: SEEDS * EPISODES // 20].mean() for each in (SECOND, FIRST)]
    assert found.metrics["worst_5"].value == pytest.approx(worst[0] - worst[1], abs=1e-12)
    (row, _) = rows_of({"first": FIRST, "second": SECOND}, {"first": {}, "second": {}}, "failure", {"failure": ""})
    assert row.metrics["worst_5"].value == pytest.approx(worst[1], abs=1e-12)
    assert row.metrics["std"].value == pytest.approx(FIRST.episode_return.std(), abs=1e-12)
    assert row.metrics["failure_rate"].value == pytest.approx(np.mean(FIRST.episode_return < -1.5), abs=1e-12)


def test_the_interquartile_mean_and_its_stratified_bootstrap():
    (row,) = rows_of({"first": FIRST}, {"first": {}}, None, {"failure": ""})
    scores = seed_means(FIRST)
    assert scores == pytest.approx(by_seed(FIRST, FIRST.episode_return), abs=1e-12)
    assert row.metrics["iqm"].value == pytest.approx(stats.trim_mean(scores, 0.25), abs=1e-12)
    counts = np.concatenate(list(resample_counts([SEEDS], resample="episodes")))
    drawn = [stats.trim_mean(np.repeat(scores, count), 0.25) for count in counts]
    expected = percentile_interval(drawn, 0.0, SEEDS)
    assert [row.metrics["iqm"].low, row.metrics["iqm"].high] == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_the_probability_of_improvement_is_over_training_seeds(found):
    statistic = stats.mannwhitneyu(seed_means(SECOND), seed_means(FIRST)).statistic
    assert found.probability_of_improvement.value == pytest.approx(statistic / SEEDS**2, abs=1e-12)


def test_pairs_in_which_an_episode_broke_off_are_left_out(found):
    failed = FIRST.failed.copy()
    failed[3] = True
    broken = Episodes(FIRST.training_seed, FIRST.seed, FIRST.agent_returns, FIRST.length, failed, FIRST.metrics)
    left = difference("second", SECOND, "first", broken, "failure")
    kept = np.arange(len(FIRST)) != 3
    again = difference("second", SECOND.select(kept[::-1]), "first", FIRST.select(kept), "failure")
    assert left == again != found


def test_a_difference_of_rates_is_no_more_than_one():
    flags = np.repeat([0.0, 0.0, 1.0], 20)
    columns = (np.repeat([0, 1, 2], 20), np.arange(60), np.zeros(60), np.full(60, 5), np.zeros(60, bool))
    some, none = (Episodes(*columns, {"failure": each}) for each in (flags, 0 * flags))
    rate = difference("some", some, "none", none, "failure").metrics["failure_rate"]
    assert (rate.value, rate.high) == (pytest.approx(1 / 3), 1.0)
    assert -1.0 <= rate.low < 0.0


def test_other_seeds_are_refused():
    with pytest.raises(AverseError, match="of the same seeds"):
        difference("a", table(1, seeds=3), "b", FIRST, None)


def test_the_front_by_brute_force():
    points = {str(i): tuple(map(float, p)) for i, p in enumerate(np.random.default_rng(3).integers(0, 9, (40, 2)))}
    front = pareto_front(points)
    for name, (x, y) in points.items():
        dominated = any((a >= x and b > y) or (a > x and b >= y) for a, b in points.values())
        assert (name in front) != dominated
    assert [points[name][0] for name in front] == sorted(points[name][0] for name in front)
    assert pareto_front({"a": (1.0, math.nan), "b": (0.0, 0.0)}) == ["b"]
    rows = rows_of({"first": FIRST, "second": SECOND}, {"first": {}, "second": {}}, "failure", {"failure": ""})
    assert [row.front for row in rows] == [False, True]


def test_slopes_are_those_of_least_squares():
    levels, values = [0.3, 1.0, 2.0, 10.0], np.random.default_rng(4).normal(size=(5, 4))
    expected = [np.polyfit(np.log(levels), row, 1)[0] for row in values]
    assert slopes(levels, values) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("effect", "seeds", "above", "below"),
    [
        (Estimate(1.0, 0.5, 1.5), 5, "holds", "fails"),
        (Estimate(1.0, -0.5, 2.5), 5, "undecided", "undecided"),
        (Estimate(1.0, 0.0, 2.0), 5, "undecided", "fails"),
        (Estimate(-1.0, -2.0, -0.1), 5, "fails", "holds"),
        (Estimate(1.0, 0.5, 1.5), 1, "undecided", "undecided"),
        (Estimate(1.0), 5, "undecided", "undecided"),
        (Estimate(0.0, 0.0, 0.0), 5, "undecided", "undecided"),
        (Estimate(math.nan), 5, "undecided", "undecided"),
    ],
)
def test_verdicts(effect, seeds, above, below):
    assert verdict_of(effect, seeds)[0] == above
    assert verdict_of(effect, seeds, above=False)[0] == below


def test_one_seed_is_said_why():
    claim = judged("it is better", Estimate(1.0, 0.5, 1.5), 1)
    assert (
        claim.words
        == "1.0 [0.5, 1.5], 1 training seed; one training seed says nothing of what another training would give"
    )
    assert claim.to_dict() == {
        "claim": "it is better", "verdict": "undecided", "effect": 1.0, "low": 0.5, "high": 1.5, "words": claim.words,
    }  # fmt: skip


def test_several_claims_hold_together():
    good = judged("good", Estimate(1.0, 0.5, 1.5), 5)
    open_ = judged("open", Estimate(1.0, -0.5, 1.5), 5)
    bad = judged("bad", Estimate(-1.0, -2.0, -0.5), 5)
    for parts in itertools.permutations([good, open_, bad]):
        together = all_hold("all", parts)
        assert (together.verdict, together.effect) == ("fails", bad.effect)
    assert all_hold("all", [good, open_]).verdict == "undecided"
    assert all_hold("all", [good, good]).verdict == "holds"
