"""When two cars crash, as SUMO decides it after every simulation step: exactly, and by a table for speed.

Inside the junction, two cars crash when their outlines overlap; SUMO's outline of a car is an octagon. On a lane, a
car crashes into the one ahead when its front bumper has passed that one's rear bumper.
"""

import hashlib
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from averse.environments.intersection.geometry import (
    NETWORK_FILE,
    Geometry,
    Pose,
    exit_arm,
    geometry,
    of_movement,
    poses_at,
)
from averse.environments.intersection.task import CAR_LENGTH, CAR_WIDTH, NUM_MOVEMENTS, TURNS
from averse.files import cache_folder, written_whole

CELL = 0.2  # m; resolution of the table
_EPSILON = 0.001  # m; SUMO overlooks shallower contacts of bumpers
_BLUNT = 0.1  # the corners are cut off over this fraction of the length, and
_NARROW = 0.6  # leave this fraction of the width at the bumpers
_WORD = 32  # bits of a word of the table


class Lanes(NamedTuple):
    """What of its movement decides whether a car shares a lane with another; any shape."""

    movement: Any  # int
    arm: Any  # int, by which it comes
    exit_arm: Any  # int, by which it leaves
    entry: Any  # m, where the junction begins on its path
    exit: Any  # m, where it ends


