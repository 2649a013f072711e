"""Robust planning against linear and convex programs of scipy, and the identity with the entropic measure."""

import numpy as np
import pytest
from scipy.optimize import linprog, minimize, minimize_scalar

from averse.planning import (
    FiniteMDP,
    entropic_value_iteration,
    kl_penalised_value_iteration,
    robust_value_iteration,
)
from averse.planning.numerics import tilted
from averse.planning.robust import chi_square_worst_case, divergence, kl_worst_case

from . import oracles
from .oracles import random_mdp

BALLS = ("l1", "kl", "chi-square")


def distance(ball, q, p):
    """How far q [..., N] is from p, by the definitions; inf off the support."""
    if ball == "l1":
        return np.abs(q - p).sum(-1)
    outside = np.any((p == 0) & (q > 0), -1)
    safe = np.where(p > 0, p, 1)
    if ball == "kl":
        found = np.sum(np.where((p > 0) & (q > 0), q * np.log(np.where(q > 0, q, 1) / safe), 0), -1)
    else:
        found = np.sum(np.where(p > 0, (q - p) ** 2 / safe, 0), -1)
    return np.where(outside, np.inf, found)


def l1_program(p, z, radius):
    """min q'z over |q - p| <= radius as a linear program in q and slacks."""
    n = len(p)
    rows = np.block([[np.eye(n), -np.eye(n)], [-np.eye(n), -np.eye(n)], [np.zeros((1, n)), np.ones((1, n))]])
    limits = np.concatenate([p, -p, [radius]])
    simplex = np.concatenate([np.ones(n), np.zeros(n)])[None]
    return linprog(np.concatenate([z, np.zeros(n)]), rows, limits, simplex, [1]).fun


def dual_program(ball, p, z, radius):
    """The convex dual of the inner problem in one variable, by scipy's scalar search: a lower bound that is tight."""
    z, p = z[p > 0], p[p > 0]
    if ball == "kl":

        def loss(x):
            level = np.exp(x)
            return level * np.log(p @ np.exp(-(z - z.min()) / level)) - z.min() + level * radius

        found = minimize_scalar(loss, bounds=(-30, 30), method="bounded", options={"xatol": 1e-12})
    else:

        def loss(x):
            return -x + np.sqrt((1 + radius) * p @ np.maximum(x - z, 0) ** 2)

        top = z.min() + 1 + 1e4 * np.ptp(z)
        coarse = minimize_scalar(loss, bounds=(z.min(), top), method="bounded", options={"xatol": 1e-13})
        fine = minimize_scalar(loss, bounds=(z.min(), z.max()), method="bounded", options={"xatol": 1e-13})
        found = min(coarse, fine, key=lambda answer: answer.fun)
    return -found.fun


def primal_program(ball, p, z, radius):
    """The inner problem itself by SLSQP, on the support of p, from p."""
    support = p > 0
    z, p = z[support], p[support]

    def slack(q):
        q = np.maximum(q, 1e-300)
        spent = np.sum(q * np.log(q / p)) if ball == "kl" else np.sum((q - p) ** 2 / p)
        return radius - spent

    constraints = [{"type": "eq", "fun": lambda q: q.sum() - 1}, {"type": "ineq", "fun": slack}]
    found = minimize(z.__matmul__, p, bounds=[(0, 1)] * len(p), constraints=constraints, options={"ftol": 1e-14})
    return found.fun


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("radius", [1e-6, 0.05, 0.5, 1.5])
def test_the_inner_problem_is_the_program_of_scipy(ball, radius):
    """One backup of random models, some with impossible transitions and with ties."""
    for seed in range(4):
        mdp = random_mdp(seed, states=5, horizon=1, sparse=seed % 2 == 1)
        if seed >= 2:
            mdp = FiniteMDP(mdp.transition, np.round(mdp.reward), 0.9, 1)
        plan = robust_value_iteration(mdp, radius, ball)
        q = plan.transition[0]
        assert (q >= 0).all()
        np.testing.assert_allclose(q.sum(-1), 1, atol=1e-12)
        assert (distance(ball, q, mdp.transition) <= radius * (1 + 1e-9) + 1e-15).all()
        attained = np.sum(q * mdp.rewards, -1)
        np.testing.assert_allclose(plan.values[0], attained.max(-1), atol=1e-13)
        for s, a in np.ndindex(5, 2):
            p, z = mdp.transition[s, a], mdp.rewards[s, a]
            if ball == "l1":
                assert attained[s, a] == pytest.approx(l1_program(p, z, radius), abs=1e-9)
            else:
                assert attained[s, a] == pytest.approx(dual_program(ball, p, z, radius), abs=2e-8)
                if radius >= 0.05:
                    assert attained[s, a] <= primal_program(ball, p, z, radius) + 1e-7


