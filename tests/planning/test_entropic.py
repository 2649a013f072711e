"""Entropic planning against the enumeration of trajectories and policies, and at the extremes of tau."""

import numpy as np
import pytest

from averse.errors import AverseError
from averse.planning import FiniteMDP, entropic_evaluation, entropic_value_iteration, evaluate_policy
from averse.planning.numerics import entropic

from . import oracles
from .oracles import random_mdp, random_policy


@pytest.mark.parametrize("tau", [0.05, 0.7, 5.0, np.inf])
@pytest.mark.parametrize("gamma", [0.8, 1.0])
@pytest.mark.parametrize("reward_axes", [2, 3])
def test_evaluation_is_the_enumeration_of_trajectories(tau, gamma, reward_axes):
    for seed in range(3):
        mdp = random_mdp(seed, gamma=gamma, reward_axes=reward_axes, sparse=seed == 1, initial=[0.2, 0.5, 0.3])
        for policy in (random_policy(seed, 3, 3, 2), random_policy(seed, 3, 2)):
            table = np.broadcast_to(policy, (3, 3, 2))
            probs, returns = oracles.trajectories(mdp, table)
            exact = probs @ returns if np.isinf(tau) else oracles.entropic(probs, returns, tau)
            assert entropic_evaluation(mdp, policy, tau).value == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.6, 1.0])
def test_the_optimum_is_the_best_of_all_policies(gamma):
    """Over all deterministic policies that depend on time, and, at one seed, on the whole history."""
    for seed, tau in ((0, 0.3), (1, 2.0), (2, np.inf)):
        mdp = random_mdp(seed, states=2, gamma=gamma, scale=2)
        measure = (lambda p, z: p @ z) if np.isinf(tau) else (lambda p, z, tau=tau: oracles.entropic(p, z, tau))
        best = max(measure(*oracles.trajectories(mdp, table)) for table in oracles.markov_policies(mdp))
        plan = entropic_value_iteration(mdp, tau)
        assert plan.value == pytest.approx(best, abs=1e-12)
        assert measure(*oracles.trajectories(mdp, plan.policy)) == pytest.approx(best, abs=1e-12)
        histories = max(measure(*paths) for paths in oracles.history_policies(mdp, 0))
        assert histories == pytest.approx(best, abs=1e-12)


def test_optimal_policies_depend_on_time_under_discount():
    """The example of fading aversion: the same gamble is refused at first and accepted later."""
    reward = np.array([[[0.9, 0.9], [3.0, -1.0]]] * 2)
    mdp = FiniteMDP(np.full((2, 2, 2), 0.5), reward, gamma=0.5, horizon=8)
    plan = entropic_value_iteration(mdp, 2.0)
    assert plan.actions[0, 0] == 0
    assert plan.actions[-1, 0] == 1
    assert (np.diff(plan.actions[:, 0]) >= 0).all()


def test_nested_by_its_recursion_and_against_static():
    """The recursion state by state, in extended precision. Without discount nested and static are the same number."""
    tau = 0.8
    for seed in range(3):
        mdp = random_mdp(seed, gamma=0.7)
        values = np.zeros(3)
        for _ in range(3):
            table = [
                [oracles.entropic(mdp.transition[s, a], mdp.rewards[s, a] + 0.7 * values, tau) for a in range(2)]
                for s in range(3)
            ]
            values = np.max(table, -1)
        nested = entropic_value_iteration(mdp, tau, "nested")
        np.testing.assert_allclose(nested.values[0], values, atol=1e-12)
        assert nested.value < entropic_value_iteration(mdp, tau).value - 1e-4
        undiscounted = random_mdp(seed, gamma=1.0)
        static, again = (entropic_value_iteration(undiscounted, tau, kind).value for kind in ("static", "nested"))
        assert static == again


def test_infinite_nested_is_the_fixed_point_and_the_limit_of_long_horizons():
    for seed in range(3):
        mdp = random_mdp(seed, horizon=None, gamma=0.9)
        plan = entropic_value_iteration(mdp, 0.5, "nested", tolerance=1e-12)
        assert plan.bound < 1e-10
        long = entropic_value_iteration(random_mdp(seed, horizon=400, gamma=0.9), 0.5, "nested")
        np.testing.assert_allclose(plan.values[0], long.values[0], atol=1e-10)
        again = entropic_evaluation(mdp, plan.policy, 0.5, "nested")
        np.testing.assert_allclose(again.values[0], plan.values[0], atol=1e-9)


