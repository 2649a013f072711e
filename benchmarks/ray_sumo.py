"""Simulators in Ray actors: what they cost beside a local pool, what a round trip costs, and what that predicts.

All is measured in turns, in one run, as processor time; a clock tells little on a machine that is busy with other
things. Ray's own processes are counted with the actors, the simulators of the local pool with that pool.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import psutil

from averse.engines import Engine, opened
from averse.engines.actors import ActorCrew
from averse.environments.sumo.environment import SumoIntersection
from averse.environments.workers.placement import crews_from
from averse.environments.workers.pool import WorkerPool
from averse.environments.workers.process import Assignment
from averse.training import configure
from averse.training.host import HostGroup
from benchmarks.still_world import LAYOUT, WORDS, Still
from benchmarks.sumo import STEPS, _stepping

SIMULATORS = 16
ACTORS = (1, 2)
ROUNDS = 9
BATCHES = (1, 4, 16, 64, 256, 1024)
TRIPS = 400
CORES = (1, 2, 10, 100, 1_000)
PER_CORE = (16, 64)  # simulators


class Cost(NamedTuple):
    """Seconds of one round."""

    processors: float
    clock: float
    learner: float  # of `processors`
    simulators: float


def ray_sumo() -> None:
    """The same work by a local pool and by actors; then round trips; then what the model of the costs predicts."""
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    with SumoIntersection().vector(1):
        pass  # what starts the local pool's processes is not Ray's, which ends all that began since
    with opened(Engine("ray")) as cluster:
        assert cluster is not None
        ray = cluster.ray
        step = _stepping_beside_local(ray)
        learner = _learner()
        trip = _round_trips(ray)
    _predict(step, learner, trip)


def _stepping_beside_local(ray: Any) -> float:
    """Seconds of a processor that a step of one simulator takes."""
    environment, found = SumoIntersection(), []
    print(f"sumo-intersection, {SIMULATORS} simulators, random manoeuvres:")
    for actors in ACTORS:
        with environment.vector(SIMULATORS) as local, _in_actors(ray, actors, environment.vector) as remote:
            work = {"local pool": _stepping(local), f"{actors} actors": _stepping(remote)}
            theirs = [set(vector.pool.process_ids) for vector in (local, remote)]
            costs = _in_turns(work, theirs)
        for name, rows in costs.items():
            rates = [STEPS / row.processors for row in rows], [STEPS / row.clock for row in rows]
            ratios = [one.processors / row.processors for one, row in zip(costs["local pool"], rows, strict=True)]
            print(
                f"  {name:<12} {statistics.median(rates[0]):7,.0f} steps per processor second, "
                f"{statistics.median(rates[1]):7,.0f} steps/s; {statistics.median(ratios):.3f} "
                f"({min(ratios):.2f}-{max(ratios):.2f}) of the local pool",
                flush=True,
            )
        found += [row.simulators / STEPS for row in costs["local pool"]]
    return statistics.median(found)


def _in_actors(ray: Any, actors: int, start: Callable[[int], Any], num_envs: int = SIMULATORS) -> Any:
    with crews_from(partial(ActorCrew, ray, actors, 1)):
        return start(num_envs)


def _in_turns(work: Mapping[str, Callable[[], Any]], simulators: Sequence[set[int]]) -> dict[str, list[Cost]]:
    """Costs of each round, the first of which warms up. Of the first work only its own simulators are counted."""
    costs: dict[str, list[Cost]] = {name: [] for name in work}
    local = simulators[0]
    for round_ in range(ROUNDS + 1):
        for number, (name, each) in enumerate(work.items()):
            began, clock = _seconds(), time.perf_counter()
            each()
            passed, now = time.perf_counter() - clock, _seconds()
            spent = {pid: seconds - began.get(pid, 0.0) for pid, seconds in now.items()}
            counted = {os.getpid(), *local} if number == 0 else spent.keys() - local
            if round_:
                mine = sum(spent.get(pid, 0.0) for pid in simulators[number])
                costs[name].append(Cost(sum(spent.get(pid, 0.0) for pid in counted), passed, spent[os.getpid()], mine))
    return costs


def _seconds() -> dict[int, float]:
    """Processor time so far of this process and of each that descends from it."""
    me, found = psutil.Process(), {}
    for process in [me, *me.children(recursive=True)]:
        try:
            found[process.pid] = sum(process.cpu_times()[:2])
        except psutil.Error:  # it has ended
            continue
    return found


def _learner() -> tuple[float, float]:
    """Seconds of a processor that rqe-mappo takes for a decision: what any takes, and for each simulator."""
    found = []
    for num_envs in (8, 32):
        config = configure("sumo-intersection", "rqe-mappo", steps=1e6, num_envs=num_envs)
        environment = SumoIntersection(**config.environment_parameters)
        learner = config.build_learner(environment)
        with environment.vector(num_envs) as vector:
            group = HostGroup(environment, learner, config.trials, vector)
            group.start()
            group.advance(2)
            times = []
            for _ in range(ROUNDS // 3):
                began = time.process_time()
                group.advance(2)
                times.append((time.process_time() - began) / (2 * learner.rollout_steps))
        found.append(statistics.median(times))
        print(f"learning, {num_envs} simulators: {found[-1] * 1e3:.2f} ms of the learner's processor per decision")
    each = max((found[1] - found[0]) / (32 - 8), 0.0)
    return max(found[0] - 8 * each, 0.0), each


class _Echo:
    """A Ray actor that answers a call as an actor of simulators answers a decision."""

    def step(self, actions: np.ndarray) -> np.ndarray:
        return np.zeros((len(actions), WORDS), np.int32)


def _round_trips(ray: Any) -> tuple[float, float]:
    """Microseconds of an exchange that moves nothing: the learner's, for an actor and for each row."""
    print("a round trip of rows of 0.8 kB, in microseconds of processors (and of the clock):")
    echo = ray.remote(num_cpus=0, enable_task_events=False)(_Echo).remote()
    learner = []
    for rows in BATCHES:
        local, remote, actions = _still(rows), _in_actors(ray, 1, _still, rows), np.zeros((rows, 4), np.int32)
        try:
            for pool in (local, remote):
                pool.reset_rows([Assignment((0,))] * rows)
            work = {
                "local pool": partial(_repeated, partial(local.step_rows, actions)),
                "actor": partial(_repeated, partial(remote.step_rows, actions)),
                "Ray's call": partial(_repeated, partial(_called, ray, echo, actions)),
            }
            simulators = [set(local.process_ids), set(remote.process_ids), set()]
            costs = _in_turns(work, simulators)
        finally:
            for pool in (local, remote):
                pool.close()
        us = 1e6 / TRIPS
        told = [
            f"{name} {statistics.median(row.processors for row in found) * us:6,.0f} "
            f"({statistics.median(row.clock for row in found) * us:6,.0f})"
            for name, found in costs.items()
        ]
        print(f"  {rows:5} rows: {', '.join(told)}", flush=True)
        both = zip(costs["local pool"], costs["actor"], strict=True)
        learner.append(statistics.median(one.processors - other.processors for other, one in both) / TRIPS)
    slope, start = np.polyfit(BATCHES, learner, 1)
    return max(float(start), 0.0), max(float(slope), 0.0)


