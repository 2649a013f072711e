"""`gymnax:CartPole-v1` and others that Gymnasium has too: drawn by Gymnasium, which is put into their states."""

import functools
import os
from typing import Any

import numpy as np

from averse.errors import AverseError
from averse.evaluation.recording import RecordedEpisode
from averse.extras import extra_module
from averse.report.film import Drawing

FIELDS = {
    "Acrobot-v1": ("joint_angle1", "joint_angle2", "velocity_1", "velocity_2"),
    "CartPole-v1": ("x", "x_dot", "theta", "theta_dot"),
    "MountainCar-v0": ("position", "velocity"),
    "MountainCarContinuous-v0": ("position", "velocity"),
    "Pendulum-v1": ("theta", "theta_dot"),
}
"""id -> the numbers of gymnax's state that are those of Gymnasium's, in its order."""


def frame(episode: RecordedEpisode, index: int) -> np.ndarray:
    """What Gymnasium shows of the state after `index` steps, uint8 [H, W, 3].

    Raises AverseError where Gymnasium, or pygame with which it draws, is missing.
    """
    environment: Any = episode.environment
    state = episode.state(index).inner
    id = environment.id.rpartition(":")[2]
    world = _world(id)
    world.state = np.array([getattr(state, name) for name in FIELDS[id]], float)
    if id == "Pendulum-v1":
        world.last_u = float(episode.actions[index - 1].ravel()[0]) if index else None
    try:
        return world.render()
    except Exception as error:
        raise AverseError(f"{environment.name} cannot be drawn: {str(error).partition(chr(10))[0]}") from error


@functools.cache
def _world(id: str) -> Any:
    """Gymnasium's own, in which only the state is ours."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame needs no display to draw in memory
    world = extra_module("gymnasium", f"a film of gymnax:{id}").make(id, render_mode="rgb_array").unwrapped
    world.reset(seed=0)
    return world


DRAWING = Drawing(frame, 0.05, ())
