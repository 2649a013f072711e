"""What SUMO's workers answer, stated by compiled code: against the task's own functions on numpy arrays."""

import jax
import numpy as np
import pytest

pytest.importorskip("libsumo")

from averse.environments.intersection.geometry import geometry, poses_at
from averse.environments.intersection.manoeuvres import accelerations
from averse.environments.intersection.observations import available_actions, global_state, observe
from averse.environments.intersection.rewards import (
    Crashes,
    Tally,
    costs,
    metrics,
    new_tally,
    rewards,
    smallest_gaps,
    terminated,
    update_tally,
)
from averse.environments.intersection.task import NO_OP, Scene, Status
from averse.environments.sumo.encoding import scene_of
from averse.environments.sumo.environment import SumoIntersection

ROAD = geometry()
WORLD = SumoIntersection(horizon=30, human_rate=0.4, observation_noise=1.0, dropout=0.1)


def seen(state) -> list[np.ndarray]:
    """Observations, global state and available actions, batch first, as numpy has them."""
    scene = scene_of(state)
    pose, noise = poses_at(np, ROAD, scene.movement, scene.position), np.moveaxis(state["noise"], (0, -1), (-1, 0))
    parts = (
        observe(np, WORLD, ROAD, scene, pose, noise),
        global_state(np, WORLD, ROAD, scene, pose),
        available_actions(np, WORLD, scene),
    )
    return [np.moveaxis(part, -1, 0) for part in parts]


def fresh_where(ended: np.ndarray, fresh, old):
    return jax.tree.map(lambda new, before: np.where(ended, new, before), fresh, old)


def same(ours, expected) -> None:
    """Equal but for the last bits, in which compiled sums of products are rounded once less."""
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


def test_compiled_steps_are_those_that_numpy_would_state():
    num_envs, steps = 3, 110
    generator = np.random.default_rng(0)
    ends = crashes = 0
    with WORLD.vector(num_envs) as vector:
        step = vector.reset_endless(3)
        scene, tally = scene_of(vector.batch.now), new_tally(np, WORLD, (num_envs,))
        for _ in range(steps):
            actions = generator.integers(1, 3, (num_envs, 4)).astype(np.int32)
            told = accelerations(np, ROAD, scene, actions.T)
            step = vector.step(actions)
            batch = vector.batch
            commands = vector.pool.fields(vector.rows)["actions"]["actions"]
            assert np.array_equal(commands, np.where(scene.status == Status.DRIVING, told, NO_OP).T)
            after = scene_of(batch.after)
            gap = smallest_gaps(np, WORLD, ROAD, scene, after)
            crash = Crashes(batch.outcome["impact_speed"], batch.outcome["partners"].T)
            tally = update_tally(np, WORLD, tally, scene, after, gap, crash)
            same([step.next_observations, step.next_global_state, step.next_available], seen(batch.after))
            same([step.observations, step.global_state, step.available], seen(batch.now))
            same([step.rewards], [rewards(np, WORLD, ROAD, scene, after).T])
            same([step.costs], [costs(np, WORLD, scene, after, gap).T])
            assert np.array_equal(step.terminated, terminated(np, WORLD, after).T)
            for name, figure in metrics(np, WORLD, tally, after).items():
                same([step.info[name]], [figure])
            assert np.array_equal(step.done, batch.ended)
            crashes += (step.costs == 1).sum()
            ends += batch.ended.sum()
            scene = Scene(*fresh_where(batch.ended, scene_of(batch.now), after))
            tally = Tally(*fresh_where(batch.ended, new_tally(np, WORLD, (num_envs,)), tally))
    assert ends >= 9
    assert crashes >= 1
