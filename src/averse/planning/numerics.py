"""The arithmetic that the solvers share: entropic means that keep their digits, and fixed points with a bound."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from averse.errors import AverseError
from averse.planning.checks import Floats, Integers


def entropic(values: Floats, probs: Floats, tau: ArrayLike) -> Floats:
    """-tau log E[exp(-Z/tau)] over the last axis, [..., N] and [..., N] -> [...], for tau in (0, inf].

    Two forms, because neither is accurate everywhere (as in `averse.risk`): where all |Z - mean| <= tau, log1p and
    expm1 around the mean, which keep the small difference from the mean; elsewhere the logarithm of the mean
    exponential, measured from the worst possible value, which alone keeps it from underflowing.
    """
    values, probs = np.broadcast_arrays(values, probs)
    if values.ndim == 1:
        return entropic(values[None], probs[None], tau)[0]
    mean = np.sum(probs * values, -1)
    t = np.broadcast_to(np.asarray(tau, np.float64), mean.shape)
    if np.isinf(t).all():
        return mean
    offset = values - mean[..., None]
    offset[probs <= 0] = 0  # between the worst and the best possible one, and without weight
    worst = offset.min(-1)
    mild = np.maximum(offset.max(-1), -worst) <= t
    near = mild & np.isfinite(t)
    result = mean.copy()
    if near.any():
        result -= np.where(near, t, 0) * _near(offset, probs, np.where(near, t, np.inf))
    if not mild.all():
        far = ~mild
        result[far] += worst[far] - t[far] * _far(offset[far] - worst[far][:, None], probs[far], t[far])
    return result


def _near(offset: Floats, probs: Floats, t: Floats) -> Floats:
    """log E[exp(-offset/t)] of small offsets [..., N] of mean 0, as [...]."""
    exponents = offset / -t[..., None]
    return np.log1p(np.sum(np.multiply(probs, np.expm1(exponents, out=exponents), out=exponents), -1))


def _far(offset: Floats, probs: Floats, t: Floats) -> Floats:
    """log E[exp(-offset/t)] of offsets [..., N] of which the least possible one is 0, as [...]."""
    exponents = offset / -t[..., None]
    return np.log(np.sum(np.multiply(probs, np.exp(exponents, out=exponents), out=exponents), -1))


def tilted(probs: Floats, outcomes: Floats, tau: float) -> Floats:
    """Nature's distribution p exp(-z/tau), normalised: the argmin over q of E_q[z] + tau KL(q || p); p at tau = inf.

    The dual form of the entropic mean; [..., N] and [..., N] -> [..., N].
    """
    if np.isinf(tau):
        return probs
    possible = probs > 0
    worst = np.min(np.where(possible, outcomes, np.inf), -1, keepdims=True)
    exponents = np.log(np.where(possible, probs, 1)) - np.where(possible, outcomes - worst, 0) / tau
    exponents = np.where(possible, exponents, -np.inf)
    weights = np.exp(exponents - exponents.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def fixed_point(
    operator: Callable[[Floats], Floats], size: int, gamma: float, tolerance: float, max_iterations: int
) -> tuple[Floats, float]:
    """The fixed point [S] of a monotone operator with T(V + c) = T V + gamma c, and a bound on its error.

    Value iteration with the bounds of MacQueen (1966), which hold for every such operator: the fixed point lies in
    T V + gamma/(1 - gamma) [min(T V - V), max(T V - V)]. Their midpoint is both the next iterate and the answer.

    Args:
      tolerance: largest error, as a fraction of max(1, largest absolute value).

    Raises:
      AverseError: if the bound has not come down to the tolerance after `max_iterations`.
    """
    values, bound, scale = np.zeros(size), np.inf, gamma / (1 - gamma)
    for _ in range(max_iterations):
        following = operator(values)
        difference = following - values
        low, high = difference.min(), difference.max()
        values = following + scale * (low + high) / 2
        bound = float(scale * (high - low) / 2)
        if bound <= tolerance * max(1.0, float(np.abs(values).max())):
            return values, bound
    raise AverseError(
        f"no convergence in {max_iterations} iterations: the error is below {bound:.3g} only; "
        f"allow more iterations, a larger tolerance, or a smaller gamma than {gamma:g}"
    )


def policy_iteration(
    evaluate: Callable[[Integers], Floats], action_values: Callable[[Floats], Floats], actions: Integers
) -> tuple[Floats, Integers]:
    """The values [S] of the best policy and its actions [S] (Howard 1960), from the policy that takes `actions` [S].

    Args:
      evaluate: from actions [S] to the values [S] of always taking them.
      action_values: from values [S] of the next state to those of each action [S, A].
    """
    reached = -np.inf
    while True:
        values = evaluate(actions)
        better = improved(action_values(values), actions)
        if np.array_equal(better, actions) or values.sum() <= reached:  # no rise: only rounding is left
            return values, actions
        actions, reached = better, values.sum()


def improved(table: Floats, actions: Integers) -> Integers:
    """Best actions [S] of a table [S, A], but the present ones where they are as good up to rounding."""
    present = np.take_along_axis(table, actions[:, None], -1)[:, 0]
    rounding = 1e-12 * max(1.0, float(np.abs(table).max()))
    return np.where(table.max(-1) > present + rounding, table.argmax(-1), actions)


def merge(states: Integers, sums: Floats) -> tuple[Integers, Integers, Floats]:
    """Groups of equal (state, accumulated reward), equal up to rounding (1e-12 of the largest).

    Args:
      states: [K]. sums: [K], in units of reward.

    Returns:
      The group of each entry [K], and the state [G] and sum [G] of each group, ordered by state, then by sum.
    """
    order = np.lexsort((sums, states))
    state, ordered = states[order], sums[order]
    rounding = 1e-12 * float(np.abs(sums).max(initial=0))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(state) != 0) | (np.diff(ordered) > rounding)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    return group, state[new], ordered[new]
