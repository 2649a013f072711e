"""Checks of arguments that are no plain numbers: objects, functions, paths, seeds of episodes."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from averse.errors import AverseError, shown
from averse.statistics.samples import numbers

T = TypeVar("T")
SEEDS = 2**32  # episode seeds are below: they are folded into a key of 32 bits


def instance(name: str, kind: Any, words: str, value: Any) -> Any:
    """`value`, which must be of a class (or one of several). Raises AverseError, which names the argument."""
    if not isinstance(value, kind):
        raise AverseError(f"{name} must be {words}, not {shown(value)}")
    return value


def function(name: str, words: str, value: Any) -> Callable:
    """`value`, which must be callable. Raises AverseError, which names the argument."""
    if not callable(value):
        raise AverseError(f"{name} must be a function {words}, not {shown(value)}")
    return value


def mapping(name: str, kind: Any, words: str, value: Any) -> Mapping[str, Any]:
    """`value`, which must be a mapping from names to instances of a class. Raises AverseError, which names both."""
    instance(name, Mapping, f"a mapping from names to {words}", value)
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


def file_path(name: str, value: Any) -> Path:
    """A path from a text or a path. Raises AverseError, which names the argument."""
    return Path(instance(name, str | os.PathLike, "a path", value))


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
