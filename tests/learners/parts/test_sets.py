"""Set encoders against members worked out one by one: what is pooled, in any order, and the gradient of it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import first_quick

from averse.environments import SetLayout
from averse.learners.parts.networks import MLP, agent_networks, feed_forward, recurrent
from averse.learners.parts.sets import SetEncoder

AGENTS = 3
LAYOUT = SetLayout(own=4, count=3, size=5)
STATE = SetLayout(own=1, count=2, size=3)


def vectors(layout: SetLayout, *lead: int, seed: int = 0) -> np.ndarray:
    """Vectors some of whose places are empty, and in the first of which all are."""
    generator = np.random.default_rng(seed)
    own = generator.normal(size=(*lead, layout.own))
    members = generator.normal(size=(*lead, layout.count, layout.size))
    members *= generator.random((*lead, layout.count, 1)) < 0.6
    members[(0,) * len(lead)] = 0.0
    return np.concatenate([own, members.reshape(*lead, -1)], -1).astype(np.float32)


def permuted(vector: np.ndarray, layout: SetLayout, order: tuple[int, ...]) -> np.ndarray:
    own, members = vector[..., : layout.own], vector[..., layout.own :]
    members = members.reshape(*vector.shape[:-1], layout.count, layout.size)[..., list(order), :]
    return np.concatenate([own, members.reshape(*vector.shape[:-1], -1)], -1)


def orders(layout: SetLayout) -> list[tuple[int, ...]]:
    return list(itertools.permutations(range(layout.count)))


def one_by_one(params, vector, layout):
    """What is pooled of a single vector: the whole dense layer on each member that is there, relu, and the maximum."""
    own, members = vector[: layout.own], vector[layout.own :].reshape(layout.count, layout.size)
    kernel, bias = params["params"]["kernel"], params["params"]["bias"]
    hidden = [jax.nn.relu(jnp.concatenate([own, member]) @ kernel + bias) for member in members if member.any()]
    return jnp.stack(hidden).max(0) if hidden else jnp.zeros(bias.shape)


def test_members_are_pooled_as_one_by_one():
    encoder, seen = SetEncoder(LAYOUT, 6), vectors(LAYOUT, 7, 2)
    params = moved(jax.jit(encoder.init)(jax.random.key(0), seen))
    own, pooled = map(np.asarray, jax.jit(encoder.apply)(params, seen))
    np.testing.assert_array_equal(own, seen[..., : LAYOUT.own])

    @jax.jit
    def alone(params):  # the members that are there are known while this is traced
        return jnp.stack([one_by_one(params, vector, LAYOUT) for row in seen for vector in row])

    np.testing.assert_allclose(pooled.reshape(14, -1), alone(params), atol=1e-5)
    assert (pooled[0, 0] == 0).all()
    total = jax.jit(lambda params, seen: (encoder.apply(params, seen)[1] ** 2).sum())
    found = jax.jit(jax.grad(total, (0, 1)))(params, seen)
    summed = jax.jit(jax.grad(lambda params: (alone(params) ** 2).sum()))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found[0], summed)
    draws = np.random.default_rng(3).normal(size=seen.shape).astype(np.float32)
    ahead, step = np.where(seen == 0, np.float32(0.0), draws), np.float32(1e-3)  # nobody comes
    change = float(total(params, seen + step * ahead)) - float(total(params, seen - step * ahead))
    np.testing.assert_allclose((found[1] * ahead).sum(), change / (2 * step), rtol=1e-2)


def moved(params):
    """Parameters whose biases are not 0."""
    waves = jax.tree.map(lambda x: 0.1 * np.cos(np.arange(x.size, dtype=x.dtype)).reshape(x.shape), params)
    return jax.tree.map(np.add, params, waves)


def test_a_member_that_is_there_twice_counts_once():
    encoder = SetEncoder(SetLayout(0, 2, 3), 4)
    member = np.array([1.0, -0.5, 2.0], np.float32)
    params = jax.jit(encoder.init)(jax.random.key(0), np.zeros(6, np.float32))
    pooled = jax.jit(jax.value_and_grad(lambda params, members: encoder.apply(params, members)[1].sum()))
    once, twice = (pooled(params, np.concatenate([member, other])) for other in (np.zeros_like(member), member))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), once, twice)


@pytest.mark.thorough
def test_sets_may_have_many_members():
    layout = SetLayout(0, 200, 2)  # more than a byte counts
    encoder, seen = SetEncoder(layout, 3), vectors(layout, 4)
    params = jax.jit(encoder.init)(jax.random.key(0), seen)
    pooled, gradient = jax.value_and_grad(lambda x: encoder.apply(params, x)[1].sum())(seen)
    np.testing.assert_allclose(pooled, sum(one_by_one(params, vector, layout).sum() for vector in seen), rtol=1e-5)
    expected = jax.grad(lambda x: one_by_one(params, x, layout).sum())
    for row in (1, 2, 3):
        np.testing.assert_allclose(gradient[row], expected(seen[row]), atol=1e-6)


def critic(shared: bool):
    layers = MLP((8, 6), 5, 0.1, layouts=(STATE, LAYOUT), set_units=7)
    return agent_networks(layers, AGENTS, STATE.total, LAYOUT.total, 2, shared=shared)


@pytest.mark.parametrize("shared", first_quick([True, False]))
def test_the_order_of_members_changes_nothing_for_a_critic(shared):
    network = critic(shared)
    params = moved(jax.jit(network.init)(jax.random.key(0)))
    state, seen = vectors(STATE, 9, 1), vectors(LAYOUT, 9, AGENTS, seed=1)
    memory = np.random.default_rng(1).normal(size=(9, AGENTS, 2)).astype(np.float32)
    apply = jax.jit(network.apply)
    outputs = np.asarray(apply(params, state, seen, memory))
    for of_state, of_seen in itertools.product(orders(STATE), orders(LAYOUT)):
        parts = permuted(state, STATE, of_state), permuted(seen, LAYOUT, of_seen), memory
        np.testing.assert_allclose(apply(params, *parts), outputs, atol=1e-6)
    for k, part in enumerate((state, seen, memory)):  # but everything that is there counts
        parts = [state, seen, memory]
        parts[k] = np.concatenate([part[:1], 1.5 * part[1:]])
        assert (np.abs(apply(params, *parts) - outputs)[1:].max((1, 2)) > 1e-4).all()


@pytest.mark.parametrize("shared", first_quick([True, False]))
@pytest.mark.parametrize("build", [feed_forward, recurrent])
def test_the_order_of_members_changes_nothing_for_an_actor(build, shared):
    network = build(MLP((8, 6), 5, 1.0, layouts=(LAYOUT,), set_units=7), AGENTS, LAYOUT.total, shared=shared)
    params = jax.jit(network.init)(jax.random.key(0))
    seen, first = vectors(LAYOUT, 4, 2, AGENTS), np.arange(8).reshape(4, 2) == 5
    memory = network.initial_memory(2)
    unroll = jax.jit(network.unroll)
    outputs = unroll(params, memory, seen, first)
    for order in orders(LAYOUT):
        other = unroll(params, memory, permuted(seen, LAYOUT, order), first)
        np.testing.assert_allclose(other, outputs, atol=1e-6)
    stepped, _ = jax.jit(network.step)(params, memory, seen[0])
    np.testing.assert_allclose(stepped, outputs[0], atol=1e-6)


def test_agents_of_one_network_differ_by_their_identity_alone():
    network = feed_forward(MLP((8,), 5, 1.0, layouts=(LAYOUT,), set_units=7), AGENTS, LAYOUT.total, shared=True)
    params = jax.jit(network.init)(jax.random.key(0))
    assert params["params"]["Dense_0"]["kernel"].shape == (LAYOUT.own + 7 + AGENTS, 8)
    assert params["params"]["Set_0"]["kernel"].shape == (LAYOUT.own + LAYOUT.size, 7)
    outputs, _ = jax.jit(network.step)(params, (), np.broadcast_to(vectors(LAYOUT, 2)[1], (AGENTS, LAYOUT.total)))
    assert not np.allclose(outputs[0], outputs[1])


@pytest.mark.parametrize("shared", first_quick([True, False]))
@pytest.mark.thorough
def test_gradients_are_finite_where_nobody_is_there(shared):
    network = critic(shared)
    params = jax.jit(network.init)(jax.random.key(0))
    nobody = jnp.zeros((4, 1, STATE.total)), jnp.zeros((4, AGENTS, LAYOUT.total)), jnp.zeros((4, AGENTS, 2))
    gradient = jax.grad(lambda p, *parts: (network.apply(p, *parts) ** 2).sum(), (0, 1, 2))(params, *nobody)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    sets = [gradient[0]["params"][f"Set_{k}"]["kernel"] for k in (0, 1)]
    assert all((leaf == 0).all() for leaf in sets)


@pytest.mark.thorough
def test_weights_are_orthogonal_and_biases_zero():
    params = SetEncoder(LAYOUT, 4).init(jax.random.key(0), jnp.zeros(LAYOUT.total))["params"]
    np.testing.assert_allclose(params["kernel"].T @ params["kernel"], 2 * np.eye(4), atol=1e-5)
    assert (params["bias"] == 0).all()
