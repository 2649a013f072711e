"""How cars move in one simulation step: agents as they wish, humans by the Krauss model exactly as SUMO computes it.

Krauss, "Microscopic modeling of traffic flow" (1998); the discrete formulas are those of SUMO's MSCFModel for its Euler
integration, in which a car moves with its new speed during a step and brakes by the same amount in each.
"""

from typing import Any

from averse.environments.intersection.task import (
    HUMAN_ACCELERATION,
    HUMAN_DECELERATION,
    HUMAN_IMPERFECTION,
    HUMAN_REACTION,
    MAX_SPEED,
    STEP_SECONDS,
)

EMERGENCY_DECELERATION = 9.0  # m/s2; SUMO's default for passenger cars
_BRAKING = HUMAN_DECELERATION * STEP_SECONDS  # m/s of speed lost in a step
_EPSILON = 0.001  # m


def agent_motion(xp: Any, position: Any, speed: Any, acceleration: Any) -> tuple[Any, Any]:
    """An agent's position and speed after one simulation step: the new speed holds for the whole step."""
    speed = xp.clip(speed + acceleration * STEP_SECONDS, 0.0, MAX_SPEED)
    return position + speed * STEP_SECONDS, speed


def braking_distance(xp: Any, speed: Any) -> Any:
    """Distance (m) in which a car stops from a speed (m/s), braking by a whole step's worth in each step."""
    steps = xp.floor(speed / _BRAKING)
    return STEP_SECONDS * (steps * speed - _BRAKING * steps * (steps + 1) / 2)


def stopping_speed(xp: Any, gap: Any, reaction: float = STEP_SECONDS) -> Any:
    """The fastest speed (m/s) with which a car that reacts after `reaction` s stops within `gap` m; 0 where gap < 0.

    Before a line SUMO's drivers react within a simulation step.
    """
    s, b, t = STEP_SECONDS, _BRAKING, reaction
    gap = xp.maximum(gap - _EPSILON, 0)
    # n whole braking steps, and a remainder of the speed that is braked away in one more
    n = xp.floor(0.5 - (t - 0.5 * xp.sqrt(s * s + 4 * (s * (2 * gap / b - t) + t * t))) / s)
    braked = 0.5 * n * (n - 1) * b * s + n * b * t
    return xp.where(gap > 0, n * b + (gap - braked) / (n * s + t), 0)


def following_speed(xp: Any, gap: Any, leader_speed: Any) -> Any:
    """The fastest safe speed (m/s) `gap` m behind a leader, minimum gap already subtracted."""
    return stopping_speed(xp, gap + braking_distance(xp, leader_speed), HUMAN_REACTION)


def next_speed(xp: Any, speed: Any, desired: Any, safe: Any, uniform: Any) -> Any:
    """A human's speed (m/s) after one step, with imperfection.

    speed: now. desired: the limit that applies times the driver's own factor. safe: the least of all safe speeds.
    uniform: random numbers in [0, 1); 0 for a perfect driver.
    """
    fastest = xp.minimum(
        xp.minimum(speed + HUMAN_ACCELERATION * STEP_SECONDS, xp.maximum(desired, speed - _BRAKING)), safe
    )
    fastest = xp.maximum(fastest, xp.maximum(speed - EMERGENCY_DECELERATION * STEP_SECONDS, 0))
    # slow cars dawdle less, so that whoever starts does start
    strength = xp.minimum(fastest, HUMAN_ACCELERATION)
    return xp.maximum(fastest - HUMAN_IMPERFECTION * STEP_SECONDS * strength * uniform, 0)
