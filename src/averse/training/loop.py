"""The training loop: groups of trials advance in chunks of updates, tell how they do, and leave checkpoints."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from time import monotonic, perf_counter
from typing import Any, NamedTuple

import numpy as np
from rich.progress import Progress

from averse.compilation import single_precision
from averse.environments import is_compiled
from averse.environments.protocol import HostEnvironment
from averse.environments.workers.placement import start_vector
from averse.errors import AverseError, DivergenceError, WritingError
from averse.files import as_path, told_if_not_written
from averse.learners.contract import Learner
from averse.progress import progress_bar, progress_text
from averse.settings import Positive, check_value
from averse.stopping import HeldSignals, signals_held
from averse.training.checkpoints import Checkpoints, any_nan
from averse.training.config import TrainingConfig
from averse.training.critic_support import support_warnings
from averse.training.directory import begun, check_place, check_source, forget_replaced, locked, refuse_parts
from averse.training.fine_tuning import begin_with
from averse.training.metrics import MetricsLog, episode_figures
from averse.training.run import Run, build, checkpoint_folder, groups_of, trainee_of
from averse.training.sizes import require_memory
from averse.training.tracking import Tracker, require_trackers, sinks
from averse.training.trainee import Trainee
from averse.training.trials import chosen, side_by_side

logger = logging.getLogger(__name__)

REPORTS = 100  # lines of metrics that a trial writes, at most

Monitor = Callable[[Learner, Any], dict[str, float]]
"""(learner, its state in one trial) -> further figures by name, written whenever metrics are."""


class Disk:
    """The files of a run that is being trained: a checkpoint folder per group, and the log of metrics."""

    def __init__(self, path: Path, groups: list[list[int]], resuming: bool, track: Sequence[Tracker]):
        self.path = path
        self.stores = [Checkpoints(checkpoint_folder(path, number)) for number in range(len(groups))]
        self.done = [store.latest() or 0 for store in self.stores]
        kept = {trial: done for group, done in zip(groups, self.done) for trial in group} if resuming else None
        self.log = MetricsLog(path / "metrics.jsonl", kept, sinks(track, path))

    def tell(self, number: int, rows: list[tuple[int, dict[str, float], int, int, dict[str, float]]]) -> None:
        """Write down how the trials of a group do.

        Raises WritingError if it cannot be, as on a full disk, or where a tracker takes no more.
        """
        kept = self.stores[number].kept()
        with told_if_not_written(self.log.path, kept):
            try:
                for row in rows:
                    self.log.write(*row)
            except WritingError as error:  # a tracker's
                raise WritingError(f"{error}; {kept}") from error

    def save(self, number: int, done: int, snapshot: Any) -> None:
        """Write a checkpoint of a group. Raises WritingError if it cannot be."""
        self.stores[number].save(done, snapshot)
        forget_replaced(self.path)

    def close(self) -> None:
        self.log.close()
        for store in self.stores:
            store.close()


@single_precision
def run_training(
    config: TrainingConfig,
    path: Path | None,
    *,
    resuming: bool = False,
    overwrite: bool = False,
    progress: bool | Progress = False,
    stop: Event | None = None,
    track: Sequence[Tracker] = (),
    checkpoint_minutes: float | None = None,
    monitor: Monitor | None = None,
) -> Run:
    """Carry out a configuration, in a fresh run directory or (`resuming`) in an existing one.

    Args:
      path: the run directory; without it nothing is written.
      overwrite: whether a run that is there already may be thrown away, once the new one has its first checkpoint.
      progress: whether to show a bar, or the display to add one to.
      stop: if another thread sets it, training ends early, by KeyboardInterrupt as from the keyboard.
      track: where else metrics go: csv, tensorboard, wandb, mlflow.
      checkpoint_minutes: leave a checkpoint also whenever so many minutes have gone by since the last one.
      monitor: what else to write down of each trial whenever metrics are written, such as an exact score.

    SIGINT, and SIGTERM where a Python function answers it, are answered after the present chunk of updates, whose
    checkpoint is then there; so is `stop`. A second signal is answered at once.

    Raises AverseError, before any work, for a directory that is taken or that another process trains in, an environment
    that nothing could build again, and what would not fit in memory; DivergenceError if the parameters stop being
    finite; WritingError if results cannot be written, as on a full disk. What was saved before is kept.
    """
    _check_objects(config, progress, stop, monitor)
    for name, value in (("overwrite", overwrite), ("resuming", resuming)):
        check_value(name, bool, value)
    track = check_value("track", tuple[Tracker, ...], track)
    path = None if path is None and not resuming else as_path("path", path)
    checkpoint_minutes = check_value("checkpoint_minutes", Positive | None, checkpoint_minutes)
    environment, learner = build(config, path if resuming else None)
    groups = groups_of(config, is_compiled(environment))
    require_trackers(track)
    check_source(config, path if resuming else None, len(groups))
    if path is not None:
        check_place(path, config, resuming, overwrite)
        if resuming:
            refuse_parts(path)
    first = trainee_of(config, environment, learner, groups[0])
    require_memory(first, environment)
    with contextlib.ExitStack() as stack:
        if path is not None:
            stack.enter_context(locked(path))
        vector = None  # started before a run is thrown away: the simulator may be missing
        if isinstance(environment, HostEnvironment):
            vector = stack.enter_context(start_vector(environment, learner.num_envs))
        disk = None
        if path is not None:
            stack.enter_context(begun(path, config, resuming, overwrite))
            disk = stack.enter_context(contextlib.closing(Disk(path, groups, resuming, track)))
        rhythm = Rhythm.of(config, checkpoint_minutes)
        bar = progress if isinstance(progress, Progress) else stack.enter_context(progress_bar(disable=not progress))
        task = bar.add_task(config.method, total=config.total_updates * len(config.trials), figures="compiling")
        states = []
        held = stack.enter_context(signals_held())
        for number, group in enumerate(groups):
            again = number == 0 and vector is None  # its program to start trials has been traced already
            trainee = first if again else trainee_of(config, environment, learner, group, vector)
            done = begin(trainee, config, group, None if disk is None else disk.stores[number])
            bar.update(task, advance=done * len(group), figures="compiling" if done < rhythm.total else "done before")
            for updates, speed, figures in advance_group(
                rhythm, trainee, group, done, number, disk, monitor, Stop(held, stop)
            ):
                bar.update(task, advance=updates * len(group), figures=progress_text(speed, figures))
            states.append(trainee.learner_states())
    return Run(config, path, side_by_side(states), (config.total_updates,) * len(config.trials))


def _check_objects(config: Any, progress: Any, stop: Any, monitor: Any) -> None:
    """Raises AverseError for the first of these arguments of `run_training` that is not of the kind that it must be."""
    if not isinstance(config, TrainingConfig):
        raise AverseError(f"config must be a TrainingConfig (averse.configure(...)), not {config!r:.60}")
    if not isinstance(progress, Progress):
        check_value("progress", bool, progress)
    if stop is not None and not isinstance(stop, Event):
        raise AverseError(f"stop must be a threading.Event, not {stop!r:.60}")
    if monitor is not None and not callable(monitor):
        raise AverseError(f"monitor must be a function (learner, state) -> figures, not {monitor!r:.60}")


def begin(trainee: Trainee, config: TrainingConfig, group: list[int], store: Checkpoints | None) -> int:
    """Restore the trials from their newest checkpoint, or start them; the updates that they have done."""
    done = 0 if store is None else store.latest() or 0
    if store is not None and done:
        trainee.restore(store.restore(done, trainee.abstract()))
        return done
    trainee.start()
    if config.fine_tune is not None:
        begin_with(trainee, group, Path(config.fine_tune), config)
    return 0


class Rhythm(NamedTuple):
    """How often a trial tells how it does, and leaves checkpoints."""

    total: int  # updates in all
    chunk: int  # updates between two reports
    every: int  # updates between two checkpoints
    seconds: float  # between two checkpoints at most, as seen at reports

    @classmethod
    def of(cls, config: TrainingConfig, checkpoint_minutes: float | None) -> "Rhythm":
        total = config.total_updates
        chunk = max(1, total // REPORTS)
        every = max(chunk, total // config.checkpoints // chunk * chunk)
        return cls(total, chunk, every, math.inf if checkpoint_minutes is None else 60 * checkpoint_minutes)

    def due(self, before: int, done: int, seconds: float) -> bool:
        """Whether to leave a checkpoint after a chunk, so many seconds after the last one.

        The chunks of a run that was extended need not end at multiples of `every`.
        """
        return before // self.every < done // self.every or done == self.total or seconds >= self.seconds


class Stop(NamedTuple):
    """Who may ask a training to end early."""

    held: HeldSignals
    event: Event | None

    def wanted(self) -> bool:
        return self.held.waiting() or (self.event is not None and self.event.is_set())

    def carry_out(self) -> None:
        """Raise what ends the training, if somebody asked for it."""
        self.held.answer()
        if self.event is not None and self.event.is_set():
            raise KeyboardInterrupt


def advance_group(
    rhythm: Rhythm,
    trainee: Trainee,
    group: list[int],
    done: int,
    number: int,
    disk: Disk | None,
    monitor: Monitor | None,
    stop: Stop,
) -> Iterator[tuple[int, float, list[dict[str, float]]]]:
    """Advance a group from `done` updates to the end; yield each chunk's updates, steps per second and figures."""
    steps_per_update = trainee.learner.num_envs * trainee.learner.rollout_steps
    figures: list[dict[str, float]] = [{}]
    store = disk.stores[number] if disk is not None else None
    saved = monotonic()
    stop.carry_out()  # before the first chunk there is nothing to save
    while done < rhythm.total:
        count = min(rhythm.chunk, rhythm.total - done)
        began = perf_counter()
        try:
            metrics, records = trainee.advance(count)
        except AverseError as fault:  # of a world that answers what it must not
            raise AverseError(f"{fault}; {_kept(store)}") from fault
        speed = count * steps_per_update * len(group) / (perf_counter() - began)
        done += count
        _stop_if_diverged(trainee, metrics, done, store)
        figures = [{**metrics[i], **episode_figures(records[i])} for i in range(len(group))]
        if monitor is not None:
            states = trainee.learner_states()
            for i, row in enumerate(figures):
                row |= monitor(trainee.learner, chosen(states, i))
        if disk is not None:
            rows = [
                (index, trainee.trials[i], done, done * steps_per_update, {**figures[i], "steps_per_second": speed})
                for i, index in enumerate(group)
            ]
            disk.tell(number, rows)
        stopping = stop.wanted()
        if disk is not None and (stopping or rhythm.due(done - count, done, monotonic() - saved)):
            disk.save(number, done, trainee.snapshot())
            saved = monotonic()
        yield count, speed, figures
        if stopping:
            stop.carry_out()
    for warning in support_warnings(figures):
        logger.warning(warning)


def _kept(store: Checkpoints | None) -> str:
    return "nothing was saved" if store is None else store.kept()


def _stop_if_diverged(trainee: Trainee, metrics: list[dict[str, float]], done: int, store: Checkpoints | None) -> None:
    if all(np.isfinite(value) for row in metrics for value in row.values()) and not any_nan(trainee.learner_states()):
        return
    bad = [trainee.trials[i] for i, row in enumerate(metrics) if not all(np.isfinite(v) for v in row.values())]
    which = ", ".join(str(trial) for trial in bad) or "some trial"
    raise DivergenceError(
        f"training diverged by update {done} ({which}): numbers are no longer finite; {_kept(store)}. "
        "Lower the learning rate, raise tau, or narrow the support."
    )
