"""The cliff walk: two agents cross a 6 x 6 grid along a cliff, and get in each other's way (after Mazumdar et al.
2025).

    . . . . . .
    . . . . . .
    . . . . . .
    . . . . . .
    . . . . . .
    1 c c c c 2

Agent 1 walks from the bottom left corner to the bottom right one, agent 2 the other way. Four moves: up, down, left,
right. A move succeeds with probability .9, but .5 while the other agent is within one cell (diagonals included);
otherwise the agent is carried in one of the other three directions, each as likely. Walls stop. The cliff pays -2, the
own goal +1, and both hold the agent for good; there it is out of the way. (The papers do not say where failing moves
lead or where the agents start: this is our reading.)

States are numbered cell1 * 36 + cell2, cells row by row from the top left.
"""

import itertools

import numpy as np

from averse.errors import AverseError
from averse.games.markov import MarkovGame

SIZE = 6
CELLS = SIZE * SIZE
MOVES = ("up", "down", "left", "right")
LEFT_CORNER, RIGHT_CORNER = CELLS - SIZE, CELLS - 1
CLIFF = tuple(range(LEFT_CORNER + 1, RIGHT_CORNER))
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))


def cliff_walk(
    horizon: int = 20,
    success: float = 0.9,
    success_near: float = 0.5,
    cliff_reward: float = -2.0,
    goal_reward: float = 1.0,
) -> MarkovGame:
    """The cliff walk as a Markov game: 1,296 states, four actions each, sixteen outcomes.

    Args:
      horizon: steps of an episode.
      success, success_near: probability that a move succeeds, alone and with the other agent within one cell.
      cliff_reward, goal_reward: paid once on entering, units of reward.

    Raises AverseError for probabilities outside [0, 1] or a horizon below 1.
    """
    for name, value in (("success", success), ("success_near", success_near)):
        if not 0 <= value <= 1:
            raise AverseError(f"{name} must lie in [0, 1], not {value}")
    cells = np.arange(CELLS)
    moved = np.stack([_neighbours(cells, *step) for step in _STEPS], -1)  # [cell, direction]
    goals = (RIGHT_CORNER, LEFT_CORNER)
    held = np.stack([np.isin(cells, (*CLIFF, goal)) for goal in goals])
    pay = np.where(np.isin(cells, CLIFF), cliff_reward, 0.0) + np.stack([goal_reward * (cells == g) for g in goals])

    first, second = np.divmod(np.arange(CELLS**2), CELLS)
    rows, columns = np.divmod(np.stack([first, second]), SIZE)
    near = (abs(rows[0] - rows[1]) <= 1) & (abs(columns[0] - columns[1]) <= 1)
    near &= ~held[0][first] & ~held[1][second]
    chance = np.where(near, success_near, success)

    shape = (CELLS**2, 4, 4, 16)
    probabilities, states, rewards = np.empty(shape), np.empty(shape, dtype=int), np.empty((2, *shape))
    for a, b in itertools.product(range(4), repeat=2):
        for k, (c, d) in enumerate(itertools.product(range(4), repeat=2)):
            own = [np.where(chosen == carried, chance, (1 - chance) / 3) for chosen, carried in ((a, c), (b, d))]
            probabilities[:, a, b, k] = own[0] * own[1]
            after = [
                np.where(held[i][cell], cell, moved[cell, direction])
                for i, (cell, direction) in enumerate(((first, c), (second, d)))
            ]
            states[:, a, b, k] = after[0] * CELLS + after[1]
            for i, cell in enumerate((first, second)):
                rewards[i, :, a, b, k] = np.where(held[i][cell], 0.0, pay[i][after[i]])
    return MarkovGame(probabilities, states, rewards, horizon, start=LEFT_CORNER * CELLS + RIGHT_CORNER)


def _neighbours(cells: np.ndarray, down: int, right: int) -> np.ndarray:
    rows, columns = np.divmod(cells, SIZE)
    return np.clip(rows + down, 0, SIZE - 1) * SIZE + np.clip(columns + right, 0, SIZE - 1)
