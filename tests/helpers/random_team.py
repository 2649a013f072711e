"""A random team game as a compiled environment that never ends, small enough to be solved exactly."""

from functools import cached_property
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments import CompiledEnvironment, Discrete
from averse.planning import TeamGame
from averse.settings import Count, Whole, settings


@settings
class RandomTeam(CompiledEnvironment):
    """States 0..S-1, seen by all agents as one-hot vectors; a reward in each state and joint action, no end."""

    game_seed: Whole = 0
    states: Count = 4
    agents: Count = 2
    actions: Count = 2
    horizon: Count = 50

    name: ClassVar[str] = "random-team"
    average_reward: ClassVar[bool] = True
    metrics: ClassVar[dict[str, str]] = {"first_state": "whether it is in state 0"}

    @cached_property
    def _game(self):
        rng = np.random.default_rng(self.game_seed)
        shape = (self.states, *[self.actions] * self.agents)
        return TeamGame(rng.dirichlet(np.ones(self.states), shape), rng.normal(size=shape))

    def model(self):
        return self._game

    @property
    def num_agents(self):
        return self.agents

    @property
    def action_space(self):
        return Discrete(self.actions)

    @property
    def observation_size(self):
        return self.states

    @property
    def global_state_size(self):
        return self.states

    @property
    def reward_bounds(self):
        return self._game.reward.min(), self._game.reward.max()

    def observe(self, state):
        return jnp.broadcast_to(jax.nn.one_hot(state["here"], self.states), (self.agents, self.states))

    def state_at(self, index, time=0):
        return {"here": index, "time": jnp.int32(time)}

    def reset(self, key):
        state = self.state_at(jax.random.randint(key, (), 0, self.states))
        return state, self.observe(state)

    def step(self, key, state, actions):
        index = (state["here"], *actions)
        reward = jnp.asarray(self._game.reward, jnp.float32)[index]
        chances = jnp.asarray(np.log(self._game.transition), jnp.float32)[index]
        state = {"here": jax.random.categorical(key, chances).astype(jnp.int32), "time": state["time"] + 1}
        return self.result(
            state, reward, truncated=state["time"] >= self.horizon, info={"first_state": state["here"] == 0}
        )

    def global_state(self, state):
        return jax.nn.one_hot(state["here"], self.states)


def best_objective(game, beta):
    """The largest J of all deterministic policies, which suffice as J is convex in the occupancy measure."""
    import itertools

    from averse.planning import mean_variance

    tables = [
        np.eye(size)[list(choice)]
        for size in game.num_actions
        for choice in itertools.product(range(size), repeat=game.num_states)
    ]
    per_agent = [
        [table for table in tables if table.shape[1] == size][: size**game.num_states] for size in game.num_actions
    ]
    return max(mean_variance(game, list(policy), beta).objective for policy in itertools.product(*per_agent))
