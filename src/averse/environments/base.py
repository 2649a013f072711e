"""What an environment may leave out, and what then holds: base classes that fill in the protocol.

| left out | what holds |
|---|---|
| `name` | the class's name, in small letters with hyphens |
| `metrics` | none |
| `parameters()` | the fields of the dataclass |
| `return_bounds(gamma)` | what `reward_bounds`, the lowest and the highest reward of a step, allow for ever |
| `ends_at_horizon` | False: there an episode is only cut, and learners bootstrap; True: bounds are of `horizon` steps |
| `average_reward` | False: episodes end, and what counts is the return |
| `observation_layout`, `global_state_layout` | the vector holds no set (`environments.sets`) |
| `drawing` | no films (`averse.report.film`); what draws it, or the text `module:Attribute` of that |
| `num_conditions`, `begin(key, conditions)` | nobody but itself draws what episodes begin with (`training.starts`) |
| `suggested_settings(method)` | none but those for its kind (`environments.suggested_settings`) |
| `global_state(state)`, `global_state_size` | the observations of all agents, one after another (compiled ones) |
| `available_actions(state)` | every action, always (compiled ones) |

What cannot be left out: `num_agents`, `action_space`, `observation_size`, `horizon`, `reward_bounds` or
`return_bounds`; of a compiled environment also `reset`, `step` and `observe`, of a host environment `vector` and
`global_state_size`.

Actions outside the space: `CompiledEnvironment` guards the `step` of each subclass (`environments.actions`), so that
they are refused where their numbers are known, and pay every agent NaN in compiled code. The `step` that a class
defines need not look.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from averse.environments.actions import guarded
from averse.environments.protocol import Description, StepResult, all_available, discounted_bounds, reward_steps
from averse.errors import AverseError


class _ClassName:
    """The name of whatever class it is asked of, in small letters with hyphens."""

    def __get__(self, instance: Any, owner: type) -> str:
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", owner.__name__).lower()


class Described:
    """Defaults for what an environment of either kind says of itself (`environments.protocol.Description`)."""

    name: ClassVar[str] = _ClassName()  # type: ignore[assignment]
    metrics: ClassVar[Mapping[str, str]] = {}
    average_reward: ClassVar[bool] = False
    ends_at_horizon: ClassVar[bool] = False

    def return_bounds(self: Description, gamma: float) -> tuple[float, float]:
        """Lowest and highest discounted return that an agent can collect from any state, as learners mean it.

        Raises AverseError where the class has no `reward_bounds`.
        """
        bounds = getattr(self, "reward_bounds", None)
        if bounds is None:
            raise AverseError(
                f"{type(self).__name__} must say reward_bounds = (lowest, highest) of a step's reward, or define "
                "return_bounds(gamma)"
            )
        low, high = bounds
        return discounted_bounds(low, high, reward_steps(self, gamma), gamma)

    def parameters(self) -> dict[str, Any]:
        """The keyword arguments that build this environment again: the fields of its dataclass."""
        if not dataclasses.is_dataclass(self):
            return {}
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init}

    def suggested_settings(self, method: str) -> dict[str, Any]:
        """Settings of a method that suit this environment better than the method's own defaults; none here."""
        del method
        return {}


class CompiledEnvironment(Described):
    """Defaults for a compiled environment (`environments.protocol.Environment`), and the rewards' paperwork.

    A subclass is a frozen dataclass (`averse.settings.settings` makes one whose fields are checked) with `reset`,
    `step` and `observe`. Arrays: A agents, O observation, n actions.

    The `step` of a subclass raises AverseError for actions of the wrong shape or type, and for those outside the space
    if it is called from Python; in compiled code these pay every agent NaN (`environments.actions`).
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in cls.__dict__:
            cls.step = guarded(cls.step)  # type: ignore[attr-defined]

    def observe(self, state: Any) -> jax.Array:
        """What the agents see in a state, float32 [A, O]."""
        raise NotImplementedError(f"{type(self).__name__} must define observe(state)")

    @property
    def global_state_size(self: Description) -> int:
        """G: that of the observations of all agents together."""
        return self.num_agents * self.observation_size

    def global_state(self, state: Any) -> jax.Array:
        """What a centralised critic sees: all observations one after another, float32 [A * O]."""
        return self.observe(state).reshape(-1)

    def available_actions(self: Description, state: Any) -> jax.Array:
        """Which actions each agent may take in a state: all of them, bool [A, n]."""
        del state
        return all_available(self.action_space, self.num_agents)

    def result(
        self,
        state: Any,
        rewards: Any,
        *,
        observations: jax.Array | None = None,
        costs: Any = 0.0,
        terminated: Any = False,
        truncated: Any = False,
        info: Mapping[str, Any] | None = None,
    ) -> StepResult:
        """The answer of `step`. A single number stands for all agents; numbers become float32, truths bool.

        Args:
          state: the state after the step.
          rewards: of each agent [A], or of all alike [].
          observations: float32 [A, O]; `observe(state)` where not given.
          costs: how unsafe the step was, at least 0, [A] or [].
          terminated: whether an agent's episode is over, [A] or [].
          truncated: whether the time limit is reached []; an episode that all agents have terminated is not cut.
          info: metric -> its value so far [].
        """
        seen = self.observe(state) if observations is None else observations

        def each(values: Any, dtype: Any) -> jax.Array:
            return jnp.broadcast_to(jnp.asarray(values, dtype), seen.shape[:1])

        over = each(terminated, bool)
        return StepResult(
            state=state,
            observations=seen,
            rewards=each(rewards, jnp.float32),
            costs=each(costs, jnp.float32),
            terminated=over,
            truncated=jnp.asarray(truncated, bool) & ~over.all(),
            info={name: jnp.asarray(value, jnp.float32) for name, value in (info or {}).items()},
        )
