"""Where policies play, compiled or simulated: opened once, for as many policies of as many methods as there are."""

from collections.abc import Callable
from typing import Any

import numpy as np

from averse.environments.protocol import Description, Environment, HostEnvironment, HostVector
from averse.environments.workers.placement import start_vector
from averse.evaluation.accounts import Played
from averse.evaluation.host_play import learned, play_host
from averse.evaluation.play import compiled_player
from averse.learners.contract import Learner

Play = Callable[[Any, np.ndarray, Callable[[int], None]], Played]
"""`play(state, seeds [E], on_progress) -> Played`: one episode per seed with the policy of a learner's state;
`on_progress` is called with the number of episodes that have ended since."""


class Stage:
    """An environment that is open for playing; as a context, whose end closes simulators.

    Args:
      num_envs: worker processes of a host environment.
    """

    def __init__(self, environment: Description, num_envs: int):
        self.environment, self.num_envs = environment, num_envs
        self._vector: HostVector | None = None

    def __enter__(self) -> "Stage":
        if not isinstance(self.environment, Environment):
            assert isinstance(self.environment, HostEnvironment)
            self._vector = start_vector(self.environment, self.num_envs)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._vector is not None:
            self._vector.close()

    def player(self, learner: Learner, greedy: bool) -> Play:
        """What plays the policies of a learner here; compiled once for all of its states.

        Args:
          greedy: the most likely actions instead of draws.
        """
        if isinstance(self.environment, Environment):
            batch = compiled_player(self.environment, learner, greedy)

            def compiled(state: Any, seeds: np.ndarray, on_progress: Callable[[int], None]) -> Played:
                played = batch(state, seeds)
                on_progress(len(seeds))
                return played

            return compiled
        actor, horizon, vector = learned(learner, greedy), self.environment.horizon, self._vector

        def simulated(state: Any, seeds: np.ndarray, on_progress: Callable[[int], None]) -> Played:
            assert vector is not None, "the stage is not open"
            return play_host(vector, actor(state), seeds, horizon=horizon, gamma=learner.gamma, on_progress=on_progress)

        return simulated
