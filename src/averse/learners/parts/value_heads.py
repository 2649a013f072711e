"""What an agent predicts of the return of each action: its mean, or its distribution as C51 or as quantiles.

A head turns the network's raw outputs [..., n, outputs] into what the rest of the learner needs: a score per action
(a risk measure of the prediction), the prediction of a chosen action, lambda-return targets, and the loss.

Axes: T time, N atoms or quantiles, n actions; `...` batch axes.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from averse.risk import (
    CPW,
    Categorical,
    CVaR,
    Distribution,
    Expectation,
    Quantiles,
    RiskMeasure,
    VaR,
    Wang,
    WorstCase,
    categorical_lambda_returns,
    cross_entropy,
    lambda_returns,
    quantile_huber_loss,
    quantile_lambda_returns,
    shift_and_project,
)

LINEAR_IN_QUANTILES = (Expectation, CVaR, VaR, Wang, CPW, WorstCase)


def quantile_weights(measure: RiskMeasure, num_quantiles: int) -> jax.Array:
    """The weights [N] with measure(Z) = weights @ (the ascending quantiles of Z), for measures linear in them.

    The measure of the step that is 0 below the j-th quantile and 1 from it on is the sum of the weights from j on, so
    that the weights are its differences. They are the increments of the distortion and sum to one.
    """
    index = jnp.arange(num_quantiles)
    steps = (index[None, :] >= index[:, None]).astype(jnp.float32)
    tails = measure(Quantiles(steps))
    return tails - jnp.append(tails[1:], 0.0)


class Head(Protocol):
    """What a kind of prediction knows."""

    @property
    def outputs(self) -> int:
        """Raw outputs per action."""
        ...

    def scores(self, raw: jax.Array, measure: RiskMeasure) -> jax.Array:
        """The measure of each action's return [..., n], in reward units."""
        ...

    def chosen(self, raw: jax.Array, actions: jax.Array) -> jax.Array:
        """The prediction [..., N] for one action each; actions int [...]."""
        ...

    def mean(self, predicted: jax.Array) -> jax.Array:
        """The mean return [...] of predictions [..., N]."""
        ...

    def distribution(self, predicted: jax.Array) -> Distribution:
        """The distribution that predictions [..., N] stand for."""
        ...

    def targets(self, following: jax.Array, rewards, discounts, continues, lam: float) -> jax.Array:
        """Lambda-return targets [T, ..., N] from the predictions at the next states."""
        ...

    def loss(self, predicted: jax.Array, targets: jax.Array) -> jax.Array:
        """Loss [...] of each prediction."""
        ...


def _select(raw: jax.Array, actions: jax.Array) -> jax.Array:
    """raw [..., n, K] at actions [...]: a masked sum, as a gather's gradient is a scatter, which is slow on a CPU."""
    return (raw * jax.nn.one_hot(actions, raw.shape[-2])[..., None]).sum(-2)


class MeanHead(NamedTuple):
    """The mean alone. Knows no risk: scores are means whatever the measure."""

    scale: float  # reward units per unit of output
    outputs: int = 1

    def scores(self, raw: jax.Array, measure: RiskMeasure) -> jax.Array:
        return self.scale * raw[..., 0]

    def chosen(self, raw: jax.Array, actions: jax.Array) -> jax.Array:
        return self.scale * _select(raw, actions)

    def mean(self, predicted: jax.Array) -> jax.Array:
        return predicted[..., 0]

    def distribution(self, predicted: jax.Array) -> Distribution:
        return Quantiles(predicted)

    def targets(self, following: jax.Array, rewards, discounts, continues, lam: float) -> jax.Array:
        return lambda_returns(following[..., 0], rewards, discounts, continues, lam)[..., None]

    def loss(self, predicted: jax.Array, targets: jax.Array) -> jax.Array:
        return 0.5 * ((predicted - targets)[..., 0] / self.scale) ** 2