def robust_policy_program(mdp, policy, radius):
    """The robust value [S] of a policy under L1, as one linear program over values and the duals of nature's problems.

    max sum V, V(s) <= sum_a pi (r + gamma (mu + p'y - radius kappa)), mu + y <= V', |y| <= kappa, for rewards r(s, a).
    """
    states, actions = mdp.num_states, mdp.num_actions
    pairs = [(s, a) for s in range(states) for a in range(actions)]
    width = states + 2  # mu, kappa, y
    size = states + width * len(pairs)
    rows, limits = [], []
    for s in range(states):
        row = np.zeros(size)
        row[s] = 1
        for k, (state, a) in enumerate(pairs):
            if state == s:
                at = states + width * k
                row[at : at + width] = -mdp.gamma * policy[s, a] * np.r_[1, -radius, mdp.transition[s, a]]
        rows.append(row)
        limits.append(policy[s] @ mdp.reward[s])
    for k in range(len(pairs)):
        at = states + width * k
        for following in range(states):
            row = np.zeros(size)
            row[at], row[at + 2 + following], row[following] = 1, 1, -1
            rows.append(row)
            limits.append(0)
            for sign in (1, -1):
                row = np.zeros(size)
                row[at + 2 + following], row[at + 1] = sign, -1
                rows.append(row)
                limits.append(0)
    cost = np.r_[-np.ones(states), np.zeros(size - states)]
    return linprog(cost, np.array(rows), limits, bounds=(None, None)).x[:states]


@pytest.mark.parametrize("radius", [0.1, 0.7])
def test_l1_value_iteration_is_the_best_linear_program(radius):
    for seed in range(3):
        mdp = random_mdp(seed, horizon=None, gamma=0.8, reward_axes=2)
        programs = [robust_policy_program(mdp, policy, radius) for policy in oracles.stationary_policies(mdp)]
        plan = robust_value_iteration(mdp, radius)
        np.testing.assert_allclose(plan.values[0], np.max(programs, 0), atol=1e-8)
        mixed = oracles.random_policy(seed, 3, 2)
        evaluated = robust_value_iteration(mdp, radius, policy=mixed)
        np.testing.assert_allclose(evaluated.values[0], robust_policy_program(mdp, mixed, radius), atol=1e-8)


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("horizon", [None, 4])
def test_the_worst_case_model_attains_the_value_and_no_other_in_the_ball_is_worse(ball, horizon):
    rng = np.random.default_rng(0)
    for seed in range(3):
        mdp = random_mdp(seed, states=4, actions=3, horizon=horizon, gamma=0.9)
        radii = rng.random((4, 3)) * 0.5
        plan = robust_value_iteration(mdp, radii, ball, tolerance=1e-12)
        steps = len(plan.policy)
        assert plan.transition.shape == (steps, 4, 3, 4)
        assert (distance(ball, plan.transition, mdp.transition) <= radii * (1 + 1e-9)).all()

        def worth(models, policies, horizon=horizon, mdp=mdp):
            """Values at the start under transitions and a policy per step, by plain recursion."""
            values = np.zeros(4)
            for t in reversed(range(horizon or 400)):
                model, policy = models[t % len(models)], policies[t % len(policies)]
                values = np.sum(policy[..., None] * model * (mdp.rewards + mdp.gamma * values), (1, 2))
            return values

        np.testing.assert_allclose(worth(plan.transition, plan.policy), plan.values[0], atol=1e-9)
        for _ in range(5):  # other models in the ball: shrink random directions until they fit
            other = rng.dirichlet(np.ones(4), (4, 3))
            weight = np.ones((4, 3, 1))
            for _ in range(60):
                inside = distance(
                    ball, mdp.transition + weight[..., 0, None] * (other - mdp.transition), mdp.transition
                )
                weight = np.where((inside <= radii)[..., None], weight, 0.8 * weight)
            model = mdp.transition + weight * (other - mdp.transition)
            assert (worth(model[None], plan.policy) >= plan.values[0] - 1e-9).all()
        for _ in range(5):  # other policies against this worst case do no better (saddle point)
            policy = rng.dirichlet(np.ones(3), (steps, 4))
            assert (worth(plan.transition, policy) <= plan.values[0] + 1e-9).all()


