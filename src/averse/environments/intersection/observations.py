"""What an agent sees, what a central critic sees, and which actions are available; for any batch of scenes at once.

Axes: cars first, a batch last (`...`), so that a compiler makes vector instructions of what is done for many scenes.
"""

from typing import Any, NamedTuple

from averse.environments.intersection.along_cars import kept, one_of, ranks
from averse.environments.intersection.crashes import distance_to_contact
from averse.environments.intersection.gaps import gaps_if_going
from averse.environments.intersection.geometry import Geometry, Pose, of_movement, poses_at
from averse.environments.intersection.pairs import Pairs, Side, others, pairs_of, seconds_at_present, sides_of
from averse.environments.intersection.task import (
    ARM_LENGTH,
    ARMS,
    MAX_SPEED,
    NO_OP,
    TURNS,
    IntersectionTask,
    Scene,
    Status,
)

OWN_SIZE = 17
NEIGHBOUR_SIZE = 19
CAR_SIZE = 15
GAP_SECONDS = 5.0  # arrival-time gaps are clipped to this
CLOSE_GAP_SECONDS = 1.0  # the range in which a gap decides; of 5 s it is a fifth, which networks are slow to tell apart
LINE_SCALE = 30.0  # m; a car at the limit needs 21 m to stop
STATE_HUMANS = 6  # humans in the global state: those nearest to the junction's centre


def observation_size(task: IntersectionTask) -> int:
    """O = 17 + 19 K for K neighbours."""
    return OWN_SIZE + NEIGHBOUR_SIZE * task.num_neighbours


def global_state_size(task: IntersectionTask) -> int:
    """G = 15 (N + M) + 1 for N agents and M humans (at most 6)."""
    return CAR_SIZE * (task.num_agents + min(STATE_HUMANS, task.num_humans)) + 1


def observe(xp: Any, task: IntersectionTask, road: Geometry, scene: Scene, pose: Pose, noise: Any = None) -> Any:
    """Observations of all agents, float32 [N, O, ...], each number about in [-1, 1].

    Own (17): not departed yet; arm (4) and turn (3), one-hot; distance to the junction / 150 m, negative behind its
    entry; distance to the arrival / 150 m; speed / limit; inside the junction; the gap to agents and the gap to humans
    if it went now / 5 s, whether somebody else is in a zone ahead, or will be in it first (`gaps.Gaps`), and the two
    gaps again / 1 s.
    Each of the K neighbours (19): seen; forward and leftward distance / sensor range; cosine and sine of the relative
    heading; speed / limit; whether the two paths still conflict; own and its distance to the conflict zone / sensor
    range; how much later it reaches the zone / 5 s; driven by an agent; own and its distance to the zone's end / sensor
    range; its distance to its line / 30 m; from its leaving the zone to my coming, and from my leaving to its coming
    / 5 s; whether it can no longer stop before its line, or is behind it; whether it is nearer to its line than I to
    mine; and, where I would touch it if it stood still, 1 - the distance until then / 30 m, not below 0. Distances and
    times are clipped to [-1, 1] and 0 without a conflict; times are those at present speeds, of 1 m/s at least.

    Others' movements are known, as by turn signals. Neighbours are sorted by how far the two cars are from having
    both reached their conflict zone, then those without conflict by distance; unseen ones are all zeros. An agent that
    has not departed sees only its first number; one whose episode is over only zeros.

    `pose`: of all cars, each part [C, ...]. `noise`: [3, N, C, ...], standard normal numbers for position and speed,
    uniform ones for dropout; None without.
    """
    n = task.num_agents
    driving = scene.status == Status.DRIVING
    waiting = scene.status == Status.WAITING
    gaps, neighbours = _neighbours(xp, task, road, scene, pose, driving, noise)
    gaps = [xp.where(driving, gap, 0) for gap in gaps]
    own = _own(xp, road, scene.movement[:n], scene.position[:n], scene.speed[:n], driving, waiting)
    # put together from 17 + 19 arrays: from 17 + 19 K, each with one neighbour, it took a compiler far longer
    return xp.concatenate([xp.stack([part.astype("float32") for part in (*own, *gaps)], 1), neighbours], 1)


class OwnNumbers(NamedTuple):
    """What an agent sees of itself, in the units of the task, each [...]."""

    to_line: Any  # m, negative behind the line
    speed: Any  # m/s
    gap_to_agents: Any  # s, in [-5, 5]; see `gaps.Gaps`
    gap_to_humans: Any  # s, in [-5, 5]
    taken: Any  # bool


