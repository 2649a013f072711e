"""Human drivers of the compiled intersection: following, giving way, and not giving way. After SUMO's own rules.

Following is SUMO's to the last digit (`following`). Right of way keeps what decides in SUMO's MSLink and MSVehicle:
who must give way (the network's table), the estimated times between which a car will be on the junction, slowing down
until the other arms can be seen, and waiting for cars already on the junction. What it leaves out: impatience, the
exact points at which two lanes cross (the middles of the conflict zones stand in) and much detail. Hence humans agree
with SUMO's only statistically; docs/sim-to-sim.md has the figures.

Axes: C cars, of which the last H are humans, first; a batch last (`...`).
"""

from functools import cache
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from averse.environments.intersection.along_cars import any_of, least
from averse.environments.intersection.crashes import Lanes, lanes_of_movement
from averse.environments.intersection.following import braking_distance, stopping_speed
from averse.environments.intersection.geometry import NETWORK_FILE, Geometry, lanes_of, zones_of
from averse.environments.intersection.task import (
    CAR_LENGTH,
    HUMAN_ACCELERATION,
    HUMAN_DECELERATION,
    HUMAN_MIN_GAP,
    HUMAN_REACTION,
    MAX_SPEED,
    NUM_MOVEMENTS,
    STEP_SECONDS,
)

VISIBILITY = 4.5  # m before the line from which a driver who must give way sees the other arms; SUMO's default
LOOK_AHEAD = 1.0  # s that must lie between two cars on the junction; SUMO's default for minor links
LINE_GAP = 0.1  # m before the junction's entry at which a waiting car stops
HALTING_SPEED = 0.1  # m/s; slower cars stand, as SUMO has it
_FAR = 1e4  # m/s or s: no limit


@cache
def yields() -> np.ndarray:
    """Which movements must give way to which, bool [M, M], row to column; from the network's right-of-way table."""
    table = np.zeros((NUM_MOVEMENTS, NUM_MOVEMENTS), bool)
    for request in ElementTree.parse(NETWORK_FILE).iter("request"):
        # the last character of the text is link 0
        table[int(request.attrib["index"])] = [bit == "1" for bit in reversed(request.attrib["response"])]
    return table


@cache
def junction_speeds() -> np.ndarray:
    """The speed limit of each movement's lane through the junction, float32 [M], m/s; turns are slower."""
    limits = {lane.attrib["id"]: lane.attrib["speed"] for lane in ElementTree.parse(NETWORK_FILE).iter("lane")}
    return np.array([float(limits[lanes_of(m)[1]]) for m in range(NUM_MOVEMENTS)], np.float32)


class Outlook(NamedTuple):
    """What does not change while cars keep their movements; worked out once in each decision."""

    lanes: Lanes  # each part [C, ...]
    junction_speed: Any  # [C, ...], m/s, the driver's desired speed on the junction
    lane_speed: Any  # [C, ...], m/s, and elsewhere
    gives_way: Any  # bool [C, ...], whether its movement must give way to any other
    reckless: Any  # bool [H, ...]
    # for each car (C) and each human (H), so that what is least over all cars is found for all humans at once:
    same_arm: Any  # bool [C, H, ...], another car that comes by the same arm
    same_exit: Any  # bool, another that leaves by the same arm but comes from elsewhere
    crosses: Any  # bool, another from elsewhere that would get in the way
    yields: Any  # bool, another from elsewhere that the human must let go first
    start: Any  # m, where the conflict zone begins on the human's path
    meet: Any  # m, where the ways cross or join on the human's path
    they_meet: Any  # m, on the other's path
    their_end: Any  # m, where the conflict zone ends on the other's path


def outlook(xp: Any, road: Geometry, movement: Any, factor: Any, reckless: Any) -> Outlook:
    """movement, factor (desired speed / limit): [C, ...]; reckless: bool [H, ...]."""
    cars = movement.shape[0]
    n = cars - reckless.shape[0]
    mine, theirs = movement[None, n:], movement[:, None]
    zone = zones_of(xp, road, mine, theirs)
    lanes = lanes_of_movement(xp, road, movement)
    other = (xp.arange(cars)[:, None] != xp.arange(n, cars)[None]).reshape(cars, cars - n, *(1,) * (movement.ndim - 1))
    same_arm = _theirs(lanes.arm) == _mine(lanes.arm, n)
    same_exit = _theirs(lanes.exit_arm) == _mine(lanes.exit_arm, n)
    return Outlook(
        lanes=lanes,
        junction_speed=xp.take(xp.asarray(junction_speeds()), movement, mode="clip") * factor,
        lane_speed=MAX_SPEED * factor,
        gives_way=xp.take(xp.asarray(yields().any(1)), movement, mode="clip"),
        reckless=reckless,
        same_arm=other & same_arm,
        same_exit=same_exit & ~same_arm,
        crosses=zone.conflict & ~same_arm,
        yields=xp.take(xp.asarray(yields().ravel()), mine * NUM_MOVEMENTS + theirs, mode="clip") & ~same_arm,
        start=zone.start,
        meet=xp.minimum((zone.start + zone.end) / 2, _mine(lanes.exit, n)),
        they_meet=xp.minimum((zone.their_start + zone.their_end) / 2, _theirs(lanes.exit)),
        their_end=zone.their_end,
    )


