"""Critics: what a value network predicts, how its targets are made, and how far off it is.

Every critic turns a network's raw outputs into predictions of the discounted return. The *scalar* critic predicts the
mean, the *dual* critic mean and second moment, the *categorical* (C51) and *quantile* (QR) critics the distribution.
Transitions carry `rewards`, `discounts` (gamma, or 0 where the agent's episode ended) and `continues` (0 where the
trajectory breaks after the step, by an end or a truncation), all [T, B, A].
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from averse.risk import (
    Categorical,
    Distribution,
    Quantiles,
    categorical_lambda_returns,
    cross_entropy,
    lambda_returns,
    quantile_huber_loss,
    quantile_lambda_returns,
    second_moment_targets,
)


class Transitions(NamedTuple):
    """What the estimators need of a trajectory, all float32 [T, B, A]."""

    rewards: jax.Array
    discounts: jax.Array
    continues: jax.Array


class Critic(Protocol):
    """What a kind of critic knows; `raw` are network outputs [..., outputs]."""

    @property
    def outputs(self) -> int:
        """Outputs of the network."""
        ...

    def mean(self, raw: jax.Array) -> jax.Array:
        """Predicted mean return [...]."""
        ...

    def targets(self, raw: jax.Array, next_raw: jax.Array, transitions: Transitions, lam: float) -> jax.Array:
        """Lambda-return targets [T, B, A, ...] made from the predictions at the true next states."""
        ...

    def loss(self, raw: jax.Array, targets: jax.Array) -> jax.Array:
        """Loss of each prediction [...]."""
        ...


class DistributionalCritic(Critic, Protocol):
    """A critic that predicts the whole distribution of the return."""

    def distribution(self, raw: jax.Array) -> Distribution: ...

    def raw_of(self, mixture: jax.Array, raw: jax.Array) -> jax.Array:
        """Outputs that stand for the mixture over actions [..., n] of the distributions raw [..., n, outputs]."""
        ...

    def target_distribution(self, targets: jax.Array) -> Distribution: ...


class ScalarCritic(NamedTuple):
    """Mean return, by squared error on lambda-returns."""

    unit: float = 1.0  # reward units per unit of output
    outputs: int = 1

    def mean(self, raw: jax.Array) -> jax.Array:
        return self.unit * raw[..., 0]

    def targets(self, raw: jax.Array, next_raw: jax.Array, transitions: Transitions, lam: float) -> jax.Array:
        return lambda_returns(self.mean(next_raw), *transitions, lam)

    def loss(self, raw: jax.Array, targets: jax.Array) -> jax.Array:
        return 0.5 * ((self.mean(raw) - targets) / self.unit) ** 2


class DualCritic(NamedTuple):
    """Mean and second moment of the return (Tamar et al. 2016), that one as mean^2 + spread^2 >= mean^2."""

    scale: float  # reward units; the width of the possible returns, by which second moments are divided in the loss
    unit: float = 1.0  # reward units per unit of output
    outputs: int = 2

    def mean(self, raw: jax.Array) -> jax.Array:
        return self.unit * raw[..., 0]

    def second_moment(self, raw: jax.Array) -> jax.Array:
        return self.unit**2 * (raw[..., 0] ** 2 + raw[..., 1] ** 2)

    def targets(self, raw: jax.Array, next_raw: jax.Array, transitions: Transitions, lam: float) -> jax.Array:
        """[T, B, A, 2]: lambda-returns of the mean and of the second moment."""
        next_mean = self.mean(next_raw)
        moment, next_moment = self.second_moment(raw), self.second_moment(next_raw)
        mean_targets = lambda_returns(next_mean, *transitions, lam)
        return jnp.stack(
            [mean_targets, second_moment_targets(moment, next_mean, next_moment, *transitions, lam)], axis=-1
        )

    def loss(self, raw: jax.Array, targets: jax.Array) -> jax.Array:
        mean_error = (self.mean(raw) - targets[..., 0]) / self.unit
        moment_error = (self.second_moment(raw) - targets[..., 1]) / (self.unit * self.scale)
        return 0.5 * mean_error**2 + 0.5 * moment_error**2


class CategoricalCritic(NamedTuple):
    """C51 (Bellemare et al. 2017): probabilities of fixed, evenly spaced atoms, by cross-entropy."""

    support: jax.Array  # float32 [N]

    @property
    def outputs(self) -> int:
        return self.support.shape[0]

    def distribution(self, raw: jax.Array) -> Categorical:
        return Categorical.from_logits(self.support, raw)

    def target_distribution(self, targets: jax.Array) -> Categorical:
        return Categorical(self.support, targets)

    def mean(self, raw: jax.Array) -> jax.Array:
        return jax.nn.softmax(raw) @ self.support

    def raw_of(self, mixture: jax.Array, raw: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(jax.nn.log_softmax(raw) + jnp.log(mixture)[..., None], axis=-2)

    def targets(self, raw: jax.Array, next_raw: jax.Array, transitions: Transitions, lam: float) -> jax.Array:
        return categorical_lambda_returns(jax.nn.softmax(next_raw), *transitions, lam, self.support)

    def loss(self, raw: jax.Array, targets: jax.Array) -> jax.Array:
        return cross_entropy(raw, targets)


class QuantileCritic(NamedTuple):
    """QR (Dabney et al. 2018): values of evenly spaced quantiles, by the quantile Huber loss."""

    outputs: int
    unit: float = 1.0  # reward units per unit of output

    def distribution(self, raw: jax.Array) -> Quantiles:
        return Quantiles(self.unit * raw)

    def target_distribution(self, targets: jax.Array) -> Quantiles:
        return Quantiles(targets)

    def mean(self, raw: jax.Array) -> jax.Array:
        return self.unit * raw.mean(-1)

    def raw_of(self, mixture: jax.Array, raw: jax.Array) -> jax.Array:
        """Quantiles (at the middles of N equal shares) of the mixture of n sets of quantiles."""
        shape = (*raw.shape[:-2], -1)
        values = raw.reshape(shape)
        weights = jnp.broadcast_to(mixture[..., None] / self.outputs, raw.shape).reshape(shape)
        order = jnp.argsort(values, axis=-1)
        cumulative = jnp.cumsum(jnp.take_along_axis(weights, order, -1), -1)
        middles = (jnp.arange(self.outputs) + 0.5) / self.outputs
        index = (cumulative[..., None, :] < middles[:, None]).sum(-1).clip(max=values.shape[-1] - 1)
        return jnp.take_along_axis(jnp.take_along_axis(values, order, -1), index, -1)

    def targets(self, raw: jax.Array, next_raw: jax.Array, transitions: Transitions, lam: float) -> jax.Array:
        return quantile_lambda_returns(self.unit * next_raw, *transitions, lam)

    def loss(self, raw: jax.Array, targets: jax.Array) -> jax.Array:
        return quantile_huber_loss(raw, targets / self.unit)
