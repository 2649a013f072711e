"""The exact distribution of returns, and measures of it."""

import numpy as np
import pytest
from scipy.stats import binom

from averse.planning import FiniteMDP, evaluate_policy, return_distribution
from averse.risk import CVaR, Entropic, Expectation

from . import oracles
from .oracles import random_mdp, random_policy


@pytest.mark.parametrize("gamma", [0.0, 0.7, 1.0])
def test_distribution_is_the_enumeration_of_trajectories(gamma):
    for seed in range(2):
        mdp = random_mdp(seed, gamma=gamma, sparse=True, initial=[0.5, 0, 0.5])
        policy = random_policy(seed, 3, 3, 2)
        probs, returns = oracles.trajectories(mdp, policy)
        found = return_distribution(mdp, policy)
        assert (np.diff(found.values) > 0).all()
        points = (found.values[1:] + found.values[:-1]) / 2
        expected = [probs[returns < point].sum() for point in points]
        np.testing.assert_allclose(np.cumsum(found.probs)[:-1], expected, atol=1e-12)
        assert found.probs.sum() == pytest.approx(1, abs=1e-14)
        for alpha in (0.05, 0.4):
            assert found(CVaR(alpha)) == pytest.approx(oracles.cvar(probs, returns, alpha), abs=1e-12)
        assert evaluate_policy(mdp, policy, "worst-case") == pytest.approx(returns.min(), abs=1e-12)
        for measure in (Entropic(0.5), Expectation()):  # two ways to the same number
            assert found(measure) == pytest.approx(evaluate_policy(mdp, policy, measure), abs=1e-12)


def test_equal_sums_merge():
    """0.1 a step with probability one half, 60 steps: binomial, 61 values rather than 2^60."""
    mdp = FiniteMDP(np.full((2, 1, 2), 0.5), np.array([[[0.1, 0.0]]] * 2), horizon=60)
    found = return_distribution(mdp, np.ones((2, 1)))
    np.testing.assert_allclose(found.values, np.arange(61) / 10, atol=1e-12)
    np.testing.assert_allclose(found.probs, binom.pmf(np.arange(61), 60, 0.5), rtol=1e-10)
