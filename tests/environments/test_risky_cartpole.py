"""Risky CartPole against Gymnasium's CartPole-v1 and against the published behaviour of its levels."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse import environments
from averse.environments.risky_cartpole import CartPoleState
from averse.statistics import cvar


def linear_controller(observations):
    x, x_dot, theta, theta_dot = jnp.moveaxis(observations, -1, 0)
    return (0.1 * x + 0.5 * x_dot + 3.0 * theta + theta_dot > 0).astype(jnp.int32)


def play(env, controller, seed):
    """Return and survival of one episode."""
    key = jax.random.key(seed)
    state, observations = env.reset(key)

    def step(carry, key):
        state, observations, total, alive = carry
        result = env.step(key, state, controller(observations))
        total += jnp.where(alive, result.rewards[0], 0.0)
        alive = alive & ~result.terminated[0]
        return (result.state, result.observations, total, alive), None

    carry, _ = jax.lax.scan(step, (state, observations, 0.0, jnp.bool_(True)), jax.random.split(key, env.horizon))
    return carry[2], carry[3]


def test_physics_equals_gymnasium_without_wind():
    env = environments.make("risky-cartpole", level="none")
    reference, step = gymnasium.make("CartPole-v1").unwrapped, jax.jit(env.step)
    rng = np.random.default_rng(0)
    for episode in range(5):
        start, _ = reference.reset(seed=episode)
        state = CartPoleState(np.asarray(start, np.float32), np.float32(0.1), np.int32(0))
        for _ in range(60):
            action = int(rng.integers(2))
            expected, _, ended, _, _ = reference.step(action)
            result = step(jax.random.key(0), state, np.array([action], np.int32))
            np.testing.assert_allclose(result.observations[0], expected, atol=2e-5)
            assert bool(result.terminated[0]) == ended
            state = result.state
            if ended:
                break


def test_gusts_come_as_often_and_as_strong_as_stated():
    env = environments.make("risky-cartpole", wind_std=7.0, wind_probability=0.3, mass_std=0.0)
    calm = environments.make("risky-cartpole", level="none")
    state, action = CartPoleState(np.zeros(4, np.float32), np.float32(0.1), np.int32(0)), np.array([1], np.int32)

    @jax.jit
    def velocities(key):
        pushed = jax.vmap(lambda key: env.step(key, state, action).observations[0, 1])(jax.random.split(key, 20_000))
        return pushed, calm.step(key, state, action).observations[0, 1]

    pushed, still = map(np.asarray, velocities(jax.random.key(0)))
    force = np.asarray((pushed - still) / still * 10.0)  # from rest the velocity gained is proportional to the force
    gusts = force[np.abs(force) > 1e-3]
    assert len(gusts) / len(force) == pytest.approx(0.3, abs=0.01)
    assert gusts.std() == pytest.approx(7.0, rel=0.03)
    assert gusts.mean() == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize("level", ["low", "medium", "high"])
def test_published_levels_have_no_tail(level):
    env = environments.make("risky-cartpole", level=level)
    _, alive = jax.jit(jax.vmap(lambda seed: play(env, linear_controller, seed)))(jnp.arange(200))
    assert bool(alive.all())


def test_severe_level_has_a_tail():
    """The linear controller survives about 90 % of the episodes; the worst 5 % end after about a quarter."""
    env = environments.make("risky-cartpole")
    returns, alive = jax.jit(jax.vmap(lambda seed: play(env, linear_controller, seed)))(jnp.arange(4000))
    returns = np.asarray(returns, np.float64)
    assert float(alive.mean()) == pytest.approx(0.90, abs=0.02)
    assert returns.mean() == pytest.approx(473, abs=8)
    assert returns.std() == pytest.approx(90, abs=15)
    assert cvar(returns, 0.05) == pytest.approx(119, abs=25)


def test_the_corridor_pays_more_near_the_edge():
    env = environments.make("risky-cartpole", corridor=True, level="none")
    positions = np.linspace(-2.0, 2.3, 9, dtype=np.float32)

    def reward(x):
        state = CartPoleState(jnp.array([x, 0.0, 0.0, 0.0]), jnp.float32(0.1), jnp.int32(0))
        return env.step(jax.random.key(0), state, jnp.array([0])).rewards[0]

    rewards = np.asarray(jax.jit(jax.vmap(reward))(positions))
    right = rewards[positions > 0.1]
    assert (np.diff(right) > 0).all()
    assert rewards[0] == pytest.approx(1.0 - env.edge_reward, abs=1e-3)
