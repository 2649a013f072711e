"""What an equilibrium of a game is: how the players are, what their play is worth, and how good a strategy profile is.

Every player i minimises f_i(x_i, x_others) + epsilon_i nu(x_i); at an RQE nobody can do better alone (Mazumdar,
Panaganti, Shi, ICLR 2025). Two forms, with different equilibria:

  "aggregate"         one adversary per player, who changes the others' joint play y for the player's whole mix:
                      f(x, y) = sup over p of [-x'R p - tau D(p, y)]
  "action-dependent"  the risk of each own action apart: f(x, y) = -sum_a x_a CE_a,
                      CE_a = inf over p of [R_a p + tau D(p, y)]

With more than two players the adversary of player i moves the *joint* play of the others, correlations included:
D(p, product of x_j, j != i). This is what keeps its problem concave, and the derived condition of `tractability` true.

Axes: n players, A_i actions of player i, S_i joint actions of the others; `...` batch axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from averse.errors import AverseError
from averse.games import penalties
from averse.games.normal_form import NormalForm
from averse.games.penalties import Penalty, Regulariser
from averse.planning.checks import distributions, numbers
from averse.settings import check_value

Form = Literal["aggregate", "action-dependent"]


@dataclass(frozen=True)
class Settings:
    """How the players are: one risk tolerance and one epsilon each, in units of reward, and what they mean.

    Args:
      tau: risk tolerance > 0, a number, one per player [n], or a batch [..., n]; inf is risk-neutral.
      epsilon: weight of the regulariser > 0, likewise.
      penalty: "kl" or "reverse-kl".
      regulariser: "log-barrier" or "entropy".
      form: "aggregate" or "action-dependent".

    Raises:
      AverseError: for a value out of range or of the wrong shape, or an unknown name.
    """

    tau: ArrayLike
    epsilon: ArrayLike
    penalty: Penalty = "kl"
    regulariser: Regulariser = "log-barrier"
    form: Form = "aggregate"

    def __post_init__(self):
        check_value("penalty", Penalty, self.penalty)
        check_value("regulariser", Regulariser, self.regulariser)
        check_value("form", Form, self.form)

    def per_player(self, players: int, batches: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """tau and epsilon as float64 arrays [n]; with `batches`, as [..., n]. Raises AverseError for other shapes."""
        return per_player("tau", self.tau, players, batches), per_player("epsilon", self.epsilon, players, batches)

    @property
    def static(self) -> tuple[str, str, str]:
        """What is no number: penalty, regulariser and form."""
        return self.penalty, self.regulariser, self.form


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """What a solver found. `...` is the batch shape, () for a single game.

    Attributes:
      game: what was played.
      settings: how the players are.
      strategies: one array per player [..., A_i].
      values: what the game is worth to each player at its risk, -f_i [..., n], in units of reward.
      residual: largest change of any probability if each player answered the others (and its own adversary), [...].
      gap: an upper bound on what any player could gain by deviating, regulariser included, in units of reward [...].
      iterations: linear solves (direct) or rounds of play (no-regret) [...].
      converged: whether the residual reached the tolerance [...].
      method: "direct" or "no-regret", as it was asked for.
      history: for single games, "residual" by iteration; for no-regret play also "iteration" and "regret".
    """

    game: NormalForm
    settings: Settings
    strategies: list[np.ndarray]
    values: np.ndarray
    residual: np.ndarray
    gap: np.ndarray
    iterations: np.ndarray
    converged: np.ndarray
    method: str = "direct"
    history: dict[str, np.ndarray] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.residual.ndim:
            return f"{self.residual.size} equilibria, largest residual {self.residual.max():.1e}"
        lines = [
            f"{player}: " + ", ".join(f"{action} {p:.6f}" for action, p in zip(actions, x, strict=True))
            for player, actions, x in zip(self.game.players, self.game.actions, self.strategies, strict=True)
        ]
        return "\n".join([*lines, f"residual {float(self.residual):.1e}, gap {float(self.gap):.1e}"])


def per_player(name: str, given: ArrayLike, players: int, batches: bool = False, zero: bool = False) -> np.ndarray:
    """tau or epsilon as float64, one per player [n].

    Args:
      given: one number, one per player [n], or with `batches` [..., n].
      zero: whether epsilon may be 0.

    Raises:
      AverseError: for anything else, or a number out of range.
    """
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise AverseError(f"{name} must be a number or one per player ({players}), not {given!r}") from None
    array = np.broadcast_to(array, (players,)) if array.ndim == 0 else array
    if array.shape[-1] != players:
        raise AverseError(f"{name} must be one number or one per player ({players}), not {array.shape[-1]} of them")
    if array.ndim > 1 and not batches:
        raise AverseError(f"{name} must be one number or one per player here, not a batch of shape {array.shape}")
    if name == "tau":
        allowed, words = array > 0, "tau, the risk tolerance, must be above 0 (inf is neutral)"
    else:
        allowed = ((array >= 0) if zero else (array > 0)) & (array < np.inf)
        words = f"epsilon must be {'at least' if zero else 'above'} 0 and finite"
    if not allowed.all():
        wrong = float(array[~allowed][0])
        hint = "" if name == "tau" or wrong else "; for epsilon = 0 see averse.games.nash and averse.games.security"
        raise AverseError(f"{words}, not {wrong:g}{hint}")
    return array


def checked_strategies(game: NormalForm, strategies: Sequence[ArrayLike]) -> list[np.ndarray]:
    """One float64 distribution per player of a single game; raises AverseError for anything else."""
    if game.batched:
        raise AverseError("give one game of the batch: game[i]")
    if len(strategies) != game.num_players:
        raise AverseError(f"a game of {game.num_players} players needs as many strategies, not {len(strategies)}")
    arrays = []
    for i, (given, size) in enumerate(zip(strategies, game.num_actions)):
        name = f"strategy of player {i + 1}"
        array = numbers(name, given)
        if array.shape != (size,):
            raise AverseError(f"{name} must have the shape {[size]}, not {list(array.shape)}")
        arrays.append(distributions(name, array))
    return arrays


def as_equilibrium(
    game: NormalForm, settings: Settings, strategies: Sequence[ArrayLike], method: str, tolerance: float = 1e-8
) -> Equilibrium:
    """A strategy profile of a single game with its values, residual and gap: the certificate of any solver."""
    profile = checked_strategies(game, strategies)
    with jax.enable_x64(True), np.errstate(divide="ignore"):
        matrices, aversion, epsilon, _ = flat_parameters(game, settings)
        log_x = [jnp.asarray(np.log(x)) for x in profile]
        found = _certify(settings.static, [m[0] for m in matrices], aversion[0], epsilon[0], log_x)
        values, residual, gap = map(np.asarray, found)
    return Equilibrium(
        game, settings, profile, values, residual, gap, np.array(0), np.asarray(residual <= tolerance), method
    )


def flat_parameters(game: NormalForm, settings: Settings) -> tuple[tuple[Array, ...], Array, Array, tuple[int, ...]]:
    """Payoff matrices [N, A_i, S_i], 1/tau [N, n], epsilon [N, n] with all batch axes in one, and the batch shape."""
    tau, epsilon = settings.per_player(game.num_players, batches=True)
    own = (game.num_games,) if game.batched else ()
    try:
        lead = np.broadcast_shapes(own, tau.shape[:-1], epsilon.shape[:-1])
    except ValueError:
        raise AverseError(
            f"batch shapes of game {own}, tau {tau.shape[:-1]} and epsilon {epsilon.shape[:-1]} do not broadcast"
        ) from None

    def flat(array, axes):
        tail = array.shape[array.ndim - axes :]
        return jnp.asarray(np.broadcast_to(array, lead + tail).reshape(-1, *tail))

    matrices = tuple(flat(matrix, 2) for matrix in game.matrices())
    return matrices, flat(1 / tau, 1), flat(epsilon, 1), lead


# --- equations of one game -------------------------------------------------------------------------------------------


def log_others(log_strategies: Sequence[Array], player: int) -> Array:
    """log of the others' joint play [S_i], in the order of `NormalForm.matrices`."""
    joint = jnp.zeros(1)
    for j, log_x in enumerate(log_strategies):
        if j != player:
            joint = (joint[:, None] + log_x[None, :]).reshape(-1)
    return joint


