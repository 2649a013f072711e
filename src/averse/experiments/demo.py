"""The demo: two learned policies and the simple drivers on the SUMO intersection, with a table and pictures.

The policies are trained in the intersection's compiled twin and then driven through SUMO as they are, or trained in the
simulator; every figure is measured in SUMO.
"""

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console

from averse.commands import Command
from averse.environments.registry import make
from averse.environments.sumo.environment import SumoIntersection, require_simulator
from averse.evaluation import Episodes, Evaluation, summarise
from averse.evaluation.evaluator import evaluate
from averse.evaluation.host_play import learned
from averse.evaluation.memory import check_episodes
from averse.evaluation.play import FIRST_SEED
from averse.evaluation.recording import record
from averse.evaluation.tables import summary_table
from averse.experiments.drivers import drive, driver
from averse.files import new_folder, write_text
from averse.progress import progress_bar
from averse.report.animation import animate
from averse.report.plots import plot_returns
from averse.settings import Count, Positive, settings
from averse.training import configure, describe, run_training
from averse.training.config import TrainingConfig
from averse.training.run import Run

NEUTRAL, AVERSE = "mappo", "rqe-mappo"
SIMULATOR = "sumo-intersection"
TRAINED_IN = {"twin": "intersection", "sumo": SIMULATOR}
STEPS = {"twin": 1.2e6, "sumo": 1e5}
SETTINGS: dict[str, dict[str, Any]] = {NEUTRAL: {}, AVERSE: {"tau": 3.0}}
# What it takes on 2 free cores (docs/performance.md), to tell beforehand.
COMPILING = 0.7  # minutes, both methods at once
PER_STEP = {"twin": 1.3e-6, "sumo": 2 / (2478 * 60)}  # minutes, both methods
PER_EPISODE = 1.2 / 500  # minutes, all policies and drivers
BASELINES = ("rush", "gap-acceptance:-1")
COLUMNS = ("arrival", "crossing_time")


@settings
class DemoArguments:
    """Train mappo and rqe-mappo to cross an intersection, compare both with simple drivers in SUMO, draw both."""

    out: Path = Path("runs/demo")
    """Directory to create."""
    trained_in: Annotated[Literal["twin", "sumo"], tyro.conf.arg(name="in")] = "twin"
    """Train in the intersection's compiled twin, or in the simulator; all figures are measured in SUMO."""
    steps: Positive | None = None
    """Environment steps (of 4 cars each) that each method is trained for; 1.2e6 in the twin, 1e5 in sumo."""
    episodes: Count = 500
    """Evaluation episodes per policy; tails deserve 1,000, which take a minute longer."""


def run(arguments: DemoArguments) -> None:
    """The command.

    Raises AverseError, before any work, for an `out` that cannot be made, too many episodes, and if SUMO is missing.
    """
    environment = make(SIMULATOR)
    assert isinstance(environment, SumoIntersection)
    require_simulator()
    budget = STEPS[arguments.trained_in] if arguments.steps is None else arguments.steps
    configs = {
        method: configure(TRAINED_IN[arguments.trained_in], method, budget, **given)
        for method, given in SETTINGS.items()
    }
    check_episodes(environment, None, arguments.episodes, len(configs) + len(BASELINES), FIRST_SEED)
    out = new_folder(arguments.out)
    console, clock = Console(), Clock()
    console.print(expectation(arguments), highlight=False)
    for config in configs.values():
        console.print(describe(config), highlight=False)
    # The compiled programs keep a core busy each; the simulator's processes keep all of them busy for one run.
    runs = train_all(configs, out, at_once=len(configs) if arguments.trained_in == "twin" else 1)
    clock.ended("training")
    tables = drive_all(environment, runs, arguments.episodes, out)
    clock.ended("driving in SUMO")
    summaries = {name: summarise(table, environment.metrics, learnt=name in runs) for name, table in tables.items()}
    table = summary_table(summaries, COLUMNS, title=f"{environment.name}, {environment.num_agents} agents")
    console.print(table)
    write_text(out / "table.md", replace(table, title="").markdown())
    figures = {name: summary.to_dict() for name, summary in summaries.items()}
    write_text(out / "table.json", json.dumps(figures, indent=2) + "\n")
    learnt = {name: tables[name] for name in SETTINGS}
    plot_returns(learnt, out / "returns.png", title=f"Returns of {environment.num_agents} cars at a junction")
    film(environment, runs, tables, out / "episode.gif")
    clock.ended("pictures")
    console.print(f"written to {out}: table.md, returns.png, episode.gif, and the two runs", highlight=False)
    console.print(clock.told(), highlight=False)


