"""What two cars are to each other: zones of conflict, lines, times, and who can no longer stop. For any batch at once.

Seen from an agent ("me") towards another car ("them"); arrays broadcast against each other, cars first, a batch last.
"""

from typing import Any, NamedTuple

from averse.environments.intersection.geometry import Geometry, of_movement, zones_of
from averse.environments.intersection.task import (
    ACCELERATIONS,
    DECISION_SECONDS,
    HUMAN_DECELERATION,
    MAX_SPEED,
    TURNS,
    Scene,
)

SLOWEST = 1.0  # m/s; slower cars are taken to stand, and times of arrival are computed with this speed for them


class Side(NamedTuple):
    """Cars on one side of the pairs; any shape."""

    movement: Any  # int
    position: Any  # m
    speed: Any  # m/s


class Pairs(NamedTuple):
    """Distances along each car's own path, in m, negative behind the place; of pairs of cars, any shape."""

    conflict: Any  # bool, whether the two paths still cross, join, or are the same for a while
    same_arm: Any  # bool, whether both come by the same arm
    to_zone: Any  # mine to the beginning of the conflict zone
    to_zone_end: Any
    their_to_zone: Any
    their_to_zone_end: Any
    to_line: Any  # mine to the line, where the junction begins
    their_to_line: Any
    committed: Any  # bool, whether I can no longer stop before my line, or am behind it
    they_committed: Any


def sides_of(scene: Scene, num_agents: int) -> tuple[Side, Side]:
    """Each agent, parts [N, 1, ...], and each car, parts [1, C, ...]."""
    every = (scene.movement, scene.position, scene.speed)
    return Side(*(part[:num_agents, None] for part in every)), Side(*(part[None] for part in every))


def pairs_of(xp: Any, road: Geometry, me: Side, them: Side) -> Pairs:
    """The pairs of `me` and `them`, of their common shape but for what belongs to one side alone."""
    zone = zones_of(xp, road, me.movement, them.movement)
    (line,), (their_line,) = (of_movement(xp, side.movement, road.entry) for side in (me, them))
    to_line, their_to_line = line - me.position, their_line - them.position
    return Pairs(
        conflict=zone.conflict & (me.position < zone.end) & (them.position < zone.their_end),
        same_arm=me.movement // len(TURNS) == them.movement // len(TURNS),
        to_zone=zone.start - me.position,
        to_zone_end=zone.end - me.position,
        their_to_zone=zone.their_start - them.position,
        their_to_zone_end=zone.their_end - them.position,
        to_line=to_line,
        their_to_line=their_to_line,
        committed=~can_stop(me.speed, to_line),
        they_committed=~can_stop(them.speed, their_to_line),
    )


def others(xp: Any, present: Any, num_agents: int) -> Any:
    """Which cars on the road are other ones than each agent's own, bool [N, C, ...]; present: bool [C, ...]."""
    different = ~xp.eye(num_agents, present.shape[0], dtype=bool)
    return present[None] & different.reshape(*different.shape, *(1,) * (present.ndim - 1))


def can_stop(speed: Any, distance: Any) -> Any:
    """Whether a car can still stop within a distance (m), braking at 4.5 m/s2."""
    return (distance >= 0) & (speed * speed <= 2 * HUMAN_DECELERATION * distance + 1e-6)


def seconds_at_present(xp: Any, distance: Any, speed: Any) -> Any:
    """Seconds for a distance (m) at the present speed, at least `SLOWEST`; 0 for what lies behind."""
    return xp.maximum(distance, 0) / xp.maximum(speed, SLOWEST)


def soonest(xp: Any, distance: Any, speed: Any) -> Any:
    """Seconds in which a car can drive so far (m), at the strongest acceleration up to the limit."""
    a, distance = ACCELERATIONS[-1], xp.maximum(distance, 0)
    to_limit = (MAX_SPEED - speed) / a
    beyond = distance - to_limit * (speed + MAX_SPEED) / 2
    return xp.where(beyond > 0, to_limit + beyond / MAX_SPEED, (xp.sqrt(speed**2 + 2 * a * distance) - speed) / a)


def stopping_limit(xp: Any, distance: Any) -> Any:
    """The speed (m/s) to have after the next decision, so as to be able to stop within `distance` m."""
    b = HUMAN_DECELERATION * DECISION_SECONDS
    return xp.sqrt(b * b + 2 * HUMAN_DECELERATION * xp.maximum(distance, 0)) - b
