"""Pictures of a running episode, for libraries that step our worlds: what `averse record` would show of the moment.

What draws a world is found as there, by its attribute `drawing` (`averse.report.film`): nothing that draws is imported
before it is needed.
"""

from typing import Any

import jax
import numpy as np

from averse.environments.budget import is_budgeted
from averse.environments.protocol import Description, Environment, HostVector, TimeStep
from averse.environments.recorded import RecordedEpisode, states_of
from averse.errors import AverseError, shown
from averse.plugins import imported

MODES = ("rgb_array",)


def rendering_of(environment: Description) -> dict[str, Any]:
    """What Gymnasium and PettingZoo keep about it: which modes there are, and how many pictures make a second."""
    if not _is_drawn(environment):
        return {"render_modes": []}
    seconds = getattr(_drawing_of(environment), "seconds", 0.1)
    return {"render_modes": list(MODES), "render_fps": max(1, round(1 / seconds))}


class Pictures:
    """What draws one environment, and its episode so far.

    Raises AverseError for a mode that there is not, and for an environment that nothing draws.
    """

    def __init__(self, environment: Description, mode: str):
        name = environment.name
        if mode not in MODES:
            raise AverseError(f"render_mode must be None or {' or '.join(MODES)}, not {mode!r:.80}")
        if not _is_drawn(environment):
            raise AverseError(f"render_mode must be None, not {mode!r}: {name} has no pictures of a running episode")
        self._environment = environment
        self._draw = getattr(_drawing_of(environment), "frame", _drawing_of(environment))

    def begin(self, vector: HostVector, seed: int) -> None:
        """A fresh episode."""
        self._seed, self._over = seed, False
        self._actions: list[np.ndarray] = []
        self._rewards: list[np.ndarray] = []
        self._infos: list[dict[str, float]] = []
        self._states = [self._state(vector)]

    def note(self, vector: HostVector, actions: np.ndarray, step: TimeStep) -> None:
        """One step; actions [A] or [A, size]."""
        self._actions.append(actions)
        self._rewards.append(np.asarray(step.rewards)[0])
        self._infos.append({name: float(values[0]) for name, values in step.info.items()})
        self._over = bool(np.asarray(step.done)[0])
        self._states.append(self._state(vector))

    def picture(self, vector: HostVector) -> np.ndarray:
        """What is to be seen now, uint8 [H, W, 3]. Raises AverseError where it is no picture."""
        if not isinstance(self._environment, Environment):
            return vector.render()  # type: ignore[attr-defined]
        array = np.asarray(self._draw(self._episode(), len(self._rewards)))
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
            raise AverseError(
                f"the drawing of {self._environment.name} must give a picture uint8 [height, width, 3], not "
                f"{shown(array)}"
            )
        return array

    def _state(self, vector: HostVector) -> Any:
        if not isinstance(self._environment, Environment):
            return None
        state = jax.tree.map(lambda leaf: leaf[0], jax.device_get(vector.led_to))  # type: ignore[attr-defined]
        return state.inner if is_budgeted(self._environment) else state

    def _episode(self) -> RecordedEpisode:
        world: Any = self._environment
        steps, agents = len(self._rewards), world.num_agents
        return RecordedEpisode(
            environment=world.inner if is_budgeted(world) else world,
            seed=self._seed,
            title=f"{world.name}, episode {self._seed}",
            states=states_of(self._states),
            actions=np.stack(self._actions) if steps else np.zeros((0, agents)),
            rewards=np.stack(self._rewards) if steps else np.zeros((0, agents), np.float32),
            info={name: np.array([info[name] for info in self._infos]) for name in world.metrics},
            over=self._over,
        )


def _is_drawn(environment: Description) -> bool:
    """Whether a moment of it can be drawn: of a compiled world by its drawing; others show themselves."""
    if isinstance(environment, Environment):
        return getattr(environment, "drawing", None) is not None
    return hasattr(environment, "rendered") and not is_budgeted(environment)  # what is rendered has no budget


def _drawing_of(environment: Description) -> Any:
    found = getattr(environment, "drawing", None)
    return imported(found, "drawing") if isinstance(found, str) else found
