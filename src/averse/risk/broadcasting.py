"""Explicit broadcasting: arrays side by side that have different numbers of axes.

Users may have set `jax_numpy_rank_promotion` to "raise", which forbids what numpy does implicitly.
"""

import jax.numpy as jnp
from jax import Array


def same_rank(*arrays: Array) -> tuple[Array, ...]:
    """Arrays whose axes match from the last one on, with as many axes as the longest has; single numbers as they are.

    Axes of length 1 cost nothing: no array is spread out here.
    """
    ndim = max(array.ndim for array in arrays)
    return tuple(lifted(array, ndim - array.ndim) for array in arrays)


def lifted(array: Array, axes: int) -> Array:
    """An array with so many more axes in front, of length 1; a single number as it is."""
    return jnp.expand_dims(array, tuple(range(axes))) if array.ndim else array


def per_value(numbers: Array) -> Array:
    """Numbers [...], one for each distribution of a batch, as [..., 1] beside values [..., N]; one for all as it is."""
    return numbers[..., None] if numbers.ndim else numbers
