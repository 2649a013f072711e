"""Batches of a compiled environment: vmap, automatic reset, `TimeStep`s."""

from collections.abc import Hashable
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from averse.environments.protocol import Environment, StepResult, TimeStep


class BatchState(NamedTuple):
    """The states of B environments and the key their randomness comes from."""

    states: Any  # pytree with leading axis [B]
    key: jax.Array


class View(NamedTuple):
    """What is seen of B environments."""

    observations: jax.Array
    global_state: jax.Array
    available: jax.Array


def reset_batch(environment: Environment, key: jax.Array, num_envs: int) -> tuple[BatchState, TimeStep]:
    """Start `num_envs` episodes."""
    key, keys = reset_keys(key, num_envs)
    states, observations = jax.vmap(environment.reset)(keys)
    return BatchState(states, key), _first_step(environment, _look(environment, states, observations))


def _first_step(environment: Environment, view: View) -> TimeStep:
    return TimeStep.first(*view, environment.metrics)


def reset_shapes(environment: Environment, num_envs: int) -> tuple[Any, TimeStep]:
    """Shapes and dtypes of the states and the `TimeStep` of `reset_batch`, without computing anything."""
    try:
        episode = _shared_shapes(cast(Hashable, environment), jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    except TypeError:  # it cannot be hashed
        episode = _episode_shapes(environment)

    def of_all(shape: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((num_envs, *shape.shape), shape.dtype)

    states, view = jax.tree.map(of_all, episode)
    return states, jax.eval_shape(partial(_first_step, environment), view)


@lru_cache(maxsize=16)
def _shared_shapes(environment: Any, double: bool) -> tuple[Any, View]:
    """Those of an episode of any environment that is equal: to trace the start of a large one takes seconds.

    Args:
      double: whether shapes are traced in double precision.
    """
    del double
    return _episode_shapes(environment)


def _episode_shapes(environment: Environment) -> tuple[Any, View]:
    return jax.eval_shape(partial(begin, environment), jax.random.key(0))


def begin(environment: Environment, key: jax.Array) -> tuple[Any, View]:
    """A fresh episode of one environment: its state and what is seen, without leading axes."""
    state, observations = environment.reset(key)
    return state, see(environment, state, observations)


def see(environment: Environment, state: Any, observations: jax.Array) -> View:
    """What is seen of one environment, without leading axes."""
    return View(observations, environment.global_state(state), environment.available_actions(state))


def reset_keys(key: jax.Array, num_envs: int) -> tuple[jax.Array, jax.Array]:
    """Of a batch that is reset: the key that it goes on with, and those of its environments [B]."""
    key, reset_key = jax.random.split(key)
    return key, jax.random.split(reset_key, num_envs)


def step_keys(key: jax.Array, num_envs: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of a batch that steps: the key that it goes on with, those of its environments [B], and that of resets."""
    key, step_key, reset_key = jax.random.split(key, 3)
    return key, jax.random.split(step_key, num_envs), reset_key


def where_done(done: jax.Array, fresh: Any, old: Any) -> Any:
    """The leaves of `fresh` where an episode has ended (`done`, bool [B]), else those of `old`; leaves [B, ...]."""

    def choose(fresh: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), fresh, old)

    return jax.tree.map(choose, fresh, old)


def step_batch(environment: Environment, batch: BatchState, actions: jax.Array) -> tuple[BatchState, TimeStep]:
    """Step B environments with actions [B, A, ...]; where an episode ends, the next one begins at once."""
    num_envs = actions.shape[0]
    key, keys, reset_key = step_keys(batch.key, num_envs)
    result: StepResult = jax.vmap(environment.step)(keys, batch.states, actions)
    done = result.terminated.all(-1) | result.truncated
    led_to = _look(environment, result.state, result.observations)
    states, now = _reset_where(environment, done, reset_key, (result.state, led_to))
    return BatchState(states, key), time_step(result, led_to, now)


def time_step(result: StepResult, led_to: View, now: View) -> TimeStep:
    """What B environments answer: the result of their steps, what these led to, and what is seen after resets."""
    return TimeStep(
        observations=now.observations,
        global_state=now.global_state,
        available=now.available,
        rewards=result.rewards,
        costs=result.costs,
        terminated=result.terminated,
        truncated=result.truncated,
        next_observations=led_to.observations,
        next_global_state=led_to.global_state,
        next_available=led_to.available,
        info=result.info,
    )


def _look(environment: Environment, states: Any, observations: jax.Array) -> View:
    return View(
        observations, jax.vmap(environment.global_state)(states), jax.vmap(environment.available_actions)(states)
    )


def _reset_where(environment: Environment, done: jax.Array, key: jax.Array, running: tuple[Any, View]) -> Any:
    """Fresh episodes where `done`, bool [B]; a few at a time, as few episodes end in any one step."""
    num_envs = done.shape[0]
    keys = jax.random.split(key, num_envs)
    few = max(1, num_envs // 16)

    def reset_few(carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        pending, running = carry
        rows = jnp.nonzero(pending, size=few, fill_value=num_envs)[0]  # rows beyond the end are dropped below
        states, observations = jax.vmap(environment.reset)(keys[rows])
        fresh = (states, _look(environment, states, observations))
        running = jax.tree.map(lambda old, new: old.at[rows].set(new, mode="drop"), running, fresh)
        return pending.at[rows].set(False, mode="drop"), running

    return jax.lax.while_loop(lambda carry: carry[0].any(), reset_few, (done, running))[1]
