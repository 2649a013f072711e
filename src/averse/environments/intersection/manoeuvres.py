"""Manoeuvres: what an agent may decide, and how a decision becomes one of the five accelerations.

| manoeuvre | before the line, while one can stop there | behind it, or too late to stop |
|---|---|---|
| 0 yield | stop 0.5 m before the line | stop before the zones of moving cars that come soon; else creep |
| 1 ease | be 1 m/s slower after this decision | the same |
| 2 go | be as fast as possible | the same |

Whatever is decided, a car keeps the safe speed behind the car ahead and stops before a car that stands in its way. It
then takes the strongest acceleration that keeps its limit. Execution sees all cars as they are: sensor noise and
dropout are the deciding agent's alone. The same code drives in SUMO and in the twin.

A car that yields on the junction does not stop there without need: two who stand in each other's way would wait for
ever. It lets moving cars go first that will be in a common zone within 4 s or can no longer stop before their line, and
creeps where others stand.

Axes: cars first, a batch last (`...`), as in `observations`.
"""

from typing import Any

from averse.environments.intersection.along_cars import least
from averse.environments.intersection.crashes import distance_to_contact, lanes_of_movement
from averse.environments.intersection.geometry import Geometry, of_movement
from averse.environments.intersection.pairs import (
    SLOWEST,
    Pairs,
    Side,
    others,
    pairs_of,
    seconds_at_present,
    sides_of,
    stopping_limit,
)
from averse.environments.intersection.task import (
    ACCELERATIONS,
    CAR_LENGTH,
    DECISION_SECONDS,
    HUMAN_DECELERATION,
    HUMAN_MIN_GAP,
    MANOEUVRES,
    MAX_SPEED,
    NO_OP,
    Scene,
)

YIELD, EASE, GO = range(len(MANOEUVRES))

STOP_BEFORE = 0.5  # m; agents stop this far before the line, a conflict zone or a standing car
COMING = 4.0  # s; moving cars that are nearer in time to a conflict zone are let go first by who yields on the junction
CREEP = 2.0  # m/s, of a car that yields on the junction
EASING = 1.0  # m/s that are lost in a decision to ease
_FAR = 1e3  # m, or m/s: no limit


def accelerations(xp: Any, road: Geometry, scene: Scene, manoeuvre: Any) -> Any:
    """The accelerations by which agents carry out their manoeuvres, int32 [N, ...], indices of `ACCELERATIONS`.

    Args:
      scene: all cars at the beginning of the decision; only those `present` count, and `status` is not looked at.
      manoeuvre: int [N, ...].
    """
    speed = scene.speed[: manoeuvre.shape[0]]
    return strongest(xp, speed, speed_limit(xp, road, scene, manoeuvre))


def speed_limit(xp: Any, road: Geometry, scene: Scene, manoeuvre: Any) -> Any:
    """The speed (m/s) that each agent should not exceed after the decision, [N, ...], not below 0."""
    n = manoeuvre.shape[0]
    me, them = sides_of(scene, n)
    other = others(xp, scene.present, n)
    pairs = pairs_of(xp, road, me, them)
    speed = scene.speed[:n]
    wanted = xp.where(manoeuvre == EASE, speed - EASING, _FAR)
    wanted = xp.where(manoeuvre == YIELD, _yielding(xp, pairs, them, other), wanted)
    ahead = xp.minimum(_behind(xp, road, pairs, me, them, other), _before_standing(xp, road, me, them, other))
    return xp.maximum(xp.minimum(wanted, ahead), 0)


def strongest(xp: Any, speed: Any, limit: Any) -> Any:
    """The strongest acceleration that does not exceed the limit (m/s) within one decision, int32 index."""
    chosen = xp.zeros(speed.shape, "int32")
    for index, acceleration in enumerate(ACCELERATIONS):
        allowed = speed + acceleration * DECISION_SECONDS <= limit + 1e-6
        if index > NO_OP:  # at the limit, keeping the speed and accelerating are the same; keep it
            allowed = allowed & (speed < MAX_SPEED - 1e-3)
        chosen = xp.where(allowed, xp.asarray(index, "int32"), chosen)
    return chosen


def _yielding(xp: Any, pairs: Pairs, them: Side, other: Any) -> Any:
    """The limit (m/s) of those who yield, [N, ...]."""
    soon = seconds_at_present(xp, pairs.their_to_zone, them.speed) < COMING
    comes = pairs.conflict & ~pairs.same_arm & other & (them.speed > SLOWEST) & (pairs.they_committed | soon)
    comes = comes & (pairs.to_zone > STOP_BEFORE)  # whoever is in the zone already clears it
    room = least(xp, xp.where(comes, pairs.to_zone, _FAR), 1)
    late = xp.minimum(stopping_limit(xp, room - STOP_BEFORE), CREEP)
    return xp.where(pairs.committed[:, 0], late, stopping_limit(xp, pairs.to_line[:, 0] - STOP_BEFORE))


def _behind(xp: Any, road: Geometry, pairs: Pairs, me: Side, them: Side, other: Any) -> Any:
    """The safe speed (m/s) behind the car ahead, on the same arm or leaving by the same one, [N, ...]."""
    mine, theirs = (lanes_of_movement(xp, road, side.movement) for side in (me, them))
    (my_end,), (their_end,) = (of_movement(xp, side.movement, road.length) for side in (me, them))
    same_exit = mine.exit_arm == theirs.exit_arm
    ahead_in = them.position - me.position
    ahead_out = (my_end - me.position) - (their_end - them.position)
    left_junction = them.position > theirs.exit
    turned_off = ~same_exit & left_junction
    ahead = xp.where(pairs.same_arm & ~turned_off & (ahead_in > 0), ahead_in, _FAR)
    ahead = xp.where(same_exit & left_junction & (ahead_out > 0), ahead_out, ahead)
    gap = xp.maximum(xp.where(other, ahead, _FAR) - CAR_LENGTH - HUMAN_MIN_GAP, 0)
    # as Krauss, but for the time of one decision instead of a human's reaction
    b = HUMAN_DECELERATION * DECISION_SECONDS
    return least(xp, xp.sqrt(b * b + them.speed**2 + 2 * HUMAN_DECELERATION * gap) - b, 1)


def _before_standing(xp: Any, road: Geometry, me: Side, them: Side, other: Any) -> Any:
    """The limit (m/s) before cars that stand where an agent's own path would touch them, [N, ...]."""
    way = distance_to_contact(xp, road, me.movement, me.position, them.movement, them.position)
    stands = other & (them.speed < SLOWEST)
    return stopping_limit(xp, least(xp, xp.where(stands, way, _FAR), 1) - STOP_BEFORE)
