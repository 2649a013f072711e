"""What a network predicts of the return: its mean, two moments, or its distribution; one set for all families.

A prediction kind turns a network's raw outputs into *predictions*, numbers that stand for the return in units of
reward, and knows everything about them: their mean, the distribution they stand for, lambda-return targets, the loss.
Actor-critic learners predict the return of a state, value-based ones that of each action.

Axes: T time, K raw outputs, N numbers of a prediction, n actions; `...` batch axes.
"""

from typing import Annotated, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le

from averse import risk
from averse.errors import AverseError
from averse.risk.broadcasting import lifted
from averse.settings import Number

PredictionName = Literal["scalar", "dual", "categorical", "quantile"]
NumAtoms = Annotated[int, Ge(2), Le(10_000)]
"""How many atoms or quantiles a prediction has."""
Support = tuple[Number, Number] | None
"""The lowest and the highest atom, in reward units."""

LINEAR_IN_QUANTILES = (risk.Expectation, risk.CVaR, risk.VaR, risk.Wang, risk.CPW, risk.WorstCase)
"""Measures that are a weighted sum of a distribution's ascending quantiles."""


class Transitions(NamedTuple):
    """What lambda-returns need of a trajectory, all float32 [T, ...]."""

    rewards: jax.Array  # in units of reward
    discounts: jax.Array  # gamma, or 0 where the episode ended
    continues: jax.Array  # 0 where the trajectory breaks after the step, by an end or a truncation, else 1


class Prediction(Protocol):
    """A kind of prediction. `raw` are network outputs [..., K], `predicted` predictions [..., N]."""

    @property
    def outputs(self) -> int:
        """K, outputs of the network per prediction."""
        ...

    @property
    def distributional(self) -> bool:
        """Whether the distribution of the return is learned, and not only some of its moments."""
        ...

    def decode(self, raw: jax.Array) -> jax.Array:
        """The predictions [..., N] that raw outputs stand for."""
        ...

    def mean(self, predicted: jax.Array) -> jax.Array:
        """Mean return [...]."""
        ...

    def distribution(self, predicted: jax.Array) -> risk.Distribution:
        """The distribution [...] that predictions stand for; of moments alone, the simplest one that has them."""
        ...

    def scores(self, raw: jax.Array, measure: risk.RiskMeasure) -> jax.Array:
        """The measure [...] of `distribution(decode(raw))`, where it can be had for less than forming that."""
        ...

    def mixture(self, weights: jax.Array, predicted: jax.Array) -> jax.Array:
        """The prediction [..., N] of a return drawn from those of n actions [..., n, N] with weights [..., n]."""
        ...

    def targets(self, predicted: jax.Array, following: jax.Array, transitions: Transitions, lam: float) -> jax.Array:
        """Lambda-return targets [T, ..., N] from the predictions [T, ..., N] at the states and at the true next ones.

        Categorical targets are probabilities, where predictions are logits.
        """
        ...

    def target_distribution(self, targets: jax.Array) -> risk.Distribution:
        """The distribution [...] that targets stand for."""
        ...

    def loss(self, predicted: jax.Array, targets: jax.Array) -> jax.Array:
        """Loss [...] of each prediction; the same for returns k times as large where `value_scale` is k times too."""
        ...


class Scalar(NamedTuple):
    """The mean return, by squared error on lambda-returns. Knows no risk: scores are means whatever the measure."""

    value_scale: float = 1.0  # reward units per unit of output
    outputs: int = 1  # K
    distributional: bool = False  # see `Prediction`

    def decode(self, raw: jax.Array) -> jax.Array:
        return self.value_scale * raw

    def mean(self, predicted: jax.Array) -> jax.Array:
        return predicted[..., 0]

    def distribution(self, predicted: jax.Array) -> risk.Quantiles:
        return risk.Quantiles(predicted)

    def scores(self, raw: jax.Array, measure: risk.RiskMeasure) -> jax.Array:
        return self.value_scale * raw[..., 0]

    def mixture(self, weights: jax.Array, predicted: jax.Array) -> jax.Array:
        return (weights[..., None] * predicted).sum(-2)

    def targets(self, predicted: jax.Array, following: jax.Array, transitions: Transitions, lam: float) -> jax.Array:
        return risk.lambda_returns(following[..., 0], *transitions, lam)[..., None]

    def target_distribution(self, targets: jax.Array) -> risk.Quantiles:
        return self.distribution(targets)

    def loss(self, predicted: jax.Array, targets: jax.Array) -> jax.Array:
        return 0.5 * ((predicted - targets)[..., 0] / self.value_scale) ** 2


