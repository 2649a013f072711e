"""One episode with all that happened in it, as what draws a world is given it. Plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from averse.environments.protocol import Description


@dataclass(frozen=True, repr=False)
class RecordedEpisode:
    """One episode of T steps, or its beginning, with all that happened in it. A agents."""

    environment: Description
    """Where it was played."""
    seed: int
    """Of the episode."""
    title: str
    """What is shown, in one line."""
    states: Any
    """What is to be drawn. Of a compiled environment its states, numpy, leaves [T + 1, ...]: the one before the first
    step, then the one after each. Pictures uint8 [T + 1, H, W, 3] of another library's world. The `Recording` of a
    simulated junction."""
    actions: np.ndarray
    """[T, A] or [T, A, size]."""
    rewards: np.ndarray
    """float32 [T, A]."""
    info: Mapping[str, np.ndarray]
    """Metric -> float [T], its value so far after each step."""
    over: bool
    """Whether the episode ended with the last step; False where only its beginning was recorded."""

    def __repr__(self) -> str:
        return f"RecordedEpisode({self.title!r}, seed {self.seed}, {len(self)} steps)"

    def __len__(self) -> int:
        """T."""
        return len(self.rewards)

    def state(self, index: int) -> Any:
        """The state of a compiled environment, or the picture, after `index` steps: leaves [...]."""
        return jax.tree.map(lambda x: x[index], self.states)

    def earned(self, index: int) -> float:
        """The return up to then, mean over agents."""
        return float(self.rewards[:index].mean(-1).sum())

    def told(self, index: int) -> dict[str, float]:
        """The metrics after `index` steps; empty before the first."""
        return {name: float(values[index - 1]) for name, values in self.info.items()} if index > 0 else {}


def states_of(states: Sequence[Any]) -> Any:
    """States one after another, leaves [...], as `RecordedEpisode` has them: leaves [T + 1, ...]."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states)
