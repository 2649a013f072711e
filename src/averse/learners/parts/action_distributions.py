"""Action distributions: categorical with availability masks, and diagonal Gaussian.

Axes: A agents, n actions; `...` batch axes.
"""

from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from averse.environments.protocol import ActionSpace, Box

UNAVAILABLE = -1e9  # a logit so low that the action is never drawn, yet finite, so that gradients are


class CategoricalActions(NamedTuple):
    """Independent categorical choices, one per batch entry."""

    log_probs: jax.Array  # float32 [..., n], normalised

    def sample(self, key: jax.Array) -> jax.Array:
        """A draw, int32 [...]."""
        return jax.random.categorical(key, self.log_probs)

    def mode(self) -> jax.Array:
        """The likeliest action, int32 [...]."""
        return self.log_probs.argmax(-1)

    def log_prob(self, actions: jax.Array) -> jax.Array:
        """Log-probability [...] of actions int [...]."""
        # A one-hot product rather than a gather: its gradient is not a scatter, which is slow on a CPU.
        return (self.log_probs * jax.nn.one_hot(actions, self.log_probs.shape[-1])).sum(-1)

    def entropy(self) -> jax.Array:
        """In nats, [...]."""
        return -(jnp.exp(self.log_probs) * self.log_probs).sum(-1)

    def divergence(self, other: "ActionDistribution") -> jax.Array:
        """KL(self || other), in nats, [...]; `other` is of the same kind."""
        difference = self.log_probs - cast(CategoricalActions, other).log_probs
        return (jnp.exp(self.log_probs) * difference).sum(-1)


class GaussianActions(NamedTuple):
    """Diagonal normal over action vectors. The environment clips to its box."""

    mean: jax.Array  # float32 [..., size]
    log_std: jax.Array  # float32 [..., size]

    def sample(self, key: jax.Array) -> jax.Array:
        """A draw, float32 [..., size]."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def mode(self) -> jax.Array:
        """The likeliest action, float32 [..., size]."""
        return self.mean

    def log_prob(self, actions: jax.Array) -> jax.Array:
        """Log-density [...] of actions [..., size]."""
        standard = (actions - self.mean) * jnp.exp(-self.log_std)
        return (-0.5 * standard**2 - self.log_std - 0.5 * jnp.log(2.0 * jnp.pi)).sum(-1)

    def entropy(self) -> jax.Array:
        """Differential entropy in nats, [...]."""
        return (self.log_std + 0.5 * jnp.log(2.0 * jnp.pi * jnp.e)).sum(-1)

    def divergence(self, other: "ActionDistribution") -> jax.Array:
        """KL(self || other), in nats, [...]; `other` is of the same kind."""
        other = cast(GaussianActions, other)
        ratio = jnp.exp(2.0 * (self.log_std - other.log_std))
        distance = (self.mean - other.mean) * jnp.exp(-other.log_std)
        return (0.5 * (ratio + distance**2 - 1.0) + other.log_std - self.log_std).sum(-1)


ActionDistribution = CategoricalActions | GaussianActions
"""What a policy draws from."""


def head_size(space: ActionSpace) -> int:
    """Outputs of the actor network: logits, or means and log standard deviations."""
    return 2 * space.size if isinstance(space, Box) else space.num_actions


def action_distribution(space: ActionSpace, outputs: jax.Array, available: jax.Array) -> ActionDistribution:
    """What an actor network's outputs [..., A, head_size] stand for; `available` is bool [..., A, n]."""
    if isinstance(space, Box):
        mean, log_std = jnp.split(outputs, 2, axis=-1)
        centre, half_width = 0.5 * (space.high + space.low), 0.5 * (space.high - space.low)
        # A standard deviation between about 0.7 % and the whole of the half-width; it starts at half of it.
        return GaussianActions(centre + half_width * mean, jnp.log(half_width) + jnp.clip(log_std - 0.7, -5.0, 0.0))
    return CategoricalActions(jax.nn.log_softmax(jnp.where(available, outputs, UNAVAILABLE)))


def probabilities(choice: ActionDistribution) -> jax.Array:
    """pi(.|s) of a choice among discrete actions, [..., n]."""
    return jnp.exp(cast(CategoricalActions, choice).log_probs)
