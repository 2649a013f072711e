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

Instead of paying, `episode-influence` predicts: a distributional critic knows the rest of the return, and a step's
advantage is the mean influence of earned + rest over its target, less that over what was expected
(`averse.risk.episode_influence_advantage`). The critic then needs to learn nothing anew where the measure moves.

Axes: T time, B environments, A agents, K returns that are told apart (A, or 1 of a team), M remembered episodes.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from averse.environments.budget import is_budgeted, returns_so_far
from averse.environments.protocol import Description
from averse.errors import AverseError
from averse.learners.contract import Learner, Metrics, Trajectory
from averse.learners.parts.predictions import support_metrics
from averse.learners.parts.updates import linear_schedule
from averse.learners.policy_gradient.advantages import Estimates
from averse.learners.policy_gradient.config import StaticRiskConfig
from averse.learners.policy_gradient.mappo import MAPPO, MAPPOState, mappo, transitions_of
from averse.risk import CVaR, Distribution, Entropic, RiskMeasure, Samples


class Remembered(NamedTuple):
    """The returns of the latest episodes, a ring."""

    returns: jax.Array  # float32 [K, M]
    weights: jax.Array  # float32 [M], how much each counts
    added: jax.Array  # int32 [], how many were ever put in; where that is large, what is left of it

    @classmethod
    def none(cls, kinds: int, size: int) -> "Remembered":
        return cls(jnp.zeros((kinds, size), jnp.float32), jnp.zeros(size, jnp.float32), jnp.int32(0))

    def with_ended(self, returns: jax.Array, ended: jax.Array, weights: jax.Array) -> "Remembered":
        """With the returns [N, K] and weights [N] of episodes that have ended, bool [N], in the place of the oldest."""
        size = self.returns.shape[-1]
        rank = jnp.cumsum(ended) - 1  # among those that ended
        kept = ended & (rank >= ended.sum() - size)
        place = jnp.where(kept, (self.added + rank) % size, size)  # nowhere, for the others
        filled = self.returns.at[:, place].set(returns.T, mode="drop")
        counted = self.weights.at[place].set(weights, mode="drop")
        # So large counts mean nothing but that the ring is full.
        count = self.added + ended.sum()
        return Remembered(filled, counted, jnp.where(count >= 2 * size, size + count % size, count))

    def distribution(self, floor: float | None) -> Samples:
        """Of the returns, [K]; any where there are none yet."""
        there = jnp.where(self.added > 0, self.weights, jnp.zeros_like(self.weights).at[0].set(1.0))
        raised = self.returns if floor is None else jnp.maximum(self.returns, floor)
        return Samples(raised, jnp.broadcast_to(there, raised.shape))


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
    predicts = config.advantage == "episode-influence"
    inner = mappo(config, environment, total_updates, WholeEpisodes if predicts else None)
    world: Any = environment
    kinds = environment.num_agents if world.budget == "own" else 1

    def init(key: jax.Array, **swept: jax.Array) -> StaticRiskState:
        return StaticRiskState(inner.init(key, **swept), Remembered.none(kinds, config.remembered_episodes))

    def update(state: StaticRiskState, trajectory: Trajectory) -> tuple[StaticRiskState, Metrics]:
        after = returns_so_far(world, trajectory.next_observations)
        done = trajectory.terminated.all(-1) | trajectory.truncated
        weights = jnp.ones(done.shape) if trajectory.weights is None else trajectory.weights
        returns = after[..., :kinds].reshape(-1, kinds)
        remembered = state.remembered.with_ended(returns, done.reshape(-1), weights.reshape(-1))
        fraction = linear_schedule(state.mappo.updates / total_updates, 0.0, 1.0, config.risk_warmup)
        measure = state.mappo.measure.relaxed(fraction)
        distribution = remembered.distribution(config.cap_floor)
        before = returns_so_far(world, trajectory.observations)
        if predicts:
            known = {**trajectory.extras, "earned": before, "episodes": distribution}
            judged = trajectory._replace(rewards=after - before, extras=known)
        else:
            later, earlier = (worth(measure, distribution, each, config.exponent_clip) for each in (after, before))
            judged = trajectory._replace(rewards=later - earlier)
        learned, metrics = inner.update(state.mappo, judged)
        metrics |= {"measured_return": jnp.where(remembered.added > 0, measure(distribution).mean(), 0.0)}
        if isinstance(measure, CVaR):
            metrics["cap"] = distribution.quantile(measure.alpha).mean()
        return StaticRiskState(learned, remembered), metrics

    def predict_returns(state: StaticRiskState, *arguments, **options):
        return cast(Any, inner.predict_returns)(state.mappo, *arguments, **options)

    return inner._replace(
        init=init,
        update=update,
        act=lambda state, *arguments, **options: inner.act(state.mappo, *arguments, **options),
        # A critic that predicts what steps are paid, or the team's return, tells nothing of an agent's return.
        predict_returns=predict_returns if predicts and world.budget == "own" and inner.predict_returns else None,
        action_probabilities=inner.action_probabilities
        and (lambda state, *arguments, **options: inner.action_probabilities(state.mappo, *arguments, **options)),  # type: ignore[misc]
        portable=inner.portable and (lambda state: inner.portable(state.mappo)),  # type: ignore[misc]
    )


class WholeEpisodes(MAPPO):
    """MAPPO whose advantages are those of whole episodes, from a critic of the rest of the return.

    The trajectory's `extras` hold `earned` [T, B, A], and `episodes`, the distribution [K] of the returns of episodes.
    """

    def estimates(self, state: MAPPOState, trajectory: Trajectory, measure: RiskMeasure) -> Estimates:
        """Advantages under the measure and the critic's targets, [T, B, A]."""
        config, kind, critic = self.config, self.prediction, state.networks["critic"]
        led_to = (trajectory.next_observations, trajectory.next_global_state, trajectory.extras["memory"])
        seen = (trajectory.observations, trajectory.global_state, trajectory.memory)
        predicted, following = (kind.decode(self.step_by_step(critic, *where)) for where in (seen, led_to))
        transitions = transitions_of(trajectory, config.gamma, config.shaping)
        targets = kind.targets(predicted, following, transitions, config.lam)
        before, after = kind.distribution(predicted), kind.target_distribution(targets)
        extras = trajectory.extras
        advantages = episode_advantages(
            measure, extras["episodes"], before, after, extras["earned"], config.exponent_clip
        )
        metrics = support_metrics(kind, measure, following, transitions, self.support_std)
        return Estimates(advantages, targets, metrics | {"value": before.mean()})


def episode_advantages(
    measure: RiskMeasure,
    episodes: Distribution,
    distribution: Distribution,
    target: Distribution,
    earned: jax.Array,
    exponent_clip: float,
) -> jax.Array:
    """`averse.risk.episode_influence_advantage` of every step, in the units of `worth` and with its bounds; [..., A].

    Args:
      measure: of the return of whole episodes.
      episodes: of these returns now, [K], K = 1 or A.
      distribution: of the rest of the return at each step, [..., A].
      target: of the same after the action taken.
      earned: [..., A], the returns so far, in reward units.
    """

    def worths(rest: Distribution) -> jax.Array:
        ends = earned[..., None] + jnp.broadcast_to(rest.values, (*earned.shape, rest.values.shape[-1]))
        found = worth(measure, episodes, jnp.moveaxis(ends, -1, 0), exponent_clip)
        return rest.expectation(jnp.moveaxis(found, 0, -1))

    return worths(target) - worths(distribution)


def worth(measure: RiskMeasure, distribution: Distribution, returns: jax.Array, exponent_clip: float) -> jax.Array:
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
