"""Our worlds as Gymnasium's and PettingZoo's: their own tests, and the compiled worlds stepped by hand."""

import warnings
from dataclasses import replace
from importlib.util import find_spec

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test, parallel_seed_test

import averse.gymnasium
from averse import AverseError
from averse.environments import CompiledEnvironment, Discrete, make, to_gymnasium, to_pettingzoo
from averse.environments.intersection.task import STEPS_PER_DECISION
from averse.environments.recorded import RecordedEpisode, states_of
from averse.evaluation.host_play import scripted
from averse.evaluation.recording import record
from averse.report.film import drawing_of

SIMULATED = pytest.mark.skipif(find_spec("libsumo") is None, reason="needs the extra sumo")
LARGE = (pytest.mark.slow,)  # a minute of compilation


class Leaving(CompiledEnvironment):
    """Three agents who see the time; the first ends after 2 steps, the second after 3, and the last is cut after 5."""

    num_agents, observation_size, horizon, action_space = 3, 1, 5, Discrete(2)
    reward_bounds = (0.0, 2.0)

    def observe(self, state):
        return jnp.full((3, 1), state, jnp.float32)

    def reset(self, key):
        return jnp.int32(0), self.observe(0)

    def step(self, key, state, actions):
        ends = jnp.array([2, 3, 9])
        paid = jnp.where(state < ends, jnp.arange(3.0), 0.0)
        return self.result(state + 1, paid, terminated=state + 1 >= ends, truncated=state + 1 >= 5)


