"""Projections, losses and lambda-returns against loops in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from averse.risk import (
    bellman,
    categorical_lambda_returns,
    clamped_mass,
    cross_entropy,
    cross_entropy_to_shifted,
    lambda_returns,
    project,
    quantile_huber_loss,
    quantile_lambda_returns,
    shift_and_project,
    uniform_support,
)

from . import references

modest = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
seeds = st.integers(0, 10_000)
jit_project, jit_shift, jit_clamped = jax.jit(project), jax.jit(shift_and_project), jax.jit(clamped_mass)
jit_lambda, jit_quantile_lambda = jax.jit(lambda_returns), jax.jit(quantile_lambda_returns)
jit_categorical_lambda = jax.jit(categorical_lambda_returns)
jit_shifted_loss = jax.jit(cross_entropy_to_shifted)


def transitions(seed, batch=12, atoms=11):
    """Probabilities, rewards and discounts with terminals, targets on atoms and targets far outside among them."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(atoms, 0.5), batch)
    rewards = rng.normal(0, 3, batch)
    discounts = rng.uniform(0, 1, batch)
    discounts[::4] = 0
    discounts[1::4] = 1
    rewards[::3] = np.round(rewards[::3])
    rewards[-1], rewards[-2] = 100, -100
    return probs, rewards, discounts


@modest
@given(seed=seeds)
def test_projection_agrees_with_a_loop_and_conserves_mass(precision, seed):
    probs, rewards, discounts = transitions(seed)
    support = np.linspace(-5, 5, 11)
    targets = rewards[:, None] + discounts[:, None] * support
    expected = np.stack([references.project(t, p, support) for t, p in zip(targets, probs)])
    for found in (jit_shift(probs, rewards, discounts, support), jit_project(targets, probs, support)):
        np.testing.assert_allclose(found, expected, atol=precision)
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
        assert found.min() >= 0
    outside = np.sum(np.where((targets < -5) | (targets > 5), probs, 0), -1)
    np.testing.assert_allclose(jit_clamped(probs, rewards, discounts, support), outside, atol=precision)
    inside = outside == 0
    np.testing.assert_allclose((expected @ support)[inside], np.sum(probs * targets, -1)[inside], atol=1e-9)


@pytest.mark.parametrize("num_atoms", [51, bellman._DENSE_ATOMS + 37])
def test_both_ways_of_spreading_agree(num_atoms):
    probs, rewards, discounts = transitions(0, atoms=num_atoms)
    support = np.linspace(-8, 12, num_atoms)
    expected = [references.project(r + d * support, p, support) for p, r, d in zip(probs, rewards, discounts)]
    np.testing.assert_allclose(jit_shift(probs, rewards, discounts, support), expected, atol=2e-5)
    batched = jax.vmap(shift_and_project, (0, 0, 0, None))(probs[None], rewards[None], discounts[None], support)
    np.testing.assert_allclose(batched[0], expected, atol=2e-5)


def test_target_exactly_on_each_atom_keeps_its_mass():
    """floor == ceil there: common code multiplies the mass by (ceil - b) + (b - floor) = 0."""
    support = uniform_support(-1, 1, 5)
    np.testing.assert_allclose(project(support[:, None], jnp.ones((5, 1)), support), np.eye(5), atol=1e-6)
    terminal = shift_and_project(jnp.full((5, 5), 0.2), support, jnp.zeros(5), support)
    np.testing.assert_allclose(terminal, np.eye(5), atol=1e-6)
    np.testing.assert_allclose(clamped_mass(jnp.full((5, 5), 0.2), support, jnp.zeros(5), support), 0)


def test_projection_onto_uneven_supports_and_from_any_number_of_atoms():
    rng = np.random.default_rng(0)
    support = np.array([-3.0, -1.0, 0.0, 0.5, 4.0])
    targets, probs = rng.normal(0, 3, (6, 40)), rng.dirichlet(np.ones(40), 6)
    expected = np.stack([references.project(t, p, support) for t, p in zip(targets, probs)])
    np.testing.assert_allclose(project(targets, probs, support), expected, atol=1e-6)


@modest
@given(seed=seeds)
def test_loss_without_projection_is_the_loss_with_it(precision, seed):
    probs, rewards, discounts = transitions(seed)
    support = np.linspace(-5, 5, 11)
    logits = np.random.default_rng(seed).normal(size=probs.shape)
    projected = np.stack(
        [references.project(r + d * support, p, support) for p, r, d in zip(probs, rewards, discounts)]
    )
    log_q = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    found = jit_shifted_loss(logits, probs, rewards, discounts, support)
    np.testing.assert_allclose(found, -np.sum(projected * log_q, -1), atol=10 * precision)
    np.testing.assert_allclose(cross_entropy(logits, projected), found, atol=10 * precision)
    slope = jax.grad(lambda x: jit_shifted_loss(x, probs, rewards, discounts, support).sum())(logits)
    np.testing.assert_allclose(slope, np.exp(log_q) - projected, atol=10 * precision)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
