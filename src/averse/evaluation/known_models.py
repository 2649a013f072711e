"""What a learned policy is worth exactly, where the environment is also known as a team game small enough to solve."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from averse.learners.contract import Learner
from averse.planning import MeanVarianceValue, mean_variance
from averse.planning.mdp import Floats

MOST_STATES = 5_000  # beyond which an exact evaluation takes longer than playing


class _Game(Protocol):
    num_states: int
    num_actions: tuple[int, ...]


@runtime_checkable
class KnownTeam(Protocol):
    """An environment that also knows itself as a team game: the action k of an agent means the same in both."""

    def team_game(self) -> Any:
        """The exact model (`averse.planning`), joint states numbered 0 to S - 1."""
        ...

    def state_at(self, index: jax.Array) -> Any:
        """The environment's state of a number of the model."""
        ...

    def observe(self, state: Any) -> jax.Array:
        """What the agents see in a state, float32 [A, O]."""
        ...

    def available_actions(self, state: Any) -> jax.Array:
        """Which actions each agent may take in a state, bool [A, n]."""
        ...


def solvable_game(environment: Any) -> Any | None:
    """The exact model of an environment, or None where none is known or it has more than `MOST_STATES` states."""
    if not isinstance(environment, KnownTeam):
        return None
    game = environment.team_game()
    return game if game.num_states <= MOST_STATES else None


def policy_tables(environment: KnownTeam, learner: Learner, state: Any, game: _Game) -> Sequence[Floats]:
    """A learned policy as the planners take it: per agent the probabilities of its actions in every state [S, Ai].

    The learner must offer `action_probabilities`.
    """
    assert learner.action_probabilities is not None
    states = jax.vmap(environment.state_at)(jnp.arange(game.num_states))
    observations = jax.vmap(environment.observe)(states)
    available = jax.vmap(environment.available_actions)(states)
    probs = np.asarray(learner.action_probabilities(state, observations, available), np.float64)
    tables = [probs[:, agent, :size] for agent, size in enumerate(game.num_actions)]
    return [table / table.sum(-1, keepdims=True) for table in tables]


def exact_mean_variance(
    environment: Any, learner: Learner, state: Any, beta: float, game: Any | None = None
) -> MeanVarianceValue | None:
    """eta, zeta and J of a learned policy without playing; None where the model or the probabilities are not known.

    Args:
      state: the learner's state.
      game: the environment's model where it is at hand.

    Raises AverseError if the policy is so deterministic that the chain falls apart (`averse.planning.mean_variance`).
    """
    game = solvable_game(environment) if game is None else game
    if game is None or learner.action_probabilities is None:
        return None
    return mean_variance(game, policy_tables(environment, learner, state, game), beta)
