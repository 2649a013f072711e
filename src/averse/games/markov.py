"""Markov games of finite horizon, solved backwards: a stage RQE in every state, risk over what the world does next.

With values V' one step ahead, the stage game of a state has the payoffs

  Q_i(s, a) = risk_i over outcomes k of [r_i(s, a, k) + gamma V'_i(s'(s, a, k))],   risk_i = -tau log E exp(-./tau)

its RQE gives the strategies, and V_i(s) = -f_i there: the certainty equivalent of facing the others' mixed play
(Mazumdar, Panaganti, Shi 2025; values without the regulariser, so that they stay in units of reward).

Axes: S states, n players, A_i actions, K outcomes, H steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import ArrayLike

from averse.arguments import instance, items
from averse.errors import AverseError, shown
from averse.games.checks import numbers, per_player
from averse.games.equilibrium import Equilibrium, Form, Settings
from averse.games.normal_form import NormalForm
from averse.games.penalties import Penalty, Regulariser
from averse.games.rqe import rqe
from averse.planning.checks import distributions
from averse.planning.numerics import entropic
from averse.settings import Count, Fraction, NonNegative, Seed, Whole, check_value

Episodes = Annotated[int, Ge(1), Le(1_000_000_000)]


@dataclass(frozen=True, eq=False)
class MarkovGame:
    """A finite game in which the joint action decides, by chance, rewards and the next state.

    Args:
      probabilities: [S, A_1, ..., A_n, K] of the K outcomes of each joint action; each row sums to 1.
      next_states: int [S, A_1, ..., A_n, K], where each outcome leads.
      rewards: [n, S, A_1, ..., A_n, K], or with 1 in place of K where rewards do not depend on the outcome.
      horizon: number of steps, at least 1.
      gamma: discount factor in [0, 1].
      start: the state episodes start in.

    Raises:
      AverseError: for shapes that do not fit, probabilities that are none, states out of range, non-finite rewards.
    """

    probabilities: ArrayLike
    next_states: ArrayLike
    rewards: ArrayLike
    horizon: int
    gamma: float = 1.0
    start: int = 0

    def __post_init__(self):
        chance = numbers("probabilities", self.probabilities)
        lead = _whole_numbers("next_states", self.next_states)
        rewards = numbers("rewards", self.rewards)
        if chance.ndim < 4:
            raise AverseError(f"probabilities must be [S, A_1, ..., A_n, K] with n >= 2, not shape {chance.shape}")
        players, states = chance.ndim - 2, chance.shape[0]
        if chance.size == 0:
            raise AverseError(f"probabilities need a state, an action each and an outcome, not shape {chance.shape}")
        if lead.shape != chance.shape:
            raise AverseError(f"next_states must have shape {chance.shape}, as probabilities, not {lead.shape}")
        allowed = [(players, *chance.shape[:-1], outcomes) for outcomes in (1, chance.shape[-1])]
        if rewards.shape not in allowed:
            raise AverseError(f"rewards must have shape {allowed[-1]} (or 1 for the last axis), not {rewards.shape}")
        if lead.min() < 0 or lead.max() >= states:
            raise AverseError(f"next_states must be 0 to {states - 1}, not {lead.min()} to {lead.max()}")
        chance = distributions("probabilities", chance)
        for name, kind in (("horizon", Count), ("gamma", Fraction), ("start", Whole)):
            object.__setattr__(self, name, check_value(name, kind, getattr(self, name)))
        if self.start >= states:
            raise AverseError(f"start must be a state from 0 to {states - 1}, not {self.start}")
        for name, array in (("probabilities", chance), ("next_states", lead.astype(np.int32)), ("rewards", rewards)):
            object.__setattr__(self, name, array)

    @classmethod
    def from_tables(
        cls, rewards: ArrayLike, transitions: ArrayLike, horizon: int, gamma: float = 1.0, start: int = 0
    ) -> "MarkovGame":
        """From full tables: rewards [n, S, A_1, ..., A_n] and transitions [S, A_1, ..., A_n, S].

        Raises AverseError as building one does.
        """
        chance = numbers("transitions", transitions)
        if chance.ndim < 4 or chance.shape[0] != chance.shape[-1]:
            raise AverseError(f"transitions must be [S, A_1, ..., A_n, S] with n >= 2, not shape {chance.shape}")
        states = np.broadcast_to(np.arange(chance.shape[-1]), chance.shape)
        return cls(chance, states, numbers("rewards", rewards)[..., None], horizon, gamma, start)

    @property
    def num_players(self) -> int:
        """n."""
        return np.ndim(self.probabilities) - 2

    @property
    def num_states(self) -> int:
        """S."""
        return np.shape(self.probabilities)[0]

    @property
    def num_actions(self) -> tuple[int, ...]:
        """A_1, ..., A_n."""
        return np.shape(self.probabilities)[1:-1]


@dataclass(frozen=True, eq=False)
class MarkovSolution:
    """Strategies and values by time.

    Attributes:
      strategies: one array per player [H, S, A_i].
      values: [H + 1, n, S]: the certainty equivalent of the rest of the game; 0 after the last step.
      residual: the largest residual of a stage game, by time [H].
    """

    strategies: list[np.ndarray]
    values: np.ndarray
    residual: np.ndarray


@dataclass(frozen=True, eq=False)
class MarkovPlay:
    """What players of a Markov game have learned.

    Attributes:
      strategies: one array per player [H, S, A_i]; uniform in states that were never visited.
      values: what the players hold each state to be worth [T, n, S], units of reward; T is H, or 1 if stationary.
      visits: how often each state was played [T, S].
      history: after so many "episodes" [L], what the strategies are worth from the start, "values" [L, n], and what
        each player could gain, "gap" [L, n]: both exact, of the game's own tables (`equilibrium_gap`). Of
        `learn_optimistic` also "regret".
    """

    strategies: list[np.ndarray]
    values: np.ndarray
    visits: np.ndarray
    history: dict[str, np.ndarray]


def solve_markov(
    game: MarkovGame,
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
    transition_tau: ArrayLike | None = None,
    tolerance: float = 1e-10,
) -> MarkovSolution:
    """Backward induction. Every step solves the stage games of all states in one compiled call.

    Args:
      tau, epsilon, penalty, regulariser, form: of the stage games, as in `rqe`; a number or one per player [n].
      transition_tau: risk tolerance over outcomes, if it is not `tau`; inf for the mean.

    Raises:
      AverseError: for bad settings, or a stage game that did not converge (it names the step).
    """
    settings, chance_tau = stage_settings(game, tau, epsilon, penalty, regulariser, form, transition_tau)
    check_value("tolerance", NonNegative, tolerance)
    values = [np.zeros((game.num_players, game.num_states))]
    strategies, residuals = [], []
    for step in reversed(range(game.horizon)):
        stages = NormalForm(look_ahead(game, values[-1], chance_tau), batched=True)
        stage = stage_equilibria(stages, settings, tolerance, step)
        values.append(stage.values.T)
        strategies.append(stage.strategies)
        residuals.append(stage.residual.max())
    return MarkovSolution(
        strategies=[np.stack(by_time[::-1]) for by_time in zip(*strategies)],
        values=np.stack(values[::-1]),
        residual=np.array(residuals[::-1]),
    )


def stage_settings(
    game: MarkovGame,
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: Penalty,
    regulariser: Regulariser,
    form: Form,
    transition_tau: ArrayLike | None,
) -> tuple[Settings, np.ndarray]:
    """How players are in the stage games, and their risk tolerance over what the world does next [n].

    Raises AverseError for what is no Markov game, and settings out of range or not one per player.
    """
    n = instance("game", MarkovGame, game).num_players
    settings = Settings(tau, epsilon, penalty, regulariser, form)
    settings.per_player(n)
    return settings, per_player("transition_tau", tau if transition_tau is None else transition_tau, n)


def stage_equilibria(stages: NormalForm, settings: Settings, tolerance: float, step: int) -> Equilibrium:
    """The RQE of the stage games of all states. Raises AverseError for one that did not converge, with its state."""
    how = (settings.tau, settings.epsilon, settings.penalty, settings.regulariser, settings.form)
    stage = rqe(stages, *how, tolerance=tolerance)
    if not stage.converged.all():
        state = int(np.argmax(stage.residual))
        raise AverseError(f"stage game of state {state} at step {step} left a residual {stage.residual.max():.1e}")
    return stage


def simulate(
    game: MarkovGame, strategies: Sequence[ArrayLike], episodes: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Play episodes: discounted returns [episodes, n] and the states visited [episodes, H + 1].

    `strategies` as in `MarkovSolution`. Raises AverseError for strategies of the wrong shape or that are none, for
    other wrong arguments, and for more episodes than memory holds.
    """
    profile = checked_profile(game, strategies)
    check_value("episodes", Count, episodes)
    generator = np.random.default_rng(check_value("seed", Seed, seed))
    chance, lead, rewards = (np.asarray(a) for a in (game.probabilities, game.next_states, game.rewards))
    try:
        states = np.full((episodes, game.horizon + 1), game.start)
        returns = np.zeros((episodes, game.num_players))
    except (MemoryError, OverflowError, ValueError):
        raise AverseError(f"episodes = {shown(episodes)} of {game.horizon} steps are more than memory holds") from None
    for step in range(game.horizon):
        now = states[:, step]
        actions = tuple(draw(generator, x[step, now]) for x in profile)
        outcome = draw(generator, chance[(now, *actions)])
        paid = outcome if rewards.shape[-1] > 1 else np.zeros_like(outcome)
        returns += game.gamma**step * np.stack([own[(now, *actions, paid)] for own in rewards], -1)
        states[:, step + 1] = lead[(now, *actions, outcome)]
    return returns, states


