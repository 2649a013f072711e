"""Multi-layer perceptrons over agents: one network shared by all (told apart by identity), or one network each."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Params = Any


class _Dense(nn.Module):
    """`nn.Dense` of inputs in parts: the product of the whole weight matrix with all parts side by side.

    The parts are multiplied each with its own rows of the matrix and the products added, so that a part with fewer
    rows than the others (what several agents see alike) is multiplied once, and no part is copied.
    """

    features: int
    kernel_init: Any

    @nn.compact
    def __call__(self, *parts: jax.Array) -> jax.Array:
        sizes = [part.shape[-1] for part in parts]
        kernel = self.param("kernel", self.kernel_init, (sum(sizes), self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        rows = jnp.split(kernel, list(accumulate(sizes))[:-1])
        return sum((_product(part, row) for part, row in zip(parts, rows)), bias)


def _product(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    # As one matrix: with more leading axes XLA's CPU backend takes twice as long.
    return (inputs.reshape(-1, inputs.shape[-1]) @ kernel).reshape(*inputs.shape[:-1], kernel.shape[-1])


class MLP(nn.Module):
    """Dense layers with tanh between them; orthogonal weights (gain sqrt 2, `final_gain` at the end), zero biases.

    The input may come in parts [..., I_k] whose leading axes broadcast; it stands for all of them side by side.
    """

    hidden: Sequence[int]
    outputs: int
    final_gain: float

    @nn.compact
    def __call__(self, *parts: jax.Array) -> jax.Array:
        sizes = [*self.hidden, self.outputs]
        gains = [np.sqrt(2.0)] * len(self.hidden) + [self.final_gain]
        for i, (size, gain) in enumerate(zip(sizes, gains)):
            parts = tuple(nn.tanh(part) for part in parts) if i else parts
            parts = (_Dense(size, nn.initializers.orthogonal(gain), name=f"Dense_{i}")(*parts),)
        return parts[0]


def one_network(network: MLP, input_size: int) -> tuple[Callable[[jax.Array], Params], Callable[..., jax.Array]]:
    """The pair (init(key) -> params, apply(params, *parts of the inputs [..., I_k]) -> [..., outputs])."""

    def init(key: jax.Array) -> Params:
        return network.init(key, jnp.zeros(input_size))

    def apply(params: Params, *parts: jax.Array) -> jax.Array:
        return cast(jax.Array, network.apply(params, *parts))

    return init, apply


def agent_networks(
    network: MLP, num_agents: int, input_size: int, shared: bool, identify: bool = True
) -> tuple[Callable[[jax.Array], Params], Callable[..., jax.Array]]:
    """The pair (init(key) -> params, apply(params, *parts of the inputs [..., A, I_k]) -> [..., A, outputs]).

    A part that is the same for all agents may have 1 in place of A, and is then worked on once.

    Shared: one set of parameters, and with several agents each input is followed by the agent's one-hot identity
    (unless told not to `identify`).
    Separate: parameters carry a leading axis A and agent i is computed with the i-th.
    """
    identity = identify and shared and num_agents > 1
    one, forward = one_network(network, input_size + (num_agents if identity else 0))

    def init(key: jax.Array) -> Params:
        if shared:
            return one(key)
        return jax.vmap(one)(jax.random.split(key, num_agents))

    def apply(params: Params, *parts: jax.Array) -> jax.Array:
        if shared:
            return forward(params, *parts, *([jnp.eye(num_agents)] if identity else []))
        of_all = [part.shape[-2] == 1 for part in parts]
        parts = tuple(part.squeeze(-2) if same else part for part, same in zip(parts, of_all))
        axes = [None if same else -2 for same in of_all]
        return jax.vmap(forward, in_axes=(0, *axes), out_axes=-2)(params, *parts)

    return init, apply


def critic_inputs(
    observations: jax.Array, global_state: jax.Array, memory: Any = (), *, centralised: bool
) -> tuple[jax.Array, ...]:
    """What the critic of each agent sees, in parts [..., A or 1, I_k].

    That is its own observation, after the global state if centralised, and what a recurrent policy (`memory`
    [..., A, H], else ()) remembers: what happens from here on depends on it. With the memory, the critic of a recurrent
    policy needs none of its own (Baisero, Amato 2022, on critics of state and history).
    """
    seen = (observations, *jax.tree.leaves(memory))
    if not centralised:
        return seen
    # A single agent's observation adds nothing to the global state.
    return (global_state[..., None, :], *(seen if observations.shape[-2] > 1 else seen[1:]))


def critic_input_size(
    observation_size: int, global_state_size: int, memory_size: int, num_agents: int, centralised: bool
) -> int:
    """The length of all parts of `critic_inputs`."""
    if not centralised:
        return observation_size + memory_size
    return global_state_size + (observation_size if num_agents > 1 else 0) + memory_size
