"""The training loop: groups of trials advance in chunks of updates, tell how they do, and leave checkpoints."""

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from filelock import FileLock, Timeout
from rich.progress import Progress

from averse.environments import is_compiled
from averse.environments.protocol import HostEnvironment
from averse.errors import AverseError, DivergenceError
from averse.files import write_text
from averse.learners.contract import Learner
from averse.progress import progress_bar, progress_text
from averse.training.checkpoints import Checkpoints, any_nan
from averse.training.config import TrainingConfig
from averse.training.fine_tuning import begin_with
from averse.training.metrics import MetricsLog, episode_figures, require_tensorboard
from averse.training.run import Run, checkpoint_folder, groups_of, read_config, trainee_of
from averse.training.trainee import Trainee

logger = logging.getLogger(__name__)

CLAMPED_MASS = 0.1  # fraction of the targets' mass beyond the support that deserves a warning
REPORTS = 100  # lines of metrics that a trial writes, at most

Monitor = Callable[[Learner, Any], dict[str, float]]
"""(learner, its state in one trial) -> further figures by name, written whenever metrics are."""


class _Disk:
    """The files of a run that is being trained: a checkpoint folder per group, and the log of metrics."""

    def __init__(self, path: Path, groups: list[list[int]], resuming: bool, tensorboard: bool):
        self.stores = [Checkpoints(checkpoint_folder(path, number)) for number in range(len(groups))]
        self.done = [store.latest() or 0 for store in self.stores]
        kept = {trial: done for group, done in zip(groups, self.done) for trial in group} if resuming else None
        self.log = MetricsLog(path / "metrics.jsonl", kept, tensorboard)

    def close(self) -> None:
        self.log.close()
        for store in self.stores:
            store.close()


def run_training(
    config: TrainingConfig,
    path: Path | None,
    *,
    resuming: bool = False,
    overwrite: bool = False,
    progress: bool | Progress = False,
    stop: Event | None = None,
    tensorboard: bool = False,
    monitor: Monitor | None = None,
) -> Run:
    """Carry out a configuration, in a fresh run directory or (`resuming`) in an existing one.

    Args:
      path: the run directory; without it nothing is written.
      overwrite: whether a run that is there already may be thrown away.
      progress: whether to show a bar, or the display to add one to.
      stop: if another thread sets it, training ends early, by KeyboardInterrupt as from the keyboard.
      tensorboard: also write TensorBoard files.
      monitor: what else to write down of each trial whenever metrics are written, such as an exact score.

    Raises AverseError for a directory that is taken, or an environment that nothing could build again, and
    DivergenceError if the parameters stop being finite.
    """
    environment = config.build_environment()
    learner = config.build_learner(environment)
    groups = groups_of(config, is_compiled(environment))
    _check_output(config, path, resuming, overwrite, tensorboard)
    with contextlib.ExitStack() as stack:
        # Before anything is written, so that a simulator that is missing leaves no half-made run behind.
        vector = None
        if isinstance(environment, HostEnvironment):
            vector = stack.enter_context(environment.vector(learner.num_envs))
        disk = None
        if path is not None:
            stack.enter_context(_run_directory(path, config, resuming, overwrite))
            disk = stack.enter_context(contextlib.closing(_Disk(path, groups, resuming, tensorboard)))
        bar = progress if isinstance(progress, Progress) else stack.enter_context(progress_bar(disable=not progress))
        task = bar.add_task(config.method, total=config.total_updates * len(config.trials), figures="compiling")
        states = []
        for number, group in enumerate(groups):
            trainee = trainee_of(config, environment, learner, group, vector)
            done = _begin(trainee, config, group, None if disk is None else disk.stores[number])
            bar.advance(task, done * len(group))
            for updates, speed, figures in _advance(config, trainee, group, done, number, disk, monitor):
                bar.update(task, advance=updates * len(group), figures=progress_text(speed, figures))
                if stop is not None and stop.is_set():
                    raise KeyboardInterrupt
            states.append(trainee.learner_states())
    learner_states = jax.tree.map(lambda *x: jnp.concatenate(x), *states)
    return Run(config, path, learner_states, (config.total_updates,) * len(config.trials))


@contextlib.contextmanager
def _run_directory(path: Path, config: TrainingConfig, resuming: bool, overwrite: bool) -> Iterator[None]:
    """The run directory while it is trained in: locked, and gone again if a first start fails before a checkpoint."""
    if overwrite and (path / "config.json").is_file():
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise AverseError(f"{path} is being trained in by another process") from None
    try:
        if not resuming or config.to_json() != (path / "config.json").read_text():
            write_text(path / "config.json", config.to_json())
        yield
    except (AverseError, DivergenceError):
        if not resuming and not any((path / "checkpoints").glob("*/[0-9]*")):
            shutil.rmtree(path)  # or it would stand in the way of the next try
        raise
    finally:
        lock.release()


