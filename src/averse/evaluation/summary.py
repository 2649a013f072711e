"""The figures of a table of episodes, each with its interval: what `evaluation.json` and every report row hold."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from averse.arguments import instance
from averse.errors import AverseError
from averse.evaluation.arguments import mapping
from averse.evaluation.episodes import Episodes
from averse.settings import Whole, check_value
from averse.statistics import Estimate, cvar_curve_intervals, mean, proportion_interval, standard_deviation
from averse.statistics.intervals import within
from averse.statistics.resampling import FEW_SEEDS, RESAMPLES, check_resampling, intervals
from averse.statistics.samples import Confidence

ALPHAS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
TAIL = 0.05
RELIABLE_EPISODES = 1_000
LARGE_SPREAD = 0.5  # of training seeds, relative to that of episodes, from which on intervals of tails are too narrow
COLLISION = "collision"
EVENT, FRACTION = "1 if ", "fraction of "  # how the words of metrics that are rates begin
_COUNTS = ("episodes", "failed_episodes", "training_seeds")  # whole numbers of a summary


@dataclass(frozen=True)
class MetricSummary:
    """The mean of a metric over the episodes in which it is defined."""

    mean: Estimate
    defined: int  # number of completed episodes in which it is not NaN
    unit: str = ""  # the environment's words, with the unit

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.mean.to_dict(), "defined": self.defined, "unit": self.unit}


@dataclass(frozen=True, repr=False)
class Summary:
    """Figures of a policy (or of several training seeds of one method), in units of undiscounted reward.

    Intervals are at `confidence` and say what training and evaluating anew would give (`averse.statistics`; Student's
    where there are fewer than 20 training seeds); with one training seed they can only say what evaluating this policy
    again would give, and `warning` says so, as it does where intervals are narrower than they claim.
    """

    mean: Estimate  # of the returns
    std: Estimate  # standard deviation of the returns
    cvar_05: Estimate  # mean of the worst 5 % of the returns
    collision_rate: Estimate | None  # None where the environment has no metric `collision`
    length: Estimate  # steps of an episode, mean
    cvar_curve: Mapping[float, Estimate]  # by alpha
    metrics: Mapping[str, MetricSummary]  # by name
    episodes: int  # completed ones
    failed_episodes: int  # left out: the simulator broke off
    training_seeds: int  # 0 where nothing was trained
    confidence: float = 0.95  # of the intervals
    warning: str | None = field(default=None)  # what the figures cannot tell, if anything

    def __repr__(self) -> str:
        of = f"episodes={self.episodes}, training_seeds={self.training_seeds}"
        return f"Summary(mean={self.mean}, cvar_05={self.cvar_05}, {of})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: no NaN; `warning` only where there is one."""
        return {
            "mean": self.mean.to_dict(),
            "std": self.std.to_dict(),
            "cvar_05": self.cvar_05.to_dict(),
            "collision_rate": None if self.collision_rate is None else self.collision_rate.to_dict(),
            "length": self.length.to_dict(),
            "cvar_curve": [{"alpha": alpha, **estimate.to_dict()} for alpha, estimate in self.cvar_curve.items()],
            "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()},
            "episodes": self.episodes,
            "failed_episodes": self.failed_episodes,
            "training_seeds": self.training_seeds,
            "confidence": self.confidence,
            **({} if self.warning is None else {"warning": self.warning}),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Summary":
        """The inverse of `to_dict`. Raises AverseError for what is no such dictionary."""
        try:
            rate = fields["collision_rate"]
            return cls(
                mean=Estimate.from_dict(fields["mean"]),
                std=Estimate.from_dict(fields["std"]),
                cvar_05=Estimate.from_dict(fields["cvar_05"]),
                length=Estimate.from_dict(fields["length"]),
                collision_rate=None if rate is None else Estimate.from_dict(rate),
                cvar_curve={
                    check_value("alpha", float, point["alpha"]): Estimate.from_dict(point)
                    for point in fields["cvar_curve"]
                },
                metrics={
                    name: MetricSummary(
                        Estimate.from_dict(metric),
                        check_value("defined", Whole, metric["defined"]),
                        check_value("unit", str, metric["unit"]),
                    )
                    for name, metric in fields["metrics"].items()
                },
                confidence=check_value("confidence", Confidence, fields["confidence"]),
                warning=check_value("warning", str | None, fields.get("warning")),
                **{name: check_value(name, Whole, fields[name]) for name in _COUNTS},
            )
        except (KeyError, TypeError, AttributeError, AverseError) as error:
            raise AverseError(f"not a summary of an evaluation: {error}") from None


def summarise(
    episodes: Episodes,
    metrics: Mapping[str, str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
    *,
    learnt: bool = True,
) -> Summary:
    """Means, tails and rates of a table of episodes, with two-level intervals (training seeds, then their episodes).

    Failed episodes are counted but enter no figure. `collision_rate` is the fraction of episodes with at least one
    collision; its interval is the hull of the two-level and Wilson's interval, as a bootstrap of no collision at all
    would claim certainty. So is that of a metric whose words begin with "1 if". Intervals of these, and of a metric
    whose words begin with "fraction of", are cut to [0, 1].

    Args:
      metrics: names of the environment's metrics -> their meaning and unit (`env.metrics`); by default every metric of
        the table, without words.
      confidence: of the intervals, in (0, 1).
      seed: of the resampling.
      resamples: how many.
      learnt: whether the policy is the outcome of training; one that is not has no training seed.

    Raises AverseError for a metric that the table lacks, and where no episode was completed.
    """
    instance("episodes", Episodes, episodes, "a table of episodes (Episodes)")
    check_resampling(confidence, seed, resamples, "seeds+episodes")
    check_value("learnt", bool, learnt)
    metrics = dict.fromkeys(episodes.metrics, "") if metrics is None else mapping("metrics", str, "texts", metrics)
    missing = [name for name in metrics if name not in episodes.metrics]
    if missing:
        raise AverseError(f"the episodes lack the metric{'s' * (len(missing) > 1)} {', '.join(missing)}")
    done = episodes.completed()
    if len(done) == 0:
        raise AverseError(f"no completed episode to summarise ({len(episodes)} in the table, all failed)")
    done = done.select(np.argsort(done.training_seed, kind="stable"))
    returns, groups = done.episode_return, done.by_training_seed()
    plain = [name for name in metrics if name != COLLISION]
    columns = [done.length.astype(float), *(done.metrics[name] for name in plain)]
    if COLLISION in metrics:
        collisions = done.metrics[COLLISION]
        columns.append(np.where(np.isnan(collisions), np.nan, collisions > 0))
    sizes, others = [group.size for group in groups], np.stack(columns, axis=-1)
    center, spread, *averages = _estimates(returns, others, sizes, confidence, seed, resamples)
    curve = cvar_curve_intervals(groups, ALPHAS, confidence, seed, resamples)
    return Summary(
        mean=center,
        std=within(spread, low=0.0),
        cvar_05=curve[TAIL],
        collision_rate=_rate(columns[-1], averages[-1], confidence) if COLLISION in metrics else None,
        length=averages[0],
        cvar_curve=curve,
        metrics={
            name: MetricSummary(
                _in_range(metrics[name], columns[1 + k], averages[1 + k], confidence),
                int(np.isfinite(columns[1 + k]).sum()),
                metrics[name],
            )
            for k, name in enumerate(plain)
        },
        episodes=len(done),
        failed_episodes=len(episodes) - len(done),
        training_seeds=len(groups) if learnt else 0,
        confidence=confidence,
        warning=_warning(groups, learnt),
    )


def _estimates(
    returns: np.ndarray, columns: np.ndarray, sizes: Sequence[int], confidence: float, seed: int, resamples: int
) -> list[Estimate]:
    """Mean and standard deviation of returns [E] and the means of other columns [E, K], NaN where undefined.

    The mean over the defined is a ratio of two means, so that how often a metric is defined is resampled too.
    """
    defined = np.isfinite(columns)
    filled = np.where(defined, columns, 0.0)

    def figures(counts: np.ndarray) -> np.ndarray:
        weights = counts.astype(float)
        of_returns = (mean.weighted(returns, weights), standard_deviation.weighted(returns, weights))
        return np.column_stack([*of_returns, _ratio(weights @ filled, weights @ defined)])

    whole = [mean(returns), standard_deviation(returns), *_ratio(filled.sum(0), defined.sum(0))]
    return intervals(figures, np.array(whole), sizes, confidence, seed, resamples)


def _ratio(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def rate_of(words: str, values: np.ndarray) -> Literal["event", "fraction"] | None:
    """Which rate an environment's words and values [E] make of a metric; None for what is none.

    "1 if the pole fell" is an event: 0 or 1 in each episode, so that the mean is a proportion. "fraction of the steps"
    is a number from 0 to 1 of each episode.
    """
    defined = values[np.isfinite(values)]
    if words.startswith(EVENT) and ((defined == 0) | (defined == 1)).all():
        return "event"
    if words.startswith((EVENT, FRACTION)) and ((defined >= 0) & (defined <= 1)).all():
        return "fraction"
    return None


def _in_range(words: str, values: np.ndarray, two_level: Estimate, confidence: float) -> Estimate:
    """The mean of a metric [E] with its two-level interval; that of a rate stays in [0, 1]."""
    kind = rate_of(words, values)
    if kind == "event":
        return _rate(values, two_level, confidence)
    return within(two_level, 0.0, 1.0) if kind == "fraction" else two_level


def _rate(events: np.ndarray, two_level: Estimate, confidence: float) -> Estimate:
    """Fraction of episodes [E] with an event (0, 1, NaN), with the hull of its two-level and Wilson's interval."""
    defined = events[np.isfinite(events)]
    if defined.size == 0:
        return Estimate(math.nan)
    wilson = proportion_interval(int(defined.sum()), defined.size, confidence)
    if not two_level.has_interval:
        return wilson
    return Estimate(wilson.value, max(0.0, min(wilson.low, two_level.low)), min(1.0, max(wilson.high, two_level.high)))


def _warning(groups: Sequence[np.ndarray], learnt: bool) -> str | None:
    """What the figures of returns [n] by training seed cannot tell."""
    warnings, episodes = [], sum(map(len, groups))
    if episodes < RELIABLE_EPISODES:
        warnings.append(
            f"only {episodes} episodes: tails are unreliable below {RELIABLE_EPISODES:,} "
            f"(the worst 5% are {episodes * TAIL:.3g} episodes)"
        )
    if learnt and len(groups) == 1:
        warnings.append("one training seed: intervals cover the evaluation of this policy, not training it again")
    if 1 < len(groups) < FEW_SEEDS and seed_spread(groups) > LARGE_SPREAD:
        warnings.append(
            f"the {len(groups)} training seeds differ about as much as episodes do: intervals of the worst 5% and of "
            "the standard deviation are narrower than they claim"
        )
    return "; ".join(warnings) or None


def seed_spread(groups: Sequence[np.ndarray]) -> float:
    """Standard deviation of the training seeds' true means over that of the episodes of one seed, estimated.

    Of the seeds' means [S] the part that their episodes explain is taken off (analysis of variance); infinite where the
    episodes of each seed are all the same.
    """
    within = sum(float(group.var()) * len(group) for group in groups) / sum(map(len, groups))
    noise = float(np.mean([within / len(group) for group in groups]))
    between = max(0.0, float(np.var([group.mean() for group in groups], ddof=1)) - noise)
    return math.sqrt(between / within) if within > 0.0 else (math.inf if between > 0.0 else 0.0)
