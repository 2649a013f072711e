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
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from averse.arguments import items
from averse.errors import AverseError
from averse.games import penalties
from averse.games.checks import numbers, per_player
from averse.games.normal_form import NormalForm, checked_game
from averse.games.penalties import Penalty, Regulariser
from averse.games.units import OwnUnits, in_own_units
from averse.planning.checks import distributions
from averse.settings import check_value

Form = Literal["aggregate", "action-dependent"]
MOST_ROUNDING = 1e-6  # a larger residual is never called converged, whatever float64 allows
_PRECISION = 4 * 2.0**-53


class Certificate(NamedTuple):
    """How good a strategy profile is, in the payoffs' own units. `...` is nothing, or an axis of games.

    Attributes:
      values: [..., n].
      residual: largest change of a probability if each player answered the others [...].
      rounding: about how much of the residual is rounding [...].
      gaps: bounds on what each player could gain [..., n].
    """

    values: Array
    residual: Array
    rounding: Array
    gaps: Array


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
        per_player("tau", self.tau, None)
        per_player("epsilon", self.epsilon, None)
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
      rounding: about how much of the residual is float64's own rounding [...]: large where payoffs are large against
        tau or epsilon.
      iterations: linear solves (direct) or rounds of play (no-regret) [...].
      converged: whether the residual reached the tolerance, or what rounding allows up to 1e-6 [...].
      method: "direct" or "no-regret", as it was asked for.
      history: for single games, "residual" by iteration; for no-regret play also "iteration" and "regret".
    """

    game: NormalForm
    settings: Settings
    strategies: list[np.ndarray]
    values: np.ndarray
    residual: np.ndarray
    gap: np.ndarray
    rounding: np.ndarray
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


def checked_strategies(game: NormalForm, strategies: Sequence[ArrayLike], name: str = "strategies") -> list[np.ndarray]:
    """One float64 distribution per player of a single game; raises AverseError for anything else."""
    game = checked_game(game)
    given = items(name, "a sequence of distributions, one per player", strategies)
    if len(given) != game.num_players:
        raise AverseError(f"{name} must be {game.num_players}, one distribution per player, not {len(given)}")
    arrays = []
    for i, (one, size) in enumerate(zip(given, game.num_actions)):
        array = numbers(f"{name}[{i}]", one)
        if array.shape != (size,):
            raise AverseError(f"{name}[{i}] must have the shape {[size]}, not {list(array.shape)}")
        arrays.append(distributions(f"{name}[{i}]", array))
    return arrays


def as_equilibrium(
    game: NormalForm, settings: Settings, strategies: Sequence[ArrayLike], method: str, tolerance: float = 1e-8
) -> Equilibrium:
    """A strategy profile of a single game with its values, residual and gap: the certificate of any solver."""
    profile = checked_strategies(game, strategies)
    own = flat_parameters(game, settings)
    with jax.enable_x64(True), np.errstate(divide="ignore"):
        log_x = [np.log(x) for x in profile]
        parameters = ([m[0] for m in own.matrices], own.aversion[0], own.epsilon[0])
        found = _certify(settings.static, *parameters, log_x)
    answers = in_reward(own, jax.tree.map(lambda leaf: np.asarray(leaf)[None], found), tolerance)
    return Equilibrium(game, settings, profile, **answers, iterations=np.array(0), method=method)


def flat_parameters(game: NormalForm, settings: Settings) -> OwnUnits:
    """What is to be solved, in the payoffs' own units, with all batch axes in one."""
    return in_own_units(game, *settings.per_player(game.num_players, batches=True))


def in_reward(own: OwnUnits, found: Certificate, tolerance: float) -> dict[str, Any]:
    """What a solver found out about N games, in units of reward, with the batch axes that the games have."""
    values, residual, rounding, gaps = (np.asarray(part) for part in found)
    return {
        "values": (own.units.centre + own.units.scale * values).reshape(*own.lead, -1),
        "residual": residual.reshape(own.lead),
        "gap": (own.units.scale * gaps).max(-1).reshape(own.lead),
        "rounding": rounding.reshape(own.lead),
        "converged": (residual <= tolerance + np.minimum(rounding, MOST_ROUNDING)).reshape(own.lead),
    }


