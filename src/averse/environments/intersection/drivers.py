"""Hand-written drivers, to print beside those that have learnt: nothing is trained, everything is seen.

A policy is a callable from a `TimeStep` to actions int32 [B, N]. Drivers act through the same five accelerations as
agents do, in SUMO as in its compiled twin.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from averse.environments.intersection.geometry import Geometry, Zone, exit_arm, geometry, zones_of
from averse.environments.intersection.observations import CAR_SIZE
from averse.environments.intersection.task import (
    ACCELERATIONS,
    ARM_LENGTH,
    CAR_LENGTH,
    DECISION_SECONDS,
    HUMAN_DECELERATION,
    HUMAN_MIN_GAP,
    MAX_SPEED,
    NO_OP,
    NUM_MOVEMENTS,
    TURNS,
    IntersectionTask,
)
from averse.environments.protocol import TimeStep

Driver = Callable[[TimeStep], np.ndarray]

STOP_BEFORE = 0.5  # m; agents stop this far before the line or a conflict zone
STANDING = 1.0  # m/s; a human slower than this at the line is taken to wait
_EXIT_ARMS = np.array([exit_arm(movement) for movement in range(NUM_MOVEMENTS)])
_FAR = 1e3


def constant_speed(time_step: TimeStep) -> np.ndarray:
    """Keep the speed of departure, whatever comes."""
    return np.full(time_step.available.shape[:2], NO_OP, np.int32)


def full_speed(time_step: TimeStep) -> np.ndarray:
    """Accelerate to the limit, whatever comes."""
    return _restrict(time_step, np.full(time_step.available.shape[:2], len(ACCELERATIONS) - 1, np.int32))


class Cars(NamedTuple):
    """What the global state tells of each car, [B, cars]: the agents, then the humans nearest to the junction."""

    present: np.ndarray  # bool
    movement: np.ndarray  # int
    position: np.ndarray  # m along the movement's path
    speed: np.ndarray  # m/s


def cars_in(global_state: np.ndarray) -> Cars:
    """Decode the global state [B, G]."""
    rows = np.asarray(global_state)[:, 1:].reshape(len(global_state), -1, CAR_SIZE)
    arm, turn = rows[..., 2:6].argmax(-1), rows[..., 6:9].argmax(-1)
    movement = arm * len(TURNS) + turn
    position = rows[..., 9] * ARM_LENGTH + geometry().entry[movement]
    return Cars(rows[..., 0] > 0.5, movement, position, rows[..., 14] * MAX_SPEED)


@dataclass(frozen=True)
class Rush:
    """As fast as the car ahead allows; whoever crosses is ignored."""

    task: IntersectionTask

    def __call__(self, time_step: TimeStep) -> np.ndarray:
        """Actions int32 [B, N]."""
        cars = cars_in(time_step.global_state)
        return _restrict(time_step, _actions(cars.speed[:, : self.task.num_agents], _behind(_Views(self.task, cars))))


@dataclass(frozen=True)
class Reservation:
    """First come, first served among agents, and nobody drives onto the junction without a gap in the traffic.

    Before the line an agent looks at each car whose path crosses or joins its own: at agents that are nearer to the
    line, at everybody who is on the junction or can no longer stop before it, and at humans under way. It waits at the
    line unless each of them will have left the conflict zone `gap` seconds before it gets there, or will not get there
    until `gap` seconds after it has left. Both are reckoned with care: it and they may accelerate to the limit before
    they get there, and they may keep no more than their speed until they have left. Humans standing at the line are
    taken to wait. On the junction an agent drives on, and stops only before a zone that somebody else is in, or will
    be in first. It keeps a safe distance to the car ahead throughout.

    The larger the gap, the safer and the slower. Below 0 two cars may be reckoned to be in the zone at once; at minus
    infinity everybody enters at once, and only those already on the junction are waited for.
    """

    task: IntersectionTask
    gap: float = 0.0
    """Seconds that must lie between two cars in a conflict zone."""

    def __call__(self, time_step: TimeStep) -> np.ndarray:
        """Actions int32 [B, N]."""
        cars = cars_in(time_step.global_state)
        view = _Views(self.task, cars)
        limit = np.minimum(_behind(view), self._limit(view))
        return _restrict(time_step, _actions(cars.speed[:, : self.task.num_agents], limit))

    def _limit(self, view: "_Views") -> np.ndarray:
        """The speed (m/s) that lets an agent stop where it must, [B, N]."""
        me, them, zone = view.me, view.them, view.zone
        my_line = view.road.entry[me.movement] - me.position
        their_line = view.road.entry[them.movement] - them.position
        i_must, they_must = ~_can_stop(me.speed, my_line), ~_can_stop(them.speed, their_line)
        index = np.arange(them.speed.shape[-1])
        n = self.task.num_agents
        nearer = (their_line < my_line) | ((their_line == my_line) & (index < index[:n, None]))
        counts = they_must | np.where(index < n, nearer, them.speed > STANDING)

        to_zone = zone.start - me.position
        i_come, i_leave = _soonest(to_zone, me.speed), _soonest(zone.end - me.position, me.speed)
        they_come = _soonest(zone.their_start - them.position, them.speed)
        they_leave = (zone.their_end - them.position) / np.maximum(them.speed, STANDING)
        accepted = (i_come > they_leave + self.gap) | (they_come > i_leave + self.gap)
        waits = view.crossing & counts & ~accepted & ~i_must

        in_zone = them.position > zone.their_start
        first = in_zone | (they_must & (them.speed > STANDING) & (they_come < i_come))
        stops = view.crossing & i_must & first & (i_come < they_leave) & (to_zone > STOP_BEFORE)

        stop = np.where(waits, my_line, np.where(stops, to_zone, _FAR)) - STOP_BEFORE
        return _stopping_speed(stop).min(-1)


class _Views:
    """All agents' views of all cars: parts of `me` are [B, N, 1], of `them` [B, 1, cars], the rest [B, N, cars]."""

    def __init__(self, task: IntersectionTask, cars: Cars):
        n = task.num_agents
        self.road: Geometry = geometry()
        self.me = Cars(*(part[:, :n, None] for part in cars))
        self.them = Cars(*(part[:, None, :] for part in cars))
        self.others = self.them.present & ~np.eye(n, cars.speed.shape[1], dtype=bool)
        self.same_arm = self.me.movement // len(TURNS) == self.them.movement // len(TURNS)
        self.zone: Zone = zones_of(np, self.road, self.me.movement, self.them.movement)
        ahead_of_zone = (self.me.position < self.zone.end) & (self.them.position < self.zone.their_end)
        self.crossing = self.zone.conflict & ahead_of_zone & ~self.same_arm & self.others


