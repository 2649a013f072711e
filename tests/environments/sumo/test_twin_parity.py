"""The compiled twin against SUMO, without other drivers: motion to 1e-6 m, crashes step by step, followers exactly."""

from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("libsumo")

from sumo_facts import alone, follower, recorded_episodes
from tiers import first_quick

from averse.environments.intersection.crashes import crash, crash_exactly, crash_table, lanes_of_movement, table_rows
from averse.environments.intersection.following import agent_motion, following_speed, next_speed
from averse.environments.intersection.geometry import geometry, poses_at
from averse.environments.intersection.starts import START_NUMBERS, agent_starts
from averse.environments.intersection.task import (
    ACCELERATIONS,
    CAR_LENGTH,
    HUMAN_MIN_GAP,
    MAX_SPEED,
    STEPS_PER_DECISION,
    Status,
)
from averse.environments.intersection.twin import Intersection
from averse.environments.sumo.encoding import scene_of
from averse.environments.sumo.environment import SumoIntersection

EPISODES = {4: 90, 8: 60}  # about 95 of them with a crash
ROAD = geometry("float64")


@cache
def recorded(num_agents, times=1):
    return alone(recorded_episodes, num_agents, times * EPISODES[num_agents])


def replay(episode):
    """Positions [steps, N] as the twin's motion gives them, until SUMO's first crash, beside SUMO's trace."""
    for decision, actions in enumerate(episode["actions"]):
        movement, position, speed = (np.array(part) for part in episode["cars"][decision])
        driving = np.array(episode["status"][decision]) == Status.DRIVING
        acceleration = np.where(driving, np.array(ACCELERATIONS)[actions], 0.0)
        for step in range(STEPS_PER_DECISION):
            moved, changed = agent_motion(np, position, speed, acceleration)
            position, speed = np.where(driving, moved, position), np.where(driving, changed, speed)
            yield (
                decision * STEPS_PER_DECISION + step,
                movement.astype(int),
                driving,
                position,
                episode["trace"][decision][step],
            )


@pytest.mark.parametrize("num_agents", first_quick([4, 8]))
def test_poses_equal_those_of_sumo(num_agents):
    worst, compared = 0.0, 0
    for episode in recorded(num_agents)[:50]:
        for _, movement, driving, position, rows in replay(episode):
            wrecked = (rows[:, 0] >= 0) & (rows[:, 2] < 0)
            here = driving & (rows[:, 0] >= 0)
            mine = poses_at(np, ROAD, movement[here], position[here])
            sumo = poses_at(np, ROAD, rows[here, 0].astype(int), rows[here, 1])
            if wrecked.any():
                break  # SUMO has forgotten where a car was when it crashed
            compared += here.sum()
            worst = max([worst, *(np.abs(a - b).max(initial=0) for a, b in zip(mine[:4], sumo[:4], strict=True))])
    assert compared > 10_000
    assert worst < 1e-6


@cache
def crashes(num_agents, exact, times):
    """Of each episode with a crash in SUMO or in the twin: (step, cars) of the first in each, None where none is."""
    table, found = crash_table(), []
    i, j = np.triu_indices(num_agents, 1)
    for episode in recorded(num_agents, times):
        in_sumo, in_twin = None, None
        for step, movement, driving, position, rows in replay(episode):
            m, k = np.maximum(movement[i], 0), np.maximum(movement[j], 0)
            if exact:
                touch = crash_exactly(np, ROAD, m, position[i], k, position[j])
            else:
                lanes = lanes_of_movement(np, ROAD, m), lanes_of_movement(np, ROAD, k)
                touch = crash(np, table, table_rows(m, k), lanes[0], position[i], lanes[1], position[j])
            touch &= driving[i] & driving[j]
            wrecked = np.flatnonzero((rows[:, 0] >= 0) & (rows[:, 2] < 0))
            if in_twin is None and touch.any():
                in_twin = (step, frozenset(np.concatenate([i[touch], j[touch]]).tolist()))
            if in_sumo is None and len(wrecked):
                in_sumo = (step, frozenset(wrecked.tolist()))
            if in_twin and in_sumo:
                break
            if in_sumo and step > in_sumo[0] + 10:
                break  # in SUMO the cars are gone
        if in_sumo or in_twin:
            found.append((in_sumo, in_twin))
    return found


@pytest.mark.parametrize("exact", first_quick([False, True]), ids=["table", "octagons"])
@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_the_same_cars_crash_at_the_same_step(exact, times):
    found = crashes(4, exact, times) + crashes(8, exact, times)
    assert len(found) >= 75 * times
    same = [a is not None and b is not None and a[1] == b[1] for a, b in found]
    in_time = [s and abs(a[0] - b[0]) <= 1 for s, (a, b) in zip(same, found, strict=True)]
    assert np.mean(same) >= 0.98
    assert np.mean(in_time) >= 0.9


