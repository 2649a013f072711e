"""Equilibria of matrix games: published numbers, an independent oracle, metamorphic relations, bad input."""

import jax.numpy as jnp
import numpy as np
import pytest
from tiers import first_rows_quick

from averse.errors import AverseError
from averse.games import NormalForm, Settings, all_equilibria, best_response, published, regret, rqe
from averse.games.equilibrium import as_equilibrium

from . import oracle

pytestmark = pytest.mark.optimised

PAIRS = [("kl", "log-barrier"), ("reverse-kl", "entropy")]
ALL = [
    ("kl", "log-barrier", "aggregate"),
    ("reverse-kl", "entropy", "aggregate"),
    ("kl", "entropy", "aggregate"),
    ("reverse-kl", "log-barrier", "aggregate"),
    ("kl", "entropy", "action-dependent"),
    ("reverse-kl", "log-barrier", "action-dependent"),
]
LANES = 20  # of one compiled program, which tests share


def firsts(equilibrium):
    return np.stack([x[..., 0] for x in equilibrium.strategies], -1)


def test_all_published_games_solve_and_match_the_authors():
    assert len(published()) == 13
    for game in published().values():
        solved = rqe(game.game, game.tau, game.epsilon)
        assert solved.residual < 1e-10
        assert solved.converged
        np.testing.assert_allclose(firsts(solved), [x[0] for x in game.printed], atol=5e-3)
        # An observation and an equilibrium that lies within 2 percentage points: rows and columns are not mixed up.
        np.testing.assert_allclose(firsts(solved), [x[0] for x in game.observed], atol=2e-2)


@pytest.mark.parametrize(("number", "p", "q"), [(2, 0.214234, 0.524509), (10, 0.366311, 0.699312)])
def test_exact_values(number, p, q):
    game = published()[f"selten-chmura-{number}"]
    np.testing.assert_allclose(firsts(rqe(game.game, game.tau, game.epsilon)), [p, q], atol=1e-6)


@pytest.mark.parametrize(("penalty", "regulariser"), first_rows_quick(PAIRS))
def test_nested_bracketing_agrees_on_200_games(penalty, regulariser):
    generator = np.random.default_rng(0)
    games = NormalForm.random(1, (2, 2), 200)
    tau = np.exp(generator.uniform(-2.5, 1.0, (200, 2)))
    epsilon = np.exp(generator.uniform(-2.5, 0.5, (200, 2)))
    # Inside the tractable region, so that both solvers speak of the one equilibrium.
    epsilon *= np.sqrt(np.maximum(1, tau.prod(-1) / epsilon.prod(-1)))[:, None]
    found = []
    for k in range(0, 200, LANES):
        part = NormalForm([array[k : k + LANES] for array in games.arrays()], batched=True)
        solved = rqe(part, tau[k : k + LANES], epsilon[k : k + LANES], penalty, regulariser)
        assert solved.residual.max() < 1e-12
        found.extend(firsts(solved))
    row, column = (array.tolist() for array in games.arrays())
    expected = [oracle.solve(row[k], column[k], tau[k], epsilon[k], penalty, regulariser) for k in range(200)]
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize(("penalty", "regulariser", "form"), first_rows_quick(ALL, 2))
def test_direct_solution_is_among_those_of_bracketing(penalty, regulariser, form):
    generator = np.random.default_rng(5)
    games = NormalForm.random(2, (2, 2), LANES)
    tau, epsilon = np.exp(generator.uniform(-3, 2, (LANES, 2))), np.exp(generator.uniform(-3, 0, (LANES, 2)))
    solved = rqe(games, tau, epsilon, penalty, regulariser, form)
    assert solved.residual.max() < 1e-11
    for k in range(LANES):
        everything = all_equilibria(games[k], tau[k], epsilon[k], penalty, regulariser, form)
        assert all(equilibrium.residual < 1e-9 for equilibrium in everything)
        assert min(abs(firsts(other) - firsts(solved)[k]).max() for other in everything) < 1e-9


