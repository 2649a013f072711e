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


def agent_networks(
    network: MLP, num_agents: int, input_size: int, shared: bool
) -> tuple[Callable[[jax.Array], Params], Callable[[Params, jax.Array], jax.Array]]:
    """The pair (init(key) -> params, apply(params, inputs [..., A, input_size]) -> [..., A, outputs]).

    Shared: one set of parameters, and with several agents each input is followed by the agent's one-hot identity.
    Separate: parameters carry a leading axis A and agent i is computed with the i-th.
    """
    identity = shared and num_agents > 1
    size = input_size + (num_agents if identity else 0)

    def one(key: jax.Array) -> Params:
        return network.init(key, jnp.zeros(size))

    def init(key: jax.Array) -> Params:
        if shared:
            return one(key)
        return jax.vmap(one)(jax.random.split(key, num_agents))

    def forward(params: Params, inputs: jax.Array) -> Any:
        # As one matrix: with more leading axes XLA's CPU backend takes twice as long.
        outputs: Any = network.apply(params, inputs.reshape(-1, size))
        return outputs.reshape(*inputs.shape[:-1], network.outputs)

    def apply(params: Params, inputs: jax.Array) -> jax.Array:
        if identity:
            eye = jnp.broadcast_to(jnp.eye(num_agents), (*inputs.shape[:-1], num_agents))
            inputs = jnp.concatenate([inputs, eye], axis=-1)
        if shared:
            return forward(params, inputs)
        return jax.vmap(forward, in_axes=(0, -2), out_axes=-2)(params, inputs)

    return init, apply


def critic_inputs(observations: jax.Array, global_state: jax.Array, centralised: bool) -> jax.Array:
    """What the critic of each agent sees, [..., A, I]: its own observation, after the global state if centralised."""
    num_agents = observations.shape[-2]
    if not centralised:
        return observations
    shared = jnp.broadcast_to(
        global_state[..., None, :], (*global_state.shape[:-1], num_agents, global_state.shape[-1])
    )
    # A single agent's observation adds nothing to the global state.
    return shared if num_agents == 1 else jnp.concatenate([shared, observations], axis=-1)


def critic_input_size(observation_size: int, global_state_size: int, num_agents: int, centralised: bool) -> int:
    """The length I of `critic_inputs`."""
    if not centralised:
        return observation_size
    return global_state_size + (observation_size if num_agents > 1 else 0)
