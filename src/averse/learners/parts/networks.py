"""Networks of every family: perceptrons, agents' networks with or without memory, and what a critic sees.

A set of agents has one network, shared by all and told apart by a one-hot identity, or one network each. Whoever uses a
network need not know which, nor whether it remembers: a feed-forward network is one whose memory is ().

Axes: N sequences, L steps of a sequence, A agents, I inputs, O outputs, H memory; `...` batch axes.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.sets import SetLayout
from averse.learners.parts.sets import SetEncoder
from averse.risk.broadcasting import same_rank

Params = Any
T = TypeVar("T")
Memory = Any  # float32 [..., A, H] of a recurrent network, () of a feed-forward one


class Network(NamedTuple):
    """A function with parameters."""

    init: Callable[[jax.Array], Params]
    """`init(key) -> params`."""
    apply: Callable[..., jax.Array]
    """`apply(params, *parts of the inputs [..., I_k]) -> [..., O]`; parts' leading axes broadcast."""


class SequenceNetwork(NamedTuple):
    """The agents' network, asked step by step when acting and over whole sequences when learning."""

    init: Callable[[jax.Array], Params]
    """`init(key) -> params`."""
    initial_memory: Callable[[int], Memory]
    """`initial_memory(N)`: what is remembered before an episode, zeros [N, A, H]."""
    step: Callable[[Params, Memory, jax.Array], tuple[jax.Array, Memory]]
    """`step(params, memory [..., A, H], inputs [..., A, I]) -> (outputs [..., A, O], memory)`."""
    unroll: Callable[..., jax.Array]
    """`unroll(params, memory [N, A, H], inputs [L, N, A, I], first [L, N]) -> outputs [L, N, A, O]`: the steps of whole
    sequences, from the memory before each; where `first`, an episode begins and the memory is blank. With
    `batch_first=True` inputs and outputs are [N, L, A, ...] and `first` is [N, L]."""
    recall: Callable[[Params, Memory], jax.Array]
    """`recall(params, memory [..., A, H]) -> [..., A, O]`: the outputs of the step that left this memory; of recurrent
    networks only."""
    memory_size: int
    """H, or 0."""


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
        bias, *products = same_rank(bias, *(_product(part, row) for part, row in zip(parts, rows)))
        return sum(products, bias)


def _product(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    # As one matrix: with more leading axes XLA's CPU backend takes twice as long.
    return (inputs.reshape(-1, inputs.shape[-1]) @ kernel).reshape(*inputs.shape[:-1], kernel.shape[-1])


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"tanh": nn.tanh, "relu": nn.relu}


class MLP(nn.Module):
    """Dense layers with an activation between them.

    Orthogonal weights (gain sqrt 2, `final_gain` at the end), zero biases. The input may come in parts [..., I_k] whose
    leading axes broadcast; it stands for all of them side by side.

    Args:
      hidden: units of the hidden layers; () is a single linear layer.
      outputs: O.
      final_gain: gain of the last layer's orthogonal weights.
      activation: between the layers.
      layouts: of the first parts of the input, in their order: how they hold sets, None where they hold none. In place
        of a part that does come its own numbers and its pooled members.
      set_units: to how many numbers members are pooled (`SetEncoder`).
    """

    hidden: Sequence[int]
    outputs: int
    final_gain: float
    activation: Callable[[jax.Array], jax.Array] = nn.tanh
    layouts: Sequence[SetLayout | None] = ()
    set_units: int = 0

    @nn.compact
    def __call__(self, *parts: jax.Array) -> jax.Array:
        for k, layout in reversed(list(enumerate(self.layouts))):
            if layout is not None:
                encoded = SetEncoder(layout, self.set_units, name=f"Set_{k}")(parts[k])
                parts = (*parts[:k], *encoded, *parts[k + 1 :])
        sizes = [*self.hidden, self.outputs]
        gains = [np.sqrt(2.0)] * len(self.hidden) + [self.final_gain]
        for i, (size, gain) in enumerate(zip(sizes, gains)):
            parts = tuple(self.activation(part) for part in parts) if i else parts
            parts = (_Dense(size, nn.initializers.orthogonal(gain), name=f"Dense_{i}")(*parts),)
        return parts[0]


def one_network(layers: MLP, *input_sizes: int) -> Network:
    """A network of its own, with the length of each part of its inputs, or of all of them together."""

    def init(key: jax.Array) -> Params:
        return layers.init(key, *(jnp.zeros(size) for size in input_sizes))

    def apply(params: Params, *parts: jax.Array) -> Any:
        return layers.apply(params, *parts)

    return Network(init, apply)


def agent_networks(layers: MLP, num_agents: int, *input_sizes: int, shared: bool, identify: bool = True) -> Network:
    """The networks of A agents as one: `apply(params, *parts of the inputs [..., A, I_k]) -> [..., A, O]`.

    A part that is the same for all agents may have 1 in place of A, and is then worked on once.

    Shared: one set of parameters, and with several agents each input is followed by the agent's one-hot identity
    (unless told not to `identify`).
    Separate: parameters carry a leading axis A and agent i is computed with the i-th.
    """
    identity = identify and shared and num_agents > 1
    one = one_network(layers, *input_sizes, *([num_agents] if identity else []))

    def init(key: jax.Array) -> Params:
        if shared:
            return one.init(key)
        return jax.vmap(one.init)(jax.random.split(key, num_agents))

    def apply(params: Params, *parts: jax.Array) -> jax.Array:
        if shared:
            return one.apply(params, *parts, *([jnp.eye(num_agents)] if identity else []))
        of_all = [part.shape[-2] == 1 for part in parts]
        parts = tuple(part.squeeze(-2) if same else part for part, same in zip(parts, of_all))
        axes = [None if same else -2 for same in of_all]
        return jax.vmap(one.apply, in_axes=(0, *axes), out_axes=-2)(params, *parts)

    return Network(init, apply)


