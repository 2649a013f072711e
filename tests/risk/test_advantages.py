"""Advantages against their definitions, written as loops in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from averse.errors import AverseError
from averse.risk import (
    Categorical,
    CVaR,
    Entropic,
    Expectation,
    MeanVariance,
    VaR,
    action_value,
    categorical_lambda_returns,
    entropic,
    entropic_weights,
    gae,
    influence_advantage,
    lambda_returns,
    mean_variance_advantage,
    second_moment_targets,
)

modest = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
seeds = st.integers(0, 10_000)
lams = st.sampled_from([0.0, 0.5, 0.95, 1.0])
jit_gae, jit_entropic, jit_weights = jax.jit(gae), jax.jit(entropic), jax.jit(entropic_weights)
jit_lambda, jit_second, jit_mean_variance = map(
    jax.jit, (lambda_returns, second_moment_targets, mean_variance_advantage)
)
jit_categorical, jit_influence = jax.jit(categorical_lambda_returns), jax.jit(influence_advantage)


def rollout(seed, steps=6, batch=4):
    """Values, next values, rewards, discounts, continues, [steps, batch] each, with both kinds of breaks."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(steps + 1, batch))
    terminated = rng.random((steps, batch)) < 0.15
    truncated = rng.random((steps, batch)) < 0.15
    next_values = np.where(truncated, rng.normal(size=(steps, batch)), values[1:])
    discounts = 0.9 * (1.0 - terminated)
    return values[:-1], next_values, rng.normal(size=(steps, batch)), discounts, 1.0 - (terminated | truncated)


def entropic_by_definition(values, next_values, rewards, discounts, continues, lam, tau):
    advantages = np.zeros_like(rewards)
    y = np.ones_like(rewards[0])
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + discounts[t] * next_values[t] - values[t]
        y = np.where(continues[t] > 0, y, 1.0)
        y = np.exp(-delta / tau) * ((1 - lam) + lam * y ** discounts[t])
        advantages[t] = tau * (1 - y)
    return advantages


@modest
@given(seed=seeds, lam=lams)
def test_gae_is_the_lambda_return_less_the_value(precision, seed, lam):
    values, *rest = rollout(seed)
    np.testing.assert_allclose(
        jit_gae(values, *rest, lam), np.asarray(jit_lambda(*rest, lam)) - values, atol=10 * precision
    )


@modest
@given(seed=seeds, lam=lams, tau=st.sampled_from([0.7, 2.0, 10.0]))
def test_entropic_is_its_definition(precision, seed, lam, tau):
    arrays = rollout(seed)
    expected = entropic_by_definition(*arrays, lam, tau)
    found, clipped = jit_entropic(*arrays, lam, tau, 60.0)
    np.testing.assert_allclose(found, expected, rtol=100 * precision, atol=10 * precision)
    assert not clipped.any()


@modest
@given(seed=seeds, lam=lams)
def test_entropic_becomes_gae(precision, seed, lam):
    arrays = rollout(seed)
    neutral = jit_gae(*arrays, lam)
    found, clipped = jit_entropic(*arrays, lam, jnp.inf)
    np.testing.assert_allclose(found, neutral, atol=precision)
    assert not clipped.any()
    distances = [np.abs(jit_entropic(*arrays, lam, tau)[0] - neutral).max() for tau in (1e2, 1e4, 1e6)]
    assert distances[1] < 2e-2 * distances[0] + precision
    assert distances[2] < 2e-4 * distances[0] + precision


def test_entropic_over_a_sweep_of_traced_tolerances_and_its_gradient():
    arrays = rollout(0)
    swept = jax.vmap(lambda tau: jit_entropic(*arrays, 0.95, tau)[0])(jnp.array([1.0, jnp.inf]))
    np.testing.assert_allclose(swept[0], entropic_by_definition(*arrays, 0.95, 1.0), rtol=1e-3)
    np.testing.assert_allclose(swept[1], jit_gae(*arrays, 0.95), rtol=1e-5)
    for lam in (0.0, 0.5, 1.0):
        for tau in (0.01, 1.0, jnp.inf):
            slopes = jax.grad(
                lambda values, lam, tau: jnp.sum(jit_entropic(values, *arrays[1:], lam, tau)[0]), argnums=(0, 1, 2)
            )(jnp.asarray(arrays[0]), lam, tau)
            assert all(np.all(np.isfinite(slope)) for slope in slopes)


def test_entropic_clips_and_says_where():
    zeros, ones = jnp.zeros((3, 1)), jnp.ones((3, 1))
    found, clipped = entropic(zeros, zeros, jnp.array([[0.0], [-1e6], [1.0]]), ones, ones, 0.5, 1.0, 5.0)
    np.testing.assert_array_equal(clipped[:, 0], [False, True, False])
    assert float(found[1, 0]) == pytest.approx(1 - np.exp(5), rel=1e-5)
    assert np.all(np.isfinite(found))