@pytest.mark.parametrize(("penalty", "regulariser", "form"), first_rows_quick(ALL, 2))
def test_metamorphic_relations(penalty, regulariser, form):
    games = NormalForm.random(3, (2, 2), LANES)
    tau, epsilon = np.array([0.4, 0.7]), np.array([0.5, 0.6])
    scale, shift = np.array([100.0, 0.01]), np.array([7.0, -3.0])
    base = rqe(games, tau, epsilon, penalty, regulariser, form)
    moved = NormalForm([a * s + c for a, s, c in zip(games.arrays(), scale, shift)], batched=True)
    other = rqe(moved, tau * scale, epsilon * scale, penalty, regulariser, form)
    for x, y in zip(base.strategies, other.strategies):
        np.testing.assert_allclose(x, y, atol=1e-10)
    np.testing.assert_allclose(other.values, base.values * scale + shift, rtol=1e-9)


def test_a_constant_on_a_column_moves_rqe_but_not_qre():
    game = NormalForm.random(4, (2, 3))
    row, column = game.arrays()
    moved = NormalForm([row + np.array([1.0, 0, 0]), column])
    for tau, changes in ((np.inf, False), (0.5, True)):
        before, after = (rqe(g, tau, 0.5, "kl", "entropy").strategies[0] for g in (game, moved))
        assert bool(abs(before - after).max() > 1e-2) == changes
        if not changes:
            np.testing.assert_allclose(before, after, atol=1e-12)


