"""Risk-averse quantal response equilibria of matrix games: `rqe`, its result, and how good a strategy profile is.

Every player i minimises f_i(x_i, x_others) + epsilon_i nu(x_i); at an RQE nobody can do better alone (Mazumdar,
Panaganti, Shi, ICLR 2025). Two forms, with different equilibria:

  "aggregate"         one adversary per player, who changes the others' joint play y for the player's whole mix:
                      f(x, y) = sup over p of [-x'R p - tau D(p, y)]
  "action-dependent"  the risk of each own action apart: f(x, y) = -sum_a x_a CE_a,
                      CE_a = inf over p of [R_a p + tau D(p, y)]

With more than two players the adversary of player i moves the *joint* play of the others, correlations included:
D(p, product of x_j, j != i). This is what keeps its problem concave, and the derived condition of `tractability` true.

The direct solver writes an equilibrium as the fixed point of the players' answers in logit coordinates, and follows
it from payoffs scaled by t = 0, where the uniform profile is the only one, to t = 1 (`continuation`). Scaling payoffs
by t is the same as scaling (tau, epsilon) by 1/t, so that a game inside the tractable region stays inside all along.
Elsewhere the path ends at the principal branch, as Gambit's logit solver does; other equilibria may exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from averse.errors import AverseError, unknown_name
from averse.games import penalties
from averse.games.continuation import follow, follow_one
from averse.games.normal_form import NormalForm

FORMS = ("aggregate", "action-dependent")
METHODS = ("direct", "no-regret")


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
    penalty: str = "kl"
    regulariser: str = "log-barrier"
    form: str = "aggregate"

    def __post_init__(self):
        for kind, name, allowed in (
            ("penalty", self.penalty, penalties.PENALTIES),
            ("regulariser", self.regulariser, penalties.REGULARISERS),
            ("form", self.form, FORMS),
        ):
            if name not in allowed:
                raise unknown_name(kind, str(name), allowed)

    def per_player(self, players: int) -> tuple[np.ndarray, np.ndarray]:
        """tau and epsilon as float64 arrays [..., n]."""
        return _per_player("tau", self.tau, players), _per_player("epsilon", self.epsilon, players)

    @property
    def static(self) -> tuple[str, str, str]:
        return self.penalty, self.regulariser, self.form


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """What a solver found. `...` is the batch shape, () for a single game.

    Attributes:
      strategies: one array per player [..., A_i].
      values: what the game is worth to each player at its risk, -f_i [..., n], in units of reward.
      residual: largest change of any probability if each player answered the others (and its own adversary), [...].
      gap: an upper bound on what any player could gain by deviating, regulariser included, in units of reward [...].
      iterations: linear solves (direct) or rounds of play (no-regret) [...].
      converged: whether the residual reached the tolerance [...].
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


def rqe(
    game: NormalForm,
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: str = "kl",
    regulariser: str = "log-barrier",
    form: str = "aggregate",
    method: str = "direct",
    tolerance: float = 1e-12,
    max_iterations: int | None = None,
) -> Equilibrium:
    """A risk-averse quantal response equilibrium of a game, of a batch of games, or of a grid of settings.

    Args:
      game: single or batched [B, ...].
      tau, epsilon: a number, one per player [n], or a batch [..., n] that broadcasts with the games' batch axis; units
        of reward. All combinations are solved in one compiled call.
      penalty, regulariser, form: see `averse.games.penalties` and this module.
      method: "direct" follows the principal branch; "no-regret" lets the players and their adversaries learn
        (`averse.games.no_regret`), the algorithm of the theory.
      tolerance: residual at which to stop.
      max_iterations: 5,000 linear solves for the direct method, 200,000 rounds of no-regret play, if not given.

    Raises:
      AverseError: for bad settings. A game that did not converge is no error: look at `converged` and `residual`.
    """
    settings = Settings(tau, epsilon, penalty, regulariser, form)
    if method not in METHODS:
        raise unknown_name("method", str(method), METHODS)
    if method == "no-regret":
        from averse.games.no_regret import play

        return play(game, settings, tolerance, max_iterations or 200_000)
    with jax.enable_x64(True):
        matrices, aversion, weights, lead = flat_parameters(game, settings)
        most = max_iterations or 5000
        static = settings.static if aversion.any() else (penalties.NEUTRAL, *settings.static[1:])
        found = _solve(static, game.num_actions, matrices, aversion, weights, tolerance, most, not lead)
        log_strategies, values, residual, gap, iterations, trace = jax.tree.map(np.asarray, found)
    return Equilibrium(
        game=game,
        settings=settings,
        strategies=[np.exp(log_x).reshape(*lead, -1) for log_x in log_strategies],
        values=values.reshape(*lead, -1),
        residual=residual.reshape(lead),
        gap=gap.reshape(lead),
        iterations=iterations.reshape(lead),
        converged=(residual <= tolerance).reshape(lead),
        history={} if lead else {"residual": trace[: int(iterations[0])]},
    )


