"""Returns to honest figures: tails, intervals, the table of evaluation episodes, calibration of the critic."""

from averse.evaluation.episodes import Episodes, concatenate
from averse.evaluation.summary import MetricSummary, Summary, summarise
from averse.statistics import (
    Estimate,
    bootstrap_interval,
    cvar,
    cvar_curve,
    cvar_curve_intervals,
    interquartile_mean,
    paired_difference_interval,
    proportion_interval,
    stratified_bootstrap_interval,
)

__all__ = [
    "Episodes",
    "Estimate",
    "MetricSummary",
    "Summary",
    "bootstrap_interval",
    "concatenate",
    "cvar",
    "cvar_curve",
    "cvar_curve_intervals",
    "interquartile_mean",
    "paired_difference_interval",
    "proportion_interval",
    "stratified_bootstrap_interval",
    "summarise",
]


def __getattr__(name: str):
    # Lazy: the statistics are used by training, which `evaluate` in turn is built on.
    if name in ("Evaluation", "evaluate"):
        from averse.evaluation import evaluator as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
