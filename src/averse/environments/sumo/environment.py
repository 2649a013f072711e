"""The environment `sumo-intersection`: the task of `environments.intersection` in the SUMO simulator."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from averse.environments.intersection.description import IntersectionEnvironment
from averse.environments.intersection.geometry import Geometry, Pose, gaps, geometry, poses_at
from averse.environments.intersection.manoeuvres import accelerations
from averse.environments.intersection.observations import (
    available_actions,
    global_state,
    observe,
)
from averse.environments.intersection.rewards import (
    GAP_LIMIT,
    Crashes,
    Tally,
    Track,
    costs,
    crashed_now,
    meeting,
    metrics,
    new_tally,
    rewards,
    terminated,
    tracks,
    update_tally,
)
from averse.environments.intersection.task import (
    CAR_LENGTH,
    CAR_WIDTH,
    DECISION_SECONDS,
    MAX_SPEED,
    METRICS,
    NO_OP,
    STEPS_PER_DECISION,
    IntersectionTask,
    Scene,
    Status,
)
from averse.environments.protocol import TimeStep
from averse.environments.sumo.simulation import KINDS, SIMULATOR, Simulation
from averse.environments.workers.pool import Batch, WorkerPool
from averse.environments.workers.process import Layout
from averse.environments.workers.vector import WorkerVector
from averse.extras import require_extra
from averse.settings import settings

# m; front bumpers further apart than this at the end of a decision have not been within the gap's limit during it
_CLOSE = GAP_LIMIT + CAR_WIDTH + 2 * (CAR_LENGTH + MAX_SPEED * DECISION_SECONDS)


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
        "worker_failed": "1 if the episode was cut because its simulator process died",
    }
    # A simulator is too slow for many steps: small batches.
    mappo_settings: ClassVar[Mapping[str, Any]] = {
        "network": "sets",
        "rollout_steps": 32,
        "learning_rate": 2e-3,
        "epsilon": 0.003,
        "value_scale": 5.0,
    }

    def vector(self, num_envs: int, trace: bool = False) -> WorkerVector:
        """Start `num_envs` simulations, each in its own worker process (libsumo holds one per process).

        With `trace`, the vector's batches also tell where every car was after every 0.1 s.
        """
        return WorkerVector(self.pool(num_envs, trace), TrafficEncoder(self), self.action_space)

    def pool(self, num_envs: int, trace: bool = False) -> WorkerPool:
        """The worker processes alone; with `trace`, they also tell where every car was after every 0.1 s."""
        require_simulator()
        task = self.task()  # workers must not import this module, which imports JAX
        return WorkerPool(
            partial(Simulation, task, self.drivers == "sumo", trace),
            layout(task, trace),
            num_envs,
            import_main=False,
            preload=["averse.environments.sumo.preload"],
        )


def require_simulator() -> None:
    """Raises AverseError, with what to do, where SUMO is not installed, or not wholly.

    It is tried in a process of its own: beside pyarrow, which is loaded here, libsumo warns of another version.
    """
    require_extra("libsumo", SIMULATOR)


def layout(task: IntersectionTask, trace: bool = False) -> Layout:
    """The arrays of one `Simulation`."""
    n, cars = task.num_agents, task.num_cars
    state: dict[str, tuple[tuple[int, ...], str]] = {
        "cars": ((3, cars), "float64"),
        "status": ((n,), "int64"),
        "elapsed": ((), "int64"),
    }
    if task.noisy:
        state["noise"] = ((n, cars, 3), "float32")
    outcome: dict[str, tuple[tuple[int, ...], str]] = {
        "impact_speed": ((), "float32"),
        "partners": ((len(KINDS),), "float32"),
    }
    if trace:
        state["who"] = ((2, cars), "int64")
        outcome["trace"] = ((STEPS_PER_DECISION, cars, 3), "float64")
    return Layout(((n,), "int32"), state, outcome)


def scene_of(state: Any) -> Scene:
    """The scene [..., B] in a pool's raw state, whose first axis is B."""
    movement, position, speed = np.moveaxis(state["cars"], 0, -1)
    return Scene(
        movement=np.maximum(movement, 0).astype(np.int32),
        position=position.astype(np.float32),
        speed=speed.astype(np.float32),
        present=movement >= 0,
        status=state["status"].T,
        elapsed=state["elapsed"].astype(np.float32),
    )


