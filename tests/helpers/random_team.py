"""A random team game as a compiled environment that never ends, small enough to be solved exactly."""

from dataclasses import asdict, dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.protocol import Discrete, StepResult, all_available
from averse.planning import TeamGame


@dataclass(frozen=True)
class RandomTeam:
    """States 0..S-1, seen by all agents as one-hot vectors; a reward in each state and joint action, no end."""

    game_seed: int = 0
    states: int = 4
    agents: int = 2
    actions: int = 2
    horizon: int = 50

    name: ClassVar[str] = "random-team"
    average_reward: ClassVar[bool] = True
    metrics: ClassVar[dict[str, str]] = {"first_state": "whether it is in state 0"}

    def __post_init__(self):
        rng = np.random.default_rng(self.game_seed)
        shape = (self.states, *[self.actions] * self.agents)
        object.__setattr__(self, "_game", TeamGame(rng.dirichlet(np.ones(self.states), shape), rng.normal(size=shape)))

    def team_game(self):
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

    def parameters(self):
        return asdict(self)

    def return_bounds(self, gamma):
        return -10.0 / (1 - gamma), 10.0 / (1 - gamma)

    def observe(self, state):
        return jnp.broadcast_to(jax.nn.one_hot(state["here"], self.states), (self.agents, self.states))

    def state_at(self, index):
        return {"here": index, "time": jnp.int32(0)}

    def reset(self, key):
        state = self.state_at(jax.random.randint(key, (), 0, self.states))
        return state, self.observe(state)

    def step(self, key, state, actions):
        index = (state["here"], *actions)
        reward = jnp.asarray(self._game.reward, jnp.float32)[index]
        chances = jnp.asarray(np.log(self._game.transition), jnp.float32)[index]
        state = {"here": jax.random.categorical(key, chances).astype(jnp.int32), "time": state["time"] + 1}
        return StepResult(
            state=state,
            observations=self.observe(state),
            rewards=jnp.full(self.agents, reward),
            costs=jnp.zeros(self.agents),
            terminated=jnp.zeros(self.agents, bool),
            truncated=state["time"] >= self.horizon,
            info={"first_state": (state["here"] == 0).astype(jnp.float32)},
        )

    def global_state(self, state):
        return jax.nn.one_hot(state["here"], self.states)

    def available_actions(self, state):
        return all_available(self.action_space, self.agents)


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
