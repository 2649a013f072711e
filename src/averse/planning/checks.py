"""Tables of probabilities, and limits of iterations, checked once and for all.

Everything is numpy in float64. `...` any axes, N outcomes.
"""

from typing import Annotated

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


def checked_limits(tolerance: float, max_iterations: int) -> tuple[float, int]:
    """How exact an iteration must be, and how long it may take.

    Raises:
      AverseError: for a tolerance that is not positive, or a number of iterations that is no whole number from 1 on.
    """
    return check_value("tolerance", Positive, tolerance), check_value("max_iterations", Count, max_iterations)


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
