"""`check_environment` finds what is wrong with an environment, one line for each fault."""

import itertools
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse import AverseError
from averse.environments import (
    Box,
    CompiledEnvironment,
    Described,
    Discrete,
    check_environment,
    find_faults,
)
from averse.environments.adapters.hosted import HostedVector
from averse.settings import Count, settings


class State(NamedTuple):
    place: jax.Array  # float32 [2]
    home: jax.Array  # bool [2]
    time: jax.Array  # int32 []


@settings
class Walk(CompiledEnvironment):
    """Two agents walk along a line; who gets three steps to the right is home, and is paid 1."""

    horizon: Count = 12

    num_agents = 2
    action_space = Discrete(2)
    observation_size = 2
    reward_bounds = (0.0, 1.0)
    metrics = {"home": "agents that came home (0-2)"}  # noqa: RUF012

    def reset(self, key):
        place = jax.random.randint(key, (2,), -2, 3).astype(jnp.float32)
        state = State(place, jnp.zeros(2, bool), jnp.int32(0))
        return state, self.observe(state)

    def step(self, key, state, actions):
        slips = jax.random.bernoulli(key, 0.1, (2,))
        place = state.place + jnp.where(state.home, 0.0, jnp.where(slips, 0.0, 2.0 * actions.astype(jnp.float32) - 1.0))
        home = place >= 3
        then = State(place, home, state.time + 1)
        paid = home & ~state.home
        return self.result(then, paid, terminated=home, truncated=then.time >= self.horizon, info={"home": home.sum()})

    def observe(self, state):
        return jnp.stack([state.place / 10, jnp.full(2, state.time / self.horizon)], -1)


FAULTY: list[Any] = []


def faulty(*expected: str):
    """A world whose faults say this; the first is what `check_environment` raises."""

    def note(cls):
        FAULTY.append(pytest.param(cls, expected, id=cls.__name__))
        return cls

    return note


def changed(**fields):
    """A step whose result has other fields: functions of the result."""

    def step(self, key, state, actions):
        result = Walk.step(self, key, state, actions)
        return result._replace(**{name: change(result) for name, change in fields.items()})

    return step


@faulty(r"observations of reset must be float32 \[2, 3\] \[num_agents, observation_size\], not float32 \[2, 2\]")
class WrongObservationShape(Walk):
    observation_size = 3
    global_state_size = 4


@faulty(r"rewards of step must be float32 \[2\] \[num_agents\], not int32 \[2\]")
class WholeRewards(Walk):
    step = changed(rewards=lambda result: result.rewards.astype(int))


@faulty(r"rewards of step must be float32 \[2\] \[num_agents\], not float64 \[2\]")
class LongRewards(Walk):
    step = changed(rewards=lambda result: np.zeros(2))


@faulty("step is another function each time it is called")
class ImpureStep(Walk):
    calls = itertools.count()

    def step(self, key, state, actions):
        result = Walk.step(self, key, state, actions)
        return result._replace(rewards=result.rewards * (next(self.calls) % 2))


@faulty("reset is another function each time it is called")
class NumpysRandomReset(Walk):
    def reset(self, key):
        state = Walk.reset(self, key)[0]._replace(place=jnp.asarray(np.random.normal(size=2), jnp.float32))
        return state, self.observe(state)


@faulty("raises UnexpectedTracerError")
class KeepsItsState(Walk):
    kept: list = []  # noqa: RUF012

    def reset(self, key):
        state, observations = Walk.reset(self, key)
        self.kept.append(state)
        return state, observations

    def step(self, key, state, actions):
        return Walk.step(self, key, self.kept[-1], actions)


@faulty(r"tracing it raises TracerBoolConversionError")
class BranchesInPython(Walk):
    def step(self, key, state, actions):
        return Walk.step(self, key, state, actions if state.time > 3 else 1 - actions)


@faulty(r"an agent's return is 7, beyond return_bounds\(1\) = \(0, 5\)")
class RewardOutOfBounds(Walk):
    step = changed(rewards=lambda result: 7.0 * result.rewards)

    def return_bounds(self, gamma):
        return 0.0, 5.0


@faulty("available_actions allows an agent nothing")
class MaskThatAllowsNothing(Walk):
    def available_actions(self, state):
        return jnp.broadcast_to((state.place > -4)[:, None], (2, 2))


@faulty("info lacks the metric 'home', which metrics declares")
class MissingMetric(Walk):
    step = changed(info=lambda result: {})


@faulty("info has 'late', which metrics does not declare")
class UndeclaredMetric(Walk):
    step = changed(info=lambda result: {**result.info, "late": jnp.float32(0)})


