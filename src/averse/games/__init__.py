"""Equilibria of games between risk-averse, boundedly rational players."""

from averse.games.actor_critic import learn_actor_critic
from averse.games.conversion import from_environment
from averse.games.equilibrium import Equilibrium, Settings
from averse.games.fit import Fit, Model, compare_with_people, fit
from averse.games.limits import nash, qre, security
from averse.games.markov import MarkovGame, MarkovPlay, MarkovSolution, simulate, solve_markov
from averse.games.normal_form import NormalForm
from averse.games.optimistic import learn_optimistic
from averse.games.published import PublishedGame, published
from averse.games.reading import from_gambit, from_openspiel, read_game, to_nfg
from averse.games.rqe import best_response, regret, rqe
from averse.games.scores import EquilibriumGap, Score, equilibrium_gap, score
from averse.games.tractability import Tractability, tractability, tractability_margin
from averse.games.two_by_two import all_equilibria, bifurcation

__all__ = [
    "Equilibrium",
    "EquilibriumGap",
    "Fit",
    "MarkovGame",
    "MarkovPlay",
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
    "compare_with_people",
    "equilibrium_gap",
    "fit",
    "from_environment",
    "from_gambit",
    "from_openspiel",
    "learn_actor_critic",
    "learn_optimistic",
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
