"""The safe-or-risky corridor: a probe whose right answer is known in closed form for every risk tolerance."""

from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le

from averse.environments.base import CompiledEnvironment
from averse.environments.protocol import Discrete, StepResult
from averse.environments.ranges import Reward
from averse.settings import Fraction, settings

SAFE, RISKY = 0, 1


class CorridorState(NamedTuple):
    """How far the agent has come."""

    time: jax.Array  # int32 [], steps taken
    risky_steps: jax.Array  # float32 []


@settings
class Corridor(CompiledEnvironment):
    """Safe-or-risky steps, a probe whose right answer is known in closed form for every risk tolerance.

    Each of `length` steps is safe (`safe_reward`) or risky (`good_reward`, or `bad_reward` with `bad_probability`). The
    rewards of the steps are independent, so by the tower property the undiscounted entropic optimum compares, step
    by step, `safe_reward` with -tau log(0.9 exp(-1.5/tau) + 0.1 exp(2/tau)). With the default numbers this certainty
    equivalent is .062, .901, 1.017, 1.073 at tau = 1, 3, 5, 8: safe is optimal up to tau = 3 and risky from tau = 5 on,
    although the risky step has the better mean (1.15) throughout.
    """

    length: Annotated[int, Ge(1), Le(10_000)] = 10
    """Steps of an episode."""
    safe_reward: Reward = 1.0
    good_reward: Reward = 1.5
    bad_reward: Reward = -2.0
    bad_probability: Fraction = 0.1
    """Probability that a risky step pays `bad_reward`."""

    name: ClassVar[str] = "corridor"
    drawing: ClassVar[str] = "averse.report.worlds.corridor:DRAWING"
    num_agents: ClassVar[int] = 1
    ends_at_horizon: ClassVar[bool] = True
    action_space: ClassVar[Discrete] = Discrete(2)
    metrics: ClassVar[dict[str, str]] = {"risky": "fraction of the steps so far that were risky"}

    @property
    def horizon(self) -> int:
        """Steps of an episode."""
        return self.length

    @property
    def observation_size(self) -> int:
        """One place for each step."""
        return self.length

    @property
    def reward_bounds(self) -> tuple[float, float]:
        """Lowest and highest reward of a step."""
        rewards = (self.safe_reward, self.good_reward, self.bad_reward)
        return min(rewards), max(rewards)

    def observe(self, state: CorridorState) -> jax.Array:
        """The step, one-hot, float32 [1, length]; all zeros at the end."""
        return jax.nn.one_hot(state.time, self.length)[None]

    def reset(self, key: jax.Array) -> tuple[CorridorState, jax.Array]:
        """At the entrance: (state, observations [1, length])."""
        del key
        state = CorridorState(jnp.int32(0), jnp.float32(0.0))
        return state, self.observe(state)

    def step(self, key: jax.Array, state: CorridorState, actions: jax.Array) -> StepResult:
        """One step; actions int32 [1], `SAFE` or `RISKY`."""
        risky = actions[0] == RISKY
        bad = jax.random.bernoulli(key, self.bad_probability)
        reward = jnp.where(risky, jnp.where(bad, self.bad_reward, self.good_reward), self.safe_reward)
        state = CorridorState(state.time + 1, state.risky_steps + risky.astype(jnp.float32))
        return self.result(
            state,
            reward,
            costs=risky & bad,
            # The end of the corridor is the end of the task, not a time limit: nothing is left to collect.
            terminated=state.time >= self.length,
            info={"risky": state.risky_steps / state.time.astype(jnp.float32)},
        )
