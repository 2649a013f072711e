"""The cliff walk: the environment is the Markov game, and learned policies are scored in it exactly."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stirred import stirred

import averse
from averse import AverseError
from averse.environments.cliff_walk import CELLS, CLIFF, GOALS, SIZE, CliffWalk, CliffWalkState
from averse.evaluation.known_models import exact_scores, strategy_tables
from averse.evaluation.play import compiled_player
from averse.games import score, simulate, solve_markov
from averse.learners.fixed import fixed

SAMPLES = 64


def by_the_words(first, second, moves, success=0.9, success_near=0.5):
    """{(cells after, rewards): probability} of one joint move, written down from the description alone."""

    def walk(cell, move):
        row, column = divmod(cell, SIZE)
        row += {"up": -1, "down": 1}.get(move, 0)
        column += {"left": -1, "right": 1}.get(move, 0)
        return row * SIZE + column if 0 <= row < SIZE and 0 <= column < SIZE else cell

    def holds(agent, cell):
        return cell in CLIFF or cell == GOALS[agent]

    (r1, c1), (r2, c2) = divmod(first, SIZE), divmod(second, SIZE)
    near = max(abs(r1 - r2), abs(c1 - c2)) <= 1 and not holds(0, first) and not holds(1, second)
    chance = success_near if near else success
    outcomes = [{}, {}]
    for agent, (cell, chosen) in enumerate(zip((first, second), moves)):
        for move in ("up", "down", "left", "right"):
            probability = chance if move == chosen else (1 - chance) / 3
            after = cell if holds(agent, cell) else walk(cell, move)
            paid = 0.0
            if not holds(agent, cell):
                paid = -2.0 if after in CLIFF else 1.0 if after == GOALS[agent] else 0.0
            outcomes[agent][after, paid] = outcomes[agent].get((after, paid), 0.0) + probability
    return {
        ((a, b), (x, y)): p * q
        for ((a, x), p), ((b, y), q) in itertools.product(outcomes[0].items(), outcomes[1].items())
    }


@pytest.fixture(scope="module")
def model():
    """The description as tables [state, joint action] of {(next state, reward 1, reward 2): probability}."""
    moves = list(itertools.product(("up", "down", "left", "right"), repeat=2))
    return [
        [
            {(a * CELLS + b, x, y): p for ((a, b), (x, y)), p in by_the_words(*divmod(s, CELLS), pair).items()}
            for pair in moves
        ]
        for s in range(CELLS**2)
    ]


def test_the_markov_game_is_the_description_in_every_state(model):
    game = CliffWalk().model()
    chance, lead, rewards = (np.asarray(x) for x in (game.probabilities, game.next_states, game.rewards))
    for s in range(CELLS**2):
        for joint, expected in enumerate(model[s]):
            a, b = divmod(joint, 4)
            found: dict = {}
            for k in range(16):
                key = (int(lead[s, a, b, k]), float(rewards[0, s, a, b, k]), float(rewards[1, s, a, b, k]))
                found[key] = found.get(key, 0.0) + chance[s, a, b, k]
            found = {key: p for key, p in found.items() if p > 0}
            assert found.keys() == expected.keys()
            assert all(abs(found[key] - p) < 1e-12 for key, p in expected.items())


def transitions(environment, samples):
    """Next states and rewards of every state and joint action, [S, 16, samples] and [S, 16, samples, 2]."""
    numbers = jnp.arange(CELLS**2)
    cells = jnp.stack([numbers // CELLS, numbers % CELLS], -1)
    actions = jnp.array(list(itertools.product(range(4), repeat=2)))

    def one(key, cells, actions):
        result = environment.step(key, CliffWalkState(cells, jnp.int32(0)), actions)
        return result.state.cells[0] * CELLS + result.state.cells[1], result.rewards, result.terminated

    keys = jax.random.split(jax.random.key(0), (CELLS**2, 16, samples))
    each = jax.vmap(jax.vmap(jax.vmap(one, (0, None, None)), (0, None, 0)), (0, 0, None))
    return jax.tree.map(np.asarray, jax.jit(each)(keys, cells, actions))


def test_the_environment_is_the_description_in_every_state(model):
    """Every transition that is drawn is possible, with exactly its rewards, and as frequent as it should be."""
    lead, rewards, terminated = transitions(CliffWalk(), SAMPLES)
    paid = np.array([-2.0, 0.0, 1.0])
    assert np.isin(rewards, paid).all()

    def numbered(row, lead, *rewards):
        """One number for each row (state and joint action), next state and pair of rewards."""
        first, second = (np.searchsorted(paid, reward) for reward in rewards)
        return ((row * CELLS**2 + lead) * 3 + first) * 3 + second

    rows = np.arange(16 * CELLS**2)
    drawn, counts = np.unique(
        numbered(rows[:, None], *(x.reshape(len(rows), -1) for x in (lead, rewards[..., 0], rewards[..., 1]))),
        return_counts=True,
    )
    outcomes = [
        (row, *key, p)
        for row, expected in enumerate(itertools.chain.from_iterable(model))
        for key, p in expected.items()
    ]
    *keys, chances = np.array(outcomes).T
    possible = numbered(keys[0].astype(int), keys[1].astype(int), *keys[2:])
    order = np.argsort(possible)
    possible, chances = possible[order], chances[order]
    assert np.isin(drawn, possible).all()
    found = np.zeros(len(possible))
    found[np.searchsorted(possible, drawn)] = counts
    # Pearson's statistic of a row with k outcomes: its mean, and its variance exactly, as few are expected of some.
    statistic, k = np.sum((found - SAMPLES * chances) ** 2 / (SAMPLES * chances)), np.bincount(keys[0].astype(int))
    mean, variance = np.sum(k - 1), np.sum(2 * (k - 1) - (k**2 + 2 * k - 2) / SAMPLES) + np.sum(1 / chances) / SAMPLES
    assert abs(statistic - mean) < 5 * np.sqrt(variance)
    held = np.isin(lead // CELLS, (*CLIFF, GOALS[0]))
    np.testing.assert_array_equal(terminated[..., 0], held)


@pytest.mark.parametrize("near", [0.0, 1.0])
def test_without_chance_both_are_the_same_tables(near):
    """Every move succeeds (or none, near the other agent): then one draw tells all, and it must be the game's."""
    parameters = {"success": 1.0, "success_near": near}
    lead, rewards, _ = transitions(CliffWalk(**parameters), 1)
    game = CliffWalk(**parameters).model()
    chance, states, paid = (np.asarray(x) for x in (game.probabilities, game.next_states, game.rewards))
    certain = (chance.max(-1) == 1).reshape(CELLS**2, 16)
    assert certain.mean() > 0.75
    k = chance.argmax(-1)[..., None]
    expected = np.take_along_axis(states, k, -1).reshape(CELLS**2, 16)
    np.testing.assert_array_equal(lead[..., 0][certain], expected[certain])
    for i in range(2):
        expected = np.take_along_axis(paid[i], k, -1).reshape(CELLS**2, 16)
        np.testing.assert_array_equal(rewards[..., 0, i][certain], expected[certain])


