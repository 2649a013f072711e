"""What other libraries' worlds have in common, whichever kind of environment they become."""

import functools
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from averse.commands import assignments, literal
from averse.environments.base import Described
from averse.errors import AverseError

# what workers answer besides metrics, our own metrics, and columns of the table of episodes
TAKEN = (
    *("rewards", "costs", "terminated", "truncated", "total_cost", "worker_failed"),
    *("training_seed", "seed", "episode_return", "length", "failed"),
)
ARGUMENTS = "NAME=VALUE ... such as gravity=5"


class Foreign(Described):
    """A world of another library's, by the id that it has there. A subclass is a dataclass of what the id leaves open.

    Raises AverseError for `reward_bounds` that are none, a `report` of names that are taken, and where neither the
    world nor the user says how long an episode is.
    """

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
        limit = self._own_limit
        if self.horizon is None:
            if limit is None:
                raise AverseError(
                    f"{self.name} does not say after how many steps an episode ends; give --horizon STEPS"
                )
            object.__setattr__(self, "horizon", limit)

    @property
    def _own_limit(self) -> int | None:
        """After how many steps the world itself cuts an episode; None where it does not say. The world is built."""
        raise NotImplementedError

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        """What `reward_bounds` allow. Raises AverseError where they were not given: nobody else says them."""
        if self.reward_bounds is None:
            raise AverseError(
                f"{self.name} does not say how large rewards are, and this critic must know: give --reward-bounds LOW "
                "HIGH (of a step), or the critic's own --support LOW HIGH"
            )
        return super().return_bounds(gamma)  # type: ignore[misc]


@functools.cache
def class_of(base: type, door: str, id: str) -> Any:
    """The same class whenever it is asked for. Its own name cannot be imported; the environment's name gives it."""
    name = f"{door}:{id}"
    space = {"id": id, "name": name, "__doc__": base.__doc__, "__module__": base.__module__}
    return type(f"<{name}>", (base,), space)


def arguments_of(env_arg: tuple[str, ...]) -> Mapping[str, Any]:
    """What `env_arg` says. Raises AverseError for what is not NAME=VALUE."""
    return assignments("--env-arg", ARGUMENTS, env_arg or None, _value)


def unbuilt(name: str, error: Exception) -> AverseError:
    """The line for a world that does not start with these arguments."""
    return AverseError(f"{name} cannot be built: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")


def _value(text: str) -> Any:
    """What the value of an argument means: JSON where it begins like a text, list or dictionary; else a literal."""
    return json.loads(text) if text.startswith(('"', "[", "{")) else literal(text)
