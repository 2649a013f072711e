"""Policies' networks with or without memory, under one interface: a feed-forward network is one whose memory is ().

Axes: N sequences, L steps of a sequence, A agents, I inputs, O outputs, H memory.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.learners.parts.networks import MLP, Params, agent_networks

Memory = Any  # float32 [..., A, H] of a recurrent network, () of a feed-forward one


class SequenceNetwork(NamedTuple):
    """The functions of the agents' network."""

    init: Callable[[jax.Array], Params]
    """`init(key) -> params`."""
    initial_memory: Callable[[int], Memory]
    """`initial_memory(N)`: what is remembered before an episode, zeros [N, A, H]."""
    step: Callable[[Params, Memory, jax.Array], tuple[jax.Array, Memory]]
    """`step(params, memory [..., A, H], inputs [..., A, I]) -> (outputs [..., A, O], memory)`."""
    unroll: Callable[[Params, Memory, jax.Array, jax.Array], jax.Array]
    """`unroll(params, memory [N, A, H], inputs [N, L, A, I], first [N, L]) -> outputs [N, L, A, O]`: the steps of whole
    sequences, from the memory before each; where `first`, an episode begins and the memory is blank."""
    memory_size: int
    """H, or 0."""


def feed_forward(
    hidden: tuple[int, ...], outputs: int, final_gain: float, num_agents: int, input_size: int, shared: bool
) -> SequenceNetwork:
    """Dense layers; see `agent_networks`."""
    init, apply = agent_networks(MLP(hidden, outputs, final_gain), num_agents, input_size, shared)

    return SequenceNetwork(
        init=init,
        initial_memory=lambda count: (),
        step=lambda params, memory, inputs: (apply(params, inputs), memory),
        unroll=lambda params, memory, inputs, first: apply(params, inputs),
        memory_size=0,
    )


def recurrent(
    hidden: tuple[int, ...], outputs: int, final_gain: float, num_agents: int, input_size: int, shared: bool
) -> SequenceNetwork:
    """The same with a GRU (Cho et al. 2014) in place of the last hidden layer.

    With memory h and x = encoder(inputs), both mapped to three blocks (reset r, update z, candidate c):
    r = sigmoid(x_r + h_r), z = sigmoid(x_z + h_z), h' = z h + (1 - z) tanh(x_c + r h_c); the outputs are linear in h'.
    """
    size = hidden[-1]
    encoder = agent_networks(MLP(hidden[:-1], 3 * size, 1.0), num_agents, input_size, shared)
    # Rows of length 1 over three blocks: with the gain, each block is about orthogonal.
    recurrence = agent_networks(MLP((), 3 * size, np.sqrt(3.0)), num_agents, size, shared, identify=False)
    head = agent_networks(MLP((), outputs, final_gain), num_agents, size, shared, identify=False)
    parts = {"encoder": encoder, "recurrence": recurrence, "head": head}

    def init(key: jax.Array) -> Params:
        return {name: part[0](part_key) for (name, part), part_key in zip(parts.items(), jax.random.split(key, 3))}

    def apply(params: Params, name: str, inputs: jax.Array) -> jax.Array:
        return parts[name][1](params[name], inputs)

    def remember(params: Params, memory: jax.Array, encoded: jax.Array) -> jax.Array:
        recalled = apply(params, "recurrence", memory)
        gates = jax.nn.sigmoid(encoded[..., : 2 * size] + recalled[..., : 2 * size])
        reset, update = gates[..., :size], gates[..., size:]
        candidate = jnp.tanh(encoded[..., 2 * size :] + reset * recalled[..., 2 * size :])
        return update * memory + (1.0 - update) * candidate

    def step(params: Params, memory: Memory, inputs: jax.Array) -> tuple[jax.Array, Memory]:
        memory = remember(params, memory, apply(params, "encoder", inputs))
        return apply(params, "head", memory), memory

    def unroll(params: Params, memory: Memory, inputs: jax.Array, first: jax.Array) -> jax.Array:
        def advance(memory, now):
            encoded, fresh = now
            memory = remember(params, jnp.where(fresh[:, None, None], 0.0, memory), encoded)
            return memory, memory

        # Only the recurrence goes step by step; what comes before and after it is one matrix product each.
        encoded = apply(params, "encoder", inputs).swapaxes(0, 1)
        _, memories = jax.lax.scan(advance, memory, (encoded, first.swapaxes(0, 1)))
        return apply(params, "head", memories).swapaxes(0, 1)

    return SequenceNetwork(
        init=init,
        initial_memory=lambda count: jnp.zeros((count, num_agents, size)),
        step=step,
        unroll=unroll,
        memory_size=size,
    )
