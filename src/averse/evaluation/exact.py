"""Exact scores of learned policies, where the environment is also known as a Markov game."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from averse.environments.cliff_walk import CELLS, CliffWalk, CliffWalkState
from averse.errors import AverseError
from averse.games.cliff_walk import cliff_walk
from averse.games.scores import Score, score
from averse.learners.contract import Learner
from averse.training.run import Run, load


def exact_scores(run: Run | str | Path, tau: ArrayLike = np.inf, greedy: bool = False) -> list[Score]:
    """What each policy of a run is worth in the Markov game, and what each agent could still gain, without any playing.

    Args:
      tau: risk tolerance of the score, in units of reward; inf is risk-neutral.
      greedy: the most likely actions instead of the policy's probabilities.

    Returns one score per entry of `run.config.trials`.

    Raises AverseError if the environment is not known as a Markov game, or the policy is not a function of the
    current observation that tells its probabilities (recurrent and value-based ones with `greedy=False`).
    """
    run = run if isinstance(run, Run) else load(run)
    if not isinstance(run.environment, CliffWalk):
        raise AverseError(f"{run.config.environment} is not known as a Markov game; cliff-walk is")
    game = cliff_walk(**run.environment.parameters())
    policy = _probabilities(run.learner, greedy)
    states = [run.state(index) for index in range(len(run.config.trials))]
    return [score(game, cliff_walk_strategies(run.environment, policy, state), tau) for state in states]


def _probabilities(learner: Learner, greedy: bool) -> Callable[..., jax.Array]:
    """A function (state, observations [B, A, O], available [B, A, n]) -> probabilities [B, A, n]."""
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


def cliff_walk_strategies(environment: CliffWalk, policy: Callable[..., jax.Array], state: Any) -> list[np.ndarray]:
    """The strategies [H, 1296, 4] of both agents in `averse.games.cliff_walk`."""
    numbers = jnp.arange(CELLS**2)
    cells = jnp.stack([numbers // CELLS, numbers % CELLS], -1)
    times = jnp.arange(environment.horizon)

    @jax.jit
    def at(time: jax.Array) -> jax.Array:
        observations = jax.vmap(lambda pair: environment.observe(CliffWalkState(pair, time)))(cells)
        return policy(state, observations, jnp.ones((*observations.shape[:2], 4), bool))

    by_time = np.asarray(jax.lax.map(at, times), np.float64)
    return [by_time[:, :, agent] for agent in range(2)]
