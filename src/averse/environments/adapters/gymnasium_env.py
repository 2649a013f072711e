"""A world of one agent as a `gymnasium.Env`."""

from typing import Any

import gymnasium
import numpy as np

from averse.environments.adapters.episode import Episode, built, episode_seed, info_of, spaces_of
from averse.environments.adapters.pictures import MODES, rendering_of
from averse.environments.protocol import Description
from averse.errors import AverseError


class AverseEnv(gymnasium.Env):
    """See `averse.environments.to_gymnasium`."""

    metadata: dict[str, Any] = {"render_modes": list(MODES), "render_fps": 30}  # noqa: RUF012

    def __init__(self, environment: Description | str, render_mode: str | None = None, **parameters: Any):
        self.environment = built(environment, parameters)
        name, agents = self.environment.name, self.environment.num_agents
        if agents != 1:
            raise AverseError(f"{name} has {agents} agents, and a Gymnasium environment has one: use to_pettingzoo")
        self.metadata = rendering_of(self.environment)
        self.render_mode = render_mode
        self.observation_space, self.action_space, _ = spaces_of(self.environment)
        self.horizon = self.environment.horizon
        self._episode = Episode(self.environment, render_mode)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """A fresh episode: the observation, float32 [O], and info. `options` are none of ours."""
        del options
        super().reset(seed=seed)
        step = self._episode.begin(episode_seed(seed, self.np_random))
        return np.array(step.observations[0][0]), info_of(step, 0, self.environment, False)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """One step: observation, reward, terminated, truncated, info.

        Raises AverseError for an action outside the space, and where no episode runs.
        """
        step = self._episode.step(np.asarray(action)[None])
        return (
            np.array(step.next_observations[0][0]),
            float(step.rewards[0][0]),
            bool(step.terminated[0][0]),
            bool(step.truncated[0]),
            info_of(step, 0, self.environment, True),
        )

    def render(self) -> Any:
        """What is to be seen now, uint8 [H, W, 3]; None without a render mode. Raises AverseError before `reset`."""
        return self._episode.picture()

    def close(self) -> None:
        """End the simulator, if it is one."""
        self._episode.close()
