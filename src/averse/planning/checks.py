"""Tables of numbers and probabilities, checked once and for all; single numbers are checked by `averse.settings`.

Everything is numpy in float64. `...` any axes, N outcomes.
"""

from typing import Annotated, Any, SupportsFloat

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from averse.errors import AverseError
from averse.settings import Count, Positive, check_value

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Tolerance = Annotated[float, Gt(0)]
"""A tolerance of risk, in units of reward: inf is risk-neutral."""

ROUNDING = 1e-6
"""By how much a row of probabilities may miss one: what single precision leaves of a row of any sensible length."""
NEGATIVE = 1e-12
"""How far below zero a probability may be: what is left of zero where terms cancelled."""


def instance_of(name: str, kind: type, value: Any) -> Any:
    """A value that must be an instance of a class, as it is.

    Raises:
      AverseError: if it is of another type.
    """
    if not isinstance(value, kind):
        raise AverseError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")
    return value


def checked_limits(tolerance: float, max_iterations: int) -> tuple[float, int]:
    """How exact an iteration must be, and how long it may take.

    Raises:
      AverseError: for a tolerance that is not positive, or a number of iterations that is no whole number from 1 on.
    """
    return check_value("tolerance", Positive, tolerance), check_value("max_iterations", Count, max_iterations)


def items(name: str, values: Any, what: str) -> list[Any]:
    """The items of a sequence.

    Raises:
      AverseError: if it is none (a text is none), saying what it should have been.
    """
    if not isinstance(values, str | bytes | dict):
        try:
            return list(values)
        except TypeError:
            pass
    raise AverseError(f"{name} must be {what}, not {type(values).__name__}")


def numbers(name: str, values: Any) -> Floats:
    """An array of finite float64, a copy.

    Raises:
      AverseError: if it is not.
    """
    try:
        given: Any = np.asarray(values)
        # Texts that look like numbers are none, and of complex numbers numpy would drop the imaginary part.
        if given.dtype.kind not in "fiub" and not (
            given.dtype.kind == "O" and all(isinstance(entry, SupportsFloat) for entry in given.flat)
        ):
            raise TypeError
        array = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise AverseError(f"{name} must be an array of numbers, neither ragged nor of anything else") from None
    if not np.isfinite(array).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise AverseError(f"{name} must be finite, but entry {where} is {array[where]}")
    return array


def distributions(name: str, probs: Floats, tolerance: float = ROUNDING) -> Floats:
    """Probabilities [..., N] whose rows sum to exactly one (up to rounding).

    Rounding of the input is forgiven: a row may miss one by the tolerance, which is then made good, and a probability
    within `NEGATIVE` below zero is zero.

    Raises:
      AverseError: for a negative probability, or a row whose sum is off by more than that.
    """
    if (probs < -NEGATIVE).any():
        where = tuple(int(i) for i in np.argwhere(probs < -NEGATIVE)[0])
        raise AverseError(f"{name} must not be negative, but {name}{list(where)} is {probs[where]:g}")
    probs = np.maximum(probs, 0.0)
    totals = probs.sum(-1)
    wrong = np.abs(totals - 1) > tolerance
    if np.any(wrong):
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        row = f"{name}{list(where)}" if where else name
        raise AverseError(
            f"each row of {name} must sum to one within {tolerance:g}, but {row} sums to {totals[where]:.10g}"
        )
    return probs / totals[..., None]
