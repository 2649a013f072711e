"""Two steps in which the best second one depends on how the first one went, which is not seen: only a budget tells."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments import CompiledEnvironment, Discrete, StepResult
from averse.planning import FiniteMDP
from averse.settings import settings

SAFE, GAMBLE = 0, 1
LUCKY, WIN = 0.5, 0.65  # probabilities
GAIN, LOSS = 1.5, -1.0
ALPHA = 0.5
BEST, BEST_BLIND = 0.3, 0.1
"""At this tail mass the best policy gambles after bad luck only. Who does not know the return so far had best gamble
always; never is worth 0."""


class LuckState(NamedTuple):
    time: jax.Array


@settings
class Luck(CompiledEnvironment):
    """First 1 or 0, whatever is done; then nothing for sure, or a gamble."""

    num_agents: ClassVar[int] = 1
    ends_at_horizon: ClassVar[bool] = True
    action_space: ClassVar[Discrete] = Discrete(2)
    observation_size: ClassVar[int] = 2
    horizon: ClassVar[int] = 2
    reward_bounds: ClassVar[tuple[float, float]] = (LOSS, GAIN)

    def observe(self, state):
        return jax.nn.one_hot(state.time, 2)[None]

    def reset(self, key):
        state = LuckState(jnp.int32(0))
        return state, self.observe(state)

    def step(self, key, state, actions) -> StepResult:
        lucky, wins = jax.random.bernoulli(key, jnp.array([LUCKY, WIN]))
        gambled = jnp.where(actions[0] == GAMBLE, jnp.where(wins, GAIN, LOSS), 0.0)
        reward = jnp.where(state.time == 0, lucky.astype(jnp.float32), gambled)
        state = LuckState(state.time + 1)
        return self.result(state, reward, terminated=state.time >= 2)


def model() -> FiniteMDP:
    """The same as a finite MDP: 0 the start, 1 before the second step, 2 to 4 what came of it."""
    transition, reward = np.zeros((6, 2, 6)), np.zeros((6, 2, 6))
    transition[0, :, 1], transition[0, :, 5] = LUCKY, 1 - LUCKY  # 1 and 5 are alike but for the reward on the way
    reward[0, :, 1] = 1.0
    for state in (1, 5):
        transition[state, SAFE, 2] = 1.0
        transition[state, GAMBLE, 3], transition[state, GAMBLE, 4] = WIN, 1 - WIN
        reward[state, GAMBLE, 3], reward[state, GAMBLE, 4] = GAIN, LOSS
    for state in (2, 3, 4):
        transition[state, :, state] = 1.0
    return FiniteMDP(transition, reward, horizon=2)


def cvar_of(gamble_after: tuple[float, float], alpha: float = ALPHA) -> float:
    """The CVaR of the return, exactly, by the probability of gambling after bad and after good luck."""
    outcomes = [
        (luck + gain, p * q)
        for luck, p, gamble in ((0.0, 1 - LUCKY, gamble_after[0]), (1.0, LUCKY, gamble_after[1]))
        for gain, q in ((0.0, 1 - gamble), (GAIN, gamble * WIN), (LOSS, gamble * (1 - WIN)))
    ]
    left, total = alpha, 0.0
    for value, p in sorted(outcomes):
        total, left = total + value * min(p, left), left - min(p, left)
    return total / alpha