def best_response(
    game: NormalForm,
    strategies: Sequence[ArrayLike],
    player: int,
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: str = "kl",
    regulariser: str = "log-barrier",
    form: str = "aggregate",
) -> np.ndarray:
    """The strategy [A_i] that minimises f_i + epsilon nu for player i (from 0) when the others play `strategies`.

    A convex problem with one solution, found to rounding error. The entry of `strategies` for the player itself is not
    used. Raises AverseError for bad settings, strategies or player.
    """
    settings = Settings(tau, epsilon, penalty, regulariser, form)
    if not 0 <= player < game.num_players:
        raise AverseError(f"player must be 0 to {game.num_players - 1}, not {player}")
    return _responses(game, checked_strategies(game, strategies), settings)[player][0]


def regret(
    game: NormalForm,
    strategies: Sequence[ArrayLike],
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: str = "kl",
    regulariser: str = "log-barrier",
    form: str = "aggregate",
) -> np.ndarray:
    """What each player could gain by deviating alone [n]: f_i + epsilon nu now, less its minimum; units of reward.

    Infinite under the log barrier for a strategy on the boundary. Zero for all players exactly at an RQE.
    Raises AverseError for bad settings or strategies.
    """
    settings = Settings(tau, epsilon, penalty, regulariser, form)
    return np.array([gain for _, gain in _responses(game, checked_strategies(game, strategies), settings)])


def checked_strategies(game: NormalForm, strategies: Sequence[ArrayLike]) -> list[np.ndarray]:
    """One float64 distribution per player of a single game; raises AverseError for anything else."""
    if game.batched:
        raise AverseError("give one game of the batch: game[i]")
    if len(strategies) != game.num_players:
        raise AverseError(f"a game of {game.num_players} players needs as many strategies, not {len(strategies)}")
    arrays = []
    for i, (given, size) in enumerate(zip(strategies, game.num_actions)):
        array = np.asarray(given, dtype=float)
        if array.shape != (size,) or not (array >= 0).all() or abs(array.sum() - 1) > 1e-8:
            raise AverseError(f"strategy of player {i + 1} must be {size} probabilities that sum to 1, not {given}")
        arrays.append(array / array.sum())
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
    tau, epsilon = settings.per_player(game.num_players)
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


def _log_strategies(z: Array, sizes: Sequence[int]) -> list[Array]:
    """The players' log strategies from logits relative to each one's last action."""
    result, begin = [], 0
    for size in sizes:
        result.append(jax.nn.log_softmax(jnp.append(z[begin : begin + size - 1], 0.0)))
        begin += size - 1
    return result


def _game_residual(static, sizes):
    """The fixed-point equations of all players at payoffs scaled by t, and the largest change of a probability."""

    def residual(parameters, z, t):
        matrices, aversion, epsilon = parameters
        log_x = _log_strategies(z, sizes)
        answers = []
        for i, matrix in enumerate(matrices):
            gain = gains(static, t * matrix, log_x[i], log_others(log_x, i), aversion[i])
            answers.append(penalties.log_response(static[1], gain, epsilon[i]))
        return _difference(z, log_x, answers)

    return residual


def _response_residual(static, size):
    """The same for one player against fixed others."""

    def residual(parameters, z, t):
        matrix, log_y, aversion, epsilon = parameters
        (log_x,) = _log_strategies(z, [size])
        gain = gains(static, t * matrix, log_x, log_y, aversion)
        return _difference(z, [log_x], [penalties.log_response(static[1], gain, epsilon)])

    return residual


