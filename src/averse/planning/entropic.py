"""Risk-averse dynamic programming for the entropic measure, exact in tau from the worst case to the mean.

The entropic measure of the *return*, -tau log E[exp(-sum_t gamma^t r_t / tau)] (kind "static"), satisfies a Bellman
equation whose level depends on time: with V_t in units of the reward at time t,

    V_t(s) = max_a ERM_{tau_t}( r + gamma V_{t+1}(s') ),   tau_t = tau / gamma^t

(Chung, Sobel 1987; Hau, Petrik, Ghavamzadeh 2023, theorem 3.1), where ERM_tau is the entropic measure of one step. Risk
aversion fades with time, so that optimal policies depend on time. The "nested" kind applies ERM_tau afresh at every
step, V = max_a ERM_tau(r + gamma V), a contraction with a stationary solution; it is not the measure of the return, and
more averse. At gamma = 1 the two agree. The randomness of a policy counts as risk, like that of the world.

Axes: T time, S states, A actions.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from averse.arguments import instance
from averse.planning import shortest_path
from averse.planning.checks import Floats, Integers, Tolerance, checked_limits
from averse.planning.mdp import FiniteMDP, deterministic, policy_table
from averse.planning.numerics import entropic, fixed_point, policy_iteration
from averse.settings import check_value

Kind = Literal["static", "nested"]


@dataclass(frozen=True, eq=False)
class EntropicValue:
    """The entropic value of a policy.

    Attributes:
      values: of each state, in units of the reward at that time: [T + 1, S] for a finite horizon (the last row is 0);
        otherwise the rows of the steps that were computed, of which the last holds for all later ones.
      value: of the whole, from the initial distribution, in units of reward.
      bound: no value in the first row (and so `value`) is off by more than this, apart from rounding.
    """

    values: Floats
    value: float
    bound: float


@dataclass(frozen=True, eq=False)
class EntropicPlan:
    """An optimal policy and its value.

    Attributes:
      values, value, bound: as in `EntropicValue`. For an infinite horizon of the static kind the optimal value and
        that of the policy returned both lie in [value - bound, value].
      actions: [T, S]; for an infinite horizon the last row stays in force for ever (one row: stationary).
      num_actions: A.
    """

    values: Floats
    value: float
    bound: float
    actions: Integers
    num_actions: int

    @property
    def policy(self) -> Floats:
        """The actions as probabilities [T, S, A]."""
        return deterministic(self.actions, self.num_actions)


def entropic_value_iteration(
    mdp: FiniteMDP,
    tau: float,
    kind: Kind = "static",
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 100_000,
) -> EntropicPlan:
    """Maximises the entropic value over all policies.

    Finite horizon: exact, backwards in time. Infinite horizon, by case:
    * gamma < 1, nested: the fixed point of a contraction, by value iteration with MacQueen's bounds.
    * gamma < 1, static: exact backwards from a step H at which the level is so near neutral that the risk-neutral
      optimum takes over for good. Of a return in a range D, mean >= ERM_t >= mean - D^2/(8 t) (Hoeffding), so that
      nothing is off by more than gamma^(2H) D^2/(8 tau), D = (max r - min r)/(1 - gamma); H is the first step where
      this is below the tolerance (Hau, Petrik, Ghavamzadeh 2023, section 4).
    * gamma = 1: a stochastic shortest path to absorbing states without reward (Patek 2001), by policy iteration.

    Args:
      tau: tolerance of risk in (0, inf], in units of reward; inf is exactly the mean.
      kind: "static", the measure of the return, or "nested".
      tolerance: for infinite horizons: largest `bound`, as a fraction of max(1, largest absolute value).
      max_iterations: of value iteration.

    Raises:
      AverseError: for a bad tau or kind; if value iteration does not reach the tolerance; for gamma = 1 without a
        horizon, if there is no absorbing state, some state cannot reach one, a policy can avoid them without losing
        reward at every step, or no policy was found whose value is finite at this tau.
    """
    tau = _checked(mdp, tau, kind)
    tolerance, max_iterations = checked_limits(tolerance, max_iterations)
    if mdp.horizon is not None:
        rows, actions = _backwards(mdp, tau, kind, np.zeros(mdp.num_states), mdp.horizon, None)
        return EntropicPlan(rows, _at_start(mdp, rows, tau), 0.0, actions, mdp.num_actions)
    if mdp.gamma == 1:
        values, best = shortest_path.optimum(mdp, tau)
        bound = 0.0
    elif kind == "nested":
        operator = lambda values: action_values(mdp, values, tau).max(-1)  # noqa: E731
        values, bound = fixed_point(operator, mdp.num_states, mdp.gamma, tolerance, max_iterations)
        best = action_values(mdp, values, tau).argmax(-1)
    else:
        values, best = neutral_optimum(mdp)
        steps, bound = _neutral_after(mdp, tau, tolerance * max(1.0, float(np.abs(values).max())))
        rows, actions = _backwards(mdp, tau, kind, values, steps, None)
        actions = np.concatenate([actions, best[None]])
        return EntropicPlan(rows, _at_start(mdp, rows, tau), bound, actions, mdp.num_actions)
    return EntropicPlan(values[None], _at_start(mdp, values[None], tau), bound, best[None], mdp.num_actions)


def entropic_evaluation(
    mdp: FiniteMDP,
    policy: ArrayLike,
    tau: float,
    kind: Kind = "static",
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 100_000,
) -> EntropicValue:
    """The entropic value of a given policy, of the same kinds, cases and accuracy as `entropic_value_iteration`.

    Args:
      policy: [S, A] or [T, S, A]; with an infinite horizon the last step of a table stays in force for ever.

    Raises:
      AverseError: as `entropic_value_iteration`, and for a bad policy.
    """
    tau = _checked(mdp, tau, kind)
    tolerance, max_iterations = checked_limits(tolerance, max_iterations)
    table = policy_table(mdp, policy)
    if mdp.horizon is not None:
        rows, _ = _backwards(mdp, tau, kind, np.zeros(mdp.num_states), mdp.horizon, table)
        return EntropicValue(rows, _at_start(mdp, rows, tau), 0.0)
    last = table[-1]
    if mdp.gamma == 1:
        values, bound = shortest_path.evaluation(mdp, last, tau), 0.0
    elif kind == "nested":
        operator = lambda values: entropic(action_values(mdp, values, tau), last, tau)  # noqa: E731
        values, bound = fixed_point(operator, mdp.num_states, mdp.gamma, tolerance, max_iterations)
    else:
        values = neutral_value(mdp, last)
        steps, bound = _neutral_after(mdp, tau, tolerance * max(1.0, float(np.abs(values).max())))
        if steps >= len(table):
            table = np.concatenate([table, np.broadcast_to(last, (steps + 1 - len(table), *last.shape))])
    rows, _ = _backwards(mdp, tau, kind, values, len(table) - 1, table)
    return EntropicValue(rows, _at_start(mdp, rows, tau), bound)


def action_values(mdp: FiniteMDP, values: Floats, tau: float) -> Floats:
    """ERM_tau(r + gamma V(s')) of each action [S, A], for values [S] of the next state, in units of reward."""
    return entropic(mdp.rewards + mdp.gamma * values, mdp.transition, tau)


def tolerance_at(mdp: FiniteMDP, tau: float, step: int, kind: Kind) -> float:
    """tau_t: tau / gamma^t for the static kind (inf once gamma^t is 0), tau for the nested one."""
    if kind == "nested":
        return tau
    scale = mdp.gamma**step
    return tau / scale if scale > 0 and tau / scale < np.inf else np.inf


def neutral_value(mdp: FiniteMDP, policy: Floats) -> Floats:
    """Expected discounted return [S] of a stationary policy [S, A], gamma < 1, by one linear solve."""
    chain = np.einsum("sa,sax->sx", policy, mdp.transition)
    reward = np.sum(policy * mdp.expected_reward, -1)
    return np.linalg.solve(np.eye(mdp.num_states) - mdp.gamma * chain, reward)


def neutral_optimum(mdp: FiniteMDP) -> tuple[Floats, Integers]:
    """Largest expected discounted returns [S] and the actions [S] that earn them, gamma < 1, by policy iteration."""
    return policy_iteration(
        lambda actions: neutral_value(mdp, deterministic(actions, mdp.num_actions)),
        lambda values: action_values(mdp, values, np.inf),
        mdp.expected_reward.argmax(-1),
    )


def _backwards(
    mdp: FiniteMDP, tau: float, kind: Kind, values: Floats, steps: int, policy: Floats | None
) -> tuple[Floats, Integers]:
    """Values [steps + 1, S] before each step and the best actions [steps, S]; those of a policy, if one is given."""
    rows = np.empty((steps + 1, mdp.num_states))
    actions = np.empty((steps, mdp.num_states), np.int64)
    rows[steps] = values
    for t in reversed(range(steps)):
        level = tolerance_at(mdp, tau, t, kind)
        table = action_values(mdp, rows[t + 1], level)
        actions[t] = table.argmax(-1)
        rows[t] = table.max(-1) if policy is None else entropic(table, policy[t], level)
    return rows, actions


def _neutral_after(mdp: FiniteMDP, tau: float, allowed: float) -> tuple[int, float]:
    """The first step H at which gamma^(2H) D^2/(8 tau) <= allowed, and that bound."""
    low, high = mdp.reward_range
    bound = ((high - low) / (1 - mdp.gamma)) ** 2 / (8 * tau)
    if bound <= allowed:
        return 0, bound
    if mdp.gamma == 0:
        return 1, 0.0
    steps = int(np.ceil(np.log(allowed / bound) / (2 * np.log(mdp.gamma))))
    return steps, float(mdp.gamma ** (2 * steps) * bound)


def _at_start(mdp: FiniteMDP, rows: Floats, tau: float) -> float:
    return float(entropic(rows[0], mdp.initial, tau))


def _checked(mdp: FiniteMDP, tau: float, kind: str) -> float:
    instance("mdp", FiniteMDP, mdp)
    check_value("kind", Kind, kind)
    return check_value("tau", Tolerance, tau)
