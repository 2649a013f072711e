"""Spaces of Gymnasium as the package has them: observations as vectors, actions as one space for all agents.

Read in worker processes: no JAX here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from averse.errors import AverseError, shown
from averse.extras import extra_module

OBSERVATIONS = ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple")
MASK = "action_mask"  # by this name PettingZoo's worlds say which actions are allowed


def gymnasium_module(purpose: str) -> Any:
    """Gymnasium. Raises AverseError, with what to do, where it is not installed."""
    return extra_module("gymnasium", purpose)


class ObservationReader:
    """Makes vectors of the observations of a space, as Gymnasium's wrapper `FlattenObservation` does.

    A number of a Discrete space is one-hot, the parts of a Dict or Tuple stand one after another. An entry
    "action_mask" of a Dict is no part of the observation.

    Args:
      what: whose observation it is, for messages: "gymnasium:CartPole-v1: the observation".

    Raises AverseError for a space that no vector of fixed length holds.
    """

    def __init__(self, what: str, space: Any):
        spaces = gymnasium_module("an environment of Gymnasium's").spaces
        self.has_mask = isinstance(space, spaces.Dict) and MASK in space.spaces
        if self.has_mask:
            space = spaces.Dict({name: part for name, part in space.spaces.items() if name != MASK})
        if not _is_flat(spaces, space):
            known = f"{', '.join(OBSERVATIONS[:-1])} or {OBSERVATIONS[-1]} of these"
            raise AverseError(f"{what} must be of a space {known}, not {_named(space)}")
        self._what, self._space, self._utils = what, space, spaces.utils
        self._shape = space.shape if isinstance(space, spaces.Box) else None
        self.size = int(spaces.utils.flatdim(space))
        self._zeros = np.zeros(self.size, np.float32)
        if not self.size:
            raise AverseError(f"{what} is empty: its space is {_named(space)}")

    def read(self, observation: Any) -> np.ndarray:
        """The vector, float32 [size].

        Raises AverseError for what is not of the space's form, and for numbers that are not finite.
        """
        try:
            if self._shape is not None:
                whole = np.array(observation, np.float32)
                fits, vector = whole.shape == self._shape, whole.reshape(-1)
            else:
                if self.has_mask:
                    observation = {name: observation[name] for name in self._space.spaces}
                vector = np.asarray(self._utils.flatten(self._space, observation), np.float32)
                fits = vector.shape == (self.size,)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError):
            fits = False
        if not fits:
            raise AverseError(f"{self._what} must be of its space {_named(self._space)}, not {shown(observation)}")
        if self._zeros.dot(vector) != 0:  # NaN if any number is not finite, in a third of the time of isfinite
            raise AverseError(f"{self._what} must be finite, but holds {vector[~np.isfinite(vector)][0]}")
        return vector


def _named(space: Any) -> str:
    """A space for a message, in at most 80 characters."""
    text = " ".join(str(space).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_flat(spaces: Any, space: Any) -> bool:
    """Whether vectors of one length hold all of a space."""
    if isinstance(space, spaces.Dict):
        return all(_is_flat(spaces, part) for part in space.spaces.values())
    if isinstance(space, spaces.Tuple):
        return all(_is_flat(spaces, part) for part in space.spaces)
    return isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)


class Choices(NamedTuple):
    """What all agents choose from: one of `num_actions`, or where that is 0 a vector in [low, high]^size."""

    num_actions: int
    size: int = 0
    low: float = 0.0
    high: float = 0.0

    @property
    def layout(self) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of one agent's action."""
        return ((), "int32") if self.num_actions else ((self.size,), "float32")


class ActionWriter:
    """Makes agents' actions those of their own spaces, which may be of different sizes.

    Discrete spaces: the largest one counts, and what an agent lacks is not available to it. Boxes: the longest one
    counts, and an agent's surplus numbers mean nothing. Where all bounds are the same they are the package's; else
    each number goes from [-1, 1] to its own bounds. Numbers beyond the bounds are clipped.

    Args:
      what: whose action each is, for messages: "gymnasium:CartPole-v1: the action".
      owns: the agents' action spaces.

    Raises AverseError for spaces that are neither all Discrete nor all bounded Boxes of floats.
    """

    def __init__(self, what: Sequence[str], owns: Sequence[Any]):
        spaces = gymnasium_module("an environment of Gymnasium's").spaces
        self._what, self._owns = what, owns
        discrete = isinstance(owns[0], spaces.Discrete)
        for name, space in zip(what, owns):
            if discrete and isinstance(space, spaces.Discrete):
                continue
            bounded = isinstance(space, spaces.Box) and space.is_bounded() and space.dtype.kind == "f"
            if discrete or not bounded or not np.prod(space.shape):
                only = (
                    "Discrete, as the first agent's is" if discrete else "Discrete or Box (floats with finite bounds)"
                )
                raise AverseError(f"{name} must be of a space {only}, not {_named(space)}")
        if discrete:
            self.choices = Choices(int(max(space.n for space in owns)))
            self._numbers = [(int(space.n), int(space.start)) for space in owns]
            return
        self._low = [space.low.reshape(-1).astype(np.float64) for space in owns]
        self._high = [space.high.reshape(-1).astype(np.float64) for space in owns]
        lows, highs = np.unique(np.concatenate(self._low)), np.unique(np.concatenate(self._high))
        self._same = len(lows) == len(highs) == 1
        low, high = (float(lows[0]), float(highs[0])) if self._same else (-1.0, 1.0)
        self.choices = Choices(0, max(map(len, self._low)), low, high)

    def write(self, agent: int, action: Any) -> Any:
        """The action of one agent, from a whole number or an array: a whole number, or an array of its box.

        Raises AverseError for a number that only other agents' spaces have.
        """
        if self.choices.num_actions:
            count, first = self._numbers[agent]
            if action >= count:
                raise AverseError(f"{self._what[agent]} must be below {count}, not {action}")
            return int(action) + first
        own = self._owns[agent]
        low, high = self._low[agent], self._high[agent]
        given = action[: len(low)].astype(np.float64)
        if not self._same:
            given = low + 0.5 * (np.clip(given, -1.0, 1.0) + 1.0) * (high - low)
        return np.clip(given, low, high).reshape(own.shape).astype(own.dtype)

    def available(self, agent: int, mask: Any = None) -> np.ndarray:
        """Which actions an agent may take, bool [n]: those of its own space that a mask, if there is one, allows.

        Raises AverseError for a mask of another size, and for one that allows nothing.
        """
        if not self.choices.num_actions:
            return np.ones(1, bool)
        allowed = np.zeros(self.choices.num_actions, bool)
        n = int(self._owns[agent].n)
        allowed[:n] = True
        if mask is None:
            return allowed
        given = np.asarray(mask)
        if given.shape != (n,) or given.dtype.kind not in "biuf" or not given.any():
            raise AverseError(
                f"{self._what[agent]} has a mask that must be {n} truths, one of them true, not {shown(mask)}"
            )
        allowed[:n] = given.astype(bool)
        return allowed


def mask_of(observation: Any, info: Mapping[str, Any], reader: ObservationReader) -> Any:
    """An agent's action mask: that of its observation, else of its info; None where there is none."""
    return observation[MASK] if reader.has_mask else info.get(MASK)