@pytest.mark.parametrize("tau", [0.05, 1.0, 100.0])
def test_infinite_static_within_its_bound_of_long_horizons(tau):
    for seed in range(3):
        mdp, longer = (random_mdp(seed, horizon=horizon, gamma=0.85) for horizon in (None, 300))
        limit = entropic_value_iteration(longer, tau).value
        bounds = []
        for tolerance in (0.3, 1e-3, 1e-9):
            plan = entropic_value_iteration(mdp, tau, tolerance=tolerance)
            bounds.append(plan.bound)
            assert -1e-11 <= plan.value - limit <= plan.bound + 1e-11
            # The policy itself, followed for long, is worth as much as promised.
            table = np.concatenate([plan.policy, np.repeat(plan.policy[-1:], 300, 0)])[:300]
            worth = entropic_evaluation(longer, table, tau).value
            assert plan.value - plan.bound - 1e-11 <= worth <= limit + 1e-11
            evaluated = entropic_evaluation(mdp, plan.policy, tau, tolerance=1e-9)
            assert evaluated.value == pytest.approx(worth, abs=evaluated.bound + 1e-11)
        assert bounds[0] > bounds[1] > bounds[2]
        assert bounds[2] < 1e-7


def test_tau_infinity_is_the_mean_and_the_way_there_is_smooth():
    for horizon in (5, None):
        mdp = random_mdp(4, horizon=horizon, gamma=0.9)
        neutral = entropic_value_iteration(mdp, np.inf)
        mean = entropic_evaluation(mdp, neutral.policy, np.inf)
        assert neutral.value == pytest.approx(mean.value, abs=1e-12)
        for tau in (1e6, 1e9, 1e15):
            assert entropic_value_iteration(mdp, tau).value == pytest.approx(neutral.value, abs=20 / tau + 1e-12)
        assert neutral.bound == 0


@pytest.mark.parametrize("reward_scale", [1e-3, 1.0, 1e6])
def test_no_overflow_and_no_lost_digits_from_tau_1e_minus_3_to_1e9(reward_scale):
    """Monotone in tau between the worst case and the mean; the premium var/(2 tau) to its leading digits."""
    policy = random_policy(0, 3, 2)
    finite = random_mdp(5, horizon=4, gamma=0.95, scale=reward_scale)
    infinite = random_mdp(5, horizon=None, gamma=0.95, scale=reward_scale)
    probs, returns = oracles.trajectories(finite, np.broadcast_to(policy, (4, 3, 2)))
    taus = 10.0 ** np.arange(-3, 10)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        values = [entropic_evaluation(finite, policy, tau).value for tau in taus]
        for kind in ("static", "nested"):
            optima = [entropic_value_iteration(infinite, tau, kind).value for tau in taus]
            assert np.all(np.diff(optima) >= -1e-9 * reward_scale)
            assert np.isfinite(optima).all()
    exact = [oracles.entropic_to_40_digits(probs, returns, tau) for tau in taus]
    np.testing.assert_allclose(values, exact, rtol=1e-12, atol=1e-12 * reward_scale)
    assert returns.min() <= values[0] <= values[-1] <= probs @ returns + 1e-12 * reward_scale


def test_one_step_keeps_the_digits_of_a_tiny_premium():
    """Fair coin +-1: -tau log cosh(1/tau), whose leading term is -1/(2 tau)."""
    for tau in (1e3, 1e6, 1e9):
        found = float(entropic(np.array([1.0, -1.0]), np.array([0.5, 0.5]), tau))
        assert found == pytest.approx(-1 / (2 * tau), rel=1e-5)
    # A catastrophe of probability 1e-300, at a tolerance at which it decides.
    found = float(entropic(np.array([-1000.0, 0.0]), np.array([1e-300, 1.0]), 1.0))
    assert found == pytest.approx(-1000 + 300 * np.log(10), rel=1e-12)


def loop():
    """State 0: wander (-1 a step, ends with probability 1/2) or take the direct way (-3); state 1 is the end."""
    return FiniteMDP([[[0.5, 0.5], [0, 1]], [[0, 1], [0, 1]]], [[-1, -3], [0, 0]])


