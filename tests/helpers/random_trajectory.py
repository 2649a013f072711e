"""An environment that nobody steps, and a trajectory of random numbers in it, for tests of learners' updates."""

from functools import partial

import jax
import jax.numpy as jnp

from averse.environments import SetLayout
from averse.environments.protocol import Discrete
from averse.learners.contract import Trajectory


class World:
    """Sizes of an environment that nobody steps."""

    name = "world"
    num_agents = 3
    observation_size = 5
    global_state_size = 7
    horizon = 50
    metrics: dict = {}  # noqa: RUF012

    def __init__(self, action_space=Discrete(4)):  # noqa: B008
        self.action_space = action_space

    def return_bounds(self, gamma):
        return -10.0, 10.0

    def parameters(self):
        return {}


class WorldOfSets(World):
    """The same sizes, and what they are made of."""

    observation_layout = SetLayout(own=1, count=2, size=2)
    global_state_layout = SetLayout(own=1, count=2, size=3)


def trajectory(world, learner, state, seed=0):
    """Random observations and rewards, with actions that the learner itself takes."""
    return _trajectory(world, learner, state, jax.random.key(seed))


@partial(jax.jit, static_argnums=(0, 1))
def _trajectory(world, learner, state, key):
    shape = (learner.rollout_steps, learner.num_envs)
    keys = jax.random.split(key, 8)
    agents = (*shape, world.num_agents)
    observations = jax.random.normal(keys[0], (*agents, world.observation_size))
    n = world.action_space.num_actions if isinstance(world.action_space, Discrete) else 1
    available = jax.random.bernoulli(keys[1], 0.7, (*agents, n)).at[..., 0].set(True)
    blank = learner.initial_memory(learner.num_envs)
    memory = jax.tree.map(lambda x: jnp.broadcast_to(x, (learner.rollout_steps, *x.shape)), blank)
    actions, extras = (learner.behave or learner.act)(state, observations, available, keys[2], memory=memory)
    return Trajectory(
        observations=observations,
        global_state=jax.random.normal(keys[3], (*shape, world.global_state_size)),
        available=available,
        actions=actions,
        extras=extras,
        rewards=jax.random.normal(keys[4], agents),
        costs=jnp.zeros(agents),
        terminated=jax.random.bernoulli(keys[5], 0.1, agents),
        truncated=jax.random.bernoulli(keys[6], 0.1, shape),
        active=jnp.ones(agents, bool),
        first=jnp.zeros(shape, bool),
        next_observations=jax.random.normal(keys[7], (*agents, world.observation_size)),
        next_global_state=jax.random.normal(keys[3], (*shape, world.global_state_size)),
        next_available=available,
        memory=memory,
    )
