"""A method that compiles at once: one distribution of actions for all states, moved towards what paid best.

`AVERSE` judges an action by the entropic measure of its rewards, `NEUTRAL` by their mean. In the corridor the first
comes to the safe step at a small tau, the second to the risky one.
"""

import math
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Gt

from averse.environments.protocol import Discrete
from averse.errors import AverseError
from averse.learners import Learner, Method
from averse.settings import Count, Positive, settings


@settings
class TriflingConfig:
    """Its settings."""

    tau: Annotated[float, Gt(0)] = math.inf
    """Risk tolerance."""
    learning_rate: Positive = 5.0
    """How far the distribution moves per update."""
    final_learning_rate: Positive = 1.0
    """Not used; there so that it can be tuned."""
    num_envs: Count = 64
    """Environments side by side."""
    rollout_steps: Count = 10
    """Steps of each per update."""


class State(NamedTuple):
    logits: jax.Array  # [n]
    tau: jax.Array  # []
    sums: jax.Array  # [3, n]: how often each action was chosen, its rewards, and exp(-reward / tau)


def trifling(config, environment, total_updates):
    if not isinstance(environment.action_space, Discrete):
        raise AverseError("trifling needs discrete actions")
    actions = environment.action_space.num_actions

    def init(key, tau=config.tau):
        return State(0.1 * jax.random.normal(key, (actions,)), jnp.float32(tau), jnp.full((3, actions), 1e-6))

    def act(state, observations, available, key, memory=(), greedy=False):
        logits = jnp.where(available, state.logits, -jnp.inf)
        return (logits.argmax(-1) if greedy else jax.random.categorical(key, logits)).astype(jnp.int32), {}

    def update(state, trajectory):
        chosen = jax.nn.one_hot(trajectory.actions, actions).reshape(-1, actions)
        rewards = trajectory.rewards.reshape(-1)
        rate = jnp.where(jnp.isinf(state.tau), 0.0, 1.0 / state.tau)
        sums = state.sums + jnp.stack([jnp.ones_like(rewards), rewards, jnp.exp(-rate * rewards)]) @ chosen
        number, total, weight = sums
        averse = -jnp.log(weight / number) / jnp.maximum(rate, 1e-30)
        worth = jnp.where(rate > 0, averse, total / number)
        centred = worth - worth.mean()
        moved = state.logits + config.learning_rate * centred
        return state._replace(logits=moved, sums=sums), {"spread": jnp.abs(centred).max()}

    return Learner(
        init=init,
        act=act,
        update=update,
        predict_returns=None,
        initial_memory=lambda num_envs: (),
        sweepable=frozenset({"tau"}),
        rollout_steps=config.rollout_steps,
        num_envs=config.num_envs,
        gamma=1.0,
    )


NEUTRAL = Method(TriflingConfig(), trifling, "Moves towards the best mean.")
AVERSE = Method(TriflingConfig(tau=1.0), trifling, "Moves towards the best entropic measure.")