def _behind(view: _Views) -> np.ndarray:
    """The safe speed (m/s) behind the car ahead, on the same arm or leaving by the same one, [B, N]."""
    road, me, them = view.road, view.me, view.them
    same_exit = _EXIT_ARMS[me.movement] == _EXIT_ARMS[them.movement]
    end = road.length
    before_me = them.position - me.position
    before_me_at_exit = (end[me.movement] - me.position) - (end[them.movement] - them.position)
    left_junction = them.position > road.exit[them.movement]
    passed = ~same_exit & left_junction  # it has turned off
    ahead = np.where(view.same_arm & ~passed & (before_me > 0), before_me, _FAR)
    ahead = np.where(same_exit & left_junction & (before_me_at_exit > 0), before_me_at_exit, ahead)
    gap = np.where(view.others, ahead, _FAR) - CAR_LENGTH - HUMAN_MIN_GAP
    # as Krauss, but for the time of one decision instead of a human's reaction
    b = HUMAN_DECELERATION * DECISION_SECONDS
    safe = -b + np.sqrt(b * b + them.speed**2 + 2 * HUMAN_DECELERATION * np.maximum(gap, 0))
    return np.minimum(safe.min(-1), MAX_SPEED)


def _can_stop(speed: np.ndarray, distance: np.ndarray) -> np.ndarray:
    return (distance >= 0) & (speed * speed <= 2 * HUMAN_DECELERATION * distance + 1e-6)


def _soonest(distance: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Seconds in which a car can drive so far (m), at the strongest acceleration up to the limit."""
    a, distance = ACCELERATIONS[-1], np.maximum(distance, 0)
    to_limit = (MAX_SPEED - speed) / a
    beyond = distance - to_limit * (speed + MAX_SPEED) / 2
    return np.where(beyond > 0, to_limit + beyond / MAX_SPEED, (np.sqrt(speed**2 + 2 * a * distance) - speed) / a)


def _stopping_speed(distance: np.ndarray) -> np.ndarray:
    """The speed (m/s) to have after the next decision, so as to stop within `distance` m."""
    b = HUMAN_DECELERATION * DECISION_SECONDS
    return -b + np.sqrt(b * b + 2 * HUMAN_DECELERATION * np.maximum(distance, 0))


def _actions(speed: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """The strongest acceleration that does not exceed the speed limit within one decision, [B, N]."""
    after = speed[..., None] + np.array(ACCELERATIONS) * DECISION_SECONDS
    allowed = after <= np.maximum(limit, 0)[..., None] + 1e-6
    # at the limit, keeping the speed and accelerating are the same; keep it
    allowed[..., NO_OP + 1 :] &= (speed < MAX_SPEED - 1e-3)[..., None]
    return np.where(allowed.any(-1), len(ACCELERATIONS) - 1 - allowed[..., ::-1].argmax(-1), 0).astype(np.int32)


def _restrict(time_step: TimeStep, actions: np.ndarray) -> np.ndarray:
    """The no-op for agents that are not driving."""
    return np.where(np.asarray(time_step.available)[..., 0], actions, NO_OP).astype(np.int32)
