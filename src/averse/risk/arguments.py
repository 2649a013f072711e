"""What the functions of arrays take: numbers by name, shapes that fit one another, measures and distributions."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from averse.arguments import instance, no_numbers
from averse.errors import AverseError
from averse.risk.base import RiskMeasure
from averse.risk.distributions import Distribution

F = TypeVar("F", bound=Callable[..., Any])
_KINDS: dict[Any, str] = {RiskMeasure: "an averse.risk.RiskMeasure", Distribution: "an averse.risk.Distribution"}


def of_arrays(function: F) -> F:
    """A function of arrays that says, by name, which argument is none, and which shapes do not fit.

    Arguments are handed on as they are given, lists as arrays; traced ones cannot be looked at and need not be.

    The function raises AverseError for what are no numbers, for what is no measure or distribution where one is meant,
    and for shapes and types that it cannot compute with.
    """
    signature, hints = inspect.signature(function), get_type_hints(function)

    @functools.wraps(function)
    def checked(*args: Any, **keywords: Any) -> Any:
        given = signature.bind(*args, **keywords)
        for name, value in given.arguments.items():
            if value is not None or signature.parameters[name].default is not None:
                given.arguments[name] = _checked(name, hints[name], value)
        try:
            return function(*given.args, **given.kwargs)
        except AverseError:
            raise
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            forms = ", ".join(f"{name} {_form(value)}" for name, value in given.arguments.items())
            reason = str(error).strip().partition("\n")[0][:120]
            raise AverseError(f"{function.__name__} cannot compute with {forms}: {reason}") from error

    return checked  # type: ignore[return-value]


def _checked(name: str, hint: Any, value: Any) -> Any:
    if hint in _KINDS:
        return instance(name, hint, value, _KINDS[hint])
    try:
        array: Any = value if isinstance(value, jax.Array) else np.asarray(value)
    except (ValueError, TypeError):  # ragged, or it refuses
        array = np.asarray(None)
    if not (array.dtype.kind in "fiub" or jnp.issubdtype(array.dtype, jnp.floating)):
        raise no_numbers(name, value)
    if hint is float and array.ndim:
        raise AverseError(f"{name} must be one number, not an array of shape {list(array.shape)}")
    return array if isinstance(value, list | tuple | range) else value


def _form(value: Any) -> str:
    """The shape of an array, the name of anything else."""
    if isinstance(value, Distribution):
        return f"{type(value).__name__} {list(value.values.shape)}"
    shape = getattr(value, "shape", None)
    return f"{list(shape)}" if shape is not None else f"{value!s:.40}"
