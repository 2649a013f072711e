"""Means, schedules, the optimiser's step, minibatch passes and the policy's loss, against plain loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from averse.learners.parts.action_distributions import CategoricalActions, GaussianActions
from averse.learners.parts.updates import (
    adam,
    apart,
    descend,
    gradient_step,
    linear_schedule,
    normalise,
    policy_loss,
    weighted_mean,
)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_weighted_means():
    values, weights = jnp.array([1.0, 2.0, 6.0]), jnp.array([1.0, 0.0, 3.0])
    assert float(weighted_mean(values)) == 3.0
    assert float(weighted_mean(values, weights)) == pytest.approx(19 / 4)
    assert float(weighted_mean(values, jnp.zeros(3))) == 0.0


def test_normalised_values_have_mean_0_and_deviation_1():
    values = np.random.default_rng(0).normal(5.0, 3.0, (2, 8, 3)).astype(np.float32)
    weights = np.repeat(np.float32([0.0, 1.0]), 24).reshape(2, 8, 3)
    for given in (None, weights):
        found = np.asarray(jax.jit(normalise)(values, given))
        assert np.average(found, weights=given) == pytest.approx(0.0, abs=1e-5)
        assert np.average(found**2, weights=given) == pytest.approx(1.0, abs=1e-4)
    assert (np.asarray(jax.jit(normalise)(np.full(4, 7.0, np.float32))) == 0).all()


def test_a_schedule_is_a_straight_line_to_its_end():
    progress, schedule = np.float32([0.0, 0.25, 0.5, 1.0]), jax.jit(linear_schedule, static_argnames="fraction")
    found = [float(schedule(p, 1.0, 0.1, fraction=0.5)) for p in progress]
    assert found == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert [float(schedule(p, 1.0, 0.2)) for p in progress] == pytest.approx([1.0, 0.8, 0.6, 0.2])
    assert float(schedule(progress[0], 1.0, 0.1, fraction=0.0)) == pytest.approx(0.1)


def test_a_step_goes_down_its_gradient():
    params = {"w": jnp.array([1.0, -2.0])}
    optimiser = optax.sgd(1.0)  # its own direction is already downhill
    params, _ = gradient_step(optimiser, {"w": jnp.array([0.5, 0.5])}, params, optimiser.init(params), -0.1)
    np.testing.assert_allclose(params["w"], [0.95, -2.05])


def test_networks_are_clipped_apart():
    """A huge gradient of one network does not shrink the step of the other: with Adam's eps, size would matter."""
    networks = {"actor": jnp.zeros(3), "critic": jnp.zeros(3)}
    optimiser = apart(adam(1e-5), "actor", "critic")
    state = optimiser.init(networks)
    small = jnp.array([1e-6, 2e-6, 0.0])

    @jax.jit
    def actor_after(critic_gradient):
        gradient = {"actor": small, "critic": critic_gradient}
        return gradient_step(optimiser, gradient, networks, state, 1.0)[0]["actor"]

    np.testing.assert_array_equal(actor_after(jnp.zeros(3)), actor_after(jnp.full(3, 1e9)))
    assert (actor_after(jnp.zeros(3))[:2] < 0).all()


def test_descending_is_a_loop_over_shuffled_minibatches():
    """Adam over three passes of four minibatches, with the same permutations, one step at a time."""
    data = {"x": normal(0, 16, 3), "y": normal(1, 16)}

    def loss(params, batch):
        value = ((batch["x"] @ params - batch["y"]) ** 2).mean()
        return value, {"loss": value}

    optimiser, params = adam(0.5), np.array([0.3, -0.2, 1.0], np.float32)
    state, losses = jax.jit(optimiser.init)(params), []
    passes = jax.jit(partial(descend, loss, optimiser, epochs=3, minibatches=4))
    found, _, metrics = passes(params, state, data, jax.random.key(2), step_size=jnp.float32(0.05))
    loss_and_gradient, step = jax.jit(jax.value_and_grad(loss, has_aux=True)), jax.jit(optimiser.update)
    for key in jax.random.split(jax.random.key(2), 3):
        for index in np.asarray(jax.random.permutation(key, 16)).reshape(4, 4):
            batch = jax.tree.map(lambda x: x[index], data)  # noqa: B023
            (value, _), gradient = loss_and_gradient(params, batch)
            with jax.numpy_dtype_promotion("standard"):  # optax raises a float to a whole number
                changes, state = step(gradient, state)
            params = params - np.float32(0.05) * np.asarray(changes)
            losses.append(float(value))
    np.testing.assert_allclose(found, params, rtol=1e-5)
    assert float(metrics["loss"]) == pytest.approx(np.mean(losses), rel=1e-5)


def test_blocks_of_minibatches_change_nothing():
    """The gradient and the metrics of a minibatch are the means over its blocks by their weights, empty ones too."""
    weights = ((np.arange(24) < 5) | (np.arange(24) >= 16)).astype(np.float32)
    data = {"x": normal(0, 24, 3), "weight": weights}

    def loss(params, batch):
        value = weighted_mean(jnp.tanh(batch["x"] @ params), batch["weight"])
        return value, {"loss": value}

    optimiser, params = adam(0.5), np.array([0.3, -0.2, 1.0], np.float32)

    def passes(blocks):
        return jax.jit(
            lambda params, data: descend(
                loss, optimiser, params, optimiser.init(params), data, jax.random.key(2), step_size=jnp.float32(0.05),
                epochs=2, minibatches=2, blocks=blocks, weight=lambda part: part["weight"].sum(),
            )
        )  # fmt: skip

    (one, _, metrics), (other, _, of_blocks) = (passes(blocks)(params, data) for blocks in (1, 6))
    np.testing.assert_allclose(one, other, rtol=1e-5)
    assert float(metrics["loss"]) == pytest.approx(float(of_blocks["loss"]), rel=1e-5)


