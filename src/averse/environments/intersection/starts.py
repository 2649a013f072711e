"""How an episode begins: who comes from where, and when."""

from typing import Any, NamedTuple

from averse.environments.intersection.task import (
    ARMS,
    DECISION_SECONDS,
    HUMAN_DECELERATION,
    HUMAN_MIN_GAP,
    HUMAN_REACTION,
    SPAWN_HEADWAY,
    SPAWN_SPEEDS,
    TURNS,
    IntersectionTask,
)

START_NUMBERS = 4  # random numbers that one agent's start needs


class AgentStarts(NamedTuple):
    """The random beginning of each agent's episode; `...` a batch."""

    movement: Any  # int32 [N, ...]
    departure: Any  # int32 [N, ...], the decision at which it departs, if the road is free
    speed: Any  # float [N, ...], m/s, if the car ahead allows it


def agent_starts(xp: Any, task: IntersectionTask, uniforms: Any) -> AgentStarts:
    """Agents' starts from uniform random numbers in [0, 1), float [4, N, ...].

    Arms and turns are uniform and independent; departures are uniform in the task's window, then moved later until
    two from the same arm are `SPAWN_HEADWAY` apart.
    """
    n = task.num_agents
    arm = (uniforms[0] * len(ARMS)).astype("int32")
    turn = (uniforms[1] * len(TURNS)).astype("int32")
    time = uniforms[2] * (task.departure_spread * n)
    index = xp.arange(n).reshape(n, *(1,) * (time.ndim - 1))
    earlier = (time[None] < time[:, None]) | ((time[None] == time[:, None]) & (index[None] < index[:, None]))
    before = earlier & (arm[None] == arm[:, None])  # [i, j, ...]: j leaves the same arm before i
    rank = before.sum(1)
    # a chain of cars on one arm: the k-th behind some car j leaves at least k headways after j was due
    pushed = time[None] + SPAWN_HEADWAY * (rank[:, None] - rank[None]).astype(time.dtype)
    time = xp.maximum(time, xp.where(before, pushed, 0.0).max(1))
    low, high = SPAWN_SPEEDS
    return AgentStarts(
        movement=arm * len(TURNS) + turn,
        departure=xp.floor(time / DECISION_SECONDS).astype("int32"),
        speed=low + (high - low) * uniforms[3],
    )


def departure_limit(xp: Any, gap: Any, leader_speed: Any) -> Any:
    """The fastest speed (m/s) at which a car may depart `gap` m behind another, so that it could still stop."""
    b = HUMAN_DECELERATION * HUMAN_REACTION
    room = xp.maximum(gap - HUMAN_MIN_GAP, 0.0)
    return -b + xp.sqrt(b * b + leader_speed * leader_speed + 2 * HUMAN_DECELERATION * room)