def checked_profile(game: MarkovGame, strategies: Sequence[ArrayLike]) -> list[np.ndarray]:
    """Strategies by time and state as float64, one array [H, S, A_i] per player.

    Raises AverseError for wrong shapes, or rows that are no distributions (within 1e-5: they may come from a network).
    """
    instance("game", MarkovGame, game)
    members = items("strategies", "a sequence of arrays, one per player", strategies)
    profile = [numbers(f"strategies[{i}]", given) for i, given in enumerate(members)]
    shapes = [(game.horizon, game.num_states, size) for size in game.num_actions]
    if [x.shape for x in profile] != shapes:
        raise AverseError(f"strategies must have shapes {shapes}, not {[x.shape for x in profile]}")
    for i, x in enumerate(profile):
        distributions(f"strategies[{i}]", x, tolerance=1e-5)
    return profile


def _whole_numbers(name: str, values: ArrayLike) -> np.ndarray:
    """An array of integers. Raises AverseError for anything else, floats included."""
    numbers(name, values)
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise AverseError(f"{name} must be an array of integers, not of {array.dtype}")
    return array


def look_ahead(game: MarkovGame, values: np.ndarray, tau: np.ndarray) -> list[np.ndarray]:
    """Q_i [S, A_1, ..., A_n] of each player: the certainty equivalent over outcomes, from the values [n, S] after."""
    chance, lead, rewards = (np.asarray(a) for a in (game.probabilities, game.next_states, game.rewards))
    return [entropic(rewards[i] + game.gamma * values[i][lead], chance, tau[i]) for i in range(game.num_players)]


def draw(generator: np.random.Generator, probabilities: np.ndarray) -> np.ndarray:
    """One index per row of [episodes, m]."""
    levels = generator.random(len(probabilities))[:, None]
    return np.minimum((probabilities.cumsum(-1) < levels).sum(-1), probabilities.shape[-1] - 1)
