"""The worst episodes of tables: which they were, and where they stand."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from averse.evaluation.episodes import Episodes


@dataclass(frozen=True)
class Place:
    """Where an episode stands: whose it is, and in which row of its table."""

    policy: str
    table: Episodes
    row: int

    @property
    def value(self) -> float:
        """Its return, mean over agents."""
        return float(self.table.episode_return[self.row])


def worst_episodes(tables: Mapping[str, Episodes], count: int) -> list[Place]:
    """The completed episodes with the least return among all policies, the worst first.

    Equal ones are in the order of the tables and of their rows; fewer than `count` where there are no more.

    Args:
      tables: of episodes, by the policy that played them.
      count: how many.
    """
    places = []
    for name, table in tables.items():
        rows = np.flatnonzero(~table.failed)
        order = rows[np.argsort(table.episode_return[rows], kind="stable")]
        places += [Place(name, table, int(row)) for row in order[:count]]
    return sorted(places, key=lambda place: place.value)[:count]