class Dual(NamedTuple):
    """Mean and second moment of the return (Tamar et al. 2016), the latter as mean^2 + spread^2 >= mean^2.

    Predictions are [..., 2]. They stand for two points of equal probability with these moments.
    """

    width: float  # reward units; that of the possible returns, by which second moments are divided in the loss
    value_scale: float = 1.0  # reward units per unit of output
    outputs: int = 2  # K
    distributional: bool = False  # see `Prediction`

    def decode(self, raw: jax.Array) -> jax.Array:
        mean = self.value_scale * raw[..., 0]
        return jnp.stack([mean, self.value_scale**2 * (raw[..., 0] ** 2 + raw[..., 1] ** 2)], axis=-1)

    def mean(self, predicted: jax.Array) -> jax.Array:
        return predicted[..., 0]

    def second_moment(self, predicted: jax.Array) -> jax.Array:
        """E[Z^2], [...], in squared units of reward."""
        return predicted[..., 1]

    def distribution(self, predicted: jax.Array) -> risk.Quantiles:
        mean, moment = predicted[..., 0], predicted[..., 1]
        spread = jnp.sqrt(jnp.maximum(moment - mean**2, 0.0))
        return risk.Quantiles(jnp.stack([mean - spread, mean + spread], axis=-1))

    def scores(self, raw: jax.Array, measure: risk.RiskMeasure) -> jax.Array:
        return measure(self.distribution(self.decode(raw)))

    def mixture(self, weights: jax.Array, predicted: jax.Array) -> jax.Array:
        return (weights[..., None] * predicted).sum(-2)

    def targets(self, predicted: jax.Array, following: jax.Array, transitions: Transitions, lam: float) -> jax.Array:
        next_mean, next_moment = self.mean(following), self.second_moment(following)
        return jnp.stack(
            [
                risk.lambda_returns(next_mean, *transitions, lam),
                risk.second_moment_targets(next_mean, next_moment, *transitions, lam),
            ],
            axis=-1,
        )

    def target_distribution(self, targets: jax.Array) -> risk.Quantiles:
        return self.distribution(targets)

    def loss(self, predicted: jax.Array, targets: jax.Array) -> jax.Array:
        mean_error = (self.mean(predicted) - targets[..., 0]) / self.value_scale
        moment_error = (self.second_moment(predicted) - targets[..., 1]) / (self.value_scale * self.width)
        return 0.5 * mean_error**2 + 0.5 * moment_error**2


