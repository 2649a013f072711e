"""Optimal CVaR against the enumeration of all policies that depend on the whole history."""

import numpy as np
import pytest

from averse.errors import AverseError
from averse.planning import FiniteMDP, cvar_value_iteration
from averse.risk import CVaR

from . import oracles
from .oracles import random_mdp


def rounded(seed, gamma, horizon, states=2):
    """Rewards of one digit, so that different histories meet in the same sums."""
    mdp = random_mdp(seed, states=states, horizon=horizon, gamma=gamma, scale=2)
    return FiniteMDP(mdp.transition, np.round(mdp.reward), gamma, horizon)


@pytest.mark.parametrize("alpha", [0.02, 0.3, 0.8, 1.0])
def test_the_optimum_is_the_best_of_all_history_dependent_policies(alpha):
    problems = [random_mdp(seed, states=2, horizon=2 + seed % 2, gamma=0.8) for seed in range(4)]
    problems += [rounded(seed, 1.0, 3) for seed in range(3)] + [random_mdp(9, states=3, horizon=2, sparse=True)]
    for mdp in problems:
        best = max(oracles.cvar(*paths, alpha) for paths in oracles.history_policies(mdp, 0))
        plan = cvar_value_iteration(mdp, alpha)
        assert plan.value == pytest.approx(best, abs=1e-12)
        assert plan.returns(CVaR(alpha)) == pytest.approx(best, abs=1e-12)


def simulate_exactly(mdp, plan):
    """(probability, return) of every trajectory when `act` is asked at each step."""
    found = []

    def walk(t, state, prob, total):
        if t == mdp.horizon:
            found.append((prob, total))
            return
        action = plan.act(t, state, total)
        for following in np.flatnonzero(mdp.transition[state, action]):
            gain = mdp.gamma**t * mdp.rewards[state, action, following]
            walk(t + 1, following, prob * mdp.transition[state, action, following], total + gain)

    for state in np.flatnonzero(mdp.initial):
        walk(0, state, mdp.initial[state], 0.0)
    return np.array(found).T


def test_acting_by_the_plan_earns_its_value_from_a_random_start():
    for seed in range(3):
        mdp = random_mdp(seed, states=3, horizon=3, initial=[0.3, 0.3, 0.4])
        plan = cvar_value_iteration(mdp, 0.2)
        probs, returns = simulate_exactly(mdp, plan)
        assert oracles.cvar(probs, returns, 0.2) == pytest.approx(plan.value, abs=1e-12)
        assert probs[returns < plan.threshold - 1e-9].sum() <= 0.2 <= probs[returns <= plan.threshold + 1e-9].sum()
    with pytest.raises(AverseError, match="cannot occur at step 1"):
        plan.act(1, 0, 123.0)
    with pytest.raises(AverseError, match="step must be from 0 to 2"):
        plan.act(3, 0, 0.0)


def test_history_pays():
    """Lose 10 with probability 1/4, else nothing; then, in the same state either way, +1 for sure or 0 or 3.2.

    At alpha = 1/2 all losers are in the tail, where only the mean counts: they gamble (mean 1.6). Of the others a
    third is in the tail: they play safe. No policy that forgets what happened does both.
    """
    transition = np.zeros((5, 2, 5))
    transition[0, :, 1], transition[0, :, 2] = 0.25, 0.75
    transition[1:3, :, 3] = 1
    transition[3, 0, 4] = 1
    transition[3, 1, 4] = transition[3, 1, 0] = 0.5
    transition[4, :, 4] = 1
    reward = np.zeros((5, 2, 5))
    reward[0, :, 1] = -10
    reward[3, 0, 4], reward[3, 1, 4] = 1, 3.2
    plan = cvar_value_iteration(FiniteMDP(transition, reward, horizon=3), 0.5)
    assert (plan.act(2, 3, -10.0), plan.act(2, 3, 0.0)) == (1, 0)
    assert plan.value == pytest.approx(0.5 * -8.4 + 0.5 * 1, abs=1e-12)
    forgetful = max(
        oracles.cvar(*oracles.trajectories(FiniteMDP(transition, reward, horizon=3), table), 0.5)
        for table in (np.eye(2)[np.full((3, 5), action)] for action in (0, 1))
    )
    assert forgetful == pytest.approx(-4, abs=1e-12)
