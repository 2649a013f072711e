"""Whole training in compiled environments: rollouts, learning and metrics, end to end."""

import statistics

from averse.training import configure
from averse.training.compiled import CompiledGroup
from benchmarks.timing import paired, ratio

UPDATES = 20


def group(method: str, seeds: int, **settings) -> CompiledGroup:
    """Runs on risky-cartpole: 64 environments x 128 steps, 4 epochs, 4 minibatches, two 64-unit layers, 51 atoms."""
    config = configure("risky-cartpole", method, steps=1e7, seeds=seeds, **settings)
    environment = config.build_environment()
    runs = CompiledGroup(environment, config.build_learner(environment), config.trials)  # type: ignore[arg-type]
    runs.start()
    return runs


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
    """Ten seeds in one program against one seed: cost in units of a single run."""
    for method in ("ppo", "rqe-mappo"):
        one, ten = group(method, 1), group(method, 10)
        seconds = paired({"one": lambda: one.advance(UPDATES // 4), "ten": lambda: ten.advance(UPDATES // 4)})  # noqa: B023
        print(f"{method}: ten seeds in one program cost {ratio(seconds['ten'], seconds['one'])} single runs")
