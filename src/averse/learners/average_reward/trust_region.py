"""One trust-region step (Schulman et al. 2015): natural gradient by conjugate gradients, then a backtracking search.

Everything is a pure function of a flat parameter vector [P], so that it jits and vmaps.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Product = Callable[[jax.Array], jax.Array]


class TrustRegionStep(NamedTuple):
    """Where a step ended. Where none was accepted, `params` are the old ones and `kl` and `gain` are 0."""

    params: jax.Array  # [P]
    accepted: jax.Array  # bool []
    kl: jax.Array  # float32 [], true divergence of the new policy, in nats
    gain: jax.Array  # float32 [], by how much the surrogate rose
    tried: jax.Array  # int32 [], how many lengths were tried


def conjugate_gradient(product: Product, target: jax.Array, iterations: int, tolerance: float = 1e-10) -> jax.Array:
    """x [P] with product(x) close to target [P], for a symmetric positive definite product (Hestenes, Stiefel 1952).

    Exact after P iterations but for rounding. It stands still once the squared residual has fallen to `tolerance` times
    that of x = 0, or where the product turns out not to be positive definite.
    """
    enough = tolerance * (target @ target)

    def step(state, _):
        x, residual, direction, square = state
        image = product(direction)
        curvature = direction @ image
        going = (square > enough) & (curvature > 0)
        length = jnp.where(going, square / jnp.where(going, curvature, 1.0), 0.0)
        x, residual = x + length * direction, residual - length * image
        following = residual @ residual
        direction = jnp.where(going, residual + following / jnp.where(going, square, 1.0) * direction, direction)
        return (x, residual, direction, jnp.where(going, following, square)), None

    start = (jnp.zeros_like(target), target, target, target @ target)
    return jax.lax.scan(step, start, None, length=iterations)[0][0]


def fisher_product(
    outputs_of: Callable[[jax.Array], jax.Array],
    divergence: Callable[[jax.Array, jax.Array], jax.Array],
    params: jax.Array,
    damping: float = 0.0,
) -> Product:
    """The function v -> F v + damping v, with the Fisher matrix F [P, P] of a policy at `params`, never built.

    F is the Hessian of the KL divergence from the policy at `params`. As that divergence is smallest there, the Hessian
    is J' H J, with J the Jacobian of the network's outputs and H the Hessian by the outputs alone: one forward-mode
    product, one product by H (jvp of a gradient) and one reverse-mode product, all linearised once.

    Args:
      outputs_of: params [P] -> the numbers that stand for the action distributions (logits), any shape.
      divergence: (old outputs, new outputs) -> mean KL divergence, a scalar.
    """
    outputs, forward = jax.linearize(outputs_of, params)
    backward = jax.linear_transpose(forward, params)

    def slope(new: jax.Array) -> jax.Array:
        return jax.grad(divergence, argnums=1)(outputs, new)

    def product(vector: jax.Array) -> jax.Array:
        (image,) = backward(jax.jvp(slope, (outputs,), (forward(vector),))[1])
        return image + damping * vector

    return product


def trust_region_step(
    params: jax.Array,
    value: jax.Array,
    gradient: jax.Array,
    product: Product,
    evaluate: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    *,
    max_kl: float | jax.Array,
    cg_iterations: int,
    backtrack: float,
    backtracks: int,
    accept: float,
) -> TrustRegionStep:
    """Maximise a surrogate within a divergence `max_kl` of the policy at `params` [P].

    The direction is x = F^-1 g; its full length, sqrt(2 max_kl / x'Fx), is where the quadratic model of the divergence
    meets the bound. Lengths 1, backtrack, backtrack^2, ... of it are tried until one has a true divergence of at most
    `max_kl` and raises the surrogate by at least `accept` times what the gradient promises. Otherwise nothing changes.

    Args:
      value, gradient: the surrogate at `params`, and its gradient [P].
      product: v -> F v, with damping.
      evaluate: params [P] -> (surrogate, true mean KL divergence from the policy at `params`).
    """
    direction = conjugate_gradient(product, gradient, cg_iterations)
    quadratic = direction @ product(direction)
    sound = jnp.isfinite(quadratic) & (quadratic > 0)
    full = jnp.where(sound, jnp.sqrt(2.0 * max_kl / jnp.where(sound, quadratic, 1.0)), 0.0) * direction
    promise = gradient @ full

    def search(step: TrustRegionStep) -> TrustRegionStep:
        fraction = backtrack ** step.tried.astype(params.dtype)
        candidate = params + fraction * full
        surrogate, kl = evaluate(candidate)
        gain = surrogate - value
        good = (kl <= max_kl) & (gain > 0) & (gain >= accept * fraction * promise)
        return TrustRegionStep(
            params=jnp.where(good, candidate, params),
            accepted=good,
            kl=jnp.where(good, kl, 0.0),
            gain=jnp.where(good, gain, 0.0),
            tried=step.tried + 1,
        )

    zero = jnp.zeros((), params.dtype)
    start = TrustRegionStep(params, jnp.bool_(False), zero, zero, jnp.int32(0))
    return jax.lax.while_loop(lambda step: ~step.accepted & (step.tried < backtracks), search, start)
