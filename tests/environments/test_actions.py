"""Actions outside the space, in every environment: refused where their numbers are known, poison in compiled code."""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import thorough

from averse import AverseError, environments
from averse.environments import Box, Discrete, checked_actions, find_faults
from averse.environments.adapters.hosted import HostedVector
from averse.environments.batch import reset_batch, step_batch
from averse.environments.protocol import StepResult, TimeStep
from averse.environments.risky_cartpole import RiskyCartPole

SIMULATED = pytest.mark.skipif(find_spec("libsumo") is None, reason="needs the extra sumo")
COMPILED = {name: {} for name in environments.names() if environments.is_compiled(environments.make(name))}
SMALL = {"intersection": {"num_agents": 2, "human_rate": 0.0}, "microgrids": {"scenario": 1, "wind_levels": 2}}
WORLDS = [
    *(environments.make(name, **SMALL.get(name, {})) for name in COMPILED),
    RiskyCartPole(continuous=True),
]


CASES = [thorough(world) if world.name == "intersection" else world for world in WORLDS]  # the one that is large


@pytest.fixture(scope="module", params=CASES, ids=lambda world: f"{world.name}-{world.action_space!r:.8}")
def world(request):
    return request.param


def valid(world, *lead: int) -> np.ndarray:
    space = world.action_space
    shape = (*lead, world.num_agents)
    return np.zeros((*shape, space.size), np.float32) if isinstance(space, Box) else np.ones(shape, np.int32)


def with_last(actions: np.ndarray, value: float) -> np.ndarray:
    """The last agent's action is another."""
    changed = actions.astype(np.result_type(actions, type(value)))
    changed[..., -1, *[0] * (changed.ndim - actions.ndim)] = value
    return changed


def outside(world) -> list[float]:
    space = world.action_space
    if isinstance(space, Box):
        return [np.nan, np.inf, -np.inf, 1e300]
    return [-1, space.num_actions, -space.num_actions, 2**31 - 1]


def wrong_types(actions: np.ndarray) -> list:
    return [
        actions[:-1],
        actions[None],
        actions.astype(bool),
        actions.astype(str),
        None,
        "left",
        actions.astype(complex),
    ]


class TestFromPython:
    def test_refused_in_one_line(self, world):
        state, _ = jax.jit(world.reset)(jax.random.key(0))
        good = valid(world)
        wrong = [with_last(good, value) for value in outside(world)] + wrong_types(good)
        if isinstance(world.action_space, Discrete):
            wrong += [good.astype(float), with_last(good, 0.5), with_last(good, np.nan)]
        for actions in wrong:
            with pytest.raises(AverseError, match=r"^actions must be [^\n]*, not [^\n]*$"):
                world.step(jax.random.key(1), state, actions)

    def test_in_worker_like_vectors(self, world):
        vector = HostedVector(world, 3)
        vector.reset_endless(0)
        good = valid(world, 3)
        for actions in [*(with_last(good, value) for value in outside(world)), *wrong_types(good), valid(world, 2)]:
            with pytest.raises(AverseError, match=r"^actions must be .*num_envs, num_agents.*, not "):
                vector.step(actions)
        assert np.isfinite(vector.step(good.tolist()).rewards).all()


class TestCompiled:
    def test_poison_and_nothing_else(self, world):
        """One program: only the batch's rows with an action that is none are paid NaN, all agents of them."""
        bad = [value for value in outside(world) if value != 1e300]
        actions = np.concatenate([valid(world, 1), *(with_last(valid(world, 1), value) for value in bad)])
        actions = actions.astype(valid(world).dtype)

        @jax.jit
        def play(key):
            batch, _ = reset_batch(world, key, len(actions))
            return step_batch(
                world, batch, jnp.asarray(actions) + 0 * jax.random.randint(key, (), 0, 2).astype(actions.dtype)
            )[1]

        rewards = np.asarray(play(jax.random.key(0)).rewards)
        assert np.isfinite(rewards[0]).all()
        assert np.isnan(rewards[1:]).all()

    def test_the_wrong_type_or_shape_is_refused_when_it_is_traced(self, world):
        good = valid(world)
        state, key = jax.eval_shape(world.reset, jax.random.key(0))[0], jax.random.key(1)
        other = jnp.float32 if isinstance(world.action_space, Discrete) else jnp.complex64
        for shape, dtype in ((good.shape, other), (good.shape, bool), ((7, *good.shape), good.dtype), ((), good.dtype)):
            with pytest.raises(AverseError, match="actions must be"):
                jax.eval_shape(world.step, key, state, jax.ShapeDtypeStruct(shape, dtype))


def test_whole_numbers_of_any_type_are_actions():
    for actions in ([1, 0], np.array([1, 0], np.uint8), jnp.array([1, 0]), (np.int64(1), 0)):
        checked = checked_actions(Discrete(2), actions, (2,))
        assert checked.dtype == np.int32
        assert checked.tolist() == [1, 0]
    beyond = checked_actions(Box(1), [[1], [-2.5]], (2,))
    assert beyond.dtype == np.float32
    assert beyond.tolist() == [[1.0], [-2.5]]