def own_numbers(observations: Any) -> OwnNumbers:
    """Some of the own numbers in observations [..., O]; zeros of agents that do not drive."""
    to_line, speed, to_agents, to_humans, taken = (observations[..., i] for i in (8, 10, 12, 13, 14))
    return OwnNumbers(
        to_line * ARM_LENGTH, speed * MAX_SPEED, to_agents * GAP_SECONDS, to_humans * GAP_SECONDS, taken > 0.5
    )


def _clipped(xp: Any, value: Any) -> Any:
    return xp.minimum(xp.maximum(value, -1), 1)


def _one_hot(index: Any, size: int) -> list[Any]:
    return [index == i for i in range(size)]


def _own(
    xp: Any, road: Geometry, movement: Any, position: Any, speed: Any, driving: Any, waiting: Any
) -> tuple[Any, ...]:
    """The first 12 numbers, each [N, ...]; those of the gaps follow."""
    entry, exit_, length = of_movement(xp, movement, road.entry, road.exit, road.length)
    to_junction = entry - position
    seen = [
        *_one_hot(movement // len(TURNS), len(ARMS)),
        *_one_hot(movement % len(TURNS), len(TURNS)),
        to_junction / ARM_LENGTH,
        (length - position) / ARM_LENGTH,
        speed / MAX_SPEED,
        (to_junction < 0) & (position < exit_),
    ]
    return (waiting, *(xp.where(driving, number.astype("float32"), 0) for number in seen))


def _neighbours(
    xp: Any, task: IntersectionTask, road: Geometry, scene: Scene, pose: Pose, driving: Any, noise: Any
) -> tuple[list[Any], Any]:
    """5 numbers of the gaps, each [N, ...], and 19 of each of the K neighbours, float32 [N, 19 K, ...]."""
    n = task.num_agents
    me, them = sides_of(scene, n)
    seen = driving[:, None] & others(xp, scene.present, n)
    my_pose = Pose(*(part[:n, None] for part in pose))
    if noise is None:
        their_pose = Pose(*(part[None] for part in pose))
    else:  # each agent sees them with noise of its own, [N, C]
        position = them.position + task.observation_noise * noise[0]
        speed = xp.maximum(them.speed + 0.5 * task.observation_noise * noise[1], 0)
        them = Side(xp.broadcast_to(them.movement, position.shape), position, speed)
        seen = seen & (noise[2] >= task.dropout)
        their_pose = poses_at(xp, road, them.movement, them.position)
    east, north = their_pose.x - my_pose.x, their_pose.y - my_pose.y
    distance = xp.sqrt(east * east + north * north)
    seen = seen & (distance <= task.sensor_range)
    nearest = _nearest(xp, task, pairs_of(xp, road, me, them), distance, seen)  # [K, N, C, ...]

    by_agent = (xp.arange(task.num_cars) < n).reshape(1, -1, *(1,) * (scene.movement.ndim - 1))
    known = [seen, them.position, them.speed, east, north, their_pose.cos, their_pose.sin, by_agent]
    table = xp.stack([xp.broadcast_to(number, seen.shape).astype("float32") for number in known])
    picked = kept(xp, one_of(xp, nearest[:, None], table[None], 3))  # [K, 8, N, ...]
    movement = one_of(xp, nearest, xp.broadcast_to(them.movement, seen.shape)[None], 2)  # [K, N, ...]
    picked = [picked[:, i].swapaxes(0, 1) for i in range(len(known))]  # each [N, K, ...]
    return _features(xp, task, road, me, my_pose, movement.swapaxes(0, 1), picked)


def _nearest(xp: Any, task: IntersectionTask, pairs: Pairs, distance: Any, seen: Any) -> Any:
    """Which car is at which of the K places of each agent's neighbours, bool [K, N, C, ...]."""
    reach = xp.maximum(pairs.to_zone, pairs.their_to_zone)
    urgency = xp.where(pairs.conflict, xp.where(reach > 0, reach, distance), 1e3 + distance)
    rank = ranks(xp, xp.where(seen, urgency, 1e6))
    places = xp.arange(task.num_neighbours).reshape(-1, *(1,) * rank.ndim)
    return kept(xp, (rank[None] == places) & seen[None])


def _features(
    xp: Any, task: IntersectionTask, road: Geometry, me: Side, my_pose: Pose, movement: Any, picked: list[Any]
) -> tuple[list[Any], Any]:
    """The gaps to the neighbours that were picked, each [N, ...], and their 19 numbers, neighbour by neighbour, float32
    [N, 19 K, ...]."""
    seen, position, speed, east, north, cos, sin, by_agent = picked
    seen = seen > 0
    them = Side(movement, position, speed)
    pairs = pairs_of(xp, road, me, them)
    conflict = pairs.conflict & seen
    i_come, i_leave, they_come, they_leave = (
        seconds_at_present(xp, distance, side.speed)
        for distance, side in (
            (pairs.to_zone, me),
            (pairs.to_zone_end, me),
            (pairs.their_to_zone, them),
            (pairs.their_to_zone_end, them),
        )
    )
    contact = distance_to_contact(xp, road, me.movement, me.position, movement, position)
    scale = 1 / task.sensor_range

    def in_conflict(value: Any) -> Any:
        return xp.where(conflict, _clipped(xp, value), 0)

    def where_seen(value: Any) -> Any:
        return xp.where(seen, value, 0)

    features = [
        seen,
        (east * my_pose.cos + north * my_pose.sin) * scale,
        (north * my_pose.cos - east * my_pose.sin) * scale,
        my_pose.cos * cos + my_pose.sin * sin,
        my_pose.cos * sin - my_pose.sin * cos,
        speed / MAX_SPEED,
        conflict,
        in_conflict(pairs.to_zone * scale),
        in_conflict(pairs.their_to_zone * scale),
        in_conflict((they_come - i_come) * (1 / GAP_SECONDS)),
        by_agent,
        in_conflict(pairs.to_zone_end * scale),
        in_conflict(pairs.their_to_zone_end * scale),
        in_conflict(pairs.their_to_line * (1 / LINE_SCALE)),
        in_conflict((i_come - they_leave) * (1 / GAP_SECONDS)),
        in_conflict((they_come - i_leave) * (1 / GAP_SECONDS)),
        conflict & pairs.they_committed,
        conflict & (pairs.their_to_line < pairs.to_line),
        where_seen(xp.maximum(1 - contact * (1 / LINE_SCALE), 0)),
    ]
    numbers = xp.stack([feature.astype("float32") for feature in features], 2)  # [N, K, 19, ...]
    gaps = gaps_if_going(xp, pairs, me, them, by_agent > 0, seen)
    wide, close = (
        [_clipped(xp, gap * (1 / unit)) for gap in (gaps.to_agents, gaps.to_humans)]
        for unit in (GAP_SECONDS, CLOSE_GAP_SECONDS)
    )
    return [*wide, gaps.taken.astype("float32"), *close], numbers.reshape(numbers.shape[0], -1, *numbers.shape[3:])


def global_state(xp: Any, task: IntersectionTask, road: Geometry, scene: Scene, pose: Pose) -> Any:
    """What a central critic sees, float32 [G, ...]: elapsed time / horizon, then 15 numbers for each of the agents and
    for the humans nearest to the junction's centre.

    On the road; not departed yet (agents only); arm (4) and turn (3), one-hot; distance behind the junction's entry
    / 150 m; x and y / 150 m; cosine and sine of the heading; speed / limit. Cars not on the road are zeros but for the
    second number.
    """
    n, cars = task.num_agents, task.num_cars
    (entry,) = of_movement(xp, scene.movement, road.entry)
    waiting = scene.status == Status.WAITING
    nobody = xp.zeros((cars - n, *waiting.shape[1:]), bool)
    shown = [
        *_one_hot(scene.movement // len(TURNS), len(ARMS)),
        *_one_hot(scene.movement % len(TURNS), len(TURNS)),
        (scene.position - entry) / ARM_LENGTH,
        pose.x / ARM_LENGTH,
        pose.y / ARM_LENGTH,
        pose.cos,
        pose.sin,
        scene.speed / MAX_SPEED,
    ]
    columns = [
        scene.present,
        xp.concatenate([waiting, nobody]),
        *(xp.where(scene.present, number.astype("float32"), 0) for number in shown),
    ]
    rows = xp.stack([column.astype("float32") for column in columns], 1)  # [C, 15, ...]
    agents, humans = rows[:n], rows[n:]
    if cars - n > STATE_HUMANS:
        away = xp.abs(pose.x[n:]) + xp.abs(pose.y[n:])
        rank = ranks(xp, xp.where(scene.present[n:], away, 1e6)[None])[0]
        places = xp.arange(STATE_HUMANS).reshape(-1, *(1,) * rank.ndim)
        humans = one_of(xp, (rank[None] == places)[:, :, None], humans[None], 1)
    elapsed = (scene.elapsed / task.horizon).astype("float32")[None]
    return xp.concatenate([elapsed, agents.reshape(-1, *agents.shape[2:]), humans.reshape(-1, *agents.shape[2:])])


def available_actions(xp: Any, task: IntersectionTask, scene: Scene) -> Any:
    """All actions for agents that drive, only the no-op (`NO_OP`) for the others, bool [N, n, ...]."""
    driving = scene.status == Status.DRIVING
    return xp.stack([driving | (action == NO_OP) for action in range(task.num_actions)], 1)
