"""Risk penalties and regularisers of a risk-averse quantal response equilibrium, as small pure functions.

A player with strategy x meets a joint strategy y of the others over S joint actions. Costs c [S] = -(rewards of x). Its
adversary replaces y by p at the price tau D(p, y), and the player pays a price epsilon nu(x) for being predictable:

  f(x, y) = sup over p of [c . p - tau D(p, y)],   the player minimises f(x, y) + epsilon nu(x)

  "kl"          D = KL(p || y):  f = tau log sum_j y_j exp(c_j / tau), p ~ y exp(c / tau)
  "reverse-kl"  D = KL(y || p):  p_j = tau y_j / (mu - c_j), with mu such that p sums to one
  "entropy"     nu = sum x log x:  the answer to gains g is softmax(g / epsilon)
  "log-barrier" nu = -sum log x:   the answer is x_a = epsilon / (lambda - g_a)

(Mazumdar, Panaganti, Shi, ICLR 2025; Zhang, Mazumdar 2026.) Probabilities travel as logarithms, and risk
tolerance as its inverse `aversion` = 1/tau, so that neither tau = inf nor a vanishing probability needs a special case.
Axes: S joint actions of the others, A own actions. Everything is differentiable once, jits and vmaps; float64 assumed.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array, lax

Penalty = Literal["kl", "reverse-kl"]
Regulariser = Literal["log-barrier", "entropy"]
NEUTRAL = "neutral"  # internal: no adversary, for games in which nobody is risk-averse
_TINY = 1e-300
_MOST_STEPS = 100  # Newton's method needs under 40, even for weights of 1e-300


def log_worst_belief(penalty: str, cost: Array, log_y: Array, aversion: Array) -> Array:
    """log p [S]: the adversary's best reply to costs c [S] when the others play y, given as log y [S]."""
    if penalty == NEUTRAL:
        return log_y
    if penalty == "kl":
        return jax.nn.log_softmax(log_y + aversion * cost)
    # p_j = y_j / (d_j + s) with d_j = (max c - c_j) / tau >= 0: no difference of large numbers, and s = 1 at tau = inf.
    gap = aversion * (lax.stop_gradient(jnp.max(cost)) - cost)
    log_y = jnp.maximum(log_y, jnp.log(_TINY))
    return jax.nn.log_softmax(log_y - jnp.log(gap + simplex_shift(jnp.exp(log_y), gap)))


def divergence(penalty: str, log_p: Array, log_y: Array) -> Array:
    """D(p, y) in nats."""
    above, below = (log_p, log_y) if penalty == "kl" else (log_y, log_p)
    return kullback_leibler(above, below)


def kullback_leibler(above: Array, below: Array) -> Array:
    """KL of two distributions given as logarithms, to full relative precision however close they are.

    Every term of sum a (log a/b + b/a - 1) is >= 0 and of second order, and what is added sums to zero: a divergence of
    1e-18 times a tau of 1e9 is still right.
    """
    weights, ratio = jnp.exp(above), jnp.minimum(below - above, 700.0)
    return jnp.sum(jnp.where(weights > 0, weights * (jnp.expm1(ratio) - (below - above)), 0.0), -1)


def risk(penalty: str, cost: Array, log_y: Array, aversion: Array) -> Array:
    """sup over p of [c . p - tau D(p, y)], in units of reward: the mean cost at aversion 0, the worst at infinity."""
    log_p = log_worst_belief(penalty, cost, log_y, aversion)
    belief = jnp.exp(log_p)
    tolerance = 1 / jnp.where(aversion > 0, aversion, 1.0)
    paid = jnp.where(aversion > 0, tolerance * divergence(penalty, log_p, log_y), 0.0)
    return jnp.sum(belief * cost, -1) - paid


def log_response(regulariser: str, gains: Array, epsilon: Array) -> Array:
    """log x [A]: the strategy that maximises x . g - epsilon nu(x) for gains g [A]."""
    if regulariser == "entropy":
        return jax.nn.log_softmax(gains / epsilon)
    gap = (lax.stop_gradient(jnp.max(gains)) - gains) / epsilon
    return jax.nn.log_softmax(-jnp.log(gap + simplex_shift(jnp.ones_like(gap), gap)))


def irregularity(regulariser: str, log_x: Array) -> Array:
    """nu(x): least at the uniform strategy."""
    if regulariser == "entropy":
        return jnp.sum(jnp.exp(log_x) * log_x, -1)
    return -jnp.sum(log_x, -1)


def bregman(regulariser: str, log_x: Array, log_z: Array) -> Array:
    """nu(x) - nu(z) - grad nu(z) . (x - z) >= 0: what playing x costs, in units of epsilon, when z is the answer."""
    if regulariser == "entropy":
        return kullback_leibler(log_x, log_z)
    difference = log_x - log_z
    return jnp.sum(jnp.expm1(difference) - difference, -1)


def simplex_shift(weights: Array, gap: Array) -> Array:
    """The s > 0 with sum_j weights_j / (gap_j + s) = 1, for weights > 0 and gap >= 0 with least entry 0.

    One over the sum is concave and increasing in s (a weighted harmonic mean), so Newton's method on it climbs to the
    root from any point below, such as max_j (weights_j - gap_j), and never steps past it.
    """
    fixed_weights, fixed_gap = lax.stop_gradient(weights), lax.stop_gradient(gap)

    def climb(carry):
        s, _, step = carry
        terms = fixed_weights / (fixed_gap + s)
        total = jnp.sum(terms)
        higher = s + (total - 1) * total / jnp.sum(terms / (fixed_gap + s))
        return higher, jnp.abs(higher - s) > 1e-15 * s, step + 1

    start = jnp.maximum(jnp.max(fixed_weights - fixed_gap), _TINY)
    s, _, _ = lax.while_loop(lambda carry: carry[1] & (carry[2] < _MOST_STEPS), climb, (start, True, 0))
    # Implicit differentiation: one more Newton step, of which only the residual is differentiated.
    slope = jnp.sum(fixed_weights / (fixed_gap + s) ** 2)
    return s + (jnp.sum(weights / (gap + s)) - 1) / slope