@pytest.mark.parametrize(
    ("space", "given", "words"),
    [
        (Discrete(5), [0, -1], "actions must be whole numbers from 0 to 4, [2] [num_agents], not -1"),
        (Discrete(5), [0, 1.0], "actions must be whole numbers from 0 to 4, [2] [num_agents], not float64 [2]"),
        (Discrete(5), [0, 2**40], "actions must be whole numbers from 0 to 4, [2] [num_agents], not 1099511627776"),
        (Box(1), [[0.0], [np.nan]], "actions must be finite numbers, [2, 1] [num_agents, size], not nan"),
        (Box(1), [[0.0], [1.0, 2.0]], "actions must be finite numbers, [2, 1] [num_agents, size], not object []"),
    ],
)
def test_the_line(space, given, words):
    with pytest.raises(AverseError) as caught:
        checked_actions(space, given, (2,))
    assert str(caught.value) == words


class Unguarded:
    """A world that is no `CompiledEnvironment`: the corridor, by its protocol alone, and what its step does with -1."""

    name, num_agents, action_space, metrics = "unguarded", 1, Discrete(2), {}
    observation_size, global_state_size, horizon = 1, 1, 3

    def return_bounds(self, gamma):
        return -3.0, 3.0

    def parameters(self):
        return {}

    def reset(self, key):
        return jnp.int32(0), jnp.zeros((1, 1))

    def step(self, key, state, actions):
        over = state + 1 >= self.horizon
        paid = jnp.asarray([-1.0, 1.0])[actions]
        return StepResult(state + 1, jnp.zeros((1, 1)), paid, jnp.zeros(1), jnp.zeros(1, bool), over, {})

    def global_state(self, state):
        return jnp.zeros(1)

    def available_actions(self, state):
        return jnp.ones((1, 2), bool)


class Guarded(Unguarded):
    step = environments.guarded(Unguarded.step)


def test_the_check_finds_a_world_without_the_contract():
    (fault,) = find_faults(Unguarded())
    assert fault.startswith(
        "unguarded: step pays [1.0] for the action -1, which is outside the space: it must pay every"
    )
    assert find_faults(Guarded()) == []


class HostedGuarded:
    """The same behind the interface of a host environment, by vectors that refuse, or do not."""

    name, num_agents, action_space, metrics = "hosted", 1, Discrete(2), {}
    observation_size, global_state_size, horizon = 1, 1, 3
    return_bounds, parameters = Unguarded.return_bounds, Unguarded.parameters

    def __init__(self, kind=HostedVector):
        self.vector = lambda num_envs: kind(Guarded(), num_envs)


class Clips(HostedVector):
    def step(self, actions: np.ndarray) -> TimeStep:
        return super().step(np.clip(np.asarray(actions), 0, 1))


class Fails(HostedVector):
    def step(self, actions: np.ndarray) -> TimeStep:
        np.arange(2)[actions]
        if np.any(np.asarray(actions) < 0):
            raise IndexError("no such action")
        return super().step(actions)


class StepsFirst(HostedVector):
    """Refuses, when it has done its step."""

    def step(self, actions: np.ndarray) -> TimeStep:
        good = np.zeros((self.num_envs, 1), np.int32)
        try:
            return super().step(actions)
        except AverseError:
            super().step(good)
            raise


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Clips, "step must raise AverseError for the action -1, which is outside the space, and steps"),
        (Fails, "step must raise AverseError for the action -1, which is outside the space, not IndexError"),
        (StepsFirst, "another episode where another number of environments is played"),
    ],
)
def test_the_check_finds_a_host_environment_without_the_contract(kind, words):
    fault, *_ = find_faults(HostedGuarded(kind))
    assert words in fault


@SIMULATED
@pytest.mark.parametrize(("control", "last"), [("manoeuvre", 2), ("acceleration", 4)])
def test_the_simulator_refuses_and_goes_on(control, last):
    world = environments.make("sumo-intersection", num_agents=2, human_rate=0.0, control=control)
    with world.vector(2) as vector:
        vector.reset_endless(0)
        for actions in (
            [[2, 2], [2, -1]],
            [[2, 2], [2, last + 1]],
            np.full((2, 2), np.nan),
            [[2, 2]],
            np.full((2, 2), "2"),
        ):
            with pytest.raises(AverseError, match=rf"actions must be whole numbers from 0 to {last}, \[2, 2\]"):
                vector.step(actions)
        assert np.isfinite(vector.step([[2, 2], [2, 2]]).rewards).all()
        for raw in (np.full((2, 2), 0.5), np.zeros(2, np.int32)):
            with pytest.raises(AverseError, match=r"actions must be int32 \[2, 2\]"):
                vector.pool.step(raw)
