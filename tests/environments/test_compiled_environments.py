"""What every compiled environment must do: shapes, dtypes, determinism, automatic reset, bounds, metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse import AverseError, environments
from averse.environments.batch import reset_batch, step_batch
from averse.environments.protocol import Box, Discrete, Environment, num_available

COMPILED = [
    ("corridor", {}),
    ("intersection", {"num_agents": 1, "human_rate": 0.0, "departure_spread": 0.0, "horizon": 40}),
    pytest.param(("intersection", {"horizon": 60}), marks=pytest.mark.slow),
    pytest.param(
        ("intersection", {"observation_noise": 1.0, "dropout": 0.1, "team": True, "num_agents": 2, "horizon": 40}),
        marks=pytest.mark.slow,
    ),
    ("risky-cartpole", {}),
    ("risky-cartpole", {"corridor": True, "level": "low", "horizon": 20}),
    ("risky-cartpole", {"continuous": True}),
    ("microgrids", {"horizon": 50}),
    ("microgrids", {"scenario": 1, "battery_levels": 3, "horizon": 50}),
]
NUM_ENVS = 5


@pytest.fixture(params=COMPILED, ids=lambda case: "-".join([case[0], *map(str, case[1])]))
def env(request):
    name, parameters = request.param
    return environments.make(name, **parameters)


def random_actions(env, key, shape=()):
    shape = (*shape, env.num_agents)
    if isinstance(env.action_space, Discrete):
        return jax.random.randint(key, shape, 0, env.action_space.num_actions)
    return jax.random.uniform(key, (*shape, env.action_space.size), minval=-1.5, maxval=1.5)


def rollout(env, seed, steps):
    """Random actions in a batch: every TimeStep on the way, stacked [T + 1, B, ...]."""
    key = jax.random.key(seed)
    batch, first = reset_batch(env, key, NUM_ENVS)

    def step(batch, key):
        return step_batch(env, batch, random_actions(env, key, (NUM_ENVS,)))

    _, rest = jax.lax.scan(step, batch, jax.random.split(key, steps))
    return first, rest


def test_is_a_compiled_environment(env):
    assert isinstance(env, Environment)
    assert environments.is_compiled(env)
    assert isinstance(env.action_space, Discrete | Box)
    again = environments.make(env.name, **env.parameters())
    assert again == env


def test_shapes_and_dtypes(env):
    first, steps = rollout(env, 0, 30)
    agents = env.num_agents
    for step, lead in ((first, (NUM_ENVS,)), (steps, (30, NUM_ENVS))):
        expected = {
            "observations": ((*lead, agents, env.observation_size), jnp.float32),
            "global_state": ((*lead, env.global_state_size), jnp.float32),
            "available": ((*lead, agents, num_available(env.action_space)), jnp.bool_),
            "rewards": ((*lead, agents), jnp.float32),
            "costs": ((*lead, agents), jnp.float32),
            "terminated": ((*lead, agents), jnp.bool_),
            "truncated": (lead, jnp.bool_),
            "next_observations": ((*lead, agents, env.observation_size), jnp.float32),
            "next_global_state": ((*lead, env.global_state_size), jnp.float32),
            "next_available": ((*lead, agents, num_available(env.action_space)), jnp.bool_),
        }
        for name, (shape, dtype) in expected.items():
            value = getattr(step, name)
            assert value.shape == shape, name
            assert value.dtype == dtype, name
        assert set(step.info) == set(env.metrics)
        assert all(value.shape == lead and value.dtype == jnp.float32 for value in step.info.values())
    assert bool((steps.costs >= 0).all())


def test_same_seed_same_trajectory_and_another_seed_another(env):
    _, one = rollout(env, 3, 20)
    _, same = rollout(env, 3, 20)
    _, other = rollout(env, 4, 20)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(same)))
    assert not np.array_equal(one.rewards, other.rewards)


def test_automatic_reset_starts_a_fresh_episode(env):
    """Observations go on from the true next ones, except after an end, where they are those of a fresh start."""
    _, steps = rollout(env, 1, env.horizon + 20)
    done = np.asarray(steps.done)
    assert done.any()
    continues = np.isclose(steps.observations, steps.next_observations).all((-1, -2))
    assert continues[~done].all()
    assert not continues[done].any()
    same_mask = np.equal(steps.available, steps.next_available).all((-1, -2))
    assert same_mask[~done].all()
    starts = np.asarray(steps.observations)[done]
    if env.name == "risky-cartpole":
        assert np.abs(starts).max() <= 0.05
    elif env.name == "corridor":
        assert (starts[:, 0, 0] == 1.0).all()


def test_episodes_end_by_the_horizon_and_returns_stay_within_their_bounds(env):
    _, steps = rollout(env, 2, 2 * env.horizon)
    gamma = 0.97
    low, high = env.return_bounds(gamma)
    done = np.asarray(steps.done)
    rewards = np.asarray(steps.rewards)
    for b in range(NUM_ENVS):
        ends = np.flatnonzero(done[:, b])
        lengths = np.diff(np.concatenate([[-1], ends]))
        assert (lengths <= env.horizon).all()
        for end, length in zip(ends, lengths):
            for start in range(end - length + 1, end + 1):  # from any state on
                tail = rewards[start : end + 1, b]
                discounted = (gamma ** np.arange(len(tail))[:, None] * tail).sum(0)
                assert (discounted >= low - 1e-4).all()
                assert (discounted <= high + 1e-4).all()


def test_names_and_parameters_that_do_not_exist_suggest_the_nearest():
    with pytest.raises(AverseError, match=r"did you mean risky-cartpole\?"):
        environments.make("risky-cartpol")
    with pytest.raises(AverseError, match=r"did you mean level\?"):
        environments.make("risky-cartpole", levl="low")
    with pytest.raises(AverseError, match="sever"):
        environments.make("risky-cartpole", level="sever")
    with pytest.raises(AverseError, match=r"wind_probability must be .* in \[0, 1\]"):
        environments.make("risky-cartpole", wind_probability=1.5)
    with pytest.raises(AverseError, match="length must be a whole number >= 1"):
        environments.make("corridor", length=0)
