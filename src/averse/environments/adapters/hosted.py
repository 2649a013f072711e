"""A compiled environment behind the interface of host environments, for drivers written in numpy."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.actions import checked_actions
from averse.environments.protocol import Environment, TimeStep


class _Row(NamedTuple):
    """One environment's episode."""

    state: Any
    key: jax.Array
    observations: jax.Array


class HostedVector:
    """`num_envs` copies of a compiled environment as a `protocol.HostVector`; each step is one compiled call.

    An episode is a deterministic function of its seed and the actions taken.
    """

    def __init__(self, environment: Environment, num_envs: int):
        self.environment, self.num_envs = environment, num_envs
        self._seeds: np.ndarray | None = None
        self.led_to: Any = None
        """The states that the last actions led to, or in which episodes began; leaves [B, ...]."""

    def reset(self, seeds: np.ndarray) -> TimeStep:
        """See `HostVector.reset`; seeds uint32 [B, K]."""
        self._seeds = np.asarray(seeds, np.uint32)
        return self._start()

    def reset_endless(self, seed: int) -> TimeStep:
        """See `HostVector.reset_endless`."""
        self._seeds = None
        self._generator = np.random.default_rng(seed)
        return self._start()

    def _start(self) -> TimeStep:
        self._round = np.zeros(self.num_envs, int)
        self._rows = _begin(self.environment, self._next_seeds())
        self.led_to = self._rows.state
        observations, state, available = jax.device_get(_look(self.environment, self._rows))
        return TimeStep.first(observations, state, available, self.environment.metrics)

    def _next_seeds(self) -> np.ndarray:
        if self._seeds is None:
            return self._generator.integers(0, 2**32, self.num_envs, np.uint32)
        last = self._seeds.shape[1] - 1
        return self._seeds[np.arange(self.num_envs), np.minimum(self._round, last)]

    def step(self, actions: np.ndarray) -> TimeStep:
        """See `HostVector.step`. Raises AverseError for actions outside the space, before anything is stepped."""
        world = self.environment
        actions = checked_actions(world.action_space, actions, (self.num_envs, world.num_agents))
        self._rows, result = _advance(world, self._rows, jnp.asarray(actions))
        self.led_to = self._rows.state
        idle = np.zeros(self.num_envs, bool) if self._seeds is None else self._round >= self._seeds.shape[1]
        following = jax.device_get(_look(self.environment, self._rows))
        observations, state, available = following
        terminated, truncated = np.asarray(result.terminated), np.asarray(result.truncated)
        done = (terminated.all(-1) | truncated) & ~idle
        if done.any():
            self._round += done
            fresh = _begin(self.environment, self._next_seeds())
            self._rows = jax.tree.map(partial(_where, done), fresh, self._rows)
            observations, state, available = jax.device_get(_look(self.environment, self._rows))
        return TimeStep(
            observations=observations,
            global_state=state,
            available=available,
            rewards=np.where(idle[:, None], 0, result.rewards).astype(np.float32),
            costs=np.where(idle[:, None], 0, result.costs).astype(np.float32),
            terminated=terminated & ~idle[:, None],
            truncated=truncated & ~idle,
            next_observations=following[0],
            next_global_state=following[1],
            next_available=following[2],
            info={name: np.where(idle, np.nan, value).astype(np.float32) for name, value in result.info.items()},
        )

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> "HostedVector":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _where(done: np.ndarray, fresh: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(done.reshape(-1, *[1] * (old.ndim - 1)), fresh, old)


# Compiled once for all vectors of an environment.


@partial(jax.jit, static_argnums=0)
@partial(jax.vmap, in_axes=(None, 0))
def _begin(environment: Environment, seed: jax.Array) -> _Row:
    key, reset_key = jax.random.split(jax.random.key(seed))
    state, observations = environment.reset(reset_key)
    return _Row(state, key, observations)


@partial(jax.jit, static_argnums=0)
@partial(jax.vmap, in_axes=(None, 0, 0))
def _advance(environment: Environment, row: _Row, actions: jax.Array) -> tuple[_Row, Any]:
    key, step_key = jax.random.split(row.key)
    result = environment.step(step_key, row.state, actions)
    return _Row(result.state, key, result.observations), result


@partial(jax.jit, static_argnums=0)
@partial(jax.vmap, in_axes=(None, 0))
def _look(environment: Environment, row: _Row) -> tuple[jax.Array, jax.Array, jax.Array]:
    return row.observations, environment.global_state(row.state), environment.available_actions(row.state)
