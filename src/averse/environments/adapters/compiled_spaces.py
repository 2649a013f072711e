"""Spaces of gymnax and JaxMARL as the package has them, in functions that compile.

Both libraries have classes of their own, with the same attributes; a space is known by these: `n` (Discrete),
`num_categories` (MultiDiscrete), `spaces` (Dict and Tuple), `low` and `high` (Box).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.protocol import ActionSpace, Box, Discrete
from averse.errors import AverseError, shown

_LARGEST = 1e9  # a bound of an action beyond this stands for none


def vector_of(space: Any, observation: Any) -> jax.Array:
    """An observation as a vector, float32 [size], as Gymnasium's `FlattenObservation` has it.

    A number of a Discrete or MultiDiscrete space is one-hot, parts of a Dict (sorted by name) or a Tuple stand one
    after another. Of a Box the array counts, as several worlds state other shapes than those of their observations.
    """
    parts = getattr(space, "spaces", None)
    if isinstance(parts, Mapping):
        return jnp.concatenate([vector_of(parts[name], observation[name]) for name in sorted(parts)])
    if parts is not None:
        return jnp.concatenate([vector_of(part, value) for part, value in zip(parts, observation, strict=True)])
    if hasattr(space, "n"):
        return jax.nn.one_hot(observation, int(space.n), dtype=jnp.float32)
    if hasattr(space, "num_categories"):
        sizes = np.asarray(space.num_categories).reshape(-1).tolist()
        numbers = jnp.asarray(observation).reshape(-1)
        return jnp.concatenate([jax.nn.one_hot(number, size) for number, size in zip(numbers, sizes, strict=True)])
    return jnp.asarray(observation, jnp.float32).reshape(-1)


class ActionReader:
    """Makes agents' actions those of their own spaces, which may be of different sizes.

    As `spaces.ActionWriter` does for Gymnasium's spaces. Discrete: the largest counts, and what an agent lacks is not
    available to it. Boxes: the longest counts, and an agent's surplus numbers mean nothing. Where all bounds are the
    same they are the package's; else each number goes from [-1, 1] to its own bounds. Numbers beyond are clipped.

    Args:
      label: of the world, for messages.
      owns: the agents' action spaces, by name.

    Raises AverseError for spaces that are neither all Discrete nor all bounded Boxes of floats.
    """

    def __init__(self, label: str, owns: Mapping[str, Any]):
        self._owns = list(owns.values())
        discrete = hasattr(self._owns[0], "n")
        for agent, space in owns.items():
            whose = f"{label}: the action" + (f" of {agent}" if len(owns) > 1 else "")
            if discrete and not hasattr(space, "n"):
                raise AverseError(f"{whose} must be of a Discrete space, as the first agent's is, not {shown(space)}")
            if not discrete and not _is_bounded_box(space):
                raise AverseError(
                    f"{whose} must be of a space Discrete or Box (floats with finite bounds), not {shown(space)}"
                )
        self.space: ActionSpace
        if discrete:
            self._sizes = [int(space.n) for space in self._owns]
            self.space = Discrete(max(self._sizes))
            return
        self._low = [_bounds(space.low, space) for space in self._owns]
        self._high = [_bounds(space.high, space) for space in self._owns]
        lows, highs = np.unique(np.concatenate(self._low)), np.unique(np.concatenate(self._high))
        self._same = len(lows) == len(highs) == 1
        low, high = (float(lows[0]), float(highs[0])) if self._same else (-1.0, 1.0)
        self.space = Box(max(map(len, self._low)), low, high)

    def read(self, agent: int, action: jax.Array) -> jax.Array:
        """The action of one agent, int32 [] or of the form of its box; a number that it lacks becomes its last one."""
        own = self._owns[agent]
        if isinstance(self.space, Discrete):
            return jnp.minimum(action, self._sizes[agent] - 1)
        low, high = self._low[agent], self._high[agent]
        given = action[: len(low)]
        if not self._same:
            given = low + 0.5 * (jnp.clip(given, -1.0, 1.0) + 1.0) * (high - low)
        return jnp.clip(given, low, high).reshape(own.shape).astype(own.dtype)

    def available(self, masks: Sequence[Any] | None) -> jax.Array:
        """Which actions each agent may take, bool [A, n]: those of its own space that its mask, if any, allows."""
        if not isinstance(self.space, Discrete):
            return jnp.ones((len(self._owns), 1), bool)
        n = self.space.num_actions
        own = jnp.arange(n)[None] < jnp.array(self._sizes)[:, None]
        if masks is None:
            return own
        rows = [jnp.asarray(mask).reshape(-1).astype(bool)[:n] for mask in masks]
        return own & jnp.stack([jnp.pad(row, (0, n - len(row))) for row in rows])


def _is_bounded_box(space: Any) -> bool:
    if not hasattr(space, "low") or not hasattr(space, "high") or np.dtype(space.dtype).kind != "f":
        return False
    low, high = _bounds(space.low, space), _bounds(space.high, space)
    return low.size > 0 and bool((np.maximum(abs(low), abs(high)) < _LARGEST).all() and (low < high).all())


def _bounds(value: Any, space: Any) -> np.ndarray:
    """The bounds of all numbers of a box, float32 [size]."""
    return np.broadcast_to(np.asarray(value, np.float32), space.shape).reshape(-1)
