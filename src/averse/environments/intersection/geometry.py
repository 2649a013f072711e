"""The road as arrays: the path of each movement, poses along it, and where two paths get in each other's way."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from averse.environments.intersection.task import (
    ARMS,
    CAR_LENGTH,
    CAR_WIDTH,
    EXIT_DISTANCE,
    NUM_MOVEMENTS,
    TURNS,
)

NETWORK_FILE = Path(__file__).parent / "data" / "intersection.net.xml"
LANE_WIDTH = 3.2  # m, SUMO's default

_CELL = 0.25  # m; shorter than any segment of a path, so that a cell meets at most two segments
_ZONE_STEP = 0.25  # m; resolution of the conflict zones


class Geometry(NamedTuple):
    """M = 12 movements. Positions are metres along a movement's path, of the front bumper, 0 at the arm's far end.

    A *conflict zone* of movement m with movement k is the interval of positions on m at which a car can touch some car
    of movement k. For two movements from the same arm it begins at 0; for two that leave by the same arm it lasts to
    the end.
    """

    entry: Any  # float32 [M], where the junction begins
    exit: Any  # float32 [M], where it ends
    length: Any  # float32 [M], where a car has arrived
    segments: Any  # float32 [M * V, 6]: start, x, y, dx, dy, end of each straight segment of the paths
    segment_of_cell: Any  # int32 [M * cells]: the row of `segments` in which each cell of `_CELL` metres begins
    zones: Any  # float32 [M * M, 5]: conflict (0 or 1), start and end of the zone on m, start and end on k; row m, k


def exit_arm(movement: int) -> int:
    """The index of the arm by which a movement leaves."""
    return (movement // len(TURNS) + 3 - movement % len(TURNS)) % len(ARMS)


@cache
def lanes() -> dict[str, tuple[float, np.ndarray]]:
    """Every lane of the network: id -> (length in m, polyline float64 [P, 2] in m)."""
    found = {}
    for lane in ElementTree.parse(NETWORK_FILE).iter("lane"):
        shape = [[float(number) for number in point.split(",")] for point in lane.attrib["shape"].split()]
        found[lane.attrib["id"]] = (float(lane.attrib["length"]), np.array(shape))
    return found


def lanes_of(movement: int) -> tuple[str, str, str]:
    """The ids of the lanes that a movement drives: towards the junction, through it, away from it."""
    arm = ARMS[movement // len(TURNS)]
    return f"{arm}_in_0", f":center_{movement}_0", f"{ARMS[exit_arm(movement)]}_out_0"


def _path(movement: int) -> tuple[np.ndarray, np.ndarray]:
    """The vertices of a movement's path: positions along it, float64 [V], and points, float64 [V, 2]."""
    positions, points = [np.zeros(1)], [lanes()[lanes_of(movement)[0]][1][:1]]
    for lane in lanes_of(movement):
        length, shape = lanes()[lane]
        steps = np.linalg.norm(np.diff(shape, axis=0), axis=1)
        # a lane's stated length and its shape's differ in the last digit; SUMO stretches one to the other
        positions.append(positions[-1][-1] + np.cumsum(steps) * (length / steps.sum()))
        points.append(shape[1:])
    return np.concatenate(positions), np.concatenate(points)


@cache
def geometry(dtype: str = "float32") -> Geometry:
    """The geometry of the shipped network, as numpy arrays with numbers of the given type."""
    paths = [_path(movement) for movement in range(NUM_MOVEMENTS)]
    entry = np.array([lanes()[lanes_of(m)[0]][0] for m in range(NUM_MOVEMENTS)])
    exit_ = entry + [lanes()[lanes_of(m)[1]][0] for m in range(NUM_MOVEMENTS)]
    most = max(len(points) for _, points in paths)
    cells = int(max(positions[-1] for positions, _ in paths) / _CELL) + 1
    segments = np.zeros((NUM_MOVEMENTS, most, 6))
    segment_of_cell = np.zeros((NUM_MOVEMENTS, cells), np.int32)
    for movement, (positions, points) in enumerate(paths):
        assert np.diff(positions).min() > _CELL, "a path's segment is shorter than a cell"
        slopes = np.diff(points, axis=0) / np.diff(positions)[:, None]
        count = len(slopes)
        segments[movement, :count] = np.column_stack([positions[:-1], points[:-1], slopes, positions[1:]])
        segments[movement, count - 1, 5] = np.inf  # whoever drives on drives straight on
        begins = np.searchsorted(positions, np.arange(cells) * _CELL, "right") - 1
        segment_of_cell[movement] = np.clip(begins, 0, count - 1) + movement * most
    road = Geometry(
        entry=entry.astype(dtype),
        exit=exit_.astype(dtype),
        length=(exit_ + EXIT_DISTANCE).astype(dtype),
        segments=segments.reshape(-1, 6).astype(dtype),
        segment_of_cell=segment_of_cell.reshape(-1),
        zones=np.zeros((NUM_MOVEMENTS**2, 5), dtype),
    )
    return road._replace(zones=_zones(road))


def points_at(xp: Any, road: Geometry, movement: Any, position: Any) -> tuple[Any, Any]:
    """The points (x, y) at the given positions of the given movements' paths, in m; exact, as SUMO places them."""
    return points_and_directions(xp, road, movement, position)[:2]


