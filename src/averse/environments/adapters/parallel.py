"""A parallel environment in a worker process, in the terms of `TimeStep`. No JAX here.

What a world of somebody else's answers is looked at as it comes in: numbers that are no numbers, agents that come and
go, and the like end the run with one line, before a learner has seen them.
"""

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from averse.environments.adapters.spaces import ActionWriter, Choices, ObservationReader, mask_of
from averse.environments.workers.process import Layout, WorkerStep
from averse.errors import AverseError, shown

_LARGEST = float(np.finfo(np.float32).max)


class Terms(NamedTuple):
    """How a parallel environment is to be read."""

    label: str
    """What it is called in messages."""
    horizon: int
    """Steps after which episodes are truncated."""
    team: bool
    """All agents earn the mean of their rewards, and end together."""
    own_state: bool
    """The global state is the world's own, not all observations."""
    report: tuple[str, ...]
    """Numbers of `info` that are metrics."""


class Interface:
    """What a parallel environment's spaces are as vectors: sizes, readers, one action space for all agents.

    Args:
      env: a running one; it is not kept.

    Raises AverseError for spaces that are not supported, and for agents that it does not name.
    """

    def __init__(self, env: Any, terms: Terms):
        self.agents = tuple(env.possible_agents)
        if not self.agents:
            raise AverseError(f"{terms.label}: possible_agents must name the agents, and is empty")
        whose = [_of(self, agent) for agent in self.agents]
        seen = [env.observation_space(agent) for agent in self.agents]
        acted = [env.action_space(agent) for agent in self.agents]
        self.readers = [ObservationReader(f"{terms.label}: the observation{of}", s) for of, s in zip(whose, seen)]
        self.writer = ActionWriter([f"{terms.label}: the action{of}" for of in whose], acted)
        self.observation_size = max(reader.size for reader in self.readers)
        self.state_reader = None
        if terms.own_state:
            if getattr(env, "state_space", None) is None:
                raise AverseError(f"{terms.label} has no state of its own (state_space); use --state observations")
            self.state_reader = ObservationReader(f"{terms.label}: the state", env.state_space)

    @property
    def choices(self) -> Choices:
        """What all agents choose from."""
        return self.writer.choices

    @property
    def global_state_size(self) -> int:
        """Of the world's own state, or of all agents' observations."""
        return self.state_reader.size if self.state_reader else len(self.agents) * self.observation_size

    def layout(self, terms: Terms) -> Layout:
        """The arrays that a worker exchanges (`PlainEncoder`)."""
        agents = len(self.agents)
        shape, dtype = self.choices.layout
        return Layout(
            actions=((agents, *shape), dtype),
            state={
                "observations": ((agents, self.observation_size), "float32"),
                "global_state": ((self.global_state_size,), "float32"),
                "available": ((agents, max(1, self.choices.num_actions)), "bool"),
            },
            outcome={
                "rewards": ((agents,), "float32"),
                "costs": ((agents,), "float32"),
                "terminated": ((agents,), "bool"),
                "truncated": ((), "bool"),
                **dict.fromkeys(("total_cost", *terms.report), ((), "float32")),
            },
        )


def _of(interface: Interface, agent: Any) -> str:
    """Whose something is, in messages; nothing where there is one agent only."""
    return f" of {agent}" if len(interface.agents) > 1 else ""


