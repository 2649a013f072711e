"""How the episodes of a compiled environment begin: as they come, or more often than chance would have it as bad ones.

Where bad outcomes are rare most episodes teach nothing about them. `TailStarts` draws a share of the episodes under
conditions from a proposal that moves towards those of the worst episodes: the cross-entropy method (Rubinstein 1999),
for the tail of returns as in CeSoR (Greenberg, Chow, Ghavamzadeh, Mannor, NeurIPS 2022). Each episode keeps its
importance weight, by which learners and training figures give it back what is its due.

Conditions are the uniform random numbers that an episode begins with (`environments.protocol.num_conditions`). The
proposal is independent among them, and constant in each of K bins of a condition: so what maximises its likelihood is a
count. All other chance is the environment's own.

Axes: T time, B environments, D conditions, K bins, M remembered episodes, N episodes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from averse.environments.batch import BatchState, reset_batch, reset_shapes, step_batch
from averse.environments.protocol import Environment, StepResult, TimeStep
from averse.learners.contract import Metrics
from averse.learners.parts.updates import weighted_mean
from averse.risk import Samples

BINS = 8
TAIL = 0.1
"""Which share of the episodes are the worst ones, by whose conditions the proposal is made."""
REMEMBERED = 1024
"""Latest episodes whose returns say which are the worst now."""
FEWEST = 20
"""Episodes that must be known before any is among the worst."""
FADING = 0.98
"""What is left of a count after an update: conditions that were bad for an older policy need not be now."""
PRIOR = 50.0
"""Episodes spread evenly over the bins that the counts begin with, and which they never outweigh for good."""
_BELOW_ONE = 1.0 - 2.0**-24  # float32


class Proposal(NamedTuple):
    """What is known of the conditions of bad episodes."""

    counts: jax.Array  # float32 [D, K], of bad episodes, each by its importance weight
    returns: jax.Array  # float32 [M], a ring of the latest episodes', mean over agents, reward units
    weights: jax.Array  # float32 [M], theirs; 0 where there is none yet
    added: jax.Array  # int32 [], where the ring goes on

    @classmethod
    def even(cls, conditions: int) -> "Proposal":
        """That under which all conditions are as likely as they are."""
        nothing = jnp.zeros(REMEMBERED, jnp.float32)
        return cls(jnp.zeros((conditions, BINS), jnp.float32), nothing, nothing, jnp.int32(0))

    def ratios(self) -> jax.Array:
        """How much likelier each bin is than it is by chance, float32 [D, K]; their mean over bins is 1."""
        counts = self.counts + PRIOR / BINS
        return BINS * counts / counts.sum(-1, keepdims=True)

    def worst(self) -> jax.Array:
        """The return up to which an episode is one of the worst, float32 []; -inf while too few are known."""
        known = (self.weights > 0).sum()
        quantile = Samples(self.returns, jnp.where(known > 0, self.weights, 1.0)).quantile(TAIL)
        return jnp.where(known >= FEWEST, quantile, -jnp.inf)


class Drawn(NamedTuple):
    """What the conditions of running episodes were, [B, ...]."""

    bins: jax.Array  # int8 [D]
    weight: jax.Array  # float32 [], how much likelier the conditions are than they were drawn


class Ended(NamedTuple):
    """Episodes, [T, B, ...], where `done`."""

    done: jax.Array  # bool
    returns: jax.Array  # float32, mean over agents
    drawn: Drawn


def draw(ratios: jax.Array, share: float, key: jax.Array) -> tuple[jax.Array, Drawn]:
    """Conditions [D]: a `share` of them from the proposal, the others as they come; and what was drawn.

    Importance weights are those of the mixture, so that none is above 1 / (1 - share).
    """
    which_key, bin_key, within_key = jax.random.split(key, 3)
    uniform = jax.random.uniform(bin_key, ratios.shape[:1])
    below = jnp.cumsum(ratios, axis=-1)[:, :-1] / BINS
    proposed = (uniform[:, None] >= below).sum(-1)
    bins = jnp.where(jax.random.bernoulli(which_key, share), proposed, (uniform * BINS).astype(proposed.dtype))
    within = jax.random.uniform(within_key, ratios.shape[:1])
    conditions = jnp.minimum((bins.astype(jnp.float32) + within) / BINS, _BELOW_ONE)  # which rounding may make 1
    ratio = jnp.exp(jnp.log(jnp.take_along_axis(ratios, bins[:, None], -1)).sum())
    return conditions, Drawn(bins.astype(jnp.int8), 1.0 / (1.0 - share + share * ratio))


def learned(proposal: Proposal, ended: Ended) -> Proposal:
    """The proposal after the episodes that have ended in an update."""
    done, returns = ended.done.ravel(), ended.returns.ravel()
    bins, weight = ended.drawn.bins.reshape(done.size, -1), ended.drawn.weight.ravel()
    rank = jnp.cumsum(done) - 1
    kept = done & (rank >= done.sum() - REMEMBERED)
    place = jnp.where(kept, (proposal.added + rank) % REMEMBERED, REMEMBERED)  # nowhere, for the others
    known = proposal._replace(
        returns=proposal.returns.at[place].set(returns, mode="drop"),
        weights=proposal.weights.at[place].set(weight, mode="drop"),
        added=(proposal.added + done.sum()) % REMEMBERED,
    )
    bad = jnp.where(done & (returns <= known.worst()), weight, 0.0)
    count = jnp.einsum("n,ndk->dk", bad, jax.nn.one_hot(bins, BINS))
    return known._replace(counts=FADING * proposal.counts + count)


def tail_metrics(proposal: Proposal, weights: jax.Array) -> Metrics:
    """What the draws of an update [T, B] are worth, and how often remembered episodes are among the worst."""
    known = proposal.weights > 0
    bad = known & (proposal.returns <= proposal.worst())
    return {
        "effective_sample_size": weights.mean() ** 2 / (weights**2).mean(),
        "tail_share": weighted_mean(bad.astype(jnp.float32), known.astype(jnp.float32)),
    }


class AsTheyCome(NamedTuple):
    """Episodes begin by the environment's own chance."""

    environment: Environment

    def reset(self, key: jax.Array, num_envs: int) -> tuple[BatchState, TimeStep]:
        """Start `num_envs` episodes."""
        return reset_batch(self.environment, key, num_envs)

    def shapes(self, num_envs: int) -> tuple[BatchState, TimeStep]:
        """Shapes and dtypes of what `reset` answers, without computing anything."""
        states, step = reset_shapes(self.environment, num_envs)
        return BatchState(states, jax.eval_shape(jax.random.key, 0)), step

    def step(self, batch: BatchState, actions: jax.Array) -> tuple[BatchState, TimeStep]:
        """Step all environments; where an episode ends, the next one begins at once."""
        return step_batch(self.environment, batch, actions)

    def weights(self, batch: BatchState) -> None:
        """Importance weights of the running episodes: none."""

    def ended(self, batch: BatchState, done: jax.Array, returns: jax.Array) -> tuple[()]:
        """What is to be known of the episodes that a step has ended: nothing."""
        return ()

    def learned(self, batch: BatchState, weights: None, ended: tuple[()]) -> tuple[BatchState, Metrics]:
        """What episodes begin with from now on."""
        return batch, {}


