"""Faults in how a compiled environment steps: each a line, none where all is well."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.batch import BatchState, reset_batch, reset_keys, step_batch, step_keys
from averse.environments.checks.steps import (
    array_fault,
    expected_arrays,
    info_faults,
    num_draws,
    outside_actions,
    random_actions,
    step_faults,
)
from averse.environments.protocol import Box, Environment, StepResult, TimeStep

MOST_STEPS = 20_000  # of an episode that are played
MOST_BYTES = 200e6  # of time steps that are looked at
BEYOND = 20  # steps that are played after the horizon, in which the next episode begins
_REWARDS = 6  # which of what `_alone` answers
CLOSE = {"rtol": 1e-3, "atol": 1e-4}  # two programs round otherwise


def shape_faults(environment: Environment) -> Iterator[str]:
    """Shapes, dtypes and names, seen while the functions are traced: nothing is computed."""
    faults: list[str] = []
    jax.eval_shape(lambda key: faults.extend(_shape_faults(environment, key)), jax.random.key(0))
    yield from faults


def _shape_faults(environment: Environment, key: jax.Array) -> Iterator[str]:
    answer = environment.reset(key)
    if not isinstance(answer, tuple) or len(answer) != 2:
        yield f"reset must return (state, observations), not {type(answer).__name__}"
        return
    state, observations = answer
    rows = [
        ("observations of reset", observations, "observations"),
        ("global_state", environment.global_state(state), "global_state"),
        ("available_actions", environment.available_actions(state), "available"),
    ]
    result = environment.step(key, state, jnp.zeros(*_actions(environment)))
    if not isinstance(result, StepResult):
        yield f"step must return a StepResult, not {type(result).__name__}"
        return
    for name in ("observations", "rewards", "costs", "terminated", "truncated"):
        rows.append((f"{name} of step", getattr(result, name), name))
    expected = expected_arrays(environment)
    for what, array, name in rows:
        if fault := array_fault(what, array, *expected[name]):
            yield fault
    yield from info_faults(result.info, environment.metrics)
    yield from _state_faults("reset", state, "step", result.state)
    yield from _begin_faults(environment, key, state, expected["observations"])


def _actions(environment: Environment) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of one joint action."""
    space, agents = environment.action_space, environment.num_agents
    return ((agents, space.size), jnp.float32) if isinstance(space, Box) else ((agents,), jnp.int32)


def _begin_faults(environment: Environment, key: jax.Array, state: Any, observations: Any) -> Iterator[str]:
    """Of an environment that lets others draw what episodes begin with: `begin` must answer as `reset` does."""
    count = getattr(environment, "num_conditions", 0)
    if not isinstance(count, int) or count < 0:
        yield f"num_conditions must be a whole number, not {count!r:.60}"
    elif count:
        if not callable(begin := getattr(environment, "begin", None)):
            yield f"num_conditions is {count}, but there is no begin(key, conditions)"
            return
        answer = begin(key, jnp.full(count, 0.5, jnp.float32))
        if not isinstance(answer, tuple) or len(answer) != 2:
            yield f"begin must return (state, observations), not {type(answer).__name__}"
            return
        if fault := array_fault("observations of begin", answer[1], *observations):
            yield fault
        yield from _state_faults("reset", state, "begin", answer[0])


def _state_faults(now: str, first: Any, then: str, later: Any) -> Iterator[str]:
    """A loop carries the state from step to step: it must not change its form."""
    form, other = jax.tree.structure(first), jax.tree.structure(later)
    if str(form) != str(other):
        yield f"the state after {then} has another structure than that after {now}: {other}, not {form}"
        return
    for (path, one), two in zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(later)):
        before, after = _form(one), _form(two)
        if before != after:
            yield f"state{jax.tree_util.keystr(path)} is {before} after {now}, but {after} after {then}"


def _form(leaf: Any) -> str:
    dtype = jax.dtypes.canonicalize_dtype(jnp.result_type(leaf), allow_extended_dtype=True)
    return f"{dtype} {list(np.shape(leaf))}"


def purity_faults(environment: Environment) -> Iterator[str]:
    """Whether every function is the same program however often it is traced, whatever was traced between.

    What is kept in Python, or drawn by numpy, would be part of the program.
    """
    key = jax.random.key(0)
    state = jax.eval_shape(environment.reset, key)[0]
    calls: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "reset": (environment.reset, (key,)),
        "step": (environment.step, (key, state, jax.ShapeDtypeStruct(*_actions(environment)))),
        "global_state": (environment.global_state, (state,)),
        "available_actions": (environment.available_actions, (state,)),
    }
    once, again = ({name: _program(*call) for name, call in calls.items()} for _ in range(2))
    for name in calls:
        if once[name] != again[name]:
            yield (
                f"{name} is another function each time it is called: it must depend on its arguments alone, "
                "draw from its key, and keep nothing in Python"
            )


