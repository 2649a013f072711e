"""A world in which nothing happens, so that what is measured of its steps is what moves them. Imports no JAX."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from averse.environments.workers.process import Layout, WorkerStep

WORDS = 128  # of 4 bytes that an environment answers with: 512 bytes, about what SUMO's do
LAYOUT = Layout(
    actions=((4,), "int32"), state={"seen": ((WORDS // 2,), "float32")}, outcome={"rewards": ((4,), "float32")}
)


class Still:
    """A `WorkerEnvironment` whose episodes never end."""

    def __init__(self) -> None:
        self._state: Mapping[str, Any] = {"seen": np.zeros(WORDS // 2, np.float32)}
        self._step = WorkerStep(self._state, {"rewards": np.zeros(4, np.float32)}, False)

    def reset(self, seed: int, exact: bool) -> Mapping[str, Any]:
        """See `WorkerEnvironment`."""
        del seed, exact
        return self._state

    def step(self, actions: np.ndarray) -> WorkerStep:
        """See `WorkerEnvironment`."""
        del actions
        return self._step

    def close(self) -> None:
        """Nothing to end."""
