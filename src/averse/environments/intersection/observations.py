"""What an agent sees, what a central critic sees, and which actions are available; for any batch of scenes at once."""

from typing import Any

from averse.environments.intersection.geometry import Geometry, Pose, poses_at
from averse.environments.intersection.task import (
    ACCELERATIONS,
    ARM_LENGTH,
    ARMS,
    MAX_SPEED,
    NO_OP,
    NUM_MOVEMENTS,
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
    """Observations of all agents, float32 [..., N, O], each number about in [-1, 1].

    Own (12): not departed yet; arm (4) and turn (3), one-hot; distance to the junction / 150 m, negative behind its
    entry; distance to the arrival / 150 m; speed / limit; inside the junction.
    Each of the K neighbours (11): seen; forward and leftward distance / sensor range; cosine and sine of the relative
    heading; speed / limit; whether the two paths still conflict; own and its distance to the conflict zone / sensor
    range, clipped to [-1, 1]; how much later it reaches the zone / 5 s, clipped to [-1, 1]; driven by an agent.
    Others' movements are known, as by turn signals. Neighbours are sorted by how far the two cars are from having
    both reached their conflict zone, then those without conflict by distance; unseen ones are all zeros. An agent that
    has not departed sees only its first number; one whose episode is over only zeros.

    `pose`: of all cars, each part [..., C]. `noise`: [..., N, C, 3], standard normal numbers for position and speed,
    uniform ones for dropout; None without.
    """
    n = task.num_agents
    driving = scene.status == Status.DRIVING
    waiting = scene.status == Status.WAITING
    neighbours = _neighbours(xp, task, road, scene, pose, driving, noise)
    own = _own(xp, road, scene.movement[..., :n], scene.position[..., :n], scene.speed[..., :n], driving, waiting)
    return xp.concatenate([own, neighbours.reshape(*neighbours.shape[:-2], -1)], -1)


def _clipped(xp: Any, value: Any) -> Any:
    return xp.minimum(xp.maximum(value, -1), 1)


def _one_hot(xp: Any, index: Any, size: int) -> Any:
    return index[..., None] == xp.arange(size)


def _own(xp: Any, road: Geometry, movement: Any, position: Any, speed: Any, driving: Any, waiting: Any) -> Any:
    to_junction = road.entry[movement] - position
    inside = (to_junction < 0) & (position < road.exit[movement])
    numbers = [
        to_junction / ARM_LENGTH,
        (road.length[movement] - position) / ARM_LENGTH,
        speed / MAX_SPEED,
        inside,
    ]
    arm, turn = _one_hot(xp, movement // len(TURNS), len(ARMS)), _one_hot(xp, movement % len(TURNS), len(TURNS))
    seen = xp.concatenate([arm, turn, xp.stack(numbers, -1)], -1) * driving[..., None]
    return xp.concatenate([waiting[..., None], seen], -1).astype("float32")


def _neighbours(
    xp: Any, task: IntersectionTask, road: Geometry, scene: Scene, pose: Pose, driving: Any, noise: Any
) -> Any:
    n, cars, k = task.num_agents, task.num_cars, min(task.num_neighbours, task.num_cars)
    # "mine" has axes [..., N, 1], "theirs" [..., 1, C], or [..., N, C] where each agent sees them with its own noise
    mine, theirs = scene.movement[..., :n, None], scene.movement[..., None, :]
    my_position, my_speed = scene.position[..., :n, None], scene.speed[..., :n, None]
    position, speed = scene.position[..., None, :], scene.speed[..., None, :]
    seen = driving[..., None] & scene.present[..., None, :] & ~xp.eye(n, cars, dtype=bool)
    me = Pose(*(part[..., :n, None] for part in pose))
    if noise is None:
        them = Pose(*(part[..., None, :] for part in pose))
    else:
        position = position + task.observation_noise * noise[..., 0]
        speed = xp.maximum(speed + 0.5 * task.observation_noise * noise[..., 1], 0)
        seen = seen & (noise[..., 2] >= task.dropout)
        them = poses_at(xp, road, xp.broadcast_to(theirs, position.shape), position)
    east, north = them.x - me.x, them.y - me.y
    distance = xp.sqrt(east * east + north * north)
    seen = seen & (distance <= task.sensor_range)

    zone = xp.take(road.zones, mine * NUM_MOVEMENTS + theirs, axis=0, mode="clip")
    to_mine, to_theirs = zone[..., 1] - my_position, zone[..., 3] - position
    conflict = (zone[..., 0] > 0) & (my_position < zone[..., 2]) & (position < zone[..., 4])
    later = xp.maximum(to_theirs, 0) / xp.maximum(speed, _SLOWEST)
    later = later - xp.maximum(to_mine, 0) / xp.maximum(my_speed, _SLOWEST)

    reach = xp.maximum(to_mine, to_theirs)
    urgency = xp.where(conflict, xp.where(reach > 0, reach, distance), 1e3 + distance)
    order = xp.argsort(xp.where(seen, urgency, 1e6), axis=-1, stable=True)[..., :k]

    scale = 1 / task.sensor_range
    columns = [
        xp.ones_like(distance),
        (east * me.cos + north * me.sin) * scale,
        (north * me.cos - east * me.sin) * scale,
        me.cos * them.cos + me.sin * them.sin,
        me.cos * them.sin - me.sin * them.cos,
        xp.broadcast_to(speed / MAX_SPEED, distance.shape),
        conflict,
        _clipped(xp, to_mine * scale) * conflict,
        _clipped(xp, to_theirs * scale) * conflict,
        _clipped(xp, later * (1 / GAP_SECONDS)) * conflict,
        xp.broadcast_to(xp.arange(cars) < n, distance.shape),
    ]
    features = xp.stack(columns, -1) * seen[..., None]
    chosen = xp.take_along_axis(features, order[..., None], -2)
    if k < task.num_neighbours:
        missing = xp.zeros((*chosen.shape[:-2], task.num_neighbours - k, NEIGHBOUR_SIZE), "float32")
        chosen = xp.concatenate([chosen, missing], -2)
    return chosen


def global_state(xp: Any, task: IntersectionTask, road: Geometry, scene: Scene, pose: Pose) -> Any:
    """What a central critic sees, float32 [..., G]: elapsed time / horizon, then 15 numbers for each of the agents and
    for the humans nearest to the junction's centre.

    On the road; not departed yet (agents only); arm (4) and turn (3), one-hot; distance behind the junction's entry
    / 150 m; x and y / 150 m; cosine and sine of the heading; speed / limit. Cars not on the road are zeros but for the
    second number.
    """
    n, cars = task.num_agents, task.num_cars
    numbers = [
        (scene.position - road.entry[scene.movement]) / ARM_LENGTH,
        pose.x / ARM_LENGTH,
        pose.y / ARM_LENGTH,
        pose.cos,
        pose.sin,
        scene.speed / MAX_SPEED,
    ]
    arm = _one_hot(xp, scene.movement // len(TURNS), len(ARMS))
    turn = _one_hot(xp, scene.movement % len(TURNS), len(TURNS))
    shown = xp.concatenate([arm, turn, xp.stack(numbers, -1)], -1) * scene.present[..., None]
    waiting = (scene.status == Status.WAITING)[..., None]
    nobody = xp.zeros((*waiting.shape[:-2], cars - n, 1), bool)
    rows = xp.concatenate([scene.present[..., None], xp.concatenate([waiting, nobody], -2), shown], -1)
    agents, humans = rows[..., :n, :], rows[..., n:, :]
    if cars - n > STATE_HUMANS:
        away = xp.abs(pose.x[..., n:]) + xp.abs(pose.y[..., n:])
        order = xp.argsort(xp.where(scene.present[..., n:], away, 1e6), axis=-1, stable=True)[..., :STATE_HUMANS]
        humans = xp.take_along_axis(humans, order[..., None], -2)
    flat = xp.concatenate([agents, humans], -2).astype("float32")
    flat = flat.reshape(*flat.shape[:-2], -1)
    return xp.concatenate([(scene.elapsed / task.horizon).astype("float32")[..., None], flat], -1)


def available_actions(xp: Any, scene: Scene) -> Any:
    """All five actions for agents that drive, only the no-op for the others, bool [..., N, 5]."""
    driving = scene.status == Status.DRIVING
    return driving[..., None] | (xp.arange(len(ACCELERATIONS)) == NO_OP)
