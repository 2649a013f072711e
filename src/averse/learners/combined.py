"""Two policies that act as one: a mixture of both at every step, or some agents by the one and the rest by the other.

Both are learners whose state holds the states of two others, so that whatever plays a learner plays them. They have
nothing to learn.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from averse.learners.contract import Learner

_COIN = 0xC01  # keeps the coin apart from what the policies draw


class Mixture(NamedTuple):
    """The state of a `mixture`."""

    first: Any
    """The state of the first learner."""
    second: Any
    """The state of the second."""
    alpha: jax.Array
    """float32 [], the probability of the first one's choice."""


class Cast(NamedTuple):
    """The state of a `cast`."""

    first: Any
    """The state of the first learner."""
    second: Any
    """The state of the second."""
    by_first: jax.Array
    """bool [A], whose actions are the first one's."""


def mixture(first: Learner, second: Learner) -> Learner:
    """The learner whose policy is alpha pi_1 + (1 - alpha) pi_2, agent by agent and step by step; state `Mixture`.

    At each step each agent draws from both policies and tosses a coin of its own: with probability alpha the first
    one's action counts. That is a draw from the mixture of both distributions, discrete or continuous. Both policies
    draw with the key that is given, as they would alone: at alpha 1 and 0 the actions are those of one policy alone,
    bit for bit. Both see all that happens, and each keeps a memory of its own. `greedy` mixes the likeliest actions.

    Args:
      first, second: learners of the same observations and actions.
    """
    tell = first.action_probabilities is not None and second.action_probabilities is not None

    def act(state: Mixture, observations, available, key, memory=(), greedy: bool = False):
        actions, memory = _both(first, second, state, observations, available, key, memory, greedy)
        coins = jax.random.uniform(jax.random.fold_in(key, _COIN), observations.shape[:2])
        return _where(coins < state.alpha, *actions), {"memory": memory}

    def action_probabilities(state: Mixture, observations, available, memory=()):
        memories = memory or ((), ())
        one, other = (
            learner.action_probabilities(own, observations, available, memory=remembered)  # type: ignore[misc]
            for learner, own, remembered in zip((first, second), state[:2], memories)
        )
        return state.alpha * one + (1.0 - state.alpha) * other

    return _learner(first, second, act)._replace(action_probabilities=action_probabilities if tell else None)


def cast(first: Learner, second: Learner) -> Learner:
    """The learner in whose policy some agents act by the first, the rest by the second; state `Cast`.

    Both policies look at all agents, as those do that share what they know; each keeps a memory of its own.

    Args:
      first, second: learners of the same observations and actions.
    """

    def act(state: Cast, observations, available, key, memory=(), greedy: bool = False):
        actions, memory = _both(first, second, state, observations, available, key, memory, greedy)
        by_first = jnp.broadcast_to(state.by_first, observations.shape[:2])
        return _where(by_first, *actions), {"memory": memory}

    return _learner(first, second, act)


def likeliest(learner: Learner) -> Learner:
    """The learner that always acts greedily."""

    def act(state, observations, available, key, memory=(), greedy: bool = False):
        del greedy
        return learner.act(state, observations, available, key, memory=memory, greedy=True)

    return learner._replace(act=act, action_probabilities=None)  # which are those of its draws


def _both(first: Learner, second: Learner, state: Any, observations, available, key, memory, greedy: bool):
    """The actions of both, [B, A, ...] each, and both memories after them."""
    actions, memories = [], []
    for learner, own, remembered in zip((first, second), state[:2], memory or ((), ())):
        greedily = greedy or learner.explores_by_noise
        chosen, extras = learner.act(own, observations, available, key, memory=remembered, greedy=greedily)
        actions.append(chosen)
        memories.append(extras.get("memory", ()))
    return actions, tuple(memories)


def _where(by_first: jax.Array, one: jax.Array, other: jax.Array) -> jax.Array:
    """The first one's actions [B, A, ...] where bool [B, A] says so."""
    return jnp.where(by_first.reshape(*by_first.shape, *[1] * (one.ndim - 2)), one, other)


def _learner(first: Learner, second: Learner, act: Any) -> Learner:
    return Learner(
        init=lambda key, **swept: (),
        act=act,
        update=lambda state, trajectory: (state, {}),
        predict_returns=None,
        initial_memory=lambda num_envs: (first.initial_memory(num_envs), second.initial_memory(num_envs)),
        sweepable=frozenset(),
        rollout_steps=1,
        num_envs=max(first.num_envs, second.num_envs),
        gamma=first.gamma,
    )