@pytest.mark.thorough
def test_whole_episodes_of_the_environment_end_as_in_sumo():
    env = Intersection(human_rate=0.0, control="acceleration")
    step = jax.jit(env.step)
    start, _ = jax.jit(env.reset)(jax.random.key(0))
    agree = 0
    episodes = recorded(4)[:60]
    for episode in episodes:
        starts = episode["starts"]
        state = start._replace(
            departure=jnp.array(starts["departure"], jnp.int32),
            departure_speed=jnp.array(starts["speed"], jnp.float32),
        )
        _, position, speed = (np.array(part) for part in episode["cars"][0])
        status = np.array(episode["status"][0])
        state = state._replace(
            scene=start.scene._replace(
                movement=jnp.array(starts["movement"], jnp.int32),
                position=jnp.array(position, jnp.float32),
                speed=jnp.array(speed, jnp.float32),
                present=jnp.array(status == Status.DRIVING),
                status=jnp.array(status, jnp.int32),
            )
        )
        same = True
        for t, actions in enumerate(episode["actions"]):
            state = step(jax.random.key(t), state, jnp.array(actions)).state
            same &= np.array_equal(state.scene.status, episode["status"][t + 1])
            driving = np.array(episode["status"][t + 1]) == Status.DRIVING
            if not same:
                break
            np.testing.assert_allclose(
                np.asarray(state.scene.position)[driving], np.array(episode["cars"][t + 1][1])[driving], atol=2e-3
            )
        agree += same
    assert agree >= 0.9 * len(episodes)


@pytest.mark.thorough
@pytest.mark.parametrize("num_agents", [4, 8])
def test_manoeuvres_are_carried_out_as_in_sumo(num_agents):
    """Random manoeuvres without humans, from the same start: the same places at every decision, the same ends."""
    twin = Intersection(human_rate=0.0, num_agents=num_agents)
    simulator = SumoIntersection(human_rate=0.0, num_agents=num_agents)
    count = 24
    generator = np.random.default_rng(0)
    choices = generator.integers(3, size=(twin.horizon, count, num_agents)).astype(np.int32)
    rush = 2 * generator.integers(2, size=(twin.horizon, count // 2, num_agents)).astype(np.int32)
    choices[:, : count // 2] = np.maximum(choices[:, : count // 2], rush)  # half of the episodes mostly go
    step, place = jax.jit(jax.vmap(twin.step)), jax.jit(jax.vmap(twin.global_state))
    keys = jax.random.split(jax.random.key(0), count)
    start, _ = jax.jit(jax.vmap(twin.reset))(keys)
    starts = [
        agent_starts(np, simulator, np.random.default_rng(seed).random((START_NUMBERS, num_agents)))
        for seed in range(count)
    ]
    same = np.ones(count, bool)
    ended, compared, crashed, errors = np.zeros(count, bool), 0, 0, []
    with simulator.vector(count) as vector:
        seen = vector.reset(np.arange(count, dtype=np.uint32)[:, None])
        scene = jax.tree.map(jnp.asarray, scene_of(vector.batch.now))
        scene = jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), scene)
        movement = jnp.array([s.movement for s in starts], jnp.int32)
        state = start._replace(
            scene=scene._replace(movement=movement, status=scene.status.astype(jnp.int32)),
            departure=jnp.array([s.departure for s in starts], jnp.int32),
            departure_speed=jnp.array([s.speed for s in starts], jnp.float32),
        )
        for actions in choices:
            state, *_, info = step(keys, state, jnp.asarray(actions))
            seen = vector.step(actions)
            status = scene_of(vector.batch.after).status.T
            same &= ended | (np.asarray(state.scene.status) == status).all(1)
            going = same & ~ended
            ours, theirs = np.asarray(place(state))[going], seen.next_global_state[going]
            errors.append(np.abs(ours - theirs).max(initial=0) * 150)
            compared += going.sum()
            crashes = np.asarray(info["crashes_with_agents"])[going]
            assert np.array_equal(crashes, seen.info["crashes_with_agents"][going])
            for name, expected in (("collisions", crashes), ("crashes_with_lawful", 0), ("crashes_with_reckless", 0)):
                assert (info[name][going] == expected).all()
                assert (seen.info[name][going] == expected).all()
            crashed += seen.info["crashes_with_agents"][going & seen.done].sum()
            ended |= seen.done
            if ended.all():
                break
    assert compared > 500
    assert crashed > 5
    assert np.mean(same) >= 0.9  # crashes are seen to within a step, and a car less changes what others do
    assert max(errors) < 2e-2  # m


@pytest.mark.parametrize("seed", first_quick(range(5)))
def test_followers_drive_as_in_sumo(seed):
    rows = alone(follower, seed)  # leader's and follower's position and speed after each step
    position, speed = rows[0, 1], rows[0, 3]
    errors = []
    for before, after in pairwise(rows):
        gap = before[0] - CAR_LENGTH - HUMAN_MIN_GAP - position
        speed = next_speed(np, speed, MAX_SPEED, following_speed(np, gap, before[2]), 0.0)
        position = position + speed * 0.1
        errors.append((position - after[1], speed - after[3]))
    assert len(errors) > 50
    assert np.ptp(rows[:, 2]) > 1.0  # the leader did change its speed
    assert np.sqrt(np.mean(np.square(errors), 0)).max() < 1e-6
