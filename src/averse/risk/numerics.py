"""The arithmetic of the risk measures that floating-point numbers make delicate."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp, ndtr, ndtri
from jax.typing import ArrayLike

from averse.risk.broadcasting import per_value
from averse.risk.distributions import Categorical, Distribution
from averse.risk.pytrees import pytree


@pytree
class _Given(Distribution):
    """A distribution that was conditioned; its values may be in any order."""

    values: Array
    probs: Array
    log_probs: Array


def finite_part(distribution: Distribution) -> tuple[Distribution, Array]:
    """The distribution given that the return is finite, and the probability of that [...].

    Where it is never finite, the probability is 0 and the distribution means nothing.
    """
    if isinstance(distribution, Categorical):  # whose atoms are
        return distribution, jnp.ones((), distribution.probs.dtype)
    infinite = jnp.isinf(distribution.values)
    probs = jnp.where(infinite, 0, distribution.probs)
    # Exactly 1 where all are finite, whatever the probabilities sum to.
    mass = jnp.where(jnp.any(infinite, -1), jnp.sum(probs, -1), 1)
    total = jnp.where(mass > 0, mass, 1)[..., None]
    values = jnp.where(infinite, 0, distribution.values)
    middle = jnp.sum(probs / total * values, -1, keepdims=True)
    given = _Given(
        jnp.where(infinite, middle, values),
        probs / total,
        jnp.where(infinite, -jnp.inf, distribution.log_probs) - jnp.log(total),
    )
    return given, mass


def entropic(distribution: Distribution, tau: ArrayLike) -> Array:
    """-tau log E[exp(-Z/tau)] as [...], for tau in (0, inf], to a few roundings of the range of Z.

    A return of -inf that is possible decides alone; one of inf adds nothing to the mean exponential.
    """
    given, mass = finite_part(distribution)
    worst = worst_value(distribution)
    tau = jnp.asarray(tau, given.values.dtype)
    finite = jnp.isfinite(tau)
    t = jnp.where(finite, tau, 1)
    value = _finite_entropic(given, t) - t * jnp.log(jnp.where(mass > 0, mass, 1))
    return jnp.where(finite, jnp.where(jnp.isinf(worst), worst, value), distribution.mean())


def _finite_entropic(distribution: Distribution, tau: Array) -> Array:
    """`entropic` of finite values at finite tau.

    Two forms, because neither is accurate everywhere. Where all |Z - mean| <= tau, exponentials are near 1 and a
    log-sum-exp would lose every digit of a small answer: mean - tau log1p(E[expm1(-(Z - mean)/tau)]). Elsewhere a
    log-sum-exp on log-probabilities, measured from the worst value. Each form sees harmless arguments where the other
    is chosen, so that no nan leaks into gradients through the unused branch.
    """
    values, mean, t = distribution.values, distribution.mean(), per_value(tau)
    # Both forms are exactly invariant to their reference point, which therefore needs no gradient.
    centre = jax.lax.stop_gradient(mean)[..., None]
    mild = jnp.max(jnp.abs(values - centre), -1, keepdims=True) <= t

    exponents = jnp.where(mild, (centre - values) / t, 0)
    excess = distribution.expectation(jnp.expm1(exponents))[..., None]
    near = centre - t * jnp.log1p(excess)

    worst = jax.lax.stop_gradient(worst_value(distribution))[..., None]
    possible = distribution.log_probs > -jnp.inf
    exponents = jnp.where(mild | ~possible, 0, (worst - values) / t)
    far = worst - t * logsumexp(distribution.log_probs + exponents, axis=-1, keepdims=True)

    return jnp.where(mild, near, far)[..., 0]


def evar(distribution: Distribution, alpha: Array) -> Array:
    """sup over tau > 0 of Entropic(tau)(Z) + tau log(alpha), as [...], for alpha in (0, 1].

    Where inf has the probability 1 - m, the entropic measure is that of the finite part, less tau log(m). Hence EVaR is
    that of the finite part at the level alpha/m, and inf beyond: nature cannot afford to leave inf out.
    """
    given, mass = finite_part(distribution)
    level = jnp.minimum(alpha / jnp.where(mass > 0, mass, 1), 1)
    # By the envelope theorem the best tau may be held fixed under differentiation.
    tau = evar_tolerance(given, level)
    bound = jnp.maximum(_finite_entropic(given, tau) + tau * jnp.log(level), worst_value(given))
    bound = jnp.where(level < 1, bound, given.mean())
    bound = jnp.where(alpha > mass + 16 * jnp.finfo(bound.dtype).eps, jnp.inf, bound)
    bound = jnp.where(jnp.isneginf(worst_value(distribution)), -jnp.inf, bound)
    return jnp.where(alpha < 1, bound, distribution.mean())


def entropic_influence(distribution: Distribution, tau: ArrayLike, z: Array) -> Array:
    rho = entropic(distribution, tau)[..., None]
    tau = per_value(jnp.asarray(tau, rho.dtype))
    finite = jnp.isfinite(tau)
    t = jnp.where(finite, tau, 1)
    exponents = jnp.minimum((rho - z) / t, 80.0)
    return jnp.where(finite, -t * jnp.expm1(exponents), z - rho)


def worst_value(distribution: Distribution) -> Array:
    return jnp.min(jnp.where(distribution.log_probs > -jnp.inf, distribution.values, jnp.inf), -1)


def evar_tolerance(distribution: Distribution, alpha: Array) -> Array:
    """The maximising tau [...] of Entropic(tau)(Z) + tau log(alpha), without gradient.

    The objective is concave in tau, with slope KL(q_tau || p) + log(alpha), where q_tau ~ p exp(-z/tau) is the
    distribution tilted to the worse. The divergence falls in tau, so that bisection on log(tau) finds the root; the
    objective is flat there, so that 32 halvings of 12 decades around the range of Z are plenty. The bisection ends at
    the lower edge if the worst case is likelier than alpha: then the supremum is the worst case, at tau -> 0.
    """
    distribution = jax.lax.stop_gradient(distribution)
    values, log_probs = distribution.values, distribution.log_probs
    target = -jnp.log(jax.lax.stop_gradient(alpha))
    difference = distribution.mean()[..., None] - values
    extent = jnp.max(jnp.abs(difference), -1)
    log_extent = jnp.log(jnp.where(extent > 0, extent, 1))

    def divergence(log_tau):
        exponents = difference * jnp.exp(-log_tau)[..., None]
        mild = jnp.max(jnp.abs(exponents), -1) <= 1
        small = jnp.where(mild[..., None], exponents, 0)
        log_moment = jnp.where(
            mild, jnp.log1p(distribution.expectation(jnp.expm1(small))), logsumexp(log_probs + exponents, axis=-1)
        )
        tilted = jnp.exp(log_probs + exponents - log_moment[..., None])
        return jnp.sum(tilted * exponents, -1) - log_moment

    def halve(_, interval):
        low, high = interval
        middle = (low + high) / 2
        too_low = divergence(middle) > target
        return jnp.where(too_low, middle, low), jnp.where(too_low, high, middle)

    shape = jnp.broadcast_shapes(log_extent.shape, target.shape)
    decades = 6 * math.log(10)
    low, high = jnp.broadcast_to(log_extent - decades, shape), jnp.broadcast_to(log_extent + decades, shape)
    low, high = jax.lax.fori_loop(0, 32, halve, (low, high))
    return jnp.exp((low + high) / 2)


def levels(probs: Array) -> tuple[Array, Array]:
    """F_j and 1 - F_j for all but the last atom, [..., N-1] each, both kept off 0, where slopes may be infinite."""
    level = jnp.cumsum(probs, -1)[..., :-1]
    rest = jnp.flip(jnp.cumsum(jnp.flip(probs, -1), -1), -1)[..., 1:]
    tiny = jnp.finfo(probs.dtype).eps
    return jnp.clip(level, tiny * tiny, 1), jnp.clip(rest, tiny * tiny, 1)


def _normal_quantile(level: Array, rest: Array) -> Array:
    return jnp.where(level < 0.5, ndtri(jnp.minimum(level, 0.5)), -ndtri(jnp.minimum(rest, 0.5)))


@jax.custom_jvp
def wang(level: Array, rest: Array, eta: Array) -> Array:
    return ndtr(_normal_quantile(level, rest) + eta)


@wang.defjvp
def _wang_jvp(primals, tangents):
    level, rest, eta = primals
    level_dot, rest_dot, eta_dot = tangents
    quantile = _normal_quantile(level, rest)
    density = jnp.exp(-jnp.square(quantile + eta) / 2) / math.sqrt(2 * math.pi)
    # `level` and `rest` sum to one; the smaller of the two is the one that was read.
    slope = wang_slope(level, rest, eta)
    moved = jnp.where(level < 0.5, level_dot, -rest_dot)
    return ndtr(quantile + eta), slope * moved + density * eta_dot


def wang_slope(level: Array, rest: Array, eta: Array) -> Array:
    return jnp.exp(-eta * _normal_quantile(level, rest) - jnp.square(eta) / 2)
