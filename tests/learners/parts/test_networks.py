"""Inputs in parts stand for the whole input: the same function and gradient, computed in plain matrix products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.learners.parts.networks import MLP, agent_networks

AGENTS, SHARED, OWN = 3, 7, 4


def plain(params, inputs):
    """The perceptron on whole inputs [..., I], layer by layer."""
    layers = [params["params"][f"Dense_{i}"] for i in range(3)]
    for i, layer in enumerate(layers):
        inputs = (jnp.tanh(inputs) if i else inputs) @ layer["kernel"] + layer["bias"]
    return inputs


def of_agent(params, agent):
    return jax.tree.map(lambda leaf: leaf[agent], params)


def gradient_of_squares(function, params):
    return jax.grad(lambda p: (function(p) ** 2).sum())(params)


@pytest.mark.parametrize("shared", [True, False])
def test_parts_and_whole(shared):
    init, apply = agent_networks(MLP((8, 6), 5, 0.1), AGENTS, SHARED + OWN, shared)
    params = init(jax.random.key(0))
    seen_by_all = jax.random.normal(jax.random.key(1), (2, 9, 1, SHARED))
    own = jax.random.normal(jax.random.key(2), (2, 9, AGENTS, OWN))

    def whole(params):
        inputs = jnp.concatenate([jnp.broadcast_to(seen_by_all, (2, 9, AGENTS, SHARED)), own], -1)
        if not shared:
            return jnp.stack([plain(of_agent(params, a), inputs[:, :, a]) for a in range(AGENTS)], -2)
        identity = jnp.broadcast_to(jnp.eye(AGENTS), (2, 9, AGENTS, AGENTS))
        return plain(params, jnp.concatenate([inputs, identity], -1))

    def in_parts(params):
        return apply(params, seen_by_all, own)

    np.testing.assert_allclose(in_parts(params), whole(params), rtol=1e-5, atol=1e-6)
    gradient, expected = (gradient_of_squares(function, params) for function in (in_parts, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, expected)
