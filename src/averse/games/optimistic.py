"""RQE of a Markov game learned from play: optimistic value iteration (after Gonzales, Horwitz, Mazumdar, Ratliff 2026).

The players know the range of their rewards and see what happens. From the outcomes so far they plan backwards as
`solve_markov` does, but hold for possible what they have not seen yet:

  Q_i(s, a) = min(B_i, CE_i(s, a) + c (B_i - L_i) / sqrt N(s, a)),   B_i where N(s, a) = 0

CE_i is the certainty equivalent of r_i + gamma V_i(s') over the N(s, a) outcomes that were seen, [L_i, B_i] what the
rest of the episode can pay. The stage RQE of Q gives the strategies and V, and these are played until some N(s, a) has
doubled. Regret is what the players could have gained all the while, by `equilibrium_gap`.

With one feature per state and joint action this is the paper's algorithm (arXiv 2603.09208, ridge regression on
features), but that outcomes of all steps are pooled, as the game is the same in each, that a plan serves until counts
double, and that risk over what the world does next is allowed for.

Axes: H steps, S states, n players, A_i actions, M joint actions, K outcomes.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from averse.games.equilibrium import Form, Settings
from averse.games.markov import Episodes, MarkovGame, MarkovPlay, draw, stage_equilibria, stage_settings
from averse.games.normal_form import NormalForm
from averse.games.penalties import Penalty, Regulariser
from averse.games.scores import equilibrium_gap
from averse.planning.numerics import entropic
from averse.settings import NonNegative, Seed, check_value


class _Plan(NamedTuple):
    """What is to be played."""

    strategies: list[NDArray]  # [H, S, A_i]
    values: NDArray  # [H, n, S]


def learn_optimistic(
    game: MarkovGame,
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
    transition_tau: ArrayLike | None = None,
    *,
    episodes: int = 1_000,
    bonus: float = 0.1,
    seed: int = 0,
) -> MarkovPlay:
    """Let the players of a small game learn by optimistic plans; every plan solves H times S stage games.

    The history has, before each plan and at the end, the "episodes" played [L] and the "regret" of each player [L, n],
    the sum over these episodes of its gain then; and of the strategies planned the "gap" and the "values" from the
    start [L, n], all exact, of the game's own tables.

    Args:
      tau, epsilon, penalty, regulariser, form, transition_tau: of the stage games, as in `solve_markov`: numbers, or
        one per player [n].
      episodes: how many, of the game's horizon each.
      bonus: c, how much an outcome that was seen once may differ from what is to be expected, as a share of what the
        rest of the episode can pay; 0 is greedy. The paper's is larger: it holds with certainty, not in practice.
      seed: of the draws.

    Raises AverseError for arguments out of range, or a stage game that did not converge.
    """
    settings, chance_tau = stage_settings(game, tau, epsilon, penalty, regulariser, form, transition_tau)
    for name, kind, given in (("episodes", Episodes, episodes), ("bonus", NonNegative, bonus), ("seed", Seed, seed)):
        check_value(name, kind, given)

    generator = np.random.default_rng(seed)
    seen = np.zeros(np.shape(game.probabilities), int)
    visits = np.zeros((game.horizon, game.num_states), int)
    history: dict[str, list[Any]] = {"episodes": [], "regret": [], "gap": [], "values": []}
    played, regret = 0, np.zeros(game.num_players)
    while True:
        plan = optimistic_plan(game, seen, settings, chance_tau, bonus)
        gap = equilibrium_gap(game, plan.strategies, tau, epsilon, penalty, regulariser, form, transition_tau)
        for name, entry in (("episodes", played), ("regret", regret), ("gap", gap.gaps), ("values", gap.values)):
            history[name].append(entry)
        if played == episodes:
            break
        planned_with = seen.sum(-1)
        count = 0
        for steps in _episodes(game, plan.strategies, generator, episodes - played):
            count += 1
            for step, place in enumerate(steps):
                seen[place] += 1
                visits[step, place[0]] += 1
            if any(seen[place[:-1]].sum() >= max(2 * planned_with[place[:-1]], 1) for place in steps):
                break
        played, regret = played + count, regret + count * gap.gaps
    columns = {name: np.array(column) for name, column in history.items()}
    return MarkovPlay(plan.strategies, plan.values, visits, columns)


def optimistic_plan(game: MarkovGame, seen: NDArray, settings: Settings, chance_tau: NDArray, bonus: float) -> _Plan:
    """Backward induction on what was seen, how often each outcome came [S, A_1, ..., A_n, K]; see the module's head."""
    rewards, lead = np.asarray(game.rewards), np.asarray(game.next_states)
    n, tried = game.num_players, seen.sum(-1)
    shares = seen / np.maximum(tried, 1)[..., None]
    least, most = (bound(rewards, axis=tuple(range(1, rewards.ndim))) for bound in (np.min, np.max))
    values, strategies = [np.zeros((n, game.num_states))], []
    low, high = np.zeros(n), np.zeros(n)
    for step in reversed(range(game.horizon)):
        low, high = least + game.gamma * low, most + game.gamma * high
        payoffs = []
        for i in range(n):
            worth = entropic(rewards[i] + game.gamma * values[-1][i][lead], shares, chance_tau[i])
            hoped = worth + bonus * (high[i] - low[i]) / np.sqrt(np.maximum(tried, 1))
            payoffs.append(np.where(tried > 0, np.minimum(hoped, high[i]), high[i]))
        stage = stage_equilibria(NormalForm(payoffs, batched=True), settings, 1e-10, step)
        values.append(stage.values.T)
        strategies.append(stage.strategies)
    return _Plan([np.stack(by_time[::-1]) for by_time in zip(*strategies)], np.stack(values[:0:-1]))


def _episodes(
    game: MarkovGame, strategies: list[NDArray], generator: np.random.Generator, most: int
) -> Iterator[list[tuple[int, ...]]]:
    """Up to `most` episodes: of each step its place in the counts, (state, actions, outcome)."""
    chance, lead = np.asarray(game.probabilities), np.asarray(game.next_states)
    for _ in range(most):
        state, steps = game.start, []
        for step in range(game.horizon):
            actions = tuple(int(draw(generator, x[step, state][None])[0]) for x in strategies)
            outcome = int(draw(generator, chance[(state, *actions)][None])[0])
            steps.append((state, *actions, outcome))
            state = int(lead[steps[-1]])
        yield steps
