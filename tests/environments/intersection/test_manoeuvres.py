"""Manoeuvres: what each does to a car's speed, on scenes made by hand and against crashes found by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.environments.intersection.crashes import CELL, crash_exactly, distance_to_contact
from averse.environments.intersection.following import agent_motion
from averse.environments.intersection.geometry import exit_arm, geometry
from averse.environments.intersection.manoeuvres import CREEP, EASE, GO, YIELD, accelerations, speed_limit
from averse.environments.intersection.task import ACCELERATIONS, CAR_LENGTH, MAX_SPEED, Scene

ROAD = geometry()
ENTRY, ZONE = float(ROAD.entry[0]), ROAD.zones.reshape(12, 12, 5)
NORTH_STRAIGHT, EAST_STRAIGHT, SOUTH_STRAIGHT, WEST_STRAIGHT = 1, 4, 7, 10


def scene(*cars: tuple[int, float, float]) -> Scene:
    """All cars (movement, position, speed), a batch of one."""
    movement, position, speed = (np.array(column)[:, None] for column in zip(*cars, strict=True))
    present = np.ones(movement.shape, bool)
    return Scene(movement, position.astype(np.float32), speed.astype(np.float32), present, None, None)


def drive(here: Scene, manoeuvre: int, decisions: int) -> list[tuple[float, float]]:
    """The first car's position and speed after each decision of that kind; the others keep their speed."""
    seen = []
    for _ in range(decisions):
        chosen = accelerations(np, ROAD, here, np.full((1, 1), manoeuvre))
        rates = np.zeros(here.speed.shape)
        rates[0] = np.array(ACCELERATIONS)[chosen[0]]
        position, speed = here.position, here.speed
        for _ in range(5):
            position, speed = agent_motion(np, position, speed, rates)
        here = here._replace(position=position, speed=speed)
        seen.append((float(position[0, 0]), float(speed[0, 0])))
    return seen


def limit(here: Scene, manoeuvre: int) -> float:
    return float(speed_limit(np, ROAD, here, np.full((1, 1), manoeuvre))[0, 0])


@pytest.mark.parametrize("speed", [0.0, 3.0, 8.0, 13.89])
@pytest.mark.parametrize("distance", [25.0, 40.0, 111.5])
def test_to_yield_is_to_stop_shortly_before_the_line(distance, speed):
    places = drive(scene((NORTH_STRAIGHT, ENTRY - distance, speed)), YIELD, 60)
    assert all(position < ENTRY for position, _ in places)
    assert places[-1][1] == 0
    assert places[-1][0] > ENTRY - 2.0  # nor does it stop long before


def test_to_ease_is_to_lose_a_metre_per_second_and_to_go_is_to_gain_what_one_can():
    here = scene((NORTH_STRAIGHT, 40.0, 10.0))
    assert drive(here, EASE, 1)[0][1] == pytest.approx(9.0)
    assert drive(here, GO, 1)[0][1] == pytest.approx(11.3)
    assert drive(here, GO, 8)[-1][1] == pytest.approx(MAX_SPEED)
    assert drive(scene((NORTH_STRAIGHT, 40.0, 0.4)), EASE, 1)[0][1] == 0


@pytest.mark.parametrize("leader_speed", [0.0, 4.0])
@pytest.mark.parametrize("manoeuvre", [EASE, GO, YIELD])
def test_nobody_runs_into_the_car_ahead(leader_speed, manoeuvre):
    here = scene((NORTH_STRAIGHT, 30.0, 13.0), (NORTH_STRAIGHT, 60.0, leader_speed))
    for k, (position, _) in enumerate(drive(here, manoeuvre, 15)):
        assert position < 60.0 + leader_speed * 0.5 * (k + 1) - CAR_LENGTH - 1.0


def test_who_has_turned_off_or_left_by_another_arm_is_no_leader():
    away = scene((NORTH_STRAIGHT, 135.0, 10.0), (0, float(ROAD.exit[0]) + 8.0, 0.0))  # it turned right, to the west
    assert limit(away, GO) > MAX_SPEED - 1e-3
    same = scene((NORTH_STRAIGHT, 150.0, 10.0), (3, float(ROAD.exit[3]) + 12.0, 0.0))  # from the east, to the north
    assert limit(same, GO) > MAX_SPEED - 1e-3
    joined = scene((NORTH_STRAIGHT, float(ROAD.exit[1]) - 2, 10.0), (5, float(ROAD.exit[5]) + 8.0, 0.0))  # to the south
    assert limit(joined, GO) < 5.0


