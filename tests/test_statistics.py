"""Statistics against closed forms, scipy and brute force."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from averse.errors import AverseError
from averse.statistics import (
    Estimate,
    bootstrap_interval,
    cvar,
    cvar_curve,
    cvar_curve_intervals,
    interquartile_mean,
    mean,
    paired_difference_interval,
    percentile_interval,
    proportion_interval,
    resample_counts,
    standard_deviation,
    stratified_bootstrap_interval,
    worst,
)

samples = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=60).map(np.array)


class close:
    """Equal to an estimate up to rounding: `estimate == close(other)`."""

    def __init__(self, estimate: Estimate):
        self.expected = estimate

    def __eq__(self, other):
        return list(vars(other).values()) == pytest.approx(list(vars(self.expected).values()), abs=1e-9)

    __hash__ = None

    def __repr__(self):
        return f"about {self.expected!r}"


def brute_force_cvar(values: np.ndarray, alpha: float) -> float:
    """Rockafellar and Uryasev: max over v of v - E[(v - Z)^+] / alpha, attained at a sample point."""
    return max(v - np.maximum(v - values, 0).mean() / alpha for v in values)


class TestCVaR:
    def test_the_last_sample_counts_by_its_fraction(self):
        assert cvar([4, 1, 3, 2], 0.375) == pytest.approx((1 + 0.5 * 2) / 1.5)

    @settings(max_examples=200, deadline=None)
    @given(samples, st.floats(1e-3, 1.0))
    def test_agrees_with_the_variational_form(self, values, alpha):
        assert cvar(values, alpha) == pytest.approx(brute_force_cvar(values, alpha), abs=1e-6)

    @pytest.mark.parametrize("alpha", [0.01, 0.05, 0.3, 1.0])
    def test_is_the_integral_of_the_quantile_function(self, alpha):
        values = np.random.default_rng(0).normal(size=137)
        levels = (np.arange(200_000) + 0.5) / 200_000 * alpha
        quantiles = np.quantile(values, levels, method="inverted_cdf")
        assert cvar(values, alpha) == pytest.approx(quantiles.mean(), abs=1e-4)

    def test_normal_closed_form(self):
        n = 200_000
        values = stats.norm.ppf((np.arange(n) + 0.5) / n)
        assert cvar(values, 0.05) == pytest.approx(-stats.norm.pdf(stats.norm.ppf(0.05)) / 0.05, abs=1e-4)

    @settings(max_examples=100, deadline=None)
    @given(samples)
    def test_curve_rises_from_minimum_to_mean(self, values):
        alphas = np.linspace(1e-3, 1, 40)
        curve = cvar_curve(values, alphas)
        assert (np.diff(curve) >= -1e-8).all()
        assert cvar(values, 1.0) == pytest.approx(values.mean(), abs=1e-8)
        assert cvar(values, 1 / (2 * len(values))) == pytest.approx(values.min(), abs=1e-8)
        np.testing.assert_allclose(curve, [cvar(values, alpha) for alpha in alphas], atol=1e-8)

    @pytest.mark.parametrize("alpha", [0, -0.1, 1.01, float("nan")])
    def test_refuses_other_levels(self, alpha):
        with pytest.raises(AverseError, match=r"alpha must be a number in \(0, 1\]"):
            cvar([1.0, 2.0], alpha)

    @pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0], [2.0]], [float("inf")]])
    def test_refuses_bad_samples_in_one_line(self, values):
        with pytest.raises(AverseError) as error:
            cvar(values, 0.5)
        assert "\n" not in str(error.value)


class TestInterquartileMean:
    def test_is_scipys_trimmed_mean_where_four_divides_n(self):
        values = np.random.default_rng(0).normal(size=40)
        assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))

    @settings(max_examples=100, deadline=None)
    @given(samples)
    def test_is_the_trimmed_mean_of_every_value_four_times(self, values):
        assert interquartile_mean(values) == pytest.approx(stats.trim_mean(np.repeat(values, 4), 0.25), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(samples, st.integers(0, 1000))
def test_weighted_statistics_are_those_of_repeated_values(values, seed):
    counts = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), size=3)
    for statistic in (mean, interquartile_mean, worst(0.05), worst(0.3), standard_deviation):
        expected = [statistic(np.repeat(values, count)) for count in counts]
        np.testing.assert_allclose(statistic.weighted(values, counts), expected, atol=1e-4)


class TestResampling:
    def test_one_group_draws_as_many_as_it_has(self):
        counts = np.concatenate(list(resample_counts([500], resamples=3000)))
        assert counts.shape == (3000, 500)
        assert (counts.sum(-1) == 500).all()
        assert counts.mean() == pytest.approx(1)
        assert counts.var() == pytest.approx(1 - 1 / 500, rel=0.02)  # binomial(n, 1/n)

    def test_seeds_come_whole(self):
        counts = np.concatenate(list(resample_counts([2, 3, 4], resamples=500, resample="seeds")))
        for group in (counts[:, :2], counts[:, 2:5], counts[:, 5:]):
            assert (group == group[:, :1]).all()
        assert (counts[:, [0, 2, 5]].sum(-1) == 3).all()

    def test_episodes_keep_the_size_of_every_seed(self):
        counts = np.concatenate(list(resample_counts([2, 3, 4], resamples=500, resample="episodes")))
        for group, size in ((counts[:, :2], 2), (counts[:, 2:5], 3), (counts[:, 5:], 4)):
            assert (group.sum(-1) == size).all()
            assert counts.mean() == pytest.approx(1)

    def test_both_levels(self):
        """A seed drawn m times yields m times its size; variance by the law of total variance."""
        counts = np.concatenate(list(resample_counts([4, 6], resamples=20_000)))
        first = counts[:, :4].sum(-1)
        assert set(np.unique(first)) == {0, 4, 8}
        assert counts[:, :4].mean() == pytest.approx(1, rel=0.02)
        drawn = np.array([0, 1, 2]), np.array([0.25, 0.5, 0.25])
        variance = (drawn[1] * drawn[0] * 4).sum() * (1 / 4) * (3 / 4) + (drawn[1] * (drawn[0] - 1) ** 2).sum()
        assert counts[:, 0].var() == pytest.approx(variance, rel=0.05)

    def test_chunks_do_not_change_the_shape(self):
        chunks = list(resample_counts([60_000], resamples=40))
        assert len(chunks) > 1
        assert sum(map(len, chunks)) == 40

    def test_reproducible(self):
        values = np.random.default_rng(0).normal(size=100)
        assert bootstrap_interval(values, worst(0.1), seed=3) == bootstrap_interval(values, worst(0.1), seed=3)
        assert bootstrap_interval(values, worst(0.1), seed=3) != bootstrap_interval(values, worst(0.1), seed=4)

    def test_unknown_kind(self):
        with pytest.raises(AverseError, match=r"unknown resample .tasks.; allowed: episodes, seeds, seeds\+episodes"):
            stratified_bootstrap_interval([[1.0, 2.0]], mean, resample="tasks")


class TestIntervals:
    def test_agrees_with_scipys_bootstrap(self):
        values = np.random.default_rng(0).gamma(2.0, size=400)
        ours = bootstrap_interval(values, standard_deviation, resamples=8000)
        theirs = stats.bootstrap((values,), np.std, method="percentile", n_resamples=8000, rng=0).confidence_interval
        assert ours.low == pytest.approx(theirs.low, abs=0.01)
        assert ours.high == pytest.approx(theirs.high, abs=0.01)

    def test_plain_functions_are_statistics_too(self):
        values = np.random.default_rng(0).normal(size=200)
        assert bootstrap_interval(values, np.mean) == close(bootstrap_interval(values, mean))
        groups = list(values.reshape(4, 50))
        by_function = stratified_bootstrap_interval(groups, lambda x: cvar(x, 0.1))
        assert by_function == close(stratified_bootstrap_interval(groups, worst(0.1)))

    @pytest.mark.parametrize("statistic", [mean, worst(0.1), interquartile_mean])
    def test_coverage_over_episodes(self, statistic):
        """Exponential returns, 400 episodes: nominally .95; the bootstrap's own error is of order 1/n."""
        quantiles = -np.log1p(-(np.arange(400_000) + 0.5) / 400_000)
        truth = statistic(quantiles)
        hits = 0
        for repetition in range(200):
            values = np.random.default_rng(repetition).exponential(size=400)
            interval = bootstrap_interval(values, statistic, resamples=400, seed=repetition)
            hits += interval.low <= truth <= interval.high
        assert 0.91 <= hits / 200 <= 0.99

    @pytest.mark.parametrize(("seeds", "spread"), [(5, 1.0), (10, 1.0), (10, 0.0)])
    def test_coverage_over_training_seeds(self, seeds, spread):
        """Seeds N(0, .1 spread) with 100 normal episodes each (sd .3): the truth is the mean over all trainings."""
        hits = {"seeds+episodes": 0, "episodes": 0}
        for repetition in range(200):
            generator = np.random.default_rng(repetition)
            groups = 0.1 * spread * generator.normal(size=(seeds, 1)) + 0.3 * generator.normal(size=(seeds, 100))
            for kind in hits:
                interval = stratified_bootstrap_interval(list(groups), mean, resamples=400, resample=kind)
                hits[kind] += interval.low <= 0 <= interval.high
        assert hits["seeds+episodes"] / 200 >= 0.91
        if spread:  # forgetting the training seeds claims far too much
            assert hits["episodes"] / 200 < 0.75
        else:
            assert 0.91 <= hits["episodes"] / 200 <= 0.99

    def test_expanded_percentiles_give_students_interval(self):
        """On normal replicates with the bootstrap's variance the interval of n = 5 values is Student's."""
        values = np.random.default_rng(0).normal(size=5)
        replicates = stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000, values.mean(), values.std() / np.sqrt(5))
        low, high = stats.t.interval(0.95, 4, values.mean(), values.std(ddof=1) / np.sqrt(5))
        interval = percentile_interval(replicates, values.mean(), 5)
        assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))

    def test_a_single_value_has_no_interval(self):
        estimate = bootstrap_interval([3.0], mean)
        assert estimate.value == 3.0
        assert not estimate.has_interval
        assert not stratified_bootstrap_interval([[1.0, 2.0]], mean, resample="seeds").has_interval

    def test_curve_intervals_are_those_of_each_level(self):
        groups = list(np.random.default_rng(0).normal(size=(5, 200)))
        curve = cvar_curve_intervals(groups, [0.05, 0.5, 1.0])
        assert list(curve) == [0.05, 0.5, 1.0]
        for alpha, estimate in curve.items():
            assert estimate == close(stratified_bootstrap_interval(groups, worst(alpha)))

    def test_ten_thousand_episodes_take_less_than_a_second(self):
        groups = list(np.random.default_rng(0).normal(size=(10, 1000)))
        start = time.process_time()
        stratified_bootstrap_interval(groups, worst(0.05))
        assert time.process_time() - start < 2.0  # .2-.3 s on an idle machine

    def test_refuses_bad_input(self):
        with pytest.raises(AverseError, match="empty"):
            stratified_bootstrap_interval([], mean)
        with pytest.raises(AverseError, match="confidence"):
            bootstrap_interval([1.0, 2.0], mean, confidence=95)
        with pytest.raises(AverseError, match="resamples"):
            bootstrap_interval([1.0, 2.0], mean, resamples=0)


