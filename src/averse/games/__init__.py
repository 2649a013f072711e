"""Equilibria of games between risk-averse, boundedly rational players."""

from averse.games.tractability import tractability_margin

__all__ = ["tractability_margin"]
