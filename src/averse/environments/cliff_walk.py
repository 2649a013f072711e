"""The cliff walk: two agents cross a 6 x 6 grid along a cliff, and get in each other's way (after Mazumdar et al.
2025).

    . . . . . .
    . . . . . .
    . . . . . .
    . . . . . .
    . . . . . .
    1 c c c c 2

Agent 1 walks from the bottom left corner to the bottom right one, agent 2 the other way. Four moves: up, down, left,
right. A move succeeds with probability .9, but .5 while the other agent is within one cell (diagonals included);
otherwise the agent is carried in one of the other three directions, each as likely. Walls stop. The cliff pays -2, the
own goal +1, and both hold the agent for good; there it is out of the way. (The papers do not say where failing moves
lead or where the agents start: this is our reading.)

The rules are tables, of which the environment and the Markov game `CliffWalk.model()` are both made. Cells are numbered
row by row from the top left.
"""

import itertools
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.base import CompiledEnvironment
from averse.environments.protocol import Discrete, StepResult, discounted_bounds
from averse.environments.ranges import Reward, Steps
from averse.games import MarkovGame
from averse.settings import Fraction, settings

SIZE = 6
CELLS = SIZE * SIZE
MOVES = ("up", "down", "left", "right")
LEFT_CORNER, RIGHT_CORNER = CELLS - SIZE, CELLS - 1
STARTS = (LEFT_CORNER, RIGHT_CORNER)
GOALS = (RIGHT_CORNER, LEFT_CORNER)
CLIFF = tuple(range(LEFT_CORNER + 1, RIGHT_CORNER))


class Rules(NamedTuple):
    """The model of one agent among two, as tables over cells."""

    moved: Any  # int [36, 4]: where a direction leads
    held: Any  # bool [2, 36]: cells that hold agent i for good
    pay: Any  # float [2, 36]: what agent i earns on entering a cell
    success: Any  # float [36, 36]: probability that a move succeeds, by the cells of agents 1 and 2


class CliffWalkState(NamedTuple):
    """Where both agents are."""

    cells: jax.Array  # int32 [2]
    time: jax.Array  # int32 [], steps taken


