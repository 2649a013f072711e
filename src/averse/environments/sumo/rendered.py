"""A single simulation that shows itself after each decision, for libraries that step our worlds."""

from typing import Any

import numpy as np

from averse.environments.protocol import TimeStep
from averse.environments.sumo.recording import Film
from averse.environments.workers.encoded import EncodedVector
from averse.errors import AverseError
from averse.plugins import imported


class RenderedTraffic:
    """A `HostVector` of one simulation, which plays one episode and whose `render()` is what is to be seen now.

    Args:
      name: of the environment.
      vector: the simulation, alone and tracing.
      drawing: what draws it, as "module:Attribute".
    """

    num_envs = 1

    def __init__(self, name: str, vector: EncodedVector, drawing: str):
        self._name, self._vector, self._drawing = name, vector, drawing
        self._film: Film | None = None

    def reset(self, seeds: np.ndarray) -> TimeStep:
        """See `HostVector.reset`; seeds uint32 [1, 1]. Raises AverseError for more than one."""
        if np.shape(seeds) != (1, 1):
            raise AverseError(f"{self._name} is shown one episode at a time, not seeds of shape {np.shape(seeds)}")
        step = self._vector.reset(seeds)
        self._film = Film(self._name, self._vector)
        self._film.begin(int(np.asarray(seeds)[0, 0]))
        return step

    def reset_endless(self, seed: int) -> TimeStep:
        """See `HostVector`; nothing is trained here. Raises AverseError."""
        raise AverseError(f"{self._name} is shown one episode at a time, not for ever (seed {seed})")

    def step(self, actions: np.ndarray) -> TimeStep:
        """See `HostVector.step`; actions [1, A]. Raises AverseError if the simulator breaks off."""
        step = self._vector.step(actions)
        if self._film is not None:
            self._film.step()
        return step

    def render(self) -> np.ndarray:
        """What is to be seen now, uint8 [H, W, 3]. Raises AverseError before the first episode."""
        if self._film is None:
            raise AverseError(f"{self._name}: no episode has begun; call reset first")
        drawing: Any = imported(self._drawing, "drawing")
        return np.asarray(drawing.moment(self._film.recording(), len(self._film) - 1))

    def close(self) -> None:
        """End the simulator."""
        self._vector.close()

    def __enter__(self) -> "RenderedTraffic":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
