"""Faults in how a host environment steps: each a line, none where all is well.

Axes: T steps, B environments, A agents, n actions.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from averse.environments.checks.steps import (
    array_fault,
    expected_arrays,
    info_faults,
    num_draws,
    outside_actions,
    random_actions,
    step_faults,
)
from averse.environments.protocol import HostEnvironment, HostVector, TimeStep
from averse.errors import AverseError

MOST_STEPS = 5_000  # that are played of one environment
MOST_TRAINING_STEPS = 200
IDLE_STEPS = 2  # that are played after the last episode
_COMPARED = ("observations", "global_state", "available", "rewards", "costs", "terminated", "truncated")


def host_faults(environment: HostEnvironment, episodes: int, seed: int) -> Iterator[str]:
    """Play episodes by seeds in three environments and in one, and training episodes twice."""
    rounds = max(2, -(-episodes // 3))
    seeds = np.random.default_rng(seed).integers(0, 2**32, (3, rounds), np.uint32)
    seeds[2] = seeds[0]  # the same episodes beside each other
    most = min(rounds * environment.horizon, MOST_STEPS) + IDLE_STEPS + 1
    numbers = _Numbers(environment, seed)
    with environment.vector(3) as vector:
        first = vector.reset(seeds)
        for fault in _first_faults(environment, first):
            yield fault
            return
        many, played = _play(environment, vector, first, [numbers(0), numbers(1), numbers(0)], most, rounds)
        trained = [_train(environment, vector, numbers, seed) for _ in range(2)]
    for fault in _array_faults(environment, many):
        yield fault
        return
    yield from step_faults(environment, many, played)
    yield from _idle_faults(many, played)
    yield from _reset_faults(environment, many, played)
    if not _same(many, many, slice(0, 1), slice(2, 3)):
        yield "the same seed and actions give another episode in another environment of the batch"
    with environment.vector(1) as vector:
        first = vector.reset(seeds[:1])
        yield from _action_faults(environment, vector)  # what is refused changes nothing of what is played then
        alone, _ = _play(environment, vector, first, [numbers(0)], most, rounds)
    if not _same(many, alone, slice(0, 1), slice(0, 1)):
        yield "the same seed and actions give another episode where another number of environments is played"
    if not _same(trained[0], trained[1], slice(None), slice(None)):
        yield "reset_endless gives other episodes for the same seed and actions"


class _Numbers:
    """What random actions are drawn from: for each row the same, whatever is beside it."""

    def __init__(self, environment: HostEnvironment, seed: int):
        self.shape, self.seed = (environment.num_agents, num_draws(environment.action_space)), seed

    def __call__(self, row: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, row))


def _play(
    environment: HostEnvironment,
    vector: HostVector,
    step: TimeStep,
    generators: list[np.random.Generator],
    most: int,
    rounds: int | None,
) -> tuple[TimeStep, np.ndarray]:
    """Time steps [T, B, ...] until all are idle, and where an environment had an episode to play, bool [T, B]."""
    agents, space = environment.num_agents, environment.action_space
    favourites = np.stack([generator.random(agents) for generator in generators])
    left = np.full(len(generators), np.inf if rounds is None else rounds)
    steps, played = [], []
    idle = 0
    for _ in range(most):
        draws = np.stack([generator.random((agents, num_draws(space))) for generator in generators])
        playing = left > 0
        step = vector.step(random_actions(np, space, np.asarray(step.available), draws, favourites))
        steps.append(step)
        played.append(playing)
        left = left - (np.asarray(step.done) & playing)
        idle += not playing.any()
        if idle >= IDLE_STEPS:
            break
    return jax.tree.map(lambda *arrays: np.stack(arrays), *steps), np.stack(played)


def _train(environment: HostEnvironment, vector: HostVector, numbers: Any, seed: int) -> TimeStep:
    most = min(2 * environment.horizon, MOST_TRAINING_STEPS)
    generators = [numbers(row) for row in range(vector.num_envs)]
    return _play(environment, vector, vector.reset_endless(seed), generators, most, None)[0]


def _first_faults(environment: HostEnvironment, first: Any) -> Iterator[str]:
    if not isinstance(first, TimeStep):
        yield f"reset must return a TimeStep, not {type(first).__name__}"
        return
    yield from _array_faults(environment, jax.tree.map(lambda array: np.asarray(array)[None], first))
    if np.any(first.rewards) or np.any(first.costs) or np.any(first.terminated) or np.any(first.truncated):
        yield "the answer to a reset must say that nothing has happened (TimeStep.first): no reward, no cost, no end"


def _action_faults(environment: HostEnvironment, vector: HostVector) -> Iterator[str]:
    """Whether actions outside the space are refused; the first that is not."""
    space, lead = environment.action_space, (vector.num_envs, environment.num_agents)
    wrong = outside_actions(space, lead)
    for what, actions in {**wrong, "a text": np.full(next(iter(wrong.values())).shape, "left")}.items():
        should = f"step must raise AverseError for the action {what}, which is outside the space"
        try:
            vector.step(actions)
        except AverseError:
            continue
        except Exception as error:
            yield f"{should}, not {type(error).__name__}; averse.environments.checked_actions sees to it"
        else:
            yield f"{should}, and steps; averse.environments.checked_actions sees to it"
        return


def _array_faults(environment: HostEnvironment, steps: TimeStep) -> Iterator[str]:
    """Shapes and dtypes of time steps [T, B, ...]."""
    lead = steps.rewards.shape[:2]
    for name, (shape, dtype, axes) in expected_arrays(environment).items():
        if fault := array_fault(name, getattr(steps, name), (*lead, *shape), dtype, f"[T, B] + {axes}"):
            yield fault
    yield from info_faults(steps.info, environment.metrics, lead)


def _idle_faults(steps: TimeStep, played: np.ndarray) -> Iterator[str]:
    idle = ~played
    ended = np.any(steps.rewards[idle]) or np.any(steps.costs[idle]) or np.any(steps.done[idle])
    if ended or np.any(steps.terminated[idle]):
        yield "an environment that has played its episodes must be idle: no reward, no cost, no end"
    if any(not np.isnan(value[idle]).all() for value in steps.info.values()):
        yield "an environment that has played its episodes must be idle: its info must be NaN"


def _reset_faults(environment: HostEnvironment, steps: TimeStep, played: np.ndarray) -> Iterator[str]:
    """Observations go on where the action led, but after an end, where those of the next episode stand."""
    on = played & ~np.asarray(steps.done)
    for now, led_to in (("observations", "next_observations"), ("global_state", "next_global_state")):
        if not np.array_equal(getattr(steps, now)[on], getattr(steps, led_to)[on]):
            yield f"{now} must be the {led_to} where no episode has ended"


def _same(one: TimeStep, two: TimeStep, row: slice, other: slice) -> bool:
    """Whether rows of two plays are the same to the last bit, as far as both go."""
    length = min(len(one.rewards), len(two.rewards))

    def equal(a: np.ndarray, b: np.ndarray) -> bool:
        return np.array_equal(a[:length, row], b[:length, other], equal_nan=a.dtype.kind == "f")

    fields = all(equal(getattr(one, name), getattr(two, name)) for name in _COMPARED)
    return fields and all(equal(value, two.info[name]) for name, value in one.info.items())
