"""The task's statement: geometry, starts, observations, rewards and measures, on scenes made by hand. No simulator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.environments.intersection import geometry as roads
from averse.environments.intersection.along_cars import ranks
from averse.environments.intersection.geometry import Pose, gaps, geometry, points_at, poses_at
from averse.environments.intersection.observations import (
    NEIGHBOUR_SIZE,
    OWN_SIZE,
    available_actions,
    global_state,
    global_state_size,
    observation_size,
    observe,
)
from averse.environments.intersection.pairs import soonest
from averse.environments.intersection.rewards import (
    Crashes,
    Tally,
    Track,
    costs,
    metrics,
    new_tally,
    rewards,
    smallest_gaps,
    terminated,
    tracks,
    update_tally,
)
from averse.environments.intersection.starts import START_NUMBERS, agent_starts
from averse.environments.intersection.task import (
    SPAWN_HEADWAY,
    SPAWN_POSITION,
    IntersectionTask,
    Scene,
    Status,
)
from averse.environments.sumo.simulation import AGENT_KIND, HUMAN_KIND, RECKLESS_KIND, crash_partners

ROAD = geometry()
ENTRY = float(ROAD.entry[0])
NORTH_RIGHT, NORTH_STRAIGHT, NORTH_LEFT, EAST_STRAIGHT, SOUTH_STRAIGHT = 0, 1, 2, 4, 7


def scene(*cars: tuple[int, float, float], task: IntersectionTask, status: list[int] | None = None) -> Scene:
    """Cars (movement, position, speed) in order, the agents first; missing ones are absent humans."""
    rows = list(cars) + [(0, 0.0, 0.0)] * (task.num_cars - len(cars))
    movement, position, speed = (np.array(column) for column in zip(*rows))
    status = status or [Status.DRIVING] * task.num_agents
    driving = [s == Status.DRIVING for s in status]
    present = driving + [k < len(cars) for k in range(task.num_agents, task.num_cars)]
    return Scene(
        movement.astype(np.int32),
        position.astype(np.float32),
        speed.astype(np.float32),
        np.array(present),
        np.array(status),
        np.float32(0),
    )


def random_scenes(task: IntersectionTask, count: int, seed: int = 0) -> Scene:
    generator = np.random.default_rng(seed)
    shape = (task.num_cars, count)
    status = generator.integers(4, size=(task.num_agents, count))
    present = np.concatenate(
        [status == Status.DRIVING, generator.random((task.num_cars - task.num_agents, count)) < 0.5]
    )
    return Scene(
        generator.integers(12, size=shape).astype(np.int32),
        generator.uniform(SPAWN_POSITION, 190, shape).astype(np.float32),
        generator.uniform(0, 13.89, shape).astype(np.float32),
        present,
        status,
        generator.integers(120, size=count).astype(np.float32),
    )


def moved(before: Scene) -> Scene:
    """The same cars half a second later, without acceleration."""
    return before._replace(position=before.position + np.float32(0.5) * before.speed, elapsed=before.elapsed + 1)


def see(task: IntersectionTask, here: Scene, noise=None, xp=np):
    return observe(xp, task, ROAD, here, poses_at(xp, ROAD, here.movement, here.position), noise)


# ---- geometry


def test_paths_are_continuous_and_as_long_as_they_say():
    for movement in range(12):
        s = np.arange(0.0, float(ROAD.length[movement]), 0.05)
        x, y = points_at(np, geometry("float64"), np.full(s.shape, movement), s)
        steps = np.hypot(np.diff(x), np.diff(y))
        assert steps.max() < 0.05 + 1e-6
        assert steps.min() > 0.0499


def test_the_junction_looks_the_same_from_every_arm():
    zones = ROAD.zones.reshape(12, 12, 5)
    turned = (np.arange(12) + 3) % 12
    assert np.array_equal(zones, zones[np.ix_(turned, turned)])
    x, y = points_at(np, ROAD, np.arange(12), np.full(12, 150.0, np.float32))
    for movement in range(12):
        quarter = (movement + 3) % 12  # the next arm, clockwise
        assert (x[quarter], y[quarter]) == pytest.approx((y[movement], -x[movement]), abs=1e-4)


def test_conflicts_are_where_paths_meet():
    conflict = ROAD.zones.reshape(12, 12, 5)[..., 0] > 0
    assert conflict[NORTH_STRAIGHT, EAST_STRAIGHT]
    assert not conflict[NORTH_STRAIGHT, SOUTH_STRAIGHT]
    assert not conflict[NORTH_LEFT, 8]  # opposite left turns pass each other
    assert conflict[NORTH_RIGHT, EAST_STRAIGHT]  # both leave to the west
    assert np.array_equal(conflict, conflict.T)
    start, end = ROAD.zones.reshape(12, 12, 5)[NORTH_STRAIGHT, EAST_STRAIGHT, 1:3]
    assert ENTRY < start < end < float(ROAD.exit[NORTH_STRAIGHT]) + 5
    assert ROAD.zones.reshape(12, 12, 5)[NORTH_STRAIGHT, NORTH_LEFT, 1] == 0
    assert ROAD.zones.reshape(12, 12, 5)[NORTH_RIGHT, EAST_STRAIGHT, 2] == ROAD.length[NORTH_RIGHT]


def test_gaps_between_outlines():
    def at(x: float, y: float, cos: float, sin: float) -> Pose:
        return Pose(*(np.array(v, np.float32) for v in (x, y, x - 5 * cos, y - 5 * sin, cos, sin)))

    here = at(0, 0, 1, 0)
    assert gaps(np, here, at(9, 0, 1, 0)) == pytest.approx(4 - 1.8)  # bumper to bumper; outlines have round ends
    assert gaps(np, here, at(0, 3, 1, 0)) == pytest.approx(1.2)  # side by side
    assert gaps(np, here, at(-2, 4, 0, -1)) == pytest.approx(4 - 1.8)  # nose towards the side
    assert gaps(np, here, at(-2, 1, 0, -1)) == 0
    assert roads.CAR_WIDTH == 1.8


# ---- starts


def test_departures_from_one_arm_keep_their_distance():
    task = IntersectionTask(num_agents=16)
    uniforms = np.random.default_rng(0).random((START_NUMBERS, 16, 200))
    starts = agent_starts(np, task, uniforms)
    assert starts.movement.min() == 0
    assert starts.movement.max() == 11
    assert starts.departure.min() == 0
    for movement, departure in zip(starts.movement.T, starts.departure.T):
        for arm in range(4):
            times = np.sort(departure[movement // 3 == arm])
            assert (np.diff(times) >= SPAWN_HEADWAY / 0.5 - 1).all()  # rounded down to decisions
    again = agent_starts(jnp, task, jnp.asarray(uniforms, jnp.float32))
    assert np.mean(np.asarray(again.departure) == starts.departure) > 0.99


# ---- observations


def test_two_cars_that_will_meet_see_each_other():
    task = IntersectionTask(num_agents=2, human_rate=0.0, num_neighbours=2)
    here = scene((NORTH_STRAIGHT, ENTRY - 30, 10.0), (EAST_STRAIGHT, ENTRY - 20, 5.0), task=task)
    seen = see(task, here)
    assert seen.shape == (2, observation_size(task))
    own, other = seen[0, :OWN_SIZE], seen[0, OWN_SIZE : OWN_SIZE + NEIGHBOUR_SIZE]
    assert own[:8].tolist() == [0, 1, 0, 0, 0, 0, 1, 0]
    assert own[8:12] == pytest.approx([30 / 150, (ROAD.length[1] - ENTRY + 30) / 150, 10 / 13.89, 0])
    # it is nearer and slower: both may accelerate until they come, and it may keep its 5 m/s until it leaves
    start, end, their_start, their_end = ROAD.zones[NORTH_STRAIGHT * 12 + EAST_STRAIGHT][1:] - ENTRY
    i_come, i_leave, it_comes = (
        soonest(np, way, speed) for way, speed in ((30 + start, 10), (30 + end, 10), (20 + their_start, 5))
    )
    gap = max(i_come - (20 + their_end) / 5, it_comes - i_leave)
    assert own[12:] == pytest.approx([gap / 5, 1, 0, gap, 1], abs=1e-4)
    assert -1 < gap < 0  # where the finer unit tells more
    # the first car is at (-1.6, 39.2) heading south, the other at (29.2, 1.6) heading west: ahead to the left
    assert other[0] == 1
    assert other[1:3] == pytest.approx([37.6 / 60, 30.8 / 60], abs=1e-4)
    assert other[3:5] == pytest.approx([0, -1], abs=1e-6)  # it comes from the left, so it heads to the right
    assert other[5] == pytest.approx(5 / 13.89)
    start_mine, start_theirs = ROAD.zones[NORTH_STRAIGHT * 12 + EAST_STRAIGHT][[1, 3]] - ENTRY
    assert other[6:9] == pytest.approx([1, (30 + start_mine) / 60, (20 + start_theirs) / 60], abs=1e-5)
    assert other[9] == pytest.approx(((20 + start_theirs) / 5 - (30 + start_mine) / 10) / 5, abs=1e-5)
    assert other[10] == 1
    start, end, their_start, their_end = ROAD.zones[NORTH_STRAIGHT * 12 + EAST_STRAIGHT][1:] - ENTRY
    assert other[11:13] == pytest.approx([(30 + end) / 60, (20 + their_end) / 60], abs=1e-5)
    assert other[13] == pytest.approx(20 / 30)
    assert other[14] == pytest.approx(max(-1, ((30 + start) / 10 - (20 + their_end) / 5) / 5), abs=1e-5)
    assert other[15] == pytest.approx(((20 + their_start) / 5 - (30 + end) / 10) / 5, abs=1e-5)
    assert other[16:18].tolist() == [0, 1]  # 20 m suffice to stop from 5 m/s; it is nearer to its line
    assert other[18] == 0  # where it is now, on its own arm, it is in nobody's way
    assert not seen[0, OWN_SIZE + NEIGHBOUR_SIZE :].any()


def test_what_a_car_on_the_junction_means_for_others():
    """Committed, in the way or out of it: a car that stands on the junction, seen from an arm."""
    task = IntersectionTask(num_agents=2, human_rate=0.0, num_neighbours=1)

    def numbers(position: float, speed: float) -> np.ndarray:
        here = scene((NORTH_STRAIGHT, ENTRY - 20, 10.0), (EAST_STRAIGHT, position, speed), task=task)
        return see(task, here)[0, OWN_SIZE : OWN_SIZE + NEIGHBOUR_SIZE]

    on_path, before_line = numbers(ENTRY + 12.0, 0.0), numbers(ENTRY - 1.0, 0.0)
    assert on_path[16:18].tolist() == [1, 1]
    # the other stands across my lane with its front at x = -2.8: its side (y = 2.5) is 6.7 m behind my line
    assert (1 - on_path[18]) * 30 == pytest.approx(20 + 9.2 - 2.5, abs=0.5)
    assert before_line[16:18].tolist() == [0, 1]
    assert before_line[18] == 0
    assert numbers(ENTRY - 5.0, 13.0)[16] == 1  # too fast to stop within 5 m
    assert numbers(ENTRY - 5.0, 13.0)[14] == pytest.approx(
        ((20 + ROAD.zones[NORTH_STRAIGHT * 12 + EAST_STRAIGHT][1] - ENTRY) / 10
         - (5 + ROAD.zones[NORTH_STRAIGHT * 12 + EAST_STRAIGHT][4] - ENTRY) / 13) / 5,
        abs=1e-5,
    )  # fmt: skip


def test_far_hidden_and_finished_cars_are_not_seen():
    task = IntersectionTask(num_agents=2, human_rate=0.0, num_neighbours=1)
    far = scene((NORTH_STRAIGHT, 20.0, 10.0), (SOUTH_STRAIGHT, 20.0, 5.0), task=task)
    assert not see(task, far)[:, OWN_SIZE:].any()
    assert see(task, far)[:, 12:OWN_SIZE].tolist() == [[1, 1, 0, 1, 1]] * 2  # any gap will do
    near = scene((NORTH_STRAIGHT, 120.0, 10.0), (EAST_STRAIGHT, 120.0, 5.0), task=task)
    assert see(task, near)[:, OWN_SIZE].tolist() == [1, 1]
    for status in (Status.WAITING, Status.ARRIVED, Status.CRASHED):
        seen = see(task, near._replace(present=np.array([True, False]), status=np.array([Status.DRIVING, status])))
        assert not seen[0, OWN_SIZE:].any()
        assert not seen[1, 1:].any()
        assert seen[1, 0] == (status == Status.WAITING)
    noise = np.zeros((3, 2, 2), np.float32)
    dropping = IntersectionTask(num_agents=2, human_rate=0.0, num_neighbours=1, dropout=0.5)
    assert not see(dropping, near, noise)[:, OWN_SIZE:].any()
    noise[2] = 0.9
    assert np.array_equal(see(dropping, near, noise), see(task, near))


def test_the_most_pressing_conflicts_come_first():
    task = IntersectionTask(num_agents=1, num_neighbours=4, max_humans=4)
    here = scene(
        (NORTH_STRAIGHT, ENTRY - 20, 10.0),
        (SOUTH_STRAIGHT, ENTRY - 5, 10.0),  # no conflict, near
        (EAST_STRAIGHT, ENTRY - 40, 10.0),  # conflict, later
        (10, ENTRY - 10, 10.0),  # conflict, soon
        (NORTH_STRAIGHT, ENTRY - 11, 10.0),  # the car ahead, 9 m
        task=task,
    )
    rows = see(task, here)[0, OWN_SIZE:].reshape(4, NEIGHBOUR_SIZE)
    forward = rows[:, 1] * 60
    assert forward[0] == pytest.approx(9.0, abs=1e-3)  # ahead
    assert rows[:, 6].tolist() == [1, 1, 1, 0]
    assert rows[1, 2] < 0  # from the west, to the right
    assert rows[2, 2] > 0  # from the east, to the left


def test_global_state_tells_of_agents_and_near_humans():
    task = IntersectionTask(num_agents=2, max_humans=8)
    here = scene(
        (NORTH_STRAIGHT, ENTRY, 5.0),
        (0, 0.0, 0.0),
        *[(EAST_STRAIGHT, ENTRY - 10 * k, 3.0) for k in range(8)],
        task=task,
        status=[Status.DRIVING, Status.WAITING],
    )
    state = global_state(np, task, ROAD, here, poses_at(np, ROAD, here.movement, here.position))
    assert state.shape == (global_state_size(task),) == (1 + 15 * 8,)
    rows = state[1:].reshape(8, 15)
    assert rows[0] == pytest.approx([1, 0, 1, 0, 0, 0, 0, 1, 0, 0, -1.6 / 150, 9.2 / 150, 0, -1, 5 / 13.89], abs=1e-6)
    assert rows[1].tolist() == [0, 1] + [0] * 13
    assert rows[2:, 9] * 150 == pytest.approx([-10.0 * k for k in range(6)], abs=1e-3)  # the six nearest, in order


def test_only_driving_agents_may_choose():
    for control, only_no_op in (("manoeuvre", [0, 0, 1]), ("acceleration", [0, 0, 1, 0, 0])):
        task = IntersectionTask(human_rate=0.0, control=control)
        here = random_scenes(task, 1)._replace(status=np.array([[0], [1], [2], [3]]))
        mask = available_actions(np, task, here)[..., 0]
        assert mask.astype(int).tolist() == [only_no_op, [1] * len(only_no_op), only_no_op, only_no_op]


# ---- rewards and measures


def test_progress_pays_for_the_whole_way_once_and_time_costs():
    task = IntersectionTask(num_agents=1, human_rate=0.0)
    end = float(ROAD.length[1])
    total, position = 0.0, SPAWN_POSITION
    for _ in range(18):
        before = scene((1, position, 10.0), task=task)
        position += 5.0
        total += float(rewards(np, task, ROAD, before, scene((1, position, 10.0), task=task))[0])
    before = scene((1, position, 10.0), task=task)
    last = scene((1, end + 1.0, 10.0), task=task, status=[Status.ARRIVED])
    total += float(rewards(np, task, ROAD, before, last)[0])
    assert total == pytest.approx(1.0 + 2.0 - 19 * 0.5 * 0.2, abs=1e-5)
    assert terminated(np, task, last).tolist() == [True]


def test_a_crash_costs_once_and_others_are_paid_on():
    task = IntersectionTask(num_agents=3, human_rate=0.0)
    status = [Status.DRIVING, Status.DRIVING, Status.WAITING]
    before = scene((1, 140.0, 10.0), (4, 140.0, 10.0), (7, 0.0, 0.0), task=task, status=status)
    after = moved(before)._replace(status=np.array([Status.CRASHED, Status.DRIVING, Status.WAITING]))
    paid = rewards(np, task, ROAD, before, after)
    assert paid[0] == pytest.approx(-10.1)
    assert paid[1] == pytest.approx(5 / (ROAD.length[4] - SPAWN_POSITION) - 0.1)
    assert paid[2] == 0
    later = rewards(np, task, ROAD, after, moved(after))
    assert later[0] == 0
    assert terminated(np, task, after).tolist() == [True, False, False]
    team = IntersectionTask(num_agents=3, human_rate=0.0, team=True)
    assert rewards(np, team, ROAD, before, after) == pytest.approx(np.full(3, paid.mean()))
    assert not terminated(np, team, after).any()


def test_gaps_are_found_between_the_moments_of_decision():
    task = IntersectionTask(num_agents=2, human_rate=0.0)
    # crossing behind the other: 3 m apart at both ends of the decision, but closer in between
    before = scene((NORTH_STRAIGHT, ENTRY + 11.0, 13.0), (EAST_STRAIGHT, ENTRY + 6.0, 13.0), task=task)
    after = moved(before)
    between = smallest_gaps(np, task, ROAD, before, after)
    for here in (before, after):
        pose = poses_at(np, ROAD, here.movement, here.position)
        one, two = (Pose(*(part[k] for part in pose)) for k in (0, 1))
        assert 0.5 < between[0] < gaps(np, one, two) - 2
    assert between[0] == between[1]
    crashed = after._replace(status=np.array([Status.CRASHED, Status.CRASHED]), present=np.array([False, False]))
    assert smallest_gaps(np, task, ROAD, before, crashed).tolist() == [0, 0]


def test_a_newcomer_in_the_place_of_a_human_who_left_is_no_near_miss():
    task = IntersectionTask(num_agents=1, max_humans=1)
    before = scene((NORTH_STRAIGHT, 30.0, 0.0), (NORTH_STRAIGHT, 190.0, 10.0), task=task)
    after = scene((NORTH_STRAIGHT, 30.0, 0.0), (NORTH_STRAIGHT, 10.0, 10.0), task=task)
    assert smallest_gaps(np, task, ROAD, before, after).tolist() == [10.0]


def test_costs_grow_with_nearness_and_speed():
    task = IntersectionTask(num_agents=4, human_rate=0.0)
    speeds = (13.89, 13.89, 0.0, 13.89)
    before = scene(*[(1, 100.0, v) for v in speeds], task=task)
    after = before._replace(status=np.array([Status.DRIVING] * 3 + [Status.CRASHED]))
    cost = costs(np, task, before, after, np.array([0.5, 2.5, 0.1, 0.0], np.float32))
    assert cost == pytest.approx([0.5 * 0.75, 0, 0, 1])


def test_metrics_of_an_episode():
    task = IntersectionTask(num_agents=2, human_rate=0.0)
    tally = new_tally(np, task, ())
    here = scene((1, 20.0, 10.0), (4, 20.0, 10.0), task=task)
    braking = here._replace(speed=np.array([7.75, 10.0], np.float32), position=here.position + 4)
    tally = update_tally(np, task, tally, here, braking, np.array([3.0, 1.5]), Crashes(0.0, np.zeros(3, np.float32)))
    figures = metrics(np, task, tally, braking)
    assert figures["collision"] == 0
    assert np.isnan(figures["crossing_time"])
    assert np.isnan(figures["impact_speed"])
    end = braking._replace(status=np.array([Status.ARRIVED, Status.CRASHED]))
    crashes = Crashes(7.0, np.array([0, 0, 1], np.float32))
    tally = update_tally(np, task, tally, braking, end, np.array([10.0, 0.0]), crashes)
    figures = metrics(np, task, tally, end)
    assert {name: float(value) for name, value in figures.items()} == {
        "collision": 1.0,
        "collisions": 1.0,
        "crashes_with_agents": 0.0,
        "crashes_with_lawful": 0.0,
        "crashes_with_reckless": 1.0,
        "arrival": 0.5,
        "crossing_time": 1.0,
        "near_miss": 0.0,
        "impact_speed": 7.0,
        "hard_braking": 0.5,
    }


@pytest.mark.parametrize(
    ("pairs", "partners"),
    [
        ([], [0, 0, 0]),
        ([[0, 1]], [2, 0, 0]),
        ([[0, 3]], [0, 1, 0]),
        ([[4, 1]], [0, 0, 1]),
        ([[3, 4]], [0, 0, 0]),
        ([[0, 1], [1, 2], [2, 0]], [3, 0, 0]),
        ([[0, 3], [4, 0]], [0, 1, 1]),
        ([[0, 4], [1, 4], [2, 3]], [0, 1, 2]),
        ([[0, 4], [4, 0]], [0, 0, 1]),
    ],
)
def test_partners_of_crashes_in_the_simulator(pairs, partners):
    kinds = [AGENT_KIND, AGENT_KIND, AGENT_KIND, HUMAN_KIND, RECKLESS_KIND]
    assert crash_partners(pairs, kinds) == partners


# ---- one statement for both simulators


@pytest.mark.parametrize("task", [IntersectionTask(), IntersectionTask(num_agents=8, human_rate=0.0, team=True)])
def test_numpy_and_jax_state_the_same_task(task):
    before = random_scenes(task, 20)
    after = moved(before)._replace(status=random_scenes(task, 20, 1).status)
    noise = np.random.default_rng(0).random((3, task.num_agents, task.num_cars, 20)).astype(np.float32)
    road = jax.tree.map(jnp.asarray, ROAD)

    def state_all(xp, road, before: Scene, after: Scene, noise):
        pose = poses_at(xp, road, after.movement, after.position)
        gap = smallest_gaps(xp, task, road, before, after)
        crashes = Crashes(xp.zeros(20), xp.ones((3, 20), "float32"))
        tally: Tally = update_tally(xp, task, new_tally(xp, task, (20,)), before, after, gap, crashes)
        return {
            "observations": observe(xp, task, road, after, pose),
            "noisy": observe(xp, task, road, after, pose, noise),
            "global_state": global_state(xp, task, road, after, pose),
            "available": available_actions(xp, task, after),
            "rewards": rewards(xp, task, road, before, after),
            "terminated": terminated(xp, task, after),
            "costs": costs(xp, task, before, after, gap),
            "gap": gap,
            "metrics": metrics(xp, task, tally, after),
        }

    ours = state_all(np, ROAD, before, after, noise)
    theirs = jax.jit(lambda b, a, n: state_all(jnp, road, b, a, n))(
        jax.tree.map(jnp.asarray, before), jax.tree.map(jnp.asarray, after), jnp.asarray(noise)
    )
    for (path, mine), yours in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        assert mine.dtype == yours.dtype, path
        assert np.allclose(mine, np.asarray(yours), atol=2e-4, equal_nan=True), path


@pytest.mark.parametrize("movement", range(3))
def test_cars_are_placed_between_decisions_to_a_few_centimetres(movement):
    """The cubics of `tracks` against the path itself, at a turn's usual speeds and a constant acceleration."""
    start = np.arange(100.0, 180.0, 0.5, dtype=np.float32)
    for speed, acceleration in ((6.0, 0.0), (8.0, -4.5), (4.0, 2.6)):
        positions, speeds = [start], [np.full(start.shape, speed, np.float32)]
        for _ in range(5):
            speeds.append(speeds[-1] + np.float32(0.1 * acceleration))
            positions.append(positions[-1] + np.float32(0.1) * speeds[-1])
        along = Track(np.full(start.shape, movement), start, positions[-1], speeds[0], speeds[-1])
        placed = tracks(np, ROAD, along)
        for step in range(5):
            exact = poses_at(np, ROAD, along.movement, positions[step + 1])
            assert np.hypot(placed.x[step] - exact.x, placed.y[step] - exact.y).max() < 0.1
            assert np.hypot(placed.back_x[step] - exact.back_x, placed.back_y[step] - exact.back_y).max() < 0.1


def test_ranks_are_those_of_a_stable_sort():
    keys = np.random.default_rng(0).integers(4, size=(2, 6, 50)).astype(np.float32)
    expected = np.argsort(np.argsort(keys, 1, kind="stable"), 1)
    assert np.array_equal(ranks(np, keys), expected)
    assert np.array_equal(ranks(jnp, jnp.asarray(keys)), expected)
