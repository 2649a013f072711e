"""What agents are paid, what unsafe behaviour costs, and what is measured of an episode; for any batch at once.

Axes: cars first, a batch last (`...`), as in `observations`.
"""

from functools import reduce
from typing import Any, NamedTuple

from averse.environments.intersection.along_cars import kept, least
from averse.environments.intersection.geometry import (
    Geometry,
    Pose,
    gap_at,
    of_movement,
    points_and_directions,
    pose_between,
    squared_distance,
)
from averse.environments.intersection.task import (
    CAR_LENGTH,
    DECISION_SECONDS,
    HARD_BRAKING,
    MAX_SPEED,
    NEAR_COST,
    NEAR_GAP,
    SPAWN_POSITION,
    STEPS_PER_DECISION,
    IntersectionTask,
    Scene,
    Status,
)

GAP_LIMIT = 10.0  # m; gaps are not measured beyond


class Crashes(NamedTuple):
    """The agents' crashes of one decision."""

    impact_speed: Any  # float32 [...], m/s, the largest relative speed of one, 0 without
    partners: Any  # float32 [3, ...], how many agents crashed with an agent, a lawful human, a reckless human


class Tally(NamedTuple):
    """What an episode's metrics are made of, so far."""

    smallest_gap: Any  # float32 [...], m
    hard_braking: Any  # float32 [...], s, summed over agents
    impact_speed: Any  # float32 [...], m/s, 0 without a crash
    partners: Any  # float32 [3, ...], see `Crashes`, summed
    driving_time: Any  # float32 [N, ...], s from departure


def new_tally(xp: Any, task: IntersectionTask, batch: tuple[int, ...]) -> Tally:
    """The tally at an episode's start, with trailing axes `batch`."""
    zeros = xp.zeros(batch, "float32")
    return Tally(
        smallest_gap=zeros + GAP_LIMIT,
        hard_braking=zeros,
        impact_speed=zeros,
        partners=xp.zeros((3, *batch), "float32"),
        driving_time=xp.zeros((task.num_agents, *batch), "float32"),
    )


def crashed_now(before: Scene, after: Scene) -> Any:
    """Which agents crashed in this decision, bool [N, ...]."""
    return (before.status != Status.CRASHED) & (after.status == Status.CRASHED)


def arrived_now(before: Scene, after: Scene) -> Any:
    """Which agents arrived in this decision, bool [N, ...]."""
    return (before.status != Status.ARRIVED) & (after.status == Status.ARRIVED)


def rewards(xp: Any, task: IntersectionTask, road: Geometry, before: Scene, after: Scene) -> Any:
    """Rewards of one decision, float32 [N, ...].

    For each agent that was driving: `progress_reward` times the fraction of its way driven, minus `time_cost` times
    0.5 s, plus `arrival_bonus` if it arrived, minus `crash_penalty` if it crashed. A crashed car's last decision counts
    as no progress. With `team`, everybody gets the mean over all agents.
    """
    n = task.num_agents
    arrived, crashed = arrived_now(before, after), crashed_now(before, after)
    (end,) = of_movement(xp, before.movement[:n], road.length)
    start = before.position[:n]
    driven = xp.where(arrived, end, xp.where(crashed, start, after.position[:n])) - start
    paid = task.progress_reward * driven / (end - SPAWN_POSITION) - task.time_cost * DECISION_SECONDS
    paid = xp.where(before.status == Status.DRIVING, paid, 0)
    paid = paid + xp.where(arrived, task.arrival_bonus, 0.0) - xp.where(crashed, task.crash_penalty, 0.0)
    paid = paid.astype("float32")
    return xp.broadcast_to(paid.mean(0), paid.shape) if task.team else paid


def terminated(xp: Any, task: IntersectionTask, after: Scene) -> Any:
    """Which agents' episodes are over, bool [N, ...]: their own, or with `team` everybody's when the last one's is."""
    over = after.status >= Status.ARRIVED
    return xp.broadcast_to(over.all(0), over.shape) if task.team else over


def smallest_gaps(xp: Any, task: IntersectionTask, road: Geometry, before: Scene, after: Scene) -> Any:
    """Each agent's smallest gap to any other car during one decision, float32 [N, ...], m, at most 10; 0 at a crash.

    Only cars that stay on the road throughout the decision count.
    """
    n, cars = task.num_agents, task.num_cars
    pair = meeting(xp, task, before, after)
    driven = tracks(xp, road, Track(after.movement, before.position, after.position, before.speed, after.speed))
    me = Pose(*(part[:, :n] for part in driven))
    others = (Pose(*(part[:, c, None] for part in driven)) for c in range(cars))
    apart = (xp.where(pair[:, c], squared_distance(xp, me, other), xp.inf) for c, other in enumerate(others))
    nearest = least(xp, kept(xp, reduce(xp.minimum, apart)))  # of [5, N, ...]
    gap = xp.minimum(gap_at(xp, nearest), GAP_LIMIT)
    return xp.where(crashed_now(before, after), 0.0, gap).astype("float32")


def meeting(xp: Any, task: IntersectionTask, before: Scene, after: Scene) -> Any:
    """Which other cars count for each agent's gap in one decision, bool [N, C, ...]."""
    n, cars = task.num_agents, task.num_cars
    # a human's place may have passed to a newcomer, who starts further back
    staying = before.present & after.present & (after.position >= before.position)
    others = ~xp.eye(n, cars, dtype=bool)
    return staying[:n, None] & staying[None] & others.reshape(n, cars, *(1,) * (staying.ndim - 1))


