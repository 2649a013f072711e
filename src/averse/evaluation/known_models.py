"""What a learned policy is worth exactly, without any playing, where the environment's model is known and small.

Axes: S states of the model, A agents, n actions, H steps of a Markov game.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from averse.arguments import instance, numbers
from averse.environments.known_model import KnownModel
from averse.errors import AverseError, shown
from averse.games import MarkovGame, Score, score
from averse.learners.contract import Learner
from averse.planning import FactoredTeamGame, MeanVarianceValue, TeamGame, mean_variance
from averse.planning.mdp import Floats
from averse.settings import NonNegative, check_value
from averse.training.run import Run, load

MOST_STATES = 5_000  # beyond which an exact evaluation takes longer than playing

Probabilities = Callable[[Any, jax.Array, jax.Array], jax.Array]
"""A learner's state, observations [B, A, O] and masks [B, A, n] -> probabilities [B, A, n]."""


def solvable_game(environment: Any) -> TeamGame | FactoredTeamGame | None:
    """An environment's exact model as a team game; None where none is known, it has more than `MOST_STATES`, or its
    tables would not fit into memory."""
    if not isinstance(environment, KnownModel) or getattr(environment, "num_states", 0) > MOST_STATES:
        return None
    try:
        game = environment.model()
    except AverseError:  # what a model refuses to build without arguments is too large
        return None
    return game if isinstance(game, TeamGame | FactoredTeamGame) and game.num_states <= MOST_STATES else None


def policy_tables(
    environment: KnownModel, learner: Learner, state: Any, game: TeamGame | FactoredTeamGame
) -> Sequence[Floats]:
    """A learned policy as the planners take it: per agent the probabilities of its actions in every state [S, Ai].

    The learner must offer `action_probabilities`.
    """
    assert learner.action_probabilities is not None
    probs = np.asarray(_at(environment, learner.action_probabilities, state, game.num_states, 0), np.float64)
    tables = [probs[:, agent, :size] for agent, size in enumerate(game.num_actions)]
    return [table / table.sum(-1, keepdims=True) for table in tables]


def strategy_tables(environment: KnownModel, policy: Probabilities, state: Any, game: MarkovGame) -> list[np.ndarray]:
    """A learned policy as strategies of a Markov game: per agent the probabilities at every time [H, S, Ai]."""
    at = jax.jit(lambda time: _at(environment, policy, state, game.num_states, time))
    probs = np.asarray(jax.lax.map(at, jnp.arange(game.horizon)), np.float64)
    return [probs[:, :, agent, :size] for agent, size in enumerate(game.num_actions)]


def _at(environment: KnownModel, policy: Probabilities, state: Any, num_states: int, time: Any) -> jax.Array:
    """Probabilities [S, A, n] in every state of the model, `time` steps after an episode's start."""
    states = jax.vmap(environment.state_at, (0, None))(jnp.arange(num_states), time)
    return policy(state, jax.vmap(environment.observe)(states), jax.vmap(environment.available_actions)(states))


def exact_mean_variance(
    environment: Any, learner: Learner, state: Any, beta: float, game: TeamGame | FactoredTeamGame | None = None
) -> MeanVarianceValue | None:
    """eta, zeta and J of a learned policy in the long run; None where the model or the probabilities are not known.

    Args:
      state: the learner's state.
      game: the environment's model where it is at hand.

    Raises AverseError for what is no learner, for a negative or infinite beta, and if the policy is so deterministic
    that the chain falls apart (`averse.planning.mean_variance`).
    """
    instance("learner", Learner, learner, "a learner (run.learner, averse.learner(...))")
    check_value("beta", NonNegative, beta)
    game = solvable_game(environment) if game is None else game
    if game is None or learner.action_probabilities is None:
        return None
    return mean_variance(game, policy_tables(environment, learner, state, game), beta)


def exact_scores(run: Run | str | Path, tau: ArrayLike = np.inf, greedy: bool = False) -> list[Score]:
    """What each policy of a run is worth in the Markov game, and what each agent could still gain.

    Args:
      tau: risk tolerance of the score, in units of reward; inf is risk-neutral.
      greedy: the most likely actions instead of the policy's probabilities.

    Returns one score per entry of `run.config.trials`.

    Raises AverseError for other kinds of arguments, if the environment is not known as a Markov game, or the policy is
    not a function of the current observation that tells its probabilities (recurrent and value-based ones with
    `greedy=False`).
    """
    instance("run", Run | str | os.PathLike, run, "a run or the path of its directory")
    if not (numbers("tau", tau) > 0.0).all():
        raise AverseError(f"tau must be above 0 (inf is risk-neutral), not {shown(tau)}")
    check_value("greedy", bool, greedy)
    run = run if isinstance(run, Run) else load(run)
    environment = run.environment
    game = environment.model() if isinstance(environment, KnownModel) else None
    if not isinstance(environment, KnownModel) or not isinstance(game, MarkovGame):
        raise AverseError(f"{run.config.environment} is not known as a Markov game; cliff-walk is")
    policy = _probabilities(run.learner, greedy)
    states = [run.state(index) for index in range(len(run.config.trials))]
    return [score(game, strategy_tables(environment, policy, state, game), tau) for state in states]


def _probabilities(learner: Learner, greedy: bool) -> Probabilities:
    if jax.tree.leaves(learner.initial_memory(1)):
        raise AverseError(
            "a policy with memory is not a strategy of the Markov game: it depends on more than the state"
        )
    if not greedy:
        if learner.action_probabilities is None:
            raise AverseError("this method does not tell its probabilities; score its greedy policy")
        return learner.action_probabilities

    def one_hot(state: Any, observations: jax.Array, available: jax.Array) -> jax.Array:
        actions, _ = learner.act(state, observations, available, jax.random.key(0), greedy=True)
        return jax.nn.one_hot(actions, available.shape[-1])

    return one_hot
