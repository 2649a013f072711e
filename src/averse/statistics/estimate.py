"""A figure with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from averse.errors import AverseError
from averse.settings import check_value


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval. `low` and `high` are NaN where no interval can be given (a sample of one).

    Raises AverseError, when built, for what is no number.
    """

    value: float  # the figure, in units of what it is a figure of
    low: float = float("nan")
    high: float = float("nan")

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            given = getattr(self, name)
            if type(given) is not float:  # thousands are built for a figure's bands
                object.__setattr__(self, name, check_value(name, float, given))

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def to_dict(self) -> dict[str, float | None]:
        """Ready for JSON: what is not a finite number is None."""
        return {"value": _finite(self.value), "low": _finite(self.low), "high": _finite(self.high)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, float | None]) -> "Estimate":
        """The inverse of `to_dict`; what is None or missing becomes NaN. Raises AverseError for other values."""
        if not isinstance(fields, Mapping):
            raise AverseError(f"fields must be a mapping with value, low and high, not {fields!r:.80}")
        return cls(*(float("nan") if fields.get(k) is None else fields[k] for k in ("value", "low", "high")))  # type: ignore[arg-type]

    def __format__(self, spec: str) -> str:
        """`f"{estimate:.1%}"` -> "2.5% [1.8%, 3.4%]"; without a format, as many decimals as the interval justifies."""
        if not np.isfinite(self.value):
            return "undefined"
        spec = spec or f".{self._decimals()}f"
        text = format(self.value + 0.0, spec)
        return f"{text} [{self.low + 0.0:{spec}}, {self.high + 0.0:{spec}}]" if self.has_interval else text

    def __str__(self) -> str:
        return format(self)

    def _decimals(self) -> int:
        """Decimals that show the interval's width (or, without one, the value) to two significant digits, 0..6."""
        width = self.high - self.low if self.has_interval else abs(self.value)
        return 2 if width <= 0 or not np.isfinite(width) else int(np.clip(1 - np.floor(np.log10(width)), 0, 6))


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