def test_entropic_at_one_agent_per_tolerance():
    arrays = rollout(1, batch=2)
    found = entropic(*arrays, 0.9, jnp.array([0.5, jnp.inf]), 60.0)[0]
    np.testing.assert_allclose(found[:, 0], entropic_by_definition(*arrays, 0.9, 0.5)[:, 0], rtol=1e-3)
    np.testing.assert_allclose(found[:, 1], gae(*arrays, 0.9)[:, 1], rtol=1e-4, atol=1e-6)


def test_entropic_at_full_credit_is_the_exponential_of_the_whole_surprise():
    values, next_values, rewards, _, _ = rollout(2)
    next_values = np.vstack([values[1:], next_values[-1:]])
    ones = np.ones_like(rewards)
    surprise = np.cumsum((rewards + next_values - values)[::-1], 0)[::-1]
    found = entropic(values, next_values, rewards, ones, ones, 1.0, 3.0, 60.0)[0]
    np.testing.assert_allclose(found, 3 * (1 - np.exp(-surprise / 3)), rtol=1e-3)


@modest
@given(seed=seeds)
def test_entropic_weights_are_the_product_of_past_surprises(precision, seed):
    arrays = values, next_values, rewards, discounts, continues = rollout(seed)
    expected = np.zeros_like(rewards)
    log_weight, scale = np.zeros(4), np.ones(4)
    for t in range(len(rewards)):
        expected[t] = np.exp(log_weight)
        log_weight = log_weight - scale * (rewards[t] + discounts[t] * next_values[t] - values[t]) / 2.0
        log_weight = np.where(continues[t] > 0, log_weight, 0)
        scale = np.where(continues[t] > 0, scale * discounts[t], 1)
    np.testing.assert_allclose(jit_weights(*arrays, 2.0, 60.0), expected, rtol=100 * precision)
    np.testing.assert_array_equal(jit_weights(*arrays, jnp.inf), 1)


def test_action_value_has_mean_zero_and_prefers_the_safe_action():
    risky = Categorical(jnp.array([-2.0, 1.0, 1.5]), jnp.array([[0.0, 1.0, 0.0], [0.1, 0.0, 0.9]]))
    probs = jnp.array([0.3, 0.7])
    for measure, safe_is_better in ((Entropic(1.0), True), (Entropic(8.0), False), (Expectation(), False)):
        both = np.asarray(jax.jit(jax.vmap(lambda a, m=measure: action_value(m(risky), probs, a)))(np.arange(2)))
        assert float(np.asarray(probs) @ both) == pytest.approx(0, abs=1e-6)
        assert bool(both[0] > both[1]) == safe_is_better


def test_influence_of_the_mean_is_gae():
    values, next_values, rewards, discounts, continues = rollout(3)
    atoms = jnp.linspace(-12, 12, 101)

    def at(means):
        """Uniform on the atoms within 1 of the given means."""
        near = jnp.float32(jnp.abs(atoms[None, None] - means[..., None]) < 1)
        return near / near.sum(-1, keepdims=True)

    probs, probs_next = at(jnp.asarray(values)), at(jnp.asarray(next_values))
    target = categorical_lambda_returns(probs_next, rewards, discounts, continues, 0.8, atoms)
    found = influence_advantage(Expectation(), Categorical(atoms, probs), Categorical(atoms, target))
    means, next_means = probs @ atoms, probs_next @ atoms
    # The lambda-return, since predictions at a step and after the step before it may differ here.
    expected = lambda_returns(next_means, rewards, discounts, continues, 0.8) - means
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("measure", [Entropic(1.0), CVaR(0.2), MeanVariance(0.5)], ids=str)
def test_influence_advantage_of_the_prediction_itself_is_zero(measure):
    probs = np.random.default_rng(0).dirichlet(np.ones(9), 4).astype(np.float32)
    distribution = Categorical(np.linspace(-1, 1, 9, dtype=np.float32), probs)
    np.testing.assert_allclose(jit_influence(measure, distribution, distribution), 0, atol=2e-6)
    worse = Categorical(distribution.atoms, np.tile(np.eye(9, dtype=np.float32)[0], (4, 1)))
    assert np.all(jit_influence(measure, distribution, worse) <= 0)


def test_influence_advantage_needs_an_influence():
    distribution = Categorical(jnp.arange(2.0), jnp.array([0.5, 0.5]))
    with pytest.raises(AverseError, match="influence"):
        influence_advantage(VaR(0.1), distribution, distribution)


def test_mean_variance_without_weight_is_gae_and_targets_are_second_moments():
    values, next_values, rewards, discounts, continues = rollout(4)
    moments, next_moments = values**2 + 1, next_values**2 + 1
    arrays = (rewards, discounts, continues)
    found = jit_mean_variance(values, next_values, moments, next_moments, *arrays, 0.9, 0.0)
    np.testing.assert_allclose(found, jit_gae(values, next_values, *arrays, 0.9), atol=1e-6)
    targets = jit_second(next_values, next_moments, *arrays, 0.0)
    expected = rewards**2 + 2 * rewards * discounts * next_values + discounts**2 * next_moments
    np.testing.assert_allclose(targets, expected, atol=1e-5)