@settings
class CliffWalk(CompiledEnvironment):
    """Two agents with rewards of their own, -2 at the cliff and +1 at the goal, for a fixed number of steps.

    The end of the horizon is the end of the task: nothing is left to collect. An agent sees the cells of itself and of
    the other (one-hot) and the fraction of the horizon that has passed.
    """

    horizon: Steps = 20
    """Steps of an episode."""
    success: Fraction = 0.9
    """Probability that a move succeeds."""
    success_near: Fraction = 0.5
    """The same while the other agent is within one cell."""
    cliff_reward: Reward = -2.0
    """Paid once, on falling off the cliff."""
    goal_reward: Reward = 1.0
    """Paid once, on reaching the goal."""

    name: ClassVar[str] = "cliff-walk"
    drawing: ClassVar[str] = "averse.report.worlds.cliff_walk:DRAWING"
    num_agents: ClassVar[int] = 2
    ends_at_horizon: ClassVar[bool] = True
    action_space: ClassVar[Discrete] = Discrete(len(MOVES))
    observation_size: ClassVar[int] = 2 * CELLS + 1
    global_state_size: ClassVar[int] = 2 * CELLS + 1
    metrics: ClassVar[dict[str, str]] = {
        "falls": "agents that fell off the cliff (0-2)",
        "goals": "agents that reached their goal (0-2)",
    }

    @cached_property
    def rules(self) -> Rules:
        """The model of one agent among two, numpy."""
        cells = np.arange(CELLS)
        rows, columns = np.divmod(cells, SIZE)
        steps = ((-1, 0), (1, 0), (0, -1), (0, 1))
        moved = [
            np.clip(rows + down, 0, SIZE - 1) * SIZE + np.clip(columns + right, 0, SIZE - 1) for down, right in steps
        ]
        held = np.stack([np.isin(cells, (*CLIFF, goal)) for goal in GOALS])
        pay = np.where(np.isin(cells, CLIFF), self.cliff_reward, 0.0)
        near = (abs(rows[:, None] - rows) <= 1) & (abs(columns[:, None] - columns) <= 1)
        near &= ~held[0][:, None] & ~held[1]
        return Rules(
            moved=np.stack(moved, -1),
            held=held,
            pay=np.stack([pay + self.goal_reward * (cells == goal) for goal in GOALS]),
            success=np.where(near, self.success_near, self.success),
        )

    def model(self) -> MarkovGame:
        """The same as a Markov game: 1,296 states, four actions each, sixteen outcomes.

        States are numbered cell1 * 36 + cell2. Source of the game: Mazumdar et al. 2025, in our reading.
        """
        rules = self.rules
        first, second = np.divmod(np.arange(CELLS**2), CELLS)
        chance = rules.success[first, second]
        directions = range(len(MOVES))
        shape = (CELLS**2, 4, 4, 16)
        probabilities, states, rewards = np.empty(shape), np.empty(shape, dtype=int), np.empty((2, *shape))
        for a, b in itertools.product(directions, repeat=2):
            for k, (c, d) in enumerate(itertools.product(directions, repeat=2)):
                own = [np.where(chosen == carried, chance, (1 - chance) / 3) for chosen, carried in ((a, c), (b, d))]
                probabilities[:, a, b, k] = own[0] * own[1]
                after = [
                    np.where(rules.held[i][cell], cell, rules.moved[cell, direction])
                    for i, (cell, direction) in enumerate(((first, c), (second, d)))
                ]
                states[:, a, b, k] = after[0] * CELLS + after[1]
                for i, cell in enumerate((first, second)):
                    rewards[i, :, a, b, k] = np.where(rules.held[i][cell], 0.0, rules.pay[i][after[i]])
        return MarkovGame(probabilities, states, rewards, self.horizon, start=STARTS[0] * CELLS + STARTS[1])

    def state_at(self, index: jax.Array, time: jax.Array | int = 0) -> CliffWalkState:
        """The state of a number of `model()`, after `time` steps of an episode."""
        return CliffWalkState(jnp.stack([index // CELLS, index % CELLS]).astype(jnp.int32), jnp.int32(time))

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        """Lowest and highest discounted return of an agent from any state: it is paid once at most."""
        del gamma
        rewards = (0.0, self.cliff_reward, self.goal_reward)
        return discounted_bounds(min(rewards), max(rewards), 1, 1.0)

    def reset(self, key: jax.Array) -> tuple[CliffWalkState, jax.Array]:
        """Both agents in their corners: (state, observations [2, 73])."""
        del key
        state = CliffWalkState(jnp.array(STARTS, jnp.int32), jnp.int32(0))
        return state, self.observe(state)

    def step(self, key: jax.Array, state: CliffWalkState, actions: jax.Array) -> StepResult:
        """One move of both; actions int32 [2], indices of `MOVES`."""
        rules = Rules(*map(jnp.asarray, self.rules))
        agents = jnp.arange(2)
        success_key, direction_key = jax.random.split(key)
        succeeds = jax.random.uniform(success_key, (2,)) < rules.success[state.cells[0], state.cells[1]]
        others = (actions + jax.random.randint(direction_key, (2,), 1, len(MOVES))) % len(MOVES)
        held = rules.held[agents, state.cells]
        moved = rules.moved[state.cells, jnp.where(succeeds, actions, others)]
        cells = jnp.where(held, state.cells, moved).astype(jnp.int32)
        state = CliffWalkState(cells, state.time + 1)
        off_cliff = jnp.isin(cells, jnp.array(CLIFF))
        at_goal = cells == jnp.array(GOALS)
        return self.result(
            state,
            jnp.where(held, 0.0, rules.pay[agents, cells]),
            costs=off_cliff & ~held,
            terminated=rules.held[agents, cells] | (state.time >= self.horizon),
            info={"falls": off_cliff.sum(), "goals": at_goal.sum()},
        )

    def observe(self, state: CliffWalkState) -> jax.Array:
        """What both agents see, float32 [2, 73]."""
        own = jax.nn.one_hot(state.cells, CELLS)
        passed = jnp.full((2, 1), state.time / self.horizon)
        return jnp.concatenate([own, own[::-1], passed], -1)

    def global_state(self, state: CliffWalkState) -> jax.Array:
        """What agent 1 sees, which is all there is, float32 [73]."""
        return self.observe(state)[0]
