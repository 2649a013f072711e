"""What a fixed support adds to a return distribution: every projection widens it a little, and risk is charged for it.

Projection splits the probability of a point between its two neighbouring atoms. That keeps the mean and adds a variance
of f (1 - f) d^2, for atoms d apart and a point at the fraction f of the way between them: d^2/6 on average over f. It
happens again at each step that the return is backed up, and what was there already shrinks by gamma^2. So a return that
is certain has, at the fixed point of the projected Bellman operator, the variance

    d^2/6 (1 + gamma^2 + gamma^4 + ...) = d^2 / (6 (1 - gamma^2)),

a standard deviation of 2.9 d at gamma .99. It is less where the return hardly changes from one step to the next, so
that f stays near 0: .4 d where it does not change at all. An entropic measure charges variance / (2 tau) for a width
that is small against tau, here for nothing at all. Only more atoms, or a narrower support, make it less.

Axes: N atoms; `...` batch axes.
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from averse.risk.arguments import of_arrays
from averse.risk.bellman import _shifted_positions, _split
from averse.risk.broadcasting import same_rank


@of_arrays
def projection_variance(probs: ArrayLike, rewards: ArrayLike, discounts: ArrayLike, support: ArrayLike) -> Array:
    """The variance that `shift_and_project` adds to reward + discount * Z, as [...], in squared units of reward.

    What is clamped adds none. Arguments as in `shift_and_project`.
    """
    support, probs = jnp.asarray(support), jnp.asarray(probs)
    _, fraction = _split(_shifted_positions(rewards, discounts, support), support.shape[0])
    probs, fraction = same_rank(probs, fraction)
    spacing = (support[-1] - support[0]) / (support.shape[0] - 1)
    return jnp.square(spacing) * jnp.sum(probs * fraction * (1 - fraction), -1)


@of_arrays
def projection_std(spacing: ArrayLike, gamma: float, steps: float = jnp.inf) -> Array:
    """The standard deviation that projection adds to a return `steps` before its end, in units of reward, as [...].

    For atoms `spacing` apart: spacing sqrt((1 - gamma^(2 steps)) / (6 (1 - gamma^2))), which is spacing sqrt(steps/6)
    at gamma 1. It takes returns to fall anywhere between atoms with the same probability; those that are multiples of
    the spacing, at gamma 1, are not widened at all.

    Args:
      spacing: [...], distance of neighbouring atoms in units of reward.
      gamma: discount per step.
      steps: how many steps the return has left; inf for the fixed point, which at gamma 1 is infinitely wide.
    """
    backups = steps if gamma == 1 else (1 - gamma ** (2 * steps)) / (1 - gamma**2)
    return jnp.asarray(spacing) * jnp.sqrt(backups / 6)