def _difference(z, log_x, answers):
    logits = jnp.concatenate([answer[:-1] - answer[-1] for answer in answers])
    error = jnp.max(jnp.array([jnp.max(jnp.abs(jnp.exp(a) - jnp.exp(b))) for a, b in zip(log_x, answers)]))
    return z - logits, error


# --- compiled solvers ------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("static", "sizes", "most", "record"))
def _solve(static, sizes, matrices, aversion, epsilon, tolerance, most, record):
    residual = _game_residual(static, sizes)
    parameters = (matrices, aversion, epsilon)
    unknowns = sum(sizes) - len(sizes)
    if record and unknowns:
        lane, trace = follow_one(residual, jax.tree.map(lambda leaf: leaf[0], parameters), unknowns, tolerance, most)
        lanes = jax.tree.map(lambda leaf: leaf[None], lane)
    else:
        lanes, trace = follow(residual, parameters, unknowns, aversion.shape[0], tolerance, most), jnp.zeros(0)

    def certificate(parameters, z):
        matrices, aversion, epsilon = parameters
        log_x = _log_strategies(z, sizes)
        return *certify(static, matrices, aversion, epsilon, log_x), log_x

    values, error, gap, log_x = jax.vmap(certificate)(parameters, lanes.point[:, :-1])
    return log_x, values, error, gap, lanes.iterations, trace


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


@partial(jax.jit, static_argnames=("static",))
def _respond(static, matrix, log_y, aversion, epsilon):
    size = matrix.shape[0]
    if size == 1:
        return jnp.zeros(1)
    lane, _ = follow_one(_response_residual(static, size), (matrix, log_y, aversion, epsilon), size - 1, 1e-15, 5000)
    return _log_strategies(lane.point[:-1], [size])[0]


def _responses(game: NormalForm, strategies: list[np.ndarray], settings: Settings) -> list[tuple[np.ndarray, float]]:
    """Each player's best response and what it gains over the present strategy."""
    tau, epsilon = settings.per_player(game.num_players)
    if tau.ndim + epsilon.ndim > 2:
        raise AverseError("tau and epsilon must be numbers or one per player here, not batches")
    result = []
    with jax.enable_x64(True), np.errstate(divide="ignore"):
        log_x = [jnp.asarray(np.log(x)) for x in strategies]
        for i, matrix in enumerate(game.matrices()):
            log_y, aversion = log_others(log_x, i), 1 / tau[i]
            answer = _respond(settings.static, matrix, log_y, aversion, epsilon[i])

            def total(log_own, i=i, matrix=matrix, log_y=log_y, aversion=aversion):
                worth = value(settings.static, jnp.asarray(matrix), log_own, log_y, aversion)
                weights = jnp.exp(log_own)
                if settings.regulariser == "entropy":
                    nu = jnp.sum(jnp.where(weights > 0, weights * log_own, 0.0))
                else:
                    nu = penalties.irregularity("log-barrier", log_own)
                return float(worth - epsilon[i] * nu)

            result.append((np.exp(np.asarray(answer)), max(total(answer) - total(log_x[i]), 0.0)))
    return result


def _per_player(name: str, given: Any, players: int) -> np.ndarray:
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise AverseError(f"{name} must be a number or one per player, not {given!r}") from None
    if array.ndim == 0:
        array = np.broadcast_to(array, (players,))
    if array.shape[-1] != players:
        raise AverseError(f"{name} must be one number or one per player ({players}), not {array.shape[-1]} of them")
    if name == "tau" and not (array > 0).all():
        raise AverseError(f"tau, the risk tolerance, must be above 0 (inf is neutral), not {_first(array, array > 0)}")
    if name == "epsilon" and not ((array > 0) & (array < np.inf)).all():
        wrong = _first(array, (array > 0) & (array < np.inf))
        hint = "; for epsilon = 0 see averse.games.nash and averse.games.security" if wrong == 0 else ""
        raise AverseError(f"epsilon must be above 0 and finite, not {wrong:g}{hint}")
    return array


def _first(array: np.ndarray, accepted: np.ndarray) -> float:
    return float(array[~accepted][0])
