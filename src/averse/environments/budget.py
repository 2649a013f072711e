"""Any world with the episode's return so far in what is seen: `budget:intersection`.

How good the rest of an episode must be, for its return not to be among the worst, depends on the return so far and on
the time left. With both in the state, risk over *whole episodes* is a problem that policies without memory can solve
(Bauerle, Ott 2011); without them such policies may all be worse. `static-cvar-mappo` needs them, other methods may have
them.

The wrapped world is the same in all else, but that an episode is over at its horizon: what would come after it is no
part of an episode's return, so nothing is to be bootstrapped there.

Axes: B environments, A agents, O observation, G global state.
"""

import dataclasses
import functools
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.protocol import (
    Description,
    HostVector,
    StepResult,
    TimeStep,
    is_average_reward,
)
from averse.environments.registry import factory
from averse.environments.sets import SetLayout, global_state_layout, observation_layout
from averse.errors import AverseError
from averse.settings import Positive, settings

DOOR = "budget"
WHOLE_EPISODES = ("static-cvar-mappo", "static-entropic-mappo")
"""Methods whose critics predict what is left of an episode's undiscounted return, or of a part of it."""
Whose = Literal["own", "team"]


def with_budget(observations: Any, returns: Any, time_left: Any, unit: float) -> Any:
    """Observations [..., A, O] with each agent's return so far, in `unit`s, and the time left in front.

    Args:
      returns: [..., A], reward units.
      time_left: [...], of the horizon, in [0, 1].
    """
    xp: Any = np if isinstance(observations, np.ndarray) else jnp
    both = [(returns / unit)[..., None], xp.broadcast_to(time_left[..., None, None], (*returns.shape, 1))]
    return xp.concatenate([*(part.astype(np.float32) for part in both), observations], axis=-1)


def returns_so_far(environment: Any, observations: jax.Array) -> jax.Array:
    """The returns so far that observations [..., O] of a world with a budget hold, in reward units [...]."""
    return observations[..., 0] * environment.budget_unit


class _Budgeted:
    """What worlds with a budget have in common. The world itself is `inner`, built from the same parameters."""

    inner_class: ClassVar[type]
    budget: Whose
    budget_unit: float
    ends_at_horizon: ClassVar[bool] = True
    model: ClassVar[None] = None  # an exact model of the world knows nothing of budgets

    @functools.cached_property
    def inner(self) -> Any:
        """The world without the budget."""
        fields = [field.name for field in dataclasses.fields(self.inner_class) if field.init]
        return self.inner_class(**{name: getattr(self, name) for name in fields})

    @property
    def observation_size(self) -> int:
        """O: two more than the world's own."""
        return self.inner.observation_size + 2

    @property
    def global_state_size(self) -> int:
        """G: the returns so far of all agents and the time left, and then the world's own."""
        return self.inner.global_state_size + self.inner.num_agents + 1

    @property
    def observation_layout(self) -> SetLayout | None:
        """The world's own, two numbers further back."""
        return _moved(observation_layout(self.inner), 2)

    @property
    def global_state_layout(self) -> SetLayout | None:
        """The world's own, as many numbers further back as there are returns and the time."""
        return _moved(global_state_layout(self.inner), self.inner.num_agents + 1)

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        """Those of the world itself."""
        return self.inner.return_bounds(gamma)

    def parameters(self) -> dict[str, Any]:
        """Those of the world itself, and those of the budget."""
        return self.inner.parameters() | {"budget": self.budget, "budget_unit": self.budget_unit}

    def suggested_settings(self, method: str) -> dict[str, Any]:
        """Those of the world itself. Where it has no other, critics of whole episodes predict in the budget's unit."""
        # Both are the size of a typical return. A scalar critic in units of 1 hardly learns returns of 100.
        scale = {"value_scale": self.budget_unit} if method in WHOLE_EPISODES else {}
        own = getattr(self.inner, "suggested_settings", None)
        return scale | (own(method) if own is not None else {})

    def _counted(self, rewards: Any) -> Any:
        """What a step adds to the returns so far, [..., A]."""
        if self.budget == "own":
            return rewards
        xp: Any = np if isinstance(rewards, np.ndarray) else jnp
        return xp.broadcast_to(rewards.mean(-1, keepdims=True), rewards.shape)

    def _ended(self, terminated: Any, truncated: Any) -> Any:
        """Whose episode is over [..., A]: all at the horizon; of a team, whose return goes on, all or none."""
        xp: Any = np if isinstance(terminated, np.ndarray) else jnp
        own = terminated if self.budget == "own" else terminated.all(-1, keepdims=True)
        return xp.broadcast_to(own | truncated[..., None], terminated.shape)


