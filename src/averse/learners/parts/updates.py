"""Learning from a batch: minibatch passes, the optimiser's step, the policy's loss, and the means they are made of."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from averse.learners.contract import Metrics
from averse.learners.parts.action_distributions import ActionDistribution


def weighted_mean(values: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The mean [] of values [...], weighted by weights [...] >= 0 if given; 0 where nothing has weight.

    Weights that sum to less than 1 count as if they summed to 1.
    """
    if weights is None:
        return values.mean()
    if values.dtype == bool:
        values = values.astype(jnp.float32)
    # A count of samples is exact in whole numbers.
    total = jnp.maximum(weights.sum().astype(values.dtype), 1.0)
    return (values * weights.astype(values.dtype)).sum() / total


def normalise(values: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Values [...] shifted and scaled to (weighted) mean 0 and standard deviation 1."""
    centred = values - weighted_mean(values, weights)
    return centred / standard_deviation(values, weights)


def standard_deviation(values: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The (weighted) standard deviation [] of values [...], by which `normalise` divides: 1e-8 more, so never 0."""
    centred = values - weighted_mean(values, weights)
    return jnp.sqrt(weighted_mean(centred**2, weights)) + 1e-8


def linear_schedule(progress: jax.Array, start: float, end: float, fraction: float = 1.0) -> jax.Array:
    """From `start` to `end` in a straight line over the first `fraction` of training, then `end`; float32 [].

    At its end at once where the fraction is 0. (optax has one by numbers of steps, whole and above 0.)

    Args:
      progress: float32 [], how much of training is done, in [0, 1].
    """
    reached = jnp.minimum(1.0, progress / fraction) if fraction else jnp.float32(1.0)
    return start + (end - start) * reached


def clipped(max_gradient_norm: float, directions: optax.GradientTransformation) -> optax.GradientTransformation:
    """`directions` of gradients that are clipped to a global norm; see `gradient_step` for the step size."""
    return optax.chain(optax.clip_by_global_norm(max_gradient_norm), directions)


def adam(max_gradient_norm: float) -> optax.GradientTransformation:
    """Adam's directions (Kingma, Ba 2015) of clipped gradients."""
    return clipped(max_gradient_norm, optax.scale_by_adam(eps=1e-5))


def apart(optimiser: optax.GradientTransformation, *names: str) -> optax.GradientTransformation:
    """The optimiser for a dictionary of networks, each with a norm and a state of its own."""
    return optax.partition(dict.fromkeys(names, optimiser), lambda networks: {name: name for name in networks})


def gradient_step(
    optimiser: optax.GradientTransformation,
    gradient: Any,
    params: Any,
    optimiser_state: Any,
    step_size: float | jax.Array,
) -> tuple[Any, Any]:
    """The parameters and the optimiser's state after one step downhill.

    Args:
      gradient: of the loss, a tree like the parameters.
      step_size: [], may be traced, so that a sweep over it is one program.
    """
    # Adam corrects its bias by a power of an integer, which strict promotion of types forbids.
    with jax.numpy_dtype_promotion("standard"):
        directions, optimiser_state = optimiser.update(gradient, optimiser_state, params)
    return optax.apply_updates(params, optax.tree.scale(-step_size, directions)), optimiser_state


def descend(
    loss: Callable[[Any, Any], tuple[jax.Array, Metrics]],
    optimiser: optax.GradientTransformation,
    params: Any,
    optimiser_state: Any,
    data: Any,
    key: jax.Array,
    *,
    step_size: jax.Array,
    epochs: int,
    minibatches: int,
    blocks: int = 1,
    weight: Callable[[Any], jax.Array] = lambda part: jnp.float32(1.0),
    draw: Callable[[jax.Array], tuple[jax.Array, Any]] | None = None,
) -> tuple[Any, Any, Metrics]:
    """Passes over the data, each in a new random order.

    Args:
      loss: (params, minibatch) -> (a scalar, metrics).
      data: arrays [N, ...]; `minibatches` must divide N.
      step_size: see `gradient_step`.
      blocks: into how many parts a minibatch is cut, whose gradients are worked out one after another: what a small
        part needs stays in the processor's cache. Must divide N / minibatches.
      weight: what a part counts for, [] >= 0, where there are several blocks: loss and metrics of a minibatch must be
        the means of those of its parts with these weights, as `weighted_mean` is with the sums of its own.
      draw: key -> what a pass goes through in place of everything: rows, int32 [M], and the data [N, ...] as this pass
        weighs it. `minibatches` times `blocks` must divide M.

    Returns:
      The parameters, the optimiser's state, and the metrics' means over all steps.
    """
    size = jax.tree.leaves(data)[0].shape[0]

    def everything(key):
        return jax.random.permutation(key, size), data

    def of_part(params, data, index):
        part = jax.tree.map(lambda x: x[index], data)
        return jax.grad(loss, has_aux=True)(params, part), part

    def of_minibatch(params, data, index):
        if blocks == 1:
            return of_part(params, data, index)[0]

        def weighted(index):
            result, part = of_part(params, data, index)
            share = weight(part)
            return share, jax.tree.map(lambda x: share * x, result)

        def add(sums, index):
            return jax.tree.map(jnp.add, sums, weighted(index)), None

        parts = index.reshape(blocks, -1)
        nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(weighted, parts[0]))
        (total, sums), _ = jax.lax.scan(add, nothing, parts)
        return jax.tree.map(lambda x: x / jnp.maximum(total, 1.0), sums)

    def epoch(state, key):
        rows, drawn = (draw or everything)(key)

        def step(state, index):
            params, optimiser_state = state
            gradient, metrics = of_minibatch(params, drawn, index)
            return gradient_step(optimiser, gradient, params, optimiser_state, step_size), metrics

        return jax.lax.scan(step, state, rows.reshape(minibatches, -1))

    (params, optimiser_state), metrics = jax.lax.scan(epoch, (params, optimiser_state), jax.random.split(key, epochs))
    return params, optimiser_state, {name: values.mean() for name, values in metrics.items()}


