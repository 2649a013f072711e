"""Figures of mixtures of two policies: over whole episodes exactly, and of any mixture against the chord.

Tables of episodes are compared row by row: the same pair of training seeds, the same episode seed. Axes: n rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from averse.errors import AverseError
from averse.evaluation import Episodes
from averse.evaluation.summary import COLLISION, TAIL, rate_of
from averse.statistics import Estimate, mean, proportion_interval, standard_deviation, worst
from averse.statistics.intervals import within
from averse.statistics.resampling import intervals

STATISTICS: dict[str, Any] = {"return": mean, "worst_5": worst(TAIL), "std": standard_deviation}


def aligned(*tables: Episodes) -> tuple[Episodes, ...]:
    """The tables with the rows that all have completed, ordered by training seed and episode seed.

    Raises AverseError for tables of other episodes, and where nothing is left.
    """
    ordered = [table.select(np.lexsort((table.seed, table.training_seed))) for table in tables]
    first = ordered[0]
    for other in ordered[1:]:
        if len(other) != len(first) or (other.seed != first.seed).any() or (
            other.training_seed != first.training_seed
        ).any():  # fmt: skip
            raise AverseError("tables that are compared row by row must be of the same episodes")
    kept = ~np.any([table.failed for table in ordered], axis=0)
    if not kept.any():
        raise AverseError("no episode was completed by all policies that are compared")
    return tuple(table.select(kept) for table in ordered)


def mixed_estimates(
    one: Episodes, other: Episodes, alpha: float, words: Mapping[str, str] | None = None
) -> dict[str, Estimate]:
    """The figures of the policy that plays whole episodes by the one with probability alpha, else by the other.

    Its returns are distributed as alpha F_1 + (1 - alpha) F_2. That is not sampled but computed, each episode having
    the weight of its policy: the mean is linear in alpha, the tail is that of the mixture. Intervals are of pairs of
    training seeds, then of episode seeds.

    Args:
      one, other: `aligned` tables.
      alpha: in [0, 1].
      words: of the environment on its metrics; they tell which are rates.
    """
    returns = np.concatenate([one.episode_return, other.episode_return])
    columns = {name: np.concatenate([_metric(one, name), _metric(other, name)]) for name in one.metrics}
    columns["length"] = np.concatenate([one.length, other.length]).astype(float)

    def figures(counts: np.ndarray) -> np.ndarray:
        weights = np.concatenate([alpha * counts, (1.0 - alpha) * counts], axis=-1)
        tails = [statistic.weighted(returns, weights) for statistic in STATISTICS.values()]
        return np.column_stack([*tails, *(_average(column, weights) for column in columns.values())])

    found = _estimates(figures, one, [*STATISTICS, *map(_named, columns)])
    found["std"] = within(found["std"], low=0.0)
    for name, kind in _rates(columns, words).items():
        shown = _named(name)
        if kind == "event":
            found[shown] = _at_least_wilson(found[shown], _metric(one, name), _metric(other, name), alpha)
        else:
            found[shown] = within(found[shown], 0.0, 1.0)
    return found


def _at_least_wilson(found: Estimate, one: np.ndarray, other: np.ndarray, alpha: float) -> Estimate:
    """The hull of a rate's interval and the mean of both policies' Wilson intervals: no collision seen is not none."""
    parts = []
    for values in (one, other):
        defined = values[np.isfinite(values)]
        parts.append(proportion_interval(int(defined.sum()), defined.size) if defined.size else Estimate(np.nan))
    low, high = (alpha * getattr(parts[0], end) + (1 - alpha) * getattr(parts[1], end) for end in ("low", "high"))
    if not found.has_interval:
        return Estimate(found.value, low, high)
    return Estimate(found.value, max(0.0, min(low, found.low)), min(1.0, max(high, found.high)))


def difference_from_chord(
    mixed: Episodes, one: Episodes, other: Episodes, alpha: float, words: Mapping[str, str] | None = None
) -> dict[str, Estimate]:
    """How far each figure of a mixture is above the chord, alpha x_1 + (1 - alpha) x_2, with paired intervals.

    Args:
      mixed, one, other: `aligned` tables.
      alpha: of the mixture, in [0, 1].
      words: of the environment on its metrics; they tell which are rates.
    """
    tables = (mixed, one, other)
    returns = [table.episode_return for table in tables]
    columns = {name: [_metric(table, name) for table in tables] for name in mixed.metrics}
    columns["length"] = [table.length.astype(float) for table in tables]

    def over(parts: Sequence[np.ndarray]) -> np.ndarray:
        return parts[0] - alpha * parts[1] - (1.0 - alpha) * parts[2]

    def figures(counts: np.ndarray) -> np.ndarray:
        weights = counts.astype(float)
        tails = [over([statistic.weighted(r, weights) for r in returns]) for statistic in STATISTICS.values()]
        rest = [over([_average(part, weights) for part in parts]) for parts in columns.values()]
        return np.column_stack([*tails, *rest])

    found = _estimates(figures, mixed, [*STATISTICS, *map(_named, columns)])
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    return found | {_named(name): within(found[_named(name)], -1.0, 1.0) for name in _rates(whole, words)}


def _rates(columns: Mapping[str, np.ndarray], words: Mapping[str, str] | None) -> dict[str, str]:
    """Which of the metrics [n] are rates, and of what kind."""
    told = words or {}
    kinds = {
        name: "event" if name == COLLISION else rate_of(told.get(name, ""), values) for name, values in columns.items()
    }
    return {name: kind for name, kind in kinds.items() if kind is not None}


def chord(at_0: dict[str, Estimate], at_1: dict[str, Estimate], alpha: float) -> dict[str, dict[str, float]]:
    """The straight line between the figures of both ends, at alpha."""
    return {
        name: {"value": alpha * at_1[name].value + (1.0 - alpha) * at_0[name].value} for name in at_0 if name in at_1
    }


def _estimates(
    figures: Callable[[np.ndarray], np.ndarray], table: Episodes, names: Sequence[str]
) -> dict[str, Estimate]:
    sizes = [len(group) for group in table.by_training_seed()]
    whole = figures(np.ones((1, len(table)), np.int64))[0]
    return dict(zip(names, intervals(figures, whole, sizes)))


def _metric(table: Episodes, name: str) -> np.ndarray:
    """A metric [n], collisions as whether there was any."""
    values = table.metrics[name]
    return np.where(np.isnan(values), np.nan, values > 0) if name == COLLISION else values


def _named(name: str) -> str:
    return f"{COLLISION}_rate" if name == COLLISION else name


def _average(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over where values [n] are defined, under weights [r, n]; NaN where none is."""
    defined = np.isfinite(values)
    total, number = weights @ np.where(defined, values, 0.0), weights @ defined
    return np.where(number > 0, total / np.where(number > 0, number, 1.0), np.nan)
