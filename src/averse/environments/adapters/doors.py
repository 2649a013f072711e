"""Worlds of Gymnasium and PettingZoo as environments: `gymnasium:CartPole-v1`, `pettingzoo:mpe2.simple_spread_v3`.

Each id is a class of its own, a host environment whose parameters are those that the id leaves open. A world is built
once in this process, for its spaces and its time limit, and then in each worker process.
"""

import functools
import os
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from averse.environments.adapters.foreign import Foreign, arguments_of, class_of, unbuilt
from averse.environments.adapters.parallel import Interface, ParallelWorker, Terms
from averse.environments.adapters.rendered import MODE, RenderedVector
from averse.environments.adapters.sources import (
    gymnasium_specification,
    open_gymnasium,
    open_pettingzoo,
    pettingzoo_builder,
    time_limit,
)
from averse.environments.protocol import ActionSpace, Box, Discrete
from averse.environments.ranges import Reward, Steps
from averse.environments.workers.encoded import EncodedVector, PlainEncoding
from averse.environments.workers.pool import WorkerPool
from averse.errors import AverseError
from averse.settings import settings


class ForeignWorld(Foreign):
    """What worlds of Gymnasium and PettingZoo have in common: a `HostEnvironment` of worker processes."""

    own_process: bool

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
    def _own_limit(self) -> int | None:
        return self._looked_at[1]

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
            "worker_failed": "1 if the episode was given up because its world raised an exception or its process died",
        }

    def vector(self, num_envs: int) -> EncodedVector:
        """Start `num_envs` of them in as many worker processes as there are cores, or with `own_process` one for each.

        Raises AverseError where it is made from what cannot be sent to a process.
        """
        start = partial(self._start(arguments_of(self.env_arg)), horizon=self.horizon)
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
            processes=num_envs if self.own_process else None,
            import_main=self._is_in_script,
            preload=["averse.environments.adapters.parallel", "averse.environments.adapters.sources", "gymnasium"],
        )
        return EncodedVector(pool, PlainEncoding(layout), self.action_space)

    def rendered(self) -> RenderedVector:
        """Start one in this process that shows itself: `render()` gives a picture uint8 [H, W, 3].

        Raises AverseError for a world that cannot be drawn.
        """
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame needs no display to draw in memory
        start = self._start({**arguments_of(self.env_arg), "render_mode": MODE})
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
    own_process: bool = False
    """A worker process for each environment, for worlds that keep something outside themselves (numpy.random.seed)."""

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
    own_process: bool = False
    """A worker process for each environment, for worlds that keep something outside themselves (numpy.random.seed)."""

    @classmethod
    def _start(cls, arguments: Mapping[str, Any]) -> Callable[..., Any]:
        return partial(open_pettingzoo, cls.id, arguments)

    @property
    def _terms(self) -> Terms:
        return super()._terms._replace(team=self.team, own_state=self.state == "own")


def gymnasium_class(id: str) -> type[GymnasiumWorld]:
    """The class of a Gymnasium id. Raises AverseError for an unknown id, and where Gymnasium is missing."""
    gymnasium_specification(id)
    return class_of(GymnasiumWorld, "gymnasium", id)


def pettingzoo_class(id: str) -> type[PettingZooWorld]:
    """The class of a world of PettingZoo. Raises AverseError for an unknown path, and where PettingZoo is missing."""
    pettingzoo_builder(id)
    return class_of(PettingZooWorld, "pettingzoo", id)


@functools.lru_cache(maxsize=256)
def _looked_at(cls: type[ForeignWorld], env_arg: tuple[str, ...], terms: Terms) -> tuple[Interface, int | None]:
    """Spaces and time limit of a world: built, looked at, and closed."""
    start = cls._start(arguments_of(env_arg))
    try:
        env = start()
    except AverseError:
        raise
    except Exception as error:
        raise unbuilt(cls.name, error) from error
    try:
        return Interface(env, terms), time_limit(env)
    finally:
        env.close()
