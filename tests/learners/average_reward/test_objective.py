"""Running moments, pseudo-rewards and average-reward advantages, against exact planning on random team games."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.learners.average_reward.objective import (
    average_reward_advantages,
    no_moments,
    pseudo_reward,
    updated,
    value_targets,
)
from averse.planning import TeamGame, mean_variance, poisson


def random_game(seed, states=3, actions=(2, 3)):
    rng = np.random.default_rng(seed)
    return TeamGame(rng.dirichlet(np.ones(states), (states, *actions)), 3 * rng.normal(size=(states, *actions)))


def random_policy(rng, game):
    return [rng.dirichlet(np.ones(size), game.num_states) for size in game.num_actions]


def test_moments_of_one_batch_and_of_the_first_few_are_plain_means():
    rng = np.random.default_rng(0)
    batches = rng.normal(-5.0, 1.3, (4, 50, 8)).astype(np.float32)
    moments = no_moments()
    for k, batch in enumerate(batches):
        moments = updated(moments, jnp.asarray(batch), smoothing=0.1)
        seen = batches[: k + 1].astype(np.float64)
        assert moments.eta == pytest.approx(seen.mean(), abs=1e-5)
        assert moments.zeta == pytest.approx(seen.var(), abs=1e-4)
        assert moments.objective(0.7) == pytest.approx(seen.mean() - 0.7 * seen.var(), abs=1e-4)


def test_old_batches_fade_exponentially():
    moments = no_moments()
    for k in range(60):
        moments = updated(moments, jnp.full((2, 2), float(k >= 50)), smoothing=0.25)
    assert moments.eta == pytest.approx(1 - 0.75**10, abs=1e-5)  # ten batches of ones after many of zeros
    assert moments.batches == 60


def test_the_pseudo_reward_has_mean_j_and_j_is_its_running_mean():
    game, beta = random_game(1), 0.8
    policy = random_policy(np.random.default_rng(1), game)
    steady = poisson(game, policy, beta).steady_state
    eta, _, objective = mean_variance(game, policy, beta)
    pseudo = pseudo_reward(jnp.asarray(game.reward, jnp.float32), eta, beta)
    mass = np.einsum("s,sa,sb->sab", steady, *policy)
    assert (mass * np.asarray(pseudo)).sum() == pytest.approx(objective, abs=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3, 2.0])
def test_with_exact_values_the_expected_delta_is_the_exact_advantage(beta):
    """lam = 0: for every state and joint action, the estimate's mean over next states is A of the Poisson equation."""
    for seed in range(5):
        game = random_game(seed)
        policy = random_policy(np.random.default_rng(seed), game)
        exact = poisson(game, policy, beta)
        values = jnp.asarray(exact.values, jnp.float32)
        pseudo = pseudo_reward(jnp.asarray(game.reward, jnp.float32), exact.value.eta, beta)
        here = values[:, None, None, None]
        # One "trajectory" of a single step for each (s, a1, a2, s').
        shape = (*game.reward.shape, game.num_states)
        estimates = average_reward_advantages(
            jnp.broadcast_to(here, shape)[None], jnp.broadcast_to(values, shape)[None],
            jnp.broadcast_to(pseudo[..., None], shape)[None], exact.value.objective, jnp.zeros((1, *shape), bool), 0.0,
        )[0]  # fmt: skip
        expected = (game.transition * np.asarray(estimates)).sum(-1)
        wanted = exact.action_values - exact.values[:, None, None]
        np.testing.assert_allclose(expected, wanted, atol=2e-5)


def test_long_credit_needs_no_critic():
    """lam = 1 and V = 0: the mean over many long trajectories is the exact relative value, up to a constant."""
    game, beta, steps, chains = random_game(3), 0.5, 40, 40_000
    policy = random_policy(np.random.default_rng(3), game)
    exact = poisson(game, policy, beta)
    chain = np.einsum("sabx,sa,sb->sx", game.transition, *policy)
    pseudo = np.asarray(pseudo_reward(jnp.asarray(game.reward), exact.value.eta, beta), np.float64)
    expected = np.einsum("sab,sa,sb->s", pseudo, *policy)
    bounds = jnp.asarray(np.cumsum(chain, -1), jnp.float32)

    def walk(states, key):
        following = (jax.random.uniform(key, states.shape)[:, None] >= bounds[states]).sum(-1)
        return jnp.minimum(following, game.num_states - 1), states

    start = jnp.arange(chains) % game.num_states
    _, states = jax.lax.scan(walk, start, jax.random.split(jax.random.key(0), steps))
    rewards = jnp.asarray(expected, jnp.float32)[states]
    none = jnp.zeros_like(rewards)
    estimates = average_reward_advantages(none, none, rewards, exact.value.objective, none > 0, 1.0)[0]
    for state in range(game.num_states):
        found = np.asarray(estimates)[np.asarray(start) == state]
        assert found.mean() == pytest.approx(exact.values[state], abs=5 * found.std() / np.sqrt(found.size))


def test_a_truncation_ends_the_sum_but_not_the_world():
    """Hand computed: delta_t = f_t - J + V'_t - V_t; the sum stops after step 1, whose V' is that of the next state."""
    values, next_values = jnp.array([1.0, 2.0, -1.0]), jnp.array([2.0, 7.0, 0.5])
    rewards, truncated = jnp.array([0.5, 0.1, 0.3]), jnp.array([False, True, False])
    deltas = np.array([0.5 - 0.2 + 2 - 1, 0.1 - 0.2 + 7 - 2, 0.3 - 0.2 + 0.5 + 1])
    found = average_reward_advantages(values, next_values, rewards, 0.2, truncated, 0.9)
    np.testing.assert_allclose(found, [deltas[0] + 0.9 * deltas[1], deltas[1], deltas[2]], rtol=1e-6)


def test_value_targets_are_drawn_to_mean_zero():
    values, advantages = jnp.array([3.0, 5.0]), jnp.array([1.0, -1.0])
    np.testing.assert_allclose(value_targets(values, advantages, 0.0), [4.0, 4.0])
    np.testing.assert_allclose(value_targets(values, advantages, 0.25), [3.0, 3.0])
    assert float(value_targets(values, advantages, 1.0).mean()) == 0
