"""Finite Markov decision processes whose model is known, and policies on them, checked once and for all.

Axes: T time, S states, A actions, S' next states. Everything is numpy in float64.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from averse.errors import AverseError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A finite Markov decision process; larger rewards are better.

    Args:
      transition: [S, A, S'] probabilities of the next state; rows that sum to one within 1e-8 are normalised. An
        action that does not exist in a state may repeat one that does.
      reward: [S, A], or [S, A, S'] where it depends on the next state.
      gamma: discount in [0, 1].
      horizon: number of decisions, or None for an infinite horizon.
      initial: a state, or a distribution over states [S]; by default every episode starts in state 0.

    Raises:
      AverseError: for wrong shapes, rows that are not distributions, or numbers out of range or not finite.
    """

    transition: Floats
    reward: Floats
    gamma: float = 1.0
    horizon: int | None = None
    initial: Any = None

    def __post_init__(self):
        transition = numbers("transition", self.transition)
        if transition.ndim != 3 or transition.shape[0] != transition.shape[2] or 0 in transition.shape:
            raise AverseError(f"transition must have the shape [S, A, S], not {list(transition.shape)}")
        states, actions = transition.shape[:2]
        reward = numbers("reward", self.reward)
        if reward.shape not in ((states, actions), (states, actions, states)):
            raise AverseError(
                f"reward must have the shape {[states, actions]} or {[states, actions, states]}, "
                f"not {list(reward.shape)}"
            )
        gamma = number("gamma", self.gamma)
        if not 0 <= gamma <= 1:
            raise AverseError(f"gamma must be in [0, 1], not {gamma:g}")
        if self.horizon is not None and (
            isinstance(self.horizon, bool) or not isinstance(self.horizon, int | np.integer) or self.horizon < 1
        ):
            raise AverseError(f"horizon must be a positive integer or None, not {self.horizon!r}")
        _keep(self, transition=distributions("transition", transition), reward=reward)
        object.__setattr__(self, "gamma", gamma)
        object.__setattr__(self, "horizon", None if self.horizon is None else int(self.horizon))
        _keep(self, initial=_initial(self.initial, states))

    @property
    def num_states(self) -> int:
        return self.transition.shape[0]

    @property
    def num_actions(self) -> int:
        return self.transition.shape[1]

    @property
    def rewards(self) -> Floats:
        """The reward as [S, A, S'], whatever it depends on (a view, not to be written to)."""
        reward = self.reward if self.reward.ndim == 3 else self.reward[..., None]
        return np.broadcast_to(reward, self.transition.shape)

    @property
    def expected_reward(self) -> Floats:
        """Mean reward of each action [S, A]."""
        return np.sum(self.transition * self.reward, -1) if self.reward.ndim == 3 else self.reward

    @property
    def reward_range(self) -> tuple[float, float]:
        """Least and greatest reward that can occur."""
        possible = self.rewards[self.transition > 0]
        return float(possible.min()), float(possible.max())

    def finite_horizon(self, purpose: str) -> int:
        """The horizon.

        Raises:
          AverseError: if it is infinite, naming the purpose that needs a finite one.
        """
        if self.horizon is None:
            raise AverseError(f"{purpose} needs a finite horizon: FiniteMDP(..., horizon=T)")
        return self.horizon


def deterministic(actions: ArrayLike, num_actions: int) -> Floats:
    """The policy [..., S, A] that takes the given actions [..., S] for sure."""
    return np.eye(num_actions)[np.asarray(actions)]


def policy_table(mdp: FiniteMDP, policy: ArrayLike) -> Floats:
    """A policy as [T, S, A], checked: [S, A] is stationary, [T, S, A] depends on time.

    With a finite horizon T is the horizon; with an infinite one, the last step of the table stays in force for ever.

    Raises:
      AverseError: for wrong shapes, or rows that are not distributions.
    """
    table = numbers("policy", policy)
    states, actions = mdp.num_states, mdp.num_actions
    if table.shape == (states, actions):
        table = np.broadcast_to(table, (mdp.horizon or 1, states, actions))
    if table.ndim != 3 or table.shape[1:] != (states, actions) or len(table) != (mdp.horizon or max(len(table), 1)):
        steps = "T" if mdp.horizon is None else mdp.horizon
        raise AverseError(
            f"policy must have the shape [{states}, {actions}] or [{steps}, {states}, {actions}], "
            f"not {list(np.shape(policy))}"
        )
    return distributions("policy", table)


# --- checks ---------------------------------------------------------------------------------------------------------


def numbers(name: str, values: Any) -> Floats:
    """An array of finite float64.

    Raises:
      AverseError: if it is not.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise AverseError(f"{name} must be an array of numbers") from None
    if not np.isfinite(array).all():
        raise AverseError(f"{name} must be finite, but has {int((~np.isfinite(array)).sum())} values that are not")
    return array


def number(name: str, value: Any) -> float:
    """One float; nan is none.

    Raises:
      AverseError: if it is not a number.
    """
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise AverseError(f"{name} must be a number, not {value!r}") from None
    if np.isnan(result):
        raise AverseError(f"{name} must be a number, not nan")
    return result


def distributions(name: str, probs: Floats) -> Floats:
    """Probabilities [..., N] whose rows sum to exactly one (up to rounding).

    Raises:
      AverseError: for a negative probability, or a row whose sum is off by more than 1e-8.
    """
    if (probs < 0).any():
        where = tuple(int(i) for i in np.argwhere(probs < 0)[0])
        raise AverseError(f"{name} must not be negative, but {name}{list(where)} is {probs[where]:g}")
    totals = probs.sum(-1)
    wrong = np.abs(totals - 1) > 1e-8
    if np.any(wrong):
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        row = f"{name}{list(where)}" if where else name
        raise AverseError(f"each row of {name} must sum to one, but {row} sums to {totals[where]:.10g}")
    return probs / totals[..., None]


def tolerance_of_risk(tau: Any) -> float:
    """tau in (0, inf], in units of reward.

    Raises:
      AverseError: if it is not.
    """
    tau = number("tau", tau)
    if not tau > 0:
        raise AverseError(f"tau is a tolerance of risk in (0, inf], not {tau:g}")
    return tau


def _initial(initial: Any, states: int) -> Floats:
    if initial is None:
        initial = 0
    array = numbers("initial", initial)
    if array.ndim == 0:
        if array != int(array) or not 0 <= array < states:
            raise AverseError(f"initial must be a state from 0 to {states - 1} or a distribution, not {initial!r}")
        return np.eye(states)[int(array)]
    if array.shape != (states,):
        raise AverseError(f"initial must have the shape [{states}], not {list(array.shape)}")
    return distributions("initial", array)


def _keep(mdp: FiniteMDP, **arrays: Floats) -> None:
    """Stores arrays that nobody can change behind our back."""
    for name, array in arrays.items():
        array.flags.writeable = False
        object.__setattr__(mdp, name, array)