class CategoricalHead(NamedTuple):
    """C51 (Bellemare et al. 2017): log-probabilities of fixed atoms; predictions are logits."""

    support: jax.Array  # float32 [N], evenly spaced, reward units

    @property
    def outputs(self) -> int:
        return self.support.shape[0]

    def scores(self, raw: jax.Array, measure: RiskMeasure) -> jax.Array:
        return measure(Categorical.from_logits(self.support, raw))

    def chosen(self, raw: jax.Array, actions: jax.Array) -> jax.Array:
        return _select(raw, actions)

    def mean(self, predicted: jax.Array) -> jax.Array:
        return jax.nn.softmax(predicted) @ self.support

    def distribution(self, predicted: jax.Array) -> Distribution:
        return Categorical.from_logits(self.support, predicted)

    def targets(self, following: jax.Array, rewards, discounts, continues, lam: float) -> jax.Array:
        """Probabilities, not logits."""
        probs = jax.nn.softmax(following)
        if lam == 0.0:
            return shift_and_project(probs, rewards, discounts, self.support)
        return categorical_lambda_returns(probs, rewards, discounts, continues, lam, self.support)

    def loss(self, predicted: jax.Array, targets: jax.Array) -> jax.Array:
        return cross_entropy(predicted, targets)


class QuantileHead(NamedTuple):
    """QR (Dabney et al. 2018) with quantiles that cannot cross: raw outputs are the mean and N - 1 gaps.

    Ascending by construction (as in Zhou et al. 2020), predictions need no sorting: the i-th output is the quantile at
    level (2i + 1) / (2N), and a distortion measure is one weighted sum. A gap is a squareplus of its raw output, which
    is as smooth and as positive as a softplus and several times cheaper.
    """

    scale: float  # reward units per unit of output
    num_quantiles: int
    huber: float  # threshold of the Huber loss, in units of output

    @property
    def outputs(self) -> int:
        return self.num_quantiles

    def _offsets(self) -> jax.Array:
        """[N - 1, N]: what each unit gap adds to each quantile; rows sum to zero, so that the mean stays put."""
        index = jnp.arange(self.num_quantiles)
        above = (index[None, :] > index[:-1, None]).astype(jnp.float32)
        return (above - above.mean(-1, keepdims=True)) / self.num_quantiles

    def _parts(self, raw: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean [...] and gaps [..., N - 1] of raw outputs [..., N]."""
        gaps = 0.5 * (raw[..., 1:] + jnp.sqrt(jnp.square(raw[..., 1:]) + 1.0))
        return self.scale * raw[..., 0], self.scale * gaps

    def quantiles(self, raw: jax.Array) -> jax.Array:
        """Ascending quantiles [..., N] of raw outputs [..., N]."""
        mean, gaps = self._parts(raw)
        return mean[..., None] + gaps @ self._offsets()

    def average(self, raw: jax.Array) -> jax.Array:
        """The quantiles [..., N] of raw outputs [..., n, N], averaged over actions."""
        mean, gaps = self._parts(raw)
        return mean.mean(-1, keepdims=True) + gaps.mean(-2) @ self._offsets()

    def scores(self, raw: jax.Array, measure: RiskMeasure) -> jax.Array:
        if not isinstance(measure, LINEAR_IN_QUANTILES):
            return measure(Quantiles(self.quantiles(raw)))
        return self.weighted(raw, quantile_weights(measure, self.num_quantiles))

    def weighted(self, raw: jax.Array, weights: jax.Array) -> jax.Array:
        """weights @ quantiles [...] for weights [..., N] that sum to one, without forming the quantiles."""
        mean, gaps = self._parts(raw)
        return mean + (gaps * (weights @ self._offsets().T)).sum(-1)

    def chosen(self, raw: jax.Array, actions: jax.Array) -> jax.Array:
        return self.quantiles(_select(raw, actions))

    def mean(self, predicted: jax.Array) -> jax.Array:
        return predicted.mean(-1)

    def distribution(self, predicted: jax.Array) -> Distribution:
        return Quantiles(predicted)

    def targets(self, following: jax.Array, rewards, discounts, continues, lam: float) -> jax.Array:
        if lam == 0.0:
            return rewards[..., None] + discounts[..., None] * following
        return quantile_lambda_returns(following, rewards, discounts, continues, lam)

    def loss(self, predicted: jax.Array, targets: jax.Array) -> jax.Array:
        return quantile_huber_loss(predicted / self.scale, targets / self.scale, kappa=self.huber)
