"""The environment `sumo-intersection`: the task of `environments.intersection` in the SUMO simulator."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from averse.environments.intersection.description import IntersectionEnvironment
from averse.environments.intersection.task import METRICS
from averse.environments.sumo.encoding import FAILED, TrafficEncoding, layout
from averse.environments.sumo.rendered import RenderedTraffic
from averse.environments.sumo.simulation import SIMULATOR, Simulation
from averse.environments.workers.encoded import EncodedVector
from averse.environments.workers.pool import WorkerPool
from averse.extras import require_extra
from averse.settings import settings


@settings
class SumoIntersection(IntersectionEnvironment):
    """N cars of agents cross a junction among human drivers, some of them reckless, in SUMO (package `libsumo`).

    Observations and the global state are stated in `intersection.observations`, rewards, costs and metrics in
    `intersection.rewards`, manoeuvres in `intersection.manoeuvres`. Accelerations are -4.5, -2, 0, 1.3, 2.6 m/s2, held
    for 0.5 s.
    """

    drivers: Literal["agents", "sumo"] = "agents"
    """Who drives the agents' cars: agents, or sumo (SUMO's own driver model, a baseline: actions are ignored)."""

    name: ClassVar[str] = "sumo-intersection"
    metrics: ClassVar[Mapping[str, str]] = {
        **METRICS,
        FAILED: "1 if the episode was cut because its simulator process died",
    }
    # A simulator is too slow for many steps: small batches.
    mappo_settings: ClassVar[Mapping[str, Any]] = {
        "network": "sets",
        "rollout_steps": 32,
        "learning_rate": 2e-3,
        "epsilon": 0.003,
        "value_scale": 5.0,
    }

    def vector(self, num_envs: int, trace: bool = False) -> EncodedVector:
        """Start `num_envs` simulations, each in its own worker process (libsumo holds one per process).

        With `trace`, the vector's batches also tell where every car was after every 0.1 s.
        """
        return EncodedVector(self.pool(num_envs, trace), TrafficEncoding(self.task(), trace), self.action_space)

    def rendered(self) -> RenderedTraffic:
        """A single simulation that shows itself: the episode that `vector` plays on the same seed."""
        return RenderedTraffic(self.name, self.vector(1, trace=True), self.drawing)

    def pool(self, num_envs: int, trace: bool = False) -> WorkerPool:
        """The worker processes alone; with `trace`, they also tell where every car was after every 0.1 s."""
        require_simulator()
        task = self.task()  # workers must not import this module, which imports JAX
        return WorkerPool(
            partial(Simulation, task, self.drivers == "sumo", trace),
            layout(task, trace),
            num_envs,
            processes=num_envs,  # libsumo holds one simulation per process
            import_main=False,
            preload=["averse.environments.sumo.preload"],
        )


def require_simulator() -> None:
    """Raises AverseError, with what to do, where SUMO is not installed, or not wholly.

    It is tried in a process of its own: beside pyarrow, which is loaded here, libsumo warns of another version.
    """
    require_extra("libsumo", SIMULATOR)
