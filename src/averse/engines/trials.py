"""Runs and evaluations by a cluster: trials are dealt out, trained by workers, joined; policies are played by workers.

What a worker computes is to the last bit what this process would: it runs the same program (`training/parts.py`), and
that is compiled for the same number of threads (`cluster.worker_variables`).
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from rich.progress import Progress

from averse.compilation import is_hasty
from averse.engines import worker
from averse.engines.cluster import Cluster, State, Task
from averse.environments import is_compiled
from averse.evaluation.accounts import Played
from averse.evaluation.evaluator import Player
from averse.progress import progress_bar, progress_text
from averse.settings import Positive, check_value
from averse.training.config import TrainingConfig
from averse.training.directory import begun, check_place, check_source, locked
from averse.training.parts import Part, deal_out, join
from averse.training.run import Run, build, groups_of, load

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A run to be trained, in a fresh run directory or (`resuming`) in an existing one."""

    config: TrainingConfig
    path: Path
    resuming: bool = False
    overwrite: bool = False
    hasty: bool = False  # compile with few of XLA's optimisations

    def check(self) -> None:
        """What can be told before any work. Raises AverseError for a place or a source that is none."""
        there = self.path if self.resuming else None
        environment, _ = build(self.config, there)
        check_source(self.config, there, len(groups_of(self.config, is_compiled(environment))))
        check_place(self.path, self.config, self.resuming, self.overwrite)


def train_run(
    cluster: Cluster,
    work: Work,
    *,
    progress: bool = False,
    stop: Event | None = None,
    checkpoint_minutes: float | None = None,
) -> Run:
    """Carry out one run: what `run_training` does, by a cluster, with the same outcome.

    Raises what `run_training` and `Cluster.run` raise.
    """
    with progress_bar(disable=not progress) as bar:
        train_runs(cluster, [work], bar, stop=stop, checkpoint_minutes=checkpoint_minutes)
    return load(work.path)


def train_runs(
    cluster: Cluster,
    works: Sequence[Work],
    bar: Progress,
    *,
    stop: Event | None = None,
    checkpoint_minutes: float | None = None,
) -> None:
    """Carry out runs, all of their trials at once; each is joined as soon as all of its own are trained.

    Raises, before any work, AverseError for a directory that is taken, that another process trains in, or that nodes do
    not share; then what `Cluster.run` raises.
    """
    checkpoint_minutes = check_value("checkpoint_minutes", Positive | None, checkpoint_minutes)
    for work in works:
        work.check()
    with contextlib.ExitStack() as stack:
        parts: list[tuple[Work, Part]] = []
        for work in works:
            stack.enter_context(locked(work.path))
            stack.enter_context(begun(work.path, work.config, work.resuming, work.overwrite))
            # A GPU takes all trials of a group in one program; other groups would be other programs.
            most = 1 if cluster.engine.gpus else cluster.slots
            parts += [(work, part) for part in deal_out(work.path.resolve(), work.config, most)]
        cluster.check(works[0].path)
        tasks = [_task(work, part) for work, part in parts]
        left = {work.path: sum(other is work for other, _ in parts) for work in works}

        def ended(number: int, warnings: list[str]) -> None:
            work = parts[number][0]
            left[work.path] -= 1
            _warn(warnings)
            if not left[work.path]:
                join(work.path, work.config, [part for other, part in parts if other is work])

        with _shown(bar, "train", tasks) as show:
            cluster.run(tasks, show, ended, stop, checkpoint_minutes)


def player(cluster: Cluster, progress: bool = False) -> Player:
    """Who plays episodes in place of this process, for `averse.evaluate(..., player=...)`.

    Args:
      progress: show how trials do.
    """

    def play(
        run: Run, seeds: Mapping[int, np.ndarray], greedy: bool, num_envs: int | None, advance: Callable[[int], None]
    ) -> Iterable[Played]:
        assert run.path is not None
        cluster.check(run.path)
        dealt = [
            {int(trial): seeds[trial] for trial in trials}
            for trials in np.array_split(list(seeds), min(cluster.slots, len(seeds)))
        ]
        tasks = [
            Task(
                worker.play,
                (run.path.resolve(), run.config, each, greedy, num_envs),
                run.config.method,
                trials=len(each),
                size=sum(map(len, each.values())),
                hasty=is_hasty(),
            )
            for each in dealt
        ]

        def ended(number: int, outcome: tuple[list[Played], list[str]]) -> None:
            advance(tasks[number].size)
            _warn(outcome[1])

        with progress_bar(disable=not progress) as bar, _shown(bar, "play", tasks) as show:
            outcomes = cluster.run(tasks, show, ended)
        return [played for outcome, _ in outcomes for played in outcome]

    return play


def _task(work: Work, part: Part) -> Task:
    count = len(part.trials)
    name = f"{work.config.method} in {work.path}, trials {part.trials[0]} to {part.trials[-1]}"
    return Task(worker.train, (part,), name, count, work.config.total_updates, work.hasty)


@contextlib.contextmanager
def _shown(bar: Progress, verb: str, tasks: Sequence[Task]) -> Iterator[Callable[[State], None]]:
    """A line of the display: how far all tasks have come, in trials, and the figures of those that run."""
    weights = [task.trials / task.size for task in tasks]
    line = bar.add_task(verb, total=sum(task.trials for task in tasks), figures="")

    def show(state: State) -> None:
        come = sum(done * weights[number] for number, done in state.done.items())
        running = state.done.keys() - state.finished - state.failed
        figures: list[dict[str, Any]] = [row for number in running for row in state.figures.get(number, [])]
        words = f"  {progress_text(None, figures)}" if figures else ""
        bar.update(line, completed=come, figures=f"{state}{words}")

    yield show


def _warn(warnings: Iterable[str]) -> None:
    for warning in dict.fromkeys(warnings):
        logger.warning(warning)
