"""Networks that read sets beside dense ones: what is learned in a given processor time at the junction."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from averse.compilation import keep_programs
from averse.report.plots import plot_learning_curves
from averse.training import configure
from averse.training.compiled import CompiledGroup

STEPS = 6e5
SEEDS = (0, 1, 2)
UPDATES = 2  # per turn
WINDOW = 2.5  # s of processor time, over which returns are averaged
FIGURE = Path("build/networks.png")


def networks() -> None:
    """Return while learning by processor time, `rqe-mappo` at tau 3 in the twin, three seeds; a table and a picture."""
    keep_programs()  # a network's program is compiled once for all seeds
    trials = {network: [_Trial(network, seed) for seed in SEEDS] for network in ("sets", "dense")}
    for k in range(len(SEEDS)):
        waiting: list[Iterator[None]] = [of_seeds[k].turns() for of_seeds in trials.values()]
        while waiting:  # in turns: a machine that slows down does so for both
            waiting = [turns for turns in waiting if next(turns, turns) is None]
    end = max(trial.seconds[-1] for of_seeds in trials.values() for trial in of_seeds)
    grid = np.arange(WINDOW, end + WINDOW, WINDOW)
    curves = {name: np.array([trial.curve(grid) for trial in of_seeds]) for name, of_seeds in trials.items()}
    print(
        f"rqe-mappo at the intersection, {STEPS:,.0f} steps, seeds {SEEDS}: mean return of the episodes that ended in"
    )
    print(f"the last {WINDOW:g} s before so many seconds of processor time, compilation apart")
    print("  seconds " + "".join(f"{at:7.3g}" for at in grid[1::2]) + "   us per step")
    for name, values in curves.items():
        each = [1e6 * trial.seconds[-1] / trial.steps for trial in trials[name]]
        told = "".join(f"{value:7.2f}" for value in values.mean(0)[1::2])
        print(f"  {name:7} {told}   {np.median(each):.1f} ({min(each):.1f}-{max(each):.1f})")
    FIGURE.parent.mkdir(exist_ok=True)
    plot_learning_curves(
        {name: (grid, values) for name, values in curves.items()},
        FIGURE,
        title="What is learned in a given processor time",
        xlabel="seconds of processor time, compilation apart",
        ylim=(-3.0, 0.0),
    )
    print(f"written to {FIGURE}")


class _Trial:
    """A training, a few updates at a time."""

    def __init__(self, network: str, seed: int):
        config = configure("intersection", "rqe-mappo", steps=STEPS, seeds=(seed,), tau=3.0, network=network)
        environment, self.updates = config.build_environment(), config.total_updates
        self.group = CompiledGroup(environment, config.build_learner(environment), config.trials)  # type: ignore[arg-type]
        self.steps = self.updates // UPDATES * UPDATES * self.group.learner.num_envs * self.group.learner.rollout_steps
        self.seconds: list[float] = []
        self.returns: list[float] = []

    def turns(self) -> Iterator[None]:
        """Train, and wait after each turn."""
        self.group.start()
        self.group.advance(UPDATES)  # compiles
        self.group.start()
        spent = 0.0
        for _ in range(self.updates // UPDATES):
            began = time.process_time()
            _, (record,) = self.group.advance(UPDATES)
            spent += time.process_time() - began
            self.seconds.append(spent)
            self.returns.append(float(np.nanmean(record.returns)))
            yield

    def curve(self, grid: np.ndarray) -> np.ndarray:
        """Mean return within the window before each time; NaN once training has ended."""
        seconds, returns = np.array(self.seconds), np.array(self.returns)
        within = [(seconds > at - WINDOW) & (seconds <= at) for at in grid]
        return np.array([returns[which].mean() if which.any() else np.nan for which in within])