def test_shortest_path_in_closed_form():
    """u = (1 - p) e^(c/tau) / (1 - p e^(c/tau)) while p e^(c/tau) < 1, else infinite; the direct way costs 3."""
    for tau in (1.6, 3.0, 50.0, 1e6, 1e9):
        growth = np.exp(1 / tau)
        wander = -tau * (np.log1p(-0.5) + 1 / tau - np.log(1 - 0.5 * growth))
        policy = np.array([[1.0, 0], [1, 0]])
        assert entropic_evaluation(loop(), policy, tau).value == pytest.approx(wander, rel=1e-5 if tau > 1e5 else 1e-12)
        plan = entropic_value_iteration(loop(), tau)
        assert plan.value == pytest.approx(max(wander, -3), rel=1e-5 if tau > 1e5 else 1e-12)
        assert plan.actions[0, 0] == (0 if wander > -3 else 1)
    # The premium of the geometric number of steps, variance 2, keeps its digits.
    policy = np.array([[1.0, 0], [1, 0]])
    assert entropic_evaluation(loop(), policy, 1e9).value + 2 == pytest.approx(-1e-9, rel=1e-5)
    assert entropic_value_iteration(loop(), np.inf).value == pytest.approx(-2, rel=1e-14)
    for tau in (1e-3, 0.1, 1.0, 1.4):  # wandering is infinitely bad
        assert entropic_value_iteration(loop(), tau).value == pytest.approx(-3, rel=1e-14)
        with pytest.raises(AverseError, match="not finite at tau"):
            entropic_evaluation(loop(), policy, tau)


def test_shortest_path_is_the_limit_of_long_horizons_and_the_best_of_all_policies():
    """Or all policies are infinitely bad somewhere, and then it says so."""
    refused = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        transition = (0.8 - 0.1 * seed) * rng.dirichlet(np.ones(4), (4, 2))
        transition[..., 3] += 1 - transition.sum(-1)
        transition[3] = [0, 0, 0, 1]
        reward = -rng.random((4, 2, 4))
        reward[:, :, 3] += 2  # of any sign on the way out
        reward[3] = 0
        mdp = FiniteMDP(transition, reward)
        for tau in (0.5, 1.0, 4.0, np.inf):
            values = []
            for policy in oracles.stationary_policies(mdp):
                try:
                    values.append(entropic_evaluation(mdp, policy, tau).values[0])
                except AverseError:
                    continue
            if not values:
                refused += 1
                with pytest.raises(AverseError, match="no policy has a finite entropic value from state"):
                    entropic_value_iteration(mdp, tau)
                continue
            plan = entropic_value_iteration(mdp, tau)
            np.testing.assert_allclose(plan.values[0], np.max(values, 0), atol=1e-11)
            long = entropic_value_iteration(FiniteMDP(transition, reward, horizon=400), tau)
            np.testing.assert_allclose(plan.values[0], long.values[0], atol=1e-9)
    assert 0 < refused < 12


def test_shortest_paths_that_do_not_exist_are_refused():
    with pytest.raises(AverseError, match="no policy has a finite entropic value from state 0 at tau = 1"):
        entropic_value_iteration(FiniteMDP([[[0.5, 0.5]], [[0, 1]]], [[-1.0], [0]]), 1.0)
    with pytest.raises(AverseError, match="there are none"):
        entropic_value_iteration(random_mdp(0, horizon=None, gamma=1), 1.0)
    stuck = np.array([[[1, 0]], [[0, 1]]], float)
    with pytest.raises(AverseError, match="state 0 cannot reach"):
        entropic_value_iteration(FiniteMDP(stuck, [[-1.0], [0.0]]), 1.0)
    lazy = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]]], float)
    with pytest.raises(AverseError, match="from state 0 to 0 by action 0 then costs nothing"):
        entropic_value_iteration(FiniteMDP(lazy, [[0.0, -1], [0, 0]]), 1.0)
    assert entropic_value_iteration(FiniteMDP(lazy, [[-0.1, -1], [0, 0]]), 1.0).value == -1
    with pytest.raises(AverseError, match="does not reach an absorbing state"):
        entropic_evaluation(FiniteMDP(lazy, [[-0.1, -1], [0, 0]]), [[1, 0], [1, 0]], 1.0)


def test_the_measure_of_a_policy_by_name():
    mdp, policy = random_mdp(6), random_policy(6, 3, 2)
    assert evaluate_policy(mdp, policy, "entropic:2") == entropic_evaluation(mdp, policy, 2).value
    assert evaluate_policy(mdp, policy) == entropic_evaluation(mdp, policy, np.inf).value
