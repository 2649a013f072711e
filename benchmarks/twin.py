"""The compiled intersection against SUMO: environment steps, and steps of training, per second of processor time.

Processor time of all processes, as the simulator works in many, all of them on one core: of two cores that share a
program each does less in its second. Both are measured in turns, with random actions that are the same number of
decisions for the same number of cars.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import numpy as np
import psutil

from averse.compilation import jit
from averse.environments import make
from averse.environments.batch import reset_batch, step_batch
from averse.environments.protocol import Environment, HostEnvironment, HostVector
from averse.training import configure
from averse.training.compiled import CompiledGroup
from averse.training.host import HostGroup

ROUNDS = 5
TWIN_ENVS, TWIN_STEPS = 256, 200
SUMO_ENVS, SUMO_STEPS = 16, 100
TWIN_UPDATES, SUMO_UPDATES = 4, 2


def processor_seconds() -> float:
    """Processor time so far of this process and all that descend from it."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in [me, *me.children(recursive=True)])


def _rate(work: Callable[[], int]) -> float:
    """Steps per processor second."""
    began = processor_seconds()
    steps = work()
    return steps / (processor_seconds() - began)


def _stepping(num_agents: int, **parameters: float) -> tuple[Callable[[], int], HostVector, Callable[[], int]]:
    twin = make("intersection", num_agents=num_agents, **parameters)
    assert isinstance(twin, Environment)

    def play(key):
        def step(carry, preferences):
            batch, available = carry
            batch, seen = step_batch(twin, batch, (preferences * available).argmax(-1))
            return (batch, seen.available), (seen.observations.sum(), seen.global_state.sum(), seen.rewards.sum())

        batch, first = reset_batch(twin, key, TWIN_ENVS)
        preferences = jax.random.uniform(key, (TWIN_STEPS, *first.available.shape))
        return jax.lax.scan(step, (batch, first.available), preferences)[1]

    run = jit(play)
    jax.block_until_ready(run(jax.random.key(0)))
    keys = iter(jax.random.split(jax.random.key(1), 1000))

    def in_twin() -> int:
        for _ in range(4):
            jax.block_until_ready(run(next(keys)))
        return 4 * TWIN_ENVS * TWIN_STEPS

    simulator = make("sumo-intersection", num_agents=num_agents, **parameters)
    assert isinstance(simulator, HostEnvironment)
    vector = simulator.vector(SUMO_ENVS)
    state = {"step": vector.reset_endless(0)}
    generator = np.random.default_rng(0)

    def in_sumo() -> int:
        for _ in range(SUMO_STEPS):
            available = state["step"].available
            choice = (generator.random(available.shape) * available).argmax(-1)
            state["step"] = vector.step(choice.astype(np.int32))
        return SUMO_ENVS * SUMO_STEPS

    in_sumo()
    return in_twin, vector, in_sumo


def _report(what: str, twin: list[float], simulator: list[float]) -> None:
    ratios = [a / b for a, b in zip(twin, simulator)]
    print(
        f"{what}: twin {statistics.median(twin):,.0f}, SUMO {statistics.median(simulator):,.0f} steps per "
        f"processor second: {statistics.median(ratios):.0f} times ({min(ratios):.0f}-{max(ratios):.0f})"
    )


def twin() -> None:
    """Environment steps at 4, 8 and 16 cars, and whole training of rqe-mappo at 4, in both."""
    me = psutil.Process()
    cores = me.cpu_affinity()
    if len(cores) > 1:  # a process keeps to one core only if it does so from its start
        me.cpu_affinity(cores[:1])
        subprocess.run([sys.executable, "-m", "benchmarks", "twin"], check=True)
        me.cpu_affinity(cores)
        return
    print(f"1 of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    cases: list[tuple[int, dict[str, float]]] = [(4, {"human_rate": 0.0}), (4, {}), (8, {}), (16, {})]
    for num_agents, parameters in cases:
        began = time.perf_counter()
        in_twin, vector, in_sumo = _stepping(num_agents, **parameters)
        with vector:
            rates = [(_rate(in_twin), _rate(in_sumo)) for _ in range(ROUNDS)]
        humans = "no humans" if parameters else "humans"
        _report(f"stepping, {num_agents} agents, {humans}", *map(list, zip(*rates)))
        print(f"  ({time.perf_counter() - began:.0f} s, with compilation)")
    fast = configure("intersection", "rqe-mappo", steps=1e6)
    environment = fast.build_environment()
    learner = fast.build_learner(environment)
    assert isinstance(environment, Environment)
    compiled = CompiledGroup(environment, learner, fast.trials)
    compiled.start()
    slow = configure("sumo-intersection", "rqe-mappo", steps=1e6)
    simulator = slow.build_environment()
    assert isinstance(simulator, HostEnvironment)
    pupil = slow.build_learner(simulator)

    def train_twin() -> int:
        compiled.advance(TWIN_UPDATES)
        return TWIN_UPDATES * learner.num_envs * learner.rollout_steps

    with simulator.vector(pupil.num_envs) as vector:
        host = HostGroup(simulator, pupil, slow.trials, vector)
        host.start()

        def train_sumo() -> int:
            host.advance(SUMO_UPDATES)
            return SUMO_UPDATES * pupil.num_envs * pupil.rollout_steps

        train_twin(), train_sumo()
        rates = [(_rate(train_twin), _rate(train_sumo)) for _ in range(ROUNDS)]
    _report("training rqe-mappo, 4 agents", *map(list, zip(*rates)))
