"""Exact policy gradients of the entropic objective, by dynamic programming.

With tau_t = tau/gamma^t, V_t and Q_t of the policy and delta_t = r + gamma V_{t+1}(s') - V_t(s), the gradient of the
static entropic measure J of the return is

    grad J = sum_t E[ gamma^t (prod_{k<t} exp(-delta_k/tau_k)) tau_t (1 - exp(-delta_t/tau_t)) grad log pi_t(a_t|s_t) ].

The product is a density: under the probabilities that it tilts towards bad outcomes (those of nature in the dual form
of the measure) the states at time t have a distribution d_t. What remains is an ordinary policy gradient theorem,

    dJ/dtheta_t(s, a) = gamma^t d_t(s) pi_t(a|s) A_t(s, a),   A_t(s, a) = tau_t (1 - exp(-(Q_t(s, a) - V_t(s))/tau_t)),

for softmax policies with logits theta_t; the mean of A_t under pi_t is zero. At tau = inf it is the usual one.

Axes: T time, S states, A actions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from averse.arguments import finite_numbers, instance
from averse.errors import AverseError
from averse.planning.checks import Floats, Tolerance
from averse.planning.entropic import action_values, tolerance_at
from averse.planning.mdp import FiniteMDP
from averse.planning.numerics import entropic, tilted
from averse.settings import check_value


@dataclass(frozen=True, eq=False)
class PolicyGradient:
    """The entropic objective of a softmax policy and its derivatives.

    Attributes:
      value: the objective, -tau log E[exp(-return/tau)], in units of reward.
      gradient: with respect to the logits, of their shape.
      advantages: A_t(s, a) as above [T, S, A], in units of the reward at time t.
      visits: d_t(s), the probabilities of the states under the tilted law [T, S].
    """

    value: float
    gradient: Floats
    advantages: Floats
    visits: Floats


def policy_gradient(mdp: FiniteMDP, logits: ArrayLike, tau: float) -> PolicyGradient:
    """The exact gradient of the static entropic measure of the return with respect to the logits of a softmax policy.

    Args:
      mdp: with a finite horizon T.
      logits: [S, A] of a stationary policy, or [T, S, A].
      tau: tolerance of risk in (0, inf], in units of reward.

    Raises:
      AverseError: for an infinite horizon, wrong shapes, or a bad tau.
    """
    instance("mdp", FiniteMDP, mdp)
    horizon = mdp.finite_horizon("the exact policy gradient")
    tau = check_value("tau", Tolerance, tau)
    theta = finite_numbers("logits", logits)
    shape = (horizon, mdp.num_states, mdp.num_actions)
    if theta.shape not in (shape, shape[1:]):
        raise AverseError(f"logits must have the shape {list(shape[1:])} or {list(shape)}, not {list(theta.shape)}")
    table = np.broadcast_to(theta, shape)
    table = table - table.max(-1, keepdims=True)
    log_policy = table - np.log(np.sum(np.exp(table), -1, keepdims=True))
    policy = np.exp(log_policy)

    values = np.zeros((horizon + 1, mdp.num_states))
    actions = np.zeros(shape)
    for t in reversed(range(horizon)):
        level = tolerance_at(mdp, tau, t, "static")
        actions[t] = action_values(mdp, values[t + 1], level)
        values[t] = entropic(actions[t], policy[t], level)
    value = float(entropic(values[0], mdp.initial, tau))

    visits, advantages, gradient = np.zeros(shape[:2]), np.zeros(shape), np.zeros(shape)
    visits[0] = tilted(mdp.initial, values[0], tau)
    for t in range(horizon):
        level = tolerance_at(mdp, tau, t, "static")
        weighted = _weighted_advantages(policy[t], log_policy[t], actions[t] - values[t][:, None], level)
        advantages[t] = _advantages(actions[t] - values[t][:, None], level)
        gradient[t] = mdp.gamma**t * visits[t][:, None] * weighted
        if t + 1 < horizon:
            chosen = tilted(policy[t], actions[t], level)
            outcomes = mdp.rewards + mdp.gamma * values[t + 1]
            moved = tilted(mdp.transition, outcomes, level)
            visits[t + 1] = np.einsum("s,sa,sax->x", visits[t], chosen, moved)
    return PolicyGradient(value, gradient if theta.ndim == 3 else gradient.sum(0), advantages, visits)


def _advantages(difference: Floats, tau: float) -> Floats:
    """tau (1 - exp(-difference/tau)); exponents beyond 700, where it would be infinite, are held there."""
    return difference if np.isinf(tau) else -tau * np.expm1(np.minimum(-difference / tau, 700.0))


def _weighted_advantages(policy: Floats, log_policy: Floats, difference: Floats, tau: float) -> Floats:
    """pi A without overflow: pi exp(-(Q - V)/tau) is at most one, however improbable and bad the action."""
    if np.isinf(tau):
        return policy * difference
    exponents = -difference / tau
    mild = np.abs(exponents) <= 1
    near = -policy * np.expm1(np.where(mild, exponents, 0))
    far = policy - np.exp(np.minimum(log_policy + exponents, 0))
    return tau * np.where(mild, near, far)
