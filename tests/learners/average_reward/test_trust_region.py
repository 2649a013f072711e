"""The trust-region step: conjugate gradients, Fisher products and the search, each against an explicit answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.environments.protocol import Box, Discrete
from averse.learners.average_reward.trust_region import conjugate_gradient, fisher_product, trust_region_step
from averse.learners.parts.action_distributions import (
    CategoricalActions,
    GaussianActions,
    action_distribution,
    head_size,
)

SEARCH = {"max_kl": 0.01, "cg_iterations": 10, "backtrack": 0.8, "backtracks": 10, "accept": 0.5}


def random_spd(seed, size=8):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(size, size))
    return factor @ factor.T + 0.5 * np.eye(size), rng.normal(size=size)


def test_conjugate_gradient_solves():
    for seed in range(20):
        matrix, target = random_spd(seed)
        dense = jnp.asarray(matrix, jnp.float32)
        found = conjugate_gradient(lambda v, dense=dense: dense @ v, jnp.asarray(target, jnp.float32), iterations=12)
        np.testing.assert_allclose(found, np.linalg.solve(matrix, target), rtol=5e-3, atol=5e-4)


def test_conjugate_gradient_stands_still_where_it_should():
    zero = conjugate_gradient(lambda v: 2.0 * v, jnp.zeros(3), iterations=10)
    np.testing.assert_array_equal(zero, 0)
    exact = conjugate_gradient(lambda v: 2.0 * v, jnp.array([1.0, -2.0, 4.0]), iterations=10)  # solved after one
    np.testing.assert_allclose(exact, [0.5, -1.0, 2.0], rtol=1e-6)
    concave = conjugate_gradient(lambda v: -v, jnp.array([1.0, 2.0]), iterations=10)
    assert np.isfinite(concave).all()


def softmax_policy(seed):
    """Five samples of a linear softmax policy of 3 features and 4 actions, one action masked in some."""
    rng = np.random.default_rng(seed)
    features = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    available = jnp.asarray(rng.random((5, 4)) < 0.8).at[:, 0].set(True)
    params = jnp.asarray(rng.normal(size=12), jnp.float32)
    return features, available, params


def test_fisher_product_is_the_explicit_fisher_matrix_of_a_softmax_policy():
    """F = E_s sum_a p(a|s) grad log p(a|s) grad log p(a|s)', with the gradients written out by hand."""
    for seed in range(5):
        features, available, params = softmax_policy(seed)
        logits = np.where(available, np.asarray(features) @ np.asarray(params).reshape(3, 4), -np.inf)
        probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        fisher = np.zeros((12, 12))
        for x, p in zip(np.asarray(features), probs):
            for action in range(4):
                score = np.outer(x, np.eye(4)[action] - p).ravel()
                fisher += p[action] * np.outer(score, score) / len(probs)

        def divergence(old, new, available=available):
            return (
                action_distribution(Discrete(4), old, available)
                .divergence(action_distribution(Discrete(4), new, available))
                .mean()
            )

        product = fisher_product(lambda v, x=features: x @ v.reshape(3, 4), divergence, params, damping=0.3)
        found = jax.vmap(product)(jnp.eye(12))
        np.testing.assert_allclose(found, fisher + 0.3 * np.eye(12), atol=1e-5)


@pytest.mark.parametrize("space", [Discrete(4), Box(2)], ids=str)
@pytest.mark.thorough
def test_fisher_product_is_the_hessian_of_the_divergence_for_networks(space):
    sizes = [(3, 5), (5, head_size(space))]
    count = sum(a * b for a, b in sizes)

    def outputs_of(flat):
        first, second = flat[:15].reshape(sizes[0]), flat[15:].reshape(sizes[1])
        return jnp.tanh(inputs @ first) @ second

    inputs = jax.random.normal(jax.random.key(0), (7, 3))
    params = 0.5 * jax.random.normal(jax.random.key(1), (count,))
    available = jnp.ones((7, 4), bool)

    def divergence(old, new):
        return action_distribution(space, old, available).divergence(action_distribution(space, new, available)).mean()

    product = fisher_product(outputs_of, divergence, params)
    hessian = jax.hessian(lambda v: divergence(outputs_of(params), outputs_of(v)))(params)
    np.testing.assert_allclose(jax.vmap(product)(jnp.eye(count)), hessian, atol=1e-5)


def test_divergences_against_sampling_and_by_hand():
    one, other = (CategoricalActions(jax.nn.log_softmax(jnp.array(x))) for x in ([0.3, -1.2, 0.5], [1.0, 0.2, -0.4]))
    p, q = (np.exp(x.log_probs) for x in (one, other))
    assert one.divergence(other) == pytest.approx((p * np.log(p / q)).sum(), abs=1e-6)
    masked = CategoricalActions(jax.nn.log_softmax(jnp.array([0.3, -1e9, 0.5])))
    assert masked.divergence(masked) == 0
    first, second = (
        GaussianActions(jnp.array([0.5, -1.0]), jnp.array([-0.3, 0.2])),
        GaussianActions(jnp.zeros(2), jnp.zeros(2)),
    )
    samples = jax.vmap(first.sample)(jax.random.split(jax.random.key(0), 100_000))
    estimate = (jax.vmap(first.log_prob)(samples) - jax.vmap(second.log_prob)(samples)).mean()
    assert first.divergence(second) == pytest.approx(float(estimate), abs=0.01)