@faulty(r"the metric 'home' in info must be float32 \[\] \[\], not int32 \[\]")
class WholeMetric(Walk):
    step = changed(info=lambda result: {"home": result.terminated.sum()})


@faulty("an episode is not truncated at its horizon, but goes on after 12 steps")
class NeverTruncated(Walk):
    step = changed(truncated=lambda result: jnp.bool_(False))


@faulty(r"an episode is truncated before its horizon of 12 steps \(step 9 of an episode\)")
class TruncatedEarly(Walk):
    step = changed(truncated=lambda result: result.state.time >= 9)


@faulty("an episode is both truncated and terminated by all agents")
class TruncatedAtTheEnd(Walk):
    step = changed(truncated=lambda result: result.terminated.all() | result.truncated)


@faulty(r"global_state must be float32 \[5\] \[global_state_size\], not float32 \[4\]")
class WrongGlobalStateSize(Walk):
    global_state_size = 5


@faulty("an agent that has terminated still earns a reward")
class EndedAgentEarns(Walk):
    step = changed(rewards=lambda result: jnp.where(result.terminated, 0.1, 0.0))


@faulty("an agent that has terminated is alive again")
class ResurrectedAgent(Walk):
    step = changed(terminated=lambda result: result.terminated & (result.state.time % 3 > 0))


@faulty(r"observations must be finite, and are not \(step \d+ of an episode\)")
class NotANumberSeen(Walk):
    def observe(self, state):
        return jnp.log(Walk.observe(self, state) + 0.5)


@faulty("the metric 'home' is infinite")
class InfiniteMetric(Walk):
    step = changed(info=lambda result: {"home": 1 / result.terminated.sum()})


@faulty(r"costs must be at least 0, not -1")
class NegativeCost(Walk):
    step = changed(costs=lambda result: jnp.where(result.terminated, -1.0, 0.0))


@faulty("action_space must be a Discrete or a Box of averse.environments, not 2")
class WrongActionSpace(Walk):
    action_space = 2


@faulty("horizon must be a whole number >= 1, not 12.0")
class HorizonIsNoWholeNumber(Walk):
    @property
    def horizon(self):
        return 12.0

    def __init__(self):
        pass


@faulty("return_bounds(1) must be two finite numbers", "return_bounds(0.97) must be two finite numbers")
class EndlessBounds(Walk):
    def return_bounds(self, gamma):
        return 0.0, float("inf")


@faulty("built again with horizon=13, it says horizon=14")
class ParametersThatDoNotRebuild(Walk):
    def parameters(self):
        return {"horizon": self.horizon + 1}


@faulty("the parameter horizon must be a number, a text, a truth, or a sequence of these, to be stored; not array")
class ParametersThatAreNoJson(Walk):
    def parameters(self):
        return {"horizon": np.array([12])}


@faulty(r"state.time is int32 \[\] after reset, but float32 \[\] after step")
class StateThatChangesItsForm(Walk):
    step = changed(state=lambda result: result.state._replace(time=result.state.time.astype(jnp.float32)))


@faulty("num_conditions is 2, but there is no begin(key, conditions)")
class ConditionsThatNothingTakes(Walk):
    num_conditions = 2


@faulty(r"state.time is int32 \[\] after reset, but float32 \[\] after begin")
class OtherBeginning(Walk):
    num_conditions = 2

    def begin(self, key, conditions):
        state, observations = self.reset(key)
        return state._replace(time=conditions[0]), observations


@faulty("step must return a StepResult, not tuple")
class PlainTuple(Walk):
    def step(self, key, state, actions):
        return tuple(Walk.step(self, key, state, actions))


@faulty("step gives another result in a batch")
class OtherInABatch(Walk):
    def step(self, key, state, actions):
        place = jax.custom_batching.custom_vmap(lambda place: place)
        place.def_vmap(lambda size, batched, place: (place + 1.0, batched[0]))
        return Walk.step(self, key, state._replace(place=place(state.place)), actions)


@faulty("must say reward_bounds = (lowest, highest) of a step's reward, or define return_bounds(gamma)")
class NoBounds(Walk):
    reward_bounds = None


@pytest.mark.parametrize(("cls", "expected"), FAULTY)
def test_a_fault_is_found_and_said_in_one_line(cls, expected):
    faults = find_faults(cls())
    assert len(faults) >= len(expected)
    for fault in faults:
        assert "\n" not in fault
    for text, fault in zip(expected, faults):
        assert text in fault or re.search(text, fault)


def test_nothing_is_said_of_what_is_in_order():
    assert find_faults(Walk()) == []
    assert find_faults(Walk(horizon=1)) == []
    check_environment("corridor", episodes=3, seed=5)


