"""A categorical head tells what its atoms do to the returns, as a categorical critic does."""

import jax
import numpy as np
import pytest
from random_trajectory import World, trajectory

from averse import learners
from averse.risk import projection_std

SMALL = {"num_envs": 2, "rollout_steps": 8, "batch_size": 4, "gradient_steps": 1, "buffer_size": 8, "hidden": (8,)}


@pytest.mark.parametrize("measure", ["entropic:2", "mean"])
@pytest.mark.thorough
def test_c51_tells_what_its_atoms_add(measure):
    world = World()
    learner = learners.learner("c51", world, measure=measure, num_atoms=11, **SMALL)
    state = jax.jit(learner.init)(jax.random.key(0))
    metrics = {
        name: float(x) for name, x in jax.jit(learner.update)(state, trajectory(world, learner, state))[1].items()
    }
    # Atoms 2 apart, and rewards and returns anywhere between them.
    assert 0.3 * projection_std(2.0, 0.99) < metrics["support_std"] < 1.1 * projection_std(2.0, 0.99)
    assert 0.0 < metrics["clamped_mass"] < 1.0
    if measure == "mean":
        assert "support_premium" not in metrics
    else:
        assert metrics["support_premium"] == pytest.approx(metrics["support_std"] ** 2 / 4, rel=0.3)


def test_quantiles_have_no_support():
    world = World()
    learner = learners.learner("qr-dqn", world, num_atoms=4, **SMALL)
    state = jax.jit(learner.init)(jax.random.key(0))
    metrics = jax.eval_shape(learner.update, state, trajectory(world, learner, state))[1]
    assert not {"support_std", "clamped_mass"} & metrics.keys()
    assert np.isfinite(projection_std(1.0, 0.99))
