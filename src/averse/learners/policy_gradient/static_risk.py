"""MAPPO on the risk of whole episodes: each step is paid by what it does to the episode's influence on the measure.

The gradient of a risk measure of the episode's return G is that of E[I(G)], where I(z) is the influence function of
the measure at the present distribution of G: what an episode of return z adds to it. So to first order the measure is
improved by an ordinary learner whose steps are paid I(G after the step) - I(G before it), which adds up to I(G). Where
the state holds G so far and the time left this is an ordinary Markov decision problem (`environments.budget`).

Of an optimised certainty equivalent, max over C of C + E[u(G - C)], the influence is u(G - C) up to a constant, with
the best C for the present policy (the reduction of arXiv 2403.06323). So

- cvar: min(G - C, 0) / alpha with C the alpha-quantile of G. With alpha for a factor this is return capping (Mead et
  al. 2025, arXiv 2504.20887): the return counts up to the cap C.
- entropic: tau (1 - exp(-(G - C)/tau)) with C the entropic measure of G.
- mean-variance: (G - C) - weight (G - C)^2 with C the mean.

and any other measure with an influence function, of which the one that is registered is used.

Axes: T time, B environments, A agents, K returns that are told apart (A, or 1 of a team), M remembered episodes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from averse.environments.budget import is_budgeted, returns_so_far
from averse.environments.protocol import Description
from averse.errors import AverseError
from averse.learners.contract import Learner, Metrics, Trajectory
from averse.learners.parts.updates import linear_schedule
from averse.learners.policy_gradient.config import StaticRiskConfig
from averse.learners.policy_gradient.mappo import MAPPOState, mappo
from averse.risk import CVaR, Entropic, RiskMeasure, Samples


class Remembered(NamedTuple):
    """The returns of the latest episodes, a ring."""

    returns: jax.Array  # float32 [K, M]
    added: jax.Array  # int32 [], how many were ever put in; where that is large, what is left of it

    @classmethod
    def none(cls, kinds: int, size: int) -> "Remembered":
        return cls(jnp.zeros((kinds, size), jnp.float32), jnp.int32(0))

    def with_ended(self, returns: jax.Array, ended: jax.Array) -> "Remembered":
        """With the returns [N, K] of those episodes that have ended, bool [N], in the place of the oldest."""
        size = self.returns.shape[-1]
        rank = jnp.cumsum(ended) - 1  # among those that ended
        kept = ended & (rank >= ended.sum() - size)
        place = jnp.where(kept, (self.added + rank) % size, size)  # nowhere, for the others
        filled = self.returns.at[:, place].set(returns.T, mode="drop")
        # So large counts mean nothing but that the ring is full.
        count = self.added + ended.sum()
        return Remembered(filled, jnp.where(count >= 2 * size, size + count % size, count))

    def distribution(self, floor: float | None) -> Samples:
        """Of the returns, [K]; any where there are none yet."""
        there = jnp.arange(self.returns.shape[-1]) < jnp.maximum(self.added, 1)
        raised = self.returns if floor is None else jnp.maximum(self.returns, floor)
        return Samples(raised, jnp.broadcast_to(there.astype(jnp.float32), raised.shape))


class StaticRiskState(NamedTuple):
    """Everything that training changes or sweeps over."""

    mappo: MAPPOState
    remembered: Remembered


def static_risk_mappo(config: StaticRiskConfig, environment: Description, total_updates: int) -> Learner:
    """Build the learner for an environment's sizes.

    Args:
      total_updates: what the schedules are stretched over.

    Raises AverseError for a world without a budget, and for settings that do not fit it.
    """
    if not is_budgeted(environment):
        raise AverseError(
            f"the risk of whole episodes needs the return so far in what is seen: --env budget:{environment.name}"
        )
    inner = mappo(config, environment, total_updates)
    world: Any = environment
    kinds = environment.num_agents if world.budget == "own" else 1

    def init(key: jax.Array, **swept: jax.Array) -> StaticRiskState:
        return StaticRiskState(inner.init(key, **swept), Remembered.none(kinds, config.remembered_episodes))

    def update(state: StaticRiskState, trajectory: Trajectory) -> tuple[StaticRiskState, Metrics]:
        after = returns_so_far(world, trajectory.next_observations)
        done = trajectory.terminated.all(-1) | trajectory.truncated
        remembered = state.remembered.with_ended(after[..., :kinds].reshape(-1, kinds), done.reshape(-1))
        fraction = linear_schedule(state.mappo.updates / total_updates, 0.0, 1.0, config.risk_warmup)
        measure = state.mappo.measure.relaxed(fraction)
        distribution = remembered.distribution(config.cap_floor)
        before = returns_so_far(world, trajectory.observations)
        paid = worth(measure, distribution, after, config.exponent_clip) - worth(
            measure, distribution, before, config.exponent_clip
        )
        learned, metrics = inner.update(state.mappo, trajectory._replace(rewards=paid))
        metrics |= {"measured_return": jnp.where(remembered.added > 0, measure(distribution).mean(), 0.0)}
        if isinstance(measure, CVaR):
            metrics["cap"] = distribution.quantile(measure.alpha).mean()
        return StaticRiskState(learned, remembered), metrics

    return inner._replace(
        init=init,
        update=update,
        act=lambda state, *arguments, **options: inner.act(state.mappo, *arguments, **options),
        predict_returns=None,  # its critic predicts what steps are paid
        action_probabilities=inner.action_probabilities
        and (lambda state, *arguments, **options: inner.action_probabilities(state.mappo, *arguments, **options)),  # type: ignore[misc]
        portable=inner.portable and (lambda state: inner.portable(state.mappo)),  # type: ignore[misc]
    )


def worth(measure: RiskMeasure, distribution: Samples, returns: jax.Array, exponent_clip: float) -> jax.Array:
    """What returns [..., A] are worth to the measure of the distribution [K], K = 1 or A: their influence, [..., A].

    In reward units such that a return which matters counts once: a cvar's is multiplied by alpha. Losses that would
    count more than exp(exponent_clip) times as much under an entropic measure are held at that.
    """
    columns = returns.reshape(-1, returns.shape[-1]).T  # [A, N]: the points of each distribution
    if isinstance(measure, Entropic):
        lowest = measure(distribution) - exponent_clip * measure.tau
        columns = jnp.maximum(columns, jnp.where(jnp.isfinite(lowest), lowest, -jnp.inf)[:, None])
    influence = measure.derivative(distribution, columns)
    influence = influence * measure.alpha if isinstance(measure, CVaR) else influence
    return jnp.broadcast_to(influence, columns.shape).T.reshape(returns.shape)
