"""Settings: declared with a type and a range, checked in one place, for Python and the command line alike.

`@settings` makes a class a frozen dataclass whose fields are checked when it is built, so that whoever holds one holds
numbers that are allowed. The ranges are part of the types: `gamma: Fraction = 0.99`. The command line shows them.
"""

import dataclasses
import functools
import inspect
import math
import sys
import types
from collections.abc import Hashable, Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
import pydantic
import tyro
from annotated_types import Ge, Gt, Le, Lt

from averse.errors import AverseError, shown, unknown_name


def _of_float_size(number: int) -> int:
    if number > sys.float_info.max:
        raise ValueError("below 1e308")
    return number


Count = Annotated[int, Ge(1), pydantic.AfterValidator(_of_float_size)]
"""A whole number from 1 on, such that it has a float."""
Whole = Annotated[int, Ge(0), pydantic.AfterValidator(_of_float_size)]
"""A whole number from 0 on, such that it has a float."""
TINY, HUGE = 1e-30, 1e30  # sizes of a setting's number: what is computed with it is computed in single precision


def _of_usable_size(number: float) -> float:
    if number and math.isfinite(number) and not TINY <= abs(number) <= HUGE:
        raise ValueError(f"of a size between {TINY:g} and {HUGE:g}")
    return number


def _of_32_bits(number: int) -> int:
    if number >= 2**32:
        raise ValueError("below 2^32")
    return number


UsableSize = pydantic.AfterValidator(_of_usable_size)
"""Of a type: not so small or large that single precision makes 0 or infinity of it."""
Number = Annotated[float, pydantic.AllowInfNan(False), UsableSize]
"""A finite number of a usable size."""
Positive = Annotated[float, Gt(0), pydantic.AllowInfNan(False), UsableSize]
"""A finite number above 0, of a usable size."""
NonNegative = Annotated[float, Ge(0), pydantic.AllowInfNan(False), UsableSize]
"""A finite number from 0 on, of a usable size."""
Seed = Annotated[int, Ge(0), pydantic.AfterValidator(_of_32_bits)]
"""What random numbers begin with: a whole number of 32 bits."""
Fraction = Annotated[float, Ge(0), Le(1)]
"""A number in [0, 1]."""
Part = Annotated[float, Ge(0), Lt(1)]
"""A number in [0, 1)."""
Share = Annotated[float, Gt(0), Le(1)]
"""A number in (0, 1]."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass whose fields are checked when an instance is built.

    Numbers of numpy become Python's, sequences become tuples. A `__post_init__` of the class runs after the checks and
    is the place for rules about several fields.

    Raises (when an instance is built): AverseError, one line that names the field, what was given and what is allowed.
    """
    own = cls.__dict__.get("__post_init__")

    def __post_init__(self: Any) -> None:
        check(self)
        if own is not None:
            own(self)
        elif (inherited := getattr(super(cls, self), "__post_init__", None)) is not None:
            inherited()

    annotations = dict(inspect.get_annotations(cls))
    for name, hint in annotations.items():
        if bounds := _range(hint):
            annotations[name] = Annotated[hint, tyro.conf.arg(metavar=bounds)]
    cls.__annotations__ = annotations
    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    return dataclasses.dataclass(frozen=True)(cls)


def check(instance: Any) -> None:
    """Check the fields of a dataclass against their types and ranges; numbers and sequences become Python's own.

    Raises AverseError for the first field that is not as declared.
    """
    for name, (hint, adapter) in _adapters(type(instance)).items():  # type: ignore[arg-type]
        value = getattr(instance, name)
        object.__setattr__(instance, name, _checked(name, hint, adapter, value))


def check_value(name: str, hint: Any, value: Any) -> Any:
    """A single value, checked as a field of that name and type would be: `check_value("steps", Count, steps)`.

    Raises AverseError as building the class with that field would.
    """
    return _checked(name, hint, _adapter(hint), value)


def field_names(configuration: Any) -> list[str]:
    """The names of a dataclass's settings; of an instance or of the class."""
    return [field.name for field in dataclasses.fields(configuration)]


def assigned(values: Mapping[str, Any], between: str = ", ") -> str:
    """Settings as somebody would write them, in the order of their names: "human_rate=0.4, level=severe"."""
    return between.join(f"{name}={as_text(values[name])}" for name in sorted(values))


