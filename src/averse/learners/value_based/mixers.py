"""Mixers: what the team's value is, given the value of each agent's own action.

Each is a pair of functions, `init(key) -> params` and `apply(params, values, state)`. All are non-decreasing in every
agent's value, so that what is best for each agent by itself is best for the team.

Axes: A agents, N quantiles, G global state, M units; `...` batch axes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from averse.learners.parts.networks import MLP, Network, one_network


class Mixer(NamedTuple):
    """How the team's value is made of the agents'."""

    init: Callable[[jax.Array], Any]
    """`init(key) -> params`."""
    apply: Callable[[Any, jax.Array, Any], jax.Array]
    """`apply(params, values [..., A, N], state [..., G]) -> [..., N]`."""


def sum_mixer() -> Mixer:
    """VDN (Sunehag et al. 2018): Q_tot = sum_i Q_i. Looks at no state."""
    return Mixer(lambda key: {}, lambda params, values, state: values.sum(-2))


def _of_state(state_size: int, hidden: tuple[int, ...], outputs: int) -> Network:
    """A network of the global state whose outputs are small at the start."""
    return one_network(MLP(hidden, outputs, 0.1, jax.nn.relu), state_size)


def _init(networks: dict[str, Network], key: jax.Array) -> dict[str, Any]:
    keys = jax.random.split(key, len(networks))
    return {name: network.init(own) for (name, network), own in zip(networks.items(), keys)}


def monotone_mixer(num_agents: int, state_size: int, embedding: int, hypernet: int, slope: float = 1.0) -> Mixer:
    """QMIX (Rashid et al. 2018): an ELU layer of `embedding` units over the agents' values, then one output.

    Its weights are absolute values of what networks of the global state put out, its biases any. Values [..., A, 1].
    `slope` is about what an agent's value weighs in the total at the start: 1 begins near the sum, 1/A near the mean.
    """
    networks = {
        "weights": _of_state(state_size, (hypernet,), num_agents * embedding),
        "bias": _of_state(state_size, (), embedding),
        "final_weights": _of_state(state_size, (hypernet,), embedding),
        "final_bias": _of_state(state_size, (embedding,), 1),
    }

    def apply(params: dict, values: jax.Array, state: jax.Array) -> jax.Array:
        of_state = {name: network.apply(params[name], state) for name, network in networks.items()}
        # At the usual initialisation the slope is anything, by the size of the state, and agents learn in steps as
        # large or as small.
        weights = jnp.abs(1.0 + of_state["weights"]).reshape(*state.shape[:-1], num_agents, embedding)
        hidden = (values * weights).sum(-2) + of_state["bias"]
        final = jnp.abs(1.0 + of_state["final_weights"]) * (slope / embedding)
        return (jax.nn.elu(hidden) * final).sum(-1, keepdims=True) + of_state["final_bias"]

    return Mixer(lambda key: _init(networks, key), apply)


def quantile_mixer(num_agents: int, state_size: int, embedding: int) -> Mixer:
    """RiskQ (Shen et al. 2023, eq. 6): theta_tot(w) = weight(s) sum_i k_i(s) theta_i(w) + c(s), weight and k_i >= 0.

    Each quantile of the team's return is the same quantile of the agents' returns, weighted: the agents' returns rise
    and fall together. A distortion measure (and VaR) is linear in ascending quantiles, so that
    rho(Z_tot) = weight sum_i k_i rho(Z_i) + c grows with every agent's own rho. k is a softmax over agents.
    """
    networks = {
        "shares": _of_state(state_size, (embedding,), num_agents),
        "weight": _of_state(state_size, (embedding,), 1),
        "constant": _of_state(state_size, (embedding,), 1),
    }

    def apply(params: dict, values: jax.Array, state: jax.Array) -> jax.Array:
        of_state = {name: network.apply(params[name], state) for name, network in networks.items()}
        shares = jax.nn.softmax(of_state["shares"]) * num_agents
        # About 1 at the start, so that the mixer begins near the plain sum.
        weight = jnp.abs(1.0 + of_state["weight"])
        return weight * (shares[..., None] * values).sum(-2) + of_state["constant"]

    return Mixer(lambda key: _init(networks, key), apply)
