"""At the junction a short training with manoeuvres and sets beats rushing, and what agents could do and see before."""

import numpy as np
import pytest

import averse
from averse.experiments.drivers import drive, driver

pytestmark = pytest.mark.optimised

SEEDS, EPISODES = 3, 300


def collision_rates(**settings) -> np.ndarray:
    """Of each training seed's policy, after 80,000 steps."""
    settings = {"num_envs": 64, "rollout_steps": 32, "seeds_as": "loop", **settings}
    run = averse.train("intersection", "mappo", steps=8e4, seeds=SEEDS, **settings)
    episodes = averse.evaluate(run, episodes=EPISODES).episodes
    crashed = episodes.metrics["collision"]
    return np.array([crashed[episodes.training_seed == seed].mean() for seed in range(SEEDS)])


@pytest.fixture(scope="module")
def learned() -> np.ndarray:
    return collision_rates()


def test_manoeuvres_and_sets_soon_crash_less_than_rushing(learned):
    rushing = drive(*driver("rush", averse.make("intersection")), np.arange(EPISODES)).metrics["collision"].mean()
    assert rushing > 0.3
    assert learned.mean() < 0.75 * rushing
    assert learned.max() < rushing


@pytest.mark.slow
def test_and_less_than_accelerations_with_a_dense_network(learned):
    old = collision_rates(control="acceleration", network="dense")
    assert learned.mean() < 0.75 * old.mean()
    assert learned.max() < old.min()
