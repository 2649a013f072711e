"""Batches of compiled environments: shapes, randomness by the seed, automatic reset."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import thorough

from averse import environments
from averse.environments.batch import reset_batch, step_batch
from averse.environments.checks.steps import expected_arrays, num_draws, random_actions

NUM_ENVS = 5
CASES = [
    ("corridor", {}),
    ("cliff-walk", {}),
    ("car-following", {"horizon": 30}),
    ("risky-cartpole", {"horizon": 20}),
    ("risky-cartpole", {"continuous": True, "horizon": 50}),
    ("microgrids", {"horizon": 50}),
]
LARGE = ("intersection", {"num_agents": 1, "human_rate": 0.0, "departure_spread": 0.0, "horizon": 40})


@pytest.fixture(
    scope="module", params=[*CASES, thorough(LARGE)], ids=lambda case: "-".join([case[0], *map(str, case[1])])
)
def played(request):
    """An environment and a function seed -> (first TimeStep, all others [T, B, ...]) of random actions."""
    name, parameters = request.param
    env = environments.make(name, **parameters)
    size = (NUM_ENVS, env.num_agents, num_draws(env.action_space))

    @jax.jit
    def play(key):
        batch, first = reset_batch(env, key, NUM_ENVS)

        def step(carry, key):
            batch, available = carry
            draws = jax.random.uniform(key, size)
            batch, now = step_batch(env, batch, random_actions(jnp, env.action_space, available, draws, draws[..., 0]))
            return (batch, now.available), now

        return first, jax.lax.scan(step, (batch, first.available), jax.random.split(key, env.horizon + 20))[1]

    return env, lambda seed: jax.device_get(play(jax.random.key(seed)))


@pytest.mark.parametrize(("name", "parameters"), [*CASES, LARGE], ids=lambda case: str(case))
def test_a_step_leads_to_what_another_one_takes(name, parameters):
    """Shapes and types, whether or not they are weak: else whoever steps from Python compiles all of it twice."""
    env = environments.make(name, **parameters)

    def play(key):
        batch, first = reset_batch(env, key, NUM_ENVS)
        draws = jnp.zeros((NUM_ENVS, env.num_agents, num_draws(env.action_space)))
        actions = random_actions(jnp, env.action_space, first.available, draws, draws[..., 0])
        return batch, step_batch(env, batch, actions)[0]

    before, after = (
        [(path, x.shape, x.dtype, x.weak_type) for path, x in jax.tree.leaves_with_path(batch)]
        for batch in jax.eval_shape(play, jax.random.key(0))
    )
    assert before == after


def test_shapes_and_dtypes_of_time_steps(played):
    env, play = played
    first, steps = play(0)
    for step, lead in ((first, (NUM_ENVS,)), (steps, (env.horizon + 20, NUM_ENVS))):
        for name, (shape, dtype, _) in expected_arrays(env).items():
            value = getattr(step, name)
            assert (name, value.shape, str(value.dtype)) == (name, (*lead, *shape), dtype)
        assert set(step.info) == set(env.metrics)
        assert all(value.shape == lead and value.dtype == np.float32 for value in step.info.values())
    assert not first.rewards.any()
    assert not first.done.any()


def test_same_seed_same_trajectory_and_another_seed_another(played):
    _, play = played
    (_, one), (_, same), (_, other) = play(3), play(3), play(4)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(same)))
    assert not np.array_equal(one.rewards, other.rewards)


def test_automatic_reset_starts_a_fresh_episode(played):
    """Observations go on from the true next ones, except after an end, where they are those of a fresh start."""
    env, play = played
    _, steps = play(1)
    done = steps.done
    assert done.any()
    continues = np.isclose(steps.observations, steps.next_observations).all((-1, -2))
    assert continues[~done].all()
    assert not continues[done].any()
    same_mask = np.equal(steps.available, steps.next_available).all((-1, -2))
    assert same_mask[~done].all()
    starts = steps.observations[done]
    if env.name == "risky-cartpole":
        assert np.abs(starts).max() <= 0.05
    elif env.name == "corridor":
        assert (starts[:, 0, 0] == 1.0).all()
    elif env.name in ("cliff-walk", "car-following"):
        np.testing.assert_array_equal(starts, np.broadcast_to(env.reset(jax.random.key(0))[1], starts.shape))
