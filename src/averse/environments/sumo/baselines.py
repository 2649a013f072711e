"""Drivers that have learnt nothing, to print beside those that have.

A policy is a callable from a `TimeStep` to actions int32 [B, N]. All but SUMO's own drivers act through the same five
accelerations as agents do.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from averse.environments.intersection.geometry import exit_arm, geometry
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
from averse.environments.sumo.environment import SumoIntersection
from averse.errors import unknown_name

Policy = Callable[[TimeStep], np.ndarray]

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
class Reservation:
    """First come, first served: a central manager sees the global state and tells each agent how fast to drive.

    An agent keeps a safe distance to the car ahead. It may cross another agent's path unless that one has the
    reservation, that is, can no longer stop or is nearer to the junction, and would not be gone `margin` seconds
    before it comes; then it stops at the line, or before the crossing. Humans hold no reservation: an agent waits for
    those who would come to the crossing before it or less than `human_margin` seconds later, unless they will have
    left it by then or stand still before it. Reckless humans are not known as such. With margins of minus infinity it
    waits for nobody.
    """

    task: IntersectionTask
    margin: float = 3.0
    """Seconds that must lie between two agents at a crossing."""
    human_margin: float = 1.0
    """Seconds by which an agent must be earlier than a human at a crossing, to go first."""

    def __call__(self, time_step: TimeStep) -> np.ndarray:
        """Actions int32 [B, N]."""
        n, road = self.task.num_agents, geometry()
        cars = cars_in(time_step.global_state)
        me = Cars(*(part[:, :n, None] for part in cars))
        them = Cars(*(part[:, None, :] for part in cars))
        others = them.present & ~np.eye(n, cars.speed.shape[1], dtype=bool)
        limit = np.minimum(self._following(me, them, others), MAX_SPEED)

        zone = road.zones[me.movement * NUM_MOVEMENTS + them.movement]
        crossing = (zone[..., 0] > 0) & (me.movement // len(TURNS) != them.movement // len(TURNS)) & others
        crossing &= (me.position < zone[..., 2]) & (them.position < zone[..., 4])
        to_zone, their_zone = zone[..., 1] - me.position, zone[..., 3] - them.position
        i_come = np.maximum(to_zone, 0) / np.maximum(me.speed, 3.0)
        they_come = np.maximum(their_zone, 0) / np.maximum(them.speed, 3.0)
        they_leave = (zone[..., 4] - them.position) / np.maximum(them.speed, 3.0)
        # of two agents, one who can no longer stop goes first, then the one nearer to the junction
        i_must, they_must = ~_can_stop(me.speed, to_zone), ~_can_stop(them.speed, their_zone)
        my_way = road.entry[me.movement] - me.position
        their_way = road.entry[them.movement] - them.position
        index = np.arange(cars.speed.shape[1])
        nearer = (their_way < my_way) | ((their_way == my_way) & (index[None, :] < index[:n, None]))
        first = np.where(i_must == they_must, nearer, they_must)
        coming = (their_zone <= 0) | (them.speed > 1.0)
        first = np.where(index >= n, coming & (they_come < i_come + self.human_margin), first)
        blocked = crossing & first & (i_come < they_leave + np.where(index >= n, 0.0, self.margin))

        # stop at the line or, if it is too late for that, before the crossing
        stop = np.where(_can_stop(me.speed, my_way - 1.0), my_way - 1.0, to_zone - 0.5)
        limit = np.minimum(limit, np.where(blocked & (stop > 0), _stopping_speed(stop), MAX_SPEED).min(-1))
        return _restrict(time_step, _actions(cars.speed[:, :n], limit))

    def _following(self, me: Cars, them: Cars, others: np.ndarray) -> np.ndarray:
        """The safe speed (m/s) behind the car ahead: on the same arm, or leaving by the same arm, [B, N]."""
        road = geometry()
        same_arm = me.movement // len(TURNS) == them.movement // len(TURNS)
        same_exit = _EXIT_ARMS[me.movement] == _EXIT_ARMS[them.movement]
        end = road.length
        before_me = them.position - me.position
        before_me_at_exit = (end[me.movement] - me.position) - (end[them.movement] - them.position)
        left_junction = them.position > road.exit[them.movement]
        passed = ~same_exit & left_junction  # it has turned off
        ahead = np.where(same_arm & ~passed & (before_me > 0), before_me, _FAR)
        ahead = np.where(same_exit & left_junction & (before_me_at_exit > 0), before_me_at_exit, ahead)
        gap = np.where(others, ahead, _FAR) - CAR_LENGTH - HUMAN_MIN_GAP
        # as Krauss, but for the time of one decision instead of a human's reaction
        b = HUMAN_DECELERATION * DECISION_SECONDS
        return (-b + np.sqrt(b * b + them.speed**2 + 2 * HUMAN_DECELERATION * np.maximum(gap, 0))).min(-1)


def _can_stop(speed: np.ndarray, distance: np.ndarray) -> np.ndarray:
    return (distance > 0) & (speed * speed <= 2 * HUMAN_DECELERATION * distance)


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


NAMES = ("constant-speed", "full-speed", "rush", "reservation", "sumo-drivers")


def baseline(name: str, environment: SumoIntersection) -> tuple[SumoIntersection, Policy]:
    """The environment to run and the policy to run in it. Only `sumo-drivers` changes the environment."""
    if name == "constant-speed":
        return environment, constant_speed
    if name == "full-speed":
        return environment, full_speed
    if name == "rush":  # full speed behind the car ahead; whoever crosses is ignored
        return environment, Reservation(environment, -np.inf, -np.inf)
    if name == "reservation":
        return environment, Reservation(environment)
    if name == "sumo-drivers":
        return replace(environment, drivers="sumo"), constant_speed
    raise unknown_name("baseline", name, NAMES)
