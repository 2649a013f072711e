"""One environment and its running episode, as other libraries' classes step it."""

from typing import Any

import numpy as np

from averse.environments.adapters.hosted import HostedVector
from averse.environments.adapters.pictures import Pictures
from averse.environments.protocol import Description, Discrete, Environment, HostEnvironment, HostVector, TimeStep
from averse.environments.registry import make, verified
from averse.errors import AverseError
from averse.extras import extra_module
from averse.settings import check_value

SEEDS = 2**32  # an episode's seed is below


def built(environment: Description | str, parameters: dict[str, Any]) -> Description:
    """The environment. Raises AverseError for what is none, and for parameters of one that is built already."""
    if isinstance(environment, str):
        return make(environment, **parameters)
    if parameters:
        raise AverseError(f"parameters ({', '.join(parameters)}) are for an environment that is given by its name")
    return verified(environment)


class Episode:
    """One environment and its running episode, stepped from outside.

    Episodes are those of `HostVector.reset`: functions of their seed and the actions.

    Args:
      render_mode: "rgb_array" where `picture` will be asked for, else None.

    Raises AverseError for another one, and for "rgb_array" where nothing draws the environment.
    """

    def __init__(self, environment: Description, render_mode: str | None = None):
        self.environment = environment
        self._vector: HostVector | None = None
        self._over = True
        self._pictures = None if render_mode is None else Pictures(environment, render_mode)

    def begin(self, seed: int) -> TimeStep:
        """A fresh episode. Raises AverseError for a seed that is no whole number from 0 to 2^32 - 1."""
        if self._vector is None:  # started late: a simulator is a process
            world = self.environment
            if isinstance(world, Environment):
                self._vector = HostedVector(world, 1)
            elif self._pictures is not None:
                self._vector = world.rendered()  # type: ignore[attr-defined]
            else:
                assert isinstance(world, HostEnvironment)
                self._vector = world.vector(1)
        self._over = False
        step = self._vector.reset(np.array([[seed]], np.uint32))
        if self._pictures is not None:
            self._pictures.begin(self._vector, seed)
        return step

    def step(self, actions: Any) -> TimeStep:
        """One step; actions [A] or [A, size].

        Raises AverseError where no episode runs, and for actions outside the space.
        """
        if self._vector is None or self._over:
            raise AverseError(f"{self.environment.name}: no episode is running; call reset first")
        step = self._vector.step(np.asarray(actions)[None])
        self._over = bool(np.asarray(step.done)[0])
        if self._pictures is not None:
            self._pictures.note(self._vector, np.asarray(actions), step)
        return step

    def picture(self) -> np.ndarray | None:
        """What is to be seen now, uint8 [H, W, 3]; None without a render mode.

        Raises AverseError before the first episode.
        """
        if self._pictures is None:
            return None
        if self._vector is None:
            raise AverseError(f"{self.environment.name}: no episode has begun; call reset first")
        return self._pictures.picture(self._vector)

    def close(self) -> None:
        """End a simulator; may be called again, and another episode may begin."""
        if self._vector is not None:
            self._vector.close()
        self._vector, self._over = None, True


def episode_seed(seed: int | None, generator: np.random.Generator) -> int:
    """The seed of an episode: what was given to `reset`, or else a draw.

    Raises AverseError for a seed that is no whole number from 0 on.
    """
    if seed is not None and check_value("seed", int, seed) < 0:
        raise AverseError(f"seed must be a whole number >= 0, not {seed}")
    return int(generator.integers(SEEDS)) if seed is None or seed >= SEEDS else int(seed)


def spaces_of(environment: Description) -> tuple[Any, Any, Any]:
    """Gymnasium's spaces of an agent's observations, its actions, and the global state; a new object each time."""
    spaces = extra_module("gymnasium", "a space").spaces
    own = environment.action_space
    if isinstance(own, Discrete):
        actions = spaces.Discrete(own.num_actions)
    else:
        actions = spaces.Box(own.low, own.high, (own.size,), np.float32)
    return _unbounded(environment.observation_size), actions, _unbounded(environment.global_state_size)


def _unbounded(size: int) -> Any:
    return extra_module("gymnasium", "a space").spaces.Box(-np.inf, np.inf, (size,), np.float32)


def info_of(step: TimeStep, agent: int, environment: Description, started: bool) -> dict[str, Any]:
    """What else is known after a step (or at the start): cost and metrics, and what the agent may do next."""
    info: dict[str, Any] = {}
    if isinstance(environment.action_space, Discrete):
        info["action_mask"] = np.array(step.next_available[0][agent], np.int8)
    if started:
        info |= {name: float(values[0]) for name, values in step.info.items() if not np.isnan(values[0])}
        info["cost"] = float(step.costs[0][agent])
    return info
