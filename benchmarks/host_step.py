"""Where the time of a training step goes in a cheap world of somebody else's: `gymnasium:CartPole-v1`."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import gymnasium
import jax
import numpy as np

from averse import machine
from averse.training import configure
from averse.training.host import HostGroup

SIZES = {"num_envs": 16, "rollout_steps": 64}
STEPS = 1_000  # of all environments, in a round
ROUNDS = 5


def host_step() -> None:
    """ppo on CartPole-v1, 16 environments: microseconds of a step of all of them, on so many processes."""
    cores = machine.cores()
    print(f"ppo on CartPole-v1, 16 environments, {cores} cores, microseconds of a step of all environments:")
    _measure("1 process", 1)
    _measure(f"{cores} processes", cores, whole=True)
    _measure(f"{cores} processes that sleep", cores, sleep=True)
    _measure("a process each", cores, own_process=True)


def _measure(name: str, cores: int, whole: bool = False, sleep: bool = False, own_process: bool = False) -> None:
    """Training and the workers' part of it, and on request all other parts.

    `sleep` lets workers sleep until the next command, as where there are more of them than cores.
    """
    config = configure("gymnasium:CartPole-v1", "ppo", steps=1e7, own_process=own_process, **SIZES)
    world: Any = config.build_environment()
    learner = config.build_learner(world)
    updates = STEPS // SIZES["rollout_steps"]
    answers = [*([] if own_process else [cores]), 0 if sleep else cores]  # to the world, and to the pool
    with mock.patch.object(machine, "cores", side_effect=answers), world.vector(SIZES["num_envs"]) as vector:
        group = HostGroup(world, learner, config.trials, vector)
        group.start()
        _report(f"training, {name}", lambda: group.advance(updates), updates * SIZES["rollout_steps"])
        _report("  to the workers and back", lambda: _exchanges(vector), STEPS)
        if whole:
            _report(f"    {SIZES['num_envs'] // cores} steps of the world", partial(_steps, cores), STEPS)
            _parts(group, vector)


def _steps(cores: int) -> None:
    """What Gymnasium alone takes, in this process, for one core's share of the steps."""
    env = gymnasium.make("CartPole-v1", disable_env_checker=True)
    env.reset(seed=0)
    for action in np.random.default_rng(0).integers(0, 2, STEPS * SIZES["num_envs"] // cores).tolist():
        if env.step(action)[2]:
            env.reset()


def _parts(group: HostGroup, vector: Any) -> None:
    """What does not depend on the processes: learning, and acting with what states and keeps the answers."""
    rollouts: Any = group._rollouts
    trajectory, _ = rollouts.play(group.state, group._key, 0)

    def learn() -> None:
        group.state, _ = jax.block_until_ready(group._update(group.state, trajectory))

    _report("  learning", learn, SIZES["rollout_steps"])
    rows = vector.rows
    with mock.patch.object(vector, "exchange", return_value=rows):
        _report("  acting", lambda: rollouts.play(group.state, group._key, 0), SIZES["rollout_steps"])


def _exchanges(vector: Any) -> None:
    generator = np.random.default_rng(0)
    for actions in generator.integers(0, 2, (STEPS, SIZES["num_envs"], 1), np.int32):
        vector.exchange(actions)


def _report(name: str, run: Callable[[], Any], steps: int) -> None:
    run()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) / steps * 1e6)
    print(f"  {name:30} {statistics.median(times):>6,.0f} ({min(times):,.0f}-{max(times):,.0f})", flush=True)
