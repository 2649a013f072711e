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

import numpy as np
from numpy.typing import ArrayLike

from averse.games.checks import per_player
from averse.games.markov import MarkovGame, checked_profile
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
