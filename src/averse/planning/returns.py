"""The exact distribution of the return of a policy over a finite horizon, hence any risk measure of it.

Axes: T time, S states, A actions, N values of the return.
"""

from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import ArrayLike

from averse.arguments import instance
from averse.errors import AverseError
from averse.planning.checks import Floats
from averse.planning.entropic import entropic_evaluation
from averse.planning.mdp import FiniteMDP, policy_table
from averse.planning.numerics import merge
from averse.risk import Categorical, Entropic, Expectation, RiskMeasure, parse
from averse.settings import Count, check_value


@dataclass(frozen=True, eq=False)
class ReturnDistribution:
    """What the discounted return can be, in units of reward, and with which probability.

    Attributes:
      values: [N], ascending.
      probs: [N].
    """

    values: Floats
    probs: Floats

    def __call__(self, measure: RiskMeasure | str) -> float:
        """A risk measure of the return, such as `CVaR(0.1)` or "cvar:0.1", in float64."""
        measure = parse(measure)
        # Filled up with impossible values to a power of two, so that few shapes need compiling.
        missing = (1 << (len(self.values) - 1).bit_length()) - len(self.values)
        values, probs = np.pad(self.values, (0, missing), mode="edge"), np.pad(self.probs, (0, missing))
        with jax.enable_x64(True):
            return float(measure(Categorical(values, probs)))  # type: ignore[arg-type]


def return_distribution(mdp: FiniteMDP, policy: ArrayLike, max_values: int = 1_000_000) -> ReturnDistribution:
    """The distribution of sum_t gamma^t r_t under a policy, from the initial distribution.

    Lists the pairs (state, accumulated reward) forward in time and merges equal ones. Their number is at most
    (A S)^T, and far less where rewards are few and gamma is 1.

    Args:
      mdp: with a finite horizon.
      policy: [S, A] or [T, S, A].
      max_values: how many pairs to allow at a time.

    Raises:
      AverseError: for an infinite horizon, a bad policy, or more pairs than `max_values`.
    """
    instance("mdp", FiniteMDP, mdp)
    max_values = check_value("max_values", Count, max_values)
    horizon = mdp.finite_horizon("the distribution of the return")
    table = policy_table(mdp, policy)
    states = np.flatnonzero(mdp.initial)
    sums, probs = np.zeros(len(states)), mdp.initial[states]
    for t in range(horizon):
        joint = table[t][:, :, None] * mdp.transition  # [S, A, S']
        branches = np.count_nonzero(joint, axis=(1, 2))[states].sum()
        if branches > 8 * max_values:
            raise AverseError(_too_many(branches, t, max_values))
        spread = joint[states]
        entry, action, following = np.nonzero(spread)
        earned = sums[entry] + mdp.gamma**t * mdp.rewards[states[entry], action, following]
        group, states, sums = merge(following, earned)
        probs = np.bincount(group, probs[entry] * spread[entry, action, following])
        if len(states) > max_values:
            raise AverseError(_too_many(len(states), t, max_values))
    group, _, values = merge(np.zeros(len(sums), np.int64), sums)
    probs = np.bincount(group, probs)
    return ReturnDistribution(values, probs / probs.sum())


def evaluate_policy(mdp: FiniteMDP, policy: ArrayLike, measure: RiskMeasure | str = "mean") -> float:
    """A risk measure of the discounted return of a policy, exactly.

    The mean and the entropic measure come by dynamic programming (any horizon; see `entropic_evaluation` for the
    values of all states and the error bound of an infinite one), all others from `return_distribution`.

    Args:
      policy: [S, A] or [T, S, A].
      measure: of `averse.risk`, or its text such as "entropic:2" or "cvar:0.1".

    Raises:
      AverseError: as `return_distribution` and `entropic_evaluation`.
    """
    instance("mdp", FiniteMDP, mdp)
    measure = parse(measure)
    if isinstance(measure, Expectation):
        return entropic_evaluation(mdp, policy, np.inf).value
    if isinstance(measure, Entropic):
        return entropic_evaluation(mdp, policy, float(measure.tau)).value  # type: ignore[arg-type]
    return return_distribution(mdp, policy)(measure)


def _too_many(count: int, step: int, allowed: int) -> str:
    return f"{count} pairs of state and accumulated reward at step {step} are more than the {allowed} allowed"
