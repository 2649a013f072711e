"""Functions with the batch last, under a vmap that puts it first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.environments.batch_last import batch_last, kept


def test_one_two_and_no_batch_axes_give_the_same():
    shapes = []

    def function(a, b):  # a [3, ...], b [...]
        shapes.append(a.shape)
        return {"sum": a.sum(0) + b, "outer": a[:, None] * a[None]}

    a = jnp.asarray(np.random.default_rng(0).random((2, 5, 3)), jnp.float32)
    b = jnp.arange(5.0)
    both = jax.vmap(jax.vmap(batch_last(function)), (0, None))(a, b)
    assert shapes[-1] == (3, 2, 5)  # the innermost vmap's axis stays last
    assert both["outer"].shape == (2, 5, 3, 3)
    for i in range(2):
        one = jax.vmap(batch_last(function))(a[i], b)
        for j in range(5):
            alone = batch_last(function)(a[i, j], b[j])
            for name, value in alone.items():
                assert jnp.allclose(value, one[name][j])
                assert jnp.allclose(value, both[name][i, j])


def test_an_argument_without_the_batch_axis_is_shared():
    add = batch_last(lambda a, b: a + b)
    assert jax.vmap(add, (0, None))(jnp.arange(3.0), jnp.float32(2)).tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    "values", [jnp.arange(3.0), jnp.array([True, False]), jnp.array([-jnp.inf, 1.0]), jnp.array([jnp.inf, 1.0])]
)
def test_kept_values_are_the_same_and_kept_apart(values):
    kept_values = jax.jit(kept)({"none": jnp.zeros(0), "some": values})["some"]
    assert np.array_equal(kept_values, values)
    compiled = jax.jit(lambda x: kept(x * jnp.ones((), x.dtype))).lower(values).compile().as_text()
    assert "conditional(" in compiled