def _check_output(
    config: TrainingConfig, path: Path | None, resuming: bool, overwrite: bool, tensorboard: bool
) -> None:
    """Everything about the outcome's place that can be refused before any work."""
    require_tensorboard(tensorboard)
    if config.fine_tune is not None:
        read_config(Path(config.fine_tune))
    if path is None:
        return
    config.require_storable()
    if overwrite and (path / "config.json").is_file():
        return
    if not resuming and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise AverseError(f"{path} exists already; choose another --out, or --resume or --overwrite a run")


def _begin(trainee: Trainee, config: TrainingConfig, group: list[int], store: Checkpoints | None) -> int:
    """Restore the trials from their newest checkpoint, or start them; the updates that they have done."""
    done = 0 if store is None else store.latest() or 0
    if store is not None and done:
        trainee.restore(store.restore(done, trainee.abstract()))
        return done
    trainee.start()
    if config.fine_tune is not None:
        begin_with(trainee, group, Path(config.fine_tune), config)
    return 0


def _advance(
    config: TrainingConfig,
    trainee: Trainee,
    group: list[int],
    done: int,
    number: int,
    disk: _Disk | None,
    monitor: Monitor | None,
) -> Iterator[tuple[int, float, list[dict[str, float]]]]:
    """Advance a group from `done` updates to the end; yield each chunk's updates, steps per second and figures."""
    total = config.total_updates
    chunk = max(1, total // REPORTS)
    every = max(chunk, total // config.checkpoints // chunk * chunk)
    steps_per_update = trainee.learner.num_envs * trainee.learner.rollout_steps
    figures: list[dict[str, float]] = [{}]
    store = disk.stores[number] if disk is not None else None
    while done < total:
        count = min(chunk, total - done)
        began = time.perf_counter()
        metrics, records = trainee.advance(count)
        speed = count * steps_per_update * len(group) / (time.perf_counter() - began)
        done += count
        _stop_if_diverged(trainee, metrics, done, store)
        figures = [{**metrics[i], **episode_figures(records[i])} for i in range(len(group))]
        if monitor is not None:
            states = trainee.learner_states()
            for i, row in enumerate(figures):
                row |= monitor(trainee.learner, jax.tree.map(lambda x: x[i], states))  # noqa: B023
        if disk is not None:
            for i, index in enumerate(group):
                row = {**figures[i], "steps_per_second": speed}
                disk.log.write(index, trainee.trials[i], done, done * steps_per_update, row)
        if store is not None and (done % every == 0 or done == total):
            store.save(done, trainee.snapshot())
        yield count, speed, figures
    clamped = max(row.get("clamped_mass", 0.0) for row in figures)
    if clamped > CLAMPED_MASS:
        logger.warning(
            "the critic's support is too narrow: %.1f %% of its targets' mass was clamped at the end of training; "
            "widen it with --support LOW HIGH",
            100 * clamped,
        )
    # A measure of tolerance tau is all but neutral to widths well below tau. From a width of tau on it charges more
    # than half of that width, tau/2, for what the world has no part in: premium = width^2/(2 tau) > width/2.
    premium, width = max((row.get("support_premium", 0.0), row.get("support_std", 0.0)) for row in figures)
    if 2 * premium > width:
        logger.warning(
            "the critic's atoms are too far apart for this tau: projecting returns onto them adds a standard deviation "
            "of %.3g, more than tau, for which the entropic measure takes off %.3g reward units at the end of "
            "training; raise --num-atoms, or narrow --support LOW HIGH",
            width,
            premium,
        )


def _stop_if_diverged(trainee: Trainee, metrics: list[dict[str, float]], done: int, store: Checkpoints | None) -> None:
    if all(np.isfinite(value) for row in metrics for value in row.values()) and not any_nan(trainee.learner_states()):
        return
    bad = [trainee.trials[i] for i, row in enumerate(metrics) if not all(np.isfinite(v) for v in row.values())]
    which = ", ".join(str(trial) for trial in bad) or "some trial"
    kept = (
        f"the checkpoint after update {store.latest()} is kept"
        if store is not None and store.latest()
        else "nothing was saved"
    )
    raise DivergenceError(
        f"training diverged by update {done} ({which}): numbers are no longer finite; {kept}. "
        "Lower the learning rate, raise tau, or narrow the support."
    )
