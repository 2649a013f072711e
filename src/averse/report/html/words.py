"""How a report calls figures, and writes numbers and times."""

import math
from collections.abc import Iterable

from averse.evaluation import Summary
from averse.statistics import Estimate

NAMES = {
    "return": "return",
    "worst_5": "worst-5% return",
    "std": "standard deviation",
    "collision_rate": "collision rate",
    "length": "length, steps",
}
"""Figures that every study tells, in the order of tables and menus."""
NONE = "–"


def name_of(metric: str) -> str:
    """What a figure is called: `crossing_time` -> "crossing time"."""
    return NAMES.get(metric, metric.replace("_", " "))


def names_of(metrics: Iterable[str]) -> dict[str, str]:
    """Figures -> what they are called, the common ones first."""
    known = list(dict.fromkeys(metrics))
    return {metric: name_of(metric) for metric in [*(m for m in NAMES if m in known), *known]}


def format_of(metric: str) -> str:
    """How a figure is written: rates in percent, others as precisely as they are known."""
    return ".1%" if metric.endswith("_rate") else ""


def cell(metric: str, estimate: Estimate | None) -> str:
    """A figure with its interval, for a table."""
    if estimate is None or not math.isfinite(estimate.value):
        return NONE
    return format(estimate, format_of(metric))


def figures_of(summary: Summary) -> dict[str, Estimate]:
    """The figures of an evaluation as a study calls them."""
    rate = {} if summary.collision_rate is None else {"collision_rate": summary.collision_rate}
    metrics = {name: metric.mean for name, metric in summary.metrics.items()}
    fixed = {"return": summary.mean, "worst_5": summary.cvar_05, "std": summary.std, **rate, "length": summary.length}
    return {**{name: value for name, value in metrics.items() if name not in fixed}, **fixed}


def significant(value: float, digits: int = 4) -> str:
    """A number with so many digits, without an exponent; "–" where it is not known."""
    if not math.isfinite(value):
        return NONE
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value + 0.0:,.{min(max(digits - 1 - size, 0), 6)}f}"


def duration(seconds: float) -> str:
    """Seconds as people say them: "3 min 20 s"."""
    if not math.isfinite(seconds):
        return "not known"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
