"""No-regret play of players and adversaries converges to the direct solution inside the tractable region."""

import jax
import numpy as np
import pytest

from averse.errors import AverseError
from averse.games import NormalForm, no_regret, published, rqe, tractability


def agree(game, *settings):
    learned = rqe(game, *settings, method="no-regret", tolerance=1e-9, max_iterations=20_000)
    direct = rqe(game, *settings)
    assert learned.converged
    for x, y in zip(learned.strategies, direct.strategies):
        np.testing.assert_allclose(x, y, atol=1e-7)
    return learned


def test_published_game():
    game = published()["selten-chmura-2"]
    learned = agree(game.game, game.tau, game.epsilon)
    regret = learned.history["regret"].max(-1)
    # Average regret falls like one over the number of rounds.
    assert regret[-1] * learned.history["iteration"][-1] < 1.5 * regret[0] * learned.history["iteration"][0]
    assert regret[-1] < 0.2 * regret[0]


@pytest.mark.parametrize(("penalty", "regulariser"), [("kl", "log-barrier"), ("reverse-kl", "entropy")])
@pytest.mark.thorough
def test_three_players(penalty, regulariser):
    game, tau, epsilon = NormalForm.random(7, (3, 2, 2)), [0.3, 0.5, 0.2], [0.8, 0.6, 0.9]
    assert tractability(tau, epsilon, penalty, regulariser, 3).margin >= 0
    learned = agree(game, tau, epsilon, penalty, regulariser)
    assert learned.history["regret"].shape == (len(learned.history["iteration"]), 3)
    # No regret is below zero by more than rounding: hindsight's best is at least as good as what was played.
    assert learned.history["regret"].min() > -1e-12


def test_neutral_players_and_a_batch():
    games = NormalForm.random(2, (2, 2), 3)
    learned = rqe(games, [np.inf, 1.0], 1.0, method="no-regret", tolerance=1e-9)
    direct = rqe(games, [np.inf, 1.0], 1.0)
    np.testing.assert_allclose(learned.strategies[0], direct.strategies[0], atol=1e-7)
    assert learned.iterations.shape == (3,)


def test_the_first_state_has_the_types_of_later_ones():
    """Of weak types, the first block of rounds would be another program than all others: compiled for one call."""
    for shape in ((2, 2), (3, 2, 2)):
        with jax.enable_x64(True):
            state = jax.vmap(no_regret._start)(NormalForm.random(0, shape, 2).matrices())
        for leaf in jax.tree.leaves(state):
            assert leaf.dtype == np.float64
            assert not leaf.weak_type


def test_bad_input():
    game = NormalForm.random(0, (2, 2))
    with pytest.raises(AverseError, match="action-dependent"):
        rqe(game, 1.0, 1.0, form="action-dependent", method="no-regret")
