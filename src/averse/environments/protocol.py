"""What an environment is. Two kinds, one description.

A *compiled* environment is a pair of pure functions over a small state; it jits and vmaps, so that rollouts and
learning are one XLA program. A *host* environment (a simulator in other processes) steps a whole batch at once and
returns numpy arrays. Both describe themselves with the same attributes and both speak in `TimeStep`s, so that learners,
training and evaluation need not know which kind they drive. `environments.base` has defaults for much of it.

Actions outside the space are refused by host environments, with an AverseError, and are poison in compiled code: the
step pays every agent NaN. `environments.actions` states this contract and has functions that keep it.

Axes: B environments, A agents, O observation, G global state, n actions.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np


class Discrete(NamedTuple):
    """Each agent picks one of `num_actions` actions: actions are int32 [..., A].

    Any other number is outside the space, -1 too (`environments.actions`).
    """

    num_actions: int


class Box(NamedTuple):
    """Each agent picks a vector in [low, high]^size: actions are float32 [..., A, size].

    A learner's Gaussian may draw beyond the box; the environment clips. NaN and infinity are outside the space
    (`environments.actions`).
    """

    size: int
    low: float = -1.0
    high: float = 1.0


ActionSpace = Discrete | Box
"""What each agent of an environment chooses from."""


class TimeStep(NamedTuple):
    """What a batch of environments answers to a batch of actions. Leading axis B.

    Where an episode has just ended, `observations`, `global_state` and `available` already belong to the next episode
    (automatic reset); `next_observations`, `next_global_state` and `next_available` are what the action led to, which
    is what a critic must bootstrap from when an episode was truncated.
    """

    observations: Any  # float32 [B, A, O]
    global_state: Any  # float32 [B, G]
    available: Any  # bool [B, A, n]; all True where actions are continuous (n = 1)
    rewards: Any  # float32 [B, A]
    costs: Any  # float32 [B, A]; how unsafe the step was, >= 0; used by reward shaping only
    terminated: Any  # bool [B, A]; this agent's episode is over, now or since an earlier step (no future reward)
    truncated: Any  # bool [B]; the episode was cut by its time limit (future reward exists but is not seen)
    next_observations: Any  # float32 [B, A, O]
    next_global_state: Any  # float32 [B, G]
    next_available: Any  # bool [B, A, n]
    info: Mapping[str, Any]  # metric name -> float32 [B]; the value at an episode's last step is the episode's figure

    @property
    def done(self):
        """Whether the episode has ended (all agents terminated, or truncated), bool [B]."""
        return self.terminated.all(-1) | self.truncated

    @classmethod
    def first(cls, observations: Any, global_state: Any, available: Any, metrics: Iterable[str]) -> "TimeStep":
        """The answer to a reset: what is seen, and that nothing has happened. Arrays of numpy or of JAX alike."""
        xp: Any = np if isinstance(observations, np.ndarray) else jnp
        agents = observations.shape[:2]
        return cls(
            observations=observations,
            global_state=global_state,
            available=available,
            rewards=xp.zeros(agents, np.float32),
            costs=xp.zeros(agents, np.float32),
            terminated=xp.zeros(agents, bool),
            truncated=xp.zeros(agents[:1], bool),
            next_observations=observations,
            next_global_state=global_state,
            next_available=available,
            info={name: xp.zeros(agents[:1], np.float32) for name in metrics},
        )


class StepResult(NamedTuple):
    """What one compiled environment answers to one joint action (no batch axis, no automatic reset)."""

    state: Any  # after the step
    observations: jax.Array  # float32 [A, O]
    rewards: jax.Array  # float32 [A]; NaN where an action was outside the space
    costs: jax.Array  # float32 [A]
    terminated: jax.Array  # bool [A]
    truncated: jax.Array  # bool []
    info: Mapping[str, jax.Array]  # metric name -> float32 []


@runtime_checkable
class Description(Protocol):
    """What every environment says of itself, before anything is simulated: attributes or properties."""

    @property
    def name(self) -> str:
        """What it is called in tables and messages."""
        ...

    @property
    def num_agents(self) -> int:
        """A."""
        ...

    @property
    def action_space(self) -> ActionSpace:
        """What each agent chooses from, the same for all."""
        ...

    @property
    def observation_size(self) -> int:
        """O, the same for all agents."""
        ...

    @property
    def global_state_size(self) -> int:
        """G, what a centralised critic sees."""
        ...

    @property
    def horizon(self) -> int:
        """Steps after which an episode is truncated."""
        ...

    @property
    def metrics(self) -> Mapping[str, str]:
        """Per-episode events and measures -> what they mean, with their unit."""
        ...

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        """Lowest and highest discounted return an agent can collect from any state; the critic's support.

        As learners mean it, who bootstrap where an episode is only cut: beyond the horizon (`reward_steps`).
        """
        ...


@runtime_checkable
class Environment(Description, Protocol):
    """A compiled environment: pure functions of explicit state and key."""

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """A fresh episode: (state, observations [A, O])."""
        ...

    def step(self, key: jax.Array, state: Any, actions: jax.Array) -> StepResult:
        """One step; actions int32 [A] or float32 [A, size].

        If any of them is outside the space, all agents' rewards are NaN (`environments.guarded` sees to it).
        """
        ...

    def global_state(self, state: Any) -> jax.Array:
        """What a centralised critic sees, float32 [G]."""
        ...

    def available_actions(self, state: Any) -> jax.Array:
        """Which actions each agent may take now, bool [A, n]."""
        ...


def is_average_reward(environment: Description) -> bool:
    """Whether an environment never ends, so that what counts is the reward per step in the long run, not a return.

    It says so by a class attribute `average_reward = True`. Its `horizon` is then only where a training loop or a
    player of episodes would cut; nothing ends there, and learners bootstrap.
    """
    return bool(getattr(environment, "average_reward", False))


def reward_steps(environment: Description, gamma: float) -> float:
    """Over how many steps a learner adds up rewards: math.inf, but where episodes end at their horizon.

    A learner bootstraps where an episode is cut, as if it went on for ever. Waiting for ever at a cost of .1 per step
    is worth -100 at gamma .999, however early episodes are cut. It is the horizon where the environment says by a class
    attribute `ends_at_horizon = True` that nothing is left to collect there (it terminates). It is so too at gamma 1,
    where a return without end has no bounds: a critic whose predictions run out of those of one episode clamps them.
    """
    ends = bool(getattr(environment, "ends_at_horizon", False))
    return environment.horizon if ends or gamma == 1.0 else math.inf


class HostVector(Protocol):
    """A running batch of host environments. A context manager: leaving it ends every worker."""

    num_envs: int  # B

    def reset(self, seeds: np.ndarray) -> TimeStep:
        """Start over for evaluation. `seeds`, uint32 [B, K]: environment b plays K episodes, one per seed, each a
        deterministic function of its seed and the actions taken, then goes idle: its further steps are zero rewards,
        `terminated` and `truncated` False, `info` NaN."""
        ...

    def reset_endless(self, seed: int) -> TimeStep:
        """Start over for training: fresh episodes for ever, random by `seed` and the environment's index."""
        ...

    def step(self, actions: np.ndarray) -> TimeStep:
        """One step of every environment, actions int32 [B, A] (or float32 [B, A, size]); idle ones earn nothing.

        Raises AverseError for actions outside the space, of another shape or another type, before anything is stepped
        (`environments.checked_actions` sees to it).
        """
        ...

    def close(self) -> None:
        """End every worker; may be called again."""
        ...

    def __enter__(self) -> "HostVector": ...

    def __exit__(self, *exception: object) -> None: ...


@runtime_checkable
class HostEnvironment(Description, Protocol):
    """An environment that lives outside JAX: it only knows how to start a batch of itself."""

    def vector(self, num_envs: int) -> HostVector:
        """Start `num_envs` environments in worker processes."""
        ...


def discounted_bounds(low: float, high: float, horizon: float, gamma: float) -> tuple[float, float]:
    """Bounds of the discounted return of 1..horizon rewards in [low, high], when an episode may end at any step.

    The horizon may be math.inf where gamma is below 1.
    """
    steps = horizon if gamma == 1.0 else (1.0 - gamma**horizon) / (1.0 - gamma)
    return (min(low, low * steps), max(high, high * steps))


def num_available(space: ActionSpace) -> int:
    """The length n of an availability mask: the number of actions, or 1 where actions are continuous."""
    return space.num_actions if isinstance(space, Discrete) else 1


def all_available(space: ActionSpace, num_agents: int) -> jax.Array:
    """The mask of an environment that forbids nothing, bool [A, n]."""
    return jnp.ones((num_agents, num_available(space)), bool)