def _still(rows: int) -> WorkerPool:
    return WorkerPool(Still, LAYOUT, rows, processes=1, import_main=False)


def _called(ray: Any, echo: Any, actions: np.ndarray) -> None:
    ray.get(echo.step.remote(actions))


def _repeated(each: Callable[[], Any]) -> None:
    for _ in range(TRIPS):
        each()


def _predict(step: float, learner: tuple[float, float], trip: tuple[float, float]) -> None:
    """The model: a decision of n simulators on each of C cores, one actor per core, takes

    D = l0 + l1 n C + r0 C + r1 n C + n s

    seconds, as actors wait for the learner and the learner for them: of learning l0 and l1 per simulator, of the round
    trip r0 per actor and r1 per row, of a simulator's step s.
    """
    (l0, l1), (r0, r1) = learner, trip
    print(
        f"model: s {step * 1e6:.0f} us, l0 {l0 * 1e6:.0f} us, l1 {l1 * 1e6:.1f} us, r0 {r0 * 1e6:.0f} us, "
        f"r1 {r1 * 1e6:.2f} us"
    )
    for each in PER_CORE:
        for cores in CORES:
            parts = {
                "simulators": each * step,
                "learner": l0 + l1 * each * cores,
                "round trips": (r0 + r1 * each) * cores,
            }
            whole = sum(parts.values())
            shares = ", ".join(f"{name} {part / whole:.0%}" for name, part in parts.items())
            print(
                f"  {cores:5,} cores of {each} simulators: {each * cores / whole:9,.0f} steps/s predicted, cores busy "
                f"{each * step / whole:.0%} of the time ({shares})"
            )
