"""Measures, distributions and numbers with different batch axes, where implicit promotion is forbidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import first_quick

from averse.risk import CPW, Categorical, CVaR, Entropic, EVaR, MeanVariance, Quantiles, Samples, VaR, Wang
from averse.risk.broadcasting import per_value, same_rank

VALUES = jnp.array([[-2.0, 0.0, 1.0, 3.0], [-1.0, -0.5, 0.5, 1.5]])
PROBS = jnp.array([0.1, 0.4, 0.3, 0.2])
NUMBERS = jnp.array([[0.4], [0.6], [0.9]])


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


def test_arrays_get_as_many_axes_as_the_longest():
    shapes = [array.shape for array in same_rank(jnp.zeros(4), jnp.float32(0.0), jnp.zeros((3, 2, 1)))]
    assert shapes == [(1, 1, 4), (), (3, 2, 1)]
    assert per_value(jnp.zeros((3, 2))).shape == (3, 2, 1)
    assert per_value(jnp.float32(0.0)).shape == ()


@pytest.mark.parametrize("kind", first_quick([Entropic, CVaR, VaR, MeanVariance, Wang, CPW, EVaR], 2))
@pytest.mark.parametrize(
    "distribution",
    [Samples(VALUES[0]), Quantiles(VALUES), Categorical(VALUES, PROBS), Categorical(VALUES[0], jnp.stack([PROBS] * 2))],
    ids=["one", "quantiles", "shared probabilities", "shared atoms"],
)
@pytest.mark.thorough
def test_numbers_with_more_axes_than_the_distribution(kind, distribution):
    """Each of three numbers, one after the other, and all at once."""
    apart = jnp.stack([jnp.atleast_1d(kind(float(number))(distribution)) for number in NUMBERS[:, 0]])
    np.testing.assert_allclose(kind(NUMBERS)(distribution), apart, rtol=1e-5)


@pytest.mark.parametrize("kind", first_quick([Entropic, CVaR, MeanVariance, Wang], 2))
def test_points_with_more_axes_than_the_distribution(kind):
    points = jnp.linspace(-1.0, 2.0, 6).reshape(3, 2, 1)
    one = kind(0.6)
    expected = one.influence(Samples(VALUES[0]), points.ravel()).reshape(points.shape)
    np.testing.assert_allclose(one.influence(Samples(VALUES[0]), points), expected, rtol=1e-5, atol=1e-5)


def test_expectations_and_probabilities_at_more_axes_than_the_distribution():
    distribution = Samples(VALUES[0], PROBS)
    levels = jnp.array([[0.1, 0.5], [0.6, 0.95]])
    np.testing.assert_array_equal(distribution.quantile(levels), [[-2.0, 0.0], [1.0, 3.0]])
    np.testing.assert_allclose(distribution.cdf(levels), [[0.5, 0.5], [0.5, 0.5]], rtol=1e-6)
    indicators = distribution.values[None] > jnp.array([[0.0], [2.0]])
    np.testing.assert_allclose(distribution.expectation(indicators), [0.5, 0.2], rtol=1e-6)
