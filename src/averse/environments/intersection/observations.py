"""What an agent sees, what a central critic sees, and which actions are available; for any batch of scenes at once.

Axes: cars first, a batch last (`...`), so that a compiler makes vector instructions of what is done for many scenes.
"""

from typing import Any

from averse.environments.intersection.along_cars import kept, one_of, ranks
from averse.environments.intersection.geometry import Geometry, Pose, of_movement, poses_at, zones_of
from averse.environments.intersection.task import (
    ACCELERATIONS,
    ARM_LENGTH,
    ARMS,
    MAX_SPEED,
    NO_OP,
    TURNS,
    IntersectionTask,
    Scene,
    Status,
)

OWN_SIZE = 12
NEIGHBOUR_SIZE = 11
CAR_SIZE = 15
GAP_SECONDS = 5.0  # arrival-time gaps are clipped to this
STATE_HUMANS = 6  # humans in the global state: those nearest to the junction's centre
_SLOWEST = 1.0  # m/s; arrival times of slower cars are computed with this speed


def observation_size(task: IntersectionTask) -> int:
    """O = 12 + 11 K for K neighbours."""
    return OWN_SIZE + NEIGHBOUR_SIZE * task.num_neighbours


def global_state_size(task: IntersectionTask) -> int:
    """G = 15 (N + M) + 1 for N agents and M humans (at most 6)."""
    return CAR_SIZE * (task.num_agents + min(STATE_HUMANS, task.num_humans)) + 1


def observe(xp: Any, task: IntersectionTask, road: Geometry, scene: Scene, pose: Pose, noise: Any = None) -> Any:
    """Observations of all agents, float32 [N, O, ...], each number about in [-1, 1].

    Own (12): not departed yet; arm (4) and turn (3), one-hot; distance to the junction / 150 m, negative behind its
    entry; distance to the arrival / 150 m; speed / limit; inside the junction.
    Each of the K neighbours (11): seen; forward and leftward distance / sensor range; cosine and sine of the relative
    heading; speed / limit; whether the two paths still conflict; own and its distance to the conflict zone / sensor
    range, clipped to [-1, 1]; how much later it reaches the zone / 5 s, clipped to [-1, 1]; driven by an agent.
    Others' movements are known, as by turn signals. Neighbours are sorted by how far the two cars are from having
    both reached their conflict zone, then those without conflict by distance; unseen ones are all zeros. An agent that
    has not departed sees only its first number; one whose episode is over only zeros.

    `pose`: of all cars, each part [C, ...]. `noise`: [3, N, C, ...], standard normal numbers for position and speed,
    uniform ones for dropout; None without.
    """
    n = task.num_agents
    driving = scene.status == Status.DRIVING
    waiting = scene.status == Status.WAITING
    neighbours = _neighbours(xp, task, road, scene, pose, driving, noise)
    own = _own(xp, road, scene.movement[:n], scene.position[:n], scene.speed[:n], driving, waiting)
    return xp.stack([part.astype("float32") for part in (*own, *neighbours)], 1)


def _clipped(xp: Any, value: Any) -> Any:
    return xp.minimum(xp.maximum(value, -1), 1)


def _one_hot(index: Any, size: int) -> list[Any]:
    return [index == i for i in range(size)]


def _own(
    xp: Any, road: Geometry, movement: Any, position: Any, speed: Any, driving: Any, waiting: Any
) -> tuple[Any, ...]:
    """The first 12 numbers, each [N, ...]."""
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
) -> list[Any]:
    """11 numbers of each of the K neighbours, each [N, ...]."""
    n, cars = task.num_agents, task.num_cars
    # "mine" has axes [N, 1], "theirs" [1, C], or [N, C] where each agent sees them with its own noise
    mine, theirs = scene.movement[:n, None], scene.movement[None]
    my_position, my_speed = scene.position[:n, None], scene.speed[:n, None]
    position, speed = scene.position[None], scene.speed[None]
    others = ~xp.eye(n, cars, dtype=bool)
    seen = driving[:, None] & scene.present[None] & others.reshape(n, cars, *(1,) * (scene.movement.ndim - 1))
    me = Pose(*(part[:n, None] for part in pose))
    if noise is None:
        them = Pose(*(part[None] for part in pose))
    else:
        position = position + task.observation_noise * noise[0]
        speed = xp.maximum(speed + 0.5 * task.observation_noise * noise[1], 0)
        seen = seen & (noise[2] >= task.dropout)
        them = poses_at(xp, road, xp.broadcast_to(theirs, position.shape), position)
    east, north = them.x - me.x, them.y - me.y
    distance = xp.sqrt(east * east + north * north)
    seen = seen & (distance <= task.sensor_range)

    zone = zones_of(xp, road, mine, theirs)
    to_mine, to_theirs = zone.start - my_position, zone.their_start - position
    conflict = zone.conflict & (my_position < zone.end) & (position < zone.their_end)
    later = xp.maximum(to_theirs, 0) / xp.maximum(speed, _SLOWEST)
    later = later - xp.maximum(to_mine, 0) / xp.maximum(my_speed, _SLOWEST)

    reach = xp.maximum(to_mine, to_theirs)
    urgency = xp.where(conflict, xp.where(reach > 0, reach, distance), 1e3 + distance)
    rank = ranks(xp, xp.where(seen, urgency, 1e6))

    scale = 1 / task.sensor_range
    by_agent = xp.broadcast_to((xp.arange(cars) < n).reshape(1, cars, *(1,) * (scene.movement.ndim - 1)), seen.shape)
    features = [
        seen,
        (east * me.cos + north * me.sin) * scale,
        (north * me.cos - east * me.sin) * scale,
        me.cos * them.cos + me.sin * them.sin,
        me.cos * them.sin - me.sin * them.cos,
        xp.broadcast_to(speed / MAX_SPEED, seen.shape),
        conflict,
        xp.where(conflict, _clipped(xp, to_mine * scale), 0),
        xp.where(conflict, _clipped(xp, to_theirs * scale), 0),
        xp.where(conflict, _clipped(xp, later * (1 / GAP_SECONDS)), 0),
        by_agent,
    ]
    table = xp.stack([feature.astype("float32") for feature in features])  # [11, N, C, ...]
    places = xp.arange(task.num_neighbours).reshape(-1, *(1,) * rank.ndim)
    picked = kept(
        xp, one_of(xp, kept(xp, (rank[None] == places) & seen[None])[:, None], table[None], 3)
    )  # [K, 11, N, ...]
    return [picked[k, f] for k in range(task.num_neighbours) for f in range(len(features))]


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


def available_actions(xp: Any, scene: Scene) -> Any:
    """All five actions for agents that drive, only the no-op for the others, bool [N, 5, ...]."""
    driving = scene.status == Status.DRIVING
    return xp.stack([driving | (action == NO_OP) for action in range(len(ACCELERATIONS))], 1)