def observed_moments(next_values, next_moments, rewards, discounts, continues, t, b):
    """The first two moments of the return from step t on: rewards up to the break, then what the critic says there."""
    earned, scale = 0.0, 1.0
    for k in range(t, len(rewards)):
        earned += scale * rewards[k, b]
        scale *= discounts[k, b]
        if not continues[k, b]:
            break
    mean, moment = next_values[k, b], next_moments[k, b]
    return earned + scale * mean, earned**2 + 2 * earned * scale * mean + scale**2 * moment


@modest
@given(seed=seeds)
def test_mean_variance_at_full_credit_is_monte_carlo(precision, seed):
    """However wrong the critic is: the influence of the observed return, at terminal steps, truncations and cuts."""
    values, next_values, rewards, discounts, continues = rollout(seed)
    rng = np.random.default_rng(seed)
    moments, next_moments = values**2 + rng.exponential(size=values.shape), next_values**2 + rng.exponential(3.0)
    rest = (rewards, discounts, continues)
    targets = np.asarray(jit_second(next_values, next_moments, *rest, 1.0))
    found = np.asarray(jit_mean_variance(values, next_values, moments, next_moments, *rest, 1.0, 0.7))
    for t, b in np.ndindex(rewards.shape):
        mean, moment = observed_moments(next_values, next_moments, *rest, t, b)
        np.testing.assert_allclose(targets[t, b], moment, rtol=20 * precision, atol=20 * precision)
        surprise = moment - 2 * values[t, b] * mean + values[t, b] ** 2  # E[(G - V)^2]
        advantage = mean - values[t, b] - 0.7 * (surprise - (moments[t, b] - values[t, b] ** 2))
        np.testing.assert_allclose(found[t, b], advantage, rtol=50 * precision, atol=50 * precision)


def test_second_moments_at_full_credit_do_not_look_at_the_critic():
    """Two episodes that end: the critic may say anything of the states in between."""
    rewards = np.array([[1.0, -2.0], [3.0, 4.0], [-5.0, 0.5]])
    discounts, continues = np.full((3, 2), 0.9), np.ones((3, 2))
    discounts[-1] = continues[-1] = 0
    expected = np.array([[(1 + 2.7 - 4.05) ** 2, (-2 + 3.6 + 0.405) ** 2], [1.5**2, 4.45**2], [25.0, 0.25]])
    for values, moments in ((0.0, 0.0), (7.0, 49.0), (-100.0, 12345.0)):
        arrays = np.full((3, 2), values), np.full((3, 2), moments)
        found = second_moment_targets(*arrays, rewards, discounts, continues, 1.0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@modest
@given(seed=seeds, lam=lams)
def test_second_moment_targets_are_those_of_the_distributional_lambda_return(precision, seed, lam):
    """On atoms so wide and fine that projection adds next to nothing: the same mixture of critic and rewards."""
    _, _, rewards, discounts, continues = rollout(seed, steps=5, batch=3)
    atoms = np.linspace(-12.0, 12.0, 4801)
    offsets = np.random.default_rng(seed).normal(size=(5, 3, 1))
    probs = np.exp(-np.square(atoms - offsets))
    probs /= probs.sum(-1, keepdims=True)
    target = np.asarray(jit_categorical(probs, rewards, discounts, continues, lam, atoms))
    found = jit_second(probs @ atoms, probs @ np.square(atoms), rewards, discounts, continues, lam)
    np.testing.assert_allclose(found, target @ np.square(atoms), rtol=1e-3, atol=1e-3)


def test_mean_variance_of_one_step_is_the_influence():
    """A bandit: A = (r - mean) - w ((r - mean)^2 - var)."""
    rewards = jnp.array([[0.0, 1.0, 5.0]])
    zeros, mean, second = jnp.zeros((1, 3)), jnp.full((1, 3), 2.0), jnp.full((1, 3), 26 / 3)
    found = jit_mean_variance(mean, zeros, second, zeros, rewards, zeros, zeros, 0.95, 0.3)
    influence = jax.jit(lambda z: MeanVariance(0.3).influence(Categorical(z, jnp.full(3, 1 / 3)), z))
    np.testing.assert_allclose(found[0], influence(rewards[0]), atol=1e-5)


@pytest.mark.parametrize(("tau", "risky_is_right"), [(1.0, False), (3.0, False), (5.0, True), (8.0, True)])
def test_the_sanity_problem(tau, risky_is_right):
    """Safe +1 or risky (+1.5 with probability 0.9, -2 with 0.1), at an even policy, with exact critics.

    Entropic advantages push the right way at every tau; risk-value ones push towards risk always.
    """
    rewards, chances = np.array([[1.0, 1.5, -2.0]]), np.array([0.5, 0.45, 0.05])
    value = -tau * np.log(chances @ np.exp(-rewards[0] / tau))
    zeros = np.zeros((1, 3))
    arrays = (np.full((1, 3), value), zeros, rewards, zeros, zeros)
    towards_risk = chances * np.array([-0.5, 0.5, 0.5])
    assert (towards_risk @ np.asarray(jit_entropic(*arrays, 0.95, tau)[0][0]) > 0) == risky_is_right
    assert towards_risk @ np.asarray(jit_gae(*arrays, 0.95)[0]) > 0
