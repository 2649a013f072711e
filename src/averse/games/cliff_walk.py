"""The cliff walk as a Markov game; its rules are those of the environment (`averse.environments.cliff_walk`)."""

import itertools

import numpy as np

from averse.environments.cliff_walk import CELLS, MOVES, STARTS, CliffWalk
from averse.games.markov import MarkovGame


def cliff_walk(
    horizon: int = 20,
    success: float = 0.9,
    success_near: float = 0.5,
    cliff_reward: float = -2.0,
    goal_reward: float = 1.0,
) -> MarkovGame:
    """The cliff walk as a Markov game: 1,296 states, four actions each, sixteen outcomes.

    States are numbered cell1 * 36 + cell2, cells row by row from the top left.

    Args:
      horizon: steps of an episode.
      success, success_near: probability that a move succeeds, alone and with the other agent within one cell.
      cliff_reward, goal_reward: paid once on entering, units of reward.

    Raises AverseError for probabilities outside [0, 1] or a horizon below 1.
    """
    rules = CliffWalk(horizon, success, success_near, cliff_reward, goal_reward).rules
    first, second = np.divmod(np.arange(CELLS**2), CELLS)
    chance = rules.success[first, second]
    directions = range(len(MOVES))
    shape = (CELLS**2, 4, 4, 16)
    probabilities, states, rewards = np.empty(shape), np.empty(shape, dtype=int), np.empty((2, *shape))
    for a, b in itertools.product(directions, repeat=2):
        for k, (c, d) in enumerate(itertools.product(directions, repeat=2)):
            own = [np.where(chosen == carried, chance, (1 - chance) / 3) for chosen, carried in ((a, c), (b, d))]
            probabilities[:, a, b, k] = own[0] * own[1]
            after = [
                np.where(rules.held[i][cell], cell, rules.moved[cell, direction])
                for i, (cell, direction) in enumerate(((first, c), (second, d)))
            ]
            states[:, a, b, k] = after[0] * CELLS + after[1]
            for i, cell in enumerate((first, second)):
                rewards[i, :, a, b, k] = np.where(rules.held[i][cell], 0.0, rules.pay[i][after[i]])
    return MarkovGame(probabilities, states, rewards, horizon, start=STARTS[0] * CELLS + STARTS[1])
