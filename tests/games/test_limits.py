"""The limits: Gambit's logit QRE, Nash, and the maximin linear programme."""

import io

import numpy as np
import pytest

from averse.errors import AverseError
from averse.games import NormalForm, nash, published, qre, rqe, security, to_nfg

# pygambit 17.0.0b2, qre.logit_solve_lambda at 1/epsilon.
GAMBIT = [
    ((3, (3, 3)), 0.1, [[0.0731417985, 0.3413965469, 0.5854616545], [0.5975892119, 0.0243951604, 0.3780156277]]),
    (
        (7, (2, 3, 2)),
        0.2,
        [[0.7521381196, 0.2478618804], [0.140475582, 0.1377542204, 0.7217701976], [0.5690121766, 0.4309878234]],
    ),
    (
        (11, (4, 2)),
        0.05,
        [[0.0176535934, 0.6521813609, 0.3293643252, 0.0008007205], [0.6900331572, 0.3099668428]],
    ),
]


@pytest.mark.parametrize(("arguments", "epsilon", "expected"), GAMBIT)
def test_qre_agrees_with_gambit_frozen(arguments, epsilon, expected):
    for ours, theirs in zip(qre(NormalForm.random(*arguments), epsilon).strategies, expected):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_qre_agrees_with_gambit_live():
    pygambit = pytest.importorskip("pygambit")
    games = NormalForm.random(20, (3, 3), 30)
    ours = qre(games, 0.1)
    for k in range(30):
        game = pygambit.read_nfg(io.BytesIO(to_nfg(games[k]).encode()))
        profile = pygambit.qre.logit_solve_lambda(game, [10.0])[0].profile
        for x, mixture in zip(ours.strategies, profile):
            np.testing.assert_allclose(x[k], [float(probability) for _, probability in mixture], atol=1e-6)


def test_large_tau_tends_to_qre():
    game = NormalForm.random(3, (3, 3))
    limit = qre(game, 0.1)
    distances = [
        max(abs(x - y).max() for x, y in zip(rqe(game, tau, 0.1, "kl", "entropy").strategies, limit.strategies))
        for tau in (1e2, 1e4, 1e6)
    ]
    assert distances[0] > 10 * distances[1] > 100 * distances[2] > 0
    assert distances[2] < 1e-6


def test_small_epsilon_tends_to_nash():
    game = published()["selten-chmura-1"].game
    ((x, y),) = nash(game)
    np.testing.assert_allclose([x[0], y[0]], [1 / 11, 10 / 11], atol=1e-12)
    found = qre(game, 1e-4, tolerance=1e-9)
    np.testing.assert_allclose([s[0] for s in found.strategies], [x[0], y[0]], atol=1e-3)


def test_nash_finds_all_three_of_a_coordination_game_and_only_equilibria():
    game = NormalForm.symmetric([[2.0, 0.0], [0.0, 1.0]])
    found = sorted(round(float(x[0]), 9) for x, _ in nash(game))
    assert found == [0.0, pytest.approx(1 / 3), 1.0]
    for seed in range(10):
        game = NormalForm.random(seed, (3, 4))
        a, b = game.arrays()
        equilibria = nash(game)
        assert len(equilibria) % 2 == 1  # Wilson's oddness theorem
        for x, y in equilibria:
            assert (a @ y).max() <= x @ a @ y + 1e-8
            assert (x @ b).max() <= x @ b @ y + 1e-8


def test_security_is_the_value_of_a_zero_sum_game_and_the_limit_of_wary_players():
    pennies = NormalForm.zero_sum([[3.0, -1.0], [-2.0, 1.0]], name="pennies", players=("odd", "even"))
    assert (pennies.name, pennies.players) == ("pennies", ("odd", "even"))
    strategies, values = security(pennies)
    np.testing.assert_allclose(strategies[0], [3 / 7, 4 / 7], atol=1e-9)
    np.testing.assert_allclose(values, [1 / 7, -1 / 7], atol=1e-9)
    for seed in range(3):
        game = NormalForm.random(seed, (3, 2))
        strategies, values = security(game)
        for matrix, x, value in zip(game.matrices(), strategies, values):
            assert (x @ matrix).min() == pytest.approx(value, abs=1e-9)
        wary = rqe(game, 1e-5, 1e-3, tolerance=1e-8)  # the log barrier leaves every action a chance of about epsilon
        assert wary.converged
        np.testing.assert_allclose(wary.values, values, atol=2.5e-3)
    with pytest.raises(AverseError, match="one game of the batch"):
        security(NormalForm.random(0, (2, 2), 3))


def test_bad_input():
    with pytest.raises(AverseError, match="two players"):
        nash(NormalForm.random(0, (2, 2, 2)))
    with pytest.raises(AverseError, match="at most 8"):
        nash(NormalForm.random(0, (9, 2)))