def test_episodes_end_with_the_horizon_or_when_both_are_held():
    up_and_down = fixed(lambda observations: jnp.zeros(observations.shape[:-1], jnp.int32))
    played = compiled_player(CliffWalk(horizon=7), up_and_down, False)((), np.arange(500))
    assert played.length.max() == 7
    assert not played.truncated.any()
    rush = fixed(lambda observations: jnp.broadcast_to(jnp.array([3, 2]), observations.shape[:-1]))
    played = compiled_player(CliffWalk(success=1.0, success_near=1.0), rush, False)((), np.arange(3))
    assert (played.length == 1).all()
    np.testing.assert_array_equal(played.returns, -2.0)
    assert (played.info["falls"] == 2).all()


# --- exact scores -----------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_scores_are_the_solvers_values():
    """The action-dependent form, and the risk-neutral game, by another implementation."""
    game = CliffWalk(horizon=6).model()
    for tau in (1.0, np.inf):
        solved = solve_markov(game, tau, 0.05, regulariser="entropy", form="action-dependent")
        np.testing.assert_allclose(score(game, solved.strategies, tau).state_values, solved.values, atol=1e-9)


def test_scores_are_simulated_means():
    game = CliffWalk(horizon=10).model()
    strategies = solve_markov(game, 1.0, 0.1).strategies
    exact = score(game, strategies)
    returns, _ = simulate(game, strategies, 10_000)
    assert (np.abs(returns.mean(0) - exact.values) < 4 * returns.std(0) / np.sqrt(len(returns))).all()


