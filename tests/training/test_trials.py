"""States of trials side by side and apart again, against JAX's own functions."""

import jax
import jax.numpy as jnp
import numpy as np

from averse.training.trials import chosen, side_by_side


def states(seed: int, trials: int) -> dict:
    draws = np.random.default_rng(seed)
    return {
        "params": jnp.asarray(draws.normal(size=(trials, 2, 3)), jnp.float32),
        "alive": jnp.asarray(draws.random((trials, 4)) < 0.5),
        "updates": jnp.arange(trials),
        "key": jax.random.split(jax.random.key(seed), trials),
    }


def same(one, other) -> None:
    def plain(leaf):
        return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert isinstance(a, jax.Array)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(plain(a), plain(b))


def test_trials_are_joined_and_chosen_as_by_jax():
    parts = [states(0, 2), states(1, 3)]
    together = side_by_side(parts)
    same(together, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts))
    for which in (0, 4, slice(1, 4)):
        same(chosen(together, which), jax.tree.map(lambda leaf: leaf[which], together))  # noqa: B023


def test_what_is_chosen_outlives_what_it_was_chosen_from():
    """Training gives the memory of its states away to the next ones."""
    state = states(0, 2)
    assert side_by_side([state]) is state
    one, other = chosen(state, 1), chosen(state, slice(0, 1))
    jax.tree.map(lambda leaf: leaf.delete(), state)
    fresh = states(0, 2)
    same(one, jax.tree.map(lambda leaf: leaf[1], fresh))
    same(other, jax.tree.map(lambda leaf: leaf[:1], fresh))
