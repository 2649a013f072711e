"""What `intersection` and `sumo-intersection` say of themselves alike: sizes, bounds and parameters."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from averse.environments.intersection.geometry import geometry
from averse.environments.intersection.observations import global_state_size, observation_size
from averse.environments.intersection.rewards import return_bounds
from averse.environments.intersection.task import ACCELERATIONS, METRICS, IntersectionTask
from averse.environments.protocol import ActionSpace, Discrete


@dataclass(frozen=True)
class IntersectionEnvironment(IntersectionTask):
    """The task with the attributes of `environments.protocol.Description`.

    Observations and the global state are stated in `intersection.observations`, rewards, costs and metrics in
    `intersection.rewards`. Actions are the accelerations -4.5, -2, 0, 1.3, 2.6 m/s2, held for 0.5 s.
    """

    name: ClassVar[str]

    @property
    def action_space(self) -> ActionSpace:
        """Five accelerations."""
        return Discrete(len(ACCELERATIONS))

    @property
    def observation_size(self) -> int:
        """O; see `observations.observe`."""
        return observation_size(self)

    @property
    def global_state_size(self) -> int:
        """G; see `observations.global_state`."""
        return global_state_size(self)

    @property
    def metrics(self) -> dict[str, str]:
        """Per-episode events and measures with their units."""
        return dict(METRICS)

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        """Lowest and highest discounted return an agent can collect from any state."""
        return return_bounds(self, geometry(), gamma)

    def parameters(self) -> dict[str, Any]:
        """The keyword arguments that build this environment again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def task(self) -> IntersectionTask:
        """The task alone, for processes that must not import JAX."""
        return IntersectionTask(**{field.name: getattr(self, field.name) for field in fields(IntersectionTask)})