def points_and_directions(xp: Any, road: Geometry, movement: Any, position: Any) -> tuple[Any, Any, Any, Any]:
    """The points (x, y) of `points_at`, and how they move (dx, dy) per metre of position."""
    cells = road.segment_of_cell.shape[0] // NUM_MOVEMENTS
    cell = xp.minimum(xp.maximum((position * (1 / _CELL)).astype("int32"), 0), cells - 1)
    row = xp.take(road.segment_of_cell, movement * cells + cell, mode="clip")
    row = row + (position >= xp.take(road.segments[:, 5], row, mode="clip")).astype(row.dtype)
    start, x, y, dx, dy = (xp.take(road.segments[:, column], row, mode="clip") for column in range(5))
    along = position - start
    return x + along * dx, y + along * dy, dx, dy


def of_movement(xp: Any, movement: Any, *tables: Any) -> tuple[Any, ...]:
    """What tables [M] say of the given movements, each of the movements' shape."""
    return tuple(xp.take(xp.asarray(table), movement, mode="clip") for table in tables)


class Zone(NamedTuple):
    """Where a movement and another get in each other's way; see `Geometry`."""

    conflict: Any  # bool
    start: Any  # m on the one's path
    end: Any
    their_start: Any  # m on the other's path
    their_end: Any


def zones_of(xp: Any, road: Geometry, movement: Any, other: Any) -> Zone:
    """The conflict zones of pairs of movements, elementwise."""
    pair = movement * NUM_MOVEMENTS + other
    conflict, *where = (xp.take(road.zones[:, column], pair, mode="clip") for column in range(5))
    return Zone(conflict > 0, *where)


class Pose(NamedTuple):
    """Where a car's axis is: front and back bumper in m, and the unit vector from back to front."""

    x: Any
    y: Any
    back_x: Any
    back_y: Any
    cos: Any
    sin: Any


def poses_at(xp: Any, road: Geometry, movement: Any, position: Any) -> Pose:
    """The poses of cars whose front bumpers are at the given positions; both bumpers lie on the path."""
    return pose_between(
        xp, *points_at(xp, road, movement, position), *points_at(xp, road, movement, position - CAR_LENGTH)
    )


def pose_between(xp: Any, x: Any, y: Any, back_x: Any, back_y: Any) -> Pose:
    """The poses of cars with the given front and back bumpers."""
    dx, dy = x - back_x, y - back_y
    scale = 1 / xp.sqrt(dx * dx + dy * dy)
    return Pose(x, y, back_x, back_y, dx * scale, dy * scale)


def _from_axis(xp: Any, x: Any, y: Any, pose: Pose) -> Any:
    """Squared distance (m2) of the points (x, y) from the axes of cars."""
    length = (pose.x - pose.back_x) * pose.cos + (pose.y - pose.back_y) * pose.sin
    px, py = x - pose.back_x, y - pose.back_y
    along = xp.minimum(xp.maximum(px * pose.cos + py * pose.sin, 0), length)
    dx, dy = px - along * pose.cos, py - along * pose.sin
    return dx * dx + dy * dy


def squared_distance(xp: Any, one: Pose, other: Pose) -> Any:
    """Squared distance (m2) between the axes of cars that do not cross, elementwise: the shortest way starts at an end
    of one of them."""
    ends = (
        _from_axis(xp, one.x, one.y, other),
        _from_axis(xp, one.back_x, one.back_y, other),
        _from_axis(xp, other.x, other.y, one),
        _from_axis(xp, other.back_x, other.back_y, one),
    )
    return xp.minimum(xp.minimum(ends[0], ends[1]), xp.minimum(ends[2], ends[3]))


def gap_at(xp: Any, squared: Any) -> Any:
    """The gap (m) between the outlines of cars at a squared distance of their axes: an outline is a capsule, all points
    within half a car's width of the axis."""
    return xp.maximum(xp.sqrt(squared) - CAR_WIDTH, 0)


def gaps(xp: Any, one: Pose, other: Pose) -> Any:
    """Gap in m between the outlines of cars, elementwise; 0 where they touch."""
    return gap_at(xp, squared_distance(xp, one, other))


def _zones(road: Geometry) -> np.ndarray:
    """The conflict zones of all pairs of movements, by trying all pairs of positions near the junction."""
    zones = np.zeros((NUM_MOVEMENTS, NUM_MOVEMENTS, 5), road.zones.dtype)

    def candidates(movement: int) -> np.ndarray:
        last = road.exit[movement] + CAR_LENGTH + 1.0
        return np.arange(road.entry[movement] - 1.0, last, _ZONE_STEP, dtype=road.entry.dtype)

    for m in range(len(TURNS)):  # the junction looks the same from every arm, so those of the first arm suffice
        mine = candidates(m)
        my_poses = poses_at(np, road, np.full(mine.shape, m), mine)
        for k in range(NUM_MOVEMENTS):
            theirs = candidates(k)
            their_poses = poses_at(np, road, np.full(theirs.shape, k), theirs)
            touch = gaps(np, Pose(*(part[:, None] for part in my_poses)), Pose(*(p[None] for p in their_poses))) <= 0
            hits = mine[touch.any(1)]
            if not len(hits):
                continue
            first = 0.0 if k // len(TURNS) == m // len(TURNS) else hits[0]
            last = road.length[m] if exit_arm(k) == exit_arm(m) else hits[-1]
            for arm in range(len(ARMS)):
                turned = [(movement + arm * len(TURNS)) % NUM_MOVEMENTS for movement in (m, k)]
                zones[turned[0], turned[1], :3] = 1.0, first, last
    zones[..., 3:] = zones[..., 1:3].transpose(1, 0, 2)
    return zones.reshape(-1, 5)
