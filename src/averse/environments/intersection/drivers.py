"""Hand-written drivers, to print beside those that have learnt: nothing is trained, everything is seen.

A policy is a callable from a `TimeStep` to actions int32 [B, N], in SUMO as in its compiled twin. `Rush` and
`Reservation` choose among the manoeuvres of agents; where the task's control is by accelerations, those that carry them
out, given what the global state shows: all agents, and the humans nearest to the junction.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from averse.environments.intersection.gaps import gaps_if_going
from averse.environments.intersection.geometry import geometry
from averse.environments.intersection.manoeuvres import GO, YIELD, accelerations
from averse.environments.intersection.observations import CAR_SIZE, own_numbers
from averse.environments.intersection.pairs import (
    can_stop,
    others,
    pairs_of,
    sides_of,
)
from averse.environments.intersection.task import (
    ACCELERATIONS,
    ARM_LENGTH,
    MAX_SPEED,
    NO_OP,
    TURNS,
    IntersectionTask,
    Scene,
)
from averse.environments.protocol import TimeStep

Driver = Callable[[TimeStep], np.ndarray]


def constant_speed(time_step: TimeStep) -> np.ndarray:
    """Keep the speed of departure, whatever comes; for control by accelerations."""
    return np.full(time_step.available.shape[:2], NO_OP, np.int32)


def full_speed(time_step: TimeStep) -> np.ndarray:
    """Accelerate to the limit, whatever comes; for control by accelerations."""
    return _restrict(time_step, np.full(time_step.available.shape[:2], len(ACCELERATIONS) - 1, np.int32))


def scene_in(global_state: np.ndarray, num_agents: int) -> Scene:
    """The cars that the global state [B, G] tells of, the batch last: the agents, then the nearest humans."""
    state = np.asarray(global_state)
    rows = state[:, 1:].reshape(len(state), -1, CAR_SIZE).transpose(1, 2, 0)  # [cars, 15, B]
    movement = rows[:, 2:6].argmax(1) * len(TURNS) + rows[:, 6:9].argmax(1)
    return Scene(
        movement=movement,
        position=rows[:, 9] * ARM_LENGTH + geometry().entry[movement],
        speed=rows[:, 14] * MAX_SPEED,
        present=rows[:, 0] > 0.5,
        status=None,  # carrying out a manoeuvre does not depend on these
        elapsed=None,
    )


@dataclass(frozen=True)
class Rush:
    """As fast as the car ahead, and whoever stands in the way, allow; whoever crosses is ignored."""

    task: IntersectionTask

    def __call__(self, time_step: TimeStep) -> np.ndarray:
        """Actions int32 [B, N]."""
        scene = scene_in(time_step.global_state, self.task.num_agents)
        return _actions(self.task, time_step, scene, np.full(scene.speed[: self.task.num_agents].shape, GO))


@dataclass(frozen=True)
class Reservation:
    """First come, first served among agents, and nobody drives onto the junction without a gap in the traffic.

    Before the line an agent looks at each car whose path crosses or joins its own: at agents that are nearer to the
    line, at everybody who is on the junction or can no longer stop before it, and at humans under way. It yields unless
    each of them will have left the conflict zone `gap` seconds before it gets there, or will not get there
    until `gap` seconds after it has left. Both are reckoned with care: it and they may accelerate to the limit before
    they get there, and they may keep no more than their speed until they have left. Humans standing at the line are
    taken to wait. On the junction an agent goes, and yields only while somebody else is in a zone ahead, or will be in
    it first.

    The larger the gap, the safer and the slower. Below 0 two cars may be reckoned to be in the zone at once; at minus
    infinity everybody enters at once, and only those already on the junction are waited for.
    """

    task: IntersectionTask
    gap: float = 0.0
    """Seconds that must lie between two cars in a conflict zone."""

    def __call__(self, time_step: TimeStep) -> np.ndarray:
        """Actions int32 [B, N]."""
        scene = scene_in(time_step.global_state, self.task.num_agents)
        return _actions(self.task, time_step, scene, np.where(self._yields(scene), YIELD, GO))

    def _yields(self, scene: Scene) -> np.ndarray:
        """Which agents yield, bool [N, B]."""
        n = self.task.num_agents
        me, them = sides_of(scene, n)
        pairs = pairs_of(np, geometry(), me, them)
        index = np.arange(len(scene.speed))[None, :, None]
        ties = index < index[:, :n].swapaxes(0, 1)
        gaps = gaps_if_going(np, pairs, me, them, index < n, others(np, scene.present, n), ties)
        waits = np.minimum(gaps.to_agents, gaps.to_humans) <= self.gap
        return np.where(pairs.committed[:, 0], gaps.taken, waits)


@dataclass(frozen=True)
class GapAcceptance:
    """`Reservation` with what an agent observes, of the neighbours that it sees: the same information.

    Before the line an agent yields unless the gaps that it would find if it went now are larger than `gap`; on the
    junction it goes, and yields only while somebody else is in a zone ahead, or will be in it first.
    """

    task: IntersectionTask
    gap: float = 0.0
    """Seconds that must lie between two cars in a conflict zone, [-5, 5): agents see no larger ones."""

    def __call__(self, time_step: TimeStep) -> np.ndarray:
        """Actions int32 [B, N]."""
        own = own_numbers(np.asarray(time_step.observations))
        waits = np.minimum(own.gap_to_agents, own.gap_to_humans) <= self.gap
        yields = np.where(can_stop(own.speed, own.to_line), waits, own.taken)
        scene = scene_in(time_step.global_state, self.task.num_agents)
        return _actions(self.task, time_step, scene, np.where(yields, YIELD, GO).T)


def _actions(task: IntersectionTask, time_step: TimeStep, scene: Scene, manoeuvres: np.ndarray) -> np.ndarray:
    """Manoeuvres [N, B] as actions [B, N] of the task's control."""
    if task.control == "acceleration":
        manoeuvres = accelerations(np, geometry(), scene, manoeuvres)
    return _restrict(time_step, manoeuvres.T)


def _restrict(time_step: TimeStep, actions: np.ndarray) -> np.ndarray:
    """The no-op for agents that are not driving."""
    return np.where(np.asarray(time_step.available)[..., 0], actions, NO_OP).astype(np.int32)
