"""The exact entropic policy gradient against finite differences of an objective found by listing all trajectories."""

import numpy as np
import pytest

from averse.planning import entropic_evaluation, policy_gradient

from . import oracles
from .oracles import random_mdp, softmax


def objective(mdp, tau):
    def value(logits):
        table = np.broadcast_to(softmax(logits), (mdp.horizon, mdp.num_states, mdp.num_actions))
        probs, returns = oracles.trajectories(mdp, table)
        return probs @ returns if np.isinf(tau) else oracles.entropic(probs, returns, tau)

    return value


@pytest.mark.parametrize("tau", [0.3, 2.0, np.inf])
@pytest.mark.parametrize("gamma", [0.8, 1.0])
def test_gradient_is_the_finite_difference(tau, gamma):
    for seed, shape in ((0, (3, 2)), (1, (2, 3, 2))):
        mdp = random_mdp(seed, horizon=2, gamma=gamma, reward_axes=3 - seed, initial=[0.5, 0.2, 0.3])
        logits = np.random.default_rng(seed).normal(size=shape)
        found = policy_gradient(mdp, logits, tau)
        np.testing.assert_allclose(found.gradient, oracles.differences(objective(mdp, tau), logits, 3e-3), atol=1e-10)
        assert found.value == pytest.approx(objective(mdp, tau)(logits), abs=1e-12)


def test_gradient_on_longer_problems_is_the_finite_difference_of_exact_evaluation():
    """5 states, 3 actions, horizon 6: beyond listing; the evaluation was tested by listing where that is possible."""
    for seed in range(2):
        mdp = random_mdp(seed, states=5, actions=3, horizon=6, gamma=0.9, sparse=True)
        for shape in ((5, 3), (6, 5, 3)):
            logits = np.random.default_rng(seed).normal(size=shape)
            value = lambda theta, mdp=mdp: entropic_evaluation(mdp, softmax(theta), 0.7).value  # noqa: E731
            found = policy_gradient(mdp, logits, 0.7).gradient
            np.testing.assert_allclose(found, oracles.differences(value, logits, 3e-3), atol=1e-8)


def test_advantages_visits_and_the_sum_over_actions():
    mdp = random_mdp(3, horizon=4)
    logits = np.random.default_rng(3).normal(size=(4, 3, 2))
    found = policy_gradient(mdp, logits, 0.6)
    np.testing.assert_allclose(found.visits.sum(-1), 1, atol=1e-13)
    np.testing.assert_allclose(np.sum(softmax(logits) * found.advantages, -1), 0, atol=1e-13)
    np.testing.assert_allclose(found.gradient.sum(-1), 0, atol=1e-13)


def test_no_overflow_for_any_tau_nor_for_hopeless_actions():
    mdp = random_mdp(4, horizon=5, scale=10)
    logits = np.random.default_rng(4).normal(size=(3, 2))
    logits[0, 1] = -1000.0  # its probability underflows, its outcome decides nothing
    neutral = policy_gradient(mdp, logits, np.inf)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for tau in 10.0 ** np.arange(-3, 10):
            found = policy_gradient(mdp, logits, tau)
            assert np.isfinite(found.gradient).all()
            assert np.isfinite(found.advantages).all()
    np.testing.assert_allclose(found.gradient, neutral.gradient, atol=1e-5, rtol=1e-6)
    assert abs(found.gradient - neutral.gradient).max() > 1e-12  # risk still shows at tau = 1e9
