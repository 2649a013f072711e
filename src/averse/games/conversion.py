"""A small compiled environment as a Markov game, by trying everything."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from averse.errors import AverseError, shown
from averse.games.markov import MarkovGame
from averse.settings import Count, Fraction, Seed, check_value

_NEEDED = ("num_agents", "action_space", "horizon", "reset", "step", "available_actions")


def from_environment(
    environment: Any, samples: int = 100, seed: int = 0, most_states: int = 2000, gamma: float = 1.0
) -> tuple[MarkovGame, list[Any]]:
    """Enumerates the states that can be reached and estimates what every joint action leads to.

    Every joint action is tried `samples` times in every state that turns up, so that the probabilities of chance events
    are frequencies, with standard errors sqrt(p (1 - p) / samples); a deterministic environment is converted exactly.
    An outcome is a next state with its rewards. The end of an episode, whether terminated or truncated, is one
    absorbing state, the last, that pays nothing.

    Args:
      environment: compiled (`averse.environments.protocol.Environment`), two or more agents, discrete actions, all
        available everywhere, and one start.
      samples: tries per state and joint action.
      most_states: give up beyond so many.

    Returns:
      The game, with the environment's horizon, and the states in its numbering (without the absorbing one).

    Raises:
      AverseError: for an environment that does not fit the above, and for numbers that are none.
    """
    missing = [name for name in _NEEDED if not hasattr(environment, name)]
    if missing:
        raise AverseError(f"environment must be a compiled one, not {shown(environment)}: it has no {missing[0]}")
    samples, most_states = check_value("samples", Count, samples), check_value("most_states", Count, most_states)
    seed, gamma = check_value("seed", Seed, seed), check_value("gamma", Fraction, gamma)
    count = getattr(environment.action_space, "num_actions", None)
    agents = environment.num_agents
    if count is None or agents < 2:
        raise AverseError("conversion needs an environment of two or more agents with discrete actions")
    joint = np.array(list(itertools.product(range(count), repeat=agents)), dtype=np.int32)
    keys = jax.random.split(jax.random.key(seed), samples)
    starts = [environment.reset(key)[0] for key in keys[:8]]
    if len({_fingerprint(state) for state in starts}) > 1:
        raise AverseError("conversion needs an environment that always starts in the same state")

    @jax.jit
    def try_all(state, keys):
        one = lambda key, actions: environment.step(key, state, actions)  # noqa: E731
        step = jax.vmap(jax.vmap(one, (0, None)), (None, 0))(keys, jnp.asarray(joint))
        return step.state, step.rewards, step.terminated.all(-1) | step.truncated

    states, numbers = [starts[0]], {_fingerprint(starts[0]): 0}
    outcomes: list[list[dict[tuple, int]]] = []
    end = -1
    while len(outcomes) < len(states):
        state = states[len(outcomes)]
        if not np.asarray(environment.available_actions(state)).all():
            raise AverseError("conversion needs all actions to be available in every state")
        fresh = jax.random.split(jax.random.fold_in(jax.random.key(seed + 1), len(outcomes)), samples)
        after, rewards, over = jax.tree.map(np.asarray, try_all(state, fresh))
        leaves = [leaf.reshape(len(joint), samples, -1) for leaf in jax.tree.leaves(after)]
        structure = jax.tree.structure(after)
        rows = []
        for a in range(len(joint)):
            seen: dict[tuple, int] = {}
            for k in range(samples):
                if over[a, k]:
                    number = end
                else:
                    print_ = b"|".join(leaf[a, k].tobytes() for leaf in leaves)
                    if print_ not in numbers:
                        numbers[print_] = len(states)
                        parts = [leaf[a, k] for leaf in jax.tree.leaves(after)]
                        states.append(jax.tree.unflatten(structure, parts))
                        if len(states) > most_states:
                            raise AverseError(f"more than {most_states} states can be reached: raise most_states")
                    number = numbers[print_]
                outcome = (number, tuple(map(float, rewards[a, k])))
                seen[outcome] = seen.get(outcome, 0) + 1
            rows.append(seen)
        outcomes.append(rows)
    return _tables(outcomes, agents, count, samples, environment.horizon, gamma), states


def _tables(outcomes, agents, count, samples, horizon, gamma) -> MarkovGame:
    end = len(outcomes)
    width = max(len(seen) for rows in outcomes for seen in rows)
    shape = (end + 1, count**agents, width)
    chance, lead, rewards = np.zeros(shape), np.full(shape, end), np.zeros((agents, *shape))
    chance[end, :, 0] = 1
    for s, rows in enumerate(outcomes):
        for a, seen in enumerate(rows):
            for k, ((number, paid), times) in enumerate(seen.items()):
                chance[s, a, k] = times / samples
                lead[s, a, k] = end if number < 0 else number
                rewards[:, s, a, k] = paid
    full = (end + 1, *(count,) * agents, width)
    return MarkovGame(chance.reshape(full), lead.reshape(full), rewards.reshape(agents, *full), horizon, gamma)


def _fingerprint(state: Any) -> bytes:
    return b"|".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))
