"""Epsilon-greedy exploration under availability masks."""

import jax
import jax.numpy as jnp


def best_available(scores: jax.Array, available: jax.Array) -> jax.Array:
    """The available action of highest score: scores float32 [..., n], available bool [..., n] -> int32 [...]."""
    return jnp.where(available, scores, -jnp.inf).argmax(-1)


def epsilon_greedy(key: jax.Array, scores: jax.Array, available: jax.Array, epsilon: jax.Array) -> jax.Array:
    """With probability `epsilon`, each agent by itself, an available action at random, else the best; int32 [...].

    Args:
      scores: float32 [..., n].
      available: bool [..., n], at least one action each.
      epsilon: float32 [], probability in [0, 1].
    """
    coin, choice = jax.random.uniform(key, (2, *scores.shape[:-1]))
    # The k-th available action for k uniform among them: one random number instead of one per action. Ranks by a
    # matrix product, as cumulated sums are slow on a CPU.
    num_actions = scores.shape[-1]
    rank = available.astype(jnp.float32) @ jnp.triu(jnp.ones((num_actions, num_actions)))
    random = (rank > jnp.floor(choice[..., None] * rank[..., -1:])).argmax(-1)
    return jnp.where(coin < epsilon, random, best_available(scores, available))
