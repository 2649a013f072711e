"""RMIX (Qiu et al. 2021): agents predict distributions, and a mixer makes the team's value of their utilities.

An agent's utility is a CVaR of its predicted return, whose level a predictor chooses at each step (`risk_level`), or a
fixed one. The team's value, a number, learns by temporal differences; beside it every agent's distribution is regressed
on the return of the team's reward.

Axes: T time, E sequences, A agents, N quantiles.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from averse.environments.protocol import Description
from averse.errors import AverseError
from averse.learners.contract import Learner, Metrics
from averse.learners.parts.networks import Memory, Params
from averse.learners.parts.predictions import Quantile, Scalar, Transitions, quantile_weights
from averse.learners.parts.replay import Sequences, continues, usable
from averse.learners.parts.updates import weighted_mean
from averse.learners.value_based.config import RMIXConfig
from averse.learners.value_based.learner import ValueBased, ValueBasedState, View, make_mixer
from averse.learners.value_based.risk_level import (
    RiskLevelPredictor,
    expected_level,
    level_weights,
    risk_level_predictor,
)
from averse.risk import CVaR, RiskMeasure


class Caution(NamedTuple):
    """How averse the agents are at each step; what RMIX adds to a `View`."""

    weights: jax.Array  # [T, E, A, N], of the quantiles in the utility
    level: jax.Array  # [T, E, A], mean CVaR level


def rmix(config: RMIXConfig, environment: Description, total_updates: int) -> Learner:
    """Build the learner for an environment's sizes; `total_updates` is what the schedules are stretched over.

    Raises AverseError for actions that are not discrete.
    """
    return RMIX.of(config, environment, total_updates).learner()


@dataclass(frozen=True, eq=False)
class RMIX(ValueBased):
    """A value-based learner whose agents choose by CVaRs of changing level."""

    config: RMIXConfig
    prediction: Quantile
    predictor: RiskLevelPredictor | None  # None where the level is fixed

    @classmethod
    def of(cls, config: RMIXConfig, environment: Description, total_updates: int) -> "RMIX":  # type: ignore[override]
        general = ValueBased.of(config, environment, total_updates)
        predictor = None
        if config.fixed_alpha is None:
            predictor = risk_level_predictor(config.num_atoms, config.risk_levels, config.hidden[-1])
        own = {
            # The team's value is a number, though its agents predict distributions.
            "total": Scalar(config.value_scale),
            # The agents each regress their distribution on the whole team's reward: their mean is then the team's.
            "mixer": make_mixer(config, environment, slope=1.0 / environment.num_agents),
            "measure": general.measure if config.fixed_alpha is None else CVaR(config.fixed_alpha),
            "predictor": predictor,
        }
        return cls(**{**vars(general), **own})

    @property
    def sweepable(self) -> frozenset[str]:
        return frozenset({"learning_rate"})

    def init_networks(self, agents_key: jax.Array, mixer_key: jax.Array, own_key: jax.Array) -> Params:
        params = super().init_networks(agents_key, mixer_key, own_key)
        return params if self.predictor is None else params | {"predictor": self.predictor.init(own_key)}

    def view(self, params: Params, measure: RiskMeasure, outputs: jax.Array, memory: Memory, first: jax.Array) -> View:
        raw = self.per_action(outputs)
        if self.predictor is None:
            weights = quantile_weights(measure, self.config.num_atoms)
            weights = jnp.broadcast_to(weights, (*raw.shape[:-2], self.config.num_atoms))
            caution = Caution(weights, jnp.full(raw.shape[:-2], cast(CVaR, measure).alpha))
        else:
            caution = self.chosen_caution(params, raw, memory, first)
        return View(raw, self.prediction.weighted(raw, caution.weights[..., None, :]), caution)

    def acting_measure(self, state: ValueBasedState) -> RiskMeasure:
        if self.predictor is not None:
            raise AverseError(
                "rmix chooses its CVaR level anew at each step, which cannot be exported; fixed_alpha can"
            )
        return state.measure

    def chosen_caution(self, params: Params, raw: jax.Array, memory: jax.Array, first: jax.Array) -> Caution:
        """The predictor's choice, from what is predicted now and what was predicted one step before."""
        assert self.predictor is not None
        current = self.prediction.average(raw)

        def average_at(memory: jax.Array) -> jax.Array:
            # What was predicted one step ago is a function of the memory of one step ago.
            return self.prediction.average(self.per_action(self.network.recall(params["agents"], memory)))

        before = average_at(jnp.where(first[0][:, None, None], 0.0, memory))
        past = jnp.concatenate([before[None], current[:-1]])
        past = jnp.where(first[..., None, None], average_at(jnp.zeros_like(memory)), past)
        probabilities = self.predictor.probabilities(params["predictor"], current, past)
        weights = probabilities @ level_weights(self.config.risk_levels, self.config.num_atoms)
        return Caution(weights, expected_level(probabilities))

    def loss(self, params: Params, target: Params, measure: RiskMeasure, batch: Sequences) -> tuple[jax.Array, Metrics]:
        """The team's temporal difference and the agents' quantile regression."""
        seen = self.compare(params, target, measure, batch)
        weights, next_weights = seen.now.risk.weights[:-1], seen.then.risk.weights[1:]
        utilities = (seen.predicted * weights).sum(-1, keepdims=True)
        following = (seen.following * next_weights).sum(-1, keepdims=True)
        errors = self.team_errors(params, target, batch, utilities, following)
        losses = errors.losses
        if self.predictor is not None:
            lag = jax.lax.stop_gradient(weighted_mean((errors.value - errors.targets)[..., 0], errors.weight))
            losses += self.level_correction(params["mixer"], seen.predicted, weights, batch, lag)
        regression = self.distribution_loss(batch, seen.predicted, following)
        total = weighted_mean(losses, errors.weight) + self.config.quantile_weight * regression
        level = weighted_mean(seen.now.risk.level[:-1], batch.active)
        return total, {"loss": total, **self.figures(errors), "risk_level": level}

    def level_correction(
        self, mixer: Params, quantiles: jax.Array, weights: jax.Array, batch: Sequences, lag: jax.Array
    ) -> jax.Array:
        """[T, E] zeros, whose gradient takes the batch's mean error `lag` out of what the level learns from.

        While values as a whole still fall (or rise) towards what they will be, the level would run to its end after
        them, where every utility is lower (or higher): it is to tell steps apart. At the end of learning lag is 0.
        """
        mixer, quantiles = jax.lax.stop_gradient((mixer, quantiles))
        utilities = jnp.where(batch.active[..., None], (quantiles * weights).sum(-1, keepdims=True), 0.0)
        by_level = self.mixed(mixer, utilities, batch.global_state[:-1])[..., 0]
        return -lag / self.config.value_scale**2 * (by_level - jax.lax.stop_gradient(by_level))

    def distribution_loss(self, batch: Sequences, predicted: jax.Array, utility: jax.Array) -> jax.Array:
        """Quantile regression of each agent's return on the lambda-return of the team's reward and its next utility.

        A mean over quantiles, so that `quantile_weight` weighs it against the one error of the team's value; and as far
        ahead as that one. Summed, and one step ahead, it holds the agents to what they predicted a moment ago, and
        little is learned from the team.
        """
        transitions = Transitions(
            jnp.broadcast_to(batch.rewards.mean(-1, keepdims=True), batch.rewards.shape),
            self.config.gamma * (1.0 - batch.terminated.astype(jnp.float32)),
            continues(batch).astype(jnp.float32),
        )
        targets = jax.lax.stop_gradient(self.total.targets(utility, utility, transitions, self.config.lam))
        losses = self.prediction.loss(predicted, targets) / self.config.num_atoms
        return weighted_mean(losses, (batch.active & usable(batch)[..., None]).astype(jnp.float32))
