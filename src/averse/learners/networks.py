"""Multi-layer perceptrons over agents: one network shared by all (told apart by identity), or one network each."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Params = Any


class MLP(nn.Module):
    """Dense layers with tanh between them; orthogonal weights (gain sqrt 2, `final_gain` at the end), zero biases."""

    hidden: Sequence[int]
    outputs: int
    final_gain: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for size in self.hidden:
            x = nn.tanh(nn.Dense(size, kernel_init=nn.initializers.orthogonal(np.sqrt(2.0)))(x))
        return nn.Dense(self.outputs, kernel_init=nn.initializers.orthogonal(self.final_gain))(x)


def one_network(
    network: MLP, input_size: int
) -> tuple[Callable[[jax.Array], Params], Callable[[Params, jax.Array], jax.Array]]:
    """The pair (init(key) -> params, apply(params, inputs [..., input_size]) -> [..., outputs])."""

    def init(key: jax.Array) -> Params:
        return network.init(key, jnp.zeros(input_size))

    def apply(params: Params, inputs: jax.Array) -> jax.Array:
        # As one matrix: with more leading axes XLA's CPU backend takes twice as long.
        outputs: Any = network.apply(params, inputs.reshape(-1, input_size))
        return outputs.reshape(*inputs.shape[:-1], network.outputs)

    return init, apply


def agent_networks(
    network: MLP, num_agents: int, input_size: int, shared: bool, identify: bool = True
) -> tuple[Callable[[jax.Array], Params], Callable[[Params, jax.Array], jax.Array]]:
    """The pair (init(key) -> params, apply(params, inputs [..., A, input_size]) -> [..., A, outputs]).

    Shared: one set of parameters, and with several agents each input is followed by the agent's one-hot identity
    (unless told not to `identify`).
    Separate: parameters carry a leading axis A and agent i is computed with the i-th.
    """
    identity = identify and shared and num_agents > 1
    size = input_size + (num_agents if identity else 0)

    one, forward = one_network(network, size)

    def init(key: jax.Array) -> Params:
        if shared:
            return one(key)
        return jax.vmap(one)(jax.random.split(key, num_agents))

    def apply(params: Params, inputs: jax.Array) -> jax.Array:
        if identity:
            eye = jnp.broadcast_to(jnp.eye(num_agents), (*inputs.shape[:-1], num_agents))
            inputs = jnp.concatenate([inputs, eye], axis=-1)
        if shared:
            return forward(params, inputs)
        return jax.vmap(forward, in_axes=(0, -2), out_axes=-2)(params, inputs)

    return init, apply


def critic_inputs(
    observations: jax.Array, global_state: jax.Array, memory: Any = (), *, centralised: bool
) -> jax.Array:
    """What the critic of each agent sees, [..., A, I].

    That is its own observation, after the global state if centralised, and what a recurrent policy (`memory`
    [..., A, H], else ()) remembers: what happens from here on depends on it. With the memory, the critic of a recurrent
    policy needs none of its own (Baisero, Amato 2022, on critics of state and history).
    """
    num_agents = observations.shape[-2]
    seen = [observations, *jax.tree.leaves(memory)]
    if centralised:
        shared = jnp.broadcast_to(
            global_state[..., None, :], (*global_state.shape[:-1], num_agents, global_state.shape[-1])
        )
        # A single agent's observation adds nothing to the global state.
        seen = [shared, *(seen if num_agents > 1 else seen[1:])]
    return jnp.concatenate(seen, axis=-1) if len(seen) > 1 else seen[0]


def critic_input_size(
    observation_size: int, global_state_size: int, memory_size: int, num_agents: int, centralised: bool
) -> int:
    """The length I of `critic_inputs`."""
    if not centralised:
        return observation_size + memory_size
    return global_state_size + (observation_size if num_agents > 1 else 0) + memory_size
