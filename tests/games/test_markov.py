"""Markov games: backward induction against hand calculation and simulation; the cliff walk; conversion."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.environments.cliff_walk import CELLS, CLIFF, LEFT_CORNER, RIGHT_CORNER, SIZE, CliffWalk
from averse.environments.protocol import Discrete, StepResult
from averse.errors import AverseError
from averse.games import MarkovGame, NormalForm, from_environment, rqe, simulate, solve_markov


def random_game(states=3, horizon=3, gamma=0.9):
    generator = np.random.default_rng(0)
    transitions = generator.dirichlet(np.ones(states), (states, 2, 2))
    return MarkovGame.from_tables(generator.random((2, states, 2, 2)), transitions, horizon, gamma)


def test_one_step_is_the_matrix_game():
    game = random_game(horizon=1)
    solved = solve_markov(game, 0.7, 0.5)
    rewards = np.asarray(game.rewards)[..., 0]
    for s in range(3):
        single = rqe(NormalForm([rewards[0, s], rewards[1, s]]), 0.7, 0.5)
        for i in range(2):
            np.testing.assert_allclose(solved.strategies[i][0, s], single.strategies[i], atol=1e-9)
        np.testing.assert_allclose(solved.values[0, :, s], single.values, atol=1e-9)


def test_two_steps_by_hand():
    game, tau = random_game(horizon=2), np.array([0.7, 2.0])
    solved = solve_markov(game, tau, 0.5)
    later = solve_markov(random_game(horizon=1), tau, 0.5).values[0]
    rewards, chance = np.asarray(game.rewards)[..., 0], np.asarray(game.probabilities)
    payoffs = [rewards[i] - tau[i] * np.log((chance * np.exp(-0.9 * later[i] / tau[i])).sum(-1)) for i in range(2)]
    for s in range(3):
        stage = rqe(NormalForm([payoffs[0][s], payoffs[1][s]]), tau, 0.5)
        np.testing.assert_allclose(solved.values[0, :, s], stage.values, atol=1e-9)


def test_neutral_values_are_simulated_means():
    game = random_game(horizon=4)
    solved = solve_markov(game, np.inf, 0.3, regulariser="entropy")
    returns, states = simulate(game, solved.strategies, 40_000)
    error = returns.std(0) / np.sqrt(len(returns))
    assert (abs(returns.mean(0) - solved.values[0, :, 0]) < 4 * error).all()
    assert states.shape == (40_000, 5)


def test_cliff_walk_rules():
    game = CliffWalk().model()
    chance, lead, rewards = map(np.asarray, (game.probabilities, game.next_states, game.rewards))
    far = game.start
    right, up = 3, 0
    # Alone: agent 1 moves right into the cliff with .9; agent 2 up with .9.
    into = lead[far, right, up] // CELLS == LEFT_CORNER + 1
    assert chance[far, right, up][into].sum() == pytest.approx(0.9)
    assert set(rewards[0, far, right, up][into]) == {-2.0}
    # Within one cell, diagonals included: .5.
    near = (LEFT_CORNER - SIZE) * CELLS + LEFT_CORNER - 2 * SIZE + 1
    moves = lead[near, up, up] // CELLS == LEFT_CORNER - 2 * SIZE
    assert chance[near, up, up][moves].sum() == pytest.approx(0.5)
    # The goal pays once and holds; the other's goal is an ordinary cell, the cliff holds too.
    for cell in (RIGHT_CORNER, *CLIFF):
        state = cell * CELLS + 3
        assert (lead[state] // CELLS == cell).all()
        assert (rewards[0, state] == 0).all()
    above = (RIGHT_CORNER - SIZE) * CELLS + 3
    onto = lead[above] // CELLS == RIGHT_CORNER
    assert (rewards[0, above][onto] == 1).all()


@pytest.mark.thorough
def test_cliff_walk_risk_aversion_keeps_agents_off_the_cliff():
    game = CliffWalk(horizon=12).model()
    falls = []
    for tau in (1e3, 1.0):
        solved = solve_markov(game, tau, 0.02)
        assert solved.residual.max() < 1e-10
        # The two agents are mirror images of each other.
        assert solved.values[0, 0, game.start] == pytest.approx(solved.values[0, 1, game.start], abs=1e-9)
        _, states = simulate(game, solved.strategies, 20_000)
        falls.append(np.isin(states[:, -1] // CELLS, CLIFF).mean())
    assert falls[1] < falls[0] - 0.02


class TwinState(NamedTuple):
    place: jax.Array


class Twins:
    """Two agents, two places. Choosing alike moves on with .75; the second place pays each its action and ends."""

    num_agents, action_space, horizon = 2, Discrete(2), 5

    def reset(self, key):
        return TwinState(jnp.int32(0)), None

    def step(self, key, state, actions):
        moves = (actions[0] == actions[1]) & (jax.random.uniform(key) < 0.75)
        second = state.place == 1
        return StepResult(
            state=TwinState(jnp.where(moves, 1, state.place).astype(jnp.int32)),
            observations=jnp.zeros((2, 1)),
            rewards=jnp.where(second, actions, 0).astype(jnp.float32),
            costs=jnp.zeros(2),
            terminated=jnp.full(2, second),
            truncated=jnp.bool_(False),
            info={},
        )

    def available_actions(self, state):
        return jnp.ones((2, 2), bool)


def test_conversion():
    game, states = from_environment(Twins(), samples=2000)
    assert [int(state.place) for state in states] == [0, 1]
    assert game.num_states == 3
    chance, lead = np.asarray(game.probabilities), np.asarray(game.next_states)
    assert chance[0, 1, 1][lead[0, 1, 1] == 1].sum() == pytest.approx(0.75, abs=4 * np.sqrt(0.1875 / 2000))
    assert chance[0, 0, 1][lead[0, 0, 1] == 0].sum() == 1
    assert (lead[1][chance[1] > 0] == 2).all()
    np.testing.assert_array_equal(np.asarray(game.rewards)[:, 1, 1, 0, 0], [1, 0])
    with pytest.raises(AverseError, match="more than 1 states"):
        from_environment(Twins(), samples=50, most_states=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probabilities": np.full((1, 2, 2, 1), 0.5)}, "must sum to one"),
        ({"next_states": np.ones((1, 2, 2, 1), int)}, "next_states must be 0 to 0"),
        ({"rewards": np.zeros((3, 1, 2, 2, 1))}, "rewards must have shape"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_bad_tables(change, words):
    tables = {
        "probabilities": np.ones((1, 2, 2, 1)),
        "next_states": np.zeros((1, 2, 2, 1), int),
        "rewards": np.zeros((2, 1, 2, 2, 1)),
        "horizon": 1,
    }
    with pytest.raises(AverseError, match=words):
        MarkovGame(**{**tables, **change})
