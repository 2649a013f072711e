"""The width that projection adds: against simulated fixed points of the projected operator, and step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.learners.parts.predictions import Categorical as CategoricalPrediction
from averse.learners.parts.predictions import Transitions
from averse.risk import (
    Categorical,
    Entropic,
    categorical_lambda_returns,
    exponential_errors,
    project,
    projection_std,
    projection_variance,
    shift_and_project,
    uniform_support,
)


@jax.jit
def backed_up(support, gamma, rewards):
    """What projection makes, step by step, of the certain return of rewards [T, K], as probabilities [T, K, N]."""
    start = jnp.full((rewards.shape[1], len(support)), 1 / len(support), rewards.dtype)

    def step(probs, reward):
        probs = shift_and_project(probs, reward, gamma, support)
        return probs, probs

    return jax.lax.scan(step, start, rewards)[1]


@jax.jit
def moments(support, probs):
    """Mean and variance of probabilities on a support."""
    distribution = Categorical(support, probs)
    return distribution.mean(), distribution.variance()


worth = jax.jit(lambda measure, support, probs: measure(Categorical(support, probs)))
variance_added = jax.jit(projection_variance)


@pytest.mark.parametrize(("gamma", "spacing"), [(0.9, 1.0), (0.99, 1.0), (0.99, 0.25), (0.98, 3.0)])
def test_the_fixed_point_is_as_wide_as_said(gamma, spacing, float64):
    """Rewards that repeat after 800 steps, for ever: all returns are certain, and anywhere between atoms."""
    support = uniform_support(-60 * spacing, 60 * spacing, 121)
    cycle = spacing * np.random.default_rng(0).uniform(-2, 2, (800, 3))
    probs = np.asarray(backed_up(support, gamma, np.tile(cycle, (4, 1))))[-800:]
    returns = np.zeros(3)
    for reward in np.tile(cycle, (4, 1)):
        returns = reward + gamma * returns
    means, variances = map(np.asarray, moments(support, probs))
    np.testing.assert_allclose(means[-1], returns, atol=1e-6 * spacing)  # it keeps the mean
    simulated, said = np.sqrt(np.mean(variances)), float(projection_std(spacing, gamma))
    np.testing.assert_allclose(said, simulated, rtol=0.03)
    # What is charged for it, at a tolerance that it is small against.
    tau = 5 * simulated
    premium = np.mean(means - np.asarray(worth(Entropic(tau), support, probs)))
    np.testing.assert_allclose(said**2 / (2 * tau), premium, rtol=0.08)


@pytest.mark.parametrize("reward", [0.0137, -0.2963])
def test_a_return_that_hardly_changes_is_widened_less_and_the_metric_says_so(reward, float64):
    """The same reward for ever: each atom moves by (1 - gamma) of its distance from the return only."""
    support = uniform_support(-40.0, 40.0, 81)
    probs = np.asarray(backed_up(support, 0.99, np.full((3000, 1), reward)))[-1]
    simulated, said = float(moments(support, probs)[1][0]), float(projection_std(1.0, 0.99))
    assert simulated < 0.1 * said**2
    transitions = Transitions(*(np.full((50, 1), number) for number in (reward, 0.99, 1.0)))
    with np.errstate(divide="ignore"):
        following = np.log(np.broadcast_to(probs, (50, 1, 81)))
    found = jax.jit(CategoricalPrediction(support).support_variance)(following, transitions, said)
    np.testing.assert_allclose(found, simulated, rtol=1e-4)


@pytest.mark.parametrize(("gamma", "steps"), [(0.9, 5), (1.0, 30), (0.99, 100)])
def test_an_end_bounds_the_width(gamma, steps, float64):
    """Certain rewards until the end, anywhere between the atoms."""
    support = uniform_support(-60.0, 60.0, 121)
    rewards = np.random.default_rng(1).uniform(-0.9, 0.9, (steps, 300))

    @jax.jit
    def final(rewards):
        end = jnp.zeros((300, 121)).at[:, 60].set(1.0)
        return jax.lax.scan(lambda probs, r: (shift_and_project(probs, r, gamma, support), None), end, rewards)[0]

    simulated = np.sqrt(np.mean(moments(support, final(rewards))[1]))
    np.testing.assert_allclose(projection_std(1.0, gamma, steps), simulated, rtol=0.06)


def test_car_following_at_tau_10_pays_about_84():
    """On the support of its first release, [-693, 20] in 51 atoms, at gamma .99."""
    premium = projection_std(712.8 / 50, 0.99) ** 2 / 20
    assert float(premium) == pytest.approx(85, abs=2)
    assert float(projection_std(1.0, 0.99)) == pytest.approx(2.9, abs=0.02)
    assert projection_std(1.0, 1.0) == np.inf
    np.testing.assert_allclose(projection_std(2.0, 1.0, 6), 2.0)
    np.testing.assert_allclose(projection_std(6.0, 0.0), np.sqrt(6.0), rtol=1e-6)


def test_the_variance_of_one_projection_is_what_it_adds(float64):
    rng = np.random.default_rng(2)
    support = uniform_support(-4.0, 4.0, 17)
    probs, rewards, discounts = rng.dirichlet(np.ones(17), 50), rng.uniform(-0.2, 0.2, 50), rng.uniform(0, 0.9, 50)
    shifted = jax.jit(shift_and_project)(probs, rewards, discounts, support)
    after, before = (np.asarray(moments(support, each)[1]) for each in (shifted, probs))
    added = variance_added(probs, rewards, discounts, support)
    np.testing.assert_allclose(added, after - discounts**2 * before, atol=1e-12)
    # Exactly on atoms, and beyond the ends, nothing is added.
    for reward in (0.5, -3.0, 77.0, -100.0):
        assert variance_added(probs[0], reward, 0.0, support) == pytest.approx(0.0, abs=1e-12)


def test_a_critics_width_is_followed_through_a_trajectory(float64):
    """An exact critic of certain returns on the support: its variance, at every step, is what projection added."""
    rng = np.random.default_rng(3)
    support = uniform_support(-10.0, 10.0, 41)
    steps, batch, gamma = 12, 4, 0.95
    rewards = rng.uniform(-0.7, 0.7, (steps, batch))
    ends = np.zeros((steps, batch))
    ends[[4, 7, 11], [0, 2, 3]] = 1.0
    truth = np.full((steps, batch), 1.234)  # of the state where the batch stops
    transitions = Transitions(rewards, gamma * (1 - ends), 1 - ends)

    @jax.jit
    def followed(truth, transitions):
        last = project(truth[..., None], jnp.ones((steps, batch, 1)), support)
        targets = categorical_lambda_returns(last, *transitions, 1.0, support)
        following = jnp.concatenate([targets[1:], last[-1:]])
        return last, targets, CategoricalPrediction(support).support_variance(jnp.log(following), transitions, 0.0)

    last, targets, found = followed(truth, transitions)
    # Of what is left of the batch's last state, which this one has been told to leave out.
    left = np.asarray(moments(support, last)[1])[-1, 0] * np.array(
        [[gamma ** (2 * (steps - t)) * (ends[t:, b].sum() == 0) for b in range(batch)] for t in range(steps)]
    )
    np.testing.assert_allclose(found, np.asarray(moments(support, targets)[1]) - left, atol=1e-9)


def test_exponential_errors_of_an_exact_critic_average_one(float64):
    rng = np.random.default_rng(4)
    outcomes, probs, tau = rng.normal(size=5), rng.dirichlet(np.ones(5)), 0.7
    value = Entropic(tau)(Categorical(np.sort(outcomes), jnp.asarray(probs[np.argsort(outcomes)])))
    errors = exponential_errors(value, 0.0, outcomes, 0.0, tau)
    np.testing.assert_allclose(probs @ errors, 1.0, rtol=1e-12)
    # Through a next value at discount 1: the tower property.
    next_values = rng.normal(size=5)
    combined = -tau * np.log(probs @ np.exp(-(outcomes + next_values) / tau))
    np.testing.assert_allclose(probs @ exponential_errors(combined, next_values, outcomes, 1.0, tau), 1.0, rtol=1e-12)
    # A critic that promises d too much, or one whose errors scatter.
    np.testing.assert_allclose(probs @ exponential_errors(value + 0.3, 0.0, outcomes, 0.0, tau), np.exp(0.3 / tau))
    noise = rng.normal(size=200_000)
    assert float(exponential_errors(noise, 0.0, 0.0, 0.0, 1.5).mean()) == pytest.approx(np.exp(1 / 4.5), rel=0.01)
    # Neutral, and bounded.
    np.testing.assert_array_equal(exponential_errors(noise, 0.0, 0.0, 0.0, np.inf), 1.0)
    assert exponential_errors(1e9, 0.0, 0.0, 0.0, 1.0, 5.0) == np.exp(5.0)
