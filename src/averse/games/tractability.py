"""When a risk-averse quantal response equilibrium is guaranteed to be unique and computable.

The augmented game, in which each player faces an adversary of its own, is monotone in the right weights where the
regulariser of player j outweighs what the penalties of the others' adversaries let them gain from moving x_j. Only
the matching pairs cancel: KL with the log barrier, reverse KL with the negative entropy.

Two players: eps1 eps2 >= tau1 tau2 (Mazumdar, Panaganti, Shi, ICLR 2025); the same argument with weighted players gives
uniqueness already where 16 eps1 eps2 > tau1 tau2 (Zhang, Mazumdar 2026).

n players (derived here, for the joint adversaries of `averse.games.rqe`). Completing the square in the adversary of
player i leaves w_i tau_i / 4 times E_p[(sum_j dx_j/x_j)^2], to be paid by the regularisers, sum_j w_j eps_j
|dx_j/x_j|^2. Under KL, p may be correlated, and the square is at most (n - 1) times the sum of squares; under reverse
KL the expectation is over the product of the x_j, the terms have mean zero, and it equals that sum. With k = n - 1 for
KL and k = 1 for reverse KL, weights w > 0 that satisfy these bounds exist exactly where the matrix
M[j, i] = k tau_i / (4 eps_j), i != j, has spectral radius at most 1 (Perron, Frobenius). For two players that is the
condition of Zhang and Mazumdar. For n it is sufficient; under reverse KL and for equal players it is also necessary for
this monotonicity, under KL it is not (the bound on the square is generous).
All rows of M sum to at most 1 where eps_j >= (k/4) sum of the others' tau, which eps_j >= sum of the others' tau
implies up to n = 5 under KL, and always under reverse KL.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from averse.errors import AverseError
from averse.games.checks import per_player
from averse.games.penalties import Penalty, Regulariser
from averse.settings import check_value

_COVERED = {("kl", "log-barrier"), ("reverse-kl", "entropy")}


@dataclass(frozen=True)
class Tractability:
    """Where settings stand. `str(...)` is the plain words.

    Attributes:
      margin: two players: eps1 eps2 - tau1 tau2; more: the least of eps_i - sum over the others of tau_j. Units of
        reward (squared for two). At or above 0 the theory's condition holds.
      radius: spectral radius of the weighted condition; for two players sqrt(tau1 tau2 / (16 eps1 eps2)). Below 1 the
        equilibrium is unique (covered pairs only).
      covered: whether the theorems speak of this penalty with this regulariser.
      unique: covered and radius < 1.
      theorem: the result that says so, or why none does.
      words: all this in a sentence.
    """

    margin: float
    radius: float
    covered: bool
    unique: bool
    theorem: str
    words: str

    def __str__(self) -> str:
        return self.words


def tractability(
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    players: int = 2,
) -> Tractability:
    """Whether settings are inside the region where the equilibrium is unique and learnable, and by which theorem.

    Args:
      tau: risk tolerance, a number or one per player [n]; inf is risk-neutral and outside.
      epsilon: weight of the regulariser, >= 0, likewise.

    Raises:
      AverseError: fewer than two players, values out of range or of the wrong number, unknown names.
    """
    check_value("penalty", Penalty, penalty)
    check_value("regulariser", Regulariser, regulariser)
    tolerance, weight = _checked(tau, epsilon, players)
    margin, inside = _margin(tolerance, weight)
    covered = (penalty, regulariser) in _COVERED
    factor = players - 1 if penalty == "kl" else 1
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        matrix = factor * tolerance[None, :] / (4 * weight[:, None])
    np.fill_diagonal(matrix, 0.0)
    radius = float(np.abs(np.linalg.eigvals(matrix)).max()) if np.isfinite(matrix).all() else float("inf")
    unique = covered and radius < 1
    if not covered:
        theorem = "no theorem"
        words = (
            f"outside the theory: no theorem covers {penalty} with {regulariser} (it covers kl with log-barrier and "
            f"reverse-kl with entropy), so that several equilibria may exist (margin {margin:g})"
        )
    elif players == 2 and inside:
        theorem = "Mazumdar, Panaganti, Shi 2025: eps1 eps2 >= tau1 tau2"
        words = f"inside the tractable region (margin {margin:g}): one equilibrium, and no-regret play finds it"
    elif unique and players == 2:
        theorem = "Zhang, Mazumdar 2026: 16 eps1 eps2 > tau1 tau2"
        words = f"outside eps1 eps2 >= tau1 tau2 (margin {margin:g}), but 16 eps1 eps2 > tau1 tau2: one equilibrium"
    elif unique:
        theorem = "derived, n players: weighted monotonicity of the augmented game"
        side = "inside" if inside else "outside"
        condition = f"{side} eps_i >= sum of the others' tau (margin {margin:g})"
        words = f"{condition}; spectral radius {radius:.3g} < 1: one equilibrium"
    else:
        theorem = "no theorem"
        words = f"outside the tractable region (margin {margin:g}): an equilibrium exists, but several may"
    return Tractability(margin, radius, covered, unique, theorem, words)


def tractability_margin(tau: float, epsilon: float, players: int) -> float:
    """The margin of players with equal settings: `tractability(...).margin` without the names.

    For two players epsilon^2 - tau^2, for more epsilon - (players - 1) tau. The theorems are about matrix games with
    the regularisers named there; for a learning run the margin is a number to know, not a guarantee.

    Raises AverseError for fewer than two players, and values out of range or of the wrong number.
    """
    return _margin(*_checked(tau, epsilon, players))[0]


def _margin(tau: np.ndarray, epsilon: np.ndarray) -> tuple[float, bool]:
    """The margin, and whether it is at least 0: its sign is right even where products of tau and epsilon overflow."""
    if not np.isfinite(tau).all():
        return -np.inf, False
    scale = max(tau.max(), epsilon.max())
    tau, epsilon = tau / scale, epsilon / scale
    with np.errstate(over="ignore", under="ignore"):
        if tau.size == 2:
            logs = np.log(tau).sum(), np.log(np.maximum(epsilon, 1e-320)).sum()
            margin = float((epsilon.prod() - tau.prod()) * scale * scale)
            return margin, bool(logs[1] >= logs[0]) if margin == 0 else margin > 0
        others = np.array([np.delete(tau, i).sum() for i in range(tau.size)])
        margin = float((epsilon - others).min() * scale)
    return margin, margin >= 0


def _checked(tau: ArrayLike, epsilon: ArrayLike, players: int) -> tuple[np.ndarray, np.ndarray]:
    if check_value("players", int, players) < 2:
        raise AverseError(f"a game needs at least two players, not players = {players}")
    return per_player("tau", tau, players), per_player("epsilon", epsilon, players, zero=True)
