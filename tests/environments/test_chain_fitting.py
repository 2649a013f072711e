"""Chains fitted to series: against chains that are known, brute force, and tests whose errors are counted."""

import itertools
import re

import numpy as np
import pytest
from scipy.stats import binom, chi2, norm

from averse import AverseError
from averse.environments.microgrids import fitting
from averse.environments.microgrids.tables import local_model

WIND = local_model(True, 6, 6, 6).wind
ERROR = 1e-4  # how often a test of chance may be wrong


def paths(transition, hours, chains, rng):
    """Levels [chains, hours], from level 0 on."""
    bounds, level = np.cumsum(transition, -1)[:, :-1], np.zeros(chains, int)
    found = np.zeros((chains, hours), int)
    for hour in range(1, hours):
        level = (rng.random(chains)[:, None] >= bounds[level]).sum(-1)
        found[:, hour] = level
    return found


@pytest.fixture(scope="module")
def long():
    """The published wind for 150,000 hours, and its fit."""
    path = paths(WIND.transition, 150_000, 1, np.random.default_rng(0))[0]
    return path, fitting.fit("wind", WIND.power[path], 6)


def pearson(counts, transition):
    """How likely counts differ so much from a chain, by Pearson's statistic."""
    expected = counts.sum(-1, keepdims=True) * transition
    possible = expected > 0
    statistic = np.sum((counts - expected)[possible] ** 2 / expected[possible])
    return chi2.sf(statistic, int((possible.sum(-1) - 1).sum()))


def test_a_long_sample_gives_its_chain_back(long):
    path, found = long
    np.testing.assert_array_equal(found.path, path)
    np.testing.assert_allclose(found.levels.power, WIND.power, rtol=1e-12)
    assert not found.counts[WIND.transition == 0].any()
    assert pearson(found.counts, WIND.transition) > ERROR
    shifted = WIND.transition.copy()
    shifted[1, :2] += [0.02, -0.02]
    assert pearson(found.counts, shifted) < ERROR  # a test that can fail
    # Every probability by itself, all of them at once (Bonferroni), with what smoothing moves at most.
    hours = found.counts.sum(-1, keepdims=True)
    band = norm.isf(ERROR / 2 / 36) * np.sqrt(WIND.transition * (1 - WIND.transition) / hours) + 1 / (hours + 1)
    assert (np.abs(found.levels.transition - WIND.transition) <= band).all()
    np.testing.assert_allclose(found.levels.transition.sum(-1), 1, atol=1e-14)


def test_the_steady_state_is_an_eigenvector_and_the_shares_of_the_hours_agree(long):
    """Shares of hours have the variance that the central limit theorem of Markov chains gives them."""
    path, found = long
    values, vectors = np.linalg.eig(found.levels.transition.T)
    vector = vectors[:, np.argmax(values.real)].real
    np.testing.assert_allclose(found.levels.steady_state, vector / vector.sum(), atol=1e-12)
    steady = WIND.steady_state
    fundamental = np.linalg.inv(np.eye(6) - WIND.transition + steady)
    deviation = np.sqrt((2 * steady * np.diag(fundamental) - steady - steady**2) / len(path))
    shares = np.bincount(path, minlength=6) / len(path)
    assert (np.abs(shares - steady) < norm.isf(ERROR / 12) * deviation).all()
    assert (np.abs(found.levels.steady_state - steady) < norm.isf(ERROR / 12) * deviation + 1e-4).all()


@pytest.mark.parametrize(("seed", "offset"), [*((seed, 0.0) for seed in range(5)), (5, 1e6)])
def test_levels_are_the_groups_of_least_squares(seed, offset):
    rng = np.random.default_rng(seed)
    values = offset + rng.choice(rng.gamma(1.0, size=9).round(2), 40)
    distinct = np.unique(values)

    def error(cuts):
        return sum(np.square(group - group.mean()).sum() for group in np.split(np.sort(values), cuts))

    best = min(
        error(np.searchsorted(np.sort(values), distinct[list(cuts)]))
        for cuts in itertools.combinations(range(1, len(distinct)), 2)
    )
    boundaries = fitting.level_boundaries(values, 3)
    assert error(np.searchsorted(np.sort(values), boundaries)) == pytest.approx(best, rel=1e-9)