def feed_forward(layers: MLP, num_agents: int, input_size: int, *, shared: bool) -> SequenceNetwork:
    """Agents that remember nothing; see `agent_networks`."""
    network = agent_networks(layers, num_agents, input_size, shared=shared)

    def recall(params: Params, memory: Memory) -> jax.Array:
        raise TypeError("a feed-forward network remembers nothing")

    return SequenceNetwork(
        init=network.init,
        initial_memory=lambda count: (),
        step=lambda params, memory, inputs: (network.apply(params, inputs), memory),
        unroll=lambda params, memory, inputs, first, batch_first=False: network.apply(params, inputs),
        recall=recall,
        memory_size=0,
    )


def recurrent(
    layers: MLP, num_agents: int, input_size: int, *, shared: bool, recurrent_gain: float = np.sqrt(3.0)
) -> SequenceNetwork:
    """The same with a GRU (Cho et al. 2014) in place of the last hidden layer.

    With memory h and x = encoder(inputs), both mapped to three blocks (reset r, update z, candidate c):
    r = sigmoid(x_r + h_r), z = sigmoid(x_z + h_z), h' = z h + (1 - z) tanh(x_c + r h_c); the outputs are linear in h'.

    Args:
      recurrent_gain: gain of the orthogonal matrix [H, 3 H] that maps the memory. Its rows are of length 1 over three
        blocks: with sqrt 3 each block is about orthogonal.
    """
    *before, size = layers.hidden
    encoding = layers.clone(hidden=before, outputs=3 * size, final_gain=1.0)
    encoder = agent_networks(encoding, num_agents, input_size, shared=shared)
    recurrence = agent_networks(MLP((), 3 * size, recurrent_gain), num_agents, size, shared=shared, identify=False)
    head = agent_networks(MLP((), layers.outputs, layers.final_gain), num_agents, size, shared=shared, identify=False)
    parts = {"encoder": encoder, "recurrence": recurrence, "head": head}

    def init(key: jax.Array) -> Params:
        return {name: part.init(part_key) for (name, part), part_key in zip(parts.items(), jax.random.split(key, 3))}

    def remember(params: Params, memory: jax.Array, encoded: jax.Array) -> jax.Array:
        recalled = recurrence.apply(params["recurrence"], memory)
        gates = jax.nn.sigmoid(encoded[..., : 2 * size] + recalled[..., : 2 * size])
        reset, update = gates[..., :size], gates[..., size:]
        candidate = jnp.tanh(encoded[..., 2 * size :] + reset * recalled[..., 2 * size :])
        return update * memory + (1.0 - update) * candidate

    def recall(params: Params, memory: Memory) -> jax.Array:
        return head.apply(params["head"], memory)

    def step(params: Params, memory: Memory, inputs: jax.Array) -> tuple[jax.Array, Memory]:
        memory = remember(params, memory, encoder.apply(params["encoder"], inputs))
        return recall(params, memory), memory

    def unroll(
        params: Params, memory: Memory, inputs: jax.Array, first: jax.Array, batch_first: bool = False
    ) -> jax.Array:
        def advance(memory, now):
            encoded, fresh = now
            memory = remember(params, jnp.where(fresh[:, None, None], 0.0, memory), encoded)
            return memory, memory

        # Only the recurrence goes step by step; what comes before and after it is one matrix product each.
        encoded = encoder.apply(params["encoder"], inputs)
        if batch_first:
            encoded, first = encoded.swapaxes(0, 1), first.swapaxes(0, 1)
        _, memories = jax.lax.scan(advance, memory, (encoded, first))
        outputs = recall(params, memories)
        return outputs.swapaxes(0, 1) if batch_first else outputs

    return SequenceNetwork(
        init=init,
        initial_memory=lambda count: jnp.zeros((count, num_agents, size), jnp.float32),
        step=step,
        unroll=unroll,
        recall=recall,
        memory_size=size,
    )


def critic_inputs(
    observations: jax.Array, global_state: jax.Array, memory: Memory = (), *, centralised: bool
) -> tuple[jax.Array, ...]:
    """What the critic of each agent sees, in parts [..., A or 1, I_k].

    That is its own observation, after the global state if centralised, and what a recurrent policy (`memory`
    [..., A, H], else ()) remembers: what happens from here on depends on it. With the memory, the critic of a recurrent
    policy needs none of its own (Baisero, Amato 2022, on critics of state and history).
    """
    parts = critic_parts(observations, global_state[..., None, :], observations.shape[-2], centralised=centralised)
    return *parts, *jax.tree.leaves(memory)


def critic_parts(of_observation: T, of_state: T, num_agents: int, *, centralised: bool) -> tuple[T, ...]:
    """Of what is given for an observation and for the global state, what holds for the parts of `critic_inputs`."""
    if not centralised:
        return (of_observation,)
    # A single agent's observation adds nothing to the global state.
    return (of_state, of_observation) if num_agents > 1 else (of_state,)
