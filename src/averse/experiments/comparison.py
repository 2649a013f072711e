"""The figures of a study: a row per arm, paired differences, who beats whom how often, and which are on Pareto's front.

Axes: S training seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from averse.errors import AverseError
from averse.evaluation import Episodes, Summary, summarise
from averse.evaluation.summary import COLLISION, TAIL
from averse.statistics import (
    Estimate,
    interquartile_mean,
    mean,
    paired_difference_interval,
    probability_of_improvement,
    standard_deviation,
    stratified_bootstrap_interval,
    worst,
)
from averse.statistics.intervals import within

Figures = dict[str, Estimate]


@dataclass(frozen=True)
class Row:
    """The figures of one arm in one world."""

    label: str
    settings: Mapping[str, Any]
    metrics: Figures  # return, iqm, std, worst_5, a failure rate where there is one, length, the environment's metrics
    summary: Summary  # the same as `averse evaluate` has it; its collision rate is the rate of the failures that count
    front: bool = False  # whether no other arm is better in return and as safe, or safer and as good

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "label": self.label,
            "settings": dict(self.settings),
            "metrics": self.metrics,
            "front": self.front,
            "episodes": self.summary.episodes,
            "failed_episodes": self.summary.failed_episodes,
            "warning": self.summary.warning,
        }


@dataclass(frozen=True)
class Difference:
    """The figures of one arm less those of another, on the same training seeds and episodes."""

    label: str
    to: str
    metrics: Figures
    probability_of_improvement: Estimate

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return vars(self) | {"probability_of_improvement": self.probability_of_improvement}


def rate_name(failure: str) -> str:
    """What the share of episodes with at least one such failure is called: collision_rate."""
    return f"{failure}_rate"


def rows_of(
    tables: Mapping[str, Episodes],
    settings: Mapping[str, Mapping[str, Any]],
    failure: str | None,
    metrics: Mapping[str, str],
) -> list[Row]:
    """A row per arm, those on the front marked.

    Args:
      tables: the episodes of each arm.
      settings: of each arm.
      failure: the metric that counts failures, None where the environment has none.
      metrics: the environment's, with their words.
    """
    rows = [_row(label, settings[label], table, failure, metrics) for label, table in tables.items()]
    front = pareto_front({row.label: (row.metrics["return"].value, safety(row, failure)) for row in rows})
    return [replace(row, front=row.label in front) for row in rows]


def safety(row: Row, failure: str | None) -> float:
    """The larger the safer: the worst-5 % return, or less the failure rate where there is one."""
    return row.metrics["worst_5"].value if failure is None else -row.metrics[rate_name(failure)].value


def _row(
    label: str, settings: Mapping[str, Any], table: Episodes, failure: str | None, metrics: Mapping[str, str]
) -> Row:
    words = dict(metrics)
    if failure is not None:  # it counts as collisions do: whether there was one
        counted = {**table.metrics, COLLISION: table.metrics[failure]}
        table = replace(
            table, metrics={name: column for name, column in counted.items() if name != failure or name == COLLISION}
        )
        words = {COLLISION: ""} | {name: text for name, text in words.items() if name != failure}
    summary = summarise(table, words)
    figures = {
        "return": summary.mean,
        "iqm": stratified_bootstrap_interval([seed_means(table)], interquartile_mean, resample="episodes"),
        "std": summary.std,
        "worst_5": summary.cvar_05,
    }
    if failure is not None and summary.collision_rate is not None:
        figures[rate_name(failure)] = summary.collision_rate
    figures["length"] = summary.length
    figures |= {name: metric.mean for name, metric in summary.metrics.items()}
    return Row(label, settings, figures, summary)


def seed_means(table: Episodes) -> np.ndarray:
    """The mean return of each training seed's completed episodes, [S]: the scores of its trainings."""
    return np.array([returns.mean() for returns in table.completed().by_training_seed()])


def difference(
    label: str, table: Episodes, to: str, other: Episodes, failure: str | None, confidence: float = 0.95
) -> Difference:
    """The figures of an arm less those of another, with the intervals of paired samples.

    Pairs are episodes of the same seed, by policies of the same training seed. A pair of which one episode failed (the
    simulator broke off) is left out, as is one in which a failure rate is undefined.

    Args:
      label: of the arm, with its episodes `table`.
      to: the arm to compare with, with its episodes `other`.
      failure: the metric that counts failures, if there is one.
      confidence: of the intervals.

    Raises AverseError where the episodes are not of the same seeds.
    """
    mine, theirs = paired(table, other)
    first, second = mine.by_training_seed(), theirs.by_training_seed()
    statistics: dict[str, Any] = {"return": mean, "std": standard_deviation, "worst_5": worst(TAIL)}
    found = {
        name: paired_difference_interval(first, second, statistic, confidence) for name, statistic in statistics.items()
    }
    own, others = (np.array([returns.mean() for returns in groups]) for groups in (first, second))
    found["iqm"] = paired_difference_interval(own, others, interquartile_mean, confidence)
    if failure is not None:
        found[rate_name(failure)] = _rate_difference(mine, theirs, failure, confidence)
    return Difference(label, to, found, probability_of_improvement(own, others, confidence))


def paired(table: Episodes, other: Episodes) -> tuple[Episodes, Episodes]:
    """The episodes of two arms, row by row of the same training seed and episode seed, without those that failed.

    Raises AverseError where they are not of the same seeds, or where no pair is left.
    """
    first, second = (each.select(np.lexsort((each.seed, each.training_seed))) for each in (table, other))
    same = len(first) == len(second) and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ("training_seed", "seed")
    )
    if not same:
        raise AverseError("differences are of episodes of the same seeds, which these are not")
    kept = ~(first.failed | second.failed)
    if not kept.any():
        raise AverseError("no pair of episodes is left to compare: in each the simulator broke off")
    return first.select(kept), second.select(kept)


def _rate_difference(mine: Episodes, theirs: Episodes, failure: str, confidence: float) -> Estimate:
    """Of the failure rates of paired episodes."""
    first, second = mine.metrics[failure], theirs.metrics[failure]
    defined = np.isfinite(first) & np.isfinite(second)
    if not defined.any():
        return Estimate(math.nan)
    own, other = mine.select(defined), theirs.select(defined)
    found = paired_difference_interval(
        own.by_training_seed((own.metrics[failure] > 0).astype(float)),
        other.by_training_seed((other.metrics[failure] > 0).astype(float)),
        mean,
        confidence,
    )
    return within(found, -1.0, 1.0)


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of the points that no other point dominates, in the order of their first coordinate.

    Args:
      points: two figures each, of both of which more is better. One point dominates another if it is at least as good
        in both, and better in one. A point that is not finite is on no front.
    """
    finite = {name: point for name, point in points.items() if all(map(math.isfinite, point))}
    front = [
        name
        for name, (x, y) in finite.items()
        if not any(a >= x and b >= y and (a > x or b > y) for a, b in finite.values())
    ]
    return sorted(front, key=lambda name: finite[name])


def slopes(levels: Sequence[float], values: np.ndarray) -> np.ndarray:
    """The slope of least squares of each seed's values over the logarithm of the levels: values [S, L] -> [S]."""
    x = np.log(np.asarray(levels, float))
    x = x - x.mean()
    return values @ x / (x @ x)