def test_levels_of_many_values_keep_the_mean_and_lose_little():
    values = np.random.default_rng(0).gamma(2.0, size=20_000)
    found = fitting.fit("wind", values, 8)
    power = found.levels.power[found.path]
    assert power.mean() == pytest.approx(values.mean(), rel=1e-12)
    assert (np.diff(found.levels.power) > 0).all()
    sorted_values = np.sort(values)
    quantiles = np.mean(np.array_split(sorted_values, 8), -1).repeat(len(values) // 8)
    assert np.square(values - power).sum() < np.square(sorted_values - quantiles).sum()


def test_levels_of_neighbouring_numbers_and_of_a_constant():
    close = np.nextafter(1.0, 2.0)
    found = fitting.fit("load", np.tile([1.0, close], 5), 6)
    np.testing.assert_array_equal(found.levels.power, [1.0, close])
    constant = fitting.fit("wind", np.zeros(400), 6).levels
    np.testing.assert_array_equal(constant.transition, [[1.0]])
    held = fitting.held_out(np.zeros(400), 6)
    assert (held.chain, held.independent, held.difference.value) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ([0, 1] * 20 + [2] * 10, "wind never comes back from its level 2 to the others"),  # an absorbing level
        ([0, 1] * 20 + [2], "wind never comes back from its level 2 to the others"),  # seen in the last hour alone
        ([0] + [1, 2] * 20, "wind never comes back from its levels 1, 2 to the others"),
    ],
)
def test_levels_that_are_never_left(path, words):
    with pytest.raises(AverseError, match=re.escape(words)):
        fitting.fit("wind", np.array(path, float), 3)


def test_held_out_likelihoods_hour_by_hour(long):
    """Against counting by hand, in one loop over the hours."""
    values = WIND.power[long[0][:1000]]
    found = fitting.held_out(values, 6)
    first, rows = values[:800], {}
    for before, after in itertools.pairwise(first):
        rows.setdefault(before, []).append(after)
    shares = {value: np.mean(first == value) for value in set(first)}
    chain = alone = 0.0
    for before, after in itertools.pairwise(values[799:]):
        followers = rows.get(before, [])
        chain += np.log((followers.count(after) + shares[after]) / (len(followers) + 1)) / 200
        alone += np.log(shares[after]) / 200
    assert (found.chain, found.independent) == pytest.approx((chain, alone), rel=1e-12)
    assert found.difference.low > 0  # the wind of the hour before tells something
    shuffled = fitting.held_out(np.random.default_rng(1).permutation(WIND.power[long[0][:20_000]]), 6)
    assert -0.02 < shuffled.difference.value < 0.005  # and nothing where hours are independent


def test_one_chain_is_told_from_two():
    """The test's errors are as many as it says, and a chain with a clock is found out."""
    day = np.array([[0.8, 0.15, 0.05], [0.3, 0.5, 0.2], [0.1, 0.4, 0.5]])
    hours = np.arange(2000) % 24
    tests = [
        fitting.between_quarters_of_the_day(path, hours, 3) for path in paths(day, 2000, 300, np.random.default_rng(2))
    ]
    assert {test.freedom for test in tests} == {18}
    rejected = sum(test.p_value < 0.05 for test in tests)
    assert binom.ppf(ERROR, 300, 0.05) <= rejected <= binom.isf(ERROR, 300, 0.05)
    rng, level, path = np.random.default_rng(3), 0, []
    for hour in hours:
        path.append(level)
        level = rng.choice(3, p=(day if hour < 12 else day[::-1, ::-1])[level])
    assert fitting.between_quarters_of_the_day(np.array(path), hours, 3).p_value < ERROR
    assert fitting.between_halves(np.array(path), 3).p_value > ERROR
    drifting = np.concatenate([paths(p, 1000, 1, rng)[0] for p in (day, day[::-1, ::-1])])
    assert fitting.between_halves(drifting, 3).p_value < ERROR
