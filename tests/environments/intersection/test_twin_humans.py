"""Human drivers of the compiled intersection: they follow, give way, take their turn; the reckless do not give way."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.environments.adapters.hosted import HostedVector
from averse.environments.intersection.crashes import crash_exactly, crash_table
from averse.environments.intersection.departures import EARLY_HUMANS, early_humans, gaps_between, tempers
from averse.environments.intersection.following import next_speed, stopping_speed
from averse.environments.intersection.geometry import geometry
from averse.environments.intersection.humans import HALTING_SPEED, junction_speeds, limits, outlook, yields
from averse.environments.intersection.task import (
    ARMS,
    CAR_LENGTH,
    HUMAN_SPEED_DEVIATION,
    SPAWN_POSITION,
    IntersectionTask,
    Status,
)
from averse.environments.intersection.twin import Intersection

ROAD = geometry()
ENTRY = float(ROAD.entry[0])
NORTH_STRAIGHT, EAST_STRAIGHT, SOUTH_STRAIGHT, WEST_STRAIGHT = 1, 4, 7, 10
ALL_STRAIGHT = (NORTH_STRAIGHT, EAST_STRAIGHT, SOUTH_STRAIGHT, WEST_STRAIGHT)
NEVER = 1e9


def drive(movements, distances, reckless=False, seconds=40.0, seed=0):
    """Humans alone, from `distances` m before the line at 11 m/s: when each enters the junction, and all positions."""
    cars = len(movements)
    view = outlook(np, ROAD, np.array(movements), np.ones(cars), np.full(cars, reckless))
    position, speed = ENTRY - np.array(distances, float), np.full(cars, 11.0)
    entered, waited, present = np.full(cars, NEVER), np.zeros(cars), np.ones(cars, bool)
    generator, track = np.random.default_rng(seed), []
    for step in range(round(seconds * 10)):
        desired, safe = limits(np, view, position, speed, present, entered, waited)
        speed = next_speed(np, speed, desired, safe, generator.random(cars))
        position = position + 0.1 * speed
        entered = np.where((entered == NEVER) & (position > ENTRY), step / 10, entered)
        waited = np.where(speed < HALTING_SPEED, waited + 0.1 + 1e-4 * np.arange(cars), 0.0)
        track.append(position)
    return entered, np.array(track)


def test_right_of_way_is_that_of_the_network():
    table = yields()
    assert table[NORTH_STRAIGHT, WEST_STRAIGHT]  # the west arm lies to the right of who comes from the north
    assert not table[WEST_STRAIGHT, NORTH_STRAIGHT]
    assert not table[::3].any()  # right turns have nobody to let pass
    assert not (table & table.T).any()
    assert junction_speeds()[0] < junction_speeds()[2] < junction_speeds()[1]  # right, left, straight


def test_alone_a_driver_slows_for_the_view_but_does_not_stop():
    entered, track = drive([NORTH_STRAIGHT], [80.0])
    speeds = np.diff(track[:, 0]) / 0.1
    at_line = speeds[int(entered[0] * 10) - 1]
    assert 3.0 < at_line < 9.0
    assert speeds.min() > 2.0


def test_who_must_give_way_lets_the_other_pass_and_the_other_does_not_wait():
    alone, _ = drive([WEST_STRAIGHT], [80.0])
    entered, _ = drive([NORTH_STRAIGHT, WEST_STRAIGHT], [80.0, 80.0])
    assert entered[1] == pytest.approx(alone[0], abs=0.5)
    assert entered[0] > entered[1] + 0.5


def test_the_reckless_enter_as_if_alone():
    entered, _ = drive([NORTH_STRAIGHT, WEST_STRAIGHT], [80.0, 80.0], reckless=True)
    alone, _ = drive([NORTH_STRAIGHT], [80.0], reckless=True)
    assert entered[0] == pytest.approx(alone[0], abs=0.3)
    careful, _ = drive([NORTH_STRAIGHT], [80.0])
    assert alone[0] < careful[0]  # nor do they slow down for the view


@pytest.mark.parametrize("distances", [(80, 80, 80, 80), (80, 83, 80, 85), (80, 85, 90, 95)])
def test_four_who_yield_to_each_other_take_turns(distances):
    entered, track = drive(ALL_STRAIGHT, distances)
    assert entered.max() < 20.0  # in SUMO 13 s
    for i, j in ((0, 1), (1, 2), (2, 3), (3, 0)):
        assert abs(entered[i] - entered[j]) > 0.5
    for i, j in combinations(range(4), 2):
        one, other = (np.full(len(track), ALL_STRAIGHT[k]) for k in (i, j))
        assert not crash_exactly(np, ROAD, one, track[:, i], other, track[:, j]).any()


def test_a_queue_keeps_its_distance_and_never_touches():
    _, track = drive([WEST_STRAIGHT, NORTH_STRAIGHT, NORTH_STRAIGHT, NORTH_STRAIGHT], [70.0, 80.0, 92.0, 104.0])
    inside = track[:, 1] < ENTRY  # while the first of the three is on its arm
    gaps = track[inside][:, 1:-1] - track[inside][:, 2:] - CAR_LENGTH
    assert gaps.min() > 1.0


def test_whoever_may_stop_at_the_line_does_so_in_front_of_it():
    position, speed = 0.0, 12.0
    for _ in range(200):
        speed = float(next_speed(np, speed, 14.0, stopping_speed(np, 60.0 - position), 0.0))
        position += 0.1 * speed
    assert 59.0 < position <= 60.0


def test_humans_come_as_often_as_asked():
    """Arrivals at an arm are a Poisson stream; those of the last 10 s are on the road at the start."""
    task = IntersectionTask(human_rate=0.2)
    generator = np.random.default_rng(0)
    gaps = gaps_between(task, jnp.asarray(generator.random((EARLY_HUMANS, len(ARMS), 4000)), jnp.float32))
    assert float(gaps.mean()) == pytest.approx(len(ARMS) / 0.2, rel=0.03)
    temper = tempers(task, jnp.asarray(generator.random((3, task.num_humans, 4000)), jnp.float32))
    assert float(temper.factor.std()) == pytest.approx(HUMAN_SPEED_DEVIATION, rel=0.03)
    assert float(temper.reckless.mean()) == pytest.approx(task.reckless_fraction, abs=0.01)
    early = early_humans(task, gaps, temper)
    # 0.2/s for the 10 s, but whoever came too close behind another is left out
    assert 1.7 < float(early.present.sum(0).mean()) < 2.0
    where = np.asarray(early.position)[np.asarray(early.present)]
    assert where.min() >= SPAWN_POSITION
    assert where.max() <= ENTRY - 15.0


@pytest.fixture(scope="module")
def crossing():
    """Two agents and three lawful humans: a state, and the compiled step."""
    env = Intersection(num_agents=2, max_humans=3, reckless_fraction=0.0, control="acceleration")
    state, _ = jax.jit(env.reset)(jax.random.key(0))
    return state, jax.jit(env.step)


def test_a_crash_ends_the_episode_of_all_it_hits_and_tells_the_impact(crossing):
    state, step = crossing
    scene = state.scene._replace(
        movement=state.scene.movement.at[:2].set(jnp.array([NORTH_STRAIGHT, EAST_STRAIGHT])),
        position=state.scene.position.at[:2].set(ENTRY),
        speed=state.scene.speed.at[:2].set(10.0),
        present=jnp.array([True, True, False, False, False]),
        status=jnp.full(2, Status.DRIVING, jnp.int32),
    )
    state = state._replace(scene=scene, arrivals=jnp.full(4, NEVER))  # the agents are alone
    for t in range(4):
        result = step(jax.random.key(t), state, jnp.full(2, 2))
        state = result.state
        if result.terminated.all():
            break
    assert state.scene.status.tolist() == [Status.CRASHED, Status.CRASHED]
    assert float(result.info["collisions"]) == 2
    assert float(result.info["impact_speed"]) == pytest.approx(np.hypot(10, 10), abs=0.1)
    assert float(result.rewards[0]) < -9


CENTRE, ACROSS = (NORTH_STRAIGHT, ENTRY + 11.0), (EAST_STRAIGHT, ENTRY + 11.0)  # cars at both overlap
TAIL, HEAD = (SOUTH_STRAIGHT, 60.0), (SOUTH_STRAIGHT, 63.0)  # here too, far from the others
ALONE, AWAY = (WEST_STRAIGHT, 60.0), None
LAWFUL, RECKLESS = False, True


@pytest.mark.parametrize(
    ("agents", "humans", "partners"),
    [
        ((CENTRE, ACROSS), (), (2, 0, 0)),
        ((CENTRE, ALONE), ((ACROSS, LAWFUL),), (0, 1, 0)),
        ((CENTRE, ALONE), ((ACROSS, RECKLESS),), (0, 0, 1)),
        ((TAIL, ALONE), ((HEAD, RECKLESS),), (0, 0, 1)),
        ((CENTRE, TAIL), ((ACROSS, LAWFUL), (HEAD, RECKLESS)), (0, 1, 1)),
        ((CENTRE, ALONE), ((ACROSS, LAWFUL), (CENTRE, RECKLESS)), (0, 1, 1)),
        ((CENTRE, ALONE), ((ACROSS, RECKLESS), (CENTRE, RECKLESS)), (0, 0, 1)),
        ((CENTRE, ACROSS), ((CENTRE, LAWFUL), (ACROSS, RECKLESS)), (2, 2, 2)),
        ((CENTRE, ACROSS), ((TAIL, LAWFUL), (HEAD, RECKLESS)), (2, 0, 0)),
        ((ALONE, AWAY), ((TAIL, LAWFUL), (HEAD, RECKLESS)), (0, 0, 0)),
    ],
)
def test_crashes_are_split_by_with_whom(crossing, agents, humans, partners):
    """In whatever order the kinds of cars come, and once for each kind that an agent hits."""
    state, step = crossing
    places = [*agents, *(place for place, _ in humans)] + [AWAY] * (3 - len(humans))
    movement, position = zip(*(place or ALONE for place in places))
    present = [place is not AWAY for place in places]
    reckless = [False] * 2 + [kind for _, kind in humans] + [False] * (3 - len(humans))
    state = state._replace(
        scene=state.scene._replace(
            movement=jnp.array(movement, jnp.int32),
            position=jnp.array(position),
            speed=jnp.full(5, 5.0),
            present=jnp.array(present),
            status=jnp.where(jnp.array(present[:2]), Status.DRIVING, Status.ARRIVED).astype(jnp.int32),
        ),
        reckless=jnp.array(reckless),
        arrivals=jnp.zeros(4),  # at once lawful newcomers take the places of the reckless who crashed
    )
    for _ in range(3):  # it happens once
        result = step(jax.random.key(0), state, jnp.full(2, 2))
        state = result.state
        found = [float(result.info[f"crashes_with_{kind}"]) for kind in ("agents", "lawful", "reckless")]
        assert found == list(partners)
        assert state.scene.present[2:].any()


@pytest.mark.thorough
def test_numpy_drivers_meet_the_same_episodes_as_compiled_ones():
    """The vector for numpy policies: deterministic by seed, one episode per seed, then idle."""
    env = Intersection(num_agents=2, max_humans=2, horizon=60)
    seeds = np.arange(6, dtype=np.uint32).reshape(3, 2)

    def play(seeds):
        with HostedVector(env, len(seeds)) as vector:
            step, returns, ended = vector.reset(seeds), np.zeros(len(seeds)), []
            for _ in range(2 * env.horizon + 1):
                step = vector.step(np.full((len(seeds), 2), 2, np.int32))
                returns += step.rewards.sum(-1)
                for row in np.flatnonzero(step.done):
                    ended.append((row, returns[row]))
                    returns[row] = 0.0
            return ended, step

    ended, last = play(seeds)
    assert len(ended) == 6
    assert sorted(ended) == sorted(play(seeds)[0])
    assert not last.rewards.any()
    assert np.isnan(last.info["collision"]).all()
    beside_others, _ = play(np.array([[10, 11], [12, 13], [seeds[1, 0], 14]], np.uint32))
    first = dict(reversed(ended))
    assert next(value for row, value in beside_others if row == 2) == pytest.approx(first[1], abs=1e-4)


def test_the_table_of_crashes_is_kept_and_made_again_when_damaged(tmp_path, monkeypatch):
    whole = crash_table().words
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    crash_table.cache_clear()
    np.testing.assert_array_equal(crash_table().words, whole)
    (file,) = (tmp_path / "averse").glob("crashes-*.npy")
    file.write_bytes(file.read_bytes()[:100])
    crash_table.cache_clear()
    np.testing.assert_array_equal(crash_table().words, whole)
    assert file.stat().st_size > 60_000
    crash_table.cache_clear()


def test_no_array_of_the_state_is_empty():
    """Checkpoints cannot hold empty arrays; without humans some would be."""
    state = jax.eval_shape(Intersection(human_rate=0.0).reset, jax.random.key(0))[0]
    assert all(leaf.size for leaf in jax.tree.leaves(state))
