"""Equilibria of games between risk-averse, boundedly rational players."""

from averse.games.cliff_walk import cliff_walk
from averse.games.conversion import from_environment
from averse.games.equilibrium import Equilibrium, Settings
from averse.games.fit import Fit, Model, compare_with_people, fit
from averse.games.limits import nash, qre, security
from averse.games.markov import MarkovGame, MarkovSolution, simulate, solve_markov
from averse.games.normal_form import NormalForm
from averse.games.published import PublishedGame, published
from averse.games.reading import from_gambit, from_openspiel, read_game, to_nfg
from averse.games.rqe import best_response, regret, rqe
from averse.games.scores import Score, score
from averse.games.tractability import Tractability, tractability, tractability_margin
from averse.games.two_by_two import all_equilibria, bifurcation

__all__ = [
    "Equilibrium",
    "Fit",
    "MarkovGame",
    "MarkovSolution",
    "Model",
    "NormalForm",
    "PublishedGame",
    "Score",
    "Settings",
    "Tractability",
    "all_equilibria",
    "best_response",
    "bifurcation",
    "cliff_walk",
    "compare_with_people",
    "fit",
    "from_environment",
    "from_gambit",
    "from_openspiel",
    "nash",
    "published",
    "qre",
    "read_game",
    "regret",
    "rqe",
    "score",
    "security",
    "simulate",
    "solve_markov",
    "to_nfg",
    "tractability",
    "tractability_margin",
]