@pytest.fixture(autouse=True)
def no_advice():
    """Gymnasium would have bounds of observations, which our worlds do not state; all else it warns of is a fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*Box observation space m(in|ax)imum value is.*")
        yield


@pytest.mark.parametrize(
    ("id", "parameters"),
    [
        ("averse/Corridor-v0", {"length": 3}),
        ("averse/RiskyCartPole-v0", {"level": "low"}),
        ("averse/RiskyCartPole-v0", {"continuous": True}),
        pytest.param("averse/Intersection-v0", {}, marks=LARGE),
        pytest.param("averse/SumoIntersection-v0", {"horizon": 10}, marks=SIMULATED),
    ],
)
def test_gymnasium_takes_it_for_one_of_its_own(id, parameters):
    assert set(averse.gymnasium.WORLDS) <= set(gymnasium.registry)
    env = gymnasium.make(id, **parameters)
    for name, value in parameters.items():
        assert getattr(env.unwrapped.environment, name) == value
    check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cliff-walk", {}),
        ("microgrids", {"scenario": 1, "battery_levels": 3, "horizon": 15}),
        ("corridor", {"length": 3}),
        pytest.param("intersection", {"num_agents": 3}, marks=LARGE),
        pytest.param("sumo-intersection", {"num_agents": 3, "horizon": 12}, marks=SIMULATED),
    ],
)
def test_pettingzoo_takes_it_for_one_of_its_own(name, parameters):
    world = to_pettingzoo(name, **parameters)
    parallel_api_test(world, num_cycles=30)
    world.close()
    worlds = []

    def build():
        worlds.append(to_pettingzoo(name, **parameters))
        return worlds[-1]

    parallel_seed_test(build, num_cycles=15)
    for world in worlds:
        world.close()


@pytest.mark.parametrize("continuous", [False, True])
def test_steps_are_those_of_the_compiled_world(continuous):
    ours = make("risky-cartpole", continuous=continuous, horizon=60)
    env = to_gymnasium(ours)
    reset, step = jax.jit(ours.reset), jax.jit(ours.step)
    lengths = []
    for seed in (0, 7, 2**32 - 1):
        key, first = jax.random.split(jax.random.key(jnp.uint32(seed)))
        state, seen = reset(first)
        observation, info = env.reset(seed=seed)
        np.testing.assert_array_equal(observation, seen[0])
        rng, over, length = np.random.default_rng(seed), False, 0
        while not over:
            drawn = rng.uniform(-1, 1, 1).astype(np.float32) if continuous else int(rng.integers(2))
            key, own = jax.random.split(key)
            result = step(own, state, jnp.asarray(np.asarray(drawn)[None]))
            state = result.state
            observation, reward, terminated, truncated, info = env.step(drawn)
            np.testing.assert_allclose(observation, result.observations[0], rtol=2e-6, atol=2e-6)
            np.testing.assert_allclose(reward, result.rewards[0], rtol=2e-6)
            assert (terminated, truncated) == (bool(result.terminated[0]), bool(result.truncated))
            assert (info["cost"], info["failure"]) == (float(result.costs[0]), float(result.info["failure"]))
            assert ("action_mask" in info) is not continuous
            over, length = terminated or truncated, length + 1
        lengths.append(length)
    assert len(set(lengths)) > 1


def test_agents_leave_when_they_are_terminated():
    world = to_pettingzoo(Leaving())
    parallel_api_test(world, num_cycles=30)
    parallel_seed_test(lambda: to_pettingzoo(Leaving()), num_cycles=15)
    world.reset(seed=1)
    told = []
    while world.agents:
        before = list(world.agents)
        observations, rewards, ended, cut, infos = world.step(dict.fromkeys(before, 0))
        assert all(set(part) == set(before) for part in (observations, rewards, ended, cut, infos))
        told.append((before, rewards, ended, cut))
        assert world.state().tolist() == [len(told)] * 3
        assert world.agents == [agent for agent in before if not ended[agent] and not cut[agent]]
    no, a, b, c = False, "agent_0", "agent_1", "agent_2"
    assert told == [
        ([a, b, c], {a: 0.0, b: 1.0, c: 2.0}, {a: no, b: no, c: no}, {a: no, b: no, c: no}),
        ([a, b, c], {a: 0.0, b: 1.0, c: 2.0}, {a: True, b: no, c: no}, {a: no, b: no, c: no}),
        ([b, c], {b: 1.0, c: 2.0}, {b: True, c: no}, {b: no, c: no}),
        ([c], {c: 2.0}, {c: no}, {c: no}),
        ([c], {c: 2.0}, {c: no}, {c: True}),
    ]


@pytest.mark.parametrize(
    ("id", "parameters"), [("averse/Corridor-v0", {"length": 3}), ("averse/RiskyCartPole-v0", {"horizon": 20})]
)
def test_gymnasium_finds_nothing_amiss_in_pictures(id, parameters):
    env = gymnasium.make(id, render_mode="rgb_array", **parameters)
    assert env.metadata["render_modes"] == ["rgb_array"]
    check_env(env.unwrapped)
    env = gymnasium.wrappers.RenderCollection(env)
    env.reset(seed=0)
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        over = terminated or truncated
    frames = env.render()
    assert len(frames) > 2
    assert len({frame.shape for frame in frames}) == 1
    assert len({frame.tobytes() for frame in frames}) == len(frames)


@pytest.mark.parametrize("name", ["corridor", "budget:cliff-walk", pytest.param("intersection", marks=LARGE)])
def test_pictures_are_those_of_a_film(name):
    """After each step, the last one too, what `averse record` draws of the same states."""
    parameters = {"corridor": {"length": 2}, "intersection": {"num_agents": 2, "horizon": 2}}.get(name, {})
    world = make(name, **parameters)
    own = world.inner if name.startswith("budget") else world
    env = to_pettingzoo(world, render_mode="rgb_array")
    env.reset(seed=4)
    key, first = jax.random.split(jax.random.key(4))
    states, rewards, infos, chosen = [jax.jit(world.reset)(first)[0]], [], [], []
    rng = np.random.default_rng(0)
    step, pictures = jax.jit(world.step), [env.render()]
    while env.agents:
        actions = rng.integers(0, world.action_space.num_actions, world.num_agents).astype(np.int32)
        chosen.append(actions)
        env.step(dict(zip(env.agents, actions.tolist())))
        pictures.append(env.render())
        key, drawn = jax.random.split(key)
        result = step(drawn, states[-1], jnp.asarray(actions))
        states.append(result.state)
        rewards.append(result.rewards)
        infos.append(result.info)
    inner = [jax.device_get(state.inner if own is not world else state) for state in states]
    for index in range(len(inner)):
        there = RecordedEpisode(
            environment=own,
            seed=4,
            title=f"{name}, episode 4",
            states=states_of(inner[: index + 1]),
            actions=np.array(chosen[:index]).reshape(index, world.num_agents),
            rewards=np.array(rewards[:index], np.float32).reshape(index, world.num_agents),
            info={metric: np.array([float(info[metric]) for info in infos[:index]]) for metric in world.metrics},
            over=index + 1 == len(inner),
        )
        drawn = np.asarray(drawing_of(own).frame(there, index))
        np.testing.assert_array_equal(pictures[index], drawn)
    assert len({picture.tobytes() for picture in pictures}) > 1


def test_a_world_that_shows_itself_is_shown():
    """Gymnasium's own CartPole, in and out again: the picture of the same episode."""
    env, own = (
        to_gymnasium("gymnasium:CartPole-v1", render_mode="rgb_array"),
        gymnasium.make("CartPole-v1", render_mode="rgb_array"),
    )
    for world in (env, own):
        world.reset(seed=3)
        world.step(1)
    np.testing.assert_array_equal(env.render(), own.render())
    env.close()


