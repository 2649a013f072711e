"""Finite Markov decision processes whose model is known, and policies on them, checked once and for all.

Axes: T time, S states, A actions, S' next states. Everything is numpy in float64.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from averse.arguments import finite_numbers
from averse.errors import AverseError
from averse.planning.checks import Floats, distributions
from averse.settings import Count, Fraction, check_value


@dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A finite Markov decision process; larger rewards are better.

    Args:
      transition: [S, A, S'] probabilities of the next state. Rounding is made good, single precision's too: rows that
        sum to one within 1e-6 are normalised, and what is within 1e-12 below zero is zero. An action that does not
        exist in a state may repeat one that does.
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
        transition = finite_numbers("transition", self.transition)
        if transition.ndim != 3 or transition.shape[0] != transition.shape[2] or 0 in transition.shape:
            raise AverseError(f"transition must have the shape [S, A, S], not {list(transition.shape)}")
        states, actions = transition.shape[:2]
        reward = finite_numbers("reward", self.reward)
        if reward.shape not in ((states, actions), (states, actions, states)):
            raise AverseError(
                f"reward must have the shape {[states, actions]} or {[states, actions, states]}, "
                f"not {list(reward.shape)}"
            )
        gamma = check_value("gamma", Fraction, self.gamma)
        horizon = check_value("horizon", Count | None, self.horizon)
        _keep(self, transition=distributions("transition", transition), reward=reward)
        object.__setattr__(self, "gamma", gamma)
        object.__setattr__(self, "horizon", horizon)
        _keep(self, initial=_initial(self.initial, states))

    @property
    def num_states(self) -> int:
        """S."""
        return self.transition.shape[0]

    @property
    def num_actions(self) -> int:
        """A."""
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
    """The policy [..., S, A] that takes the given actions [..., S] for sure.

    Raises:
      AverseError: for actions that are not whole numbers from 0 to num_actions - 1.
    """
    num_actions = check_value("num_actions", Count, num_actions)
    chosen = finite_numbers("actions", actions)
    wrong = (chosen != np.floor(chosen)) | (chosen < 0) | (chosen >= num_actions)
    if wrong.any():
        raise AverseError(f"actions must be whole numbers from 0 to {num_actions - 1}, not {chosen[wrong][0]:g}")
    return np.eye(num_actions)[chosen.astype(np.int64)]


def policy_table(mdp: FiniteMDP, policy: ArrayLike) -> Floats:
    """A policy as [T, S, A], checked: [S, A] is stationary, [T, S, A] depends on time.

    With a finite horizon T is the horizon; with an infinite one, the last step of the table stays in force for ever.

    Raises:
      AverseError: for wrong shapes, or rows that are not distributions.
    """
    table = finite_numbers("policy", policy)
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


def _initial(initial: Any, states: int) -> Floats:
    if initial is None:
        initial = 0
    array = finite_numbers("initial", initial)
    if array.ndim == 0:
        if array != int(array) or not 0 <= array < states:
            raise AverseError(f"initial must be a state from 0 to {states - 1} or a distribution, not {initial!r:.80}")
        return np.eye(states)[int(array)]
    if array.shape != (states,):
        raise AverseError(f"initial must have the shape [{states}], not {list(array.shape)}")
    return distributions("initial", array)


def _keep(mdp: FiniteMDP, **arrays: Floats) -> None:
    """Stores arrays that nobody can change behind our back."""
    for name, array in arrays.items():
        array.flags.writeable = False
        object.__setattr__(mdp, name, array)
