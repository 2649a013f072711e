"""What a sample is: numbers that are all known, from arrays, lists and whatever numpy reads as such."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Lt
from numpy.typing import ArrayLike

from averse.arguments import numbers
from averse.errors import AverseError, shown

Confidence = Annotated[float, Gt(0), Lt(1)]
"""A number in (0, 1): how often an interval is to hold the truth."""


def sample(values: ArrayLike, name: str = "a sample") -> np.ndarray:
    """`values` as a checked float64 [n].

    Args:
      name: what the values are called in a message.

    Raises AverseError unless there is one axis, it is not empty, and all values are finite numbers.
    """
    array = numbers(name, values)
    if array.ndim != 1:
        raise AverseError(f"{name} must have one axis, not shape {array.shape}")
    if array.size == 0:
        raise AverseError(f"{name} is empty: no episode to compute a statistic of")
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array))[0])
        raise AverseError(f"{name} must be finite, but value {bad} of {array.size} is {array[bad]}")
    return array


def samples_by_seed(name: str, values: Any) -> list[np.ndarray]:
    """A list of samples, one per training seed, or an array [S, n]; checked.

    Raises AverseError for what is neither, for an empty list, and for what `sample` refuses, with the seed's place.
    """
    if isinstance(values, str | bytes) or not (isinstance(values, Sequence) or np.ndim(values) > 0):
        raise AverseError(f"{name} must be a list of arrays, one per training seed, not {shown(values)}")
    groups = [sample(group, f"{name}[{place}]") for place, group in enumerate(values)]
    if not groups:
        raise AverseError(f"{name} is empty: no training seed to compute a statistic of")
    return groups


def one_or_many(name: str, values: Any) -> list[np.ndarray]:
    """An array [n], or one per training seed, as a list of checked samples. Raises AverseError as `sample`."""
    nested = isinstance(values, Sequence) and len(values) > 0 and _has_axis(values[0])
    if nested or getattr(values, "ndim", 1) == 2:
        return samples_by_seed(name, values)
    return [sample(values, name)]


def _has_axis(value: Any) -> bool:
    return (isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)) or getattr(value, "ndim", 0) > 0
