"""How good given strategies are in a Markov game, exactly: what they are worth, and what each player could still gain.

Risk is that of the action-dependent form (`averse.games.rqe`), of a player facing the others' play and the world:

  CE_i(s, a_i) = -tau log E[exp(-(r_i + gamma V_i(s')) / tau)]   over the others' actions and what happens next
  V_i(s) = sum_a pi_i(a | s) CE_i(s, a)

The best response takes the maximum over a instead. At tau = inf these are the expected returns.

Axes: H steps, S states, n players, A_i actions, K outcomes.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from averse.games.checks import per_player
from averse.games.equilibrium import Form, certify, flat_parameters
from averse.games.markov import MarkovGame, checked_profile, look_ahead, stage_settings
from averse.games.normal_form import NormalForm
from averse.games.penalties import Penalty, Regulariser
from averse.planning.numerics import entropic


@dataclass(frozen=True, eq=False)
class Score:
    """What strategies are worth from the start of a game, in units of reward.

    Attributes:
      values: certainty equivalent of each player [n].
      best_responses: what each player could get alone, against the others as they are [n].
      state_values: the values by time and state [H + 1, n, S]; 0 after the last step.
    """

    values: np.ndarray
    best_responses: np.ndarray
    state_values: np.ndarray

    @property
    def regrets(self) -> np.ndarray:
        """What each player gives away, at least 0 [n]."""
        return self.best_responses - self.values

    @property
    def nash_conv(self) -> float:
        """The sum of the regrets: 0 exactly at an equilibrium without bounded rationality."""
        return float(self.regrets.sum())


def score(game: MarkovGame, strategies: Sequence[ArrayLike], tau: ArrayLike = np.inf) -> Score:
    """Score strategies by backward induction.

    Args:
      strategies: one array per player [H, S, A_i], as in `MarkovSolution`.
      tau: risk tolerance in units of reward, a number or one per player; inf is risk-neutral.

    Raises:
      AverseError: for strategies of the wrong shape or that are no probabilities, or a tau that is not positive.
    """
    profile = checked_profile(game, strategies)
    taus = per_player("tau", tau, game.num_players)
    values, best = np.zeros((2, game.horizon + 1, game.num_players, game.num_states))
    for step in reversed(range(game.horizon)):
        now = [x[step] for x in profile]
        for i, own in enumerate(now):
            values[step, i] = (own * _equivalents(game, i, now, values[step + 1, i], taus[i])).sum(-1)
            best[step, i] = _equivalents(game, i, now, best[step + 1, i], taus[i]).max(-1)
    return Score(values[0, :, game.start], best[0, :, game.start], values)


@dataclass(frozen=True, eq=False)
class EquilibriumGap:
    """How far strategies of a Markov game are from its RQE, in units of reward.

    Attributes:
      gaps: a bound on what each player could gain [n], at least 0, and 0 exactly at an RQE: the sum over the steps of
        an episode, discounted, of its gain in the stage game of the state that is reached.
      values: what the strategies are worth to each player from the start [n].
      state_gaps: the gains in the stage games, by time and state [H, n, S].
      state_values: the values by time and state [H + 1, n, S]; 0 after the last step.
    """

    gaps: np.ndarray
    values: np.ndarray
    state_gaps: np.ndarray
    state_values: np.ndarray


def equilibrium_gap(
    game: MarkovGame,
    strategies: Sequence[ArrayLike],
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
    transition_tau: ArrayLike | None = None,
) -> EquilibriumGap:
    """What is left to gain for players who are risk-averse and boundedly rational, exactly.

    In the stage game of a state the others play as they do, and what comes after is worth what the strategies
    themselves make of it. A player's gain there, its regulariser included, is bounded as that of an `Equilibrium`
    (`gap`). Infinite under the log barrier for an action that is never played.

    Args:
      strategies: one array per player [H, S, A_i], as in `MarkovSolution`.
      tau, epsilon, penalty, regulariser, form, transition_tau: of the stage games, as in `solve_markov`.

    Raises AverseError for strategies of the wrong shape or that are no probabilities, and for bad settings.
    """
    profile = checked_profile(game, strategies)
    n, states = game.num_players, game.num_states
    settings, chance_tau = stage_settings(game, tau, epsilon, penalty, regulariser, form, transition_tau)
    values, gaps = np.zeros((game.horizon + 1, n, states)), np.zeros((game.horizon, n, states))
    for step in reversed(range(game.horizon)):
        own = flat_parameters(NormalForm(look_ahead(game, values[step + 1], chance_tau), batched=True), settings)
        with jax.enable_x64(True), np.errstate(divide="ignore"):
            log_x = [jnp.asarray(np.log(x[step])) for x in profile]
            found = _certify_all(settings.static, own.matrices, own.aversion, own.epsilon, log_x)
        values[step] = (own.units.centre + own.units.scale * np.asarray(found.values)).T
        gaps[step] = (own.units.scale * np.asarray(found.gaps)).T
    reached = _reached(game, profile)
    discounts = game.gamma ** np.arange(game.horizon)
    with np.errstate(invalid="ignore"):  # an infinite gain where nobody comes
        total = np.where(reached[:, None] > 0, discounts[:, None, None] * reached[:, None] * gaps, 0.0).sum((0, 2))
    return EquilibriumGap(total, values[0, :, game.start], gaps, values)


@functools.partial(jax.jit, static_argnames=("static",))
def _certify_all(static, matrices, aversion, epsilon, log_x):
    return jax.vmap(functools.partial(certify, static))(matrices, aversion, epsilon, log_x)


def _reached(game: MarkovGame, profile: list[np.ndarray]) -> np.ndarray:
    """The probability of being in each state, by time [H, S]."""
    chance, lead = np.asarray(game.probabilities), np.asarray(game.next_states)
    now: np.ndarray = np.zeros(game.num_states)
    now[game.start] = 1.0
    reached = []
    for step in range(game.horizon):
        reached.append(now)
        play = functools.reduce(np.multiply, (_along(x[step], i, game.num_players) for i, x in enumerate(profile)))
        weights = now.reshape(-1, *[1] * (chance.ndim - 1)) * chance * play
        now = np.bincount(lead.ravel(), weights.ravel(), minlength=game.num_states)
    return np.stack(reached)


def _equivalents(game: MarkovGame, player: int, now: list[np.ndarray], later: np.ndarray, tau: float) -> np.ndarray:
    """CE_i(s, a_i) [S, A_i], from the strategies of this step `now` [S, A_j] and the player's values `later` [S]."""
    chance = np.asarray(game.probabilities)
    others = [_along(x, j, game.num_players) for j, x in enumerate(now) if j != player]
    weights = chance * functools.reduce(np.multiply, others)
    worth = np.asarray(game.rewards)[player] + game.gamma * later[np.asarray(game.next_states)]
    # [S, A_i, all that the player does not choose]
    weights, worth = (np.moveaxis(x, 1 + player, 1).reshape(*now[player].shape, -1) for x in (weights, worth))
    return entropic(worth, weights, tau)


def _along(strategy: np.ndarray, player: int, players: int) -> np.ndarray:
    """[S, A_j] with length 1 for the other players' actions and the outcomes: [S, 1, ..., A_j, ..., 1]."""
    shape = [strategy.shape[0], *[1] * players, 1]
    shape[1 + player] = strategy.shape[1]
    return strategy.reshape(shape)