def policy_loss(
    choice: ActionDistribution,
    actions: jax.Array,
    log_prob: jax.Array,
    advantages: jax.Array,
    *,
    clip: float,
    epsilon: float | jax.Array,
    penalty: float | None = None,
    weights: jax.Array | None = None,
) -> tuple[jax.Array, Metrics]:
    """What a policy loses by its probability ratios, less `epsilon` times its entropy, and how far it has moved.

    The ratio r = pi(a|s) / pi_old(a|s) of a sample with advantage A is held near 1 in one of two ways:

    - clipped (Schulman et al. 2017, eq. 7): min(r A, clip(r, 1 - clip, 1 + clip) A). No sample gains by moving its
      ratio beyond the bound, so that a sample of A = -100 is done with as soon as one of A = -1.
    - penalised: r A - penalty/2 (r - 1)^2, whose penalty is half the chi-squared divergence from the old policy in
      expectation (with |A| for a coefficient it is SPO's, Xie et al. 2024, which bounds ratios as clipping does). It is
      greatest at r = 1 + A / penalty: where outcomes differ, at their mean advantage, rare heavy losses in full.

    Args:
      choice: the policy as it is now, batch axes [...].
      actions: what was done, [...] or [..., size].
      log_prob: [...], log-probabilities of these actions when they were done.
      advantages: [...].
      clip: bound on the change of the probability ratio.
      penalty: of the squared change of the ratio, > 0; None clips.
      weights: [...] >= 0, how much each sample counts; equal by default.

    Returns:
      The loss [], and metrics: `actor_loss`, `entropy` and `approximate_kl` in nats, and `clip_fraction`, how many
      ratios are beyond the bound.
    """
    log_ratio = choice.log_prob(actions) - log_prob
    ratio = jnp.exp(log_ratio)
    if penalty is None:
        bounded = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
        gains = jnp.minimum(ratio * advantages, bounded * advantages)
    else:
        gains = ratio * advantages - 0.5 * penalty * (ratio - 1.0) ** 2
    entropy = weighted_mean(choice.entropy(), weights)
    loss = -weighted_mean(gains, weights) - epsilon * entropy
    metrics = {
        "actor_loss": loss,
        "entropy": entropy,
        "approximate_kl": weighted_mean(ratio - 1.0 - log_ratio, weights),
        "clip_fraction": weighted_mean(jnp.abs(ratio - 1.0) > clip, weights),
    }
    return loss, metrics
