"""The states of trials side by side, and those of some trials again: pytrees whose leading axis is trials.

On a CPU this is numpy's work: JAX would compile a program for each shape of a leaf, which takes longer than all else.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def side_by_side(parts: list[Any]) -> Any:
    """One pytree of several of the same form, their trials one after another; of a single one this one itself."""
    if len(parts) == 1:
        return parts[0]
    return jax.tree.map(lambda *leaves: _of_leaves(np.concatenate, jnp.concatenate, leaves), *parts)


def chosen(states: Any, which: int | slice) -> Any:
    """The states of one trial, without the leading axis, or of a range of trials."""

    def taken(leaves: tuple[Any, ...]) -> Any:
        return leaves[0][which]

    # Training gives the memory of its states away to the next ones: these have memory of their own.
    return jax.tree.map(lambda leaf: _of_leaves(lambda leaves: taken(leaves).copy(), taken, (leaf,)), states)


def _of_leaves(by_numpy: Callable[..., Any], by_jax: Callable[..., Any], leaves: tuple[Any, ...]) -> Any:
    is_key = jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key)  # of which numpy knows nothing
    if is_key or jax.default_backend() != "cpu":
        return by_jax(leaves)
    return jnp.asarray(by_numpy(tuple(map(np.asarray, leaves))))
