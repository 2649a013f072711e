"""Actions that are none: refused where their numbers are known, poison where programs are compiled.

An action is *outside the space* where it is no whole number from 0 to n - 1 (`Discrete`), or where a number of its
vector is NaN or infinite (`Box`). Finite numbers beyond a box are not outside: a learner's Gaussian draws them, and the
environment clips.

| where | what an action outside the space does |
|---|---|
| a host environment's `step`, and a compiled one's called from Python | AverseError, and nothing is stepped |
| compiled code, where numbers are not known: the wrong type or shape | AverseError, when it is traced |
| compiled code, anything else | the step pays every agent NaN; what else it answers means nothing |

A return that holds such a step is NaN, and a training on it ends as diverged. Nobody takes -1 for the last action.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.protocol import ActionSpace, Box, Discrete, StepResult
from averse.errors import AverseError
from averse.settings import Count, check_value

Step = Callable[[Any, jax.Array, Any, Any], StepResult]
"""A compiled environment's function `step(self, key, state, actions)`."""


def checked_actions(space: ActionSpace, actions: Any, lead: tuple[int, ...]) -> np.ndarray:
    """Actions whose numbers are known, as an environment takes them: int32 `lead`, or float32 [*lead, size].

    Args:
      space: what each agent chooses from.
      actions: an array or nested sequences, whole numbers of `lead` or numbers [*lead, size].
      lead: the axes before: (environments, agents), or (agents,).

    Raises AverseError for actions of another shape or type, for those outside the space, and for what is no space.
    """
    if not isinstance(space, Discrete | Box):
        raise AverseError(f"space must be a Discrete or a Box, not {space!r:.60}")
    if not (type(lead) is tuple and all(type(size) is int and size > 0 for size in lead)):
        lead = check_value("lead", tuple[Count, ...], lead)  # takes 60 us, in every step of a simulator
    try:
        given = np.asarray(actions)
    except (ValueError, TypeError):  # sequences of different lengths
        given = np.asarray(None)
    _require_form(space, given.shape, given.dtype, lead)
    if isinstance(space, Discrete):
        wrong = (given < 0) | (given >= space.num_actions)
        if wrong.any():
            raise _refusal(space, lead, given[wrong].flat[0])
        return given.astype(np.int32)
    with np.errstate(over="ignore"):  # a number that float32 cannot hold is infinite there
        vectors = given.astype(np.float32)
    wrong = ~np.isfinite(vectors)
    if wrong.any():
        raise _refusal(space, lead, given[wrong].flat[0])
    return vectors


def guarded(step: Step) -> Step:
    """A compiled environment's `step` that keeps the contract of this module; `CompiledEnvironment` guards its own.

    Only the outermost `step` is guarded: one that calls its base class's may hand on other actions than it was given.
    Valid actions pass unchanged.

    Args:
      step: the function in the class: `@guarded` above `def step(self, key, state, actions)`, actions int32 [A] or
        float32 [A, size].

    The guarded function raises AverseError for actions of another shape or type than the space's, and for those outside
    the space if their numbers are known.
    """

    @functools.wraps(step)
    def guarded_step(self: Any, key: jax.Array, state: Any, actions: Any) -> StepResult:
        if getattr(type(self), "step", None) is not guarded_step:
            return step(self, key, state, actions)
        space, lead = self.action_space, (self.num_agents,)
        if not isinstance(actions, jax.core.Tracer):
            return step(self, key, state, jnp.asarray(checked_actions(space, actions, lead)))
        _require_form(space, actions.shape, actions.dtype, lead)
        return _poisoned(step(self, key, state, actions), _any_outside(space, actions))

    return guarded_step


def _any_outside(space: ActionSpace, actions: jax.Array) -> jax.Array:
    """Whether any agent's action is outside the space, bool []; actions [A] or [A, size]."""
    if isinstance(space, Discrete):
        return ((actions < 0) | (actions >= space.num_actions)).any()
    return ~jnp.isfinite(actions).all()


def _poisoned(result: StepResult, outside: jax.Array) -> StepResult:
    """The result with rewards of NaN if `outside`; what is no result of float rewards is for `check_environment`."""
    rewards = getattr(result, "rewards", None)
    if not isinstance(rewards, jax.Array) or not jnp.issubdtype(rewards.dtype, jnp.floating):
        return result
    return result._replace(rewards=jnp.where(outside, jnp.nan, rewards))


def _require_form(space: ActionSpace, shape: tuple[int, ...], dtype: Any, lead: tuple[int, ...]) -> None:
    kinds = "iu" if isinstance(space, Discrete) else "fiu"
    expected = lead if isinstance(space, Discrete) else (*lead, space.size)
    kind = "f" if jnp.issubdtype(dtype, jnp.floating) else np.dtype(dtype).kind  # bfloat16 is of numpy's kind V
    if kind not in kinds or tuple(shape) != expected:
        raise _refusal(space, lead, f"{dtype} {list(shape)}")


def _refusal(space: ActionSpace, lead: tuple[int, ...], given: Any) -> AverseError:
    axes = "[num_envs, num_agents" if len(lead) == 2 else "[num_agents"
    if isinstance(space, Discrete):
        allowed, shape, axes = f"whole numbers from 0 to {space.num_actions - 1}", list(lead), f"{axes}]"
    else:
        allowed, shape, axes = "finite numbers", [*lead, space.size], f"{axes}, size]"
    return AverseError(f"actions must be {allowed}, {shape} {axes}, not {given}")
