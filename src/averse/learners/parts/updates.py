"""Minimising a loss over a batch by a few passes of minibatch steps."""

from collections.abc import Callable
from typing import Any

import jax
import optax


def descend(
    loss: Callable[[Any, Any], tuple[jax.Array, dict[str, jax.Array]]],
    optimiser: optax.GradientTransformation,
    params: Any,
    optimiser_state: Any,
    data: Any,
    key: jax.Array,
    *,
    learning_rate: jax.Array,
    epochs: int,
    minibatches: int,
) -> tuple[Any, Any, dict[str, jax.Array]]:
    """Passes over the data, each in a new random order.

    Args:
      loss: (params, minibatch) -> (a scalar, metrics).
      optimiser: what turns gradients into directions; `learning_rate` scales them (so that it may be traced).
      data: arrays [N, ...]; `minibatches` must divide N.

    Returns:
      The parameters, the optimiser's state, and the metrics' means over all steps.
    """
    size = jax.tree.leaves(data)[0].shape[0]

    def step(carry, index):
        params, optimiser_state = carry
        minibatch = jax.tree.map(lambda x: x[index], data)
        gradient, metrics = jax.grad(loss, has_aux=True)(params, minibatch)
        changes, optimiser_state = optimiser.update(gradient, optimiser_state)
        params = jax.tree.map(lambda p, change: p - learning_rate * change, params, changes)
        return (params, optimiser_state), metrics

    def epoch(carry, key):
        return jax.lax.scan(step, carry, jax.random.permutation(key, size).reshape(minibatches, -1))

    (params, optimiser_state), metrics = jax.lax.scan(epoch, (params, optimiser_state), jax.random.split(key, epochs))
    return params, optimiser_state, {name: values.mean() for name, values in metrics.items()}
