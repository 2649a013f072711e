"""A world as a `pettingzoo.ParallelEnv`."""

from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from averse.environments.adapters.episode import Episode, built, episode_seed, info_of, spaces_of
from averse.environments.adapters.pictures import rendering_of
from averse.environments.protocol import Description, TimeStep
from averse.errors import AverseError


class AverseParallelEnv(ParallelEnv):
    """See `averse.environments.to_pettingzoo`."""

    def __init__(self, environment: Description | str, render_mode: str | None = None, **parameters: Any):
        self.environment = built(environment, parameters)
        name, count = self.environment.name, self.environment.num_agents
        self.metadata = {"name": name, "is_parallelizable": True, **rendering_of(self.environment)}
        self.render_mode = render_mode
        self.possible_agents = list(getattr(self.environment, "agents", [f"agent_{i}" for i in range(count)]))
        self.agents: list[str] = []
        spaces = [spaces_of(self.environment) for _ in self.possible_agents]
        self.observation_spaces = {agent: own for agent, (own, *_) in zip(self.possible_agents, spaces)}
        self.action_spaces = {agent: own for agent, (_, own, _) in zip(self.possible_agents, spaces)}
        self.state_space = spaces[0][2]
        self.horizon = self.environment.horizon
        self._episode = Episode(self.environment, render_mode)
        self._generator = np.random.default_rng()

    def observation_space(self, agent: str) -> Any:
        """What an agent sees."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """What an agent chooses from."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """A fresh episode: observations, float32 [O], and infos by agent. `options` are none of ours."""
        del options
        if seed is not None:
            self._generator = np.random.default_rng(episode_seed(seed, self._generator))
        step = self._episode.begin(episode_seed(seed, self._generator))
        self.agents = list(self.possible_agents)
        return self._observations(step), self._infos(step, False)

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """One step of the agents that play: observations, rewards, terminations, truncations, infos by agent.

        Raises AverseError where an agent that plays has no action, for actions outside the space, and where no episode
        runs.
        """
        if missing := [agent for agent in self.agents if agent not in actions]:
            raise AverseError(f"{self.environment.name}: {missing[0]} plays, and is given no action")
        step = self._episode.step(
            [actions[agent] if agent in self.agents else self._idle(agent) for agent in self.possible_agents]
        )
        observations, infos = self._observations(step), self._infos(step, True)
        rewards = {agent: float(step.rewards[0][i]) for i, agent in self._playing()}
        terminated = {agent: bool(step.terminated[0][i]) for i, agent in self._playing()}
        truncated = {agent: bool(step.truncated[0]) and not terminated[agent] for agent in self.agents}
        self.agents = [agent for agent in self.agents if not (terminated[agent] or truncated[agent])]
        return observations, rewards, terminated, truncated, infos

    def state(self) -> np.ndarray:
        """What a centralised critic sees, float32 [G]."""
        return self._state.copy()

    def render(self) -> Any:
        """What is to be seen now, uint8 [H, W, 3]; None without a render mode. Raises AverseError before `reset`."""
        return self._episode.picture()

    def close(self) -> None:
        """End the simulator, if it is one."""
        self._episode.close()

    def _playing(self) -> list[tuple[int, str]]:
        return [(i, agent) for i, agent in enumerate(self.possible_agents) if agent in self.agents]

    def _idle(self, agent: str) -> Any:
        """An action of an agent that has ended: whatever it may choose, which changes nothing."""
        space = self.action_spaces[agent]
        i = self.possible_agents.index(agent)
        return int(self._available[i].argmax()) if space.shape == () else np.zeros(space.shape, space.dtype)

    def _observations(self, step: TimeStep) -> dict[str, np.ndarray]:
        self._state = np.array(step.next_global_state[0])
        self._available = np.array(step.next_available[0])
        return {agent: np.array(step.next_observations[0][i]) for i, agent in self._playing()}

    def _infos(self, step: TimeStep, started: bool) -> dict[str, dict]:
        return {agent: info_of(step, i, self.environment, started) for i, agent in self._playing()}
