"""Functions whose arrays have the batch in their last axes, under a vmap that puts it first.

Small arrays are quick to work with when the long axis, the batch, is the last one: a compiler then makes vector
instructions of everything. `jax.vmap` puts new axes first and takes what it finds.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def batch_last(function: Callable[..., Any], batch_axes: int = 0) -> Callable[..., Any]:
    """`function`, to which `jax.vmap` adds batch axes at the end.

    Args:
      function: takes and returns pytrees of arrays; whatever their own axes, `batch_axes` or more batch axes follow
        them, the same for all.
      batch_axes: how many the arrays have already. Further ones are put before them, so that the innermost vmap's, the
        environments of one run, stays last.
    """
    vmappable = jax.custom_batching.custom_vmap(function)

    def to_front(array: jax.Array) -> jax.Array:
        return jnp.moveaxis(array, array.ndim - 1 - batch_axes, 0)

    @vmappable.def_vmap
    def rule(axis_size: int, batched: Any, *arguments: Any) -> tuple[Any, Any]:
        def to_back(array: jax.Array, batched: bool) -> jax.Array:
            if not batched:
                array = jnp.broadcast_to(array, (axis_size, *array.shape))
            return jnp.moveaxis(array, 0, array.ndim - 1 - batch_axes)

        arguments = kept(jax.tree.map(to_back, arguments, tuple(batched)))
        results = kept(batch_last(function, batch_axes + 1)(*arguments))
        return jax.tree.map(to_front, results), jax.tree.map(lambda _: True, results)

    return vmappable


def kept(values: Any) -> Any:
    """A pytree of arrays, the same, but worked out once and kept in memory.

    XLA fuses everything it can into one loop, whose body is then too long to become vector instructions, or has a
    reduction or a transposition inside. It does not fuse across a branch, so that this one, of which always the same
    side is taken, keeps loops apart (`jax.lax.optimization_barrier` does not on a CPU). Measured: what the intersection
    spends on observations and gaps becomes three to five times less.

    Under `jax.vmap` the whole batch is kept: a branch for each of the batch would be both sides of it for all.
    """
    return _kept(values)


@jax.custom_batching.custom_vmap
def _kept(values: Any) -> Any:
    leaves, structure = jax.tree.flatten(values)
    some = [leaf for leaf in leaves if leaf.size]
    if not some or jax.default_backend() != "cpu":  # elsewhere a branch waits for the host, and fusion is good
        return values
    # Always so, which the compiler cannot know: the first number of all would have to be NaN.
    ordinary = some[0][(0,) * some[0].ndim].astype(jnp.float32) <= jnp.inf
    same = iter(jax.lax.cond(ordinary, lambda same: same, lambda same: jax.tree.map(jnp.flip, same), some))
    return jax.tree.unflatten(structure, [next(same) if leaf.size else leaf for leaf in leaves])


@_kept.def_vmap
def _kept_batch(axis_size: int, batched: Any, values: Any) -> tuple[Any, Any]:
    del axis_size
    return kept(values), batched[0]