class Categorical(NamedTuple):
    """C51 (Bellemare et al. 2017): probabilities of fixed, evenly spaced atoms, by cross-entropy.

    Predictions are logits, targets are probabilities.
    """

    support: jax.Array  # float32 [N], ascending, reward units
    distributional: bool = True  # see `Prediction`

    @property
    def outputs(self) -> int:
        return self.support.shape[0]

    def decode(self, raw: jax.Array) -> jax.Array:
        return raw

    def mean(self, predicted: jax.Array) -> jax.Array:
        return jax.nn.softmax(predicted) @ self.support

    def distribution(self, predicted: jax.Array) -> risk.Categorical:
        return risk.Categorical.from_logits(self.support, predicted)

    def scores(self, raw: jax.Array, measure: risk.RiskMeasure) -> jax.Array:
        return measure(self.distribution(raw))

    def mixture(self, weights: jax.Array, predicted: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(jax.nn.log_softmax(predicted) + jnp.log(weights)[..., None], axis=-2)

    def targets(self, predicted: jax.Array, following: jax.Array, transitions: Transitions, lam: float) -> jax.Array:
        probs = jax.nn.softmax(following)
        if lam == 0.0:
            return risk.shift_and_project(probs, transitions.rewards, transitions.discounts, self.support)
        return risk.categorical_lambda_returns(probs, *transitions, lam, self.support)

    def target_distribution(self, targets: jax.Array) -> risk.Categorical:
        return risk.Categorical(self.support, targets)

    def loss(self, predicted: jax.Array, targets: jax.Array) -> jax.Array:
        return risk.cross_entropy(predicted, targets)

    def clamped_mass(self, following: jax.Array, transitions: Transitions) -> jax.Array:
        """The probability [T, ...] of one-step targets beyond the support, which tells of one that is too narrow."""
        return risk.clamped_mass(jax.nn.softmax(following), transitions.rewards, transitions.discounts, self.support)

    def support_variance(self, following: jax.Array, transitions: Transitions, std: float) -> jax.Array:
        """The variance [T, ...] that projection onto the support adds to the return of each step.

        It is what projection adds at this step and, discounted, at all later ones of the episode. Beyond the end of the
        batch, or of an episode that is cut, it is taken to go on as in this batch on average.

        Args:
          std: `risk.projection_std` of a return far from its end, which takes returns to fall anywhere between atoms.
        """
        probs = jax.nn.softmax(following)
        added = risk.projection_variance(probs, transitions.rewards, transitions.discounts, self.support)
        spacing = (self.support[-1] - self.support[0]) / (self.support.shape[0] - 1)
        beyond = jnp.full_like(added, std**2 * added.mean() / (spacing**2 / 6))
        return risk.lambda_returns(beyond, added, jnp.square(transitions.discounts), transitions.continues, 1.0)


class Quantile(NamedTuple):
    """QR (Dabney et al. 2018) with quantiles that cannot cross: raw outputs are the mean and N - 1 gaps.

    Ascending by construction (as in Zhou et al. 2020), predictions need no sorting: the i-th is the quantile at level
    (2i + 1) / (2N), and a distortion measure is one weighted sum. A gap is a squareplus of its raw output, which is as
    smooth and as positive as a softplus and several times cheaper.
    """

    num_atoms: int  # N
    value_scale: float = 1.0  # reward units per unit of output
    huber: float = 1.0  # threshold of the Huber loss, in units of output
    distributional: bool = True  # see `Prediction`

    @property
    def outputs(self) -> int:
        return self.num_atoms

    def _offsets(self) -> jax.Array:
        """[N - 1, N]: what each unit gap adds to each quantile; rows sum to zero, so that the mean stays put."""
        index = jnp.arange(self.num_atoms)
        above = (index[None, :] > index[:-1, None]).astype(jnp.float32)
        return (above - above.mean(-1, keepdims=True)) / self.num_atoms

    def _parts(self, raw: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean [...] and gaps [..., N - 1] of raw outputs [..., N]."""
        gaps = 0.5 * (raw[..., 1:] + jnp.sqrt(jnp.square(raw[..., 1:]) + 1.0))
        return self.value_scale * raw[..., 0], self.value_scale * gaps

    def decode(self, raw: jax.Array) -> jax.Array:
        """Ascending quantiles [..., N]."""
        mean, gaps = self._parts(raw)
        return mean[..., None] + gaps @ self._offsets()

    def average(self, raw: jax.Array) -> jax.Array:
        """The quantiles [..., N] of raw outputs [..., n, N], averaged over actions."""
        mean, gaps = self._parts(raw)
        return mean.mean(-1, keepdims=True) + gaps.mean(-2) @ self._offsets()

    def mean(self, predicted: jax.Array) -> jax.Array:
        return predicted.mean(-1)

    def distribution(self, predicted: jax.Array) -> risk.Quantiles:
        return risk.Quantiles(predicted)

    def scores(self, raw: jax.Array, measure: risk.RiskMeasure) -> jax.Array:
        if not isinstance(measure, LINEAR_IN_QUANTILES):
            return measure(self.distribution(self.decode(raw)))
        return self.weighted(raw, quantile_weights(measure, self.num_atoms))

    def weighted(self, raw: jax.Array, weights: jax.Array) -> jax.Array:
        """weights @ quantiles [...] for weights [..., N] that sum to one, without forming the quantiles."""
        mean, gaps = self._parts(raw)
        slopes = jnp.broadcast_to(weights @ self._offsets().T, gaps.shape)
        return mean + (gaps * slopes).sum(-1)

    def mixture(self, weights: jax.Array, predicted: jax.Array) -> jax.Array:
        """Quantiles [..., N], at the middles of N equal shares, of the mixture of n sets of quantiles [..., n, N]."""
        shape = (*predicted.shape[:-2], -1)
        values = predicted.reshape(shape)
        shares = jnp.broadcast_to(weights[..., None] / self.num_atoms, predicted.shape).reshape(shape)
        order = jnp.argsort(values, axis=-1)
        cumulative = jnp.cumsum(jnp.take_along_axis(shares, order, -1), -1)
        middles = (jnp.arange(self.num_atoms, dtype=cumulative.dtype) + 0.5) / self.num_atoms
        below = cumulative[..., None, :] < lifted(middles, cumulative.ndim - 1)[..., None]
        index = below.sum(-1).clip(max=values.shape[-1] - 1)
        return jnp.take_along_axis(jnp.take_along_axis(values, order, -1), index, -1)

    def targets(self, predicted: jax.Array, following: jax.Array, transitions: Transitions, lam: float) -> jax.Array:
        if lam == 0.0:
            return transitions.rewards[..., None] + transitions.discounts[..., None] * following
        return risk.quantile_lambda_returns(following, *transitions, lam)

    def target_distribution(self, targets: jax.Array) -> risk.Quantiles:
        return self.distribution(targets)

    def loss(self, predicted: jax.Array, targets: jax.Array) -> jax.Array:
        return risk.quantile_huber_loss(predicted / self.value_scale, targets / self.value_scale, kappa=self.huber)


def require_ascending(support: Support) -> None:
    """Raise AverseError for a support that is not (lowest, highest)."""
    if support is not None and not support[0] < support[1]:
        raise AverseError(f"support must be (lowest, highest) with lowest < highest, not {support}")


BOUNDED: tuple[PredictionName, ...] = ("dual", "categorical")
"""Kinds of predictions that the lowest and the highest return shape."""


def prediction(
    kind: PredictionName, bounds: tuple[float, float] | None, *, num_atoms: int, value_scale: float, huber: float = 1.0
) -> Prediction:
    """The prediction kind of a configuration.

    Args:
      bounds: lowest and highest return in reward units: the ends of a categorical support, the width for `dual`; not
        looked at by kinds that are not `BOUNDED`.
      num_atoms: atoms or quantiles, where there are some.
      value_scale: size of a typical return in reward units, in which all but categorical ones predict.
      huber: threshold of the quantile loss, in units of `value_scale`; 0 learns quantiles exactly.
    """
    low, high = bounds or (0.0, 0.0)
    match kind:
        case "scalar":
            return Scalar(value_scale)
        case "dual":
            return Dual(high - low, value_scale)
        case "categorical":
            return Categorical(jnp.linspace(low, high, num_atoms))
        case "quantile":
            return Quantile(num_atoms, value_scale, huber)


def support_metrics(
    prediction: Prediction,
    measure: risk.RiskMeasure,
    following: jax.Array,
    transitions: Transitions,
    support_std: float,
) -> dict[str, jax.Array]:
    """What a fixed support does to the returns, each [T, ...]; nothing where there is none.

    `clamped_mass` is the probability that it clamps, `support_std` the width that it adds, and `support_premium` what
    an entropic measure charges for that width, both in reward units.

    Args:
      following: predictions [T, ..., N] at the true next states.
      support_std: what projection adds to a return far from its end, in reward units.
    """
    if not isinstance(prediction, Categorical):
        return {}
    variance = prediction.support_variance(following, transitions, support_std)
    metrics = {"clamped_mass": prediction.clamped_mass(following, transitions), "support_std": jnp.sqrt(variance)}
    if isinstance(measure, risk.Entropic):
        metrics["support_premium"] = variance / (2 * measure.tau)
    return metrics


def support_std(bounds: tuple[float, float], num_atoms: int, gamma: float, steps: float) -> float:
    """The standard deviation that atoms from bound to bound add to a return `steps` before its end, in reward units."""
    low, high = bounds
    with jax.ensure_compile_time_eval():  # a number, whatever is being traced
        return float(risk.projection_std((high - low) / (num_atoms - 1), gamma, steps))


def select(raw: jax.Array, actions: jax.Array) -> jax.Array:
    """raw [..., n, K] at actions int [...], as [..., K].

    A masked sum, as a gather's gradient is a scatter, which is slow on a CPU.
    """
    return (raw * jax.nn.one_hot(actions, raw.shape[-2])[..., None]).sum(-2)


def quantile_weights(measure: risk.RiskMeasure, num_atoms: int) -> jax.Array:
    """The weights [N] with measure(Z) = weights @ (the ascending quantiles of Z), for measures linear in them.

    The measure of the step that is 0 below the j-th quantile and 1 from it on is the sum of the weights from j on, so
    that the weights are its differences. They are the increments of the distortion and sum to one.
    """
    index = jnp.arange(num_atoms)
    steps = (index[None, :] >= index[:, None]).astype(jnp.float32)
    tails = measure(risk.Quantiles(steps))
    return tails - jnp.append(tails[1:], 0.0)
