"""What `intersection` and `sumo-intersection` say of themselves alike: sizes, bounds and settings that suit them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from averse.environments.base import Described
from averse.environments.intersection.geometry import geometry
from averse.environments.intersection.observations import (
    CAR_SIZE,
    NEIGHBOUR_SIZE,
    OWN_SIZE,
    global_state_size,
    observation_size,
)
from averse.environments.intersection.rewards import return_bounds
from averse.environments.intersection.task import METRICS, IntersectionTask
from averse.environments.protocol import Discrete
from averse.environments.sets import SetLayout

# MAPPO and its presets.
_MAPPO = (
    "ppo", "mappo", "reward-shaped-mappo", "mean-variance-mappo", "c51-cvar-mappo", "rqe-mappo", "static-cvar-mappo",
    "static-entropic-mappo", "srpo-mappo",
)  # fmt: skip
# A precise critic: fine atoms, as the width that they add to every return is feared like a risk. And early aversion,
# so that most of the training is under the measure that counts. And a short look ahead: the losses that averse
# advantages weigh up along the way to a crash are noise to all before it. docs/results.md has what each is worth.
_AVERSE: dict[str, Any] = {"num_atoms": 101, "risk_warmup": 0.3, "lam": 0.8}
# What is left of an episode's return is noise to one decision, unless it is predicted.
_STATIC: dict[str, Any] = {**_AVERSE, "critic": "categorical", "advantage": "episode-influence", "gamma": 1.0}


class IntersectionEnvironment(Described, IntersectionTask):
    """The task with the attributes of `environments.protocol.Description`.

    Observations and the global state are stated in `intersection.observations`, rewards, costs and metrics in
    `intersection.rewards`, manoeuvres in `intersection.manoeuvres`. Accelerations are -4.5, -2, 0, 1.3, 2.6 m/s2, held
    for 0.5 s.
    """

    drawing: ClassVar[str] = "averse.report.worlds.junction:DRAWING"
    metrics: ClassVar[Mapping[str, str]] = METRICS
    mappo_settings: ClassVar[Mapping[str, Any]] = {}
    """What suits MAPPO's presets, found on development seed 100. Critics predict in units of 5, as returns are far from
    1; a critic means the same in the twin and in the simulator, so that a policy that moves across keeps its critic."""

    @property
    def action_space(self) -> Discrete:
        """See `control`."""
        return Discrete(self.num_actions)

    @property
    def observation_size(self) -> int:
        """O; see `observations.observe`."""
        return observation_size(self)

    @property
    def global_state_size(self) -> int:
        """G; see `observations.global_state`."""
        return global_state_size(self)

    @property
    def observation_layout(self) -> SetLayout:
        """Own numbers, then the neighbours."""
        return SetLayout(OWN_SIZE, self.num_neighbours, NEIGHBOUR_SIZE)

    @property
    def global_state_layout(self) -> SetLayout:
        """The time, then all cars; one that has not departed yet is there, as it will come."""
        return SetLayout(1, (self.global_state_size - 1) // CAR_SIZE, CAR_SIZE)

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        """Lowest and highest discounted return an agent can collect from any state."""
        return return_bounds(self, geometry(), gamma)

    def suggested_settings(self, method: str) -> dict[str, Any]:
        """`mappo_settings` for MAPPO and its presets, and what a risk-averse critic needs besides."""
        averse = {"rqe-mappo": _AVERSE, "c51-cvar-mappo": _AVERSE, "static-cvar-mappo": _STATIC}.get(method, {})
        return {**self.mappo_settings, **averse} if method in _MAPPO else {}

    def task(self) -> IntersectionTask:
        """The task alone, for processes that must not import JAX."""
        return IntersectionTask(**{field.name: getattr(self, field.name) for field in fields(IntersectionTask)})
