"""Equilibria do not depend on the units of payoffs: a scale and a shift per player change nothing but the values."""

import numpy as np
import pytest
from tiers import first_quick

from averse.games import (
    NormalForm,
    Settings,
    all_equilibria,
    best_response,
    bifurcation,
    regret,
    rqe,
    tractability,
)
from averse.games.equilibrium import as_equilibrium

CHICKEN = np.array([[0.6, 0.6], [1.0, 0.0]])
UNITS = [((1e-8, 1e8), (0.0, 0.0)), ((1e8, 3e-8), (0.0, 0.0)), ((1.0, 1.0), (1e8, -1e8)), ((1e6, 7e5), (1e12, 1e4))]
PAIRS = [("kl", "log-barrier"), ("reverse-kl", "entropy")]


def moved(games, scale, shift):
    return NormalForm([a * s + c for a, s, c in zip(games.arrays(), scale, shift)], batched=games.batched)


@pytest.fixture(scope="module")
def games():
    """Payoffs in 64ths, so that a shift of 1e8 rounds nothing."""
    generator = np.random.default_rng(0)
    return NormalForm([generator.integers(-64, 65, (12, 2, 2)) / 64 for _ in range(2)], batched=True)


@pytest.mark.parametrize(("scale", "shift"), UNITS)
@pytest.mark.parametrize("pair", first_quick(PAIRS))
def test_rqe_in_other_units(games, pair, scale, shift):
    tau, epsilon = np.array([0.4, 0.7]), np.array([0.5, 0.6])
    base = rqe(games, tau, epsilon, *pair)
    other = rqe(moved(games, scale, shift), tau * scale, epsilon * scale, *pair)
    assert base.converged.all()
    assert other.converged.all()
    for x, y in zip(base.strategies, other.strategies):
        np.testing.assert_allclose(x, y, atol=1e-9)
    values = base.values * scale + shift
    np.testing.assert_allclose(other.values, values, rtol=1e-12, atol=1e-9 * min(scale))
    for k in (0, 5):
        game = moved(games, scale, shift)[k]
        play = [x[k] for x in base.strategies]
        assert regret(game, play, tau * scale, epsilon * scale, *pair).max() <= 1e-9 * max(scale)
        np.testing.assert_allclose(
            best_response(game, play, 0, tau * scale, epsilon * scale, *pair), play[0], atol=1e-9
        )


@pytest.mark.thorough
def test_payoffs_of_millions_converge():
    """The residual stops at what rounding allows, above the tolerance: that is converged; far from it is not."""
    game = NormalForm.symmetric(1e6 * CHICKEN)
    found = rqe(game, 1.0, 0.5, "kl", "entropy")
    assert 1e-12 < found.residual < 2 * found.rounding < 1e-7
    assert found.converged
    away = [x + np.array([1e-7, -1e-7]) for x in found.strategies]
    wrong = as_equilibrium(game, Settings(1.0, 0.5, "kl", "entropy"), away, "by hand", 1e-12)
    assert not wrong.converged
    for payoffs, tau in (
        ([[1.0, 0.0], [0.0, 1.0]], 1.0),
        ([[2.0, 0.0], [0.0, 1.0]], np.inf),
        ([[4, 1], [3, 2]], np.inf),
    ):
        for pair in (*PAIRS, ("kl", "entropy")):
            assert rqe(NormalForm.symmetric(1e6 * np.array(payoffs)), tau, 0.5, *pair).converged, (payoffs, pair)


def test_rounding_is_small_where_settings_are_not(games):
    for pair in PAIRS:
        found = rqe(games, 1.0, 0.1, *pair)
        assert found.rounding.max() < 1e-13
        assert found.residual.max() <= 1e-12


def test_a_solver_that_fails_is_told():
    found = rqe(NormalForm.symmetric(1e6 * np.diag([2.0, 1.0])), 1.0, 0.5, "kl", "entropy")
    assert found.residual > 0.1
    assert not found.converged
    learning = rqe(NormalForm.symmetric(1e6 * CHICKEN), 1e6, 1e5, method="no-regret", max_iterations=20)
    assert not learning.converged


