"""The 13 published 2x2 games with observed human play and the fitted settings of the authors.

Game GHP4 is from Goeree, Holt, Palfrey (2003); SC1-SC12 are the games of Selten, Chmura (2008). The fits (epsilon and
1/tau per player, KL penalty, log barrier) and the printed equilibria are those of Mazumdar, Panaganti, Shi (2025). The
printed equilibria are not converged: up to 5e-3 from the exact ones.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from averse.errors import unknown_name
from averse.games.normal_form import NormalForm
from averse.settings import check_value


@dataclass(frozen=True, eq=False)
class PublishedGame:
    """A game as people played it.

    Attributes:
      name: such as "selten-chmura-2".
      game: payoffs; the row player moves Up or Down, the column player Left or Right.
      observed: how often people chose each action, one array [2] per player.
      tau, epsilon: the authors' fit per player [2]; tau is risk tolerance (they print 1/tau).
      printed: the authors' equilibrium, one array [2] per player.
    """

    name: str
    game: NormalForm
    observed: tuple[np.ndarray, np.ndarray]
    tau: np.ndarray
    epsilon: np.ndarray
    printed: tuple[np.ndarray, np.ndarray]


@cache
def published() -> dict[str, PublishedGame]:
    """The 13 games by name: "goeree-holt-palfrey-4", "selten-chmura-1" to "selten-chmura-12"."""
    text = resources.files("averse.games").joinpath("data/matrix_games.csv").read_text()
    games = [_game(row) for row in csv.DictReader(text.splitlines())]
    return {game.name: game for game in games}


def find(name: str) -> PublishedGame:
    """A published game by name, or by the short form SC2 or GHP4; raises AverseError with the nearest names."""
    wanted = check_value("game", str, name).lower().replace("_", "-").replace(" ", "-")
    for short, long in (("sc", "selten-chmura-"), ("ghp", "goeree-holt-palfrey-")):
        if wanted.startswith(short) and wanted[len(short) :].isdigit():
            wanted = long + wanted[len(short) :]
    if wanted not in published():
        raise unknown_name("game", name, published())
    return published()[wanted]


def _game(row: dict[str, str]) -> PublishedGame:
    code = row["game"]
    name = code.replace("GHP", "goeree-holt-palfrey-").replace("SC", "selten-chmura-")
    number = {key: float(text) for key, text in row.items() if key != "game"}
    payoffs = [[[number[f"{a}{b}_{i}"] for b in "LR"] for a in "UD"] for i in (1, 2)]

    def profile(up: str, left: str) -> tuple[np.ndarray, np.ndarray]:
        return np.array([number[up], 1 - number[up]]), np.array([number[left], 1 - number[left]])

    return PublishedGame(
        name=name,
        game=NormalForm(payoffs, name, players=("row", "column"), actions=(("Up", "Down"), ("Left", "Right"))),
        observed=profile("observed_p_up", "observed_q_left"),
        tau=1 / np.array([number["inverse_tau1"], number["inverse_tau2"]]),
        epsilon=np.array([number["eps1"], number["eps2"]]),
        printed=profile("authors_printed_p_up", "authors_printed_q_left"),
    )
