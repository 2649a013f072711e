"""Worlds for the doors to Gymnasium and PettingZoo, in order and out of order. Imports no JAX and no pytest.

`gymnasium:foreign_worlds:Odd-v0` and `pettingzoo:foreign_worlds:Dying` name them.
"""

import os
import signal
import sys

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import AgentSelector

KILL = 2  # an action of Odd's that ends its process, where its fault is `deadly`
PARTS = {
    "place": spaces.Discrete(3),
    "pair": spaces.Tuple((spaces.Box(-1.0, 1.0, (2, 2)), spaces.MultiBinary(2))),
}


class Odd(gymnasium.Env):
    """Counts its steps, with observations of several parts; where it is told to, it has a fault at its second step.

    The first episodes are `spared`.
    """

    def __init__(self, fault: str = "", length: int = 5, ends: bool = True, spared: int = 0):
        self.observation_space = spaces.Dict(PARTS)
        self.action_space = spaces.Discrete(3, start=7)
        self._fault, self._length, self._ends = fault, length, ends
        self._spared = spared

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._time = 0
        self._spared -= 1
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is no action"
        if self._fault == "deadly" and action == KILL + 7:
            os.kill(os.getpid(), signal.SIGKILL)
        self._time += 1
        faulty = self._fault if self._time == 2 and self._spared < 0 else ""
        rewards = {"no number": np.nan, "infinite": 1e39, "text": "high", "list": [1.0], "none": None}
        observation = self._observe()
        if faulty == "observation":
            observation["pair"][0][0, 1] = np.nan
        if faulty == "shape":
            observation["place"] = 3
        info = {"cost": 0.25 * self._time, "jax": "jax" in sys.modules, "time": self._time}
        costs = {"negative": -1.0, "cost": "dear"}
        if faulty in costs:
            info["cost"] = costs[faulty]
        if faulty == "mask":
            info["action_mask"] = np.zeros(3, np.int8)
        if faulty == "info":
            info = None
        over = self._time == self._length
        reward = rewards.get(faulty, self._time + 0.1)
        if faulty == "four":
            return observation, reward, over, info
        if faulty == "truth":
            return observation, reward, "no", False, info
        return observation, reward, over and self._ends, over, info

    def _observe(self):
        drawn = self.np_random.uniform(-1.0, 1.0, (2, 2)).astype(np.float32)
        return {"place": self._time % 3, "pair": (drawn, np.array([1, self._time % 2], np.int8))}


class Stretched(gymnasium.Env):
    """Pays what its action, a 1 x 2 array with bounds of its own for each number, adds up to. Has no time limit."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)

    def __init__(self, low=(0.0, -10.0), high=(1.0, 30.0)):
        self.action_space = spaces.Box(np.array([low], np.float32), np.array([high], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is no action"
        return np.zeros(1), float(action.sum()), False, False, {}


class Spaced(Stretched):
    """Only has spaces, which no vector or no package holds."""

    SPACES = {  # noqa: RUF012
        "text": spaces.Text(5),
        "sequence": spaces.Sequence(spaces.Box(0.0, 1.0)),
        "many": spaces.MultiDiscrete([2, 3]),
        "unbounded": spaces.Box(-np.inf, np.inf, (2,)),
        "whole": spaces.Box(0, 3, (2,), np.int32),
        "one": spaces.Discrete(2),
    }

    def __init__(self, seen="one", acted="one"):
        self.observation_space, self.action_space = self.SPACES[seen], self.SPACES[acted]


class Hidden(gymnasium.Env):
    """Draws what it shows, and how long it lasts, from numpy's own generator, which all of a process share."""

    observation_space = spaces.Box(0.0, 1.0, (2,), np.float64)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        np.random.seed(seed)
        return np.random.random(2), {}

    def step(self, action):
        seen = np.random.random(2)
        return seen, float(seen[0]), bool(seen[1] < 0.2), False, {}


gymnasium.register("Odd-v0", Odd, max_episode_steps=20)
gymnasium.register("Stretched-v0", "foreign_worlds:Stretched")
gymnasium.register("Spaced-v0", "foreign_worlds:Spaced", max_episode_steps=5)
gymnasium.register("Hidden-v0", Hidden, max_episode_steps=8)
gymnasium.register("Local-v0", lambda: Odd(), max_episode_steps=5)


