"""Checks of arguments that evaluation has more of: mappings, members of a class, whole numbers, episode seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from averse.arguments import instance, numbers
from averse.errors import AverseError, shown

SEEDS = 2**32  # episode seeds are below: they are folded into a key of 32 bits


def mapping(name: str, kind: Any, words: str, value: Any) -> Mapping[str, Any]:
    """`value`, which must be a mapping from names to instances of a class. Raises AverseError, which names both."""
    instance(name, Mapping, value, f"a mapping from names to {words}")
    for key, entry in value.items():
        if not isinstance(key, str) or not isinstance(entry, kind):
            raise AverseError(f"{name} must be a mapping from names to {words}, not {shown({key: entry})}")
    return value


def members(name: str, kind: Any, words: str, value: Any) -> Sequence[Any]:
    """`value`, which must be a list or tuple of instances of a class. Raises AverseError, which names the argument."""
    if not isinstance(value, list | tuple):
        raise AverseError(f"{name} must be a list of {words}, not {shown(value)}")
    for place, entry in enumerate(value):
        if not isinstance(entry, kind):
            raise AverseError(f"{name}[{place}] must be one of {words}, not {shown(entry)}")
    return value


def integers(name: str, values: Any) -> np.ndarray:
    """Whole numbers as int64, of any shape. Raises AverseError, which names the argument."""
    array = numbers(name, values)
    if not (np.isfinite(array) & (np.abs(array) < 2.0**53) & (array == np.round(array))).all():
        raise AverseError(f"{name} must hold integers, not {shown(values)}")
    return np.asarray(values).astype(np.int64)


def episode_seeds(name: str, values: Any) -> np.ndarray:
    """The seeds of some episodes as uint32 [E]. Raises AverseError for none, and for others than 0 to 2^32 - 1."""
    array = integers(name, values)
    if array.ndim != 1 or array.size == 0:
        raise AverseError(f"{name} must be one or more whole numbers [episodes], not of shape {array.shape}")
    if array.min() < 0 or array.max() >= SEEDS:
        raise AverseError(f"{name} must be in [0, {SEEDS - 1}], not {array[(array < 0) | (array >= SEEDS)][0]}")
    return array.astype(np.uint32)
