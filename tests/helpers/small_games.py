"""Small compiled environments whose right answer is known, and a way to train on them."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse import learners
from averse.environments.corridor import Corridor
from averse.environments.protocol import Discrete, StepResult
from averse.evaluation.play import compiled_player
from averse.training.compiled import CompiledGroup


class Position(NamedTuple):
    time: jax.Array  # int32 []
    hidden: jax.Array  # int32 []


class _Game:
    """Two agents with two actions, everything allowed, one reward for both."""

    num_agents = 2
    action_space = Discrete(2)
    metrics: dict = {}  # noqa: RUF012

    def parameters(self) -> dict:
        return {}

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        return 0.0, 8.0

    def available_actions(self, state: Position) -> jax.Array:
        return jnp.ones((2, 2), bool)

    def _result(self, state: Position, reward: jax.Array, done: jax.Array) -> StepResult:
        observations = jnp.broadcast_to(self.global_state(state), (2, self.observation_size))
        return StepResult(
            state=state,
            observations=observations,
            rewards=jnp.full(2, reward, jnp.float32),
            costs=jnp.zeros(2),
            terminated=jnp.full(2, done),
            truncated=jnp.bool_(False),
            info={},
        )


class TwoStep(_Game):
    """The two-step game of Rashid et al. 2018: the first agent's first action picks the payoffs of the second step.

    Game A pays 7 whatever they do, game B [[0, 1], [1, 8]]. The optimum is 8. The best additive fit of B under uniform
    play promises 6.5, so that VDN takes the 7.
    """

    name = "two-step"
    observation_size = global_state_size = 3
    horizon = 2

    def reset(self, key: jax.Array):
        state = Position(jnp.int32(0), jnp.int32(0))
        return state, jnp.broadcast_to(self.global_state(state), (2, 3))

    def global_state(self, state: Position) -> jax.Array:
        return jax.nn.one_hot(jnp.where(state.time == 0, 0, 1 + state.hidden), 3)

    def step(self, key: jax.Array, state: Position, actions: jax.Array) -> StepResult:
        payoff_b = jnp.array([[0.0, 1.0], [1.0, 8.0]])[actions[0], actions[1]]
        payoff = jnp.where(state.hidden == 0, 7.0, payoff_b)
        after = Position(state.time + 1, jnp.where(state.time == 0, actions[0], state.hidden).astype(jnp.int32))
        return self._result(after, jnp.where(state.time == 0, 0.0, payoff), state.time == 1)


class Recall(_Game):
    """A cue is shown at the first of 4 steps; whoever repeats it at the last earns half a point. Guessing earns 0.5.

    All agents see the cue (as two lights) and the time.
    """

    name = "recall"
    observation_size = global_state_size = 6
    horizon = 4

    def reset(self, key: jax.Array):
        state = Position(jnp.int32(0), jax.random.bernoulli(key).astype(jnp.int32))
        return state, jnp.broadcast_to(self.global_state(state), (2, 6))

    def global_state(self, state: Position) -> jax.Array:
        cue = jax.nn.one_hot(state.hidden, 2) * (state.time == 0)
        return jnp.concatenate([cue, jax.nn.one_hot(state.time, 4)])

    def step(self, key: jax.Array, state: Position, actions: jax.Array) -> StepResult:
        last = state.time == 3
        after = Position(state.time + 1, state.hidden)
        return self._result(after, jnp.where(last, (actions == state.hidden).mean(), 0.0), last)


@dataclass(frozen=True)
class MatrixGame(_Game):
    """One simultaneous choice: agent i earns payoffs[i][own action][the other's action]."""

    payoffs: tuple

    name: ClassVar[str] = "matrix-game"
    observation_size: ClassVar[int] = 1
    global_state_size: ClassVar[int] = 1
    horizon: ClassVar[int] = 1

    def reset(self, key: jax.Array):
        return Position(jnp.int32(0), jnp.int32(0)), jnp.ones((2, 1))

    def global_state(self, state: Position) -> jax.Array:
        return jnp.ones(1)

    def step(self, key: jax.Array, state: Position, actions: jax.Array) -> StepResult:
        payoffs = jnp.asarray(self.payoffs, jnp.float32)
        rewards = payoffs[jnp.arange(2), actions, actions[::-1]]
        return self._result(state, 0.0, jnp.bool_(True))._replace(rewards=rewards)


@dataclass(frozen=True)
class CoinChain(Corridor):
    """A Markov reward process: whatever the action, each of `length` steps pays `good_reward` or `bad_reward`."""

    def step(self, key: jax.Array, state: Any, actions: jax.Array) -> StepResult:
        return super().step(key, state, jnp.ones_like(actions))


def train(environment: Any, method: str, updates: int, seeds: int = 5, **settings: Any):
    """Train seeds 0, 1, ... in one program: (learner, states with a leading axis of seeds, last metrics per seed)."""
    learner = learners.learner(method, environment, total_updates=updates, **settings)
    group = CompiledGroup(environment, learner, [{"seed": seed} for seed in range(seeds)])
    group.start()
    chunk = max(1, updates // 10)
    for _ in range(updates // chunk):
        metrics, _ = group.advance(chunk)
    return learner, group.learner_states(), metrics


def greedy_returns(environment: Any, learner: Any, states: Any, episodes: int = 100) -> np.ndarray:
    """Mean undiscounted return, averaged over agents, of each seed's greedy policy."""
    play = compiled_player(environment, learner, greedy=True)
    count = jax.tree.leaves(states)[0].shape[0]
    played = [play(jax.tree.map(lambda x: x[i], states), np.arange(episodes)) for i in range(count)]  # noqa: B023
    return np.array([p.returns.mean() for p in played])
