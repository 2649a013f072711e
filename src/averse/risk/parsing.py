"""Risk measures from text, and names for those that others bring."""

import dataclasses
import inspect
import re
from typing import Any, cast

from averse.errors import AverseError, unknown_name
from averse.plugins import imported, is_path
from averse.risk.base import Blend, RiskMeasure, numbers_of
from averse.risk.registry import REGISTRY
from averse.settings import check_value

_ALIASES = {"expectation": "mean", "neutral": "mean", "worst": "worst-case"}
_BLEND = re.compile(r"\s*(\S+)\s+of\s+(.+)", re.DOTALL)


def register(kind: str, measure_class: type[RiskMeasure]) -> None:
    """Give a class of risk measures a name, under which `parse` and the command line know it in this process.

    An installed package offers its own under the entry-point group `averse.measures` instead.

    Raises:
      AverseError: for a text that cannot be a name, the name of one of our measures, or what is no class of measures.
    """
    REGISTRY.register(kind, _checked_class(kind, measure_class))


def describe(kind: str) -> str:
    """What a kind of risk measure is, in one line: the first one of its class's docstring.

    Raises:
      AverseError: for a kind that nobody knows, or what is no text.
    """
    check_value("kind", str, kind)
    return (inspect.getdoc(REGISTRY.find(kind)) or "").partition("\n")[0]


def parse(text: str | RiskMeasure) -> RiskMeasure:
    """The measure that a text names; the inverse of `str`. A measure is returned as it is.

    "mean", "cvar:0.1" or "entropic:tau=2"; numbers by name are in any order ("my-kind:b=2,a=1"), those without a name
    come first, in the order of the class. The kind is one of `names()`, or `module:Class` of a class that can be
    imported ("my.module:Semideviation:0.5"). "0.5 of cvar:0.1" is a `Blend` of a measure with the mean.

    Raises:
      AverseError: for an unknown kind (with the nearest ones), what is no class of measures, or a number that is
        missing, superfluous, not a number, or out of range.
    """
    if isinstance(text, RiskMeasure):
        return text
    if not isinstance(text, str):
        raise AverseError(f"a risk measure is a text such as cvar:0.1 or an averse.risk.RiskMeasure, not {text!r:.80}")
    if blend := _BLEND.fullmatch(text):
        return Blend(parse(blend[2]), _number("the share of a measure", blend[1], "0.5 of cvar:0.1"))
    kind, arguments = _split(text)
    measure_class = _checked_class(kind, imported(kind, "risk measure") if ":" in kind else REGISTRY.find(kind))
    return measure_class(**_numbers(kind, measure_class, arguments))


def _split(text: str) -> tuple[str, str | None]:
    """The kind and what stands behind it; None where there is not even a colon."""
    head, *rest = (part.strip() for part in text.strip().split(":"))
    plain = head.lower().replace("_", "-")
    for kind in (head, _ALIASES.get(plain, plain)):
        if kind in REGISTRY.names():
            return kind, ":".join(rest) if rest else None
    if rest and is_path(f"{head}:{rest[0]}") and not _is_number(rest[0]):
        return f"{head}:{rest[0]}", ":".join(rest[1:]) if rest[1:] else None
    raise unknown_name("risk measure", plain, REGISTRY.names())


def _checked_class(kind: str, thing: Any) -> type[RiskMeasure]:
    if not (isinstance(thing, type) and issubclass(thing, RiskMeasure)):
        raise AverseError(f"{kind!s:.80} is no risk measure: it must be a class derived from averse.risk.RiskMeasure")
    return thing


def _numbers(kind: str, measure_class: type[RiskMeasure], arguments: str | None) -> dict[str, float]:
    """The numbers of a measure by name, from "0.1", "alpha=0.1", or several of them with commas in between."""
    names = numbers_of(measure_class)
    number = f"{measure_class.example:g}"
    example = f"{kind}:{number}" if len(names) == 1 else f"{kind}:" + ",".join(f"{name}={number}" for name in names)
    if arguments is not None and not names:
        raise AverseError(f"the risk measure {kind} takes no parameter, but {arguments!r:.80} is given")
    numbers: dict[str, float] = {}
    for argument in arguments.split(",") if arguments else []:
        name, equals, value = (part.strip() for part in argument.rpartition("="))
        if not equals:
            left = [name for name in names if name not in numbers]
            if not left:
                raise AverseError(f"{kind} takes {len(names)} numbers, not {arguments!r:.80}")
            name = left[0]
        if name not in names:
            called = f"parameter of {kind} is called" if len(names) == 1 else f"parameters of {kind} are called"
            raise AverseError(f"the {called} {', '.join(names)}, not {name!r:.80}")
        if name in numbers:
            raise AverseError(f"{name} of {kind} is given twice in {arguments!r:.80}")
        numbers[name] = _number(f"{name} of {kind}", value, example)
    fields = dataclasses.fields(cast(Any, measure_class))
    missing = [
        f.name for f in fields if f.name not in numbers and f.default is f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise AverseError(f"{kind} needs a number for {', '.join(missing)}, as in {example}")
    return numbers


def _number(what: str, text: str, example: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise AverseError(f"{what} must be a number, as in {example}, not {text!r:.80}") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
