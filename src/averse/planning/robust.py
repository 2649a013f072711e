"""Robust dynamic programming: nature picks the transition probabilities, within reach of a nominal model.

(s, a)-rectangular uncertainty (Iyengar 2005; Nilim, El Ghaoui 2005): for every state and action separately, nature
takes the distribution q of the next state that minimises E_q[r + gamma V], among those near the nominal p,

    "l1":          sum |q - p| <= radius                (q may leave the support of p)
    "kl":          sum q log(q/p) <= radius             (q stays on the support of p)
    "chi-square":  sum (q - p)^2 / p <= radius          (q stays on the support of p)

or at a price instead of a limit: min_q E_q[v] + tau KL(q || p), whose value is the entropic measure at tau, and whose q
is p exp(-v/tau) normalised. So entropic and KL-penalised robust planning are one: a price of tau at every step is the
"nested" kind of `entropic_value_iteration`; a price of tau/gamma^t at time t, tau when discounted to the start, is the
"static" one.

All inner problems are solved exactly and for all states and actions at once. Axes: T time, S states, A actions, S' next
states; in the inner solvers `...` any batch axes and N outcomes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from averse.arguments import finite_numbers, instance
from averse.errors import AverseError
from averse.planning.checks import Floats, Integers, Tolerance, checked_limits
from averse.planning.entropic import Kind, tolerance_at
from averse.planning.mdp import FiniteMDP, deterministic, policy_table
from averse.planning.numerics import fixed_point, tilted
from averse.settings import check_value

Ball = Literal["l1", "kl", "chi-square"]
Nature = Callable[[Floats], Floats]  # outcomes [S, A, S'] to the distributions that nature picks [S, A, S']


@dataclass(frozen=True, eq=False)
class RobustPlan:
    """An optimal policy against nature, and nature's answer.

    Attributes:
      values: [T + 1, S], the last row 0; one row for an infinite horizon. In units of the reward at that time.
      value: expected under the initial distribution, which is not in doubt.
      bound: no value is off by more than this, apart from rounding.
      policy: [T, S, A]; T = 1 is stationary for an infinite horizon.
      transition: the worst-case model [T, S, A, S'], within the ball; against it the policy earns exactly `values`
        (within `bound`).
    """

    values: Floats
    value: float
    bound: float
    policy: Floats
    transition: Floats

    @property
    def actions(self) -> Integers:
        """The likeliest actions [T, S]: the policy itself where it was optimised, hence deterministic."""
        return self.policy.argmax(-1)


def robust_value_iteration(
    mdp: FiniteMDP,
    radius: ArrayLike,
    ball: Ball = "l1",
    *,
    policy: ArrayLike | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 100_000,
) -> RobustPlan:
    """The policy with the best worst-case expected return over models within a rectangular ball (Iyengar 2005).

    Args:
      mdp: the nominal model, with a finite horizon or gamma < 1.
      radius: of the ball, >= 0, a number or one per state and action [S, A]; 0 is the nominal model.
      ball: "l1", "kl" (nats) or "chi-square".
      policy: [S, A] or [T, S, A]: evaluate this one instead of the best.
      tolerance: for an infinite horizon: largest `bound`, as a fraction of max(1, largest absolute value).
      max_iterations: of value iteration.

    Raises:
      AverseError: for a bad radius or policy, an unknown ball, gamma = 1 without horizon, or if value iteration does
        not reach the tolerance.
    """
    instance("mdp", FiniteMDP, mdp)
    check_value("ball", Ball, ball)
    radii = finite_numbers("radius", radius)
    shape = (mdp.num_states, mdp.num_actions)
    if radii.shape not in ((), shape):
        raise AverseError(f"radius must be a number or have the shape {list(shape)}, not {list(radii.shape)}")
    if (radii < 0).any():
        raise AverseError(f"radius must not be negative, but is {radii.min():g}")
    radii = np.broadcast_to(radii, shape)
    solve = _WORST_CASES[ball]
    return _plan(
        mdp,
        lambda step: lambda outcomes: solve(mdp.transition, outcomes, radii),
        lambda step, worst: np.zeros(shape),
        policy,
        tolerance,
        max_iterations,
    )


def kl_penalised_value_iteration(
    mdp: FiniteMDP,
    tau: float,
    kind: Kind = "static",
    *,
    policy: ArrayLike | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 100_000,
) -> RobustPlan:
    """The best policy where nature pays KL(q || p) for its choice: tau per step, or tau/gamma^t at time t ("static").

    Equal to `entropic_value_iteration` of the same kind (Donsker, Varadhan), from a sure initial state. Values include
    nature's payments. The price of a *given* policy's own randomness is not charged: nature moves after the action.

    Args:
      mdp: the nominal model, with a finite horizon; or "nested" and gamma < 1.
      tau: price in units of reward per nat, in (0, inf]; at inf nature cannot afford anything.
      policy: to be judged instead of the best one, [S, A] or [T, S, A], as in `robust_value_iteration`.
      tolerance, max_iterations: likewise.

    Raises:
      AverseError: for a bad tau, kind or policy; for an infinite horizon with "static" or gamma = 1; if value
        iteration does not reach the tolerance.
    """
    instance("mdp", FiniteMDP, mdp)
    tau = check_value("tau", Tolerance, tau)
    check_value("kind", Kind, kind)
    if kind == "static" and mdp.gamma < 1:
        mdp.finite_horizon("the static kind of KL-penalised planning")

    def nature(step: int) -> Nature:
        price = tolerance_at(mdp, tau, step, kind)
        return lambda outcomes: tilted(mdp.transition, outcomes, price)

    def payment(step: int, worst: Floats) -> Floats:
        price = tolerance_at(mdp, tau, step, kind)
        return price * divergence(worst, mdp.transition) if np.isfinite(price) else np.zeros(worst.shape[:2])

    return _plan(mdp, nature, payment, policy, tolerance, max_iterations)


def _plan(
    mdp: FiniteMDP,
    nature: Callable[[int], Nature],
    payment: Callable[[int, Floats], Floats],
    policy: ArrayLike | None,
    tolerance: float,
    max_iterations: int,
) -> RobustPlan:
    tolerance, max_iterations = checked_limits(tolerance, max_iterations)
    table = None if policy is None else policy_table(mdp, policy)

    def backup(step: int, values: Floats) -> tuple[Floats, Floats, Floats]:
        """Values [S], policy [S, A] and nature's choice [S, A, S'] at one step."""
        outcomes = mdp.rewards + mdp.gamma * values
        worst = nature(step)(outcomes)
        earned = np.sum(worst * outcomes, -1) + payment(step, worst)
        chosen = deterministic(earned.argmax(-1), mdp.num_actions) if table is None else table[step]
        return np.sum(chosen * earned, -1), chosen, worst

    if mdp.horizon is None:
        if mdp.gamma == 1:
            raise AverseError("robust planning without a horizon needs gamma below 1")
        if table is not None and len(table) > 1:
            raise AverseError("with an infinite horizon, robust evaluation takes a stationary policy [S, A]")
        values, bound = fixed_point(
            lambda values: backup(0, values)[0], mdp.num_states, mdp.gamma, tolerance, max_iterations
        )
        _, chosen, worst = backup(0, values)
        return RobustPlan(values[None], float(mdp.initial @ values), bound, chosen[None], worst[None])
    rows = np.zeros((mdp.horizon + 1, mdp.num_states))
    policies = np.zeros((mdp.horizon, mdp.num_states, mdp.num_actions))
    worst = np.zeros((mdp.horizon, *mdp.transition.shape))
    for t in reversed(range(mdp.horizon)):
        rows[t], policies[t], worst[t] = backup(t, rows[t + 1])
    return RobustPlan(rows, float(mdp.initial @ rows[0]), 0.0, policies, worst)


# --- nature's problems: distributions [..., N] that minimise the mean of outcomes [..., N] ---------------------------


def l1_worst_case(probs: Floats, outcomes: Floats, radius: ArrayLike) -> Floats:
    """argmin of E_q over sum |q - p| <= radius [...]: radius/2 of mass moves from the best outcomes to the worst.

    The worst outcome is the least of all N, possible under p or not.
    """
    order = np.argsort(-outcomes, -1, kind="stable")
    sorted_probs = np.take_along_axis(probs, order, -1)
    others = sorted_probs[..., :-1]
    moved = np.minimum(np.asarray(radius)[..., None] / 2, others.sum(-1, keepdims=True))
    before = np.cumsum(others, -1) - others
    left = others - np.clip(moved - before, 0, others)
    result = np.concatenate([left, np.minimum(sorted_probs[..., -1:] + moved, 1)], -1)
    return _unsorted(result, order)


def chi_square_worst_case(probs: Floats, outcomes: Floats, radius: ArrayLike) -> Floats:
    """argmin of E_q over sum (q - p)^2/p <= radius [...]: q is p (eta - z)^+, normalised.

    eta maximises the dual, eta - sqrt((1 + radius) E_p[((eta - z)^+)^2]). It is concave; the sign of its slope at each
    outcome says between which two eta lies, and there it solves a quadratic equation. Where the worst outcome has
    probability 1/(1 + radius) or more, all mass goes there.
    """
    scaled, order = _scaled_and_sorted(probs, outcomes)
    p = np.take_along_axis(probs, order, -1)
    radius = np.asarray(radius, np.float64)[..., None]
    # At each outcome z_k, E[(z_k - z)^+] and E[((z_k - z)^+)^2], as sums without any cancellation.
    mass, gaps = np.cumsum(p, -1), np.diff(scaled, axis=-1)
    start = np.zeros_like(p[..., :1])
    short = np.concatenate([start, np.cumsum(gaps * mass[..., :-1], -1)], -1)
    squares = np.concatenate([start, np.cumsum(gaps * (2 * short[..., :-1] + gaps * mass[..., :-1]), -1)], -1)
    lowest = scaled <= 0
    at_lowest = np.sum(np.where(lowest, p, 0), -1, keepdims=True)
    ratio = squares / np.where(short > 0, short, 1)
    rising = np.where(lowest, (1 + radius) * at_lowest < 1, ratio > (1 + radius) * short)
    rising = rising & (np.cumsum(~rising, -1) == 0)
    last = np.maximum(rising.sum(-1, keepdims=True) - 1, 0)
    inside = np.arange(p.shape[-1]) <= last
    used = np.take_along_axis(mass, last, -1)
    mean = np.sum(np.where(inside, p * scaled, 0), -1, keepdims=True) / used
    # Deviations from the mean, whose own mean is zero far below the rounding of the outcomes.
    deviation = np.where(inside, scaled - mean, 0)
    deviation = np.where(inside, deviation - np.sum(p * deviation, -1, keepdims=True) / used, 0)
    variance = np.sum(p * deviation**2, -1, keepdims=True) / used
    slack = radius * used - np.sum(np.where(inside, 0, p), -1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        reach = np.sqrt(variance / slack)  # eta - mean
    ends = np.take_along_axis(scaled, np.minimum(last + 1, p.shape[-1] - 1), -1)
    reach = np.where((slack > 0) & np.isfinite(reach), reach, ends - mean)
    weights = np.where(inside, p * np.maximum(reach - deviation, 0), 0)
    totals = weights.sum(-1, keepdims=True)
    tilted = weights / np.where(totals > 0, totals, 1)
    degenerate = ~rising[..., :1]
    result = np.where(degenerate, np.where(lowest, p, 0) / at_lowest, tilted)
    nominal = (radius == 0) | (scaled[..., -1:] <= 0) | (totals <= 0) & ~degenerate
    return _unsorted(np.where(nominal, p, result), order)


def kl_worst_case(probs: Floats, outcomes: Floats, radius: ArrayLike) -> Floats:
    """argmin of E_q over sum q log(q/p) <= radius [...]: q is p exp(-theta z), normalised.

    theta is where the divergence, which rises with it, equals the radius: Newton's method on the logarithms of both,
    kept between bounds. Where the worst outcome has probability exp(-radius) or more, all mass goes there.
    """
    scaled, order = _scaled_and_sorted(probs, outcomes)
    p = np.take_along_axis(probs, order, -1)
    radius = np.broadcast_to(np.asarray(radius, np.float64), p.shape[:-1])[..., None]
    lowest = scaled <= 0
    at_lowest = np.sum(np.where(lowest, p, 0), -1, keepdims=True)
    degenerate = -np.log(at_lowest) <= radius
    nominal = (radius == 0) | (scaled[..., -1:] <= 0)
    target = np.where(nominal | degenerate, 1.0, radius)
    mean = np.sum(p * scaled, -1, keepdims=True)
    variance = np.sum(p * (scaled - mean) ** 2, -1, keepdims=True)
    low, high = np.full(mean.shape, -60.0), np.full(mean.shape, 60.0)
    x = np.clip(0.5 * np.log(2 * target / np.where(variance > 0, variance, 1)), low, high)
    for _ in range(100):
        theta = np.exp(x)
        q, reached, slope = _exponential_tilt(p, scaled, theta)
        above = reached > target
        low, high = np.where(above, low, x), np.where(above, x, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = x + (np.log(target) - np.log(reached)) * reached / slope
        moved = np.where((step > low) & (step < high), step, (low + high) / 2)
        settled = (np.abs(reached - target) <= 1e-13 * target) | (high - low <= 1e-15 * np.maximum(1, np.abs(x)))
        if (settled | nominal | degenerate).all():
            break
        x = np.where(settled, x, moved)
    result = np.where(degenerate, np.where(lowest, p, 0) / at_lowest, q)
    return _unsorted(np.where(nominal, p, result), order)


def divergence(q: Floats, p: Floats) -> Floats:
    """KL(q || p) in nats, [..., N] and [..., N] -> [...]; inf where q leaves the support of p.

    As sum p h(q/p - 1) with h(x) = (1 + x) log(1 + x) - x, whose terms are not negative, so that small divergences
    keep their digits.
    """
    possible = p > 0
    safe = np.where(possible, p, 1)
    x = np.where(possible, (q - p) / safe, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.where(x > -1, (1 + x) * np.log1p(x) - x, 1.0)
    small = np.where(np.abs(x) < 1e-3, x, 0)
    series = small**2 / 2 - small**3 / 6 + small**4 / 12 - small**5 / 20
    total = np.sum(p * np.where(np.abs(x) < 1e-3, series, exact), -1)
    return np.where(np.any(~possible & (q > 0), -1), np.inf, total)


_WORST_CASES: dict[str, Callable[[Floats, Floats, ArrayLike], Floats]] = {
    "l1": l1_worst_case,
    "kl": kl_worst_case,
    "chi-square": chi_square_worst_case,
}


def _scaled_and_sorted(probs: Floats, outcomes: Floats) -> tuple[Floats, Integers]:
    """Outcomes in ascending order, mapped to [0, 1] by the least and greatest possible one, and the order.

    An impossible outcome, which gets no mass anyway, counts as the greatest and comes last.
    """
    possible = probs > 0
    least = np.min(np.where(possible, outcomes, np.inf), -1, keepdims=True)
    extent = np.max(np.where(possible, outcomes, -np.inf), -1, keepdims=True) - least
    # Outcomes that differ by rounding only are equal.
    size = np.max(np.where(possible, np.abs(outcomes), 0), -1, keepdims=True)
    extent = np.where(extent > 1e-15 * size, extent, 0)
    scaled = np.where(possible, outcomes - least, extent) / np.where(extent > 0, extent, 1)
    scaled = np.where(extent > 0, scaled, 0)
    order = np.argsort(np.where(possible, scaled, 2), -1, kind="stable")
    return np.take_along_axis(scaled, order, -1), order


def _unsorted(values: Floats, order: Integers) -> Floats:
    result = np.empty_like(values)
    np.put_along_axis(result, order, values, -1)
    return result


def _exponential_tilt(p: Floats, z: Floats, theta: Floats) -> tuple[Floats, Floats, Floats]:
    """q ~ p exp(-theta z), its divergence from p and the derivative of that with respect to log theta."""
    weights = p * np.exp(-theta * z)
    q = weights / np.sum(weights, -1, keepdims=True)
    mean = np.sum(q * z, -1, keepdims=True)
    variance = np.sum(q * (z - mean) ** 2, -1, keepdims=True)
    return q, divergence(q, p)[..., None], theta**2 * variance