class ParallelWorker:
    """A `WorkerEnvironment` around a parallel environment.

    Args:
      start: starts the parallel environment.
    """

    def __init__(self, start: Callable[[], Any], terms: Terms):
        self._terms = terms
        self._env = start()
        self._is = Interface(self._env, terms)

    def reset(self, seed: int, exact: bool) -> Mapping[str, Any]:
        """See `WorkerEnvironment`: every episode is seeded, so that all are exact."""
        del exact
        self._seed, self._time, self._cost = seed, 0, 0.0
        self._terminated = np.zeros(len(self._is.agents), bool)
        answer = self._env.reset(seed=seed)
        observations, infos = self._parts("reset", "(observation, info)", 2, answer)
        if set(self._env.agents) != set(self._is.agents):
            raise self._fault(
                f"all agents must be there when an episode begins ({shown(list(self._is.agents))}), not "
                f"{shown(list(self._env.agents))}"
            )
        return self._look(observations, infos)

    def step(self, actions: np.ndarray) -> WorkerStep:
        """See `WorkerEnvironment`."""
        before = self._terminated
        playing = [(i, agent) for i, agent in enumerate(self._is.agents) if not before[i]]
        given = {agent: self._is.writer.write(i, actions[i]) for i, agent in playing}
        answer = self._env.step(given)
        form = "(observation, reward, terminated, truncated, info)"
        observations, rewards, ended, cut, infos = self._parts("step", form, 5, answer)
        self._time += 1
        paid, costs = np.zeros((2, len(before)))
        self._terminated, cuts = before.copy(), before.copy()
        for i, agent in playing:
            paid[i] = self._number(f"the reward{self._whose(i)}", self._given(rewards, "reward", agent))
            self._terminated[i] = self._truth("terminated", ended, agent)
            cuts[i] = self._truth("truncated", cut, agent) and not self._terminated[i]
            costs[i] = self._cost_of(i, self._info(infos, agent))
        self._cost += float(costs.sum())
        truncated = self._ends(cuts, [i for i, _ in playing])
        if self._terms.team:
            paid[:] = paid.mean()
        over = self._terminated.all() & self._terminated if self._terms.team else self._terminated
        outcome = {
            "rewards": paid,
            "costs": costs,
            "terminated": over,
            "truncated": truncated,
            "total_cost": self._cost,
            **{name: self._reported(name, infos) for name in self._terms.report},
        }
        return WorkerStep(self._look(observations, infos), outcome, bool(truncated or self._terminated.all()))

    def close(self) -> None:
        """See `WorkerEnvironment`."""
        self._env.close()

    def _ends(self, cuts: np.ndarray, playing: list[int]) -> bool:
        """Whether the episode is truncated; agents that come or go without a word are refused."""
        left = [i for i in playing if not self._terminated[i]]
        cut = [i for i in left if cuts[i]]
        if cut and len(cut) < len(left):
            raise self._fault(
                f"{self._is.agents[cut[0]]} is truncated while others go on; an episode is cut for all agents at once, "
                "and an agent that ends alone is terminated"
            )
        expected, there = [self._is.agents[i] for i in left], set(self._env.agents)
        missing = set() if cut else set(expected) - there
        if missing or there - {self._is.agents[i] for i in playing}:  # those that end now may still be there
            raise self._fault(
                f"agents must be those that go on, {shown(expected)}, not {shown(list(self._env.agents))}: none may "
                "join, come back, or leave without being terminated"
            )
        return bool(left) and (bool(cut) or self._time >= self._terms.horizon)

    def _look(self, observations: Mapping[Any, Any], infos: Mapping[Any, Any]) -> dict[str, np.ndarray]:
        """What is seen: zeros in place of what an agent lacks, and of what one that has ended would see."""
        shape = len(self._is.agents), self._is.observation_size
        seen, available = np.zeros(shape, np.float32), np.ones((shape[0], max(1, self._is.choices.num_actions)), bool)
        try:
            for i, agent in enumerate(self._is.agents):
                if self._terminated[i] and len(self._is.agents) > 1:
                    continue
                observation, reader = self._given(observations, "observation", agent), self._is.readers[i]
                seen[i, : reader.size] = reader.read(observation)
                if not self._terminated[i]:
                    mask = mask_of(observation, self._info(infos, agent), reader)
                    available[i] = self._is.writer.available(i, mask)
            state = self._is.state_reader.read(self._env.state()) if self._is.state_reader else seen.reshape(-1)
        except AverseError as error:
            raise self._fault(error) from error
        return {"observations": seen, "global_state": state, "available": available}

    # ---- what somebody else's world answers

    def _parts(self, function: str, form: str, number: int, answer: Any) -> tuple[Any, ...]:
        if not isinstance(answer, tuple) or len(answer) != number or not all(isinstance(p, Mapping) for p in answer):
            each = f"{form}, each by agent" if len(self._is.agents) > 1 else form
            given = f"a tuple of {len(answer)}" if isinstance(answer, tuple) else shown(answer)
            raise self._fault(f"{function} must return {each}, not {given}")
        return answer

    def _given(self, values: Mapping[Any, Any], what: str, agent: Any) -> Any:
        if agent not in values:
            raise self._fault(f"{agent} plays, and is given no {what}")
        return values[agent]

    def _number(self, what: str, value: Any) -> float:
        plain = value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value
        if not isinstance(plain, Real):
            raise self._fault(f"{what} must be a number, not {shown(value)}")
        number = float(plain)
        if not abs(number) <= _LARGEST:  # NaN neither
            raise self._fault(f"{what} must be finite in single precision, not {plain}")
        return number

    def _truth(self, what: str, values: Mapping[Any, Any], agent: Any) -> bool:
        value = self._given(values, what, agent)
        if not isinstance(value, bool | np.bool_):
            raise self._fault(f"{what} must be true or false, not {shown(value)}")
        return bool(value)

    def _info(self, infos: Mapping[Any, Any], agent: Any) -> Mapping[str, Any]:
        info = infos.get(agent, {})
        if not isinstance(info, Mapping):
            raise self._fault(f"info must be a dictionary, not {shown(info)}")
        return info

    def _cost_of(self, i: int, info: Mapping[str, Any]) -> float:
        cost = self._number(f"the cost{self._whose(i)}", info.get("cost", 0.0))
        if cost < 0:
            raise self._fault(f"the cost{self._whose(i)} must be at least 0, not {cost:g}")
        return cost

    def _reported(self, name: str, infos: Mapping[Any, Mapping[str, Any]]) -> float:
        """The mean over the agents whose info has the number; NaN where none has."""
        values = [infos[agent][name] for agent in self._is.agents if name in infos.get(agent, {})]
        return float(np.mean([self._number(f"info[{name!r}]", value) for value in values])) if values else np.nan

    def _whose(self, i: int) -> str:
        return _of(self._is, self._is.agents[i])

    def _fault(self, what: Any) -> AverseError:
        label = self._terms.label
        text = str(what).removeprefix(f"{label}: ")
        if " of the episode with seed " in text:  # told already, further down
            return AverseError(f"{label}: {text}")
        return AverseError(f"{label}: {text} (step {self._time} of the episode with seed {self._seed})")