def test_quantile_huber_loss_agrees_with_a_double_loop(kappa, precision):
    rng = np.random.default_rng(0)
    values, targets = rng.normal(size=(3, 5)), rng.normal(size=(3, 7))
    weights = rng.dirichlet(np.ones(7), 3)
    found = quantile_huber_loss(values, targets, weights, kappa)
    expected = [references.quantile_huber(v, t, w, kappa) for v, t, w in zip(values, targets, weights)]
    np.testing.assert_allclose(found, expected, rtol=precision)
    found = quantile_huber_loss(values, targets, kappa=kappa)
    expected = [references.quantile_huber(v, t, np.full(7, 1 / 7), kappa) for v, t in zip(values, targets)]
    np.testing.assert_allclose(found, expected, rtol=precision)


def test_quantile_loss_is_least_at_the_quantiles():
    targets = jnp.sort(jax.random.normal(jax.random.key(0), (4000,)))
    best = jnp.quantile(targets, (jnp.arange(5.0) + 0.5) / 5)
    slope = jax.grad(lambda values: quantile_huber_loss(values, targets, kappa=0.0))(best)
    np.testing.assert_allclose(slope, 0, atol=2e-3)


def trajectory(seed, steps=6):
    """A trajectory with a truncation in it and a termination in it."""
    rng = np.random.default_rng(seed)
    discounts, continues = np.full(steps, 0.9), np.ones(steps)
    truncated, terminated = rng.choice(steps, 2, replace=False)
    continues[[truncated, terminated]] = 0
    discounts[terminated] = 0
    return rng.normal(size=steps), rng.normal(size=steps), discounts, continues


@modest
@given(seed=seeds, lam=st.sampled_from([0.0, 0.3, 0.95, 1.0]))
def test_lambda_returns_are_the_forward_view(precision, seed, lam):
    path = trajectory(seed)
    np.testing.assert_allclose(jit_lambda(*path, lam), references.forward_view(*path, lam), atol=precision)


def test_lambda_returns_take_batches_and_lambdas_per_step():
    paths = [np.stack(arrays, 1) for arrays in zip(*(trajectory(seed) for seed in range(4)))]
    together = lambda_returns(*paths, 0.7)
    assert together.shape == (6, 4)
    for column in range(4):
        expected = references.forward_view(*(array[:, column] for array in paths), 0.7)
        np.testing.assert_allclose(together[:, column], expected, atol=1e-5)
    np.testing.assert_allclose(lambda_returns(*paths, np.full((6, 4), 0.7)), together, atol=1e-6)


@modest
@given(seed=seeds, lam=st.sampled_from([0.0, 0.6, 1.0]))
def test_categorical_lambda_returns_have_the_right_mean_and_nearly_the_right_shape(precision, seed, lam):
    _, rewards, discounts, continues = trajectory(seed)
    support = np.linspace(-12, 12, 51)
    probs = np.zeros((6, 51))
    probs[:, 15:36] = np.random.default_rng(seed).dirichlet(np.full(21, 0.3), 6)
    found = np.asarray(jit_categorical_lambda(probs, rewards, discounts, continues, lam, support))
    np.testing.assert_allclose(found.sum(-1), 1, atol=2e-6)
    scalar = references.forward_view(probs @ support, rewards, discounts, continues, lam)
    np.testing.assert_allclose(found @ support, scalar, atol=20 * precision)
    for t in range(6):
        atoms, masses = references.forward_view_distribution(
            np.tile(support, (6, 1)), probs, rewards, discounts, continues, lam, t
        )
        exact = references.project(atoms, masses, support)
        # Repeated projection only blurs: the distributions differ by less than a few atoms' spacing.
        distance = np.abs(np.cumsum(found[t] - exact)).sum() * (support[1] - support[0])
        assert distance < 1.5 * (support[1] - support[0])


@modest
@given(seed=seeds, lam=st.sampled_from([0.0, 0.6, 1.0]))
def test_quantile_lambda_returns(seed, lam):
    _, rewards, discounts, continues = trajectory(seed)
    values = np.random.default_rng(seed).normal(size=(6, 64))
    found = np.asarray(jit_quantile_lambda(values, rewards, discounts, continues, lam))
    assert np.all(np.diff(found, axis=-1) >= 0)
    equal = np.full((6, 64), 1 / 64)
    for t in range(6):
        atoms, masses = references.forward_view_distribution(values, equal, rewards, discounts, continues, lam, t)
        order = np.argsort(atoms)
        levels = (np.arange(64) + 0.5) / 64
        exact = atoms[order][np.searchsorted(np.cumsum(masses[order]), levels - 1e-9)]
        tolerance = 1e-5 if lam in (0.0, 1.0) else 0.35
        assert np.abs(found[t] - exact).mean() < tolerance


def test_a_truncated_step_bootstraps_on_the_true_next_state():
    """Not on the first state of the next episode, and not on nothing."""
    found = lambda_returns(
        jnp.array([7.0, 1.0]), jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]), jnp.array([0.0, 1.0]), 0.9
    )
    np.testing.assert_allclose(found, [4.5, 0.5])
    ended = lambda_returns(
        jnp.array([7.0, 1.0]), jnp.array([1.0, 0.0]), jnp.array([0.0, 0.5]), jnp.array([0.0, 1.0]), 0.9
    )
    np.testing.assert_allclose(ended, [1.0, 0.5])