def _mine(part: Any, n: int) -> Any:
    return part[None, n:]


def _theirs(part: Any) -> Any:
    return part[:, None]


def limits(
    xp: Any, view: Outlook, position: Any, speed: Any, present: Any, entered: Any, waited: Any
) -> tuple[Any, Any]:
    """What each human wants and may do in the next step: (desired, safe) speeds, each [H, ...], m/s.

    position, speed, present: [C, ...]; entered: [C, ...], when a car entered the junction, on any clock;
    waited: [C, ...], s for which it has been standing.
    """
    n = position.shape[0] - view.reckless.shape[0]
    lanes = Lanes(*(part[n:] for part in view.lanes))
    x = position[n:]
    to_line = lanes.entry - x
    junction_speed, lane_speed = view.junction_speed[n:], view.lane_speed[n:]
    desired = xp.where((to_line <= 0) & (x < lanes.exit), junction_speed, lane_speed)
    # slow down for the junction's limit in time
    approach = xp.sqrt(junction_speed**2 + 2 * HUMAN_DECELERATION * xp.maximum(to_line, 0))
    desired = xp.where(to_line > 0, xp.minimum(desired, approach), desired)

    braking = braking_distance(xp, speed)
    can_stop = (to_line > 0) & (braking[n:] < to_line)
    at_line = stopping_speed(xp, to_line - LINE_GAP)
    room, room_to_meet, way = _room(xp, view, n, position, speed, present, entered, braking)
    safe = stopping_speed(xp, room - HUMAN_MIN_GAP, HUMAN_REACTION)
    # Behind cars on the junction as if both drove on one lane to the point where they meet; else wait at the line, or,
    # where that is too late, before the conflict zone.
    behind = stopping_speed(xp, room_to_meet - HUMAN_MIN_GAP, HUMAN_REACTION)
    wait = xp.where(can_stop, at_line, stopping_speed(xp, way - HUMAN_MIN_GAP))
    safe = xp.minimum(safe, xp.where(way < _FAR, xp.maximum(behind, wait), _FAR))
    # stop at the line unless nobody with right of way is seen to come
    blocked = _somebody_comes(xp, view, n, position, speed, present, waited, braking)
    stops = view.gives_way[n:] & ~view.reckless & can_stop & (blocked | (to_line > VISIBILITY))
    return desired, xp.minimum(safe, xp.where(stops, at_line, _FAR))


def _room(
    xp: Any, view: Outlook, n: int, position: Any, speed: Any, present: Any, entered: Any, braking: Any
) -> tuple[Any, Any, Any]:
    """Where each human may stop at the latest, in m ahead, each [H, ...]; _FAR where there is no limit.

    Behind the cars ahead on the same way in or out, once these have stopped; behind cars on the junction whose way
    crosses or joins, once these have stopped, if both drove on one lane to the point where they meet; and before the
    nearest conflict zone of such cars.
    """
    lanes, x, present = view.lanes, position, _theirs(present)
    ahead = _theirs(x) - _mine(x, n)
    # a car that turns elsewhere is in the way until its rear has left the common part
    in_the_way = view.same_arm & (ahead > 0) & (_theirs(x) - CAR_LENGTH < view.their_end)
    left = x - lanes.exit
    ahead_out = _theirs(left) - _mine(left, n)
    merged = view.same_exit & (_theirs(left) > 0) & (ahead_out > 0)
    room = xp.where(in_the_way, ahead, ahead_out) + _theirs(braking - CAR_LENGTH)
    room = least(xp, xp.where(present & (in_the_way | merged), room, _FAR))

    # Whoever has started from the line is as good as on the junction; who has left it is followed, not waited for.
    on_junction = (x > lanes.entry) | ((x > lanes.entry - 0.5) & (speed > HALTING_SPEED))
    on_junction = on_junction & (x < lanes.exit + CAR_LENGTH)
    not_in = (x <= lanes.entry)[None, n:]
    way = view.start - _mine(x, n)
    waits = present & view.crosses & _theirs(on_junction) & (_theirs(x) - CAR_LENGTH < view.their_end) & (way > 0)
    waits = waits & (not_in | (_theirs(entered) < _mine(entered, n))) & ~view.reckless[None]
    gap = (view.meet - _mine(x, n)) - (view.they_meet - _theirs(x)) - CAR_LENGTH
    gap = xp.where(gap >= HUMAN_MIN_GAP, gap + _theirs(braking), 0)
    return room, least(xp, xp.where(waits, gap, _FAR)), least(xp, xp.where(waits, way, _FAR))


