"""The classical solutions an RQE tends to: logit QRE (tau = inf), Nash (then epsilon -> 0), security (tau -> 0)."""

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from averse.errors import AverseError
from averse.games.equilibrium import Equilibrium
from averse.games.normal_form import NormalForm
from averse.games.rqe import rqe

_SLACK = 1e-9
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
    may be missing.)

    Raises:
      AverseError: not a single game of two players, or more than 8 actions (there are too many supports).
    """
    if game.batched or game.num_players != 2:
        raise AverseError("nash takes one game of two players; for more, see pygambit")
    if max(game.num_actions) > _MOST_ACTIONS:
        raise AverseError(f"nash enumerates supports: at most {_MOST_ACTIONS} actions, not {max(game.num_actions)}")
    a, b = game.arrays()
    found: list[list[np.ndarray]] = []
    for size in range(1, min(game.num_actions) + 1):
        for rows in combinations(range(game.num_actions[0]), size):
            for columns in combinations(range(game.num_actions[1]), size):
                y = _indifferent(a, rows, columns)
                x = _indifferent(b.T, columns, rows)
                if x is None or y is None:
                    continue
                if (a @ y).max() > (x @ a @ y) + _SLACK or (x @ b).max() > (x @ b @ y) + _SLACK:
                    continue
                if not any(np.allclose(x, u, atol=1e-9) and np.allclose(y, v, atol=1e-9) for u, v in found):
                    found.append([x, y])
    return found


def security(game: NormalForm) -> tuple[list[np.ndarray], np.ndarray]:
    """Each player's maximin strategy [A_i] against everybody else together, and the payoff [n] it guarantees.

    A linear programme each (von Neumann). This is what an RQE tends to as tau -> 0 and then epsilon -> 0.
    Raises AverseError for a batch of games.
    """
    if game.batched:
        raise AverseError("security takes one game of the batch: game[i]")
    strategies, values = [], []
    for matrix in game.matrices():
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
        values.append(outcome.x[-1])
    return strategies, np.array(values)


def _indifferent(payoffs: np.ndarray, own: tuple[int, ...], others: tuple[int, ...]) -> np.ndarray | None:
    """The opponent's mix over `others` that makes the actions `own` equally good, if there is one."""
    size = len(own)
    system = np.zeros((size + 1, size + 1))
    system[:size, :size] = payoffs[np.ix_(own, others)]
    system[:size, size] = -1
    system[size, :size] = 1
    try:
        solution = np.linalg.solve(system, np.append(np.zeros(size), 1.0))
    except np.linalg.LinAlgError:
        return None
    if (solution[:size] < -_SLACK).any():
        return None
    mix = np.zeros(payoffs.shape[1])
    mix[list(others)] = np.maximum(solution[:size], 0)
    return mix / mix.sum()