@pytest.mark.parametrize(("scale", "shift"), UNITS)
def test_every_equilibrium_in_other_units(scale, shift):
    exact = NormalForm.symmetric(np.array([[19.0, 19.0], [32.0, 0.0]]) / 32)
    base = all_equilibria(exact, 2.0, 0.2, regulariser="entropy")
    assert len(base) == 3
    other = all_equilibria(
        moved(exact, scale, shift), 2.0 * np.array(scale), 0.2 * np.array(scale), regulariser="entropy"
    )
    assert len(other) == 3
    for one, two in zip(base, other):
        assert two.converged
        np.testing.assert_allclose(one.strategies, two.strategies, atol=1e-9)
        np.testing.assert_allclose(two.values, one.values * scale + shift, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_a_bifurcation_in_other_units(scale):
    game = NormalForm.symmetric(scale * CHICKEN)
    found = bifurcation(game, 0.2 * scale, 1.5 / scale, 0.5 / scale, regulariser="entropy", precision=1e-3)
    assert found * scale == pytest.approx(0.8288, abs=1e-3)


@pytest.mark.parametrize(("scale", "shift"), [(1e-8, 0.0), (1e8, 1e8), (1.0, 1e6)])
def test_no_regret_play_in_other_units(scale, shift):
    base = NormalForm.symmetric([[3.0, 0.0], [1.0, 2.0]])
    game = moved(base, (scale, scale), (shift * scale, shift * scale))
    settings = {"penalty": "kl", "regulariser": "log-barrier", "method": "no-regret", "tolerance": 1e-8}
    one, two = (rqe(g, 1.0 * s, 1.5 * s, **settings) for g, s in ((base, 1.0), (game, scale)))
    assert two.converged
    np.testing.assert_allclose(one.strategies, two.strategies, atol=1e-7)
    np.testing.assert_allclose(one.history["regret"][0] * scale, two.history["regret"][0], rtol=1e-6)


def test_extreme_units():
    """Where 1/tau or the range of payoffs would overflow."""
    for scale in (1e-300, 1e300):
        for pair in PAIRS:
            found = rqe(NormalForm.symmetric(scale * CHICKEN - 0.5 * scale), 2.0 * scale, 1.0 * scale, *pair)
            assert found.converged
            assert np.isfinite(found.values).all()
    same = rqe(NormalForm.symmetric(np.full((2, 2), 1e9)), 1.0, 1.0)
    np.testing.assert_array_equal(same.strategies, np.full((2, 2), 0.5))
    assert (same.values == 1e9).all()


def test_conditions_hold_at_every_scale():
    for scale in (1e-200, 1e-8, 1e200):
        for tau, epsilon, inside in ((1.0, 1.5, True), (2.0, 1.0, False)):
            stand = tractability(tau * scale, epsilon * scale)
            assert stand.unique
            assert stand.theorem.startswith("Mazumdar" if inside else "Zhang")
    assert tractability(np.inf, 1e300).margin == -np.inf


def test_rounding_explains_what_remains_of_hard_games():
    """Payoffs of 1e3 epsilon and 1e5 tau: what is solved at all is solved to rounding, and nothing else counts."""
    games = NormalForm.random(5, (2, 2), 300)
    found = rqe(games, 1e-5, 1e-3)
    assert (found.residual > 1e-12).mean() > 0.3
    np.testing.assert_array_equal(found.converged, found.residual <= 1e-12 + found.rounding)
    assert found.converged.mean() > 0.95
    assert 1e-13 < np.median(found.rounding) < found.rounding.max() < 1e-7
    assert found.residual[~found.converged].min() > 1e-6


def test_rounding_is_a_number_where_beliefs_are_extreme():
    found = rqe(NormalForm.random(5, (2, 2), 300), 1e-5, 1e-3, *PAIRS[1], max_iterations=200)
    assert not np.isnan(found.rounding).any()
    assert found.converged[found.residual <= 1e-12].all()
    assert not found.converged[found.residual > 2e-6].any()
