"""Networks that read sets: one encoding for all members, pooled, so that their order means nothing.

Deep sets (Zaheer et al. 2017) with the maximum for a pool, as in PointNet (Qi et al. 2017).

Axes: R rows (any leading axes, made one), K places for members, F numbers of a member, U units.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.batch_last import kept
from averse.environments.sets import SetLayout


class SetEncoder(nn.Module):
    """What a vector with a set says: its own numbers, and the members that are there, pooled to `units` numbers.

    One dense layer (orthogonal weights with gain sqrt 2, zero biases) over each member with the own numbers beside it,
    relu, and the maximum over the members that are there; 0 where none is.

    As the own numbers and the bias add the same to all members, and relu does not fall, the maximum may come first:
    max_k relu(V o + W m_k + b) = relu(V o + max_k W m_k + b). Only the products W m_k are worked out member by member.

    Args:
      layout: how the vectors hold the set.
      units: U.
    """

    layout: SetLayout
    units: int

    @nn.compact
    def __call__(self, vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Vectors [..., own + K F] to their own numbers [..., own] and the pooled ones [..., units]."""
        own_size, count, size = self.layout.own, self.layout.count, self.layout.size
        kernel = self.param("kernel", nn.initializers.orthogonal(np.sqrt(2.0)), (own_size + size, self.units))
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        rows = vectors.reshape(-1, vectors.shape[-1])
        own, members = rows[:, :own_size], rows[:, own_size:].reshape(-1, count, size)
        pooled = _pooled(members, kernel[own_size:], own @ kernel[:own_size] + bias[None])
        lead = vectors.shape[:-1]
        return own.reshape(*lead, own_size), pooled.reshape(*lead, self.units)


@jax.custom_vjp
def _pooled(members: jax.Array, kernel: jax.Array, offset: jax.Array) -> jax.Array:
    """relu(offset + max_k members[:, k] @ kernel), [R, U], over the members that are there (not all zeros); 0 without.

    The gradient goes to the first of the greatest members. It is written down here as the one that JAX derives shares
    between them, which takes longer.

    Args:
      members: [R, K, F].
      kernel: [F, U].
      offset: [R, U].
    """
    return _pool(members, kernel, offset)[0]


def _pool(members: jax.Array, kernel: jax.Array, offset: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What is pooled, and the places of the members that it is of, whole numbers [R, U]; -1 where it is 0."""
    whole = jnp.int8 if members.shape[1] <= jnp.iinfo(jnp.int8).max else jnp.int32
    products = (_flat(members) @ kernel).reshape(*members.shape[:2], -1)
    there = (members != 0).any(-1)
    greatest, place = jnp.full(offset.shape, -jnp.inf, offset.dtype), jnp.full(offset.shape, -1, whole)
    for k in range(members.shape[1]):
        better = (products[:, k] > greatest) & there[:, k, None]
        greatest, place = jnp.where(better, products[:, k], greatest), jnp.where(better, whole(k), place)
    pooled = nn.relu(greatest + offset)
    return pooled, jnp.where(pooled > 0, place, whole(-1))


def _flat(members: jax.Array) -> jax.Array:
    """[R, K, ...] as one matrix [R K, ...]."""
    return members.reshape(-1, members.shape[-1])


def _forwards(members: jax.Array, kernel: jax.Array, offset: jax.Array) -> tuple[jax.Array, Any]:
    pooled, place = _pool(members, kernel, offset)
    return pooled, (members, kernel, kept(place))  # else each member's gradient would work all places out again


def _backwards(saved: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    members, kernel, place = saved
    index = jnp.arange(members.shape[1], dtype=place.dtype)[None, :, None]
    of_products = _flat(jnp.where(place[:, None] == index, gradient[:, None], 0.0))
    of_members = (of_products @ kernel.T).reshape(members.shape)
    return of_members, _flat(members).T @ of_products, jnp.where(place >= 0, gradient, 0.0)


_pooled.defvjp(_forwards, _backwards)
