"""The figures of a table of episodes, each with its interval: what `evaluation.json` and every report row hold."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from averse.errors import AverseError
from averse.evaluation.episodes import Episodes
from averse.statistics import (
    RESAMPLES,
    Estimate,
    cvar_curve_intervals,
    mean,
    percentile_interval,
    proportion_interval,
    resample_counts,
    standard_deviation,
)

ALPHAS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
TAIL = 0.05
RELIABLE_EPISODES = 1_000
COLLISION = "collision"


@dataclass(frozen=True)
class MetricSummary:
    """The mean of a metric over the episodes in which it is defined."""

    mean: Estimate
    defined: int  # number of completed episodes in which it is not NaN
    unit: str = ""  # the environment's words, with the unit

    def to_dict(self) -> dict[str, Any]:
        return {**self.mean.to_dict(), "defined": self.defined, "unit": self.unit}


@dataclass(frozen=True)
class Summary:
    """Figures of a policy (or of several training seeds of one method), in units of undiscounted reward.

    Intervals are at `confidence` and say what training and evaluating anew would give; with one training seed they can
    only say what evaluating this policy again would give, and `warning` says so.
    """

    mean: Estimate
    std: Estimate
    cvar_05: Estimate
    collision_rate: Estimate | None  # None where the environment has no metric `collision`
    length: Estimate
    cvar_curve: Mapping[float, Estimate]  # by alpha
    metrics: Mapping[str, MetricSummary]
    episodes: int  # completed ones
    failed_episodes: int
    training_seeds: int
    confidence: float = 0.95
    warning: str | None = field(default=None)

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
        """The inverse of `to_dict`."""
        try:
            rate = fields["collision_rate"]
            return cls(
                mean=Estimate.from_dict(fields["mean"]),
                std=Estimate.from_dict(fields["std"]),
                cvar_05=Estimate.from_dict(fields["cvar_05"]),
                length=Estimate.from_dict(fields["length"]),
                collision_rate=None if rate is None else Estimate.from_dict(rate),
                cvar_curve={point["alpha"]: Estimate.from_dict(point) for point in fields["cvar_curve"]},
                metrics={
                    name: MetricSummary(Estimate.from_dict(metric), metric["defined"], metric["unit"])
                    for name, metric in fields["metrics"].items()
                },
                episodes=fields["episodes"],
                failed_episodes=fields["failed_episodes"],
                training_seeds=fields["training_seeds"],
                confidence=fields["confidence"],
                warning=fields.get("warning"),
            )
        except (KeyError, TypeError) as error:
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

    `metrics` maps the names of the environment's metrics to their meaning and unit (`env.metrics`); by default every
    metric of the table, without words. Failed episodes are counted but enter no figure. `collision_rate` is the
    fraction of episodes with at least one collision; its interval is the hull of the two-level and Wilson's interval,
    as a bootstrap of no collision at all would claim certainty. `learnt`: whether the policy is the outcome of
    training; one that is not has no training seed.
    """
    if metrics is None:
        metrics = dict.fromkeys(episodes.metrics, "")
    missing = [name for name in metrics if name not in episodes.metrics]
    if missing:
        raise AverseError(f"the episodes lack the metric{'s' * (len(missing) > 1)} {', '.join(missing)}")
    done = episodes.completed()
    if len(done) == 0:
        raise AverseError(f"no completed episode to summarise ({len(episodes)} in the table, all failed)")
    done = done.select(np.argsort(done.training_seed, kind="stable"))
    returns = done.episode_return
    groups = done.by_training_seed()
    sizes = [group.size for group in groups]
    units = len(groups) if len(groups) > 1 else len(done)

    # Means of everything else, on shared resamples: columns [E, K] with NaN where undefined. The mean over the defined
    # is a ratio of two means, so that how often a metric is defined is resampled too.
    plain = [name for name in metrics if name != COLLISION]
    collided = done.metrics.get(COLLISION) if COLLISION in metrics else None
    columns = [done.length.astype(float), *(done.metrics[name] for name in plain)]
    if collided is not None:
        columns.append(np.where(np.isnan(collided), np.nan, collided > 0))
    values = np.stack(columns, axis=-1)
    defined = np.isfinite(values)
    filled = np.where(defined, values, 0.0)
    parts: list[tuple[np.ndarray, ...]] = []
    for counts in resample_counts(sizes, resamples, seed):
        weights = counts.astype(float)
        number = weights @ defined
        with np.errstate(invalid="ignore"):
            averages = np.where(number > 0, (weights @ filled) / np.maximum(number, 1), np.nan)
        parts.append((mean.weighted(returns, weights), standard_deviation.weighted(returns, weights), averages))
    means, deviations, averages = (np.concatenate(part) for part in zip(*parts))
    count = defined.sum(0)
    value = np.where(count > 0, filled.sum(0) / np.maximum(count, 1), np.nan)
    estimates = [percentile_interval(averages[:, k], float(value[k]), units, confidence) for k in range(len(count))]

    curve = cvar_curve_intervals(groups, ALPHAS, confidence, seed, resamples)
    return Summary(
        mean=percentile_interval(means, mean(returns), units, confidence),
        std=percentile_interval(deviations, standard_deviation(returns), units, confidence),
        cvar_05=curve[TAIL],
        collision_rate=None if collided is None else _rate(collided, estimates[-1], confidence),
        length=estimates[0],
        cvar_curve=curve,
        metrics={
            name: MetricSummary(estimates[1 + k], int(count[1 + k]), metrics[name]) for k, name in enumerate(plain)
        },
        episodes=len(done),
        failed_episodes=len(episodes) - len(done),
        training_seeds=len(groups) if learnt else 0,
        confidence=confidence,
        warning=_warning(len(done), len(groups) if learnt else 0),
    )


def _rate(collisions: np.ndarray, two_level: Estimate, confidence: float) -> Estimate:
    """Fraction of episodes [E] with a collision, with the hull of its two-level and Wilson's interval."""
    defined = collisions[np.isfinite(collisions)]
    if defined.size == 0:
        return Estimate(math.nan)
    wilson = proportion_interval(int((defined > 0).sum()), defined.size, confidence)
    if not two_level.has_interval:
        return wilson
    return Estimate(wilson.value, min(wilson.low, two_level.low), max(wilson.high, two_level.high))


def _warning(episodes: int, training_seeds: int) -> str | None:
    warnings = []
    if episodes < RELIABLE_EPISODES:
        warnings.append(
            f"only {episodes} episodes: tails are unreliable below {RELIABLE_EPISODES:,} "
            f"(the worst 5% are {episodes * TAIL:.3g} episodes)"
        )
    if training_seeds == 1:
        warnings.append("one training seed: intervals cover the evaluation of this policy, not training it again")
    return "; ".join(warnings) or None
