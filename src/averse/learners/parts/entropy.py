"""How much a policy's entropy weighs: epsilon, the bounded rationality of the theory, and what it is measured in."""

from typing import Literal

import jax
import jax.numpy as jnp

EpsilonUnits = Literal["advantage", "reward"]
"""What epsilon is measured in: standard deviations of the advantages, or units of reward."""


def entropy_weight(epsilon: float | jax.Array, units: EpsilonUnits, standard_deviation: float | jax.Array) -> jax.Array:
    """The weight of the entropy beside advantages that were divided by their standard deviation, of its shape.

    A policy that maximises E[A] + epsilon H, all in units of reward, follows up to its length the gradient of
    E[A / std] + (epsilon / std) H. Beside A / std the number epsilon itself weighs the entropy by epsilon std rewards.

    Args:
      epsilon: entropy weight, >= 0.
      units: "reward" divides it by the standard deviation, "advantage" leaves it as it is.
      standard_deviation: of the advantages, > 0, in units of reward; 1 where they are not divided.
    """
    epsilon = jnp.asarray(epsilon)
    return epsilon / standard_deviation if units == "reward" else epsilon + jnp.zeros_like(standard_deviation)
