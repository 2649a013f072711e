"""Worlds of Gymnasium and PettingZoo as environments: `gymnasium:CartPole-v1`, `pettingzoo:mpe2.simple_spread_v3`.

Each id is a class of its own, a host environment whose parameters are those that the id leaves open. A world is built
once in this process, for its spaces and its time limit, and then in each worker process.
"""

import functools
import json
import os
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from averse.commands import assignments, literal
from averse.environments.adapters.parallel import Interface, ParallelWorker, Terms
from averse.environments.adapters.rendered import MODE, RenderedVector
from averse.environments.adapters.sources import (
    gymnasium_specification,
    open_gymnasium,
    open_pettingzoo,
    pettingzoo_builder,
    time_limit,
)
from averse.environments.base import Described
from averse.environments.protocol import ActionSpace, Box, Discrete
from averse.environments.ranges import Reward, Steps
from averse.environments.workers.pool import WorkerPool
from averse.environments.workers.vector import PlainEncoder, WorkerVector
from averse.errors import AverseError
from averse.settings import settings

# what workers answer besides metrics, our own metrics, and columns of the table of episodes
TAKEN = (
    *("rewards", "costs", "terminated", "truncated", "total_cost", "worker_failed"),
    *("training_seed", "seed", "episode_return", "length", "failed"),
)
ARGUMENTS = "NAME=VALUE ... such as gravity=5"


class ForeignWorld(Described):
    """What worlds of Gymnasium and PettingZoo have in common: a `HostEnvironment` of worker processes."""

    id: ClassVar[str]
    name: ClassVar[str]
    env_arg: tuple[str, ...]
    horizon: Any
    reward_bounds: tuple[float, float] | None
    report: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.reward_bounds is not None and not self.reward_bounds[0] < self.reward_bounds[1]:
            raise AverseError(
                f"reward_bounds must be the lowest reward and then a higher one, not {self.reward_bounds}"
            )
        taken = [name for name in self.report if name in TAKEN or name.startswith("return_")]
        if len(set(self.report)) < len(self.report) or taken:
            raise AverseError(f"report must name different numbers of info, none of {', '.join(TAKEN)}, return_...")
        _, limit = self._looked_at
        if self.horizon is None:
            if limit is None:
                raise AverseError(
                    f"{self.name} does not say after how many steps an episode ends; give --horizon STEPS"
                )
            object.__setattr__(self, "horizon", limit)

    # ---- what a kind of worlds adds

    @classmethod
    def _start(cls, arguments: Mapping[str, Any]) -> Callable[..., Any]:
        """What starts the world with these arguments, and with a `horizon` if it is given one; needs no JAX."""
        raise NotImplementedError

    @property
    def _terms(self) -> Terms:
        return Terms(self.name, self.horizon or 0, False, False, self.report)

    # ---- Description

    @property
    def _looked_at(self) -> tuple[Interface, int | None]:
        """Spaces and time limit, from a world that is built for it once."""
        kind: Any = type(self)
        return _looked_at(kind, self.env_arg, self._terms._replace(horizon=0))

    @property
    def _interface(self) -> Interface:
        return self._looked_at[0]

    @property
    def num_agents(self) -> int:
        """A."""
        return len(self._interface.agents)

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents' names, in the order of the arrays."""
        return tuple(map(str, self._interface.agents))

    @property
    def action_space(self) -> ActionSpace:
        """The largest of the agents' spaces."""
        choices = self._interface.choices
        if choices.num_actions:
            return Discrete(choices.num_actions)
        return Box(choices.size, choices.low, choices.high)

    @property
    def observation_size(self) -> int:
        """O: that of the longest observation."""
        return self._interface.observation_size

    @property
    def global_state_size(self) -> int:
        """G."""
        return self._interface.global_state_size

    @property
    def metrics(self) -> Mapping[str, str]:  # type: ignore[override]
        """The costs of an episode, and what `report` names."""
        return {
            "total_cost": "sum of info['cost'] over an episode and all agents; 0 where the world has none",
            **{name: f"info[{name!r}] at the episode's last step, mean over agents" for name in self.report},
            "worker_failed": "1 if the episode was cut because its worker process died",
        }

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        """What `reward_bounds` allow. Raises AverseError where they were not given: nobody else says them."""
        if self.reward_bounds is None:
            raise AverseError(
                f"{self.name} does not say how large rewards are, and this critic must know: give --reward-bounds LOW "
                "HIGH (of a step), or the critic's own --support LOW HIGH"
            )
        return super().return_bounds(gamma)

    def vector(self, num_envs: int) -> WorkerVector:
        """Start `num_envs` of them, each in its own worker process.

        Raises AverseError where it is made from what cannot be sent to a process.
        """
        start = partial(self._start(_arguments(self.env_arg)), horizon=self.horizon)
        try:
            pickle.dumps(start)
        except Exception as error:
            raise AverseError(
                f"{self.name} cannot be started in worker processes: {error}; register it by the text module:Class"
            ) from error
        layout = self._interface.layout(self._terms)
        pool = WorkerPool(
            partial(ParallelWorker, start, self._terms),
            layout,
            num_envs,
            import_main=self._is_in_script,
            preload=["averse.environments.adapters.parallel", "averse.environments.adapters.sources", "gymnasium"],
        )
        return WorkerVector(pool, PlainEncoder(layout), self.action_space)

    def rendered(self) -> RenderedVector:
        """Start one in this process that shows itself: `render()` gives a picture uint8 [H, W, 3].

        Raises AverseError for a world that cannot be drawn.
        """
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame needs no display to draw in memory
        start = self._start({**_arguments(self.env_arg), "render_mode": MODE})
        return RenderedVector(partial(start, horizon=self.horizon), self._terms, self.action_space)

    @property
    def _is_in_script(self) -> bool:
        """Whether workers must import the script that is being run."""
        return False


