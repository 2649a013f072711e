"""The risk measure of a configuration, which says it once: as a text such as "entropic:3".

Its number can also be given by its own name (`tau=3`), which is a way to say the measure and never stored beside it.
"""

import contextlib
import dataclasses
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Protocol, cast

from annotated_types import Gt

from averse.errors import AverseError
from averse.risk import RiskMeasure, parse
from averse.settings import NonNegative, Number, Share, UsableSize, check_value, field_names, settings


@settings
class MeasureNumbers:
    """The numbers by which a measure can be said; None where not given."""

    tau: Annotated[float, Gt(0), UsableSize] | None = None
    """Risk tolerance in reward units, in place of the number in an entropic `measure`; inf is risk-neutral."""
    alpha: Share | None = None
    """Tail mass in (0, 1], in place of the number in a cvar, var or evar `measure`."""
    weight: NonNegative | None = None
    """Variance weight, in place of the number in a mean-variance `measure`."""
    eta: Number | None = None
    """Distortion, in place of the number in a wang or cpw `measure`."""


_Size = Annotated[float, UsableSize]

NUMBERS = tuple(field_names(MeasureNumbers))


class HasMeasure(Protocol):
    """A configuration with a risk measure."""

    @property
    def measure(self) -> str:
        """The text that names it, such as "entropic:3"."""
        ...


def risk_measure(config: HasMeasure) -> RiskMeasure:
    """The measure of a configuration.

    Raises AverseError for a text that names none, and for a number so small or so large that single precision makes
    nothing of it.
    """
    measure = parse(config.measure)
    for name in field_names(measure):
        if isinstance(getattr(measure, name), float):
            check_value(f"the {name} of the measure {config.measure!r}", _Size, getattr(measure, name))
    return measure


def measure_fields(measure: RiskMeasure) -> set[str]:
    """The names of a measure's numbers: {"tau"} of an entropic one."""
    return set(field_names(measure))


def with_numbers(measure: RiskMeasure, numbers: Mapping[str, Any]) -> RiskMeasure:
    """The measure with other numbers, which may be traced."""
    return cast(RiskMeasure, dataclasses.replace(cast(Any, measure), **numbers))


def with_measure_numbers(
    settings: Mapping[str, Any], default: str = "mean", own: Collection[str] = ()
) -> dict[str, Any]:
    """The settings with the measure as one text: numbers by name leave them, `measure` says what they said.

    Args:
      settings: may hold `measure`, a text ("entropic:3"; "entropic" beside a `tau`) or a RiskMeasure, and its number by
        name: `tau`, `alpha`, `weight`, `eta` (None is not given), or as a registered measure calls it.
      default: the measure whose number is replaced where the settings hold no measure.
      own: names that are settings of their own, whatever a measure calls its number.

    Raises AverseError for a number that is not the measure's or another than an explicit measure has, for one that is
    out of range, and for a RiskMeasure that no text names.
    """
    rest = dict(settings)
    explicit = rest.pop("measure", None)
    given = {name: rest.pop(name) for name in NUMBERS if name in rest and name not in own}
    numbers = {name: value for name, value in vars(MeasureNumbers(**given)).items() if value is not None}
    measure = _read(default if explicit is None else explicit, numbers)
    fields = measure_fields(measure)
    numbers |= {name: rest.pop(name) for name in (fields - set(own)) & rest.keys()}
    for name in numbers.keys() - fields:
        allowed = f"its number is called {fields.pop()}" if fields else "it has no number"
        raise AverseError(f"{name} does not belong to the measure {str(measure)!r}; {allowed}")
    if explicit is None:
        return {**rest, "measure": _text_of(with_numbers(measure, numbers))} if numbers else rest
    for name, value in numbers.items():
        if getattr(measure, name) != value:
            raise AverseError(f"the measure {str(measure)!r} and {name} {value:g} contradict each other; give one")
    has_number = isinstance(explicit, str) and not numbers
    return {**rest, "measure": explicit if has_number else _text_of(measure)}


def _read(measure: Any, numbers: Mapping[str, float]) -> RiskMeasure:
    """The measure of a text, which may leave its number to `numbers`, or that measure itself."""
    if isinstance(measure, RiskMeasure):
        return measure
    if not isinstance(measure, str):
        raise AverseError(f"measure must be a text such as entropic:1, or a risk measure, not {measure!r:.80}")
    if ":" not in measure and len(numbers) == 1:
        with contextlib.suppress(AverseError):
            return parse(measure)
        ((name, number),) = numbers.items()
        return parse(f"{measure}:{name}={number}")
    return parse(measure)


def _text_of(measure: RiskMeasure) -> str:
    """The text that `parse` reads as this measure."""
    text = str(measure)
    try:
        known = parse(text) == measure
    except AverseError as error:
        raise AverseError(f"a configuration holds its measure as a text, and {text!r} names none: {error}") from error
    if not known:
        raise AverseError(f"a configuration holds its measure as a text, and {text!r} names another one")
    return text
