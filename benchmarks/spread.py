"""MAPPO of averse and of BenchMARL on PettingZoo's simple_spread, at equal steps, sizes and seeds.

BenchMARL is no dependency. Where it is not to be had, the benchmark says in a line what to install, and does nothing.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy import stats

from averse.training import configure
from averse.training.host import HostGroup

WORLD = "pettingzoo:mpe2.simple_spread_v3"  # three agents, five actions each, episodes of 25 steps
CHILD = Path(__file__).with_name("benchmarl_child.py")
SIZES = {"num_envs": 16, "rollout_steps": 125}
SEEDS = 3
PARTS = 5  # of training, over each of which returns are averaged


def spread() -> None:
    """mappo on simple_spread beside BenchMARL's: an agent's mean return while training, by environment steps.

    Each agent earns half of what it does itself and half of what all do (`local_ratio` .5), in both. Both have 16 x 125
    steps per update, 4 passes of 4 minibatches, two layers of 64 units (tanh), gamma .99, lambda .95, an entropy weight
    of .01 and a step size of 7e-4; averse's falls to a tenth.
    """
    python = os.environ.get("BENCHMARL_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import benchmarl, mpe2"], capture_output=True, check=False).returncode:
        print(
            "spread: skipped; python -m venv marl, marl/bin/pip install benchmarl mpe2 pettingzoo, and say "
            "BENCHMARL_PYTHON=marl/bin/python"
        )
        return
    batch = SIZES["num_envs"] * SIZES["rollout_steps"]
    steps = int(float(os.environ.get("SPREAD_STEPS", "1e5"))) // batch * batch
    ours = [_our_training(seed, steps) for seed in range(SEEDS)]
    theirs = [_their_training(python, seed, steps) for seed in range(SEEDS)]
    bounds = [round(steps / batch * part / PARTS) for part in range(PARTS + 1)]
    print(
        f"an agent's mean return in each of {PARTS} parts, {SEEDS} seeds, 95 % intervals, up to so many thousand steps:"
    )
    print(" " * 24 + "".join(f"{last * batch / 1000:>18,.0f}" for last in bounds[1:]))
    for name, curves in (("averse mappo", np.array(ours)), ("BenchMARL mappo", np.array(theirs))):
        print(
            f"  {name:22}" + "".join(f"{over_seeds(curves[:, a:b].mean(1)):>18}" for a, b in itertools.pairwise(bounds))
        )


def over_seeds(values: np.ndarray) -> str:
    """The mean over seeds with Student's 95 % interval; of a single seed the value alone."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{values.mean():.1f} +- {stats.t.ppf(0.975, len(values) - 1) * stats.sem(values):.1f}"


def _our_training(seed: int, steps: int) -> list[float]:
    """The mean return of the episodes that ended in each update."""
    settings = {"epochs": 4, "minibatches": 4, "segment_length": 25, "hidden": (64, 64), "gamma": 0.99, "lam": 0.95}
    config = configure(WORLD, "mappo", steps=steps, seeds=[seed], learning_rate=7e-4, epsilon=0.01, **settings, **SIZES)
    world = config.build_environment()
    learner = config.build_learner(world)
    with world.vector(learner.num_envs) as vector:  # type: ignore[attr-defined]
        group = HostGroup(world, learner, config.trials, vector)  # type: ignore[arg-type]
        group.start()
        returns = []
        for _ in range(steps // (SIZES["num_envs"] * SIZES["rollout_steps"])):
            _, (episodes,) = group.advance(1)
            returns.append(float(np.nanmean(episodes.returns)))
    return returns


def _their_training(python: str, seed: int, steps: int) -> list[float]:
    """The same of BenchMARL's."""
    command = [python, str(CHILD), *map(str, (seed, steps, *SIZES.values()))]
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])["returns"]
