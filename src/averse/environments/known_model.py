"""Environments that also know themselves as an exact model, which planning solves and in which policies are scored."""

from typing import Any, Protocol, runtime_checkable

import jax

from averse.games import MarkovGame
from averse.planning import FactoredTeamGame, TeamGame

Model = TeamGame | FactoredTeamGame | MarkovGame


@runtime_checkable
class KnownModel(Protocol):
    """A compiled environment whose model is known; action k of an agent means the same in both.

    Its states are numbered 0 to S - 1 as the model's, which is a team game where episodes never end, and a Markov game
    of `horizon` steps where they do. An environment that has `num_states` is not asked for a model that is too large.
    """

    def model(self) -> Model:
        """The exact model."""
        ...

    def state_at(self, index: jax.Array, time: jax.Array | int = 0) -> Any:
        """The environment's state of a number [] of the model, `time` steps after an episode's start."""
        ...

    def observe(self, state: Any) -> jax.Array:
        """What the agents see in a state, float32 [A, O]."""
        ...

    def available_actions(self, state: Any) -> jax.Array:
        """Which actions each agent may take in a state, bool [A, n]."""
        ...
