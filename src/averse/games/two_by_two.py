"""Every equilibrium of a 2x2 game, by bracketing.

Against a fixed opponent a player's problem is strictly convex in one number, so that its answer is a function, found
by bracketing. An equilibrium is a zero of the row player's answer to the column player's answer, less where one began:
one equation in one unknown, scanned on a grid and bracketed wherever it changes sign. Logits throughout, so that
probabilities of 1e-100 are as good as any other. Zeros that only touch (at a bifurcation) are not seen.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from averse.errors import AverseError
from averse.games.equilibrium import Equilibrium, Form, Settings, as_equilibrium, flat_parameters
from averse.games.normal_form import NormalForm, checked_game
from averse.games.penalties import Penalty, Regulariser
from averse.settings import NonNegative, Positive, check_value

_GRID = 1501
_MOST_STEPS = 120


def all_equilibria(
    game: NormalForm,
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
) -> list[Equilibrium]:
    """All equilibria of a 2x2 game, by rising probability of the row player's first action.

    tau and epsilon are numbers or one per player [2]; all else as in `averse.games.rqe`.

    Raises AverseError for a game that is not 2x2, or bad settings.
    """
    needed = "game must be one game of two players with two actions each"
    checked_game(game, f"{needed}, not a batch: game[i]")
    if game.num_actions != (2, 2):
        raise AverseError(f"{needed}, not {' x '.join(map(str, game.num_actions))}")
    settings = Settings(tau, epsilon, penalty, regulariser, form)
    settings.per_player(2)  # no batch
    own = flat_parameters(game, settings)
    matrices, aversion, weight = [matrix[0] for matrix in own.matrices], own.aversion[0], own.epsilon[0]
    row, column = (_answer(matrix, aversion[i], weight[i], settings) for i, matrix in enumerate(matrices))

    def change(u):
        return row(column(u)) - u

    reach = _reach(matrices[0], weight[0], regulariser)
    middle = np.linspace(1e-4, 1 - 1e-4, _GRID)
    grid = np.unique(np.concatenate([np.linspace(-reach, reach, _GRID), np.log(middle / (1 - middle))]))
    values = change(grid)
    found = grid[values == 0]
    cross = np.flatnonzero(values[:-1] * values[1:] < 0)
    if cross.size:
        found = np.concatenate([found, _root(change, grid[cross], grid[cross + 1])])
    result = []
    for u in np.sort(found):
        logits = (u, column(np.array([u]))[0])
        strategies = [np.exp(-np.logaddexp(0.0, [-logit, logit])) for logit in logits]
        result.append(as_equilibrium(game, settings, strategies, "bracketing"))
    return result


def bifurcation(
    game: NormalForm,
    epsilon: ArrayLike,
    averse: float,
    neutral: float,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
    precision: float = 1e-6,
) -> float:
    """The risk aversion 1/tau, the same for both players, at which the number of equilibria of a 2x2 game changes.

    Args:
      epsilon: a number, or one per player [2].
      averse, neutral: values of 1/tau on both sides of the change, averse the larger, neutral >= 0.
      precision: width of the final bracket, relative to that of the first.

    Raises:
      AverseError: if the numbers of equilibria at both ends are equal, or the arguments are bad.
    """

    checked_game(game)

    def count(aversion: float) -> int:
        tau = 1 / aversion if aversion > 1e-300 else np.inf
        return len(all_equilibria(game, tau, epsilon, penalty, regulariser, form))

    low, high = check_value("neutral", NonNegative, neutral), check_value("averse", Positive, averse)
    width = check_value("precision", Positive, precision) * (high - low)
    if low >= high:
        raise AverseError(f"averse must be above neutral = {neutral:g}, not {averse:g}")
    below, above = count(low), count(high)
    if below == above:
        raise AverseError(f"{below} equilibria at 1/tau = {low:g} and at {high:g}: no change to look for")
    while high - low > width and low < (middle := (low + high) / 2) < high:
        if count(middle) == below:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _answer(matrix: np.ndarray, aversion: float, epsilon: float, settings: Settings) -> Callable:
    """The logit of the first action that answers the opponent's logit of its first action; arrays alike."""
    reach = _reach(matrix, epsilon, settings.regulariser)

    def answer(v):
        def slope(u):  # of the cost in the own probability: increasing in u
            price = u if settings.regulariser == "entropy" else 2 * np.sinh(u)
            return epsilon * price - _advantage(matrix, u, v, aversion, settings)

        return _root(slope, np.full_like(v, -reach), np.full_like(v, reach))

    return answer


