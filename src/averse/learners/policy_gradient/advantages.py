"""From a critic's predictions to advantages and targets: the estimators of `averse.risk` at work on a trajectory."""

from typing import NamedTuple, cast

import jax

from averse import risk
from averse.learners.contract import Metrics
from averse.learners.parts.predictions import Dual, Prediction, Transitions, support_metrics


class Estimates(NamedTuple):
    """What one update learns from, leading axes [T, B, A]."""

    advantages: jax.Array  # in reward units
    targets: jax.Array  # of the critic, [T, B, A, N]
    metrics: Metrics  # per sample; the update reports their means


def estimate_advantages(
    name: str,
    prediction: Prediction,
    measure: risk.RiskMeasure,
    raw: jax.Array,
    next_raw: jax.Array,
    transitions: Transitions,
    lam: float,
    *,
    exponent_clip: float,
    support_std: float,
    actions: jax.Array,
    mixtures: tuple[jax.Array, jax.Array] | None,
) -> Estimates:
    """Advantages and critic targets of a trajectory.

    Args:
      name: gae, risk-value, entropic, action-value, influence or mean-variance.
      raw, next_raw: critic outputs at the states and at the true next states, [T, B, A, K]; with `action-value`
        [T, B, A, n, K].
      support_std: what projection onto a fixed support adds to a return far from its end, in reward units.
      mixtures: with `action-value`, the policy's probabilities at both, [T, B, A, n] each.
    """
    predicted, following = prediction.decode(raw), prediction.decode(next_raw)
    if name == "action-value":
        assert mixtures is not None
        predicted, following = (prediction.mixture(*pair) for pair in zip(mixtures, (predicted, following)))
    targets = prediction.targets(predicted, following, transitions, lam)
    metrics = support_metrics(prediction, measure, following, transitions, support_std)
    if name == "action-value":
        # Risk over the world and the others, not over one's own mixing.
        assert mixtures is not None
        per_action = prediction.scores(raw, measure)
        advantages = risk.action_value(per_action, mixtures[0], actions)
        return Estimates(advantages, targets, metrics | {"value": (mixtures[0] * per_action).sum(-1)})
    if name == "mean-variance":
        advantages = _mean_variance(cast(Dual, prediction), measure, predicted, following, transitions, lam)
        return Estimates(advantages, targets, {"value": prediction.mean(predicted)})
    if name == "gae":
        values, next_values = prediction.mean(predicted), prediction.mean(following)
        return Estimates(risk.gae(values, next_values, *transitions, lam), targets, {"value": values})
    values = prediction.scores(raw, measure)
    metrics["value"] = values
    if name == "influence":
        before, after = prediction.distribution(predicted), prediction.target_distribution(targets)
        return Estimates(risk.influence_advantage(measure, before, after), targets, metrics)
    next_values = prediction.scores(next_raw, measure)
    if name == "entropic":
        advantages, clipped = risk.entropic(
            values, next_values, *transitions, lam, cast(risk.Entropic, measure).tau, exponent_clip
        )
        metrics["exponent_clip_fraction"] = clipped
        metrics["exponential_error"] = risk.exponential_errors(
            values,
            next_values,
            transitions.rewards,
            transitions.discounts,
            cast(risk.Entropic, measure).tau,
            exponent_clip,
        )
        return Estimates(advantages, targets, metrics)
    return Estimates(risk.gae(values, next_values, *transitions, lam), targets, metrics)


def _mean_variance(
    prediction: Dual,
    measure: risk.RiskMeasure,
    predicted: jax.Array,
    following: jax.Array,
    transitions: Transitions,
    lam: float,
) -> jax.Array:
    return risk.mean_variance_advantage(
        prediction.mean(predicted),
        prediction.mean(following),
        prediction.second_moment(predicted),
        prediction.second_moment(following),
        *transitions,
        lam,
        cast(risk.MeanVariance, measure).weight,
    )
