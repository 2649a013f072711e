"""Equilibria of games between risk-averse, boundedly rational players."""

from averse.games.normal_form import NormalForm
from averse.games.rqe import Equilibrium, best_response, regret, rqe
from averse.games.tractability import tractability_margin

__all__ = ["Equilibrium", "NormalForm", "best_response", "regret", "rqe", "tractability_margin"]
