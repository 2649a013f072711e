"""Policies at random, to compare others with."""

from collections.abc import Iterator

import numpy as np

from averse.planning.mdp import deterministic
from averse.planning.team_games.game import Game, Tables, checked_game
from averse.settings import Whole, check_value


def random_policies(game: Game, count: int, seed: int = 0) -> Iterator[Tables]:
    """Deterministic policies, per agent [S, Ai]: each available action in each state with the same probability.

    The k-th policy depends on the seed and k alone.

    Raises:
      AverseError: for what is no game, or a count or seed that is no whole number from 0 on.
    """
    checked_game(game)
    return _policies(game, check_value("count", Whole, count), check_value("seed", Whole, seed))


def _policies(game: Game, count: int, seed: int) -> Iterator[Tables]:
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        keys = [np.where(mask, rng.random(mask.shape), -1) for mask in game.available]
        yield [deterministic(key.argmax(-1), key.shape[1]) for key in keys]
