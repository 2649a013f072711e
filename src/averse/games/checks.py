"""What the functions of `averse.games` take, checked before any work: arrays of numbers, and settings per player."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from averse import arguments
from averse.errors import AverseError, shown
from averse.planning.checks import Floats


def numbers(name: str, values: Any) -> Floats:
    """An array of finite float64, a copy. Truth values are taken for numbers no more than texts are.

    Raises AverseError for anything else.
    """
    return arguments.finite_numbers(name, values, truths=False)


def per_player(
    name: str, given: ArrayLike, players: int | None, batches: bool = False, zero: bool = False
) -> np.ndarray:
    """A risk tolerance (`tau`, `transition_tau`) or `epsilon` as float64, one per player [n].

    Args:
      given: one number, one per player [n], or with `batches` [..., n].
      players: n; None where it is not known yet, and the array is returned as it is.
      zero: whether epsilon may be 0.

    Raises:
      AverseError: for anything else, or a number out of range.
    """
    count = "" if players is None else f" ({players})"
    try:
        array = arguments.numbers(name, given, truths=False)
    except AverseError:
        raise AverseError(f"{name} must be one number or one per player{count}, not {shown(given)}") from None
    if array.size == 0:
        raise AverseError(f"{name} must be one number or one per player{count}, not none")
    if players is not None:
        array = np.broadcast_to(array, (players,)) if array.ndim == 0 else array
        if array.shape[-1] != players:
            raise AverseError(f"{name} must be one number or one per player{count}, not {array.shape[-1]} of them")
        if array.ndim > 1 and not batches:
            raise AverseError(f"{name} must be one number or one per player here, not a batch of shape {array.shape}")
    if name == "epsilon":
        allowed = ((array >= 0) if zero else (array > 0)) & (array < np.inf)
        words = f"epsilon must be {'at least' if zero else 'above'} 0 and finite"
    else:
        allowed, words = array > 0, f"{name}, the risk tolerance, must be above 0 (inf is neutral)"
    if not allowed.all():
        wrong = float(array[~allowed][0])
        hint = "; for epsilon = 0 see averse.games.nash and averse.games.security" if name == "epsilon" else ""
        raise AverseError(f"{words}, not {wrong:g}{'' if wrong else hint}")
    return array
