"""Whether what is asked for fits in this machine's memory; if not, it is refused before it is begun."""

from typing import Any

import jax

from averse import machine
from averse.environments.protocol import Description, num_available
from averse.errors import AverseError
from averse.evaluation.arguments import SEEDS
from averse.learners.contract import Learner


def check_episodes(
    environment: Description, learner: Learner | None, episodes: int, policies: int, first_seed: int, samples: int = 1
) -> None:
    """Make sure that so many episodes of each policy can be kept, and that their seeds exist.

    Args:
      learner: of the policies; None for scripts.
      episodes: of each policy.
      policies: how many.
      first_seed: of the first policy's episodes.
      samples: how many sets of episode seeds follow each other (training seeds).

    Raises AverseError with the size that they would take, and for episode seeds beyond 2^32.
    """
    size, there = episodes * policies * episode_size(environment, learner), machine.memory()
    if size > there:
        of = f" of each of {policies} policies" if policies > 1 else ""
        raise AverseError(
            f"episodes must fit in memory: {episodes:,}{of} would take about {machine.in_words(size)}, "
            f"and this machine has {machine.in_words(there)}"
        )
    last = first_seed + episodes * samples
    if last > SEEDS:
        raise AverseError(
            f"episode seeds end at {SEEDS - 1}: {episodes:,} episodes for each of {samples} training seeds from "
            f"first_seed {first_seed} on would need {last - 1}"
        )


def episode_size(environment: Description, learner: Learner | None) -> int:
    """About how many bytes an episode takes while a table of them is made: what is kept of it, and its figures."""
    agents, actions = environment.num_agents, num_available(environment.action_space)
    remembered = 0
    if learner is not None:
        leaves: Any = jax.tree.leaves(jax.eval_shape(lambda: learner.initial_memory(1)))
        remembered = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    probe = 4 * (agents * environment.observation_size + environment.global_state_size) + agents * (actions + 5)
    columns = 4 + 2 * agents + len(environment.metrics)  # returns with and without discount
    return probe + remembered + 8 * 3 * columns  # in 64 bits: as played, in the table, under resampling
