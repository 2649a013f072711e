"""The classical solutions an RQE tends to: logit QRE (tau = inf), Nash (then epsilon -> 0), security (tau -> 0)."""

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from averse.errors import AverseError
from averse.games.equilibrium import Equilibrium
from averse.games.normal_form import NormalForm, checked_game
from averse.games.rqe import rqe
from averse.games.units import own_units

_SLACK = 1e-12
_VANISHING = 1e-15
_MOST_ACTIONS = 8


def qre(game: NormalForm, epsilon: ArrayLike, tolerance: float = 1e-12) -> Equilibrium:
    """The logit quantal response equilibrium at lambda = 1/epsilon (McKelvey, Palfrey 1995), on the principal branch.

    `epsilon` in units of reward, a number, one per player [n], or a batch [..., n]; 1/epsilon is Gambit's lambda.

    Raises AverseError as `rqe` does.
    """
    return rqe(game, np.inf, epsilon, regulariser="entropy", tolerance=tolerance)


def nash(game: NormalForm) -> list[list[np.ndarray]]:
    """All Nash equilibria of a nondegenerate two-player game, by enumeration of supports of equal size.

    Returns lists of two strategies [A_1], [A_2], pure ones first. (Dickhaut, Kaplan 1991; in a degenerate game some
    may be missing.) A player's payoffs can be scaled, and moved by a constant for each action of the other, without a
    change: what an action gives beside another is compared with the range of such differences, to 1e-12 of it or to
    what rounding has left of it.

    Raises:
      AverseError: not a single game of two players, or more than 8 actions (there are too many supports).
    """
    words = "nash takes one game of two players; for more, see pygambit"
    if checked_game(game, words).num_players != 2:
        raise AverseError(words)
    if max(game.num_actions) > _MOST_ACTIONS:
        raise AverseError(f"nash enumerates supports: at most {_MOST_ACTIONS} actions, not {max(game.num_actions)}")
    (a, slack_a), (b, slack_b) = (_advantages(matrix) for matrix in game.matrices())
    found: list[list[np.ndarray]] = []
    for size in range(1, min(game.num_actions) + 1):
        for rows in combinations(range(game.num_actions[0]), size):
            for columns in combinations(range(game.num_actions[1]), size):
                y, x = _indifferent(a, rows, columns), _indifferent(b, columns, rows)
                if x is None or y is None or not (_best(a, x, y, slack_a) and _best(b, y, x, slack_b)):
                    continue
                # Only where a probability vanishes can another support lead to the same equilibrium.
                new = np.count_nonzero(x) == np.count_nonzero(y) == size
                if new or not any(np.allclose(x, u, atol=1e-9) and np.allclose(y, v, atol=1e-9) for u, v in found):
                    found.append([x, y])
    return found


def security(game: NormalForm) -> tuple[list[np.ndarray], np.ndarray]:
    """Each player's maximin strategy [A_i] against everybody else together, and the payoff [n] it guarantees.

    A linear programme each (von Neumann). This is what an RQE tends to as tau -> 0 and then epsilon -> 0.
    Raises AverseError for anything but a single game.
    """
    checked_game(game, "security takes one game of the batch: game[i]")
    strategies, values = [], []
    for payoffs in game.matrices():
        matrix, units = own_units(payoffs, (0, 1))
        own, others = matrix.shape
        outcome = linprog(
            np.append(np.zeros(own), -1.0),
            A_ub=np.hstack([-matrix.T, np.ones((others, 1))]),
            b_ub=np.zeros(others),
            A_eq=np.append(np.ones(own), 0.0)[None],
            b_eq=[1.0],
            bounds=[(0, 1)] * own + [(None, None)],
        )
        strategies.append(np.maximum(outcome.x[:-1], 0) / np.maximum(outcome.x[:-1], 0).sum())
        values.append((units.centre + units.scale * outcome.x[-1]).item())
    return strategies, np.array(values)


def _advantages(payoffs: np.ndarray) -> tuple[np.ndarray, float]:
    """Payoffs [own, others] less a constant per column, in units of their own, and what counts as a tie there."""
    _, (base, _) = own_units(payoffs, 0)
    with np.errstate(over="ignore"):
        advantages, (_, scale) = own_units(payoffs - base, (0, 1))
    rounding = 2.0**-52 * float(np.max(np.abs(payoffs) / scale))
    return advantages, _SLACK + rounding


def _best(payoffs: np.ndarray, own: np.ndarray, other: np.ndarray, slack: float) -> bool:
    """Whether no action is better than the mix `own` against `other`."""
    worth = payoffs @ other
    return bool(worth.max() <= own @ worth + slack)


def _indifferent(payoffs: np.ndarray, own: tuple[int, ...], others: tuple[int, ...]) -> np.ndarray | None:
    """The opponent's mix over `others` that makes the actions `own` equally good, if there is one."""
    size = len(own)
    system = np.zeros((size + 1, size + 1))
    system[:size, :size] = payoffs[np.ix_(own, others)]
    system[:size, size] = -1
    system[size, :size] = 1
    try:
        solution = np.linalg.solve(system, np.append(np.zeros(size), 1.0))[:size]
    except np.linalg.LinAlgError:
        return None
    if not (solution > -_SLACK).all():
        return None
    mix = np.zeros(payoffs.shape[1])
    mix[list(others)] = np.where(solution > _VANISHING, solution, 0.0)
    return mix / mix.sum()
