"""The small interface that the measures stand on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.errors import AverseError
from averse.risk import Categorical, Quantiles, Samples, uniform_support


def test_logits_keep_probabilities_that_underflow():
    distribution = Categorical.from_logits(jnp.arange(2.0), jnp.array([-200.0, 0.0]))
    assert distribution.probs[0] == 0
    assert distribution.log_probs[0] == pytest.approx(-200)


def test_moments_cdf_and_quantiles_of_a_batch():
    atoms = jnp.array([0.0, 1.0, 4.0])
    distribution = Categorical(atoms, jnp.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(distribution.mean(), [1.25, 1.0])
    np.testing.assert_allclose(distribution.variance(), [2.6875, 0.0])
    np.testing.assert_allclose(
        distribution.cdf(jnp.array([[-1.0, 0.0, 3.9], [0.9, 1.0, 9.0]])), [[0, 0.5, 0.75], [0, 1, 1]]
    )
    np.testing.assert_allclose(distribution.quantile(0.5), [0.0, 1.0])
    np.testing.assert_allclose(distribution.quantile(jnp.array([0.76, 1.0])), [4.0, 1.0])


def test_unordered_values_are_put_in_order():
    values = jnp.array([3.0, 1.0, 2.0])
    np.testing.assert_allclose(Quantiles(values).ordered()[0], [1, 2, 3])
    ordered, probs = Samples(values, jnp.array([1, 2, 1])).ordered()
    np.testing.assert_allclose(ordered, [1, 2, 3])
    np.testing.assert_allclose(probs, [0.5, 0.25, 0.25])


@pytest.mark.parametrize(
    "distribution",
    [
        Categorical(jnp.arange(3.0), jnp.array([0.2, 0.3, 0.5])),
        Quantiles(jnp.arange(3)),
        Samples(np.arange(3), np.array([1, 0, 3])),
    ],
    ids=lambda distribution: type(distribution).__name__,
)
def test_pytree_survives_jit_vmap_and_structure_maps(distribution):
    assert distribution.values.dtype == jnp.float32
    assert float(jnp.sum(jnp.exp(distribution.log_probs))) == pytest.approx(1)
    through = jax.jit(lambda d: d)(distribution)
    assert type(through) is type(distribution)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), distribution)
    np.testing.assert_allclose(jax.vmap(lambda d: d.mean())(stacked), [distribution.mean()] * 2)
    assert jax.tree.structure(jax.tree.map(lambda _: None, distribution)) is not None


def test_shared_atoms_broadcast_over_the_batch():
    distribution = Categorical(jnp.arange(3.0), jnp.full((4, 2, 3), 1 / 3))
    assert distribution.values.shape == (4, 2, 3)
    assert distribution.mean().shape == (4, 2)


def test_bad_shapes_and_supports_are_refused():
    with pytest.raises(AverseError, match="atoms"):
        Categorical(jnp.arange(3.0), jnp.ones(4) / 4)
    for low, high, count in ((1.0, 1.0, 5), (0.0, float("inf"), 5), (0.0, 1.0, 1)):
        with pytest.raises(AverseError, match="support"):
            uniform_support(low, high, count)


def test_importing_needs_no_network_library():
    import subprocess
    import sys

    code = "import sys, averse.risk; sys.exit('flax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
