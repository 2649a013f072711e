"""The corridor test: which estimator makes a policy risk-averse, and at which tolerance.

The right answer is known in closed form (`averse.environments.corridor`): safe up to tau = 3, risky from tau = 5 on.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import averse

TAUS = [1.0, 3.0, 5.0, 8.0]
SEEDS = 4


def risky_probability(steps=2e5, seeds=SEEDS, taus=TAUS, **settings) -> np.ndarray:
    """Probability of the risky action, mean over the corridor's steps, [tau, seed]."""
    run = averse.train(
        "corridor", "rqe-mappo", steps=steps, seeds=seeds, tau=taus,
        num_envs=64, rollout_steps=40, segment_length=10, **settings,
    )  # fmt: skip
    observations = jnp.eye(10)[:, None]
    available = jnp.ones((10, 1, 2), bool)

    def probability(state):
        actions, _ = jax.vmap(lambda key: run.learner.act(state, observations, available, key))(
            jax.random.split(jax.random.key(0), 1000)
        )
        return (actions == 1).mean()

    return np.asarray(jax.jit(jax.vmap(probability))(run.learner_states)).reshape(len(taus), seeds)


def test_the_default_advantage_is_safe_at_a_low_tolerance_and_risky_at_a_high_one():
    safe, risky = risky_probability(steps=3e4, seeds=1, taus=[1.0, 8.0])
    assert safe < 0.3
    assert risky > 0.7


@pytest.mark.optimised
@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_the_default_advantage_is_as_averse_as_tau_says():
    safe_1, safe_3, risky_5, risky_8 = risky_probability()
    assert (safe_1 < 0.2).all()
    assert (safe_3 < 0.2).all()
    assert (risky_5 > 0.6).all()
    assert (risky_8 > 0.8).all()


@pytest.mark.optimised
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_risk_in_the_baseline_alone_changes_nothing():
    """The ablation that shows why the default is what it is: risky at every tolerance."""
    assert (risky_probability(advantage="risk-value") > 0.8).all()
