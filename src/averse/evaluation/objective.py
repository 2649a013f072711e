"""The objective that was trained, beside what is evaluated: it tells "did not learn" from "learned something else".

Learning maximises a risk measure of each agent's *discounted* return; the table is of undiscounted ones, mean over
agents. A policy may be good at the one and bad at the other.

Axes: E episodes, A agents, S training seeds, K those whose returns are judged (the agents, or the team), R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import jax
import numpy as np

from averse.errors import AverseError
from averse.evaluation.accounts import Played
from averse.learners.parts.measure import measure_fields, risk_measure, with_numbers
from averse.learners.policy_gradient.config import MAPPOConfig, SRPOConfig, StaticRiskConfig
from averse.learners.value_based.config import RMIXConfig, ValueBasedConfig
from averse.risk import Categorical, Expectation, RiskMeasure
from averse.settings import check_value, field_names
from averse.statistics import Estimate
from averse.statistics.resampling import intervals
from averse.training.run import Run

Whose = Literal["agent", "team"]


@dataclass(frozen=True, repr=False)
class TrainedObjective:
    """A measure of the discounted returns from the episodes' start: what the policies of a setting were to maximise.

    It is judged agent by agent (not pooled: an agent's risk is its own) and policy by policy, and the mean over both is
    told; its interval is at 95 %. The entropy bonus is left out.
    """

    value: Estimate  # in units of reward
    measure: str  # that of the trials, `entropic:3`
    whose: Whose  # whose return is judged: that of each agent, or the team's (the mean over agents)
    gamma: float  # discount per step
    cut: float  # of these returns, the fraction that the time limit cut short; they count as far as they came
    discount_left: float  # of the returns cut short, the discount that what followed would have had, mean; 0 where none

    def __repr__(self) -> str:
        return f"TrainedObjective({self})"

    def __str__(self) -> str:
        measure = "the mean" if self.measure == str(Expectation()) else self.measure
        whose = "each agent's" if self.whose == "agent" else "the team's"
        words = f"{measure} of {whose} return, discount {self.gamma:g}: {self.value}"
        return "; ".join(filter(None, (words, self.warning)))

    @property
    def warning(self) -> str:
        """What the time limit hides; empty where it cut no return."""
        if not self.cut:
            return ""
        return (
            f"the time limit cut {100 * self.cut:.3g}% of the returns, with {self.discount_left:.2g} of the discount "
            "left, and training looks beyond it"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **self.value.to_dict(),
            "measure": self.measure,
            "whose": self.whose,
            "gamma": self.gamma,
            "cut": self.cut,
            "discount_left": self.discount_left,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "TrainedObjective":
        """The inverse of `to_dict`. Raises AverseError for what is no such dictionary."""
        try:
            return cls(
                Estimate.from_dict(fields),
                measure=check_value("measure", str, fields["measure"]),
                whose=check_value("whose", Whose, fields["whose"]),
                gamma=check_value("gamma", float, fields["gamma"]),
                cut=check_value("cut", float, fields["cut"]),
                discount_left=check_value("discount_left", float, fields["discount_left"]),
            )
        except (KeyError, AttributeError, AverseError) as error:
            raise AverseError(f"not a trained objective: {error}") from None


def trained_objective(run: Run, played: Mapping[int, Played]) -> TrainedObjective | None:
    """The objective of some trials of a run that differ in nothing but their training seed, as their episodes have it.

    A return that the time limit cut short counts as far as it came. Training looks beyond the limit, which the figure
    cannot; but to leave such returns out would leave out those who wait, so that it tells how many they are and how
    much discount was left.

    Args:
      played: trial -> its episodes.

    Returns None where it is not known what a method maximises (`maximised`), and where every episode failed.
    """
    swept = [run.trials[index] for index in played]
    found = maximised(run.config.learner_config(), swept[0], run.config.environment_parameters)
    done = [(each, ~np.asarray(each.failed)) for each in played.values()]
    if found is None or not any(rows.any() for _, rows in done):
        return None
    measure, whose = found
    returns = [_judged(np.asarray(each.discounted, np.float64)[rows], whose) for each, rows in done if rows.any()]
    cut = np.concatenate([_cut_short(each, whose)[rows] for each, rows in done])
    lengths = np.concatenate([np.asarray(each.length)[rows] for each, rows in done])
    left = np.broadcast_to(run.learner.gamma ** lengths.astype(float)[:, None], cut.shape)
    return TrainedObjective(
        value=mean_of_measures(measure, returns),
        measure=str(measure),
        whose=whose,
        gamma=run.learner.gamma,
        cut=float(cut.mean()),
        discount_left=float(left[cut].mean()) if cut.any() else 0.0,
    )


def maximised(
    config: Any, swept: Mapping[str, float], parameters: Mapping[str, Any] = MappingProxyType({})
) -> tuple[RiskMeasure, Whose] | None:
    """The measure that a method maximises, and of whose discounted return; None where there is no such thing to tell.

    That is so of shaped rewards, which are not those of an evaluation, of returns among partners that an adversary
    perturbs, of the long run's mean and variance, of RMIX, whose measure changes from step to step, of discounted steps
    towards a measure of whole episodes, and of methods that are not ours.

    Args:
      config: the method's settings.
      swept: numbers of the trial that take the place of the measure's own; others are ignored.
      parameters: those of the environment that it was trained in, where a budget says whose return counts.
    """
    whose: Whose = "agent"
    if isinstance(config, MAPPOConfig):
        if config.shaping or isinstance(config, SRPOConfig):
            return None
        if isinstance(config, StaticRiskConfig):
            if config.gamma < 1.0:
                return None
            whose = "team" if parameters.get("budget") == "team" else "agent"
        elif config.advantage == "gae":  # whatever the measure, which is then but reported by the critic
            return Expectation(), whose
    elif isinstance(config, ValueBasedConfig) and not isinstance(config, RMIXConfig):
        whose = "agent" if config.mixer == "none" else "team"
    else:
        return None
    measure = risk_measure(config)
    names = (measure_fields(measure) & swept.keys()) - set(field_names(config))
    return with_numbers(measure, {name: swept[name] for name in names}), whose


def mean_of_measures(measure: RiskMeasure, returns: Sequence[np.ndarray]) -> Estimate:
    """The mean over policies and columns of a measure of returns, each an array [E, K] of one training seed's policy.

    Policies are not pooled, as what differs between them is no risk that either of them took. The interval is the
    two-level one of `averse.statistics.stratified_bootstrap_interval` (Student's where seeds are few).
    """
    sizes = [len(each) for each in returns]
    starts = np.cumsum(sizes)[:-1]

    def figures(counts: np.ndarray) -> np.ndarray:
        """Counts of the pooled episodes [R, E] -> the mean over the policies drawn, [R, 1]."""
        parts = np.split(counts, starts, axis=-1)
        drawn = np.stack([part.sum(-1) / size for part, size in zip(parts, sizes)])  # how often, [S, R]
        values = np.stack([_worth(measure, each, part) for each, part in zip(returns, parts)])
        return ((drawn * values).sum(0) / drawn.sum(0))[:, None]

    return intervals(figures, figures(np.ones((1, sum(sizes))))[0], sizes)[0]


def _worth(measure: RiskMeasure, returns: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean over columns of a measure of returns [E, K] that occur counts [R, E] times; [R].

    Where none occurs, any number does: the policy was not drawn.
    """
    counts = np.where(counts.sum(-1, keepdims=True) == 0, 1, counts)
    probs = counts / counts.sum(-1, keepdims=True)
    with jax.enable_x64(True):
        columns = []
        for column in returns.T:
            order = np.argsort(column, kind="stable")  # once, not again by the measure for each resample
            columns.append(np.asarray(_measured(measure, column[order], probs[:, order])))
    return np.mean(columns, axis=0)


@jax.jit
def _measured(measure: RiskMeasure, ascending: jax.Array, probs: jax.Array) -> jax.Array:
    """The measure of returns [E] with probabilities [R, E]; [R]."""
    return measure(Categorical(ascending, probs))


def _judged(discounted: np.ndarray, whose: Whose) -> np.ndarray:
    """Of the agents' returns [E, A] those that are judged, [E, K]."""
    return discounted if whose == "agent" else discounted.mean(-1, keepdims=True)


def _cut_short(played: Played, whose: Whose) -> np.ndarray:
    """Which of the returns that are judged the time limit cut short, bool [E, K]."""
    cut = np.asarray(played.truncated)[:, None] & ~np.asarray(played.terminated)
    return cut if whose == "agent" else cut.any(-1, keepdims=True)
