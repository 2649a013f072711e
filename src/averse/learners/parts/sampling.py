"""Which rows of a batch a pass learns from, where it does not learn from all."""

import jax
import jax.numpy as jnp


def priority_sample(key: jax.Array, priorities: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """`size` different rows, large priorities likelier, and weights with which sums over them are unbiased.

    Priority sampling (Duffield, Lund, Thorup 2007, section 1.1): with u uniform in (0, 1], the rows of the greatest
    p / u are drawn, and a drawn row of priority p counts max(1, t / p) times, t being the greatest p / u that was not
    drawn. For any numbers x, the expectation of the weighted sum of x over the drawn rows is the sum of x
    over all rows, if every priority is above 0. No other scheme that draws as many has a much smaller variance where x
    is about in proportion to the priorities (Szegedy 2006).

    Args:
      priorities: float32 [N], > 0.
      size: how many to draw, < N.

    Returns:
      Rows, int32 [size], greatest p / u first, and the weights of all rows if they are drawn, float32 [N].
    """
    uniform = 1.0 - jax.random.uniform(key, priorities.shape)  # in (0, 1]
    greatest, rows = jax.lax.top_k(priorities / uniform, size + 1)
    return rows[:size], jnp.maximum(1.0, greatest[size] / priorities)


def advantage_priorities(advantages: jax.Array, active: jax.Array) -> jax.Array:
    """How much there is to learn from each row, [N]: the sum of |A| over what is active in it, half of it by number.

    The mean |A| is added to each sample. So rows without advantage, from which the critic and the entropy learn as much
    as from any, are drawn too, and no weight is large.

    Args:
      advantages: float32 [N, ...].
      active: float32 [N, ...], 1 where a sample counts, else 0.
    """
    axes = tuple(range(1, advantages.ndim))
    sizes = jnp.abs(advantages) * active
    mean = sizes.sum() / jnp.maximum(active.sum(), 1.0)
    # Where all advantages are 0 every sample counts alike; rows in which nothing is active are drawn last.
    return (sizes + jnp.where(mean > 0, mean, 1.0) * active).sum(axes) + jnp.finfo(jnp.float32).tiny
