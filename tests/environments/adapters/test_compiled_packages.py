"""gymnax's and JaxMARL's own worlds against Gymnasium's and mpe2's, where the packages are installed.

They ask for an older Gymnasium than the tests are pinned to (docs/dependencies.md), so that they are no part of the
extra `dev`; `test_compiled_in` tests the same doors without them.
"""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.environments import Box, check_environment, make, to_pettingzoo


def require(name: str) -> None:
    """Skip where the library of a world is not installed, or too old."""
    library, least = name.partition(":")[0], {"gymnax": "1.0", "jaxmarl": "0.2"}
    try:
        there = version(library)
    except PackageNotFoundError:
        pytest.skip(f"needs the extra {library}")
    if tuple(map(int, there.split(".")[:2])) < tuple(map(int, least[library].split("."))):
        pytest.skip(f"needs {library} {least[library]}, not {there}")


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Their arithmetic mixes types and ranks, which the tests of this package do not allow its own."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def start(environment):
    return environment.reset(jax.random.key(3))[0]


def put(state, **numbers):
    """The state with other numbers in the world's own."""
    return state._replace(inner=state.inner.replace(**{name: jnp.float32(value) for name, value in numbers.items()}))


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1", "MountainCar-v0", "Acrobot-v1"])
def test_steps_are_those_of_gymnasium(id):
    """From the same states by the same actions: the physics to 1e-5, rewards, and what ends."""
    require("gymnax")
    fields = {
        "CartPole-v1": ("x", "x_dot", "theta", "theta_dot"),
        "Pendulum-v1": ("theta", "theta_dot"),
        "MountainCar-v0": ("position", "velocity"),
        "Acrobot-v1": ("joint_angle1", "joint_angle2", "velocity_1", "velocity_2"),
    }[id]
    ours, theirs = make(f"gymnax:{id}"), gymnasium.make(id).unwrapped
    theirs.reset(seed=0)
    first, step = start(ours), jax.jit(ours.step)
    rng, over = np.random.default_rng(0), 0
    spread = {"CartPole-v1": (1.5, 1.0, 0.2, 3.0), "MountainCar-v0": (0.6, 0.07), "Acrobot-v1": (3.0, 3.0, 2.0, 2.0)}
    for _ in range(200):
        place = np.float32(rng.uniform(-1, 1, len(fields)) * spread.get(id, (3.0, 5.0)))
        if isinstance(ours.action_space, Box):
            action = np.float32(rng.uniform(-2, 2, (1, 1)))
            given = action[0]
        else:
            action = rng.integers(0, ours.action_space.num_actions, 1).astype(np.int32)
            given = int(action[0])
        theirs.state, theirs.steps_beyond_terminated = place.astype(np.float64), None
        theirs.last_u = None
        seen, reward, terminated, _, _ = theirs.step(given)
        result = step(jax.random.key(0), put(first, **dict(zip(fields, place))), jnp.asarray(action))
        np.testing.assert_allclose(result.observations[0], seen, rtol=1e-5, atol=1e-5)
        assert bool(result.terminated[0]) == bool(terminated)
        np.testing.assert_allclose(result.rewards[0], reward, rtol=1e-5, atol=1e-5)
        over += terminated
    assert id == "Pendulum-v1" or 0 < over < 200


def test_the_time_limit_is_a_cut():
    require("gymnax")
    ours = make("gymnax:CartPole-v1", env_arg=("gravity=0", "force_mag=0"), horizon=12)
    state = put(start(ours), x=0.0, x_dot=0.0, theta=0.0, theta_dot=0.0)
    for k in range(12):
        result = ours.step(jax.random.key(k), state, jnp.array([1]))
        state = result.state
        assert (bool(result.terminated[0]), bool(result.truncated)) == (False, k == 11)


@pytest.mark.parametrize("name", ["gymnax:Pendulum-v1", "gymnax:FrozenLake-misc", "jaxmarl:MPE_simple_tag_v3"])
def test_they_are_in_order(name):
    require(name)
    check_environment(make(name, reward_bounds=(-1e3, 1e3)), episodes=4)


def test_particles_move_as_those_of_mpe2():
    """simple_spread by the same actions, whole episodes: what is seen and paid at each step, and 25 steps, not 26."""
    require("jaxmarl")
    from mpe2 import simple_spread_v3

    ours = make("jaxmarl:MPE_simple_spread_v3")
    theirs = simple_spread_v3.parallel_env(max_cycles=25)
    step, rng, touched = jax.jit(ours.step), np.random.default_rng(0), False
    for episode in range(3):
        theirs.reset(seed=episode)
        state, _ = ours.reset(jax.random.key(episode))
        world, places = theirs.unwrapped.world, np.array(state.inner.p_pos)
        places[: ours.num_agents] *= 0.2  # near each other, so that they collide
        state = state._replace(inner=state.inner.replace(p_pos=jnp.asarray(places)))
        for entity, place in zip([*world.agents, *world.landmarks], places):
            entity.state.p_pos, entity.state.p_vel = place.astype(np.float64), np.zeros(2)
        while theirs.agents:
            actions = rng.integers(0, 5, 3).astype(np.int32)
            seen, paid, _, cut, _ = theirs.step(dict(zip(theirs.agents, actions.tolist())))
            result = step(jax.random.key(0), state, jnp.asarray(actions))
            state = result.state
            np.testing.assert_allclose(result.observations, list(seen.values()), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(result.rewards, list(paid.values()), rtol=1e-4, atol=1e-4)
            assert bool(result.truncated) == all(cut.values())
            assert not result.terminated.any()
            touched |= len(set(np.round(list(paid.values()), 3))) > 1
        assert int(state.time) == 25
    assert touched


@pytest.mark.parametrize("name", ["gymnax:CartPole-v1", "gymnax:Pendulum-v1", "jaxmarl:MPE_simple_tag_v3"])
def test_they_are_drawn(name):
    require(name)
    env = to_pettingzoo(name, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    for index, agent in enumerate(env.agents):
        env.action_space(agent).seed(index)
    actions = {agent: env.action_space(agent).sample() for agent in env.agents}
    for _ in range(5):  # the same ones, as opposite ones may leave everything where it was
        env.step(actions)
    assert before.shape == env.render().shape
    assert (before != env.render()).any()


def test_nothing_is_printed_when_jaxmarl_is_imported():
    require("jaxmarl")
    code = "from averse.environments import make; import sys; make('jaxmarl:switch_riddle'); sys.stdout.write('done')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "done"
