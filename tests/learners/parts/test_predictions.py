"""Kinds of prediction and distortion weights, against closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
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


def normal(seed: int, *shape: int, size: float = 1.0) -> np.ndarray:
    """Normal draws, float32."""
    return np.random.default_rng(seed).normal(0.0, size, shape).astype(np.float32)


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
    weights = np.asarray(jax.jit(partial(quantile_weights, measure, 32))())
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
    raw, actions = normal(0, 5, 4, 8, size=2.0), np.array([0, 1, 2, 3, 3])
    parts = jax.jit(
        lambda raw: (
            kind.decode(raw),
            kind.scores(raw, measure),
            measure(Quantiles(kind.decode(raw))),
            kind.decode(select(raw, actions)),
            kind.average(raw),
        )
    )
    quantiles, scores, expected, chosen, average = map(np.asarray, parts(raw))
    assert (np.diff(quantiles, axis=-1) > 0).all()
    np.testing.assert_allclose(quantiles.mean(-1), 3.0 * raw[..., 0], atol=1e-5)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(chosen, quantiles[np.arange(5), actions], atol=1e-5)
    np.testing.assert_allclose(average, quantiles.mean(-2), atol=1e-5)


def test_a_scalar_and_a_categorical_prediction_choose_and_score():
    raw, actions = normal(0, 6, 3, 1), np.array([0, 1, 2, 0, 1, 2])
    kind = Scalar(2.0)
    scores, chosen = jax.jit(lambda raw: (kind.scores(raw, Expectation()), kind.decode(select(raw, actions))))(raw)
    np.testing.assert_allclose(scores, 2.0 * raw[..., 0])
    np.testing.assert_allclose(chosen[:, 0], 2.0 * raw[np.arange(6), actions, 0])
    support = np.linspace(-1.0, 1.0, 5, dtype=np.float32)
    categorical = Categorical(jnp.asarray(support))
    raw = normal(1, 6, 3, 5)
    scores, chosen = jax.jit(lambda raw: (categorical.scores(raw, Expectation()), select(raw, actions)))(raw)
    np.testing.assert_allclose(scores, scipy.special.softmax(raw, -1) @ support, atol=1e-6)
    np.testing.assert_allclose(chosen, raw[np.arange(6), actions], atol=1e-6)


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
    transitions = Transitions(*(x.astype(np.float32) for x in (rewards, 0.9 * ~over, goes_on)))
    following = following.astype(np.float32)
    points = np.repeat(following, 4, axis=-1)
    support = np.linspace(-8.0, 8.0, 65, dtype=np.float32)
    position = np.clip((following + 8.0) * 4.0, 0, 64)
    logits = np.log(np.maximum(1e-30, 1.0 - np.abs(position - np.arange(65, dtype=np.float32))))

    @jax.jit
    def targets(transitions, following, points, logits):
        return (
            Scalar().targets(following, following, transitions, lam),
            Quantile(4).targets(points, points, transitions, lam),
            Categorical(jnp.asarray(support)).targets(logits, logits, transitions, lam),
        )

    scalar, quantiles, categorical = map(np.asarray, targets(transitions, following, points, logits))
    np.testing.assert_allclose(scalar[..., 0], expected, atol=1e-5)
    # A distribution that is a point has the same targets as its mean.
    if lam == 0.0:
        np.testing.assert_allclose(quantiles, np.repeat(expected[..., None], 4, axis=-1), atol=1e-5)
    np.testing.assert_allclose(categorical.sum(-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(categorical @ support, expected, atol=1e-4)


def test_level_weights():
    weights = np.asarray(jax.jit(partial(level_weights, 10, 100))())
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
    measure = CVaR(0.3)

    @jax.jit
    def parts(raw):
        predicted = kind.decode(raw)
        distribution = kind.distribution(predicted)
        means = kind.mean(predicted), distribution.mean(), kind.scores(raw, Expectation())
        return means, (kind.scores(raw, measure), measure(distribution)), distribution.variance()

    (mean, expected, neutral), scores, variance = parts(normal(0, 5, 3, kind.outputs))
    np.testing.assert_allclose(mean, expected, atol=1e-5)
    np.testing.assert_allclose(neutral, mean, atol=1e-5)
    if name != "scalar":  # which knows no risk
        np.testing.assert_allclose(*scores, atol=1e-4)
        assert (np.asarray(variance) > 0).all()


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
    kind, raw = Dual(20.0, 2.0), normal(0, 7, 2)
    predicted, scores = jax.jit(lambda raw: (kind.decode(raw), kind.scores(raw, risk.MeanVariance(0.5))))(raw)
    mean, second = (np.asarray(part(predicted)) for part in (kind.mean, kind.second_moment))
    np.testing.assert_allclose(mean, 2.0 * raw[:, 0], rtol=1e-6)
    np.testing.assert_allclose(second - mean**2, 4.0 * raw[:, 1] ** 2, atol=1e-5)
    np.testing.assert_allclose(scores, mean - 0.5 * (second - mean**2), atol=1e-5)


@pytest.mark.parametrize("name", ["scalar", "dual", "quantile"])
def test_losses_are_the_same_in_units_of_any_size(name):
    """Ten times the returns at ten times the scale."""

    def loss(unit):
        kind = prediction(name, (-5.0 * unit, 5.0 * unit), num_atoms=8, value_scale=unit)
        predicted, following = (kind.decode(jnp.asarray(normal(seed, 4, 3, kind.outputs))) for seed in (0, 1))
        transitions = Transitions(jnp.full((4, 3), 0.3 * unit), jnp.full((4, 3), 0.9), jnp.ones((4, 3)))
        return kind.loss(predicted, kind.targets(predicted, following, transitions, 0.7))

    np.testing.assert_allclose(*jax.jit(lambda: (loss(1.0), loss(10.0)))(), rtol=1e-4)


def test_targets_of_the_second_moment_are_those_of_a_certain_return():
    """Rewards that are certain: the second moment's target is the square of the mean's."""
    kind = Dual(20.0)
    rewards, discounts, continues = np.array([[1.0, -2.0, 0.5], [0.9, 0.9, 0.0], [1.0, 1.0, 0.0]], np.float32)
    returns = np.array([1.0 + 0.9 * (-2.0 + 0.9 * 0.5), -2.0 + 0.9 * 0.5, 0.5], np.float32)
    after = np.append(returns[1:], np.float32(0.0))
    following, predicted = (np.stack([x, x**2], -1) for x in (after, returns))
    targets = jax.jit(kind.targets)
    for lam in (0.0, 0.6, 1.0):
        found = targets(predicted, following, Transitions(rewards, discounts, continues), lam)
        np.testing.assert_allclose(found, predicted, atol=1e-5)


def test_a_support_must_be_ascending():
    with pytest.raises(AverseError, match="lowest < highest"):
        require_ascending((3.0, 3.0))
    require_ascending(None)
    require_ascending((-1.0, 3.0))
