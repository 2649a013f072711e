"""What an argument must be that is no single number: an object, a function, items in a row, an array of numbers.

Each function gives the argument back, or raises AverseError with its name, what it must be, and what was given. Single
numbers are checked by `averse.settings`.
"""

import decimal
import numbers as kinds
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from averse.errors import AverseError, shown


def instance(name: str, kind: Any, value: Any, words: str = "") -> Any:
    """`value`, which must be of a class (or one of several).

    Args:
      words: what it must be; "a Kind" where not given.

    Raises AverseError for anything else; of an object that holds what is meant, it says where.
    """
    if isinstance(value, kind):
        return value
    inner = next((key for key, held in getattr(value, "__dict__", {}).items() if isinstance(held, kind)), None)
    hint = f": give its .{inner}" if inner else ""
    raise AverseError(f"{name} must be {words or f'a {kind.__name__}'}, not {shown(value)}{hint}")


def function(name: str, words: str, value: Any) -> Callable:
    """`value`, which must be callable. Raises AverseError, which names the argument."""
    if not callable(value):
        raise AverseError(f"{name} must be a function {words}, not {shown(value)}")
    return value


def items(name: str, words: str, values: Any) -> list[Any]:
    """The items of a list, tuple, array or iterator.

    Args:
      words: what it must be, such as "one array per agent".

    Raises AverseError for what has none, and for texts, dictionaries and sets, whose items are not in a row.
    """
    if not isinstance(values, str | bytes | dict | set):
        try:
            return list(values)
        except TypeError:
            pass
    raise AverseError(f"{name} must be {words}, not {shown(values)}")


def no_numbers(name: str, value: Any) -> AverseError:
    """The error for an argument that must be a number or an array of numbers and is none."""
    return AverseError(f"{name} must be numbers, neither ragged nor of anything else, not {shown(value)}")


def numbers(name: str, values: Any, truths: bool = True) -> NDArray[np.float64]:
    """Real numbers as float64, of any shape; NaN and infinity are numbers here.

    Args:
      truths: whether true and false are 1 and 0.

    Raises AverseError for texts, complex numbers, what is missing, and lists of unequal lengths.
    """
    try:
        array = np.asarray(values)
    except Exception:  # whatever an object raises that is no array
        raise no_numbers(name, values) from None
    plain = array.dtype.kind in ("biuf" if truths else "iuf")
    if not plain and not (array.dtype.kind == "O" and all(_is_real(item, truths) for item in array.flat)):
        raise no_numbers(name, values)
    try:
        with np.errstate(over="ignore"):
            return array.astype(np.float64, copy=False)
    except OverflowError:
        raise AverseError(f"{name} must be at most 1.8e308 in size, which a number in it is not") from None


def finite_numbers(name: str, values: Any, truths: bool = True) -> NDArray[np.float64]:
    """Finite real numbers as float64, of any shape, a copy; `truths` as in `numbers`.

    Raises AverseError as `numbers` does, and for NaN and infinity, with the first place where they are.
    """
    array = np.array(numbers(name, values, truths))
    if not np.isfinite(array).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise AverseError(f"{name} must be finite, but {f'entry {where}' if where else 'it'} is {array[where]}")
    return array


def _is_real(item: Any, truths: bool) -> bool:
    if isinstance(item, bool | np.bool_):
        return truths
    return isinstance(item, kinds.Real | decimal.Decimal)