def linear_problem(seed, scale=1.0):
    weights = scale * np.random.default_rng(seed).normal(size=5)
    return problem_of(*softmax_policy(seed), jnp.asarray(weights, jnp.float32))


def problem_of(features, available, params, weights):
    """A surrogate and a divergence of a small softmax policy, as the learner builds them."""
    actions = jnp.zeros(5, jnp.int32)
    at = lambda v: action_distribution(Discrete(4), features @ v.reshape(3, 4), available)  # noqa: E731
    old = at(params)

    def evaluate(v):
        new = at(v)
        return (jnp.exp(new.log_prob(actions) - old.log_prob(actions)) * weights).mean(), old.divergence(new).mean()

    def divergence(before, after):
        of = lambda logits: action_distribution(Discrete(4), logits, available)  # noqa: E731
        return of(before).divergence(of(after)).mean()

    product = fisher_product(lambda v: features @ v.reshape(3, 4), divergence, params, damping=1e-3)
    gradient = jax.grad(lambda v: evaluate(v)[0])(params)
    return params, gradient, product, evaluate


def test_an_accepted_step_keeps_the_true_divergence_and_gains_what_it_reports():
    @jax.jit  # as in training, and 90 of them take no time
    def solve(features, available, old, weights, max_kl):
        params, gradient, product, evaluate = problem_of(features, available, old, weights)
        search = {**SEARCH, "max_kl": max_kl}
        step = trust_region_step(params, evaluate(params)[0], gradient, product, evaluate, **search)
        return step, evaluate(params)[0], *evaluate(step.params)

    accepted = 0
    for seed in range(30):
        weights = 10.0 * np.random.default_rng(seed).normal(size=5)
        features, available, params = softmax_policy(seed)
        for max_kl in (1e-3, 0.01, 0.3):
            step, before, surrogate, kl = solve(features, available, params, jnp.asarray(weights, jnp.float32), max_kl)
            assert kl <= max_kl * (1 + 1e-5)
            if step.accepted:
                accepted += 1
                assert kl == pytest.approx(float(step.kl), rel=1e-5)
                assert surrogate - before == pytest.approx(float(step.gain), rel=1e-4, abs=1e-5)
                assert step.gain > 0
            else:
                np.testing.assert_array_equal(step.params, params)
                assert step.kl == step.gain == 0
    assert accepted > 60


def test_the_first_length_is_where_the_quadratic_model_meets_the_bound():
    """Maximise g'd with d'Fd/2 <= max_kl: d = sqrt(2 max_kl / g'F^-1 g) F^-1 g, here accepted at once."""
    matrix, target = random_spd(3)
    dense, gradient = jnp.asarray(matrix, jnp.float32), jnp.asarray(target, jnp.float32)
    step = trust_region_step(
        jnp.zeros(8), 0.0, gradient, lambda v: dense @ v, lambda d: (gradient @ d, 0.4999 * d @ dense @ d),
        **{**SEARCH, "cg_iterations": 20},
    )  # fmt: skip
    inverse = np.linalg.solve(matrix, target)
    np.testing.assert_allclose(step.params, np.sqrt(0.02 / (target @ inverse)) * inverse, rtol=2e-3, atol=1e-5)
    assert step.tried == 1


def test_where_nothing_is_accepted_the_old_policy_is_kept():
    params = jnp.array([1.0, 2.0])
    falls = trust_region_step(
        params, 0.0, jnp.ones(2), lambda v: v, lambda d: (-jnp.abs(d - params).sum(), 0.0), **SEARCH
    )
    assert not falls.accepted
    assert falls.tried == SEARCH["backtracks"]
    too_far = trust_region_step(params, 3.0, jnp.ones(2), lambda v: v, lambda d: (d.sum(), 1.0), **SEARCH)
    too_little = trust_region_step(params, 1.2, jnp.ones(2), lambda v: v, lambda d: (0.4 * d.sum(), 0.0), **SEARCH)
    nothing = trust_region_step(params, 3.0, jnp.zeros(2), lambda v: v, lambda d: (d.sum(), 0.0), **SEARCH)
    for step in (falls, too_far, too_little, nothing):
        assert not step.accepted
        np.testing.assert_array_equal(step.params, params)
    shorter = trust_region_step(
        params,
        3.0,
        jnp.ones(2),
        lambda v: v,
        lambda d: (d.sum(), 1.6 * 0.01 * ((d - params) ** 2).sum() / 0.02),
        **SEARCH,
    )
    assert shorter.accepted
    assert shorter.tried == 3  # a divergence of 1.6 max_kl .8^(2 k) at the k-th length