def _somebody_comes(
    xp: Any, view: Outlook, n: int, position: Any, speed: Any, present: Any, waited: Any, braking: Any
) -> Any:
    """Whether a car that each human must let go first is on its way to the junction, bool [H, ...]."""
    times = _times_on_junction(xp, view, position, speed, braking)
    approaching = (times.to_line > 0) & present
    # Who stands in a queue is not coming. Of those who stand at the line, the one who has stood for longest goes, or
    # four cars could wait for each other for ever.
    standing = waited > 0
    at_line = approaching & (times.to_line < VISIBILITY)
    before_me = view.crosses & _theirs(standing & at_line) & (_theirs(waited) > _mine(waited, n))
    my_turn = standing[n:] & ~any_of(before_me)
    stands = _theirs(standing) & (_theirs(~at_line) | my_turn[None])
    # SUMO's rule: the times on the junction must not overlap, with a second to spare behind me; of two who leave by the
    # same arm, the one behind must also not be the faster one.
    arrive, leave = _mine(times.arrive, n), _mine(times.leave, n)
    foe_arrive, foe_leave = _theirs(times.arrive), _theirs(times.leave)
    foe_faster = _theirs(times.arrive_speed) >= _mine(times.leave_speed, n)
    me_faster = _mine(times.arrive_speed, n) >= _theirs(times.leave_speed)
    after_foe = (foe_leave < arrive) & ~(view.same_exit & ((arrive - foe_leave < LOOK_AHEAD) | me_faster))
    before_foe = (foe_arrive > leave + LOOK_AHEAD) & ~(view.same_exit & foe_faster)
    return any_of(view.yields & _theirs(approaching) & ~stands & ~after_foe & ~before_foe)


class _Times(NamedTuple):
    """When cars before the line are estimated to be on the junction, [C, ...]; s from now and m/s."""

    to_line: Any  # m, negative behind the line
    arrive: Any
    leave: Any
    arrive_speed: Any
    leave_speed: Any


def _times_on_junction(xp: Any, view: Outlook, position: Any, speed: Any, braking: Any) -> _Times:
    to_line = view.lanes.entry - position
    way = xp.maximum(to_line, 0)
    fast = xp.minimum(speed + HUMAN_ACCELERATION * STEP_SECONDS, MAX_SPEED)
    # whoever must give way and still can is expected to slow down, so as to see the other arms
    slows = view.gives_way & (braking < way) & (way > VISIBILITY)
    slow = float(stopping_speed(np, np.float64(VISIBILITY), 0.0))
    slow = (slow * slow + 2 * HUMAN_ACCELERATION * VISIBILITY) ** 0.5
    reachable = xp.sqrt(fast * fast + 2 * HUMAN_ACCELERATION * way)
    arrive_speed = xp.minimum(xp.minimum(view.junction_speed, reachable), xp.where(slows, slow, _FAR))
    arrive = _fastest_arrival(xp, way, speed, arrive_speed)
    length = view.lanes.exit - view.lanes.entry
    leave_speed = xp.minimum(xp.sqrt(arrive_speed**2 + 2 * HUMAN_ACCELERATION * length), view.junction_speed)
    leave = arrive + (length + CAR_LENGTH) / (0.5 * (arrive_speed + leave_speed))
    return _Times(to_line, arrive, leave, arrive_speed, leave_speed)


def _fastest_arrival(xp: Any, way: Any, speed: Any, arrive_speed: Any) -> Any:
    """The least time (s) in which a car covers `way` m and ends with `arrive_speed`; SUMO's getMinimalArrivalTime."""
    faster = arrive_speed >= speed
    rate = xp.where(faster, HUMAN_ACCELERATION, -HUMAN_DECELERATION)
    change = (arrive_speed - speed) / rate
    change_way = change * (arrive_speed + speed) * 0.5
    steady = change + (way - change_way) / xp.maximum(xp.maximum(speed, arrive_speed), 0.1)
    # too near to change all that much: v t + rate t^2 / 2 = way
    root = xp.sqrt(xp.maximum(speed * speed + 2 * rate * way, 0))
    short = (root - speed) / rate
    return xp.where(way >= change_way, steady, short)
