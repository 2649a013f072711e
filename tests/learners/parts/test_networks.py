"""Networks against plain matrix products: inputs in parts, sequences step by step, gradients through time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import first_quick

from averse.environments.batch import where_done
from averse.learners.parts.networks import MLP, agent_networks, feed_forward, recurrent

AGENTS, SHARED, OWN = 3, 7, 4


def plain(params, inputs, activation):
    """The perceptron on whole inputs [..., I], layer by layer."""
    layers = [params["params"][f"Dense_{i}"] for i in range(3)]
    for i, layer in enumerate(layers):
        inputs = (activation(inputs) if i else inputs) @ layer["kernel"]
        inputs += jnp.broadcast_to(layer["bias"], inputs.shape)
    return inputs


def of_agent(params, agent):
    return jax.tree.map(lambda leaf: leaf[agent], params)


def gradient_of_squares(function, params):
    return jax.jit(jax.grad(lambda p: (function(p) ** 2).sum()))(params)


@pytest.mark.parametrize("activation", first_quick([jnp.tanh, jax.nn.relu]))
@pytest.mark.parametrize("shared", first_quick([True, False]))
def test_inputs_in_parts_stand_for_the_whole_input(shared, activation):
    network = agent_networks(MLP((8, 6), 5, 0.1, activation), AGENTS, SHARED + OWN, shared=shared)
    params = jax.jit(network.init)(jax.random.key(0))
    seen_by_all = jax.random.normal(jax.random.key(1), (2, 9, 1, SHARED))
    own = jax.random.normal(jax.random.key(2), (2, 9, AGENTS, OWN))

    def whole(params):
        inputs = jnp.concatenate([jnp.broadcast_to(seen_by_all, (2, 9, AGENTS, SHARED)), own], -1)
        if not shared:
            return jnp.stack([plain(of_agent(params, a), inputs[:, :, a], activation) for a in range(AGENTS)], -2)
        identity = jnp.broadcast_to(jnp.eye(AGENTS), (2, 9, AGENTS, AGENTS))
        return plain(params, jnp.concatenate([inputs, identity], -1), activation)

    def in_parts(params):
        return network.apply(params, seen_by_all, own)

    np.testing.assert_allclose(jax.jit(in_parts)(params), jax.jit(whole)(params), rtol=1e-5, atol=1e-6)
    gradient, expected = (gradient_of_squares(function, params) for function in (in_parts, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, expected)


# --- sequences --------------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def gru_by_hand(params, memory, inputs):
    """One agent's recurrent network of one hidden layer before the memory, at one moment: (outputs, memory)."""
    params = jax.tree.map(np.asarray, params)
    first, second = (params["encoder"]["params"][f"Dense_{i}"] for i in (0, 1))
    encoded = np.tanh(inputs @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"]
    layer = params["recurrence"]["params"]["Dense_0"]
    recalled = memory @ layer["kernel"] + layer["bias"]
    x, h = np.split(encoded, 3), np.split(recalled, 3)
    update = sigmoid(x[1] + h[1])
    memory = update * memory + (1 - update) * np.tanh(x[2] + sigmoid(x[0] + h[0]) * h[2])
    head = params["head"]["params"]["Dense_0"]
    return memory @ head["kernel"] + head["bias"], memory


def test_a_recurrent_network_by_hand():
    network = recurrent(MLP((6, 5), 4, 1.0), 2, 3, shared=False)
    params = jax.jit(network.init)(jax.random.key(0))
    waves = jax.tree.map(lambda x: 0.1 * np.cos(np.arange(x.size, dtype=x.dtype)).reshape(x.shape), params)
    params = jax.tree.map(np.add, params, waves)  # biases too
    memory, inputs = jax.random.normal(jax.random.key(1), (2, 5)), jax.random.normal(jax.random.key(2), (2, 3))
    outputs, after = jax.jit(network.step)(params, memory, inputs)
    for agent in range(2):
        found = gru_by_hand(of_agent(params, agent), np.asarray(memory[agent]), np.asarray(inputs[agent]))
        for one, other in zip((outputs[agent], after[agent]), found):
            np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(jax.jit(network.recall)(params, after), outputs, rtol=1e-6)


def test_gradients_go_back_through_time():
    """The last output of a sequence depends on its first input, unless an episode begins in between."""
    network = recurrent(MLP((8, 8), 1, 1.0), 2, 3, shared=True)
    params = jax.jit(network.init)(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (5, 4, 2, 3))

    @jax.jit
    def gradient(first):
        return jax.grad(lambda x: network.unroll(params, network.initial_memory(4), x, first)[-1].sum())(inputs)

    def influence(first):
        return np.abs(gradient(first)).sum((2, 3))

    quiet = jnp.zeros((5, 4), bool)
    assert (influence(quiet) > 0).all()
    broken = influence(quiet.at[3].set(True))
    assert (broken[:3] == 0).all()
    assert (broken[3:] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_unrolling_is_stepping(shared):
    generator = np.random.default_rng(0)
    inputs = jnp.asarray(generator.normal(size=(7, 3, 2, 4)), jnp.float32)
    first = jnp.asarray(generator.random((7, 3)) < 0.3)
    for build in (recurrent, feed_forward):
        network = build(MLP((6, 5), 4, 1.0), 2, 4, shared=shared)
        params = jax.jit(network.init)(jax.random.key(0))
        memory, outputs = network.initial_memory(3), []
        for t in range(7):
            memory = where_done(first[t], network.initial_memory(3), memory)
            out, memory = network.step(params, memory, inputs[t])
            outputs.append(out)
        unrolled = network.unroll(params, network.initial_memory(3), inputs, first)
        np.testing.assert_allclose(unrolled, jnp.stack(outputs), atol=1e-5)
        batch_first = network.unroll(
            params, network.initial_memory(3), inputs.swapaxes(0, 1), first.T, batch_first=True
        )
        np.testing.assert_allclose(batch_first.swapaxes(0, 1), unrolled, atol=1e-6)