class TestPairedDifference:
    def test_the_mean_is_the_interval_of_the_differences(self):
        generator = np.random.default_rng(0)
        a, b = generator.normal(size=(2, 300))
        paired = paired_difference_interval(a, b)
        assert paired == close(bootstrap_interval(a - b, mean))

    def test_common_noise_cancels(self):
        generator = np.random.default_rng(0)
        noise = generator.normal(size=(4, 500)) * 10
        paired = paired_difference_interval(list(noise + 0.1), list(noise), worst(0.05))
        assert (paired.low, paired.high) == (pytest.approx(0.1), pytest.approx(0.1))

    def test_unequal_lengths(self):
        with pytest.raises(AverseError, match="equal lengths"):
            paired_difference_interval([1.0, 2.0], [1.0])


class TestProportion:
    @pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (37, 1000), (10, 10), (500, 1000)])
    @pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
    def test_is_scipys_wilson_interval(self, successes, n, confidence):
        ours = proportion_interval(successes, n, confidence)
        theirs = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
        assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=1e-9), pytest.approx(theirs.high, abs=1e-9))
        assert ours.value == successes / n

    @pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
    def test_refuses_impossible_counts(self, successes, n):
        with pytest.raises(AverseError, match="proportion"):
            proportion_interval(successes, n)


class TestEstimate:
    def test_formats(self):
        estimate = Estimate(-3.2123, -3.5456, -2.9012)
        assert str(estimate) == "-3.21 [-3.55, -2.90]"
        assert f"{estimate:.1f}" == "-3.2 [-3.5, -2.9]"
        assert f"{Estimate(0.025, 0.018, 0.034):.1%}" == "2.5% [1.8%, 3.4%]"
        assert str(Estimate(1234.5, 1100.0, 1400.0)) == "1234 [1100, 1400]"
        assert str(Estimate(2.0)) == "2.0"
        assert str(Estimate(float("nan"))) == "undefined"
        assert str(Estimate(0.0, 0.0, 0.0)) == "0.00 [0.00, 0.00]"

    def test_json_has_null_for_the_undefined(self):
        fields = json.loads(json.dumps(Estimate(1.5).to_dict(), allow_nan=False))
        assert fields == {"value": 1.5, "low": None, "high": None}
        assert str(Estimate.from_dict(fields)) == "1.5"


def test_importing_does_not_import_jax():
    code = "import sys, averse.statistics; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
