"""What the functions of `averse.games` take, checked before any work: arrays of numbers, and settings per player."""

import decimal
import numbers as kinds
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from averse.errors import AverseError
from averse.planning import checks
from averse.planning.checks import Floats


def numbers(name: str, values: Any) -> Floats:
    """An array of finite float64, a copy. Neither texts nor truth values nor complex numbers are taken for numbers.

    Raises AverseError for anything else.
    """
    refuse_other_than_numbers(name, values)
    try:
        with np.errstate(over="ignore"):
            return checks.numbers(name, values)
    except OverflowError:
        raise AverseError(f"{name} must be finite and at most 1.8e308, which a number in it is not") from None


def refuse_other_than_numbers(name: str, values: Any) -> None:
    """Raises AverseError for an array or nested list that holds anything but real numbers, or is ragged."""
    wrong = AverseError(f"{name} must be an array of numbers, neither ragged nor of anything else, not {shown(values)}")
    try:
        array = np.asarray(values)
    except Exception:  # whatever an object raises that is no array
        raise wrong from None
    if array.dtype.kind in "bcSUMm":
        raise wrong
    if array.dtype.kind == "O" and not all(_is_real(item) for item in array.ravel()):
        raise wrong


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
        refuse_other_than_numbers(name, given)
        array = np.asarray(given, dtype=np.float64)
    except (AverseError, OverflowError, TypeError, ValueError):
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


def instance(name: str, cls: type, value: Any) -> Any:
    """The value, an instance of `cls`. Raises AverseError for another; of an object that holds one it says where."""
    if isinstance(value, cls):
        return value
    inner = next((key for key, held in getattr(value, "__dict__", {}).items() if isinstance(held, cls)), None)
    hint = f": give its .{inner}" if inner else ""
    raise AverseError(f"{name} must be a {cls.__name__}, not {shown(value)}{hint}")


def sequence(name: str, of: str, values: Any) -> list[Any]:
    """The members of a list, tuple, array or iterator. Raises AverseError, which says `of` what they should be."""
    wrong = AverseError(f"{name} must be a sequence of {of}, not {shown(values)}")
    if isinstance(values, str | bytes | dict | set):
        raise wrong
    try:
        return list(values)
    except TypeError:
        raise wrong from None


def shown(value: Any) -> str:
    """What was given, on one line, for a message: the beginning of its text; of a large object what it is."""
    if hasattr(value, "__dict__") or callable(value):
        return f"a {type(value).__name__}" if not isinstance(value, type) else f"the class {value.__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_real(item: Any) -> bool:
    return isinstance(item, kinds.Real | decimal.Decimal) and not isinstance(item, bool | np.bool_)
