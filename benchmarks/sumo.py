"""SUMO: environment steps, training and evaluation against the simulation alone, per second of processor time.

The simulation alone plays recorded commands in one process, without observations, rewards or policies. Everything else
is measured in turns with it, as processor time of all processes: how busy the machine is with other things moves that
far less than a clock. An environment step is one decision of 0.5 s for all agents.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import psutil

from averse.environments.protocol import HostVector, TimeStep
from averse.environments.sumo.environment import SumoIntersection
from averse.environments.sumo.simulation import Simulation
from averse.evaluation import learned, play_host
from averse.training import configure
from averse.training.host import HostGroup

ROUNDS = 3
PROCESSES = (1, 2, 8, 16)
STEPS = 4_000  # of all environments together, in each round
UPDATES = 8
EPISODES = 256


def processor_seconds() -> float:
    """Processor time so far of this process and all that descend from it."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in [me, *me.children(recursive=True)])


def measured(work: Callable[[], int]) -> tuple[float, float]:
    """Steps per second of processor time, and per second."""
    began, clock = processor_seconds(), time.perf_counter()
    steps = work()
    return steps / (processor_seconds() - began), steps / (time.perf_counter() - clock)


class Alone:
    """The simulator by itself, in a process of its own (libsumo holds one simulation per process)."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sumo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def rate(self, kind: str) -> float:
        """Steps per processor second; `exact`: with the resets of evaluation, `cheap`: with those of training."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{kind}\n")
        self._child.stdin.flush()
        return float(self._child.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait()


def _random(generator: np.random.Generator, step: TimeStep) -> np.ndarray:
    return (generator.random(step.available.shape) * step.available).argmax(-1).astype(np.int32)


def _serve() -> None:
    """What `Alone` starts: records episodes of random manoeuvres, then plays them whenever it is asked to."""
    environment, generator, recorded = SumoIntersection(), np.random.default_rng(0), []
    with environment.vector(1) as vector:
        step = vector.reset(np.arange(40)[None])
        while not vector.pool.fields(vector.rows)["flags"]["idle"].all():
            step = vector.step(_random(generator, step))
            recorded.append(vector.pool.fields(vector.rows)["actions"]["actions"][0].copy())
    simulation = Simulation(environment.task())
    for line in sys.stdin:
        began, seed = time.process_time(), 0
        simulation.reset(0, True)
        for commands in recorded:
            if simulation.step(commands).done:
                seed += 1
                simulation.reset(seed, line.strip() == "exact")
        print(len(recorded) / (time.process_time() - began), flush=True)


def _report(what: str, alone: Alone, kind: str, work: Callable[[], int]) -> None:
    work()  # compiled, and the simulators warm
    rates, walls, ratios = [], [], []
    for _ in range(ROUNDS):
        floor = alone.rate(kind)
        rate, wall = measured(work)
        rates.append(rate), walls.append(wall), ratios.append(rate / floor)
    print(
        f"  {what:<24} {statistics.median(rates):7,.0f} steps per processor second, {statistics.median(walls):7,.0f} "
        f"steps/s; {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) of the simulation alone",
        flush=True,
    )


def _stepping(vector: HostVector) -> Callable[[], int]:
    generator, now = np.random.default_rng(0), [vector.reset_endless(0)]
    count = STEPS // vector.num_envs

    def work() -> int:
        for _ in range(count):
            now[0] = vector.step(_random(generator, now[0]))
        return count * vector.num_envs

    return work


def sumo() -> None:
    """Random manoeuvres in 1 to 16 processes, training of rqe-mappo, evaluation of a policy; four agents, humans."""
    print(f"sumo-intersection, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    environment, alone = SumoIntersection(), Alone()
    for kind in ("cheap", "exact"):
        rates = [alone.rate(kind) for _ in range(ROUNDS)]
        print(f"  simulation alone, {kind} resets: {statistics.median(rates):,.0f} steps per processor second")
    for num_envs in PROCESSES:
        with environment.vector(num_envs) as vector:
            _report(f"stepping, {num_envs} processes", alone, "cheap", _stepping(vector))
    config = configure("sumo-intersection", "rqe-mappo", steps=1e6)
    learner = config.build_learner(environment)
    with environment.vector(learner.num_envs) as vector:
        group = HostGroup(environment, learner, config.trials, vector)
        group.start()

        def train() -> int:
            group.advance(UPDATES)
            return UPDATES * learner.rollout_steps * learner.num_envs

        _report(f"training, {learner.num_envs} processes", alone, "cheap", train)
        actor = learned(learner, greedy=False)(group.state)
        times = []

        def evaluate() -> int:
            began = processor_seconds()
            played = play_host(vector, actor, np.arange(EPISODES), horizon=environment.horizon, gamma=0.99)
            times.append((processor_seconds() - began) / EPISODES)
            return int(played.length.sum())

        _report(f"evaluation, {learner.num_envs} processes", alone, "exact", evaluate)
        print(f"  an episode of evaluation takes {statistics.median(times[1:]) * 1e3:.1f} ms of processor time")
    alone.close()


if __name__ == "__main__":
    _serve()
