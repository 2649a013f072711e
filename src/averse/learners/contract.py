"""What a learner is: a handful of pure functions that know no environment and do no I/O; and what a method is.

One training loop drives every learner under compiled and host environments alike, and `vmap` over the learner's state
trains many seeds and risk levels at once. On-policy learners use a trajectory and forget it; replay learners keep their
buffer inside their state and sample from it in `update`; recurrent learners hand their memory from one `act` to the
next in `extras["memory"]`.

Axes: T time, B environments, A agents, O observation, G global state, n actions.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from averse.environments.protocol import Description
from averse.risk import Distribution


class Trajectory(NamedTuple):
    """T consecutive steps of B environments, as the training loop hands them to `update`."""

    observations: jax.Array  # float32 [T, B, A, O], what the agents saw when they acted
    global_state: jax.Array  # float32 [T, B, G]
    available: jax.Array  # bool [T, B, A, n]
    actions: jax.Array  # int32 [T, B, A] or float32 [T, B, A, size]
    extras: Mapping[str, Any]  # what `act` returned beside the actions, leading axes [T, B]
    rewards: jax.Array  # float32 [T, B, A]
    costs: jax.Array  # float32 [T, B, A]
    terminated: jax.Array  # bool [T, B, A], the agent's episode was over after this step
    truncated: jax.Array  # bool [T, B], the episode was cut after this step
    active: jax.Array  # bool [T, B, A], the agent's episode was still going on when it acted
    first: jax.Array  # bool [T, B], this step was the first of its episode (recurrent learners start afresh)
    next_observations: jax.Array  # float32 [T, B, A, O], what the action led to, before any automatic reset
    next_global_state: jax.Array  # float32 [T, B, G]
    next_available: jax.Array  # bool [T, B, A, n]
    memory: Any = ()  # before acting, leaves [T, B, ...], blank where `first`; `extras["memory"]` is the one after
    weights: Any = None  # float32 [T, B], the importance weight of the step's episode; None where all count alike

    @property
    def counts(self) -> jax.Array:
        """How much each agent's step counts, float32 [T, B, A]: its weight, 0 where its episode was over."""
        active = self.active.astype(np.float32)
        return active if self.weights is None else active * self.weights[..., None]


LearnerState = Any
Metrics = dict[str, jax.Array]
"""What an update tells of itself: name -> a number, float32 []."""


class Portable(NamedTuple):
    """What a policy computes: arrays, and what to do with them; see `averse.learners.parts.portable`."""

    description: dict[str, Any]
    """What JSON can hold: `actor`, a network; `decision`, what its outputs stand for (`probabilities`, `gaussian` or
    `scores`, which are then read as `scores` says); `memory`, H; `critic`, a network with its reading, or null, and
    then `no_value` says why."""
    arrays: dict[str, np.ndarray]
    """float32, by name."""


class Learner(NamedTuple):
    """The functions of a learner. All are pure; all but `init`'s keywords are jittable and vmappable."""

    init: Callable[..., LearnerState]
    """`init(key, **swept) -> state`. The keywords named in `sweepable` replace configured numbers and may be traced."""
    act: Callable[..., tuple[jax.Array, dict[str, Any]]]
    """`act(state, observations [B, A, O], available [B, A, n], key, memory=(), greedy=False) -> (actions, extras)`.

    `greedy=True` is the policy at its most likely. Recurrent learners return their memory after acting in
    `extras["memory"]`; whoever calls sets it to `initial_memory` where an episode has ended."""
    update: Callable[[LearnerState, Trajectory], tuple[LearnerState, Metrics]]
    """`update(state, trajectory) -> (state, metrics)`, metrics being scalars."""
    predict_returns: Callable[..., Distribution] | None
    """`predict_returns(state, observations [B, A, O], global_state [B, G], available [B, A, n], memory=()) ->
    Distribution [B, A]` of the discounted return from here on, for calibration; None where the learner has none."""
    initial_memory: Callable[[int], Any]
    """`initial_memory(num_envs)`: a recurrent policy's memory at the start of an episode; () where there is none."""
    sweepable: frozenset[str]
    """Settings that `init` takes as numbers, so that one program trains a whole sweep over them."""
    rollout_steps: int
    """T: how many steps of each environment one `update` wants."""
    num_envs: int
    """B: how many environments the loop should step side by side."""
    gamma: float
    """Discount of the returns that `predict_returns` speaks of; 1 for learners of the average reward."""
    action_probabilities: Callable[..., jax.Array] | None = None
    """`action_probabilities(state, observations [B, A, O], available [B, A, n], memory=()) -> [B, A, n]`, what `act`
    draws from, for exact planning with a learned policy; None where a learner does not offer it."""
    behave: Callable[..., tuple[jax.Array, dict[str, Any]]] | None = None
    """The behaviour policy of training, where it is another than `act`: `behave(state, observations [B, A, O],
    available [B, A, n], key, memory=()) -> (actions, extras)`, always called for all `num_envs` environments in one
    order. None where agents train as they act."""
    explores_by_noise: bool = False
    """What a policy that is not `greedy` adds is noise for training only (epsilon-greedy): evaluation leaves it out."""
    weighs_episodes: bool = False
    """Whether `update` counts each step by `Trajectory.counts`, so that episodes may have importance weights."""
    portable: Callable[[LearnerState], Portable] | None = None
    """`portable(state)`: what the policy computes, as plain arrays for machines without JAX (`averse export`); None
    where a learner does not offer it. Raises AverseError where its settings make it something that has no such form."""


class Method(NamedTuple):
    """A way to learn that has a name; see `averse.learners.register`."""

    preset: Any
    """Its settings: an instance of a dataclass (best made by `averse.settings.settings`, so that they are checked). It
    has the fields `num_envs` and `rollout_steps`, the size of a batch; a field `measure`, if any, is a risk measure as
    text."""
    build: Callable[[Any, Description, int], Learner]
    """`build(config, environment, total_updates) -> Learner` from complete settings of the preset's type, for an
    environment's sizes; schedules are stretched over `total_updates`."""
    description: str = ""
    """One sentence for `averse list`."""