# --- equations of one game -------------------------------------------------------------------------------------------


def log_others(log_strategies: Sequence[Array], player: int) -> Array:
    """log of the others' joint play [S_i], in the order of `NormalForm.matrices`."""
    joint = jnp.zeros(1)
    for j, log_x in enumerate(log_strategies):
        if j != player:
            joint = (joint[:, None] + log_x[None, :]).reshape(-1)
    return joint


def gains(
    static: tuple[str, str, str], matrix: Array, log_x: Array, log_y: Array, aversion: Array
) -> tuple[Array, Array]:
    """-df/dx [A]: what each own action is worth at the margin, given own play and the others' joint play.

    Also about how far rounding may move each, in units of float64's precision [A]: the sum itself rounds, and so do the
    logarithms of the belief and the costs in its exponent, which changes its probabilities.
    """
    penalty, _, form = static
    if form == "action-dependent":
        worth = -jax.vmap(lambda row: penalties.risk(penalty, -row, log_y, aversion))(matrix)
        return worth, 3 * jnp.max(jnp.abs(matrix), -1)
    log_p = penalties.log_worst_belief(penalty, -jnp.exp(log_x) @ matrix, log_y, aversion)
    belief, size = jnp.exp(log_p), jnp.abs(matrix)
    gain = matrix @ belief
    # Of 1/(gap + s), the reply under reverse KL, the relative error is that of the gap times p/y.
    steep = jnp.exp(jnp.minimum(log_p - log_y, 100.0)) if penalty == "reverse-kl" else 1.0
    weights = jnp.where(belief > 0, belief * (2 * aversion * steep * (jnp.exp(log_x) @ size) - log_y), 0.0)
    return gain, size @ belief + jnp.abs(matrix - gain[:, None]) @ weights


def response(regulariser: str, gain: Array, error: Array, epsilon: Array) -> tuple[Array, Array]:
    """log x [A], the answer to gains with such an error (see `gains`), and about how much of x is rounding."""
    answer = penalties.log_response(regulariser, gain, epsilon)
    x = jnp.exp(answer)
    return answer, _PRECISION * (1 + jnp.max(x * (1 - x)) * jnp.max(error) / epsilon)


def value(static: tuple[str, str, str], matrix: Array, log_x: Array, log_y: Array, aversion: Array) -> Array:
    """-f: the certainty equivalent of own play against the others'."""
    if static[2] == "action-dependent":
        return jnp.exp(log_x) @ gains(static, matrix, log_x, log_y, aversion)[0]
    return -penalties.risk(static[0], -jnp.exp(log_x) @ matrix, log_y, aversion)


def certify(static, matrices, aversion, epsilon, log_x) -> Certificate:
    """How good a strategy profile is.

    By convexity, a player's gain from deviating is at most its gain against the adversary held at its present reply
    (weak duality), which is epsilon times a Bregman divergence: a bound that costs nothing and is never negative.
    """
    values, errors, gaps, roundings = [], [], [], []
    for i, matrix in enumerate(matrices):
        log_y = log_others(log_x, i)
        gain, error = gains(static, matrix, log_x[i], log_y, aversion[i])
        answer, rounding = response(static[1], gain, error, epsilon[i])
        values.append(value(static, matrix, log_x[i], log_y, aversion[i]))
        errors.append(jnp.max(jnp.abs(jnp.exp(answer) - jnp.exp(log_x[i]))))
        gaps.append(epsilon[i] * penalties.bregman(static[1], log_x[i], answer))
        roundings.append(rounding)
    worst = (jnp.max(jnp.stack(errors)), jnp.max(jnp.stack(roundings)))
    return Certificate(jnp.stack(values), *worst, jnp.stack(gaps))


_certify = partial(jax.jit, static_argnames=("static",))(certify)