def lanes_of_movement(xp: Any, road: Geometry, movement: Any) -> Lanes:
    """The lanes that cars with the given movements drive on."""

    leaves = xp.asarray([exit_arm(m) for m in range(NUM_MOVEMENTS)])
    exit_arms, entry, exit_ = of_movement(xp, movement, leaves, road.entry, road.exit)
    return Lanes(movement, movement // len(TURNS), exit_arms, entry, exit_)


# ---- the reference


def octagon(xp: Any, pose: Pose) -> tuple[Any, Any]:
    """The corners (x, y) of cars' outlines, each [..., 8], in order around the car."""
    along = xp.asarray([0, _BLUNT, 1 - _BLUNT, 1, 1, 1 - _BLUNT, _BLUNT, 0])
    side = xp.asarray([_NARROW, 1, 1, _NARROW, -_NARROW, -1, -1, -_NARROW]) * (CAR_WIDTH / 2)
    x, y, cos, sin = (part[..., None] for part in (pose.back_x, pose.back_y, pose.cos, pose.sin))
    ax, ay = (pose.x - pose.back_x)[..., None], (pose.y - pose.back_y)[..., None]
    return x + along * ax - side * sin, y + along * ay + side * cos


def outlines_overlap(xp: Any, one: Pose, other: Pose) -> Any:
    """Whether the octagons of cars overlap, bool, elementwise; by the separating axis theorem."""
    outlines = octagon(xp, one), octagon(xp, other)
    apart = False
    for x, y in outlines:
        # the normals of half of the edges, as opposite ones are parallel
        normal_x, normal_y = y[..., 1:5] - y[..., :4], x[..., :4] - x[..., 1:5]
        shadows = [
            px[..., None, :] * normal_x[..., None] + py[..., None, :] * normal_y[..., None] for px, py in outlines
        ]
        (low, other_low), (high, other_high) = [s.min(-1) for s in shadows], [s.max(-1) for s in shadows]
        apart = apart | ((high < other_low) | (other_high < low)).any(-1)
    return ~apart


def on_junction(lanes: Lanes, position: Any) -> Any:
    """Whether any part of the car is on the junction's lanes, bool."""
    return (position > lanes.entry) & (position - CAR_LENGTH < lanes.exit)


def rear_end(xp: Any, one: Lanes, position: Any, other: Lanes, other_position: Any) -> Any:
    """Whether one of two cars has run into the other from behind on a lane they share, bool, elementwise."""
    overlap = xp.abs(position - other_position) < CAR_LENGTH - _EPSILON
    behind, ahead = xp.minimum(position, other_position), xp.maximum(position, other_position)
    # until the rear bumper of the one ahead has left the arm; all the way if they drive the same
    way_in = (one.arm == other.arm) & (behind <= one.entry) & (ahead - CAR_LENGTH < one.entry)
    way_in = overlap & (way_in | (one.movement == other.movement))
    left, other_left = position - one.exit, other_position - other.exit
    way_out = (one.exit_arm == other.exit_arm) & (left > 0) & (other_left > 0)
    return way_in | (way_out & (xp.abs(left - other_left) < CAR_LENGTH - _EPSILON))


def crash_exactly(
    xp: Any, road: Geometry, movement: Any, position: Any, other_movement: Any, other_position: Any
) -> Any:
    """Whether two cars crash, bool, elementwise: the reference, which agrees with SUMO."""
    one, other = lanes_of_movement(xp, road, movement), lanes_of_movement(xp, road, other_movement)
    poses = poses_at(xp, road, movement, position), poses_at(xp, road, other_movement, other_position)
    inside = on_junction(one, position) & on_junction(other, other_position)
    return (inside & outlines_overlap(xp, *poses)) | rear_end(xp, one, position, other, other_position)


# ---- the table


class CrashTable(NamedTuple):
    """Where two cars on the junction overlap, a bit for each pair of `CELL`s of their paths.

    The junction looks the same from every arm: a row for each turn of the first car from the first arm, each movement
    of the second relative to it, and each cell of the first; its bits are the cells of the second, in words of 32.
    """

    words: Any  # uint32 [3 * 12 * cells * words per row]
    cells: int  # cells of a path, from the junction's entry until the rear bumper has left


@cache
def crash_table() -> CrashTable:
    """The table of the shipped network, as numpy; built in about 2 s and then kept in the user's cache folder."""
    road = geometry("float64")
    cells = int(np.ceil((road.exit - road.entry + CAR_LENGTH).max() / CELL))
    shape = (len(TURNS) * NUM_MOVEMENTS * cells * -(-cells // _WORD),)
    key = hashlib.sha256(NETWORK_FILE.read_bytes() + repr((CELL, CAR_LENGTH, CAR_WIDTH, _BLUNT, _NARROW)).encode())
    path = cache_folder() / f"crashes-{key.hexdigest()[:16]}.npy"
    try:
        words = np.load(path, allow_pickle=False)
        if words.shape == shape and words.dtype == np.uint32:
            return CrashTable(words, cells)
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or not whole
    words = _build(road, cells)
    try:
        with written_whole(path) as temporary:
            np.save(temporary, words, allow_pickle=False)
    except OSError:
        pass  # a cache that cannot be written only costs time
    return CrashTable(words, cells)


def _build(road: Geometry, cells: int) -> np.ndarray:
    middle = (np.arange(cells) + 0.5) * CELL
    bits = np.zeros((len(TURNS), NUM_MOVEMENTS, cells, -(-cells // _WORD) * _WORD), bool)
    for m in range(len(TURNS)):
        for k in range(NUM_MOVEMENTS):
            mine, theirs = road.entry[m] + middle[:, None], road.entry[k] + middle[None, :]
            one, other = lanes_of_movement(np, road, m), lanes_of_movement(np, road, k)
            inside = on_junction(one, mine) & on_junction(other, theirs)
            i, j = np.nonzero(inside)
            poses = [
                poses_at(np, road, np.full(len(i), v), p[w]) for v, p, w in ((m, mine[:, 0], i), (k, theirs[0], j))
            ]
            bits[m, k, i, j] = outlines_overlap(np, *poses)
    powers = np.uint32(1) << np.arange(_WORD, dtype=np.uint32)
    return (bits.reshape(-1, _WORD) * powers).sum(-1, dtype=np.uint32)


class Contacts(NamedTuple):
    """Where on a path a car would touch another that stands still, for each place of that one; rows as in `CrashTable`.

    Both places are taken to be uncertain by a cell, so that standing cars are given a little room.
    """

    first: Any  # float32 [3 * 12 * cells], m behind the junction's entry; infinite where the two never touch
    last: Any  # and until where
    cells: int


@cache
def contacts() -> Contacts:
    """The contacts of the shipped network, as numpy."""
    table = crash_table()
    rows = len(TURNS) * NUM_MOVEMENTS
    words = table.words.reshape(rows, table.cells, -1)
    bits = ((words[..., None] >> np.arange(_WORD, dtype=np.uint32)) & 1).astype(bool)
    touch = bits.reshape(rows, table.cells, -1)[..., : table.cells]
    near = touch.copy()
    near[..., 1:] |= touch[..., :-1]
    near[..., :-1] |= touch[..., 1:]
    first = np.where(near.any(1), (near.argmax(1) - 1) * CELL, np.inf)
    last = np.where(near.any(1), (table.cells + 1 - near[:, ::-1].argmax(1)) * CELL, -np.inf)
    return Contacts(first.ravel().astype(np.float32), last.ravel().astype(np.float32), table.cells)


def distance_to_contact(xp: Any, road: Geometry, movement: Any, position: Any, other: Any, other_position: Any) -> Any:
    """How far (m) a car can drive until it touches another one on the junction that stays where it is, elementwise.

    Infinite where it never does, or has passed it; 0 where it is within a cell of doing so.
    """
    (entry,), (other_entry,) = of_movement(xp, movement, road.entry), of_movement(xp, other, road.entry)
    table = contacts()
    cell = xp.floor((other_position - other_entry) * (1 / CELL)).astype("int32")
    inside = (cell >= 0) & (cell < table.cells)
    row = xp.where(inside, table_rows(movement, other) * table.cells + cell, 0)
    first, last = (xp.take(xp.asarray(part), row, mode="clip") for part in (table.first, table.last))
    driven = position - entry
    return xp.where(inside & (driven < last), xp.maximum(first - driven, 0), xp.inf)


def table_rows(movement: Any, other_movement: Any) -> Any:
    """The table's rows of pairs of movements, int."""
    turn = movement % len(TURNS)
    return turn * NUM_MOVEMENTS + (other_movement - movement + turn) % NUM_MOVEMENTS


def crash(xp: Any, table: CrashTable, rows: Any, one: Lanes, position: Any, other: Lanes, other_position: Any) -> Any:
    """`crash_exactly` to within a cell, by the table; `rows` from `table_rows`."""
    i = xp.floor((position - one.entry) * (1 / CELL)).astype("int32")
    j = xp.floor((other_position - other.entry) * (1 / CELL)).astype("int32")
    inside = (i >= 0) & (i < table.cells) & (j >= 0) & (j < table.cells)
    per_row = -(-table.cells // _WORD)
    word = xp.take(table.words, xp.where(inside, (rows * table.cells + i) * per_row + j // _WORD, 0), mode="clip")
    overlap = inside & ((word >> (j % _WORD).astype("uint32")) & 1).astype(bool)
    return overlap | rear_end(xp, one, position, other, other_position)
