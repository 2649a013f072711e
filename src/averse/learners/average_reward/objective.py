"""The long-run mean-variance objective seen by a learner: running moments, pseudo-reward, undiscounted advantages.

In the long run a team earns eta per step, with variance zeta of the reward per step; it maximises J = eta - beta zeta.
Under the pseudo-reward f = r - beta (r - eta)^2, whose mean is J, that is an ordinary average-reward problem to first
order (Hu, Xia, arXiv 2503.22779): advantages are those of f, from delta = f - J + V' - V, without any discount.

Axes: T time, B environments, A agents.
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from averse import risk
from averse.learners.contract import Metrics

T = TypeVar("T")


class Moments(NamedTuple):
    """Running mean and mean square of the team's reward per step: exponentially weighted means over updates."""

    mean: jax.Array  # float32 [], in units of reward
    square: jax.Array  # float32 []
    batches: jax.Array  # int32 [], how many went in

    @property
    def eta(self) -> jax.Array:
        return self.mean

    @property
    def zeta(self) -> jax.Array:
        return jnp.maximum(self.square - self.mean**2, 0.0)

    def objective(self, beta: jax.Array) -> jax.Array:
        """J = eta - beta zeta; exactly the equally weighted mean of the pseudo-reward at this eta."""
        return self.eta - beta * self.zeta


def no_moments() -> Moments:
    """Before the first batch."""
    return Moments(jnp.float32(0.0), jnp.float32(0.0), jnp.int32(0))


def updated(moments: Moments, rewards: jax.Array, smoothing: float) -> Moments:
    """The moments after a batch of rewards [T, B], which enters with the weight max(smoothing, 1/k), k its number.

    So the first batch counts alone, the first 1/smoothing batches equally, and from then on the weights of old batches
    (of older policies) fade by 1 - smoothing per update.
    """
    batches = moments.batches + 1
    weight = jnp.maximum(smoothing, 1.0 / batches.astype(jnp.float32))
    mean = moments.mean + weight * (rewards.mean() - moments.mean)
    square = moments.square + weight * ((rewards**2).mean() - moments.square)
    return Moments(mean, square, batches)


def pseudo_reward(rewards: jax.Array, eta: jax.Array, beta: jax.Array) -> jax.Array:
    """f = r - beta (r - eta)^2, of the shape of `rewards`."""
    return rewards - beta * (rewards - eta) ** 2


def average_reward_advantages(
    values: jax.Array,
    next_values: jax.Array,
    rewards: jax.Array,
    objective: jax.Array,
    truncated: jax.Array,
    lam: float,
) -> jax.Array:
    """Generalised advantage estimates of the average-reward criterion, [T, ...] (Zhang, Ross 2021, section 5).

    A_t = delta_t + lam A_{t+1} with delta_t = f_t - J + V(s_{t+1}) - V(s_t). At lam = 0 and with exact V, the expected
    delta of an action is exactly its advantage. A truncation ends the sum but not the world: V(s_{t+1}) is that of the
    state the action led to.

    Args:
      values, next_values: V of the states before and after each step, [T, ...].
      rewards: pseudo-rewards f, [T, ...].
      objective: J, their long-run mean.
      truncated: bool [T, ...], the trajectory breaks after this step.
      lam: in [0, 1].
    """
    return risk.gae(values, next_values, rewards - objective, jnp.ones_like(rewards), ~truncated, lam)


def value_targets(values: jax.Array, advantages: jax.Array, constraint: float) -> jax.Array:
    """What the critic is fitted to: V + A, less `constraint` times its mean over the batch.

    Values of the average-reward criterion are defined up to a constant only. Left alone, errors of J would make it
    drift; drawing the mean to zero is the average value constraint (Ma et al. 2021, section 4.1).
    """
    targets = values + advantages
    return targets - constraint * targets.mean()


def by_agent(samples: T) -> T:
    """Arrays [T, B, A, ...] as each agent's own samples [A, T B, ...]."""
    return jax.tree.map(lambda x: jnp.moveaxis(x, 2, 0).reshape(x.shape[2], -1, *x.shape[3:]), samples)


def objective_metrics(
    moments: Moments, beta: jax.Array, rewards: jax.Array, values: jax.Array, advantages: jax.Array
) -> Metrics:
    """What an update tells of the objective and of how well the critic knows it.

    Args:
      rewards: of the team, [T, B].
      values, advantages: [T, B] of the team or [T, B, A] of each agent.
    """
    return {
        "objective": moments.objective(beta),
        "eta": moments.eta,
        "zeta": moments.zeta,
        "batch_mean": rewards.mean(),
        "batch_square": (rewards**2).mean(),
        "value_mean": values.mean(),
        "explained_variance": 1.0 - advantages.var() / (jnp.var(values + advantages) + 1e-8),
    }