class Track(NamedTuple):
    """How cars drove during one decision; any shape."""

    movement: Any
    start: Any  # m
    end: Any  # m
    start_speed: Any  # m/s
    end_speed: Any  # m/s


def tracks(xp: Any, road: Geometry, track: Track) -> Pose:
    """Where cars were at the ends of the five simulation steps of a decision, each part [5, ...].

    Their bumpers are placed by the cubics that fit their points and velocities at both ends of the decision: exact on a
    straight road with a constant acceleration, and to a few centimetres in a turn.
    """
    u = xp.arange(1, STEPS_PER_DECISION + 1, dtype="float32") / STEPS_PER_DECISION
    u = u.reshape(-1, *(1,) * track.start.ndim)
    blend = u * u * (3 - 2 * u)
    rise, fall = u * (1 - u) * (1 - u) * DECISION_SECONDS, u * u * (1 - u) * DECISION_SECONDS

    def bumpers(behind: float) -> tuple[Any, Any]:
        x, y, dx, dy = points_and_directions(xp, road, track.movement, track.start - behind)
        end_x, end_y, end_dx, end_dy = points_and_directions(xp, road, track.movement, track.end - behind)
        return tuple(
            a[None]
            + (b - a)[None] * blend
            + (da * track.start_speed)[None] * rise
            - (db * track.end_speed)[None] * fall
            for a, b, da, db in ((x, end_x, dx, end_dx), (y, end_y, dy, end_dy))
        )

    return pose_between(xp, *bumpers(0.0), *bumpers(CAR_LENGTH))


def costs(xp: Any, task: IntersectionTask, before: Scene, after: Scene, gap: Any) -> Any:
    """How unsafe one decision was for each agent, float32 [N, ...].

    1 at its crash; otherwise 0.5 * (1 - gap / 2 m) * speed / limit while its smallest gap is below 2 m, so in [0, 0.5].
    """
    near = NEAR_COST * xp.clip(1 - gap / NEAR_GAP, 0, 1) * (after.speed[: task.num_agents] / MAX_SPEED)
    near = xp.where(after.status == Status.DRIVING, near, 0)
    return xp.where(crashed_now(before, after), 1.0, near).astype("float32")


def update_tally(
    xp: Any, task: IntersectionTask, tally: Tally, before: Scene, after: Scene, gap: Any, crashes: Crashes
) -> Tally:
    """The tally after one decision; `gap` from `smallest_gaps`."""
    n = task.num_agents
    drove = before.status == Status.DRIVING
    drop = (before.speed[:n] - after.speed[:n]) / DECISION_SECONDS
    hard = drove & (after.status == Status.DRIVING) & (drop > HARD_BRAKING)
    return Tally(
        smallest_gap=xp.minimum(tally.smallest_gap, gap.min(0)),
        hard_braking=tally.hard_braking + DECISION_SECONDS * hard.sum(0).astype("float32"),
        impact_speed=xp.maximum(tally.impact_speed, crashes.impact_speed),
        partners=tally.partners + crashes.partners,
        driving_time=tally.driving_time + DECISION_SECONDS * drove.astype("float32"),
    )


def metrics(xp: Any, task: IntersectionTask, tally: Tally, after: Scene) -> dict[str, Any]:
    """The episode's figures so far, each float32 [...]; names and units in `task.METRICS`.

    An agent that hits cars of several kinds in the simulation step of its crash counts as a crash with each.
    """
    with_agents, with_lawful, with_reckless = tally.partners
    crashes = (after.status == Status.CRASHED).sum(0).astype("float32")
    arrived = after.status == Status.ARRIVED
    arrivals = arrived.sum(0).astype("float32")
    total_time = xp.where(arrived, tally.driving_time, 0).sum(0)
    return {
        "collision": (crashes > 0).astype("float32"),
        "collisions": crashes,
        "crashes_with_agents": with_agents,
        "crashes_with_lawful": with_lawful,
        "crashes_with_reckless": with_reckless,
        "arrival": arrivals / task.num_agents,
        "crossing_time": xp.where(arrivals > 0, total_time / xp.maximum(arrivals, 1), xp.nan).astype("float32"),
        "near_miss": tally.smallest_gap,
        "impact_speed": xp.where(crashes > 0, tally.impact_speed, xp.nan).astype("float32"),
        "hard_braking": tally.hard_braking,
    }


def return_bounds(task: IntersectionTask, road: Geometry, gamma: float) -> tuple[float, float]:
    """Lowest and highest discounted return of an agent from any state.

    Lowest: it makes no progress, and crashes at once, or waits for ever (episodes are only cut at the horizon, where
    learners bootstrap); at gamma 1 it waits for a whole episode and then crashes. Highest: it drives at the limit all
    the way, or has but the bonus before it, whichever is more.
    """
    time = task.time_cost * DECISION_SECONDS
    if gamma == 1.0:
        low = -(task.horizon * time + task.crash_penalty)
    else:
        # Waiting a while before the crash lies in between.
        low = min(0.0, -(time + task.crash_penalty), -time / (1.0 - gamma))
    way = float(road.length.max()) - SPAWN_POSITION
    step = MAX_SPEED * DECISION_SECONDS
    decisions = 0
    high, driven, gained = 0.0, 0.0, 0.0
    while driven < way:  # the way back from the arrival, one decision at full speed at a time
        decisions += 1
        part = min(step, way - driven)
        driven += part
        gained = task.progress_reward * part / way - time + gamma * gained
        # the arrival itself falls into the last decision
        high = max(high, gained + gamma ** (decisions - 1) * task.arrival_bonus)
    return low, high