def _program(function: Callable[..., Any], inputs: tuple[Any, ...]) -> str:
    # Traced anew, as the function that is traced is a new one each time.
    return jax.jit(lambda *arguments: function(*arguments)).lower(*inputs).as_text()


def episode_faults(environment: Environment, episodes: int, seed: int) -> Iterator[str]:
    """Play a batch with automatic reset until every one of its environments has ended an episode, and one alone."""
    batch = _played(environment, episodes, seed)
    yield from step_faults(environment, batch.steps)
    first, step = (jax.tree.map(lambda x: x[0], moment) for moment in (batch.first, _moment(batch.steps, 0)))
    play_alone = jax.jit(lambda *inputs: _alone(environment, *inputs))
    alone = play_alone(*batch.keys, batch.actions[0, 0])
    names = ("observations", "global_state", "available")
    if not _close(alone[:3], [getattr(first, name) for name in names]):
        yield "reset gives another episode in a batch (vmap) than alone"
        return
    after = [getattr(step, f"next_{name}") for name in names]
    results = [step.rewards, step.costs, step.terminated, step.truncated, step.info]
    if not _close(alone[3:], [*after, *results]):
        yield "step gives another result in a batch (vmap) than alone"
    for what, actions in outside_actions(environment.action_space, (environment.num_agents,)).items():
        paid = np.asarray(play_alone(*batch.keys, jnp.asarray(actions))[_REWARDS])
        if not np.isnan(paid).all():
            yield (
                f"step pays {paid.tolist()} for the action {what}, which is outside the space: it must pay every agent "
                "NaN; averse.environments.guarded sees to it"
            )
            return


class _Batch(NamedTuple):
    """What was played: T steps, B environments."""

    first: TimeStep  # [B, ...]
    steps: TimeStep  # [T, B, ...]
    actions: np.ndarray  # [T, B, A, ...]
    keys: tuple[jax.Array, jax.Array]  # of the first environment's reset and its first step


def _moment(steps: TimeStep, t: int) -> TimeStep:
    return jax.tree.map(lambda x: x[t], steps)


def _alone(environment: Environment, reset_key: jax.Array, step_key: jax.Array, actions: jax.Array) -> tuple[Any, ...]:
    """A reset and one step without a batch."""
    state, observations = environment.reset(reset_key)
    result = environment.step(step_key, state, actions)

    def seen(state: Any, observations: jax.Array) -> tuple[jax.Array, ...]:
        return observations, environment.global_state(state), environment.available_actions(state)

    results = result.rewards, result.costs, result.terminated, result.truncated, dict(result.info)
    return *seen(state, observations), *seen(result.state, result.observations), *results


def _close(one: Any, two: Any) -> bool:
    pairs = zip(jax.tree.leaves(list(one)), jax.tree.leaves(list(two)), strict=True)
    return all(np.allclose(a, b, equal_nan=True, **CLOSE) for a, b in pairs)


def _played(environment: Environment, episodes: int, seed: int) -> _Batch:
    """Random actions, for as long as an episode may be, and a little more."""
    agents, space = environment.num_agents, environment.action_space
    num_steps = min(environment.horizon, MOST_STEPS) + BEYOND
    arrays = expected_arrays(environment).values()
    size = sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype, _ in arrays)
    num_envs = max(1, min(episodes, int(MOST_BYTES / (size * num_steps))))

    @jax.jit
    def play(key: jax.Array) -> tuple[TimeStep, TimeStep, jax.Array, jax.Array]:
        batch, first = reset_batch(environment, key, num_envs)
        favourites = jax.random.uniform(jax.random.fold_in(key, 0), (num_envs, agents))

        def step(carry: tuple[BatchState, jax.Array], key: jax.Array) -> Any:
            batch, available = carry
            draws = jax.random.uniform(key, (num_envs, agents, num_draws(space)))
            actions = random_actions(jnp, space, available, draws, favourites)
            batch, now = step_batch(environment, batch, actions)
            return (batch, now.available), (now, actions)

        keys = jax.random.split(jax.random.fold_in(key, 1), num_steps)
        steps, actions = jax.lax.scan(step, (batch, first.available), keys)[1]
        return first, steps, actions, batch.key

    key = jax.random.key(seed)
    first, steps, actions, batch_key = play(key)
    keys = reset_keys(key, num_envs)[1][0], step_keys(batch_key, num_envs)[1][0]
    return _Batch(jax.device_get(first), jax.device_get(steps), jax.device_get(actions), keys)
