"""The safe-or-risky corridor: a probe whose right answer is known in closed form for every risk tolerance."""

from dataclasses import asdict, dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from averse.environments.protocol import Discrete, StepResult, all_available, discounted_bounds
from averse.errors import AverseError

SAFE, RISKY = 0, 1


class CorridorState(NamedTuple):
    time: jax.Array  # int32 [], steps taken
    risky_steps: jax.Array  # float32 []


@dataclass(frozen=True)
class Corridor:
    """`length` steps, each safe (`safe_reward`) or risky (`good_reward`, or `bad_reward` with `bad_probability`).

    The rewards of the steps are independent, so by the tower property the undiscounted entropic optimum compares, step
    by step, `safe_reward` with -tau log(0.9 exp(-1.5/tau) + 0.1 exp(2/tau)). With the default numbers this certainty
    equivalent is .062, .901, 1.017, 1.073 at tau = 1, 3, 5, 8: safe is optimal up to tau = 3 and risky from tau = 5 on,
    although the risky step has the better mean (1.15) throughout.
    """

    length: int = 10
    """Steps of an episode."""
    safe_reward: float = 1.0
    good_reward: float = 1.5
    bad_reward: float = -2.0
    bad_probability: float = 0.1
    """Probability that a risky step pays `bad_reward`."""

    name: ClassVar[str] = "corridor"
    num_agents: ClassVar[int] = 1
    action_space: ClassVar[Discrete] = Discrete(2)
    metrics: ClassVar[dict[str, str]] = {"risky": "fraction of the steps so far that were risky"}

    def __post_init__(self) -> None:
        if self.length < 1:
            raise AverseError(f"corridor: length must be at least 1, not {self.length}")
        if not 0.0 <= self.bad_probability <= 1.0:
            raise AverseError(f"corridor: bad_probability must lie in [0, 1], not {self.bad_probability}")

    @property
    def horizon(self) -> int:
        return self.length

    @property
    def observation_size(self) -> int:
        return self.length

    @property
    def global_state_size(self) -> int:
        return self.length

    def parameters(self) -> dict:
        return asdict(self)

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        rewards = (self.safe_reward, self.good_reward, self.bad_reward)
        return discounted_bounds(min(rewards), max(rewards), self.length, gamma)

    def _observe(self, state: CorridorState) -> jax.Array:
        return jax.nn.one_hot(state.time, self.length)

    def reset(self, key: jax.Array) -> tuple[CorridorState, jax.Array]:
        del key
        state = CorridorState(jnp.int32(0), jnp.float32(0.0))
        return state, self._observe(state)[None]

    def step(self, key: jax.Array, state: CorridorState, actions: jax.Array) -> StepResult:
        risky = actions[0] == RISKY
        bad = jax.random.bernoulli(key, self.bad_probability)
        reward = jnp.where(risky, jnp.where(bad, self.bad_reward, self.good_reward), self.safe_reward)
        state = CorridorState(state.time + 1, state.risky_steps + risky)
        return StepResult(
            state=state,
            observations=self._observe(state)[None],
            rewards=reward[None].astype(jnp.float32),
            costs=(risky & bad)[None].astype(jnp.float32),
            # The end of the corridor is the end of the task, not a time limit: nothing is left to collect.
            terminated=(state.time >= self.length)[None],
            truncated=jnp.bool_(False),
            info={"risky": state.risky_steps / state.time},
        )

    def global_state(self, state: CorridorState) -> jax.Array:
        return self._observe(state)

    def available_actions(self, state: CorridorState) -> jax.Array:
        del state
        return all_available(self.action_space, self.num_agents)