def gains(static: tuple[str, str, str], matrix: Array, log_x: Array, log_y: Array, aversion: Array) -> Array:
    """-df/dx [A]: what each own action is worth at the margin, given own play and the others' joint play."""
    penalty, _, form = static
    if form == "action-dependent":
        return -jax.vmap(lambda row: penalties.risk(penalty, -row, log_y, aversion))(matrix)
    belief = penalties.log_worst_belief(penalty, -jnp.exp(log_x) @ matrix, log_y, aversion)
    return matrix @ jnp.exp(belief)


def value(static: tuple[str, str, str], matrix: Array, log_x: Array, log_y: Array, aversion: Array) -> Array:
    """-f: the certainty equivalent of own play against the others'."""
    if static[2] == "action-dependent":
        return jnp.exp(log_x) @ gains(static, matrix, log_x, log_y, aversion)
    return -penalties.risk(static[0], -jnp.exp(log_x) @ matrix, log_y, aversion)


def certify(static, matrices, aversion, epsilon, log_x):
    """Values [n], residual and gap of a strategy profile.

    By convexity, a player's gain from deviating is at most its gain against the adversary held at its present reply
    (weak duality), which is epsilon times a Bregman divergence: a bound that costs nothing and is never negative.
    """
    values, errors, gaps = [], [], []
    for i, matrix in enumerate(matrices):
        log_y = log_others(log_x, i)
        gain = gains(static, matrix, log_x[i], log_y, aversion[i])
        answer = penalties.log_response(static[1], gain, epsilon[i])
        values.append(value(static, matrix, log_x[i], log_y, aversion[i]))
        errors.append(jnp.max(jnp.abs(jnp.exp(answer) - jnp.exp(log_x[i]))))
        gaps.append(epsilon[i] * penalties.bregman(static[1], log_x[i], answer))
    return jnp.stack(values), jnp.max(jnp.stack(errors)), jnp.max(jnp.stack(gaps))


_certify = partial(jax.jit, static_argnames=("static",))(certify)