def test_the_clipped_loss_by_hand():
    log_probs = np.log([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.3, 0.3, 0.4]])
    actions, advantages, weights = np.array([1, 0, 2]), np.array([1.0, -2.0, 3.0]), np.array([1.0, 1.0, 0.0])
    old = np.log([0.25, 0.8, 0.4])
    arrays = log_probs, actions, old, advantages, weights

    @jax.jit
    def compiled(log_probs, actions, old, advantages, weights):
        choice = CategoricalActions(log_probs)
        return policy_loss(choice, actions, old, advantages, clip=0.2, epsilon=0.1, weights=weights)

    loss, metrics = compiled(*(x.astype(np.float32) if x.dtype == float else x for x in arrays))
    ratio = np.array([0.5 / 0.25, 0.6 / 0.8, 1.0])
    gain = np.minimum(ratio * advantages, np.clip(ratio, 0.8, 1.2) * advantages)
    np.testing.assert_allclose(gain[:2], [1.2, -1.6])
    entropy = -(np.exp(log_probs) * log_probs).sum(-1)
    mean = lambda x: (x * weights).sum() / 2  # noqa: E731
    assert float(loss) == pytest.approx(-mean(gain) - 0.1 * mean(entropy), rel=1e-5)
    assert float(metrics["actor_loss"]) == float(loss)
    assert float(metrics["entropy"]) == pytest.approx(mean(entropy), rel=1e-5)
    assert float(metrics["approximate_kl"]) == pytest.approx(mean(ratio - 1 - np.log(ratio)), rel=1e-4)
    assert float(metrics["clip_fraction"]) == 1.0


def test_the_penalised_loss_is_least_at_the_mean_advantage():
    """Rare heavy losses: the best ratios are 1 + (mean advantage - its mean over actions) / penalty, by Lagrange."""
    probs, penalty = np.array([0.5, 0.3, 0.2]), 4.0
    outcomes = np.array([[0.2, 0.2], [0.5, -10.0], [-0.3, 1.0]])  # advantages of each action: usual, rare
    share = np.array([0.97, 0.03])
    actions = jnp.asarray(np.repeat(np.arange(3), 2))
    weights = jnp.asarray((probs[:, None] * share).ravel(), jnp.float32)
    old, advantages = jnp.asarray(np.log(np.repeat(probs, 2)), jnp.float32), jnp.asarray(outcomes.ravel(), jnp.float32)

    def loss(logits, penalty=penalty):
        choice = CategoricalActions(jnp.broadcast_to(jax.nn.log_softmax(logits), (6, 3)))
        return policy_loss(choice, actions, old, advantages, clip=0.2, epsilon=0.0, penalty=penalty, weights=weights)[0]

    start = np.log(probs)
    found = scipy.optimize.minimize(jax.jit(jax.value_and_grad(loss)), start, jac=True, tol=1e-9).x
    mean = outcomes @ share
    expected = 1 + (mean - probs @ mean) / penalty
    np.testing.assert_allclose(np.exp(found) / np.exp(found).sum() / probs, expected, rtol=2e-3)


def test_a_heavy_loss_still_counts_beyond_the_clipping_bound():
    def pull(penalty, ratio):
        old = jnp.log(jnp.array([0.5]))
        loss = lambda logit: policy_loss(  # noqa: E731
            CategoricalActions(jax.nn.log_softmax(jnp.stack([logit, -logit])[None])), jnp.array([0]), old,
            jnp.array([-100.0]), clip=0.2, epsilon=0.0, penalty=penalty,
        )[0]  # fmt: skip
        chosen = 0.5 * ratio
        return float(jax.jit(jax.grad(loss))(np.float32(0.5 * np.log(chosen / (1 - chosen)))))

    assert pull(None, 0.9) > 0
    assert pull(None, 0.7) == 0
    # d/dlogit of -(r A - penalty/2 (r - 1)^2), with dr/dlogit = 2 r (1 - chosen)
    assert pull(3.0, 0.7) == pytest.approx((100 - 3 * 0.3) * 2 * 0.7 * (1 - 0.35), rel=1e-4)


def test_the_first_step_has_the_policy_gradient():
    """At ratio 1 the gradient of the loss is that of -advantage times log-probability, for any kind of action."""
    actions, advantages = jnp.array([[0.3], [-1.0]]), jnp.array([2.0, -1.0])

    def policy(params):
        return GaussianActions(jnp.stack([params[:1], params[1:]]), jnp.full((2, 1), -0.5))

    params = jnp.array([0.1, 0.2])
    old = jax.jit(lambda p: policy(p).log_prob(actions))(params)
    expected = jax.jit(jax.grad(lambda p: -(policy(p).log_prob(actions) * advantages).mean()))(params)
    for penalty in (None, 3.0):
        loss = partial(policy_loss, clip=0.2, epsilon=0.0, penalty=penalty)
        found = jax.jit(jax.grad(lambda p, loss=loss: loss(policy(p), actions, old, advantages)[0]))(params)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
