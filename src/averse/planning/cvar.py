"""Exact optimal CVaR of the return of small MDPs, by state augmentation (Baeuerle, Ott 2011).

CVaR_alpha(Z) = max over eta of eta - E[(eta - Z)^+]/alpha (Rockafellar, Uryasev 2000), so that

    max over policies of CVaR = max over eta of ( eta - min over policies of E[(eta - Z)^+] / alpha ).

For a given threshold eta the inner problem is an ordinary MDP whose state remembers the reward accumulated so far (or,
the same thing, the budget that is left). The best eta is a quantile of the optimal return, hence one of the finitely
many returns that can occur: all are tried, so that the answer is exact. The optimal policy depends on history, but only
through the accumulated reward; no policy with a longer memory does better.

Axes: T time, S states, A actions, K pairs of state and accumulated reward at a time, E thresholds.
"""

from dataclasses import dataclass

import numpy as np

from averse.arguments import instance
from averse.errors import AverseError
from averse.planning.checks import Floats, Integers
from averse.planning.mdp import FiniteMDP
from averse.planning.numerics import merge
from averse.planning.returns import ReturnDistribution
from averse.settings import Count, Number, Share, Whole, check_value

_ENTRIES = 4_000_000  # of the largest array at a time


@dataclass(frozen=True, eq=False)
class CVaRPlan:
    """An optimal policy for the CVaR of the return, as a table over (time, state, accumulated discounted reward).

    Attributes:
      value: the largest CVaR over all policies, in units of reward.
      threshold: the eta that attains it: the alpha-quantile of the return, in units of reward.
      states: per time step the states of the pairs [K].
      accumulated: per time step their rewards so far, sum_{k<t} gamma^k r_k [K].
      actions: per time step the optimal action of each pair [K].
      returns: the distribution of the return under this policy.
    """

    value: float
    threshold: float
    states: list[Integers]
    accumulated: list[Floats]
    actions: list[Integers]
    returns: ReturnDistribution

    def act(self, step: int, state: int, accumulated: float) -> int:
        """The optimal action at a time step, given the state and the discounted reward accumulated before it.

        Raises:
          AverseError: if this pair cannot occur.
        """
        step, state = check_value("step", Whole, step), check_value("state", Whole, state)
        accumulated = check_value("accumulated", Number, accumulated)
        if step >= len(self.actions):
            raise AverseError(f"step must be from 0 to {len(self.actions) - 1}, not {step}")
        here = np.flatnonzero(self.states[step] == state)
        distance = np.abs(self.accumulated[step][here] - accumulated)
        if not len(here) or distance.min() > 1e-9 * max(1.0, abs(accumulated)):
            raise AverseError(f"state {state} with {accumulated:g} accumulated cannot occur at step {step}")
        return int(self.actions[step][here[distance.argmin()]])


@dataclass(frozen=True, eq=False)
class _Step:
    """The pairs at one time, and where each action leads."""

    states: Integers  # [K]
    sums: Floats  # [K]
    children: Integers  # [K, A, S'], positions among the pairs of the next step; 0 where impossible


def cvar_value_iteration(mdp: FiniteMDP, alpha: float, max_pairs: int = 20_000) -> CVaRPlan:
    """Maximises the CVaR of the discounted return over all policies, exactly.

    The work is (pairs x A x S') x (possible returns); both can grow like (A S)^T unless rewards repeat and gamma is 1.

    Args:
      mdp: with a finite horizon.
      alpha: tail mass in (0, 1]; 1 is the mean.
      max_pairs: how many pairs of state and accumulated reward to allow at a time.

    Raises:
      AverseError: for an infinite horizon, alpha out of range, or more pairs than `max_pairs`.
    """
    instance("mdp", FiniteMDP, mdp)
    alpha = check_value("alpha", Share, alpha)
    max_pairs = check_value("max_pairs", Count, max_pairs)
    steps, last = _reachable(mdp, max_pairs)
    thresholds = merge(np.zeros(len(last), np.int64), last)[2]
    objective = np.concatenate(
        [
            chunk - mdp.initial[steps[0].states] @ _shortfalls(mdp, steps, last, chunk)[0] / alpha
            for chunk in np.array_split(thresholds, _chunks(steps, mdp, len(thresholds)))
        ]
    )
    threshold = float(thresholds[objective.argmax()])
    _, actions = _shortfalls(mdp, steps, last, np.array([threshold]))
    returns = _returns(mdp, steps, last, actions)
    return CVaRPlan(
        float(objective.max()),
        threshold,
        [step.states for step in steps],
        [step.sums for step in steps],
        actions,
        returns,
    )


def _reachable(mdp: FiniteMDP, max_pairs: int) -> tuple[list[_Step], Floats]:
    """The pairs that some policy can reach, step by step, and the returns [K] of the last ones."""
    horizon = mdp.finite_horizon("optimal CVaR")
    possible = mdp.transition > 0
    states = np.flatnonzero(mdp.initial)
    sums = np.zeros(len(states))
    steps = []
    for t in range(horizon):
        pair, action, following = np.nonzero(possible[states])
        earned = sums[pair] + mdp.gamma**t * mdp.rewards[states[pair], action, following]
        # Of the last pairs only the return matters.
        group, new_states, new_sums = merge(following if t + 1 < horizon else np.zeros_like(following), earned)
        if len(new_states) > max_pairs:
            raise AverseError(
                f"{len(new_states)} pairs of state and accumulated reward at step {t + 1} are more than the "
                f"{max_pairs} allowed: exact CVaR is for small MDPs; shorten the horizon, or round the rewards"
            )
        children = np.zeros((len(states), mdp.num_actions, mdp.num_states), np.int64)
        children[pair, action, following] = group
        steps.append(_Step(states, sums, children))
        states, sums = new_states, new_sums
    return steps, sums


def _shortfalls(mdp: FiniteMDP, steps: list[_Step], last: Floats, thresholds: Floats) -> tuple[Floats, list[Integers]]:
    """min E[(eta - Z)^+] from each first pair for each threshold [K, E], and the first threshold's actions per step."""
    values = np.maximum(thresholds - last[:, None], 0)
    actions = []
    for step in reversed(steps):
        expected = np.einsum("kax,kaxe->kae", mdp.transition[step.states], values[step.children])
        actions.append(expected[..., 0].argmin(1))
        values = expected.min(1)
    return values, actions[::-1]


def _returns(mdp: FiniteMDP, steps: list[_Step], last: Floats, actions: list[Integers]) -> ReturnDistribution:
    probs = mdp.initial[steps[0].states]
    sizes = [len(step.states) for step in steps[1:]] + [len(last)]
    for step, action, size in zip(steps, actions, sizes):
        chosen = np.arange(len(step.states)), action
        flow = probs[:, None] * mdp.transition[step.states, action]
        probs = np.bincount(step.children[chosen].ravel(), flow.ravel(), minlength=size)
    return ReturnDistribution(last[probs > 0], probs[probs > 0] / probs.sum())


def _chunks(steps: list[_Step], mdp: FiniteMDP, thresholds: int) -> int:
    largest = max(step.children.size for step in steps)
    return max(1, min(thresholds, -(-largest * thresholds // _ENTRIES)))
