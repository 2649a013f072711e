"""Risk-averse quantal response equilibria of matrix games: `rqe`, best responses, and regret.

The direct solver writes an equilibrium as the fixed point of the players' answers in logit coordinates, and follows
it from payoffs scaled by t = 0, where the uniform profile is the only one, to t = 1 (`continuation`). Scaling payoffs
by t is the same as scaling (tau, epsilon) by 1/t, so that a game inside the tractable region stays inside all along.
Elsewhere the path ends at the principal branch, as Gambit's logit solver does; other equilibria may exist.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from jax import Array
from numpy.typing import ArrayLike

from averse.arguments import instance
from averse.errors import AverseError
from averse.games import no_regret, penalties
from averse.games.continuation import follow, follow_one
from averse.games.equilibrium import (
    MOST_ROUNDING,
    Equilibrium,
    Form,
    Settings,
    certify,
    checked_strategies,
    flat_parameters,
    gains,
    in_reward,
    log_others,
    response,
    value,
)
from averse.games.normal_form import NormalForm, checked_game
from averse.games.penalties import Penalty, Regulariser
from averse.settings import NonNegative, Whole, check_value

Method = Literal["direct", "no-regret"]
Most = Annotated[int, Ge(1), Le(10_000_000)]


def rqe(
    game: NormalForm,
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
    method: Method = "direct",
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
      tolerance: residual at which to stop, or at what rounding allows if that is more.
      max_iterations: 5,000 linear solves for the direct method, 200,000 rounds of no-regret play, if not given; at most
        10 million.

    Raises:
      AverseError: for a game or settings that are none. A game that did not converge is no error: look at `converged`
        and `residual`.
    """
    instance("game", NormalForm, game)
    settings = Settings(tau, epsilon, penalty, regulariser, form)
    tolerance = check_value("tolerance", NonNegative, tolerance)
    most = check_value("max_iterations", Most | None, max_iterations)
    if check_value("method", Method, method) == "no-regret":
        return no_regret.play(game, settings, tolerance, most or 200_000)
    return _direct(game, settings, tolerance, most or 5000)


def best_response(
    game: NormalForm,
    strategies: Sequence[ArrayLike],
    player: int,
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
) -> np.ndarray:
    """The strategy [A_i] that minimises f_i + epsilon nu for player i (from 0) when the others play `strategies`.

    A convex problem with one solution, found to rounding error. The entry of `strategies` for the player itself is not
    used. Raises AverseError for bad settings, strategies or player.
    """
    checked_game(game)
    settings = Settings(tau, epsilon, penalty, regulariser, form)
    if check_value("player", Whole, player) >= game.num_players:
        raise AverseError(f"player must be 0 to {game.num_players - 1}, not {player}")
    return _responses(game, checked_strategies(game, strategies), settings)[player][0]


def regret(
    game: NormalForm,
    strategies: Sequence[ArrayLike],
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
) -> np.ndarray:
    """What each player could gain by deviating alone [n]: f_i + epsilon nu now, less its minimum; units of reward.

    Infinite under the log barrier for a strategy on the boundary. Zero for all players exactly at an RQE.
    Raises AverseError for bad settings or strategies.
    """
    checked_game(game)
    settings = Settings(tau, epsilon, penalty, regulariser, form)
    return np.array([gain for _, gain in _responses(game, checked_strategies(game, strategies), settings)])


# --- equations of one game -------------------------------------------------------------------------------------------


def _log_strategies(z: Array, sizes: Sequence[int]) -> list[Array]:
    """The players' log strategies from logits relative to each one's last action."""
    result, begin = [], 0
    for size in sizes:
        result.append(jax.nn.log_softmax(jnp.append(z[begin : begin + size - 1], 0.0)))
        begin += size - 1
    return result


def _game_residual(static, sizes):
    """The fixed-point equations of all players at payoffs scaled by t, with the largest change of a probability."""

    def residual(parameters, z, t):
        matrices, aversion, epsilon = parameters
        log_x = _log_strategies(z, sizes)
        answers = []
        for i, matrix in enumerate(matrices):
            gain = gains(static, t * matrix, log_x[i], log_others(log_x, i), aversion[i])
            answers.append(response(static[1], *gain, epsilon[i]))
        return _difference(z, log_x, answers)

    return residual


