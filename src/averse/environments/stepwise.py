"""A compiled environment that is stepped from Python, by programs that do for every learner and any number of episodes.

Training and evaluation have the environment's step inside of their programs, so that each of them compiles it anew.
That is what makes a program fast, and a waste where it works for less time than compiling it takes. Here the beginning
of an episode and a step are a program each. They take episodes in blocks of one size, whatever the batch.

Random numbers come from the same keys as in `batch`; what is computed differs in last bits. Batches are pytrees of
numpy arrays (but for keys, which numpy cannot hold), as each operation of JAX on an array of its own would be one more
program. Leading axis B.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from averse.compilation import jit
from averse.environments.batch import BatchState, View, begin, reset_keys, see, step_keys, time_step
from averse.environments.protocol import Environment, StepResult, TimeStep

BLOCK = 128  # episodes that a program takes at once; what is missing to it is computed in vain
MOST_STEPS = 5_000  # of a batch: for more of them it is quicker to compile them all into one program


class Stepwise:
    """How episodes of an environment begin and go on."""

    def __init__(self, environment: Environment):
        self.environment = environment
        self._begin = jit(jax.vmap(partial(_begun, environment)))
        self._step = jit(jax.vmap(partial(_stepped, environment)))

    def begin(self, keys: Any) -> tuple[Any, View]:
        """Fresh episodes, of keys as plain numbers (`jax.random.key_data`): their states and what is seen."""
        return _in_blocks(self._begin, keys)

    def step(self, keys: Any, states: Any, actions: Any) -> tuple[StepResult, View]:
        """One step of each, by keys as of `begin`, and what is seen after it; nothing is reset."""
        return _in_blocks(self._step, keys, states, actions)

    def reset_batch(self, key: jax.Array, num_envs: int) -> tuple[BatchState, TimeStep]:
        """As `batch.reset_batch`."""
        key, keys = _reset_keys(key, num_envs)
        states, view = self.begin(keys)
        return BatchState(states, key), TimeStep.first(*view, self.environment.metrics)

    def step_batch(self, batch: BatchState, actions: Any) -> tuple[BatchState, TimeStep]:
        """As `batch.step_batch`."""
        key, keys, begin_keys = _step_keys(batch.key, len(actions))
        result, led_to = self.step(keys, batch.states, actions)
        states, now = result.state, led_to
        rows = np.flatnonzero(result.terminated.all(-1) | result.truncated)
        if rows.size:
            fresh = self.begin(np.asarray(begin_keys)[rows])
            states, now = jax.tree.map(partial(_replaced, rows), (states, now), fresh)
        return BatchState(states, key), time_step(result, led_to, now)


def stepwise(environment: Environment) -> Stepwise:
    """The programs of an environment, the same for all that are equal to it."""
    try:
        return _shared(cast(Hashable, environment))
    except TypeError:  # it cannot be hashed
        return Stepwise(environment)


@lru_cache(maxsize=4)
def _shared(environment: Any) -> Stepwise:
    return Stepwise(environment)


@partial(jax.jit, static_argnums=1)
def _reset_keys(key: jax.Array, num_envs: int) -> tuple[jax.Array, jax.Array]:
    """As `batch.reset_keys`; those of the environments as plain numbers."""
    key, keys = reset_keys(key, num_envs)
    return key, jax.random.key_data(keys)


@partial(jax.jit, static_argnums=1)
def _step_keys(key: jax.Array, num_envs: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """As `batch.step_keys`, with a key for the next episode of each environment; both as plain numbers."""
    key, keys, reset_key = step_keys(key, num_envs)
    return key, jax.random.key_data(keys), jax.random.key_data(jax.random.split(reset_key, num_envs))


def _begun(environment: Environment, key: jax.Array) -> tuple[Any, View]:
    return begin(environment, jax.random.wrap_key_data(key))


def _stepped(environment: Environment, key: jax.Array, state: Any, actions: jax.Array) -> tuple[StepResult, View]:
    result = environment.step(jax.random.wrap_key_data(key), state, actions)
    return result, see(environment, result.state, result.observations)


def _in_blocks(program: Callable[..., Any], *batches: Any) -> Any:
    """What a program that takes `BLOCK` rows at once makes of any number of them."""
    batches = jax.tree.map(_held, batches)
    count = len(jax.tree.leaves(batches)[0])
    parts = []
    for first in range(0, count, BLOCK):
        rows = np.resize(np.arange(first, min(first + BLOCK, count)), BLOCK)
        parts.append(jax.tree.map(_held, program(*jax.tree.map(itemgetter(rows), batches))))
    return jax.tree.map(lambda *leaves: _joined(leaves)[:count], *parts)


def _held(leaf: Any) -> Any:
    """An array as numpy's, if it has such a thing."""
    return leaf if _is_key(leaf) else np.asarray(leaf)


def _joined(leaves: tuple[Any, ...]) -> Any:
    if len(leaves) == 1:
        return leaves[0]
    return jnp.concatenate(leaves) if _is_key(leaves[0]) else np.concatenate(leaves)


def _replaced(rows: np.ndarray, old: Any, new: Any) -> Any:
    """`old` with other rows."""
    if _is_key(old):
        return old.at[rows].set(new)
    changed = old.copy()
    changed[rows] = new
    return changed


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