class BudgetState(NamedTuple):
    """The world's own state, and the budget."""

    inner: Any
    returns: jax.Array  # float32 [A], so far, reward units
    steps: jax.Array  # int32 [], so far


class _CompiledBudget(_Budgeted):
    """A compiled world with a budget."""

    def reset(self, key: jax.Array) -> tuple[BudgetState, jax.Array]:
        """A fresh episode: (state, observations [A, O])."""
        return self._started(*self.inner.reset(key))

    @property
    def num_conditions(self) -> int:
        """Those of the world itself; 0 where it does not tell."""
        return getattr(self.inner, "num_conditions", 0)

    def begin(self, key: jax.Array, conditions: jax.Array) -> tuple[BudgetState, jax.Array]:
        """As the world itself does, which must tell its conditions."""
        return self._started(*self.inner.begin(key, conditions))

    def _started(self, inner: Any, observations: jax.Array) -> tuple[BudgetState, jax.Array]:
        state = BudgetState(inner, jnp.zeros(observations.shape[0], jnp.float32), jnp.int32(0))
        return state, self._seen(observations, state)

    def step(self, key: jax.Array, state: BudgetState, actions: jax.Array) -> StepResult:
        """One step of the world."""
        result = self.inner.step(key, state.inner, actions)
        after = BudgetState(result.state, state.returns + self._counted(result.rewards), state.steps + 1)
        return result._replace(
            state=after,
            observations=self._seen(result.observations, after),
            terminated=self._ended(result.terminated, result.truncated),
            truncated=jnp.zeros_like(result.truncated),
        )

    def observe(self, state: BudgetState) -> jax.Array:
        """What the agents see in a state, float32 [A, O]."""
        return self._seen(self.inner.observe(state.inner), state)

    def global_state(self, state: BudgetState) -> jax.Array:
        """Returns so far, time left, and the world's own, float32 [G]."""
        own = self.inner.global_state(state.inner)
        return jnp.concatenate([state.returns / self.budget_unit, self._time_left(state)[None], own])

    def available_actions(self, state: BudgetState) -> jax.Array:
        """Those of the world, bool [A, n]."""
        return self.inner.available_actions(state.inner)

    def _time_left(self, state: BudgetState) -> jax.Array:
        return 1.0 - state.steps.astype(jnp.float32) / self.inner.horizon

    def _seen(self, observations: jax.Array, state: BudgetState) -> jax.Array:
        return with_budget(observations, state.returns, self._time_left(state), self.budget_unit)


class _HostBudget(_Budgeted):
    """A host world with a budget."""

    def vector(self, num_envs: int) -> "BudgetVector":
        """Start `num_envs` of the world, each with its budget."""
        return BudgetVector(self, self.inner.vector(num_envs))


