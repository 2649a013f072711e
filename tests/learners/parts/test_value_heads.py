"""Heads and distortion weights against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from averse.learners.parts.value_heads import CategoricalHead, MeanHead, QuantileHead, quantile_weights
from averse.learners.value_based.risk_level import expected_level, level_weights
from averse.risk import CPW, CVaR, Entropic, Expectation, Quantiles, VaR, Wang, WorstCase

LEVELS = np.arange(33) / 32


def cpw(u, eta=0.71):
    return u**eta / (u**eta + (1 - u) ** eta) ** (1 / eta)


@pytest.mark.parametrize(
    ("measure", "distortion"),
    [
        (Expectation(), lambda u: u),
        (CVaR(0.1), lambda u: np.minimum(u / 0.1, 1)),
        (CVaR(1.0), lambda u: u),
        (Wang(0.75), lambda u: norm.cdf(norm.ppf(u) + 0.75)),
        (CPW(0.71), cpw),
        (VaR(0.3), lambda u: (u >= 0.3).astype(float)),
        (WorstCase(), lambda u: (u > 0).astype(float)),
    ],
    ids=["mean", "cvar:0.1", "cvar:1", "wang:0.75", "cpw:0.71", "var:0.3", "worst-case"],
)
def test_weights_are_the_increments_of_the_distortion(measure, distortion):
    weights = quantile_weights(measure, 32)
    np.testing.assert_allclose(weights, np.diff(distortion(LEVELS)), atol=2e-6)
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("num_quantiles", [4, 10, 32, 100])
@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.33, 1.0])
def test_the_measure_of_a_constant_is_that_constant(alpha, num_quantiles):
    """Where published code gives CVaR .1 of the constant -1 as -.5, or divides by zero atoms."""
    head = QuantileHead(1.0, num_quantiles, 1.0)
    certain = jnp.full((1, num_quantiles), -1e4).at[:, 0].set(-1.0)  # gaps of next to nothing
    for measure in (CVaR(alpha), Wang(alpha), VaR(alpha)):
        assert float(head.scores(certain, measure)[0]) == pytest.approx(-1.0, abs=2e-3)
        assert float(quantile_weights(measure, num_quantiles) @ jnp.full(num_quantiles, -1.0)) == pytest.approx(
            -1.0, abs=1e-6
        )


@pytest.mark.parametrize(
    "measure", [Expectation(), CVaR(0.25), Wang(0.75), VaR(0.4), CPW(0.71), Entropic(2.0)], ids=str
)
def test_scores_are_the_measure_of_the_quantiles(measure):
    head = QuantileHead(3.0, 8, 1.0)
    raw = 2.0 * jax.random.normal(jax.random.key(0), (5, 4, 8))
    quantiles = head.quantiles(raw)
    assert (jnp.diff(quantiles, axis=-1) > 0).all()
    np.testing.assert_allclose(quantiles.mean(-1), 3.0 * raw[..., 0], atol=1e-5)
    np.testing.assert_allclose(head.scores(raw, measure), measure(Quantiles(quantiles)), rtol=1e-4, atol=1e-4)
    actions = jnp.array([0, 1, 2, 3, 3])
    np.testing.assert_allclose(head.chosen(raw, actions), quantiles[jnp.arange(5), actions], atol=1e-5)
    np.testing.assert_allclose(head.average(raw), quantiles.mean(-2), atol=1e-5)


def test_a_mean_head_and_a_categorical_head_choose_and_score():
    raw = jax.random.normal(jax.random.key(0), (6, 3, 1))
    actions = jnp.array([0, 1, 2, 0, 1, 2])
    head = MeanHead(2.0)
    np.testing.assert_allclose(head.scores(raw, Expectation()), 2.0 * raw[..., 0])
    np.testing.assert_allclose(head.chosen(raw, actions)[:, 0], 2.0 * raw[jnp.arange(6), actions, 0])
    support = jnp.linspace(-1.0, 1.0, 5)
    categorical = CategoricalHead(support)
    raw = jax.random.normal(jax.random.key(1), (6, 3, 5))
    np.testing.assert_allclose(categorical.scores(raw, Expectation()), jax.nn.softmax(raw) @ support, atol=1e-6)
    np.testing.assert_allclose(categorical.chosen(raw, actions), raw[jnp.arange(6), actions], atol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.6])
def test_targets_of_means_against_a_plain_loop(lam):
    rng = np.random.default_rng(0)
    time, batch = 7, 3
    following, rewards = rng.normal(size=(time, batch, 1)), rng.normal(size=(time, batch))
    over = rng.random((time, batch)) < 0.3
    goes_on = ~over & (rng.random((time, batch)) < 0.7)
    expected = np.zeros((time, batch))
    for b in range(batch):
        for t in reversed(range(time)):
            lam_t = lam if goes_on[t, b] and t < time - 1 else 0.0
            ahead = expected[t + 1, b] if t < time - 1 else 0.0
            expected[t, b] = rewards[t, b] + 0.9 * (not over[t, b]) * ((1 - lam_t) * following[t, b, 0] + lam_t * ahead)
    arguments = (
        jnp.asarray(rewards, jnp.float32),
        jnp.asarray(0.9 * ~over, jnp.float32),
        jnp.asarray(goes_on, jnp.float32),
    )
    targets = MeanHead(1.0).targets(jnp.asarray(following, jnp.float32), *arguments, lam)
    np.testing.assert_allclose(targets[..., 0], expected, atol=1e-5)
    # A distribution that is a point has the same targets as its mean.
    points = jnp.repeat(jnp.asarray(following, jnp.float32), 4, axis=-1)
    quantiles = QuantileHead(1.0, 4, 1.0).targets(points, *arguments, lam)
    if lam == 0.0:
        np.testing.assert_allclose(quantiles, np.repeat(expected[..., None], 4, axis=-1), atol=1e-5)
    support = jnp.linspace(-8.0, 8.0, 65)
    position = jnp.clip((jnp.asarray(following) + 8.0) * 4.0, 0, 64)
    logits = jnp.log(jnp.maximum(1e-30, 1.0 - jnp.abs(position - jnp.arange(65))))
    categorical = CategoricalHead(support).targets(logits, *arguments, lam)
    np.testing.assert_allclose(categorical.sum(-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(categorical @ support, expected, atol=1e-4)


def test_level_weights():
    weights = level_weights(10, 100)
    assert weights.shape == (10, 100)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)
    for k in range(10):
        np.testing.assert_allclose(weights[k], np.where(np.arange(100) < 10 * (k + 1), 0.1 / (k + 1), 0.0), atol=1e-5)
    assert float(expected_level(jnp.full(10, 0.1))) == pytest.approx(0.55)
