"""Playing in compiled environments that are stepped from Python: for play that takes less time than its compilation.

What is computed is what `play` computes, with the same random numbers; last bits differ. The environment's programs
serve all policies (`environments.stepwise`). A learner compiles how it acts.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from averse.compilation import jit
from averse.environments.batch import View
from averse.environments.protocol import Environment, StepResult
from averse.environments.stepwise import stepwise
from averse.evaluation.accounts import Episode, Played, Walk, begun, choose, counted, episode_keys
from averse.learners.contract import Learner


def stepwise_player(
    environment: Environment, learner: Learner, greedy: bool
) -> Callable[[Any, np.ndarray, np.ndarray], Played]:
    """A function (learner's state, seeds [E], probe times [E]) -> Played; compiled once for all states of a learner."""
    world = stepwise(environment)
    memory = learner.initial_memory(1)
    keys = jit(jax.vmap(_keys))
    first = jit(jax.vmap(partial(_first, environment, memory)))
    chosen = jit(jax.vmap(partial(_chosen, learner, greedy), in_axes=(None, 0, 0)))
    after = jit(jax.vmap(partial(_after, learner.gamma)))

    def play(policy: Any, seeds: np.ndarray, probe_times: np.ndarray) -> Played:
        key, reset_keys = keys(seeds)
        states, view = world.begin(reset_keys)
        episode = first(key, view, probe_times)
        while not np.asarray(episode.done).all():
            actions, memory, step_keys, key = chosen(policy, episode.walk, view.available)
            result, seen = world.step(step_keys, states, actions)
            states = result.state
            walk = Walk((), result.observations, memory, key)
            episode = after(episode, view, walk, result._replace(state=()), probe_times)
            view = seen
        return jax.vmap(Episode.played)(episode, seeds)

    return play


def _keys(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As `episode_keys`; that of the reset as plain numbers."""
    key, reset_key = episode_keys(seed)
    return key, jax.random.key_data(reset_key)


def _chosen(learner: Learner, greedy: bool, policy: Any, walk: Walk, available: jax.Array) -> tuple[Any, ...]:
    """As `choose`; the key of the environment's step as plain numbers."""
    actions, memory, step_key, key = choose(learner, greedy, policy, walk, available)
    return actions, memory, jax.random.key_data(step_key), key


def _first(environment: Environment, memory: Any, key: jax.Array, view: View, probe_time: jax.Array) -> Episode:
    walk = Walk((), view.observations, memory, key)
    return begun(walk, view, probe_time, environment.num_agents, environment.metrics)


def _after(
    gamma: float, episode: Episode, view: View, walk: Walk, result: StepResult, probe_time: jax.Array
) -> Episode:
    """The episode after a step; as it was, if it is over."""
    going_on = counted(gamma, episode, view, walk, result, probe_time)
    return jax.tree.map(lambda old, new: jnp.where(episode.done, old, new), episode, going_on)
