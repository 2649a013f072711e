"""At the junction a short training with manoeuvres and sets beats rushing, and what agents could do and see before."""

import numpy as np
import pytest

import averse
from averse.experiments.drivers import drive, driver

pytestmark = pytest.mark.optimised

SEEDS, EPISODES = 3, 300


def collision_rates(**settings) -> np.ndarray:
    """Of each training seed's policy, after 160,000 steps."""
    run = averse.train("intersection", "mappo", steps=1.6e5, seeds=SEEDS, num_envs=64, rollout_steps=32, **settings)
    episodes = averse.evaluate(run, episodes=EPISODES).episodes
    crashed = episodes.metrics["collision"]
    return np.array([crashed[episodes.training_seed == seed].mean() for seed in range(SEEDS)])


def test_manoeuvres_and_sets_learn_to_crash_less_than_rushing_and_than_accelerations_with_a_dense_network():
    new, old = collision_rates(), collision_rates(control="acceleration", network="dense")
    rushing = drive(*driver("rush", averse.make("intersection")), np.arange(EPISODES)).metrics["collision"].mean()
    assert rushing > 0.3
    assert new.max() < 0.75 * rushing  # measured: .11 to .19 of .37
    assert new.max() < 0.75 * old.min()  # .34 to .41