def expectation(arguments: DemoArguments) -> str:
    """What is about to be done and about how long it takes, in a sentence."""
    where = arguments.trained_in
    steps = STEPS[where] if arguments.steps is None else arguments.steps
    minutes = COMPILING + PER_STEP[where] * steps + PER_EPISODE * arguments.episodes
    return (
        f"{NEUTRAL} and {AVERSE} are trained for {steps:,.0f} steps each, then play {arguments.episodes:,} episodes in "
        f"SUMO, as {' and '.join(BASELINES)} do: about {math.ceil(minutes)} minutes on 2 free cores"
    )


class Clock:
    """Where the time went: how long each part took, one after another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def ended(self, part: str) -> None:
        """A part that began when the one before it ended."""
        now = time.perf_counter()
        self.seconds[part] = now - self._last
        self._last = now

    def told(self) -> str:
        """All parts, minutes:seconds, and their sum."""

        def minutes(seconds: float) -> str:
            return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"

        parts = ", ".join(f"{part} {minutes(seconds)}" for part, seconds in self.seconds.items())
        return f"time: {parts}; {minutes(sum(self.seconds.values()))} in all"


def train_all(configs: dict[str, TrainingConfig], out: Path, at_once: int) -> dict[str, Run]:
    """The runs of some configurations, so many at once, each in the folder of its name; all end if one fails."""
    stop = Event()
    with progress_bar(disable=False) as bar, ThreadPoolExecutor(at_once) as threads:
        futures = {
            name: threads.submit(run_training, config, out / name, progress=bar, stop=stop)
            for name, config in configs.items()
        }
        try:
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            stop.set()
            threads.shutdown(cancel_futures=True)
            raise


def drive_all(environment: SumoIntersection, runs: dict[str, Run], episodes: int, out: Path) -> dict[str, Episodes]:
    """The episodes of the learned policies and of the simple drivers in SUMO, on the same seeds."""
    seeds = np.arange(FIRST_SEED, FIRST_SEED + episodes)
    tables = {}
    for name, run in runs.items():
        evaluation = evaluate(run, episodes, environment=SIMULATOR, progress=True)
        assert isinstance(evaluation, Evaluation)
        tables[name] = evaluation.episodes
    with progress_bar(disable=False) as bar:
        for name in BASELINES:
            task = bar.add_task(name, total=episodes)
            tables[name] = drive(*driver(name, environment), seeds, lambda n: bar.advance(task, n))  # noqa: B023
            tables[name].write_parquet(out / f"{name.replace(':', '-')}.parquet")
    return tables


def film(environment: SumoIntersection, runs: dict[str, Run], tables: dict[str, Episodes], path: Path) -> None:
    """Both policies side by side on a seed in which they differ: only the risk-neutral one crashed, if there is any."""
    neutral, averse = (tables[name].metrics["collision"] > 0 for name in (NEUTRAL, AVERSE))
    differ = tables[NEUTRAL].seed[neutral & ~averse]
    seed = int(differ[0]) if differ.size else FIRST_SEED
    actors = {name: learned(runs[name].learner, greedy=False)(runs[name].state(0)) for name in SETTINGS}
    animate([record(environment, actor, seed, name) for name, actor in actors.items()], path)


COMMAND = Command(DemoArguments, run)