@pytest.mark.parametrize("ball", BALLS)
def test_radius_zero_is_nominal_and_a_huge_one_is_the_worst_outcome(ball):
    mdp = random_mdp(0, horizon=None, sparse=True)
    nominal = robust_value_iteration(mdp, 0, ball)
    np.testing.assert_allclose(nominal.values, entropic_value_iteration(mdp, np.inf).values[:1], atol=1e-8)
    np.testing.assert_array_equal(nominal.transition[0], mdp.transition)
    values = np.zeros(3)
    for _ in range(400):
        reachable = np.ones_like(mdp.transition, bool) if ball == "l1" else mdp.transition > 0
        values = np.where(reachable, mdp.rewards + mdp.gamma * values, np.inf).min(-1).max(-1)
    np.testing.assert_allclose(robust_value_iteration(mdp, 1e6, ball).values[0], values, atol=1e-8)
    previous = np.inf
    for radius in (0, 1e-12, 1e-9, 1e-6, 1e-3, 0.1, 1, 10):
        value = robust_value_iteration(mdp, radius, ball).value
        assert value <= previous + 1e-9
        previous = value


@pytest.mark.parametrize("ball", BALLS)
def test_awkward_outcomes(ball):
    """Constant rewards, near ties, tiny probabilities, huge scales: still a distribution in the ball, and monotone."""
    p = np.array([[1e-12, 0.3, 0.7 - 1e-12], [0.5, 0.5, 0.0], [1, 0, 0]])
    for z in ([1.0, 1, 1], [1, 1 + 1e-15, 1], [1, 1 + 1e-9, 2], [-1e9, 0, 1e9], [1e-300, 0, 0], [5, 5, -5]):
        for radius in (1e-14, 1e-8, 0.3, 0.999, 1.0, 1.001, 3):
            mdp = FiniteMDP(p[:, None], np.broadcast_to(z, (3, 1, 3)), horizon=1)
            with np.errstate(over="raise", invalid="raise"):
                plan = robust_value_iteration(mdp, radius, ball)
            q = plan.transition[0]
            assert np.isfinite(q).all()
            np.testing.assert_allclose(q.sum(-1), 1, atol=1e-12)
            assert (distance(ball, q, mdp.transition) <= radius * (1 + 1e-9) + 1e-15).all()
            mean = np.sum(mdp.transition * mdp.rewards, -1)[:, 0]
            assert (plan.values[0] <= mean + 1e-15 * np.abs(z).max()).all()


def test_a_worst_outcome_of_vanishing_probability_hides_nothing():
    """chi-square can hardly move mass there: the problem of the other two outcomes, mean - sqrt(radius variance)."""
    p, z = np.array([[[1e-44, 0.6, 0.4]]]), np.array([[[0.0, 0.5, 1.0]]])
    for radius in (1e-6, 0.1, 0.5):
        q = chi_square_worst_case(p, z, radius)
        assert np.sum(q * z) == pytest.approx(0.7 - np.sqrt(radius * 0.06), abs=1e-12)
        q = kl_worst_case(p, z, radius)  # which can: at a price of about 100 nats per unit of mass
        assert np.sum(q * z) == pytest.approx(dual_program("kl", p[0, 0], z[0, 0], radius), abs=1e-7)


@pytest.mark.parametrize("tau", [1e-3, 0.5, 3.0, 1e9, np.inf])
def test_the_entropic_measure_is_the_kl_penalised_robust_value(tau):
    """The identity that ties the two: nested with a price of tau per step, static with tau/gamma^t."""
    for seed in range(3):
        finite = random_mdp(seed, horizon=4, sparse=seed == 1)
        for kind in ("static", "nested"):
            plan, risk = kl_penalised_value_iteration(finite, tau, kind), entropic_value_iteration(finite, tau, kind)
            np.testing.assert_allclose(plan.values, risk.values, atol=1e-12)
            np.testing.assert_array_equal(plan.actions, risk.actions)
        infinite = random_mdp(seed, horizon=None)
        plan = kl_penalised_value_iteration(infinite, tau, "nested", tolerance=1e-12)
        np.testing.assert_allclose(plan.values, entropic_value_iteration(infinite, tau, "nested").values, atol=1e-8)


def test_nature_pays_no_more_than_it_must():
    """E_q + tau KL(q || p) over random q, and by a convex program over the whole return: never below the entropic."""
    rng = np.random.default_rng(1)
    p, z = rng.dirichlet(np.ones(6)), rng.normal(size=6)
    for tau in (0.2, 2.0):
        q = tilted(p, z, tau)
        price = q @ z + tau * divergence(q, p)
        assert price == pytest.approx(oracles.entropic(p, z, tau), abs=1e-13)
        for other in rng.dirichlet(np.ones(6), 50):
            assert other @ z + tau * divergence(other, p) >= price
        loss = lambda x, tau=tau: x @ z + tau * np.sum(x * np.log(np.maximum(x, 1e-300) / p))  # noqa: E731
        simplex = {"type": "eq", "fun": lambda x: x.sum() - 1}
        found = minimize(loss, p, bounds=[(0, 1)] * 6, constraints=simplex, options={"ftol": 1e-14})
        assert found.fun == pytest.approx(price, abs=1e-7)
