"""Mixers: what the team's value is, given the value of each agent's own action.

Each is a pair of functions, `init(key) -> params` and `apply(params, values, state)`. All are non-decreasing in every
agent's value, so that what is best for each agent by itself is best for the team.

Axes: A agents, N quantiles, G global state, M units; `...` batch axes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.learners.parts.recurrent_agents import dense, linear


class Mixer(NamedTuple):
    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, jax.Array, Any], jax.Array]
    """`apply(params, values [..., A, N], state [..., G]) -> [..., N]`."""


def sum_mixer() -> Mixer:
    """VDN (Sunehag et al. 2018): Q_tot = sum_i Q_i. Looks at no state."""
    return Mixer(lambda key: {}, lambda params, values, state: values.sum(-2))


def _two_layers(key: jax.Array, inputs: int, hidden: int, outputs: int, gain: float = 1.0) -> dict:
    first, second = jax.random.split(key)
    return {"first": dense(first, inputs, hidden, np.sqrt(2.0)), "second": dense(second, hidden, outputs, gain)}


def _apply_two_layers(params: dict, x: jax.Array) -> jax.Array:
    return linear(params["second"], jax.nn.relu(linear(params["first"], x)))


def monotone_mixer(num_agents: int, state_size: int, embedding: int, hypernet: int, slope: float = 1.0) -> Mixer:
    """QMIX (Rashid et al. 2018): an ELU layer of `embedding` units over the agents' values, then one output.

    Its weights are absolute values of what networks of the global state put out, its biases any. Values [..., A, 1].
    `slope` is about what an agent's value weighs in the total at the start: 1 begins near the sum, 1/A near the mean.
    """

    def init(key: jax.Array) -> dict:
        keys = jax.random.split(key, 4)
        return {
            "weights": _two_layers(keys[0], state_size, hypernet, num_agents * embedding, 0.1),
            "bias": dense(keys[1], state_size, embedding, 0.1),
            "final_weights": _two_layers(keys[2], state_size, hypernet, embedding, 0.1),
            "final_bias": _two_layers(keys[3], state_size, embedding, 1, 0.1),
        }

    def apply(params: dict, values: jax.Array, state: jax.Array) -> jax.Array:
        lead = state.shape[:-1]
        rows = state.reshape(-1, state_size)
        # At the usual initialisation the slope is anything, by the size of the state, and agents learn in steps as
        # large or as small.
        weights = jnp.abs(1.0 + _apply_two_layers(params["weights"], rows)).reshape(-1, num_agents, embedding)
        hidden = (values.reshape(-1, num_agents, 1) * weights).sum(-2) + linear(params["bias"], rows)
        final = jnp.abs(1.0 + _apply_two_layers(params["final_weights"], rows)) * (slope / embedding)
        total = (jax.nn.elu(hidden) * final).sum(-1, keepdims=True) + _apply_two_layers(params["final_bias"], rows)
        return total.reshape(*lead, 1)

    return Mixer(init, apply)


def quantile_mixer(num_agents: int, state_size: int, embedding: int) -> Mixer:
    """RiskQ (Shen et al. 2023, eq. 6): theta_tot(w) = weight(s) sum_i k_i(s) theta_i(w) + c(s), weight and k_i >= 0.

    Each quantile of the team's return is the same quantile of the agents' returns, weighted: the agents' returns rise
    and fall together. A distortion measure (and VaR) is linear in ascending quantiles, so that
    rho(Z_tot) = weight sum_i k_i rho(Z_i) + c grows with every agent's own rho. k is a softmax over agents.
    """

    def init(key: jax.Array) -> dict:
        keys = jax.random.split(key, 3)
        return {
            "shares": _two_layers(keys[0], state_size, embedding, num_agents, 0.1),
            "weight": _two_layers(keys[1], state_size, embedding, 1, 0.1),
            "constant": _two_layers(keys[2], state_size, embedding, 1, 0.1),
        }

    def apply(params: dict, values: jax.Array, state: jax.Array) -> jax.Array:
        lead = state.shape[:-1]
        rows = state.reshape(-1, state_size)
        shares = jax.nn.softmax(_apply_two_layers(params["shares"], rows)) * num_agents
        # About 1 at the start, so that the mixer begins near the plain sum.
        weight = jnp.abs(1.0 + _apply_two_layers(params["weight"], rows))
        theta = values.reshape(-1, num_agents, values.shape[-1])
        total = weight * (shares[..., None] * theta).sum(-2) + _apply_two_layers(params["constant"], rows)
        return total.reshape(*lead, -1)

    return Mixer(init, apply)
