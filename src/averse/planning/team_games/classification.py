"""Is a policy a stationary point, a local optimum, a Nash equilibrium? With the deviation that shows it is not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from averse.planning.checks import Floats
from averse.planning.team_games.evaluation import MeanVarianceValue, mean_values, poisson, steepest
from averse.planning.team_games.game import Game
from averse.planning.team_games.optimum import Gap, best_response
from averse.settings import check_value


@dataclass(frozen=True, eq=False)
class Deviation:
    """A change of one agent's policy that pays.

    Attributes:
      agent: who.
      table: its new policy [S, Ai].
      objective: J after the change.
      gain: by how much J rises.
    """

    agent: int
    table: Floats
    objective: float
    gain: float


@dataclass(frozen=True, eq=False)
class Classification:
    """What a policy is.

    Attributes:
      value: eta, zeta, J.
      slopes: per agent the steepest rise of J to first order, max over its policies pi' of sum mu (pi' - pi) Q_i [N].
      stationary: no agent can raise J to first order.
      strict_local_optimum: deterministic, and in every state that is visited any other action of any agent lowers J to
        first order, so that every nearby product policy that differs there has a smaller J. (States that are never
        visited do not count: J does not depend on them.)
      nash: no agent can raise J by any policy of its own, up to the tolerance.
      deviation: the best change of one agent, if it pays.
    """

    value: MeanVarianceValue
    slopes: Floats
    stationary: bool
    strict_local_optimum: bool
    nash: bool
    deviation: Deviation | None


def classify(game: Game, policy: Sequence[ArrayLike], beta: float, *, tolerance: float = 1e-7) -> Classification:
    """Checks a policy: first order by its action values, Nash by each agent's exact best response.

    A Nash equilibrium is stationary, but a stationary policy, even a strict local optimum, need not be a Nash
    equilibrium: far away an agent may still find something better.

    Args:
      policy: per agent [S, Ai]; one recurrent class.
      beta: price of variance, >= 0, in units of 1/reward.
      tolerance: what counts as nothing, in units of reward; more than 1e-8.

    Raises:
      AverseError: as `poisson` and `best_response`.
    """
    tolerance = check_value("tolerance", Gap, tolerance)
    solution = poisson(game, policy, beta)
    visited = solution.steady_state > 1e-12
    strict = True
    for values, table in zip(solution.agent_values, solution.policy):
        here = mean_values(values, table)
        others = np.where(table == 1, -np.inf, values)  # the one action of a deterministic row left out
        strict &= bool(((table.max(-1) == 1) & (others.max(-1) < here - tolerance))[visited].all())
    deviation = None
    for agent in range(game.num_agents):
        response = best_response(game, solution.policy, agent, beta, gap=tolerance)
        gain = response.objective - solution.value.objective
        if gain > max(tolerance, 0.0 if deviation is None else deviation.gain):
            deviation = Deviation(agent, response.policy[agent], response.objective, gain)
    rises = steepest(solution)
    stationary = bool((rises <= tolerance).all())
    return Classification(solution.value, rises, stationary, strict and stationary, deviation is None, deviation)