def _reach(matrix: np.ndarray, epsilon: float, regulariser: str) -> float:
    """A bound on the own logit: the advantage of an action is at most the largest difference of payoffs."""
    bound = max(np.ptp(matrix) / epsilon, 1e-9)
    return 1.01 * bound if regulariser == "entropy" else 1.01 * float(np.arcsinh(bound / 2)) + 1e-9


def _advantage(matrix: np.ndarray, u: np.ndarray, v: np.ndarray, aversion: float, settings: Settings) -> np.ndarray:
    """What the first action is worth over the second, at the margin."""
    if settings.form == "action-dependent":
        return _certain(matrix[0], v, aversion, settings.penalty) - _certain(matrix[1], v, aversion, settings.penalty)
    x = _sigmoid(u)
    cost = -(x[..., None] * matrix[0] + (1 - x)[..., None] * matrix[1])
    p = _belief(cost[..., 0] - cost[..., 1], v, aversion, settings.penalty)
    return p * (matrix[0, 0] - matrix[1, 0]) + (1 - p) * (matrix[0, 1] - matrix[1, 1])


def _belief(excess: np.ndarray, v: np.ndarray, aversion: float, penalty: str) -> np.ndarray:
    """The adversary's probability of the first column, which costs `excess` more than the second."""
    if penalty == "kl":
        return _sigmoid(v + aversion * excess)
    # p = y/s on the dearer column, (1 - y)/(d + s) on the other; both sum to one: s^2 + (d - 1) s - y d = 0.
    d = aversion * np.abs(excess)
    y = np.where(excess >= 0, _sigmoid(v), _sigmoid(-v))
    root = np.sqrt((1 - d) ** 2 + 4 * y * d)
    s = np.where(d < 1, (1 - d + root) / 2, 2 * y * d / np.maximum(d - 1 + root, 1e-300))
    dear = np.where(d < 1, y / np.maximum(s, 1e-300), 1 - (1 - y) / np.maximum(d + s, 1e-300))
    return np.where(excess >= 0, dear, 1 - dear)


def _certain(payoffs: np.ndarray, v: np.ndarray, aversion: float, penalty: str) -> np.ndarray:
    """The certainty equivalent of one row."""
    y = _sigmoid(v)
    mean = y * payoffs[0] + (1 - y) * payoffs[1]
    if aversion == 0:
        return mean
    if penalty == "kl":
        terms = [-np.logaddexp(0.0, -v) - aversion * payoffs[0], -np.logaddexp(0.0, v) - aversion * payoffs[1]]
        return -np.logaddexp(*terms) / aversion
    p = np.clip(_belief(np.full_like(v, payoffs[1] - payoffs[0]), v, aversion, penalty), 1e-300, 1 - 1e-16)
    price = y * np.log(np.maximum(y, 1e-300) / p) + (1 - y) * np.log(np.maximum(1 - y, 1e-300) / (1 - p))
    return p * payoffs[0] + (1 - p) * payoffs[1] + price / aversion


def _root(function: Callable, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Zeros of a function of arrays, one between each `low` and `high`, to the last bits (Chandrupatla 1997)."""
    a, b = low.copy(), high.copy()
    at_a, at_b = function(a), function(b)
    t = np.full_like(a, 0.5)
    for _ in range(_MOST_STEPS):
        x = a + t * (b - a)
        at_x = function(x)
        same = np.sign(at_x) == np.sign(at_a)
        c, at_c = np.where(same, a, b), np.where(same, at_a, at_b)
        b, at_b = np.where(same, b, a), np.where(same, at_b, at_a)
        a, at_a = x, at_x
        best = np.where(np.abs(at_a) < np.abs(at_b), a, b)
        limit = (4e-16 * np.abs(best) + 1e-16) / np.maximum(np.abs(b - a), 1e-300)
        if ((limit > 0.5) | (at_a == 0)).all():
            break
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # Inverse quadratic interpolation where it may be trusted, else halving.
            place, size = (a - b) / (c - b), (at_a - at_b) / (at_c - at_b)
            trusted = (size**2 < place) & ((1 - size) ** 2 < 1 - place)
            quadratic = at_a / (at_b - at_a) * at_c / (at_b - at_c)
            quadratic += (c - a) / (b - a) * at_a / (at_c - at_a) * at_b / (at_c - at_b)
        t = np.clip(np.where(trusted & np.isfinite(quadratic), quadratic, 0.5), np.minimum(limit, 0.5), None)
        t = np.where(at_a == 0, 0.0, np.minimum(t, 1 - np.minimum(limit, 0.5)))
    return np.where(at_a == 0, a, best)


def _sigmoid(u: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -u))