@SIMULATED
def test_pictures_of_a_simulation_are_those_of_its_film():
    """After each decision, the last one too: the cars that `averse record` shows at the time, below the title."""

    def boldest(available):
        return available.shape[-1] - 1 - np.argmax(available[..., ::-1], axis=-1)

    world = make("sumo-intersection", num_agents=2, horizon=12)
    env = to_pettingzoo(world, render_mode="rgb_array")
    assert env.metadata == {**env.metadata, "render_modes": ["rgb_array"], "render_fps": 2}
    _, infos = env.reset(seed=4)
    pictures = [env.render()]
    while env.agents:
        _, _, _, _, infos = env.step({agent: int(boldest(infos[agent]["action_mask"])) for agent in env.agents})
        pictures.append(env.render())
    env.close()
    whole = record(world, scripted(lambda step: boldest(step.available)), 4)
    assert len(pictures) > 2
    for index, picture in enumerate(pictures):
        so_far = replace(whole, frames=whole.frames[: index * STEPS_PER_DECISION + 1])
        drawn = np.asarray(drawing_of(world).moment(so_far, index * STEPS_PER_DECISION))
        np.testing.assert_array_equal(picture[30:], drawn[30:])
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_unseeded_episodes_follow_from_the_last_seed():
    env = to_gymnasium("risky-cartpole")
    starts = []
    for _ in range(2):
        starts += [env.reset(seed=3)[0], env.reset()[0], env.reset()[0]]
    np.testing.assert_array_equal(starts[:3], starts[3:])
    assert len({start.tobytes() for start in starts}) == 3
    assert env.reset(seed=2**40)[0].shape == (4,)


def test_it_comes_back_through_the_door():
    """`gymnasium:` finds its time limit by itself, and each worker process runs the compiled world."""
    back = make("gymnasium:averse.gymnasium:averse/Corridor-v0", env_arg=("length=4",), report=("risky",))
    assert back.horizon == 4
    env = to_gymnasium("corridor", length=4)
    env.reset(seed=5)
    with back.vector(1) as vector:
        vector.reset(np.array([[5]], np.uint32))
        for action in (1, 0, 1, 1):
            step, (_, reward, terminated, truncated, info) = vector.step(np.array([[action]])), env.step(action)
            assert step.rewards[0, 0] == reward
            assert (step.terminated[0, 0], step.truncated[0]) == (terminated, truncated)
            assert step.info["risky"][0] == np.float32(info["risky"])
    assert terminated or truncated


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: to_gymnasium("cliff-walk"),
            "cliff-walk has 2 agents, and a Gymnasium environment has one: use to_pett",
        ),
        (lambda: to_gymnasium("risky-cartpol"), r"did you mean risky-cartpole\?"),
        (lambda: to_gymnasium("corridor", lenght=3), r"unknown parameter of corridor 'lenght'; did you mean length\?"),
        (
            lambda: to_gymnasium(make("corridor"), length=3),
            r"parameters \(length\) are for an environment that is given",
        ),
        (lambda: to_gymnasium(3), "int is no environment"),
        (lambda: to_gymnasium("corridor", render_mode="human"), "render_mode must be None or rgb_array, not 'human'"),
        (lambda: to_pettingzoo("corridor", render_mode="human"), "render_mode must be None or rgb_array, not 'human'"),
        (
            lambda: to_pettingzoo(Leaving(), render_mode="rgb_array"),
            "render_mode must be None, not 'rgb_array': leaving has no pictures of a running episode",
        ),
        (
            lambda: to_pettingzoo("sumo-intersection", render_mode="rgb_array").render(),
            "sumo-intersection: no episode has begun; call reset first",
        ),
        (
            lambda: to_gymnasium("budget:gymnasium:CartPole-v1", render_mode="rgb_array"),
            "CartPole-v1 has no pictures of",
        ),
        (
            lambda: to_pettingzoo("corridor", render_mode="rgb_array").render(),
            "corridor: no episode has begun; call reset first",
        ),
        (lambda: to_gymnasium("corridor").step(0), "corridor: no episode is running; call reset first"),
        (lambda: to_gymnasium("corridor").reset(seed=-1), "Seed must be greater or equal to zero"),
        (lambda: to_pettingzoo("corridor").reset(seed=-1), "seed must be a whole number >= 0, not -1"),
        (lambda: to_pettingzoo("corridor").reset(seed="x"), "seed must be a whole number"),
    ],
)
def test_what_is_refused(call, line):
    with pytest.raises((AverseError, gymnasium.error.Error), match=line):
        call()


def test_actions_outside_the_space_and_steps_after_the_end():
    env, world = to_gymnasium("corridor", length=1), to_pettingzoo("corridor", length=1)
    env.reset(seed=0)
    with pytest.raises(AverseError, match=r"actions must be whole numbers from 0 to 1, .* not 2"):
        env.step(2)
    assert env.step(1)[2] or env.step(1)[3]
    with pytest.raises(AverseError, match="no episode is running"):
        env.step(0)
    world.reset(seed=0)
    with pytest.raises(AverseError, match="agent_0 plays, and is given no action"):
        world.step({})