def test_forms_differ_and_agree_for_neutral_players():
    game = NormalForm.random(6, (2, 3))
    different = [rqe(game, 0.3, 0.3, "kl", "entropy", form).strategies[0] for form in ("aggregate", "action-dependent")]
    assert abs(different[0] - different[1]).max() > 1e-3
    # One neutral player is enough to need the general equations.
    tau = [np.inf, 1e9]
    same = [rqe(game, tau, 0.3, "kl", "entropy", form).strategies[0] for form in ("aggregate", "action-dependent")]
    np.testing.assert_allclose(same[0], same[1], atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(("penalty", "regulariser"), PAIRS)
def test_three_players_certified_by_exact_best_responses(penalty, regulariser):
    game = NormalForm.random(7, (3, 2, 2))
    settings = ([0.3, 0.5, 0.2], [0.3, 0.2, 0.4], penalty, regulariser)
    solved = rqe(game, *settings)
    assert solved.residual < 1e-12
    assert regret(game, solved.strategies, *settings).max() < 1e-12
    for i, x in enumerate(solved.strategies):
        np.testing.assert_allclose(best_response(game, solved.strategies, i, *settings), x, atol=1e-10)
    away = [np.full(size, 1 / size) for size in game.num_actions]
    lost = regret(game, away, *settings)
    assert lost.max() > 1e-3
    # The exact regret of a player is below its bound by weak duality, and best_response attains it.
    assert lost.max() <= as_equilibrium(game, Settings(*settings), away, "test").gap + 1e-12
    answer = best_response(game, away, 0, *settings)
    assert regret(game, [answer, *away[1:]], *settings)[0] < 1e-10
    gains = [regret(game, [0.99 * answer + 0.01 * away[0], *away[1:]], *settings)[0], lost[0]]
    assert 0 < gains[0] < gains[1]


def test_extreme_settings_do_not_overflow():
    game = published()["selten-chmura-1"].game
    for tau, epsilon in ((1e-4, 1e-2), (1e9, 1e-3), (1e-4, 1e4), (1e6, 1e6)):
        for penalty, regulariser in PAIRS:
            solved = rqe(game, tau, epsilon, penalty, regulariser, tolerance=1e-9)
            assert solved.residual < 1e-9, (tau, epsilon, penalty)


def test_symmetric_games_stay_on_the_symmetric_branch_past_a_fork():
    # Chicken and coordination: the path from even play meets a pitchfork, where the direct solver goes straight on.
    for payoffs in ([[0.6, 0.6], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]):
        for epsilon in (0.2, 0.05, 0.02):
            solved = rqe(NormalForm.symmetric(payoffs), np.inf, epsilon, regulariser="entropy")
            assert solved.residual < 1e-12
            np.testing.assert_allclose(*solved.strategies, atol=1e-10)


def test_grid_and_batch_broadcast():
    games = NormalForm.random(9, (2, 2), 5)
    tau = np.array([0.5, 1.0, 2.0, 4.0])[:, None, None] * np.ones(2)
    grid = rqe(games, tau, [0.5, 0.7])
    assert grid.strategies[0].shape == (4, 5, 2)
    assert grid.values.shape == (4, 5, 2)
    single = rqe(games[3], 2.0, [0.5, 0.7])
    np.testing.assert_allclose(grid.strategies[1][2, 3], single.strategies[1], atol=1e-12)
    assert single.history["residual"][-1] < 1e-6 < single.history["residual"][0]
    assert len(single.history["residual"]) == single.iterations


@pytest.mark.thorough
def test_more_lanes_than_a_chunk():
    games = NormalForm.random(10, (2, 2), 1300)
    solved = rqe(games, 0.2, 0.05, "kl", "entropy")
    assert solved.residual.max() < 1e-12
    some = np.linspace(0, 1299, LANES, dtype=int)
    apart = rqe(NormalForm.stack([games[int(k)] for k in some]), 0.2, 0.05, "kl", "entropy")
    np.testing.assert_allclose(solved.strategies[0][some], apart.strategies[0])


def test_single_precision_elsewhere_is_untouched():
    rqe(published()["selten-chmura-2"].game, 1.0, 1.0)
    assert jnp.ones(1).dtype == jnp.float32


GAME = NormalForm.random(0, (2, 2))
BAD_GAMES = [
    ([[[1, 2], [3, np.nan]], [[1, 2], [3, 4]]], "entry (1, 1) is nan"),
    ([[[1, 2], [3]], [[1, 2], [3, 4]]], "ragged"),
    ([[[1, 2], [3, 4]]], "at least two players"),
    ([[[1, 2], [3, 4]]] * 3, "3 axes"),
    ([[[1, 2], [3, 4]], [[1, 2, 3], [3, 4, 5]]], "shape (2, 3)"),
    ([[["a", "b"], ["c", "d"]]] * 2, "nor of anything else"),
]


@pytest.mark.parametrize(("payoffs", "words"), BAD_GAMES)
def test_bad_games(payoffs, words):
    with pytest.raises(AverseError) as caught:
        NormalForm(payoffs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tau": 0.0}, "tau, the risk tolerance, must be above 0"),
        ({"tau": [1.0, -1.0]}, "above 0 (inf is neutral), not -1"),
        ({"epsilon": -0.1}, "epsilon must be above 0"),
        ({"epsilon": 0.0}, "averse.games.nash"),
        ({"tau": [1.0, 2.0, 3.0]}, "one per player (2), not 3"),
        ({"tau": np.nan}, "above 0"),
        ({"penalty": "reverse-lk"}, "did you mean reverse-kl"),
        ({"regulariser": "log-barier"}, "did you mean log-barrier"),
        ({"form": "action"}, "unknown form"),
        ({"method": "newton"}, "unknown method"),
        ({"tau": np.ones((3, 2)), "epsilon": np.ones((4, 2))}, "do not broadcast"),
    ],
)
def test_bad_settings(arguments, words):
    with pytest.raises(AverseError) as caught:
        rqe(GAME, **{"tau": 1.0, "epsilon": 1.0, **arguments})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_strategies():
    for strategies in ([[0.5, 0.5]], [[0.5, 0.6], [0.5, 0.5]], [[1.0], [0.5, 0.5]], [[-0.5, 1.5], [0.5, 0.5]]):
        with pytest.raises(AverseError):
            regret(GAME, strategies, 1.0, 1.0)
