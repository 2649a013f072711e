"""Undiscounted problems that end by themselves: the entropic stochastic shortest path (Patek 2001).

Episodes end in absorbing states, which every action leaves to themselves without reward. With u = exp(-V/tau) the value
of a policy solves a linear equation u = M u + b, M[s, s'] = sum_a pi P exp(-r/tau) among the other states. It is finite
if and only if the spectral radius of M is below one, which a policy that ends for sure can fail: where a loop of cost
c is repeated with probability p, the entropic value is -inf unless p exp(c/tau) < 1.

Everything is done relative to a present guess V of the value: M'[s, s'] = M[s, s'] exp((V(s) - V(s'))/tau) has the
same spectral radius, entries of moderate size, and u' - 1 = (I - M')^-1 expm1((V - T V)/tau) keeps all digits for large
tau, where u is all but one.
"""

import numpy as np
from numpy.typing import NDArray

from averse.errors import AverseError
from averse.planning.checks import Floats, Integers
from averse.planning.mdp import FiniteMDP, deterministic
from averse.planning.numerics import entropic, policy_iteration

Mask = NDArray[np.bool_]
_ITERATIONS = 10_000  # of value iteration, in search of a policy with a finite value
_LARGEST_EXPONENT = 300.0


def optimum(mdp: FiniteMDP, tau: float) -> tuple[Floats, Integers]:
    """Optimal entropic values [S] without discount, and the actions [S] that attain them.

    Value iteration from the risk-neutral optimum, which is an upper bound, until its greedy policy has a finite value;
    from there on policy iteration, whose values rise to the optimum in finitely many steps.

    Raises:
      AverseError: see `averse.planning.entropic_value_iteration`.
    """
    absorbing = _absorbing(mdp)
    actions = _towards(mdp, absorbing)
    _refuse_endless_gains(mdp, absorbing)
    values, actions = _policy_iteration(mdp, absorbing, actions, np.inf, None)
    if np.isinf(tau):
        return values, actions
    for iteration in range(_ITERATIONS):
        table = _action_values(mdp, values, tau)
        actions = table.argmax(-1)
        if iteration < 50 or iteration % 50 == 0:  # the checks cost more than the iteration
            if _exact(mdp, absorbing, deterministic(actions, mdp.num_actions), tau, values) is not None:
                return _policy_iteration(mdp, absorbing, actions, tau, values)
            lost = np.flatnonzero(_hopeless(mdp, absorbing, tau, values))
            if len(lost):
                raise AverseError(
                    f"no policy has a finite entropic value from state {int(lost[0])} at tau = {tau:g}: repeating a "
                    "costly loop is too likely for so small a tolerance of risk; raise tau, or set a horizon"
                )
        values = table.max(-1)
    raise AverseError(
        f"no policy with a finite entropic value was found at tau = {tau:g} in {_ITERATIONS} iterations; raise tau, or "
        "set a horizon or a discount"
    )


def evaluation(mdp: FiniteMDP, policy: Floats, tau: float) -> Floats:
    """Entropic values [S] without discount of a stationary policy [S, A].

    Raises:
      AverseError: if the policy does not end for sure, or its value is not finite at this tau.
    """
    absorbing = _absorbing(mdp)
    values = _exact(mdp, absorbing, policy, np.inf, np.zeros(mdp.num_states))
    if values is None:
        raise AverseError("the policy does not reach an absorbing state from everywhere: without discount, set horizon")
    return values if np.isinf(tau) else _settled(mdp, absorbing, policy, tau, values)


def _policy_iteration(
    mdp: FiniteMDP, absorbing: Mask, actions: Integers, tau: float, guess: Floats | None
) -> tuple[Floats, Integers]:
    """The best policy and its values, from one whose value is finite; every evaluation begins at the one before."""
    values = np.zeros(mdp.num_states) if guess is None else guess

    def evaluate(actions: Integers) -> Floats:
        nonlocal values
        values = _settled(mdp, absorbing, deterministic(actions, mdp.num_actions), tau, values)
        return values

    return policy_iteration(evaluate, lambda values: _action_values(mdp, values, tau), actions)


def _settled(mdp: FiniteMDP, absorbing: Mask, policy: Floats, tau: float, values: Floats) -> Floats:
    """The values [S] of a policy, from a guess: exact solves, repeated until rounding is all that changes.

    Where the guess is too far off for a solve, backing it up S times puts it in reach, if the value is finite at all.
    """
    for _ in range(100 + 2 * mdp.num_states):
        solved = _exact(mdp, absorbing, policy, tau, values)
        if solved is None:
            values = entropic(_action_values(mdp, values, tau), policy, tau)
            continue
        moved = float(np.abs(solved - values).max())
        values = solved
        if moved <= 1e-13 * max(1.0, float(np.abs(values).max())):
            return values
    raise AverseError(f"the entropic value of the policy is not finite at tau = {tau:g}; raise tau, or set a horizon")