def as_text(value: Any) -> str:
    """A setting's value as it is written on the command line: 0.4, severe, true, 1,2."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(as_text, value)) if isinstance(value, tuple | list) else str(value)


def is_sequence(hint: Any) -> bool:
    """Whether values of this type are sequences, such as `hidden: tuple[int, ...]`."""
    return any(get_origin(option) is tuple for option in _options(hint))


def hints_of(cls: type) -> Mapping[str, Any]:
    """The type of every field of a dataclass, ranges included."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def words(hint: Any) -> str:
    """What a type allows, in words: "a whole number >= 1", "one of a, b"."""
    return " or ".join(dict.fromkeys(_words_of(option) for option in _options(hint)))


@functools.cache
def _adapters(cls: Hashable) -> dict[str, tuple[Any, pydantic.TypeAdapter]]:
    return {name: (hint, _adapter(hint)) for name, hint in hints_of(cast(type, cls)).items()}


def _adapter(hint: Any) -> pydantic.TypeAdapter:
    base = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if dataclasses.is_dataclass(base):  # checked when it was built
        return pydantic.TypeAdapter(pydantic.InstanceOf[base])  # type: ignore[misc, valid-type]
    # Strict: neither "3" nor True is a number.
    return pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True))


def _checked(name: str, hint: Any, adapter: pydantic.TypeAdapter, value: Any) -> Any:
    plain = _plain(value)
    choices = [choice for option in _options(hint) if get_origin(option) is Literal for choice in get_args(option)]
    alike = any(plain == choice and type(plain) is not type(choice) for choice in choices)  # True is not 1, nor is 1.0
    try:
        if not alike:
            return adapter.validate_python(plain)
        further = []
    except pydantic.ValidationError as caught:
        further = [str(error["ctx"]["error"]) for error in caught.errors() if error["type"] == "value_error"]
    if isinstance(plain, str) and choices and all(isinstance(choice, str) for choice in choices):
        raise unknown_name(name, plain, choices)
    also = f" ({further[0]})" if further else ""
    raise AverseError(f"{name} must be {words(hint)}{also}, not {shown(value)}")


def _plain(value: Any) -> Any:
    """Python's own numbers and tuples in place of numpy's and of lists."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return tuple(_plain(item) for item in value)
    return value


def _options(hint: Any) -> list[Any]:
    """The members of a union; of another type that type alone."""
    if get_origin(hint) is Annotated and get_origin(get_args(hint)[0]) in (Union, types.UnionType):
        hint = get_args(hint)[0]
    return list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]


def _bounds(metadata: tuple[Any, ...]) -> tuple[str, str]:
    """The lower and the upper end of a range as they stand in an interval; empty where open-ended."""
    low = high = ""
    for item in metadata:
        if isinstance(item, Ge | Gt):
            low = ("[" if isinstance(item, Ge) else "(") + f"{_bound(item):g}"
        if isinstance(item, Le | Lt):
            high = f"{_bound(item):g}" + ("]" if isinstance(item, Le) else ")")
    return low, high


def _bound(item: Any) -> float:
    return float(getattr(item, type(item).__name__.lower()))


def _range(hint: Any) -> str:
    """A range as the command line shows it: "[0, 1]", ">= 1"; empty where there is none."""
    parts = []
    for option in _options(hint):
        if option is type(None):
            continue
        if get_origin(option) is not Annotated:
            return ""
        low, high = _bounds(get_args(option)[1:])
        kind = {int: "INT", float: "FLOAT"}.get(get_args(option)[0], "")
        if not kind or not (low or high):
            return ""
        parts.append(f"{kind} {_interval(low, high)}")
    return " | ".join(parts)


def _interval(low: str, high: str) -> str:
    if low and high:
        return f"in {low}, {high}"
    if low:
        return f"{'>=' if low[0] == '[' else '>'} {low[1:]}"
    return f"{'<=' if high[-1] == ']' else '<'} {high[:-1]}"


_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _words_of(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Annotated:
        base, *metadata = get_args(hint)
        low, high = _bounds(tuple(metadata))
        text = _words_of(base)
        finite = any(isinstance(item, pydantic.AllowInfNan) and not item.allow_inf_nan for item in metadata)
        text = text.replace("a number", "a finite number") if finite else text
        return f"{text} {_interval(low, high)}" if low or high else text
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if origin is tuple:
        members = get_args(hint)
        if len(members) == 2 and members[1] is Ellipsis:
            return f"a sequence, each of it {words(members[0])}"
        return f"{len(members)} values ({', '.join(words(member) for member in members)})"
    if hint is type(None):
        return "nothing"
    return _KINDS.get(hint, f"a {getattr(hint, '__name__', hint)}")
