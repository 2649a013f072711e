"""Tables of numbers and probabilities, checked once and for all; single numbers are checked by `averse.settings`.

Everything is numpy in float64. `...` any axes, N outcomes.
"""

from typing import Annotated, Any

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from averse.errors import AverseError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Tolerance = Annotated[float, Gt(0)]
"""A tolerance of risk, in units of reward: inf is risk-neutral."""


def numbers(name: str, values: Any) -> Floats:
    """An array of finite float64, a copy.

    Raises:
      AverseError: if it is not.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise AverseError(f"{name} must be an array of numbers, neither ragged nor of anything else") from None
    if not np.isfinite(array).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise AverseError(f"{name} must be finite, but entry {where} is {array[where]}")
    return array


def distributions(name: str, probs: Floats, tolerance: float = 1e-8) -> Floats:
    """Probabilities [..., N] whose rows sum to exactly one (up to rounding).

    Raises:
      AverseError: for a negative probability, or a row whose sum is off by more than the tolerance.
    """
    if (probs < 0).any():
        where = tuple(int(i) for i in np.argwhere(probs < 0)[0])
        raise AverseError(f"{name} must not be negative, but {name}{list(where)} is {probs[where]:g}")
    totals = probs.sum(-1)
    wrong = np.abs(totals - 1) > tolerance
    if np.any(wrong):
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        row = f"{name}{list(where)}" if where else name
        raise AverseError(f"each row of {name} must sum to one, but {row} sums to {totals[where]:.10g}")
    return probs / totals[..., None]
