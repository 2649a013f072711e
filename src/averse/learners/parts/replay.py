"""Replay of sequences: each column of a rollout (T steps of one environment) is one entry of a ring buffer.

A sequence holds T + 1 observations for its T steps, so that every observation is stored once and is both what an action
was chosen on and what the action before it led to. It also holds the memory that recurrent agents had at its start.
Where T is a multiple of an environment's fixed episode length, sequences begin with an episode, that memory is blank,
and nothing about it is stale: whole-episode replay. Elsewhere episodes begin and end anywhere in a sequence (`first`
blanks the memory there) and the stored memory is that of older parameters ("stored state", Kapturowski et al. 2019).

The ring is flashbax's, inside the learner's state: in a compiled environment the whole training is one program.

Axes: T time, E sequences of a batch, A agents, O observation, G global state, n actions.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flashbax
import jax
import jax.numpy as jnp

from averse.environments.protocol import Description, num_available
from averse.learners.contract import Trajectory


class Sequences(NamedTuple):
    """Sequences of T steps; stored with a leading axis of sequences [E, T, ...], learnt from time-major [T, E, ...]."""

    observations: jax.Array  # float32 [T + 1, A, O]
    global_state: Any  # float32 [T + 1, G]; () where no mixer looks at it
    available: jax.Array  # bool [T + 1, A, n]
    actions: jax.Array  # uint8 (int32 from 256 actions on) [T, A]
    rewards: jax.Array  # float32 [T, A]
    terminated: jax.Array  # bool [T, A]
    truncated: jax.Array  # bool [T]
    active: jax.Array  # bool [T, A]
    first: jax.Array  # bool [T]
    memory: Any  # float32 [A, H], the memory before the first step; () for agents without


def ring(max_length: int, min_length: int, sample_batch_size: int) -> Any:
    """flashbax's buffer of so many entries, to which batches of entries are added and from which batches are drawn."""
    buffer = flashbax.make_item_buffer(max_length, min_length, sample_batch_size, add_batches=True)
    return buffer.replace(add=_promoting(buffer.add), sample=_promoting(buffer.sample))


def _promoting(function: Callable) -> Callable:
    """flashbax relies on implicit promotion, of ranks in its indices, which users and our tests may have forbidden."""

    @functools.wraps(function)
    def promoting(*args: Any) -> Any:
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return function(*args)

    return promoting


def sequences_of(trajectory: Trajectory, with_state: bool) -> Sequences:
    """The B columns of a rollout [T, B, ...] as sequences [B, T, ...]."""

    def closed(inside: jax.Array, last: jax.Array) -> jax.Array:
        return jnp.concatenate([inside, last[-1:]])

    columns = Sequences(
        observations=closed(trajectory.observations, trajectory.next_observations),
        global_state=closed(trajectory.global_state, trajectory.next_global_state) if with_state else (),
        available=closed(trajectory.available, trajectory.next_available),
        actions=trajectory.actions.astype(_action_type(trajectory.available.shape[-1])),
        rewards=trajectory.rewards,
        terminated=trajectory.terminated,
        truncated=trajectory.truncated,
        active=trajectory.active,
        first=trajectory.first,
        memory=(),
    )
    memory = jax.tree.map(lambda x: x[0], trajectory.memory)
    return time_major(columns)._replace(memory=memory)


def blank_sequence(environment: Description, steps: int, memory: Any, with_state: bool) -> Sequences:
    """One sequence of zeros, by which the buffer knows its shapes; `memory` is a blank one, [A, H] or ()."""
    agents, num_actions = environment.num_agents, num_available(environment.action_space)
    return Sequences(
        observations=jnp.zeros((steps + 1, agents, environment.observation_size), jnp.float32),
        global_state=jnp.zeros((steps + 1, environment.global_state_size), jnp.float32) if with_state else (),
        available=jnp.zeros((steps + 1, agents, num_actions), bool),
        actions=jnp.zeros((steps, agents), _action_type(num_actions)),
        rewards=jnp.zeros((steps, agents), jnp.float32),
        terminated=jnp.zeros((steps, agents), bool),
        truncated=jnp.zeros(steps, bool),
        active=jnp.zeros((steps, agents), bool),
        first=jnp.zeros(steps, bool),
        memory=memory,
    )


def _action_type(num_actions: int) -> Any:
    return jnp.uint8 if num_actions < 256 else jnp.int32


def time_major(sequences: Sequences) -> Sequences:
    """Swap the first two axes of all but the memory: [E, T, ...] to [T, E, ...] and back."""
    swapped = jax.tree.map(lambda x: x.swapaxes(0, 1), sequences._replace(memory=()))
    return swapped._replace(memory=sequences.memory)


def usable(sequences: Sequences) -> jax.Array:
    """Which steps [T, E] have a known successor: all but those that a time limit cut short in mid-sequence.

    Of those the sequence holds the next episode's first observation in the place of what the action led to. The last
    step's successor is always stored.
    """
    cut = sequences.truncated & ~sequences.terminated.all(-1)
    return ~cut.at[-1].set(False)


def continues(sequences: Sequences) -> jax.Array:
    """Whether a lambda-return may go on beyond each step [T, E, A]: neither an end nor a step without a target next."""
    follows = jnp.concatenate([usable(sequences)[1:], jnp.ones_like(sequences.truncated[:1])])
    return ~sequences.terminated & (follows & ~sequences.truncated)[..., None]


def size_in_bytes(tree: Any) -> int:
    """Memory of the arrays (or their shapes) of a tree."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
