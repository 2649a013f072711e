"""Batches of a compiled environment: vmap, automatic reset, `TimeStep`s."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from averse.environments.protocol import Environment, StepResult, TimeStep


class BatchState(NamedTuple):
    """The states of B environments and the key their randomness comes from."""

    states: Any  # pytree with leading axis [B]
    key: jax.Array


def reset_batch(environment: Environment, key: jax.Array, num_envs: int) -> tuple[BatchState, TimeStep]:
    """Start `num_envs` episodes; the rewards and ends of the returned TimeStep are all zero."""
    key, reset_key = jax.random.split(key)
    states, observations = jax.vmap(environment.reset)(jax.random.split(reset_key, num_envs))
    global_state = jax.vmap(environment.global_state)(states)
    agents = (num_envs, environment.num_agents)
    step = TimeStep(
        observations=observations,
        global_state=global_state,
        available=jax.vmap(environment.available_actions)(states),
        rewards=jnp.zeros(agents),
        costs=jnp.zeros(agents),
        terminated=jnp.zeros(agents, bool),
        truncated=jnp.zeros(num_envs, bool),
        next_observations=observations,
        next_global_state=global_state,
        info={name: jnp.zeros(num_envs) for name in environment.metrics},
    )
    return BatchState(states, key), step


def step_batch(environment: Environment, batch: BatchState, actions: jax.Array) -> tuple[BatchState, TimeStep]:
    """Step B environments with actions [B, A, ...]; where an episode ends, the next one begins at once."""
    num_envs = actions.shape[0]
    key, step_key, reset_key = jax.random.split(batch.key, 3)
    result: StepResult = jax.vmap(environment.step)(jax.random.split(step_key, num_envs), batch.states, actions)
    fresh_states, fresh_observations = jax.vmap(environment.reset)(jax.random.split(reset_key, num_envs))
    done = result.terminated.all(-1) | result.truncated

    def where_done(fresh, old):
        return jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), fresh, old)

    states = jax.tree.map(where_done, fresh_states, result.state)
    step = TimeStep(
        observations=where_done(fresh_observations, result.observations),
        global_state=jax.vmap(environment.global_state)(states),
        available=jax.vmap(environment.available_actions)(states),
        rewards=result.rewards,
        costs=result.costs,
        terminated=result.terminated,
        truncated=result.truncated,
        next_observations=result.observations,
        next_global_state=jax.vmap(environment.global_state)(result.state),
        info=result.info,
    )
    return BatchState(states, key), step