class Dying(ParallelEnv):
    """Three agents of different sizes; a dies after 2 steps, b after 4, c is cut after 6. Rewards are 1, 10, 100.

    Masks: a's in its observation, b's in its info. With `fault` agents come and go as they must not.
    """

    metadata = {"name": "dying"}  # noqa: RUF012
    LIFE = {"a": 2, "b": 4}  # noqa: RUF012

    def __init__(self, fault: str = ""):
        self.possible_agents = ["a", "b", "c"]
        self._fault = fault
        box = spaces.Box(-1.0, 1.0, (3,))
        self._seen = {
            "a": spaces.Dict({"observation": box, "action_mask": spaces.MultiBinary(2)}),
            "b": spaces.Box(-9.0, 9.0, (1,)),
            "c": spaces.Discrete(4),
        }
        self._acted = {"a": spaces.Discrete(2), "b": spaces.Discrete(4), "c": spaces.Discrete(3)}
        self.state_space = spaces.Box(0.0, 9.0, (1,))

    def observation_space(self, agent):
        return self._seen[agent]

    def action_space(self, agent):
        return self._acted[agent]

    def state(self):
        return np.array([self._time], np.float32)

    def reset(self, seed=None, options=None):
        self._time = 0
        self.agents = ["a", "b"] if self._fault == "late" else ["a", "b", "c"]
        observations, infos = self._observe(), self._infos()
        return observations if self._fault == "old" else (observations, infos)

    def step(self, actions):
        assert set(actions) == set(self.agents), f"{actions} for {self.agents}"
        assert all(self._acted[agent].contains(action) for agent, action in actions.items())
        self._time += 1
        cut = dict.fromkeys(self.agents, self._time >= 6)
        if self._fault == "alone" and self._time == 3:
            cut["c"] = True
        dead = {agent: self._time >= self.LIFE.get(agent, 99) for agent in self.agents}
        rewards = {agent: {"a": 1.0, "b": 10.0, "c": 100.0}[agent] + actions[agent] for agent in self.agents}
        observations, infos = self._observe(), self._infos()
        self.agents = [agent for agent in self.agents if not dead[agent] and not cut[agent]]
        if self._time == 3:
            self._disturb(observations, rewards)
        return observations, rewards, dead, cut, infos

    def _disturb(self, observations, rewards):
        if self._fault == "joins":
            self.agents.append("d")
        if self._fault == "returns":
            self.agents.append("a")
        if self._fault == "leaves":
            self.agents.remove("c")
        if self._fault == "unseen":
            del observations["b"]
        if self._fault == "unpaid":
            del rewards["b"]

    def _observe(self):
        each = {
            "a": {"observation": np.full(3, 0.1 * self._time, np.float32), "action_mask": np.array([0, 1], np.int8)},
            "b": np.array([self._time], np.float32),
            "c": self._time % 4,
        }
        return {agent: each[agent] for agent in self.agents}

    def _infos(self):
        infos = {agent: {"cost": 0.5, "time": self._time} for agent in self.agents}
        infos.get("b", {})["action_mask"] = np.array([True, False, False, True])
        return infos


class Turns(AECEnv):
    """Two agents take turns for three rounds, and are told apart by what the other did; says whether it converts."""

    def __init__(self, parallel: bool = True):
        self.metadata = {"name": "turns", "is_parallelizable": parallel}
        self.possible_agents = ["x", "y"]
        self.render_mode = None
        self.max_cycles = 3

    def observation_space(self, agent):
        return spaces.Discrete(3)

    def action_space(self, agent):
        return spaces.Discrete(3)

    def observe(self, agent):
        return self._last["y" if agent == "x" else "x"]

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self._last, self._round = {"x": 0, "y": 0}, 0
        self._order = AgentSelector(self.agents)
        self.agent_selection = self._order.next()
        self.rewards, self._cumulative_rewards = dict.fromkeys(self.agents, 0.0), dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}

    def step(self, action):
        agent = self.agent_selection
        if self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._last[agent] = action
        self.rewards = dict.fromkeys(self.agents, 0.0)
        if self._order.is_last():
            self._round += 1
            self.rewards = {"x": float(self._last["y"]), "y": -float(self._last["x"])}
            self.truncations = dict.fromkeys(self.agents, self._round == 3)
        self._cumulative_rewards[agent] = 0
        self._accumulate_rewards()
        self.agent_selection = self._order.next()

    def close(self):
        pass


env = Turns
