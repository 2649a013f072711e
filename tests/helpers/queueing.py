"""A world with a time limit that cuts one agent's return and not the other's."""

import jax.numpy as jnp

from averse.environments.base import CompiledEnvironment
from averse.environments.protocol import Discrete
from averse.settings import settings


@settings
class Queueing(CompiledEnvironment):
    """The first agent earns 1 at its third step and is done; the second waits until the time limit cuts the episode."""

    num_agents = 2
    action_space = Discrete(2)
    observation_size = 1
    waiting_cost: float = 0.0  # of the second agent, each step
    horizon: int = 6

    @property
    def reward_bounds(self):
        return (-self.waiting_cost, 1.0)

    def reset(self, key):
        return jnp.int32(0), self.observe(jnp.int32(0))

    def observe(self, state):
        return jnp.full((2, 1), state, jnp.float32)

    def step(self, key, state, actions):
        time = state + 1
        rewards = jnp.array([jnp.where(time == 3, 1.0, 0.0), -self.waiting_cost])
        terminated = jnp.array([time >= 3, False])
        return self.result(time, rewards, terminated=terminated, truncated=time >= self.horizon)