class BudgetVector:
    """A running batch of a host world, with budgets: a `HostVector`."""

    def __init__(self, environment: _HostBudget, vector: HostVector):
        self.environment, self.inner = environment, vector
        self.num_envs = vector.num_envs
        self.returns = np.zeros((vector.num_envs, environment.inner.num_agents), np.float32)
        self.steps = np.zeros(vector.num_envs, np.int64)

    def reset(self, seeds: np.ndarray) -> TimeStep:
        """See `HostVector.reset`."""
        return self._first(self.inner.reset(seeds))

    def reset_endless(self, seed: int) -> TimeStep:
        """See `HostVector.reset_endless`."""
        return self._first(self.inner.reset_endless(seed))

    def step(self, actions: np.ndarray) -> TimeStep:
        """See `HostVector.step`."""
        step, world = self.inner.step(actions), self.environment
        done = np.asarray(step.done)
        self.returns = self.returns + world._counted(np.asarray(step.rewards))
        self.steps = np.minimum(self.steps + 1, world.inner.horizon)  # idle ones go on counting
        led_to = self._seen(step.next_observations, step.next_global_state)
        self.returns, self.steps = np.where(done[:, None], 0, self.returns), np.where(done, 0, self.steps)
        observations, global_state = self._seen(step.observations, step.global_state)
        return step._replace(
            observations=observations,
            global_state=global_state,
            terminated=world._ended(np.asarray(step.terminated), np.asarray(step.truncated)),
            truncated=np.zeros_like(step.truncated),
            next_observations=led_to[0],
            next_global_state=led_to[1],
        )

    def close(self) -> None:
        """End every worker; may be called again."""
        self.inner.close()

    def __enter__(self) -> "BudgetVector":
        self.inner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.inner.__exit__(*exception)

    def _first(self, step: TimeStep) -> TimeStep:
        self.returns, self.steps = np.zeros_like(self.returns), np.zeros_like(self.steps)
        observations, global_state = self._seen(step.observations, step.global_state)
        return step._replace(
            observations=observations,
            global_state=global_state,
            next_observations=observations,
            next_global_state=global_state,
        )

    def _seen(self, observations: Any, global_state: Any) -> tuple[np.ndarray, np.ndarray]:
        """Observations and the global state with the budgets as they are now."""
        left = (1.0 - self.steps / self.environment.inner.horizon).astype(np.float32)
        unit = self.environment.budget_unit
        own = [(self.returns / unit).astype(np.float32), left[:, None], np.asarray(global_state)]
        return with_budget(np.asarray(observations), self.returns, left, unit), np.concatenate(own, axis=-1)


def is_budgeted(environment: Description) -> bool:
    """Whether a world has the return so far in what is seen."""
    return isinstance(environment, _Budgeted)


def budget_class(id: str) -> type:
    """The class of `budget:ID`.

    Raises AverseError for an unknown id, one that is no class with settings, and for worlds without episodes.
    """
    inner = factory(id)
    if not isinstance(inner, type) or not dataclasses.is_dataclass(inner):
        raise AverseError(f"{DOOR}:{id} needs a world whose class is a dataclass, and {id} is built by {inner!r:.60}")
    if issubclass(inner, _Budgeted):
        raise AverseError(f"{DOOR}:{id} would have two budgets; one is enough")
    if is_average_reward(inner):  # type: ignore[arg-type]
        raise AverseError(f"{DOOR}:{id}: episodes of {id} never end, so that there is no return of one")
    taken = {"budget", "budget_unit"} & {field.name for field in dataclasses.fields(inner)}
    if taken:
        raise AverseError(f"{DOOR}:{id}: {id} has a parameter of its own that is called {min(taken)}")
    return _class_of(inner, id)


@functools.cache
def _class_of(inner: type, id: str) -> Any:
    """The same class whenever it is asked for. Its own name cannot be imported; the environment's name gives it."""

    @settings
    class Budget(_HostBudget if hasattr(inner, "vector") else _CompiledBudget, inner):  # type: ignore[misc]
        budget: Whose = "own"
        """Whose return so far agents see. own: that of each; team: the mean over all, and all end together."""
        budget_unit: Positive = 1.0
        """Size of a typical return of an episode in reward units, in which returns so far are seen, and in which the
        critics of static-cvar-mappo and static-entropic-mappo predict where no value_scale is given."""

    Budget.__doc__ = inner.__doc__
    Budget.__name__ = Budget.__qualname__ = f"<{DOOR}:{id}>"
    Budget.inner_class = inner
    Budget.name = f"{DOOR}:{id}"
    return Budget


def _moved(layout: SetLayout | None, by: int) -> SetLayout | None:
    return None if layout is None else SetLayout(own=layout.own + by, count=layout.count, size=layout.size)
