"""A single world of Gymnasium's or PettingZoo's in this process, which shows itself after each step."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from averse.environments.actions import checked_actions
from averse.environments.adapters.parallel import Interface, ParallelWorker, Terms
from averse.environments.protocol import ActionSpace, TimeStep
from averse.environments.workers.pool import Batch
from averse.environments.workers.process import WorkerStep
from averse.environments.workers.vector import PlainEncoder
from averse.errors import AverseError, shown

MODE = "rgb_array"


class RenderedVector:
    """A `HostVector` of one environment, which plays one episode and whose `render()` is what is to be seen now.

    The episode is that which worker processes play on the same seed.

    Args:
      start: starts the world, made with `render_mode="rgb_array"`.
      terms: how it is to be read.
      space: what each agent chooses from.

    Raises AverseError for a world that cannot be drawn.
    """

    num_envs = 1

    def __init__(self, start: Callable[[], Any], terms: Terms, space: ActionSpace):
        self._label, self._space = terms.label, space
        self._env: Any = None

        def kept() -> Any:
            self._env = start()
            return self._env

        try:
            with warnings.catch_warnings():  # Gymnasium warns of what is told below
                warnings.simplefilter("ignore")
                self._worker = ParallelWorker(kept, terms)
        except AverseError:
            raise
        except Exception as error:  # a world that knows no such mode, or lacks what draws it
            raise self._fault(error) from error
        layout = Interface(self._env, terms).layout(terms)
        self._encoder, self._layout = PlainEncoder(layout), layout

    def reset(self, seeds: np.ndarray) -> TimeStep:
        """See `HostVector.reset`; seeds uint32 [1, 1]. Raises AverseError for more than one."""
        if np.shape(seeds) != (1, 1):
            raise AverseError(f"{self._label} is shown one episode at a time, not seeds of shape {np.shape(seeds)}")
        now = self._worker.reset(int(np.asarray(seeds)[0, 0]), True)
        blank = {name: np.zeros((1, *shape), kind) for name, (shape, kind) in self._layout.outcome.items()}
        return self._encoder.begin(self._batch(WorkerStep(now, {}, False), blank))

    def reset_endless(self, seed: int) -> TimeStep:
        """See `HostVector`; nothing is trained here. Raises AverseError."""
        raise AverseError(f"{self._label} is shown one episode at a time, not for ever (seed {seed})")

    def step(self, actions: np.ndarray) -> TimeStep:
        """See `HostVector.step`; actions [1, A] or [1, A, size]."""
        (agents, *_), kind = self._layout.actions
        step = self._worker.step(checked_actions(self._space, actions, (1, agents))[0].astype(kind))
        arrays = {
            name: np.asarray(step.outcome[name], kind).reshape(1, *shape)
            for name, (shape, kind) in self._layout.outcome.items()
        }
        return self._encoder.advance(self._batch(step, arrays))

    def _batch(self, step: WorkerStep, outcome: dict[str, np.ndarray]) -> Batch:
        state = {name: np.asarray(step.state[name], kind)[None] for name, (_, kind) in self._layout.state.items()}
        ended, no = np.array([step.done]), np.zeros(1, bool)
        now = {name: array.copy() for name, array in state.items()}
        return Batch(now=now, after=state, outcome=outcome, ended=ended, failed=no, idle=no, idle_now=ended.copy())

    def render(self) -> np.ndarray:
        """What is to be seen now, uint8 [H, W, 3]. Raises AverseError where the world shows nothing."""
        try:
            picture = self._env.render()
        except Exception as error:
            raise self._fault(error) from error
        array = np.asarray(picture) if picture is not None else np.zeros(0)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
            raise AverseError(
                f"{self._label} cannot be drawn: render() must give a picture uint8 [height, width, 3], not "
                f"{'nothing' if picture is None else shown(picture)}"
            )
        return array

    def _fault(self, error: Exception) -> AverseError:
        text = str(error).strip().partition("\n")[0]
        return AverseError(f"{self._label} cannot be drawn ({MODE}): {type(error).__name__}: {text}")

    def close(self) -> None:
        """End it."""
        self._worker.close()

    def __enter__(self) -> "RenderedVector":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
