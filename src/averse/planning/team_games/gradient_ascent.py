"""MV-IPGA: independent policy gradient ascent on J, with the exact gradient (after Hu, Xia, arXiv 2511.20977)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from averse.planning.checks import Floats
from averse.planning.team_games.evaluation import PoissonSolution, slopes, solved, steepest
from averse.planning.team_games.game import Game, Tables, checked_beta, first_policy
from averse.settings import NonNegative, Positive, Whole, check_value


@dataclass(frozen=True, eq=False)
class GradientAscent:
    """Where MV-IPGA stopped.

    Attributes:
      policy: per agent [S, Ai], possibly mixed.
      eta, zeta, objective: mean, variance of the reward per step, and J.
      history: J of each policy on the way [steps + 1]; it never falls.
      slope: how fast J still rises to first order, summed over agents: 0 at a stationary point.
      converged: whether the slope is within the tolerance.
    """

    policy: Tables
    eta: float
    zeta: float
    objective: float
    history: Floats
    slope: float
    converged: bool


def mv_ipga(
    game: Game,
    beta: float,
    initial: str | Sequence[ArrayLike] = "uniform",
    *,
    step: float = 1.0,
    tolerance: float = 1e-6,
    max_steps: int = 1000,
) -> GradientAscent:
    """Projected gradient ascent: all agents at once move along their own derivative dJ/dpi_i, back to distributions.

    Unlike simultaneous best actions, simultaneous small steps do not lower J. A step that would is halved until it does
    not; after one that raises J the step is doubled.

    Args:
      beta: price of variance, >= 0, in units of 1/reward.
      initial: "uniform" or a policy, per agent [S, Ai].
      step: first step size, in units of 1/reward.
      tolerance: largest first-order rise of J, in units of reward, at which it stops.
      max_steps: a limit.

    Raises:
      AverseError: for a bad policy, beta or step; for a multichain policy on the way.
    """
    beta, step = checked_beta(beta), check_value("step", Positive, step)
    tolerance, max_steps = check_value("tolerance", NonNegative, tolerance), check_value("max_steps", Whole, max_steps)
    solution = solved(game, first_policy(game, initial), beta)
    history = [solution.value.objective]
    while len(history) <= max_steps and float(steepest(solution).sum()) > tolerance:
        ascent = _ascended(solution, step)
        if ascent is None:  # rounding is all that is left
            break
        solution, step = ascent
        history.append(solution.value.objective)
    slope = float(steepest(solution).sum())
    return GradientAscent(solution.policy, *solution.value, np.array(history), slope, slope <= tolerance)


def _ascended(solution: PoissonSolution, step: float) -> tuple[PoissonSolution, float] | None:
    """The next policy and step size; None where no step raises J."""
    gradient = slopes(solution)
    while step > 1e-12:
        moved = [
            _projected(table + step * slope, mask)
            for table, slope, mask in zip(solution.policy, gradient, solution.game.available)
        ]
        following = solved(solution.game, moved, solution.beta, near=solution)
        if following.value.objective > solution.value.objective:
            return following, 2 * step
        step /= 2
    return None


def _projected(table: Floats, available: NDArray[np.bool_]) -> Floats:
    """The nearest distributions over available actions [S, A] (Held, Wolfe, Crowder 1974)."""
    table = np.where(available, table, -np.inf)
    ordered = -np.sort(-table, -1)
    count = np.arange(1, table.shape[1] + 1)
    excess = (np.cumsum(np.where(np.isfinite(ordered), ordered, 0), -1) - 1) / count
    active = (ordered > excess) & np.isfinite(ordered)
    last = active.sum(-1) - 1
    level = np.take_along_axis(excess, last[:, None], -1)
    projected = np.maximum(table - level, 0)
    return projected / projected.sum(-1, keepdims=True)
