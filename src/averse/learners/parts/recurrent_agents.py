"""Agent networks of the value-based family: dense layers, then a GRU or not, then a linear head.

One network shared by all agents (told apart by a one-hot identity), or one each. Everything that does not depend on the
memory is computed for all T steps at once, as one matrix product; only the recurrent product runs step by step.

Axes: T time, E environments or sequences, A agents, R rows of one network, O observation, H memory.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, Any]


class AgentNetwork(NamedTuple):
    """The functions of the agents' network. `head` and `unroll` give float32 [..., A, outputs]."""

    init: Callable[[jax.Array], Params]
    initial_memory: Callable[[int], Any]
    """`initial_memory(E)`: blank memory [E, A, H]; () for feed-forward agents."""
    unroll: Callable[..., tuple[jax.Array, Any, jax.Array]]
    """`unroll(params, observations [T, E, A, O], carry [E, A, H], first [T, E]) -> (outputs, carry, hidden)`: the
    memory is blank wherever `first`; `hidden` [T, E, A, H] is what the head sees."""
    head: Callable[[Params, jax.Array], jax.Array]
    """`head(params, hidden [..., A, H])`."""


def dense(key: jax.Array, inputs: int, outputs: int, gain: float) -> Params:
    """Orthogonal weights, zero biases."""
    return {"kernel": jax.nn.initializers.orthogonal(gain)(key, (inputs, outputs)), "bias": jnp.zeros(outputs)}


def linear(params: Params, x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


def _gru(params: Params, inputs: jax.Array, carry: jax.Array, first: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A GRU (Cho et al. 2014) over inputs [T, R, I], memory [R, H], first [T, R]: (last memory, all [T, R, H])."""
    size = carry.shape[-1]
    gates_in = linear(params["input"], inputs.reshape(-1, inputs.shape[-1])).reshape(*inputs.shape[:2], 3 * size)

    def step(hidden, data):
        gate_in, fresh = data
        hidden = jnp.where(fresh[:, None], 0.0, hidden)
        gate = linear(params["memory"], hidden)
        reset, update = jnp.split(jax.nn.sigmoid(gate_in[:, : 2 * size] + gate[:, : 2 * size]), 2, axis=-1)
        candidate = jnp.tanh(gate_in[:, 2 * size :] + reset * gate[:, 2 * size :])
        hidden = candidate + update * (hidden - candidate)
        return hidden, hidden

    return jax.lax.scan(step, carry, (gates_in, first))


def agent_network(
    num_agents: int, observation_size: int, outputs: int, hidden: tuple[int, ...], recurrent: bool, shared: bool
) -> AgentNetwork:
    """Build it: ReLU layers of sizes `hidden`; with `recurrent` the last of them is a GRU of that size."""
    identity = shared and num_agents > 1
    input_size = observation_size + (num_agents if identity else 0)
    layers = hidden[:-1] if recurrent else hidden
    memory = hidden[-1]
    # A recurrent agent's GRU sees an encoding of its own size, not the bare observation.
    layers = (*layers, memory) if recurrent and not layers else layers

    def init_one(key: jax.Array) -> Params:
        keys = jax.random.split(key, len(layers) + 3)
        sizes = (input_size, *layers)
        params: Params = {
            "layers": [dense(k, i, o, np.sqrt(2.0)) for k, i, o in zip(keys[3:], sizes[:-1], sizes[1:])],
            "head": dense(keys[0], memory, outputs, 0.1),
        }
        if recurrent:
            params["gru"] = {
                "input": dense(keys[1], sizes[-1], 3 * memory, 1.0),
                "memory": dense(keys[2], memory, 3 * memory, 1.0),
            }
        return params

    def init(key: jax.Array) -> Params:
        return init_one(key) if shared else jax.vmap(init_one)(jax.random.split(key, num_agents))

    def initial_memory(num_envs: int) -> Any:
        return jnp.zeros((num_envs, num_agents, memory)) if recurrent else ()

    def hidden_of_rows(params: Params, inputs: jax.Array, carry: Any, first: jax.Array) -> tuple[jax.Array, Any]:
        """inputs [T, R, I], carry [R, H], first [T, R] -> hidden [T, R, H] and the last memory."""
        x = inputs.reshape(-1, inputs.shape[-1])
        for layer in params["layers"]:
            x = jax.nn.relu(linear(layer, x))
        x = x.reshape(*inputs.shape[:2], -1)
        if not recurrent:
            return x, ()
        carry, hidden = _gru(params["gru"], x, carry, first)
        return hidden, carry

    def head(params: Params, hidden: jax.Array) -> jax.Array:
        if not shared:
            each = jax.vmap(lambda p, h: linear(p, h), in_axes=(0, -2), out_axes=-2)
            return each(params["head"], hidden)
        rows = linear(params["head"], hidden.reshape(-1, hidden.shape[-1]))
        return rows.reshape(*hidden.shape[:-1], outputs)

    def unroll(params: Params, observations: jax.Array, carry: Any, first: jax.Array):
        time, num_envs = observations.shape[:2]
        if identity:
            eye = jnp.broadcast_to(jnp.eye(num_agents), (*observations.shape[:-1], num_agents))
            observations = jnp.concatenate([observations, eye], axis=-1)
        if shared:
            rows = (time, num_envs * num_agents)
            flat = jax.tree.map(lambda x: x.reshape(rows[1], memory), carry)
            hidden, last = hidden_of_rows(
                params, observations.reshape(*rows, input_size), flat, jnp.repeat(first, num_agents, axis=1)
            )
            hidden = hidden.reshape(time, num_envs, num_agents, memory)
            last = jax.tree.map(lambda x: x.reshape(num_envs, num_agents, memory), last)
        else:
            each = jax.vmap(hidden_of_rows, in_axes=(0, 2, 1, None), out_axes=(2, 1))
            hidden, last = each(params, observations, carry, first)
        return head(params, hidden), last, hidden

    return AgentNetwork(init, initial_memory, unroll, head)
