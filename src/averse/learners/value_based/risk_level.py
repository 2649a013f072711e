"""RMIX's dynamic risk level: at each step a mixture of CVaR levels, from how the predicted return has changed.

Qiu et al. 2021, section 4.2: the level is chosen by comparing embeddings of the agent's current return distribution and
of its past one. Their released code takes the arg max of the comparison, through which no gradient flows, so that the
predictor never learns. Here utilities are the mixture sum_k p_k CVaR_{k/K}, which is a coherent risk measure itself (a
spectral one) and differentiable in p.

Axes: T time, E sequences, A agents, n actions, N quantiles, K levels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.learners.parts.networks import MLP, one_network
from averse.learners.parts.predictions import quantile_weights
from averse.risk import CVaR

EMBEDDING = 16  # per level


class RiskLevelPredictor(NamedTuple):
    """A network that chooses CVaR levels."""

    init: Callable[[jax.Array], Any]
    """`init(key) -> params`."""
    probabilities: Callable[[Any, jax.Array, jax.Array], jax.Array]
    """`probabilities(params, current [..., N], past [..., N]) -> [..., K]`: weights of the levels 1/K, 2/K ... 1."""


def level_weights(num_levels: int, num_atoms: int) -> jax.Array:
    """The weights [K, N] that CVaR at levels 1/K, 2/K ... 1 gives N ascending quantiles."""
    levels = jnp.arange(1, num_levels + 1) / num_levels
    return jax.vmap(lambda alpha: quantile_weights(CVaR(alpha), num_atoms))(levels)


def expected_level(probabilities: jax.Array) -> jax.Array:
    """The mean CVaR level [...] of a mixture [..., K]."""
    num_levels = probabilities.shape[-1]
    return probabilities @ (jnp.arange(1, num_levels + 1) / num_levels)


def risk_level_predictor(num_atoms: int, num_levels: int, hidden: int) -> RiskLevelPredictor:
    """Two embeddings [K, 16] of quantiles, compared level by level by an inner product."""
    network = one_network(MLP((hidden,), num_levels * EMBEDDING, 1.0, jax.nn.relu), num_atoms)

    def init(key: jax.Array) -> dict:
        current, past = jax.random.split(key)
        return {"current": network.init(current), "past": network.init(past)}

    def embed(params: Any, quantiles: jax.Array) -> jax.Array:
        # Returns may be of any size; their logarithm is not.
        rows = network.apply(params, jnp.sign(quantiles) * jnp.log1p(jnp.abs(quantiles)))
        rows = rows.reshape(*quantiles.shape[:-1], num_levels, EMBEDDING)
        # Of length sqrt(16), so that logits stay within 4: a level that has gone one way can come back.
        return rows * jax.lax.rsqrt(jnp.square(rows).mean(-1, keepdims=True) + 1e-6)

    def probabilities(params: dict, current: jax.Array, past: jax.Array) -> jax.Array:
        # The predictor learns from what its level does, not by bending the distributions it looks at.
        current, past = jax.lax.stop_gradient((current, past))
        logits = (embed(params["current"], current) * embed(params["past"], past)).sum(-1) / np.sqrt(EMBEDDING)
        return jax.nn.softmax(logits)

    return RiskLevelPredictor(init, probabilities)
