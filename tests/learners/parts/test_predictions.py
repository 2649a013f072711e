"""Kinds of prediction and distortion weights, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm
from tiers import first_quick

from averse import AverseError, risk
from averse.learners.parts.predictions import (
    Categorical,
    Dual,
    Quantile,
    Scalar,
    Transitions,
    prediction,
    quantile_weights,
    require_ascending,
    select,
)
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


@pytest.mark.parametrize("num_atoms", first_quick([4, 10, 32, 100], 2))
@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.33, 1.0])
@pytest.mark.thorough
def test_the_measure_of_a_constant_is_that_constant(alpha, num_atoms):
    """Where published code gives CVaR .1 of the constant -1 as -.5, or divides by zero atoms."""
    kind = Quantile(num_atoms)
    certain = jnp.full((1, num_atoms), -1e4).at[:, 0].set(-1.0)  # gaps of next to nothing
    for measure in (CVaR(alpha), Wang(alpha), VaR(alpha)):
        assert float(kind.scores(certain, measure)[0]) == pytest.approx(-1.0, abs=2e-3)
        assert float(quantile_weights(measure, num_atoms) @ jnp.full(num_atoms, -1.0)) == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize(
    "measure", first_quick([Expectation(), CVaR(0.25), Wang(0.75), VaR(0.4), CPW(0.71), Entropic(2.0)], 2), ids=str
)
def test_scores_are_the_measure_of_the_quantiles(measure):
    kind = Quantile(8, 3.0)
    raw = 2.0 * jax.random.normal(jax.random.key(0), (5, 4, 8))
    quantiles = kind.decode(raw)
    assert (jnp.diff(quantiles, axis=-1) > 0).all()
    np.testing.assert_allclose(quantiles.mean(-1), 3.0 * raw[..., 0], atol=1e-5)
    np.testing.assert_allclose(kind.scores(raw, measure), measure(Quantiles(quantiles)), rtol=1e-4, atol=1e-4)
    actions = jnp.array([0, 1, 2, 3, 3])
    np.testing.assert_allclose(kind.decode(select(raw, actions)), quantiles[jnp.arange(5), actions], atol=1e-5)
    np.testing.assert_allclose(kind.average(raw), quantiles.mean(-2), atol=1e-5)


def test_a_scalar_and_a_categorical_prediction_choose_and_score():
    raw = jax.random.normal(jax.random.key(0), (6, 3, 1))
    actions = jnp.array([0, 1, 2, 0, 1, 2])
    kind = Scalar(2.0)
    np.testing.assert_allclose(kind.scores(raw, Expectation()), 2.0 * raw[..., 0])
    np.testing.assert_allclose(kind.decode(select(raw, actions))[:, 0], 2.0 * raw[jnp.arange(6), actions, 0])
    support = jnp.linspace(-1.0, 1.0, 5)
    categorical = Categorical(support)
    raw = jax.random.normal(jax.random.key(1), (6, 3, 5))
    np.testing.assert_allclose(categorical.scores(raw, Expectation()), jax.nn.softmax(raw) @ support, atol=1e-6)
    np.testing.assert_allclose(select(raw, actions), raw[jnp.arange(6), actions], atol=1e-6)


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
    transitions = Transitions(
        jnp.asarray(rewards, jnp.float32),
        jnp.asarray(0.9 * ~over, jnp.float32),
        jnp.asarray(goes_on, jnp.float32),
    )
    following = jnp.asarray(following, jnp.float32)
    targets = Scalar().targets(following, following, transitions, lam)
    np.testing.assert_allclose(targets[..., 0], expected, atol=1e-5)
    # A distribution that is a point has the same targets as its mean.
    points = jnp.repeat(following, 4, axis=-1)
    quantiles = Quantile(4).targets(points, points, transitions, lam)
    if lam == 0.0:
        np.testing.assert_allclose(quantiles, np.repeat(expected[..., None], 4, axis=-1), atol=1e-5)
    support = jnp.linspace(-8.0, 8.0, 65)
    position = jnp.clip((following + 8.0) * 4.0, 0, 64)
    logits = jnp.log(jnp.maximum(1e-30, 1.0 - jnp.abs(position - jnp.arange(65.0)[None, None])))
    categorical = Categorical(support).targets(logits, logits, transitions, lam)
    np.testing.assert_allclose(categorical.sum(-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(categorical @ support, expected, atol=1e-4)


def test_level_weights():
    weights = level_weights(10, 100)
    assert weights.shape == (10, 100)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)
    for k in range(10):
        np.testing.assert_allclose(weights[k], np.where(np.arange(100) < 10 * (k + 1), 0.1 / (k + 1), 0.0), atol=1e-5)
    assert float(expected_level(jnp.full(10, 0.1))) == pytest.approx(0.55)


KINDS = {
    "scalar": Scalar(2.0),
    "dual": Dual(20.0, 2.0),
    "categorical": Categorical(jnp.linspace(-10.0, 10.0, 41)),
    "quantile": Quantile(16, 2.0),
}


def moments(distribution):
    return np.stack([distribution.mean(), distribution.variance() + distribution.mean() ** 2])


@pytest.mark.parametrize("name", KINDS)
def test_a_prediction_stands_for_a_distribution_with_its_mean(name):
    kind = KINDS[name]
    raw = jax.random.normal(jax.random.key(0), (5, 3, kind.outputs))
    predicted = kind.decode(raw)
    distribution = kind.distribution(predicted)
    np.testing.assert_allclose(kind.mean(predicted), distribution.mean(), atol=1e-5)
    np.testing.assert_allclose(kind.scores(raw, Expectation()), kind.mean(predicted), atol=1e-5)
    if name != "scalar":  # which knows no risk
        measure = CVaR(0.3)
        np.testing.assert_allclose(kind.scores(raw, measure), measure(distribution), atol=1e-4)
        assert (np.asarray(distribution.variance()) > 0).all()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.thorough
def test_a_mixture_has_the_moments_of_a_draw(name):
    """Mean and second moment of a mixture are those of its parts, weighted; of quantiles about so."""
    kind = KINDS[name]
    predicted = kind.decode(jax.random.normal(jax.random.key(1), (6, 4, kind.outputs)))
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(2), (6, 4)))
    found = moments(kind.distribution(kind.mixture(weights, predicted)))
    parts = moments(kind.distribution(predicted))
    expected = (np.asarray(weights) * parts).sum(-1)
    if name == "scalar":
        found, expected = found[0], expected[0]
    np.testing.assert_allclose(found, expected, atol=0.1 if name == "quantile" else 1e-4)


def test_a_dual_prediction_has_two_moments():
    kind = Dual(20.0, 2.0)
    raw = jax.random.normal(jax.random.key(0), (7, 2))
    predicted = kind.decode(raw)
    np.testing.assert_allclose(kind.mean(predicted), 2.0 * raw[:, 0], rtol=1e-6)
    variance = kind.second_moment(predicted) - kind.mean(predicted) ** 2
    np.testing.assert_allclose(variance, 4.0 * raw[:, 1] ** 2, atol=1e-5)
    np.testing.assert_allclose(
        kind.scores(raw, risk.MeanVariance(0.5)), kind.mean(predicted) - 0.5 * variance, atol=1e-5
    )


@pytest.mark.parametrize("name", ["scalar", "dual", "quantile"])
def test_losses_are_the_same_in_units_of_any_size(name):
    """Ten times the returns at ten times the scale."""

    def loss(unit):
        kind = prediction(name, (-5.0 * unit, 5.0 * unit), num_atoms=8, value_scale=unit)
        predicted = kind.decode(jax.random.normal(jax.random.key(0), (4, 3, kind.outputs)))
        following = kind.decode(jax.random.normal(jax.random.key(1), (4, 3, kind.outputs)))
        transitions = Transitions(jnp.full((4, 3), 0.3 * unit), jnp.full((4, 3), 0.9), jnp.ones((4, 3)))
        return kind.loss(predicted, kind.targets(predicted, following, transitions, 0.7))

    np.testing.assert_allclose(loss(1.0), loss(10.0), rtol=1e-4)


def test_targets_of_the_second_moment_are_those_of_a_certain_return():
    """Rewards that are certain: the second moment's target is the square of the mean's."""
    kind = Dual(20.0)
    rewards = jnp.array([1.0, -2.0, 0.5])
    returns = [1.0 + 0.9 * (-2.0 + 0.9 * 0.5), -2.0 + 0.9 * 0.5, 0.5]
    after = jnp.array([*returns[1:], 0.0])
    following = jnp.stack([after, after**2], -1)
    predicted = jnp.stack([jnp.array(returns), jnp.array(returns) ** 2], -1)
    transitions = Transitions(rewards, jnp.array([0.9, 0.9, 0.0]), jnp.array([1.0, 1.0, 0.0]))
    for lam in (0.0, 0.6, 1.0):
        targets = kind.targets(predicted, following, transitions, lam)
        np.testing.assert_allclose(targets, predicted, atol=1e-5)


def test_a_support_must_be_ascending():
    with pytest.raises(AverseError, match="lowest < highest"):
        require_ascending((3.0, 3.0))
    require_ascending(None)
    require_ascending((-1.0, 3.0))
