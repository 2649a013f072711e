"""What a policy of a team game is worth: mean, variance, relative values, and how they change with the policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from averse.arguments import finite_numbers
from averse.errors import AverseError
from averse.planning.checks import Floats, distributions
from averse.planning.team_games.chains import Chain, Classes, relative_values, steady_state
from averse.planning.team_games.game import Game, Moments, Tables, checked_beta, checked_policy


class MeanVarianceValue(NamedTuple):
    """eta: mean reward per step. zeta: its variance in steady state. objective: J = eta - beta zeta."""

    eta: float
    zeta: float
    objective: float


@dataclass(frozen=True, eq=False)
class PoissonSolution:
    """The relative values of a policy, in units of reward.

    Attributes:
      game, policy, beta: what was solved.
      value: eta, zeta, J.
      steady_state: mu [S].
      values: V [S], with mean zero in steady state.
    """

    game: Game
    policy: Tables
    beta: float
    value: MeanVarianceValue
    steady_state: Floats
    values: Floats

    @cached_property
    def action_values(self) -> Floats:
        """Q of the joint actions [S, A1, ..., AN]; advantages are Q - V; -inf where unavailable."""
        return self.game.joint_values(self.beta, self.value.eta, self.values) - self.value.objective

    @cached_property
    def agent_values(self) -> list[Floats]:
        """Per agent Q_i(s, a_i) [S, Ai], the mean of Q over the others' actions; -inf where unavailable."""
        return [self.values_of(agent) for agent in range(self.game.num_agents)]

    def values_of(self, agent: int) -> Floats:
        """Q_i(s, a_i) of one agent [S, Ai]; -inf where unavailable."""
        values = self.game.agent_values(agent, self.policy, self.beta, self.value.eta, self.values)
        return values - self.value.objective


def mean_variance(
    game: Game, policy: Sequence[ArrayLike], beta: float, initial: ArrayLike | None = None
) -> MeanVarianceValue:
    """Long-run mean and variance of the reward per step, and J = eta - beta zeta.

    Args:
      policy: per agent [S, Ai].
      beta: price of variance, >= 0, in units of 1/reward.
      initial: distribution of the first state [S]; read only for a multichain policy, for which the steady state is
        the long-run share of time in each state, on average over where the chain may end up.

    Raises:
      AverseError: for a bad policy or beta, or a multichain policy without `initial`.
    """
    tables, beta = checked_policy(game, policy), checked_beta(beta)
    start = None
    if initial is not None:
        start = finite_numbers("initial", initial)
        if start.shape != (game.num_states,):
            raise AverseError(f"initial must have the shape [{game.num_states}], not {list(start.shape)}")
        start = distributions("initial", start)
    return value_of(game.reward_moments(tables), beta, steady_state(game.chain(tables), start))


def poisson(game: Game, policy: Sequence[ArrayLike], beta: float) -> PoissonSolution:
    """Solves V = f - J + P V for f = r - beta (r - eta)^2 (Hu, Xia, section 3).

    Args:
      policy: per agent [S, Ai]; one recurrent class.
      beta: price of variance, >= 0, in units of 1/reward.

    Raises:
      AverseError: for a bad policy or beta, or a multichain policy.
    """
    return solved(game, checked_policy(game, policy), checked_beta(beta))


def difference(game: Game, policy: Sequence[ArrayLike], other: Sequence[ArrayLike], beta: float) -> float:
    """J(other) - J(policy) by the difference formula: E_{mu', pi'}[A] + beta (eta' - eta)^2.

    Raises:
      AverseError: as `poisson`.
    """
    here, there = poisson(game, policy, beta), checked_policy(game, other, "other")
    chain, value = game.chain(there), here.value
    steady = steady_state(chain)
    moments = game.reward_moments(there)
    advantage = moments.pseudo_reward(beta, value.eta) - value.objective + chain.forward(here.values) - here.values
    eta = float(steady @ moments.mean)
    return float(steady @ advantage + beta * (eta - value.eta) ** 2)


def derivative(game: Game, policy: Sequence[ArrayLike], beta: float) -> list[Floats]:
    """dJ/dpi_i(a|s) = mu(s) Q_i(s, a), per agent [S, Ai]; 0 where an action is not available.

    It is meant along directions whose sum over the actions of a state is zero. For a softmax policy with logits theta,
    dJ/dtheta = pi (mu Q_i - sum_a pi mu Q_i).

    Raises:
      AverseError: as `poisson`.
    """
    return slopes(poisson(game, policy, beta))


def slopes(solution: PoissonSolution) -> list[Floats]:
    """The derivative of J at a solved policy, per agent [S, Ai]."""
    return [
        solution.steady_state[:, None] * np.where(mask, values, 0)
        for mask, values in zip(solution.game.available, solution.agent_values)
    ]


def steepest(solution: PoissonSolution) -> Floats:
    """The steepest rise of J to first order that each agent can bring about [N], in units of reward."""
    return np.array(
        [
            solution.steady_state @ (values.max(-1) - mean_values(values, table))
            for values, table in zip(solution.agent_values, solution.policy)
        ]
    )


def mean_values(values: Floats, table: Floats) -> Floats:
    """The mean of action values [S, A] under a policy [S, A], as [S]; -inf does not count where it is never taken."""
    return np.sum(table * np.where(table > 0, values, 0), -1)


def value_of(moments: Moments, beta: float, steady: Floats) -> MeanVarianceValue:
    """eta, zeta and J from the steady state [S]."""
    eta = float(steady @ moments.mean)
    zeta = float(steady @ moments.squared_deviation(eta))
    return MeanVarianceValue(eta, zeta, eta - beta * zeta)


def solved(
    game: Game,
    policy: Tables,
    beta: float,
    chain: Chain | None = None,
    classes: Classes | None = None,
    near: PoissonSolution | None = None,
) -> PoissonSolution:
    """`poisson` for a policy that has been checked already.

    Args:
      chain, classes: of the policy, if already known.
      near: the solution of a similar policy, from which an iterative solver had better begin.
    """
    chain = game.chain(policy) if chain is None else chain
    steady = steady_state(chain, classes=classes, guess=None if near is None else near.steady_state)
    moments = game.reward_moments(policy)
    value = value_of(moments, beta, steady)
    excess = moments.pseudo_reward(beta, value.eta) - value.objective
    values = relative_values(chain, excess, steady, guess=None if near is None else near.values)
    return PoissonSolution(game, policy, beta, value, steady, values)