def _response_residual(static, size):
    """The same for one player against fixed others."""

    def residual(parameters, z, t):
        matrix, log_y, aversion, epsilon = parameters
        (log_x,) = _log_strategies(z, [size])
        gain = gains(static, t * matrix, log_x, log_y, aversion)
        return _difference(z, [log_x], [response(static[1], *gain, epsilon)])

    return residual


def _difference(z, log_x, responses):
    answers, roundings = zip(*responses)
    logits = jnp.concatenate([answer[:-1] - answer[-1] for answer in answers])
    error = jnp.max(jnp.array([jnp.max(jnp.abs(jnp.exp(a) - jnp.exp(b))) for a, b in zip(log_x, answers)]))
    return z - logits, error, jnp.minimum(jnp.max(jnp.stack(roundings)), MOST_ROUNDING)


# --- solvers --------------------------------------------------------------------------------------------------------


def _direct(game: NormalForm, settings: Settings, tolerance: float, most: int) -> Equilibrium:
    """The equilibrium at the end of the path, with its certificate."""
    own = flat_parameters(game, settings)
    static = settings.static if own.aversion.any() else (penalties.NEUTRAL, *settings.static[1:])
    parameters = (own.matrices, own.aversion, own.epsilon)
    with jax.enable_x64(True):
        found = _solve(static, game.num_actions, *parameters, tolerance, most, not own.lead)
        log_strategies, certificate, iterations, trace = jax.tree.map(np.asarray, found)
    return Equilibrium(
        game=game,
        settings=settings,
        strategies=[np.exp(log_x).reshape(*own.lead, -1) for log_x in log_strategies],
        **in_reward(own, certificate, tolerance),
        iterations=iterations.reshape(own.lead),
        history={} if own.lead else {"residual": trace[: int(iterations[0])]},
    )


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
        return certify(static, matrices, aversion, epsilon, log_x), log_x

    found, log_x = jax.vmap(certificate)(parameters, lanes.point[:, :-1])
    return log_x, found, lanes.iterations, trace


@partial(jax.jit, static_argnames=("static",))
def _respond(static, matrix, log_y, aversion, epsilon):
    size = matrix.shape[0]
    if size == 1:
        return jnp.zeros(1)
    lane, _ = follow_one(_response_residual(static, size), (matrix, log_y, aversion, epsilon), size - 1, 1e-15, 5000)
    return _log_strategies(lane.point[:-1], [size])[0]


@partial(jax.jit, static_argnames=("static",))
def _objective(static, matrix, log_own, log_y, aversion, epsilon):
    """What a player maximises, -f - epsilon nu; probabilities of zero are allowed."""
    if static[1] == "entropy":
        weights = jnp.exp(log_own)
        nu = jnp.sum(jnp.where(weights > 0, weights * log_own, 0.0))
    else:
        nu = penalties.irregularity("log-barrier", log_own)
    return value(static, matrix, log_own, log_y, aversion) - epsilon * nu


def _responses(game: NormalForm, strategies: list[np.ndarray], settings: Settings) -> list[tuple[np.ndarray, float]]:
    """Each player's best response and what it gains over the present strategy, in units of reward."""
    settings.per_player(game.num_players)  # no batch
    own = flat_parameters(game, settings)
    result = []
    with jax.enable_x64(True), np.errstate(divide="ignore"):
        log_x = [jnp.asarray(np.log(x)) for x in strategies]
        for i, matrices in enumerate(own.matrices):
            matrix, aversion, epsilon = matrices[0], own.aversion[0, i], own.epsilon[0, i]
            log_y = log_others(log_x, i)
            against = (log_y, aversion, epsilon)
            answer = _respond(settings.static, matrix, *against)
            best, present = (float(_objective(settings.static, matrix, x, *against)) for x in (answer, log_x[i]))
            gain = max(best - present, 0.0) * float(own.units.scale[0, i])
            result.append((np.exp(np.asarray(answer)), gain))
    return result