@settings
class GymnasiumWorld(ForeignWorld):
    """A world of Gymnasium, in worker processes."""

    env_arg: tuple[str, ...] = ()
    """Arguments of gymnasium.make: size=8 is_slippery=false; a text, list or dictionary may be written as JSON."""
    horizon: Steps | None = None
    """Steps after which an episode is truncated; the world's own time limit where not given."""
    reward_bounds: tuple[Reward, Reward] | None = None
    """Lowest and highest reward of a step, for critics with a support."""
    report: tuple[str, ...] = ()
    """Numbers in `info` that are metrics, by their value at an episode's last step: is_success."""

    @classmethod
    def _start(cls, arguments: Mapping[str, Any]) -> Callable[..., Any]:
        return partial(open_gymnasium, gymnasium_specification(cls.id), arguments)

    @property
    def _is_in_script(self) -> bool:
        entry = gymnasium_specification(self.id).entry_point
        place = entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
        return place == "__main__"


@settings
class PettingZooWorld(ForeignWorld):
    """A world of PettingZoo (parallel, or agents that take turns and can be converted), in worker processes."""

    env_arg: tuple[str, ...] = ()
    """Arguments of the world: N=2 local_ratio=0.5; a text, list or dictionary may be written as JSON."""
    horizon: Steps | None = None
    """Steps after which an episode is truncated; the world's own `max_cycles` where not given."""
    reward_bounds: tuple[Reward, Reward] | None = None
    """Lowest and highest reward of a step, for critics with a support."""
    report: tuple[str, ...] = ()
    """Numbers in `info` that are metrics, by their mean over agents at an episode's last step."""
    team: bool = False
    """All agents earn the mean of their rewards, and end together."""
    state: Literal["observations", "own"] = "observations"
    """What a centralised critic sees: all agents' observations, or the world's own `state()`."""

    @classmethod
    def _start(cls, arguments: Mapping[str, Any]) -> Callable[..., Any]:
        return partial(open_pettingzoo, cls.id, arguments)

    @property
    def _terms(self) -> Terms:
        return super()._terms._replace(team=self.team, own_state=self.state == "own")


def gymnasium_class(id: str) -> type[GymnasiumWorld]:
    """The class of a Gymnasium id. Raises AverseError for an unknown id, and where Gymnasium is missing."""
    gymnasium_specification(id)
    return _class_of(GymnasiumWorld, "gymnasium", id)


def pettingzoo_class(id: str) -> type[PettingZooWorld]:
    """The class of a world of PettingZoo. Raises AverseError for an unknown path, and where PettingZoo is missing."""
    pettingzoo_builder(id)
    return _class_of(PettingZooWorld, "pettingzoo", id)


@functools.cache
def _class_of(base: type, door: str, id: str) -> Any:
    """The same class whenever it is asked for. Its own name cannot be imported; the environment's name gives it."""
    name = f"{door}:{id}"
    return type(f"<{name}>", (base,), {"id": id, "name": name, "__doc__": base.__doc__, "__module__": __name__})


@functools.lru_cache(maxsize=256)
def _looked_at(cls: type[ForeignWorld], env_arg: tuple[str, ...], terms: Terms) -> tuple[Interface, int | None]:
    """Spaces and time limit of a world: built, looked at, and closed."""
    start = cls._start(_arguments(env_arg))
    try:
        env = start()
    except AverseError:
        raise
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        raise AverseError(f"{cls.name} cannot be built: {type(error).__name__}: {text}") from error
    try:
        return Interface(env, terms), time_limit(env)
    finally:
        env.close()


def _arguments(env_arg: tuple[str, ...]) -> dict[str, Any]:
    """What `env_arg` says. Raises AverseError for what is not NAME=VALUE."""
    return assignments("--env-arg", ARGUMENTS, env_arg or None, _value)


def _value(text: str) -> Any:
    """What the value of an argument means: JSON where it begins like a text, list or dictionary; else a literal."""
    return json.loads(text) if text.startswith(('"', "[", "{")) else literal(text)
