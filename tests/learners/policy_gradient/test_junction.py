"""At the junction a short training with manoeuvres and sets beats rushing, and what agents could do and see before."""

import numpy as np
import pytest

import averse

pytestmark = pytest.mark.optimised

SEEDS, EPISODES = 3, 300
RUSHING = 0.354  # collision rate of the driver `rush`, as docs/results.md and tests/environments/intersection say


def collision_rates(seeds=SEEDS, **settings) -> np.ndarray:
    """Of each training seed's policy, after 80,000 steps."""
    settings = {"num_envs": 64, "rollout_steps": 32, "seeds_as": "loop", **settings}
    run = averse.train("intersection", "mappo", steps=8e4, seeds=seeds, **settings)
    episodes = averse.evaluate(run, episodes=EPISODES).episodes
    crashed = episodes.metrics["collision"]
    return np.array([crashed[episodes.training_seed == seed].mean() for seed in range(seeds)])


@pytest.fixture(scope="module")
def learned() -> np.ndarray:
    return collision_rates()


@pytest.mark.thorough
def test_manoeuvres_and_sets_soon_crash_less_than_rushing():
    (rate,) = collision_rates(seeds=1)
    assert rate < RUSHING


@pytest.mark.slow
def test_and_far_less_on_average(learned):
    assert learned.mean() < 0.75 * RUSHING
    assert learned.max() < RUSHING


@pytest.mark.slow
def test_and_less_than_accelerations_with_a_dense_network(learned):
    old = collision_rates(control="acceleration", network="dense")
    assert learned.mean() < 0.75 * old.mean()
    assert learned.max() < old.min()