def batch_first(array: np.ndarray) -> np.ndarray:
    """What was worked out with the batch last, as a `TimeStep` has it."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


class TrafficEncoder:
    """States the task for a batch of simulations: an `Encoder` for `WorkerVector`."""

    def __init__(self, task: IntersectionTask):
        self._task, self._road = task, geometry()

    def begin(self, batch: Batch) -> TimeStep:
        """See `Encoder`."""
        task, num_envs = self._task, len(batch.idle)
        self._scene = scene_of(batch.now)
        self._tally = new_tally(np, task, (num_envs,))
        seen = self._look(batch.now, self._scene)
        available = batch_first(available_actions(np, task, self._scene))
        time_step = TimeStep.first(*seen, available, SumoIntersection.metrics)
        return _without_idle(time_step, batch.idle, batch.idle_now) if batch.idle.any() else time_step

    def commands(self, actions: np.ndarray) -> np.ndarray:
        """See `Encoder`: the accelerations that carry out the agents' manoeuvres."""
        if self._task.control == "acceleration":
            return actions
        chosen = accelerations(np, self._road, self._scene, actions.T)
        return np.where(self._scene.status == Status.DRIVING, chosen, NO_OP).T

    def advance(self, batch: Batch) -> TimeStep:
        """See `Encoder`."""
        task, road, before = self._task, self._road, self._scene
        after = scene_of(batch.after)
        pose = poses_at(np, road, after.movement, after.position)
        gap = gaps_of_close_pairs(task, road, before, after, pose)
        crashes = Crashes(batch.outcome["impact_speed"], batch.outcome["partners"].T)
        tally = update_tally(np, task, self._tally, before, after, gap, crashes)
        figures = metrics(np, task, tally, after)
        figures["worker_failed"] = batch.failed.astype(np.float32)
        over = batch_first(terminated(np, task, after))
        paid = batch_first(rewards(np, task, road, before, after))
        cost = batch_first(costs(np, task, before, after, gap))
        if batch.failed.any():  # no time has passed in an episode that was given up
            paid = np.where(batch.failed[:, None], 0, paid).astype(np.float32)
        next_observations, next_state = self._see(batch.after, after, pose)
        observations, state, now = next_observations.copy(), next_state.copy(), after
        rows = np.flatnonzero(batch.ended)
        if len(rows):
            now = scene_of(batch.now)
            fresh = {name: array[rows] for name, array in batch.now.items()}
            observations[rows], state[rows] = self._look(fresh, scene_of(fresh))
            tally = Tally(*(part.copy() for part in tally))  # what it was is now the episode's figure
            for part, start in zip(tally, new_tally(np, task, (len(rows),)), strict=True):
                part[..., rows] = start
        self._scene, self._tally = now, tally
        time_step = TimeStep(
            observations=observations,
            global_state=state,
            available=batch_first(available_actions(np, task, now)),
            rewards=paid,
            costs=cost,
            terminated=over,
            truncated=batch.ended & ~(after.status >= Status.ARRIVED).all(0),
            next_observations=next_observations,
            next_global_state=next_state,
            next_available=batch_first(available_actions(np, task, after)),
            info=figures,
        )
        return _without_idle(time_step, batch.idle, batch.idle_now) if batch.idle_now.any() else time_step

    def _look(self, state: Any, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        return self._see(state, scene, poses_at(np, self._road, scene.movement, scene.position))

    def _see(self, state: Any, scene: Scene, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        task, road = self._task, self._road
        noise = np.moveaxis(state["noise"], (0, -1), (-1, 0)) if "noise" in state else None
        seen = observe(np, task, road, scene, pose, noise), global_state(np, task, road, scene, pose)
        return batch_first(seen[0]), batch_first(seen[1])


def gaps_of_close_pairs(task: IntersectionTask, road: Geometry, before: Scene, after: Scene, pose: Pose) -> np.ndarray:
    """`rewards.smallest_gaps` of a batch, float32 [N, B], worked out only for the few pairs that can be near enough.

    `pose`: of the cars in `after`.
    """
    gap = np.full(after.status.shape, GAP_LIMIT, np.float32)
    n = task.num_agents
    dx, dy = pose.x[:n, None] - pose.x[None], pose.y[:n, None] - pose.y[None]
    close = dx * dx + dy * dy < _CLOSE * _CLOSE
    i, j, b = np.nonzero(close & meeting(np, task, before, after))
    if len(b):
        track = Track(after.movement, before.position, after.position, before.speed, after.speed)
        me, them = (tracks(np, road, Track(*(part[car, b] for part in track))) for car in (i, j))
        np.minimum.at(gap, (i, b), gaps(np, me, them).min(0))
    gap[crashed_now(before, after)] = 0
    return gap


def _without_idle(time_step: TimeStep, idle: np.ndarray, idle_now: np.ndarray) -> TimeStep:
    """Blank what means nothing: rows without an episode in this step, and without one to act in next."""
    for array in (time_step.rewards, time_step.costs, time_step.next_observations, time_step.next_global_state):
        array[idle] = 0
    for array in (time_step.observations, time_step.global_state):
        array[idle_now] = 0
    available = time_step.available | idle_now[:, None, None]
    next_available = time_step.next_available | idle[:, None, None]
    info = {name: np.where(idle, np.float32(np.nan), value) for name, value in time_step.info.items()}
    terminated_now = time_step.terminated & ~idle[:, None]
    return time_step._replace(
        available=available,
        next_available=next_available,
        terminated=terminated_now,
        truncated=time_step.truncated & ~idle,
        info=info,
    )
