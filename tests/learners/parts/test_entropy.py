"""Epsilon in units of reward: the gradient is that of raw advantages and epsilon, but for its length."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_trajectory import World, trajectory

from averse import AverseError, learners
from averse.environments.protocol import Discrete
from averse.learners.parts.action_distributions import action_distribution
from averse.learners.parts.entropy import entropy_weight
from averse.learners.parts.updates import normalise, policy_loss, standard_deviation

SMALL = {"num_envs": 4, "rollout_steps": 8, "segment_length": 4, "minibatches": 1, "epochs": 1, "hidden": (16,)}
LOGITS = jnp.array([[0.3, -1.0, 0.5], [2.0, 0.1, 0.0]])  # of two states
ADVANTAGES = jnp.array([[3.0, -40.0, 11.0], [7.0, 20.0, -5.0]])  # of their actions, not centred


def gradient(advantages, epsilon):
    """Of the loss with respect to the logits, every action being taken as often as its probability says."""
    probs = jax.nn.softmax(LOGITS)
    actions = jnp.broadcast_to(jnp.arange(3), (2, 3))

    def choice(logits):
        each = jnp.broadcast_to(logits[:, None], (2, 3, 3))
        return action_distribution(Discrete(3), each, jnp.ones_like(each, bool))

    def loss(logits):
        before = choice(LOGITS).log_prob(actions)
        return policy_loss(choice(logits), actions, before, advantages, clip=0.2, epsilon=epsilon, weights=probs)[0]

    return jax.grad(loss)(LOGITS)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 250.0])
def test_the_gradient_is_that_of_raw_advantages_but_for_its_length(scale):
    raw, probs = scale * ADVANTAGES, jax.nn.softmax(LOGITS)
    std = standard_deviation(raw, probs)
    for epsilon in (0.0, 0.5, 4.0 * scale):
        expected = gradient(raw, epsilon) / std
        found = gradient(normalise(raw, probs), entropy_weight(epsilon, "reward", std))
        # The baseline that normalising takes off changes nothing: actions are taken as often as they should.
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_advantage_units_are_not_units_of_reward():
    """What the same epsilon does depends on the size of rewards, unless it is measured in them."""
    probs = jax.nn.softmax(LOGITS)
    for units, same in (("advantage", True), ("reward", False)):
        found = [
            gradient(normalise(raw, probs), entropy_weight(2.0, units, standard_deviation(raw, probs)))
            for raw in (ADVANTAGES, 10 * ADVANTAGES)
        ]
        assert np.allclose(*found, atol=1e-5) == same


@pytest.fixture(scope="module")
def learned():
    """A batch, a learner's state before it, and what two settings make of it."""
    world = World(Discrete(4))
    build = partial(learners.learner, "mappo", world, epsilon=0.7, **SMALL)
    state = jax.jit(build().init)(jax.random.key(0))
    batch = trajectory(world, build(), state)
    return {
        (units, normalised): jax.jit(build(epsilon_units=units, normalise_advantages=normalised).update)(state, batch)
        for units, normalised in (("advantage", True), ("reward", True), ("advantage", False), ("reward", False))
    }


@pytest.mark.thorough
def test_the_learner_weighs_its_entropy_so(learned):
    std = float(learned["advantage", True][1]["advantage_std"])
    assert std != pytest.approx(1.0, abs=0.1)
    entropy = float(learned["advantage", True][1]["entropy"])
    losses = {key: float(metrics["actor_loss"]) for key, (_, metrics) in learned.items()}
    # Normalised advantages have mean 0: the loss is the entropy's, up to the mean of raw ones.
    assert losses["advantage", True] == pytest.approx(-0.7 * entropy, abs=1e-4)
    assert losses["reward", True] == pytest.approx(-0.7 / std * entropy, abs=1e-4)
    # Advantages that are not normalised are in units of reward, and so is epsilon.
    assert losses["advantage", False] == losses["reward", False]


def test_without_normalised_advantages_both_are_the_same(learned):
    for one, other in zip(*(jax.tree.leaves(learned[units, False][0].networks) for units in ("advantage", "reward"))):
        np.testing.assert_array_equal(one, other)
    pairs = zip(*(jax.tree.leaves(learned[units, True][0].networks["actor"]) for units in ("advantage", "reward")))
    assert not all(np.array_equal(one, other) for one, other in pairs)


def test_a_swept_epsilon_is_in_the_same_units():
    world = World(Discrete(4))
    learner = learners.learner("mappo", world, epsilon_units="reward", **SMALL)
    swept, fixed = jax.jit(learner.init)(jax.random.key(0), epsilon=0.7), jax.jit(learner.init)(jax.random.key(0))
    batch = trajectory(world, learner, fixed)
    update = jax.jit(learner.update)
    for state, epsilon in ((swept, 0.7), (fixed, 0.01)):
        metrics = {name: float(value) for name, value in update(state, batch)[1].items()}
        expected = -epsilon / metrics["advantage_std"] * metrics["entropy"]
        assert metrics["actor_loss"] == pytest.approx(expected, abs=1e-4)


def test_other_units_are_refused():
    with pytest.raises(AverseError, match="unknown epsilon_units 'rewards'; did you mean reward"):
        learners.preset("mappo", epsilon_units="rewards")
    with pytest.raises(AverseError, match="epsilon_units must be one of advantage, reward, not 1"):
        learners.preset("mv-ippo", epsilon_units=1)
