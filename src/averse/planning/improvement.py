"""What a change of policy is sure to gain: the lower bound on which trust-region learning of a team rests.

Write A for the advantages of the old policy, mu and mu' for the steady states of the old and the new one, and
Abar(s) = E_{a ~ pi'}[A(s, a)]. The difference formula (`averse.planning.difference`) gives

    J' - J = mu' Abar + beta (eta' - eta)^2 >= mu Abar + (mu' - mu) Abar.

With the deviation matrix D' = (I - P' + 1 mu')^-1 - 1 mu' of the new chain, mu' - mu = mu (P' - P) D'. The row
x = mu (P' - P) sums to zero, and |x|_1 <= 2 E_mu[TV], TV(s) being the total variation distance of the joint policies
in s. A row that sums to zero grows under D' by at most Seneta's coefficient of ergodicity, tau(D') = half of the
largest L1 distance between two rows of D'. Hence

    J' - J >= E_{mu, pi'}[A] - 2 xi E_mu[TV]   with   xi = tau(D') max_s |Abar(s)|.

That is the bound of Hu, Xia (arXiv 2503.22779, section 5) and of Zhang, Ross (2021, theorem 1), who have Kemeny's
constant less one in place of tau(D'), which is never smaller (Seneta 1993). As Abar and TV both shrink in proportion to
the change of policy, the bound is exact to first order: a small enough step along an improvement is sure to gain.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist

from averse.planning.checks import Floats
from averse.planning.team_games.evaluation import poisson
from averse.planning.team_games.game import Game, checked_policy, joint_policy


class ImprovementBound(NamedTuple):
    """The bound and its parts, beside the truth; all but `total_variation` and `ergodicity` in units of reward.

    `bound` = `surrogate` - 2 xi `total_variation` is never more than `change`.
    """

    bound: float
    surrogate: float  # E_{mu, pi'}[A]
    total_variation: float  # E_mu[TV] of the joint policies, in [0, 1]
    ergodicity: float  # tau(D') of the new policy's chain
    xi: float
    change: float  # J' - J


def improvement_bound(game: Game, old: Sequence[ArrayLike], new: Sequence[ArrayLike], beta: float) -> ImprovementBound:
    """The lower bound on J(new) - J(old), and that difference itself.

    Builds dense matrices [S, S] and takes time of the order S^3.

    Args:
      old, new: per agent [S, Ai], each with one recurrent class.
      beta: price of variance, >= 0, in units of 1/reward.

    Raises:
      AverseError: as `poisson`.
    """
    solution = poisson(game, checked_policy(game, old, "old"), beta)
    target = poisson(game, checked_policy(game, new, "new"), beta)
    before, after = joint_policy(solution.policy), joint_policy(target.policy)
    values = solution.action_values.reshape(after.shape) - solution.values[:, None]
    # Where the new policy never goes, an advantage may be -inf (an unavailable action).
    expected = np.where(after > 0, after * np.where(after > 0, values, 0.0), 0.0).sum(-1)
    surrogate = float(solution.steady_state @ expected)
    total_variation = float(solution.steady_state @ (0.5 * np.abs(after - before).sum(-1)))
    deviation = deviation_matrix(game.chain(target.policy).dense(), target.steady_state)
    ergodicity = ergodicity_coefficient(deviation)
    xi = ergodicity * float(np.abs(expected).max())
    change = target.value.objective - solution.value.objective
    return ImprovementBound(surrogate - 2.0 * xi * total_variation, surrogate, total_variation, ergodicity, xi, change)


def deviation_matrix(chain: Floats, steady_state: Floats) -> Floats:
    """(I - P + 1 mu)^-1 - 1 mu of a chain P [S, S] with the steady state mu [S]: the sum over time of P^t - 1 mu."""
    return np.linalg.inv(np.eye(len(chain)) - chain + steady_state) - steady_state


def ergodicity_coefficient(matrix: Floats) -> float:
    """Half of the largest L1 distance between two rows of a matrix [S, S] (Seneta).

    By so much at most does a row vector that sums to zero grow in the L1 norm when it is multiplied from the right.
    """
    return float(0.5 * pdist(matrix, "cityblock").max(initial=0.0))
