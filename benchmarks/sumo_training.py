"""Training in SUMO against stepping the same simulations with random actions."""

import statistics
import time

import numpy as np

from averse.training import configure
from averse.training.host import HostGroup

ROUNDS, UPDATES = 5, 4


def sumo() -> None:
    """Alternates updates of rqe-mappo with as many environment steps under random actions, in the same processes."""
    config = configure("sumo-intersection", "rqe-mappo", steps=1e6)
    environment = config.build_environment()
    learner = config.build_learner(environment)
    generator = np.random.default_rng(0)
    with environment.vector(learner.num_envs) as vector:  # type: ignore[attr-defined]
        group = HostGroup(environment, learner, config.trials, vector)  # type: ignore[arg-type]
        group.start()
        group.advance(2)
        group.snapshot()  # so that each measurement begins with fresh episodes
        training, stepping = [], []
        steps = UPDATES * learner.rollout_steps
        for seed in range(ROUNDS):
            began = time.perf_counter()
            group.advance(UPDATES)
            training.append(time.perf_counter() - began)
            group.snapshot()
            step = vector.reset_endless(seed)
            began = time.perf_counter()
            for _ in range(steps):
                choice = (generator.random(step.available.shape) * step.available).argmax(-1)
                step = vector.step(choice.astype(np.int32))
            stepping.append(time.perf_counter() - began)
    ratios = [b / a for a, b in zip(training, stepping)]
    total = steps * learner.num_envs
    print(
        f"sumo-intersection, {learner.num_envs} processes: stepping {total / statistics.median(stepping):,.0f} steps/s,"
        f" rqe-mappo training {total / statistics.median(training):,.0f} steps/s;"
        f" training keeps {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) of the speed"
    )