class TailBatch(NamedTuple):
    """Running episodes, and how the next ones begin."""

    batch: BatchState
    proposal: Proposal


class TailStarts(NamedTuple):
    """A share of the episodes begins under conditions of a proposal that moves towards those of the worst."""

    environment: Environment
    share: float  # in (0, 1)

    def reset(self, key: jax.Array, num_envs: int) -> tuple[TailBatch, TimeStep]:
        """Start `num_envs` episodes."""
        proposal = Proposal.even(num_conditions(self.environment))
        batch, step = reset_batch(self._world(proposal), key, num_envs)
        return TailBatch(batch, proposal), step

    def shapes(self, num_envs: int) -> tuple[TailBatch, TimeStep]:
        """Shapes and dtypes of what `reset` answers, without computing anything."""
        return jax.eval_shape(lambda key: self.reset(key, num_envs), jax.random.key(0))

    def step(self, batch: TailBatch, actions: jax.Array) -> tuple[TailBatch, TimeStep]:
        """Step all environments; where an episode ends, the next one begins at once."""
        states, step = step_batch(self._world(batch.proposal), batch.batch, actions)
        return batch._replace(batch=states), step

    def weights(self, batch: TailBatch) -> jax.Array:
        """Importance weights of the running episodes, float32 [B]."""
        return batch.batch.states.drawn.weight

    def ended(self, batch: TailBatch, done: jax.Array, returns: jax.Array) -> Ended:
        """The episodes of `batch`, which a step has ended where `done`."""
        return Ended(done, returns, batch.batch.states.drawn)

    def learned(self, batch: TailBatch, weights: jax.Array, ended: Ended) -> tuple[TailBatch, Metrics]:
        """What episodes begin with from now on; weights [T, B] of all steps of the update."""
        proposal = learned(batch.proposal, ended)
        return batch._replace(proposal=proposal), tail_metrics(proposal, weights)

    def _world(self, proposal: Proposal) -> Environment:
        return cast(Environment, _Drawn(self.environment, proposal.ratios(), self.share))  # all of it that batches need


def num_conditions(environment: Any) -> int:
    """D of a compiled environment that says what its episodes begin with, else 0."""
    return getattr(environment, "num_conditions", 0) if isinstance(environment, Environment) else 0


class _DrawnState(NamedTuple):
    inner: Any
    drawn: Drawn


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A compiled environment as `environments.batch` sees it, whose episodes begin under conditions that are drawn."""

    inner: Any
    ratios: jax.Array  # [D, K]
    share: float

    @property
    def metrics(self) -> Any:
        return self.inner.metrics

    def reset(self, key: jax.Array) -> tuple[_DrawnState, jax.Array]:
        draw_key, key = jax.random.split(key)
        conditions, drawn = draw(self.ratios, self.share, draw_key)
        state, observations = self.inner.begin(key, conditions)
        return _DrawnState(state, drawn), observations

    def step(self, key: jax.Array, state: _DrawnState, actions: jax.Array) -> StepResult:
        result = self.inner.step(key, state.inner, actions)
        return result._replace(state=_DrawnState(result.state, state.drawn))

    def global_state(self, state: _DrawnState) -> jax.Array:
        return self.inner.global_state(state.inner)

    def available_actions(self, state: _DrawnState) -> jax.Array:
        return self.inner.available_actions(state.inner)