def test_all_faults_of_a_stage_are_told():
    class Several(Walk):
        step = changed(
            rewards=lambda result: jnp.where(result.terminated, 0.1, 0.0),
            costs=lambda result: jnp.where(result.terminated, -1.0, 0.0),
        )

    faults = find_faults(Several())
    assert len(faults) == 2
    assert faults[0].startswith("several: costs")
    assert "earns" in faults[1]
    with pytest.raises(AverseError) as caught:
        check_environment(Several())
    assert str(caught.value) == faults[0]


def test_what_is_no_environment():
    with pytest.raises(AverseError, match="Walk is a class, not an environment; build one"):
        check_environment(Walk)
    with pytest.raises(AverseError, match="unknown environment 'corridr'; did you mean corridor"):
        check_environment("corridr")

    class Halfway:
        name, num_agents, horizon = "halfway", 1, 3

        def reset(self, key): ...

        def step(self, key, state, actions): ...

    with pytest.raises(AverseError, match=r"it lacks action_space, .*, return_bounds, global_state, available_actions"):
        check_environment(Halfway())
    with pytest.raises(AverseError, match="object is no environment"):
        check_environment(object())


def test_an_environment_that_is_not_hashable():
    class Thawed(Walk):
        __hash__ = None

    with pytest.raises(AverseError, match="must be hashable"):
        check_environment(Thawed())


def test_vectors_beyond_their_box_are_the_environments_to_clip():
    @settings
    class Push(Walk):
        action_space = Box(1)

        def step(self, key, state, actions):
            result = Walk.step(self, key, state, jnp.ones(2))
            return result._replace(rewards=jnp.where(result.state.home, 0.0, jnp.abs(actions[:, 0])))

    with pytest.raises(AverseError, match=r"beyond return_bounds"):
        check_environment(Push(horizon=1))


# ---- host environments


class Hosted(Described):
    """The walk behind the interface of a host environment."""

    num_agents, horizon, observation_size, global_state_size = 2, 12, 2, 4
    action_space, reward_bounds, metrics = Walk.action_space, Walk.reward_bounds, Walk.metrics

    def __init__(self, vector=HostedVector):
        self._vector = vector

    def parameters(self):
        return {}

    def vector(self, num_envs):
        return self._vector(Walk(), num_envs)


class Altered(HostedVector):
    """A vector whose steps are changed."""

    def step(self, actions):
        return self.alter(super().step(actions))


class SeedsDoNotTell(HostedVector):
    def reset(self, seeds):
        return super().reset(np.asarray(seeds) + np.arange(len(seeds), dtype=np.uint32)[:, None])


class NumberTells(HostedVector):
    def reset(self, seeds):
        return super().reset(np.asarray(seeds) + np.uint32(self.num_envs))


class SharedTrainingSeeds(HostedVector):
    count = itertools.count()

    def reset_endless(self, seed):
        return super().reset_endless(seed + next(self.count))


class PaysIdleRows(Altered):
    def alter(self, step):
        idle = np.isnan(step.info["home"])
        return step._replace(rewards=np.where(idle[:, None], np.float32(1), step.rewards))


class CountsIdleRows(Altered):
    def alter(self, step):
        return step._replace(info={"home": np.nan_to_num(step.info["home"])})


class NotANumberInIdleRows(Altered):
    def alter(self, step):
        idle = np.isnan(step.info["home"])[:, None, None]
        return step._replace(observations=np.where(idle, np.float32(np.nan), step.observations))


class LongRows(Altered):
    def alter(self, step):
        return step._replace(costs=step.costs.astype(np.float64))


class OldObservations(Altered):
    def alter(self, step):
        return step._replace(observations=np.zeros_like(step.observations))


class HappensAtOnce(HostedVector):
    def reset(self, seeds):
        step = super().reset(seeds)
        return step._replace(rewards=step.rewards + np.float32(1))


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (SeedsDoNotTell, "the same seed and actions give another episode in another environment of the batch"),
        (NumberTells, "the same seed and actions give another episode where another number of environments is played"),
        (SharedTrainingSeeds, "reset_endless gives other episodes for the same seed and actions"),
        (PaysIdleRows, "must be idle: no reward, no cost, no end"),
        (CountsIdleRows, "must be idle: its info must be NaN"),
        (NotANumberInIdleRows, "observations must be finite"),
        (LongRows, "costs must be float32"),
        (OldObservations, "observations must be the next_observations where no episode has ended"),
        (HappensAtOnce, "the answer to a reset must say that nothing has happened"),
    ],
)
def test_faults_of_host_environments(vector, expected):
    faults = find_faults(Hosted(vector))
    assert len(faults) == 1
    assert expected in faults[0]


def test_a_host_environment_in_order():
    assert find_faults(Hosted()) == []
