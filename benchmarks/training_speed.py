"""Whole training in compiled environments: rollouts, learning and metrics, end to end."""

import statistics
import time
from functools import partial

from averse.training import configure
from averse.training.compiled import CompiledGroup
from benchmarks.timing import paired, ratio

UPDATES = 20
SEEDS = (1, 4, 10)
# The junction's networks read sets; risky-cartpole's are dense.
SEVERAL = [("intersection", "rqe-mappo", 1), ("risky-cartpole", "rqe-mappo", 5), ("risky-cartpole", "ppo", 5)]


def group(method: str, seeds: int, environment: str = "risky-cartpole", **settings) -> CompiledGroup:
    """Trials with the method's settings there; on risky-cartpole 64 environments x 128 steps, two 64-unit layers."""
    config = configure(environment, method, steps=1e7, seeds=seeds, **settings)
    built = config.build_environment()
    trials = CompiledGroup(built, config.build_learner(built), config.trials)  # type: ignore[arg-type]
    trials.start()
    return trials


def methods() -> None:
    """ppo against every other preset, one seed each."""
    names = ("ppo", "mappo", "reward-shaped-mappo", "mean-variance-mappo", "c51-cvar-mappo", "rqe-mappo")
    groups = {name: group(name, 1) for name in names}
    seconds = paired({name: lambda g=g: g.advance(UPDATES) for name, g in groups.items()})
    steps = UPDATES * 64 * 128
    print("risky-cartpole, 64 x 128 steps per update, one seed:")
    for name, times in seconds.items():
        speed = steps / statistics.median(times)
        print(f"  {name:22} {speed:>10,.0f} steps/s   speed / ppo's {ratio(seconds['ppo'], times)}")


def seeds() -> None:
    """Several seeds against one: processor time per step and seed, which other work on the machine moves least."""
    for environment, method, updates in SEVERAL:
        groups = {count: group(method, count, environment) for count in SEEDS}
        seconds = paired(
            {str(count): partial(trials.advance, updates) for count, trials in groups.items()}, 3, time.process_time
        )
        print(f"{method} on {environment}, processor time per step and seed:")
        for count, trials in groups.items():
            each = [total / count for total in seconds[str(count)]]
            steps = updates * trials.learner.num_envs * trials.learner.rollout_steps
            print(f"  {count:2} seeds {1e6 * statistics.median(each) / steps:6.1f} us   {ratio(each, seconds['1'])}")