def test_regret_is_what_brute_force_finds():
    """Two steps from one start: player 1's best response among all its deterministic plans."""
    game = CliffWalk(horizon=2).model()
    uniform = [np.full((2, CELLS**2, 4), 0.25)] * 2
    for tau in (np.inf, 0.5):
        exact = score(game, uniform, tau)
        best = -np.inf
        start = game.start
        reached = np.unique(np.asarray(game.next_states)[start])
        # One action now, then the best one in each state that may be reached.
        later = np.zeros(CELLS**2)
        for s in reached:
            options = []
            for a in range(4):
                strategy = uniform[0].copy()
                strategy[1, s] = np.eye(4)[a]
                options.append(score(game, [strategy, uniform[1]], tau).state_values[1, 0, s])
            later[s] = np.argmax(options)
        for a in range(4):
            strategy = np.eye(4)[np.tile(later.astype(int), (2, 1))]
            strategy[0] = np.eye(4)[a]
            best = max(best, score(game, [strategy, uniform[1]], tau).values[0])
        assert exact.best_responses[0] == pytest.approx(best, abs=1e-12)
        assert (exact.regrets >= 0).all()


@pytest.mark.thorough
def test_a_learned_policy_is_scored_as_it_plays(tmp_path):
    """The strategies that are scored are those that are played: exact values against the mean of episodes."""
    run = averse.train("cliff-walk", "mappo", steps=1e5, seeds=2, gamma=1.0)
    scores = exact_scores(run)
    evaluation = averse.evaluate(run, episodes=4_000)
    for exact, returns in zip(scores, evaluation.episodes.by_training_seed()):
        assert abs(returns.mean() - exact.values.mean()) < 4 * returns.std() / np.sqrt(len(returns))
        uniform = score(CliffWalk().model(), [np.full((20, CELLS**2, 4), 0.25)] * 2)
        # It has learned to keep off the cliff; so short a training does not find the goal, and the regret says so.
        assert exact.values.sum() > uniform.values.sum() + 2
        assert 1 < exact.nash_conv < uniform.nash_conv / 2


def test_the_greedy_policy_is_deterministic():
    run = stirred("cliff-walk", "mappo")
    env = run.environment
    one_hot = exact_scores(run, greedy=True)[0]
    strategies = strategy_tables(env, run.learner.action_probabilities, run.state(0), env.model())
    sharp = [np.eye(4)[x.argmax(-1)] for x in strategies]
    np.testing.assert_allclose(one_hot.values, score(CliffWalk().model(), sharp).values, atol=1e-12)


@pytest.mark.thorough
def test_what_cannot_be_scored():
    with pytest.raises(AverseError, match="not known as a Markov game"):
        exact_scores(stirred("corridor", "mappo"))
    with pytest.raises(AverseError, match="memory"):
        exact_scores(stirred("cliff-walk", "mappo", recurrent=True))
    with pytest.raises(AverseError, match="must have shapes"):
        score(CliffWalk().model(), [np.full((20, 3, 4), 0.25)] * 2)
    with pytest.raises(AverseError, match="must sum to one"):
        score(CliffWalk().model(), [np.full((20, CELLS**2, 4), 0.2)] * 2)
