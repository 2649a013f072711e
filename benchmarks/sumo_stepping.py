"""Environment steps per second of `sumo-intersection`: `python benchmarks/sumo_stepping.py [--steps 2000]`.

First one simulation alone in this process, with random actions, cheap resets, and neither observations nor rewards
computed; then whole vectors of 1 to 16 worker processes. An environment step is one decision of 0.5 s for all agents.
"""

import argparse
import os
import time

import numpy as np

from averse.environments.intersection.task import IntersectionTask
from averse.environments.sumo.environment import SumoIntersection
from averse.environments.sumo.simulation import Simulation


def simulation_rate(task: IntersectionTask, steps: int) -> float:
    """Steps per CPU-second of the simulator alone."""
    simulation = Simulation(task)
    actions = np.random.default_rng(0).integers(5, size=(steps, task.num_agents))
    simulation.reset(0, True)
    began = time.process_time()
    for episode, row in enumerate(actions):
        if simulation.step(row).done:
            simulation.reset(episode, False)
    rate = steps / (time.process_time() - began)
    simulation.close()
    return rate


def vector_rate(environment: SumoIntersection, num_envs: int, steps: int) -> tuple[float, float]:
    """Steps per second of a vector, and the share of this process's CPU time in it."""
    actions = np.random.default_rng(0).integers(5, size=(steps, num_envs, environment.num_agents))
    with environment.vector(num_envs) as vector:
        vector.reset_endless(0)
        for row in actions[:50]:
            vector.step(row)
        began, cpu = time.perf_counter(), time.process_time()
        for row in actions:
            vector.step(row)
        seconds = time.perf_counter() - began
        return steps * num_envs / seconds, (time.process_time() - cpu) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for agents, rate in ((4, 0.0), (4, 0.2), (8, 0.2), (16, 0.2)):
        environment = SumoIntersection(num_agents=agents, human_rate=rate)
        alone = simulation_rate(IntersectionTask(num_agents=agents, human_rate=rate), steps)
        print(f"{agents} agents, {rate:g} humans/s: simulation alone {alone:,.0f} steps per CPU-second")
        for num_envs in (1, 2, 8, 16):
            total, share = vector_rate(environment, num_envs, max(steps // num_envs, 200))
            print(f"    {num_envs:3d} processes: {total:9,.0f} steps/s ({share:.0%} of a core in the parent)")


if __name__ == "__main__":
    main()
