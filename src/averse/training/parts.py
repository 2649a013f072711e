"""A run whose trials are dealt out in parts: each is trained in a folder of its own, by any process, and all joined.

On a CPU every trial goes through the program of a single one (`compiled.py`), so that a part computes to the last bit
what the whole run would. Where a program takes all trials of a group at once, a part is a whole group.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from averse.compilation import single_precision
from averse.environments import is_compiled
from averse.environments.protocol import HostEnvironment
from averse.errors import AverseError
from averse.files import folder_written_whole, write_text
from averse.stopping import signals_held
from averse.training.checkpoints import Checkpoints
from averse.training.config import TrainingConfig
from averse.training.directory import PARTS, forget_replaced, locked
from averse.training.loop import Disk, Rhythm, Stop, advance_group, begin
from averse.training.metrics import kept_lines
from averse.training.run import build, checkpoint_folder, groups_of, read_config, trainee_of
from averse.training.sizes import require_memory
from averse.training.trials import chosen, side_by_side

_JOINED = ".joined"  # parts that are in the run by now and are being thrown away
_KEPT = 2  # checkpoints of a run, as `Checkpoints` keeps

Tell = Callable[[int, list[dict[str, float]]], None]
"""`tell(updates, figures)`: how far each trial of a part has come, and the figures of each; none where it begins."""


@dataclass(frozen=True)
class Part:
    """Trials of one group of a run, next to each other, that are trained together."""

    run: Path
    group: int
    trials: tuple[int, ...]

    @property
    def folder(self) -> Path:
        """Where its checkpoints and metrics are until the parts are joined."""
        return self.run / PARTS / _name(self.trials)

    def checkpoints(self) -> Checkpoints:
        """Those in its folder."""
        return Checkpoints(checkpoint_folder(self.folder, 0))


def deal_out(path: Path, config: TrainingConfig, most: int) -> list[Part]:
    """The parts of a run directory that the caller has locked: those that are there, else new ones.

    What the run has been trained already is dealt out with the trials.

    Args:
      most: into how many parts a group of trials may go; 1 where one program takes all of them at once.

    Raises AverseError where there are parts of another run.
    """
    environment, learner = build(config, path)
    groups = groups_of(config, is_compiled(environment))
    shutil.rmtree(path / _JOINED, ignore_errors=True)
    if (path / PARTS).is_dir():
        return _parts_there(path, groups)
    parts = [
        Part(path, number, tuple(int(trial) for trial in trials))
        for number, group in enumerate(groups)
        for trials in np.array_split(group, min(most, len(group)))
    ]
    with folder_written_whole(path / PARTS) as folder:
        for part in parts:
            (folder / _name(part.trials)).mkdir()
        for number, group in enumerate(groups):
            whole = checkpoint_folder(path, number)
            if not whole.is_dir():
                continue
            with contextlib.closing(Checkpoints(whole)) as store:
                if (done := store.latest()) is None:
                    continue
                snapshot = store.restore(done, trainee_of(config, environment, learner, group).abstract())
            for part in (each for each in parts if each.group == number):
                with contextlib.closing(Checkpoints(checkpoint_folder(folder / _name(part.trials), 0))) as own:
                    own.save(done, _of_part(snapshot, part, group))
    return parts


@single_precision
def train_part(part: Part, tell: Tell, threads: int | None = None, checkpoint_minutes: float | None = None) -> None:
    """Train a part to its end, from its last checkpoint on if it has one.

    Args:
      tell: called at the beginning and after each chunk of updates.
      threads: on a CPU, how many of its trials are computed at the same time.
      checkpoint_minutes: as of `run_training`.

    Signals are answered as `run_training` does. Raises AverseError where another process trains the part, and for what
    does not fit in memory; DivergenceError and WritingError as `run_training` does.
    """
    config = read_config(part.run)
    environment, learner = build(config, part.run)
    group = list(part.trials)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(part.folder))
        vector = None
        if isinstance(environment, HostEnvironment):
            vector = stack.enter_context(environment.vector(learner.num_envs))
        trainee = trainee_of(config, environment, learner, group, vector, threads)
        require_memory(trainee, environment)
        disk = stack.enter_context(contextlib.closing(Disk(part.folder, [group], resuming=True, track=())))
        held = stack.enter_context(signals_held())
        done = begin(trainee, config, group, disk.stores[0])
        tell(done, [])
        rhythm = Rhythm.of(config, checkpoint_minutes)
        for updates, _, figures in advance_group(rhythm, trainee, group, done, 0, disk, None, Stop(held, None)):
            done += updates
            tell(done, figures)


@single_precision
def join(path: Path, config: TrainingConfig, parts: Sequence[Part]) -> None:
    """Make one run of finished parts, as if one process had trained it; the caller has locked the run directory.

    Raises AverseError for a part that is not finished or damaged, and WritingError if the disk is full.
    """
    environment, learner = build(config, path)
    groups = groups_of(config, is_compiled(environment))
    write_text(path / "metrics.jsonl", "".join(_lines(path, parts)))
    for number, group in enumerate(groups):
        own = [part for part in parts if part.group == number]
        with contextlib.ExitStack() as stack:
            stores = [stack.enter_context(contextlib.closing(part.checkpoints())) for part in own]
            there = sorted(set.intersection(*(set(store.steps()) for store in stores)))
            if config.total_updates not in there:
                raise AverseError(f"{path} cannot be joined: a part of trials {group} is not finished")
            whole = stack.enter_context(contextlib.closing(Checkpoints(checkpoint_folder(path, number))))
            for done in there[-_KEPT:]:
                if done <= (whole.latest() or 0):
                    continue
                snapshots = [
                    store.restore(done, trainee_of(config, environment, learner, list(part.trials)).abstract())
                    for store, part in zip(stores, own)
                ]
                whole.save(done, _together(snapshots))
    forget_replaced(path)
    (path / PARTS).rename(path / _JOINED)  # in one step: what is left of parts never looks like some to go on with
    shutil.rmtree(path / _JOINED)


def _name(trials: Sequence[int]) -> str:
    return f"{trials[0]}-{trials[-1]}"


def _parts_there(path: Path, groups: list[list[int]]) -> list[Part]:
    """The parts that were dealt out before. Raises AverseError where they are not all trials of the groups."""
    try:
        ends = sorted(tuple(map(int, each.name.split("-"))) for each in (path / PARTS).iterdir())
        dealt = [tuple(range(first, last + 1)) for first, last in ends]
    except ValueError:
        dealt = []
    of_trial = {trial: number for number, group in enumerate(groups) for trial in group}
    if [trial for trials in dealt for trial in trials] != sorted(of_trial) or any(
        of_trial[trials[0]] != of_trial[trials[-1]] for trials in dealt
    ):
        raise AverseError(f"{path / PARTS} does not hold the trials of this run; choose another --out or remove it")
    return [Part(path, of_trial[trials[0]], trials) for trials in dealt]


def _of_part(snapshot: Any, part: Part, group: list[int]) -> Any:
    """What a part has of its group's snapshot."""
    if len(part.trials) == len(group):
        return snapshot
    first = group.index(part.trials[0])
    return chosen(snapshot, slice(first, first + len(part.trials)))


def _together(snapshots: list[Any]) -> Any:
    """The snapshot of a group from those of its parts; a part that is the whole group need not have a trial axis."""
    return side_by_side(snapshots)


def _lines(path: Path, parts: Sequence[Part]) -> list[str]:
    """The lines of a run's metrics: those from before it was dealt out, and those of the parts, as if in one go."""
    found: list[tuple[tuple[int, int, int], str]] = []
    begins: dict[int, int] = {}  # trial -> the first update that its part told of
    group = {trial: part.group for part in parts for trial in part.trials}
    logs = [log for part in parts if (log := part.folder / "metrics.jsonl").is_file()]
    for log in [*logs, *([path / "metrics.jsonl"] if (path / "metrics.jsonl").is_file() else [])]:
        for line in kept_lines(log):
            row = json.loads(line)
            trial, update = int(row["trial"]), int(row["update"])
            if log.parent != path:
                begins[trial] = min(update, begins.get(trial, update))
            elif update >= begins.get(trial, update + 1):
                continue
            found.append(((group[trial], update, trial), line))
    return [line for _, line in sorted(found, key=lambda each: each[0])]