def _exact(mdp: FiniteMDP, absorbing: Mask, policy: Floats, tau: float, values: Floats) -> Floats | None:
    """The values [S] of a policy by a linear solve around a guess [S]; None if infinite, or the guess too far off."""
    inner = np.flatnonzero(~absorbing)
    joint = policy[:, :, None] * mdp.transition
    backed_up = entropic(_action_values(mdp, values, tau), policy, tau)
    excess = (values - backed_up)[inner]
    if np.isinf(tau):
        matrix = joint.sum(1)[np.ix_(inner, inner)]
    else:
        exponents = (values[:, None, None] - mdp.rewards - values) / tau
        exponents = np.where(joint > 0, exponents + np.log(np.where(joint > 0, joint, 1)), -np.inf)
        if max(float(exponents.max()), float(excess.max(initial=0)) / tau) > _LARGEST_EXPONENT:
            return None
        matrix = np.sum(np.exp(exponents), 1)[np.ix_(inner, inner)]
        excess = np.expm1(excess / tau)
    # A non-negative matrix has a spectral radius below one if and only if (I - M) x = 1 has a positive solution.
    try:
        witness, change = np.linalg.solve(np.eye(len(inner)) - matrix, np.stack([np.ones(len(inner)), excess], 1)).T
    except np.linalg.LinAlgError:
        return None
    if not ((witness > 0) & (witness < 1e14)).all() or not (np.isinf(tau) or (change > -1).all()):
        return None
    solved = np.zeros(mdp.num_states)
    solved[inner] = values[inner] - (change if np.isinf(tau) else tau * np.log1p(change))
    return solved


def _hopeless(mdp: FiniteMDP, absorbing: Mask, tau: float, values: Floats) -> Mask:
    """States [S] from which no policy has a finite value, as far as a guess [S] proves it; mostly none at first.

    If on some set of states sum over s' in the set of P exp(-r/tau) w(s') >= w(s) for every action, with w > 0, then
    every policy's matrix M has a spectral radius of one or more (Collatz, Wielandt). Here w = exp(-values/tau).
    """
    logs = np.log(np.where(mdp.transition > 0, mdp.transition, 1))
    exponents = logs + (values[:, None, None] - mdp.rewards - values) / tau
    weights = np.where(mdp.transition > 0, np.exp(np.minimum(exponents, _LARGEST_EXPONENT)), 0)
    lost: Mask = ~absorbing
    while True:
        still = lost & np.asarray((weights[:, :, lost].sum(-1) >= 1 + 1e-9).all(-1))
        if np.array_equal(still, lost):
            return lost
        lost = still


def _action_values(mdp: FiniteMDP, values: Floats, tau: float) -> Floats:
    return entropic(mdp.rewards + values, mdp.transition, tau)


def _absorbing(mdp: FiniteMDP) -> Mask:
    """Which states [S] every action leaves to themselves without reward."""
    states = np.arange(mdp.num_states)
    stays = mdp.transition[states, :, states] >= 1 - 1e-15
    free = mdp.rewards[states, :, states] == 0
    absorbing = np.all(stays & free, -1)
    if not absorbing.any():
        raise AverseError(
            "without discount and horizon, episodes must end in absorbing states, which every action leaves to "
            "themselves with reward 0; there are none: set gamma below 1 or a horizon"
        )
    return absorbing


def _towards(mdp: FiniteMDP, absorbing: Mask) -> Integers:
    """Actions [S] of a policy that reaches an absorbing state from everywhere, with probability one."""
    actions, reached = np.zeros(mdp.num_states, np.int64), absorbing
    while not reached.all():
        leads = np.any(mdp.transition[:, :, reached] > 0, axis=-1)
        new = ~reached & np.any(leads, axis=-1)
        if not new.any():
            lost = int(np.flatnonzero(~reached)[0])
            raise AverseError(f"state {lost} cannot reach an absorbing state: without discount, set horizon")
        actions[new] = leads[new].argmax(-1)
        reached = reached | new
    return actions


def _refuse_endless_gains(mdp: FiniteMDP, absorbing: Mask) -> None:
    """Raises if a policy can stay away from absorbing states for ever without losing reward at every step there."""
    staying: Mask = ~absorbing
    while True:
        inside = ~np.any(mdp.transition[:, :, ~staying] > 0, axis=-1) & staying[:, None]
        still = np.asarray(inside.any(-1))
        if np.array_equal(still, staying):
            break
        staying = still
    free = (mdp.transition > 0) & (mdp.rewards >= 0) & inside[:, :, None]
    if free.any():
        state, action, following = (int(i) for i in np.argwhere(free)[0])
        raise AverseError(
            f"a policy may never end, and moving from state {state} to {following} by action {action} then costs "
            "nothing: without discount such rewards must be negative; or set a horizon"
        )
