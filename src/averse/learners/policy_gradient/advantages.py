"""From a critic's predictions to advantages and targets: the estimators of `averse.risk` at work on a trajectory."""

from typing import NamedTuple, cast

import jax

from averse import risk
from averse.learners.parts.critics import CategoricalCritic, Critic, DistributionalCritic, DualCritic, Transitions


class Estimates(NamedTuple):
    """What one update learns from, leading axes [T, B, A]."""

    advantages: jax.Array  # in reward units
    targets: jax.Array  # of the critic
    metrics: dict[str, jax.Array]  # per sample; the update reports their means


def estimate_advantages(
    name: str,
    critic: Critic,
    measure: risk.RiskMeasure,
    raw: jax.Array,
    next_raw: jax.Array,
    transitions: Transitions,
    lam: float,
    exponent_clip: float,
    actions: jax.Array,
    mixtures: tuple[jax.Array, jax.Array] | None,
) -> Estimates:
    """Advantages and critic targets of a trajectory.

    Args:
      name: gae, risk-value, entropic, action-value, influence or mean-variance.
      raw, next_raw: critic outputs at the states and at the true next states, [T, B, A, outputs]; with `action-value`
        [T, B, A, n, outputs].
      mixtures: with `action-value`, the policy's probabilities at both, [T, B, A, n] each.
    """
    if name == "action-value":
        assert mixtures is not None
        return _action_value(
            cast(DistributionalCritic, critic), measure, raw, next_raw, transitions, lam, actions, *mixtures
        )
    targets = critic.targets(raw, next_raw, transitions, lam)
    if name == "mean-variance":
        return _mean_variance(cast(DualCritic, critic), measure, raw, next_raw, transitions, lam, targets)
    if name == "gae":
        values, next_values = critic.mean(raw), critic.mean(next_raw)
        return Estimates(risk.gae(values, next_values, *transitions, lam), targets, {"value": values})
    distributional = cast(DistributionalCritic, critic)
    before, after = distributional.distribution(raw), distributional.distribution(next_raw)
    metrics = _support_metrics(critic, next_raw, transitions)
    if name == "influence":
        advantages = risk.influence_advantage(measure, before, distributional.target_distribution(targets))
        return Estimates(advantages, targets, metrics | {"value": measure(before)})
    values, next_values = measure(before), measure(after)
    metrics["value"] = values
    if name == "entropic":
        advantages, clipped = risk.entropic(
            values, next_values, *transitions, lam, cast(risk.Entropic, measure).tau, exponent_clip
        )
        return Estimates(advantages, targets, metrics | {"exponent_clip_fraction": clipped})
    return Estimates(risk.gae(values, next_values, *transitions, lam), targets, metrics)


def _action_value(critic, measure, raw, next_raw, transitions, lam, actions, mixture, next_mixture) -> Estimates:
    """A = rho(Z(s, a)) - sum_a pi(a|s) rho(Z(s, a)): risk over the world and the others, not over one's own mixing."""
    next_mixed = critic.raw_of(next_mixture, next_raw)
    targets = critic.targets(critic.raw_of(mixture, raw), next_mixed, transitions, lam)
    per_action = measure(critic.distribution(raw))
    advantages = risk.action_value(per_action, mixture, actions)
    metrics = _support_metrics(critic, next_mixed, transitions)
    return Estimates(advantages, targets, metrics | {"value": (mixture * per_action).sum(-1)})


def _mean_variance(critic: DualCritic, measure, raw, next_raw, transitions, lam, targets) -> Estimates:
    advantages = risk.mean_variance_advantage(
        critic.mean(raw),
        critic.mean(next_raw),
        critic.second_moment(raw),
        critic.second_moment(next_raw),
        transitions.rewards,
        transitions.discounts,
        transitions.continues,
        lam,
        measure.weight,
    )
    return Estimates(advantages, targets, {"value": critic.mean(raw)})


def _support_metrics(critic: Critic, next_raw: jax.Array, transitions: Transitions) -> dict[str, jax.Array]:
    """The probability that the projection clamps, which tells of a support that is too narrow."""
    if not isinstance(critic, CategoricalCritic):
        return {}
    probs = jax.nn.softmax(next_raw)
    return {"clamped_mass": risk.clamped_mass(probs, transitions.rewards, transitions.discounts, critic.support)}
