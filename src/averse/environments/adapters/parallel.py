"""A parallel environment in a worker process, in the terms of `TimeStep`. No JAX here.

What a world of somebody else's answers is looked at as it comes in: numbers that are no numbers, agents that come and
go, and the like end the run with one line, before a learner has seen them.
"""

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from averse.environments.adapters.sources import OneAgent
from averse.environments.adapters.spaces import MASK, ActionWriter, Choices, ObservationReader, mask_of
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
        self.available = np.stack([self.writer.available(i) for i in range(len(self.agents))])
        """Which actions agents have at all, bool [A, n]."""
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


def _is_mapping(value: Any) -> bool:
    return type(value) is dict or isinstance(value, Mapping)  # the second takes ten times as long


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
        self._is_plain = isinstance(self._env, OneAgent) and not (terms.report or self._is.readers[0].has_mask)

    def reset(self, seed: int, exact: bool) -> Mapping[str, Any]:
        """See `WorkerEnvironment`: every episode is seeded, so that all are exact."""
        del exact
        self._seed, self._time, self._cost = seed, 0, 0.0
        self._terminated = [False] * len(self._is.agents)
        self._playing = list(range(len(self._is.agents)))  # who is not
        self._named = list(self._is.agents)  # the same by name
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
        write = self._is.writer.write
        chosen = actions.tolist() if self._is.choices.num_actions else actions
        if self._is_plain:
            answer = self._env.env.step(write(0, chosen[0]))
            return self._short_cut(answer) or self._enter(self._env.answered(answer))
        return self._enter(self._env.step({self._is.agents[i]: write(i, chosen[i]) for i in self._playing}))

    def _short_cut(self, answer: Any) -> WorkerStep | None:
        """What `_enter` makes of the plainest answer of a Gymnasium world, in a third of its time; else None."""
        if type(answer) is not tuple or len(answer) != 5:
            return None
        observation, reward, over, cut, info = answer
        if not (type(reward) is float and -_LARGEST <= reward <= _LARGEST and type(over) is type(cut) is bool):
            return None
        if type(info) is not dict or "cost" in info or MASK in info:
            return None
        try:
            seen = self._is.readers[0].read(observation).reshape(1, -1)
        except AverseError:
            return None
        self._time += 1
        truncated = not over and (cut or self._time >= self._terms.horizon)
        outcome = {
            "rewards": (reward,),
            "costs": (0.0,),
            "terminated": (over,),
            "truncated": truncated,
            "total_cost": self._cost,
        }
        state = {"observations": seen, "global_state": seen[0], "available": self._is.available}
        return WorkerStep(state, outcome, over or truncated)

    def _enter(self, answer: Any) -> WorkerStep:
        """What the world answered to a step, whoever plays in it."""
        agents, playing = self._is.agents, self._playing
        form = "(observation, reward, terminated, truncated, info)"
        observations, rewards, ended, cut, infos = self._parts("step", form, 5, answer)
        self._time += 1
        # Lists and plain numbers: an array of a few agents' numbers takes longer to make than a cheap world to step.
        paid, costs = [0.0] * len(agents), [0.0] * len(agents)
        cuts = [False] * len(agents)
        for i in playing:
            agent = agents[i]
            paid[i] = self._number("the reward", self._given(rewards, "reward", agent), i)
            if self._truth("terminated", self._given(ended, "terminated", agent)):
                self._terminated[i] = True
            cuts[i] = self._truth("truncated", self._given(cut, "truncated", agent)) and not self._terminated[i]
            if agent in infos:
                costs[i] = self._cost_of(i, self._info(infos, agent))
        self._cost += sum(costs)
        if any(self._terminated):
            self._playing = [i for i in playing if not self._terminated[i]]
            self._named = [agents[i] for i in self._playing]
        truncated, all_over = self._ends(cuts, playing), not self._playing
        if self._terms.team:
            paid = [sum(paid) / len(paid)] * len(paid)
        outcome = {
            "rewards": paid,
            "costs": costs,
            "terminated": [all_over] * len(agents) if self._terms.team else self._terminated.copy(),
            "truncated": truncated,
            "total_cost": self._cost,
        }
        for name in self._terms.report:
            outcome[name] = self._reported(name, infos)
        return WorkerStep(self._look(observations, infos), outcome, truncated or all_over)

    def close(self) -> None:
        """See `WorkerEnvironment`."""
        self._env.close()

    def _ends(self, cuts: list[bool], playing: list[int]) -> bool:
        """Whether the episode is truncated, of those who were playing; who comes or goes without a word is refused."""
        left, expected = self._playing, self._named
        cut = [i for i in left if cuts[i]] if any(cuts) else []
        if cut and len(cut) < len(left):
            raise self._fault(
                f"{self._is.agents[cut[0]]} is truncated while others go on; an episode is cut for all agents at once, "
                "and an agent that ends alone is terminated"
            )
        if self._env.agents != expected:
            there = set(self._env.agents)
            missing = set() if cut else set(expected) - there
            if missing or there - {self._is.agents[i] for i in playing}:  # those that end now may still be there
                raise self._fault(
                    f"agents must be those that go on, {shown(expected)}, not {shown(list(self._env.agents))}: none "
                    "may join, come back, or leave without being terminated"
                )
        return bool(left) and (bool(cut) or self._time >= self._terms.horizon)

    def _look(self, observations: Mapping[Any, Any], infos: Mapping[Any, Any]) -> dict[str, np.ndarray]:
        """What is seen: zeros in place of what an agent lacks, and of what one that has ended would see."""
        seen = np.zeros((len(self._is.agents), self._is.observation_size), np.float32)
        available = self._is.available
        changed: dict[int, Any] = {}
        try:
            for i, agent in enumerate(self._is.agents):
                over = self._terminated[i]
                if over:
                    changed[i] = True
                    if len(self._is.agents) > 1:
                        continue
                observation, reader = self._given(observations, "observation", agent), self._is.readers[i]
                seen[i, : reader.size] = reader.read(observation)
                info = self._info(infos, agent)
                if not over and (mask := mask_of(observation, info, reader)) is not None:
                    changed[i] = self._is.writer.available(i, mask)
            if changed:
                available = available.copy()
                for i, row in changed.items():
                    available[i] = row
            state = self._is.state_reader.read(self._env.state()) if self._is.state_reader else seen.reshape(-1)
        except AverseError as error:
            raise self._fault(error) from error
        return {"observations": seen, "global_state": state, "available": available}

    # ---- what somebody else's world answers

    def _parts(self, function: str, form: str, number: int, answer: Any) -> tuple[Any, ...]:
        if not isinstance(answer, tuple) or len(answer) != number or not all(map(_is_mapping, answer)):
            each = f"{form}, each by agent" if len(self._is.agents) > 1 else form
            given = f"a tuple of {len(answer)}" if isinstance(answer, tuple) else shown(answer)
            raise self._fault(f"{function} must return {each}, not {given}")
        return answer

    def _given(self, values: Mapping[Any, Any], what: str, agent: Any) -> Any:
        if agent not in values:
            raise self._fault(f"{agent} plays, and is given no {what}")
        return values[agent]

    def _number(self, what: str, value: Any, i: int | None = None) -> float:
        """A number of the world's, as a plain one; `i` is the agent whose it is."""
        if type(value) is float and -_LARGEST <= value <= _LARGEST:
            return value
        whose = "" if i is None else _of(self._is, self._is.agents[i])
        plain = value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value
        if not isinstance(plain, Real):
            raise self._fault(f"{what}{whose} must be a number, not {shown(value)}")
        number = float(plain)
        if not abs(number) <= _LARGEST:  # NaN neither
            raise self._fault(f"{what}{whose} must be finite in single precision, not {plain}")
        return number

    def _truth(self, what: str, value: Any) -> bool:
        if value is True or value is False:
            return value
        if not isinstance(value, bool | np.bool_):
            raise self._fault(f"{what} must be true or false, not {shown(value)}")
        return bool(value)

    def _info(self, infos: Mapping[Any, Any], agent: Any) -> Mapping[str, Any]:
        info = infos.get(agent, {})
        if not _is_mapping(info):
            raise self._fault(f"info must be a dictionary, not {shown(info)}")
        return info

    def _cost_of(self, i: int, info: Mapping[str, Any]) -> float:
        if "cost" not in info:
            return 0.0
        cost = self._number("the cost", info["cost"], i)
        if cost < 0:
            whose = _of(self._is, self._is.agents[i])
            raise self._fault(f"the cost{whose} must be at least 0, not {cost:g}")
        return cost

    def _reported(self, name: str, infos: Mapping[Any, Mapping[str, Any]]) -> float:
        """The mean over the agents whose info has the number; NaN where none has."""
        values = [infos[agent][name] for agent in self._is.agents if name in infos.get(agent, {})]
        return float(np.mean([self._number(f"info[{name!r}]", value) for value in values])) if values else np.nan

    def _fault(self, what: Any) -> AverseError:
        label = self._terms.label
        text = str(what).removeprefix(f"{label}: ")
        if " of the episode with seed " in text:  # told already, further down
            return AverseError(f"{label}: {text}")
        return AverseError(f"{label}: {text} (step {self._time} of the episode with seed {self._seed})")