def test_a_car_that_stands_in_the_way_is_stopped_for_and_one_beside_it_passed():
    across = scene((NORTH_STRAIGHT, ENTRY - 30.0, 13.0), (EAST_STRAIGHT, ENTRY + 11.0, 0.0))
    places = drive(across, GO, 20)
    assert places[-1][1] == 0
    assert ENTRY < places[-1][0] < ENTRY + 9.2 - 1.6 - 0.9 + 0.1  # before the side of the other, at y = 2.5
    beside = scene((NORTH_STRAIGHT, ENTRY - 30.0, 13.0), (EAST_STRAIGHT, ENTRY + 4.0, 0.0))
    assert drive(beside, GO, 20)[-1][0] > ENTRY + 60.0
    moving = scene((NORTH_STRAIGHT, ENTRY + 1.0, 8.0), (EAST_STRAIGHT, ENTRY + 11.0, 8.0))
    assert limit(moving, GO) > MAX_SPEED - 1e-3  # whoever moves is the agent's own affair


def test_on_the_junction_to_yield_is_to_creep_unless_somebody_is_coming_who_cannot_stop():
    alone = scene((NORTH_STRAIGHT, ENTRY + 1.0, 6.0))
    assert [speed for _, speed in drive(alone, YIELD, 8)][-1] == pytest.approx(CREEP, abs=1.0)
    assert min(speed for _, speed in drive(alone, YIELD, 20)) > 0.5
    room = float(ZONE[NORTH_STRAIGHT, WEST_STRAIGHT, 1]) - ENTRY  # to the zone of the far lane
    committed = scene((NORTH_STRAIGHT, ENTRY + 0.5, 2.0), (WEST_STRAIGHT, ENTRY - 15.0, 13.0))
    places = drive(committed, YIELD, 3)
    assert places[-1][0] <= ENTRY + room
    # whoever can still stop is let go first if he comes within 4 s at his present speed, and only then
    to_zone = float(ZONE[NORTH_STRAIGHT, WEST_STRAIGHT, 3]) - ENTRY
    for seconds, expected in ((3.9, 0.0), (4.1, CREEP)):
        coming = scene(
            (NORTH_STRAIGHT, ENTRY + room - 0.6, 0.0), (WEST_STRAIGHT, ENTRY + to_zone - 10.0 * seconds, 10.0)
        )
        assert limit(coming, YIELD) == pytest.approx(expected, abs=0.25)
    inside = scene((NORTH_STRAIGHT, ENTRY + room + 2.0, 2.0), (WEST_STRAIGHT, ENTRY - 15.0, 13.0))
    assert limit(inside, YIELD) == pytest.approx(CREEP)  # it is in the way already: it clears it


def test_contacts_are_those_that_driving_on_finds():
    """Against the outlines themselves, every 2 cm along the path, for cars that stand anywhere on the junction."""
    generator, road, found = np.random.default_rng(0), geometry("float64"), []
    for _ in range(300):
        m, k = generator.integers(12, size=2)
        if m // 3 == k // 3 or exit_arm(m) == exit_arm(k):
            continue  # the car ahead is another matter
        start = float(road.entry[m]) - generator.uniform(0, 20)
        other = float(road.entry[k]) + generator.uniform(0.0, 20.0)
        path = np.arange(start, float(road.exit[m]) + CAR_LENGTH, 0.02)
        count = np.full(path.shape, 1)
        touch = crash_exactly(np, road, m * count, path, k * count, other + 0 * path)
        ahead = float(distance_to_contact(np, road, m, start, k, other))
        if not touch.any():
            # close by at most: a cell further on, or back, it would be touched
            near = any(
                crash_exactly(np, road, m * count, path, k * count, other + shift + 0 * path).any()
                for shift in (-1.5 * CELL, 1.5 * CELL)
            )
            assert near or ahead == np.inf
            continue
        exact = path[touch.argmax()] - start
        found.append(exact - ahead)
    assert len(found) > 25
    assert min(found) > 0  # never told too late
    assert np.mean(found) < 3 * CELL


def test_numpy_and_jax_carry_out_the_same():
    generator, shape = np.random.default_rng(0), (12, 3000)
    here = Scene(
        generator.integers(12, size=shape).astype(np.int32),
        generator.uniform(10, 190, shape).astype(np.float32),
        (generator.uniform(0, 13.89, shape) * generator.integers(2, size=shape)).astype(np.float32),
        generator.random(shape) < 0.7,
        None,
        None,
    )
    manoeuvre = generator.integers(3, size=(4, 3000)).astype(np.int32)
    ours = accelerations(np, ROAD, here, manoeuvre)
    road = jax.tree.map(jnp.asarray, ROAD)
    theirs = jax.jit(lambda here, m: accelerations(jnp, road, here, m))(jax.tree.map(jnp.asarray, here), manoeuvre)
    assert ours.dtype == theirs.dtype == np.int32
    assert np.mean(ours == np.asarray(theirs)) > 0.999  # a limit may be met to the last digit in one of them
    assert set(np.unique(ours)) == set(range(len(ACCELERATIONS)))
