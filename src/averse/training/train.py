"""The training loop: groups of runs advance in chunks of updates, tell how they do, and leave checkpoints."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import Progress

from averse import environments, learners
from averse.environments import is_compiled
from averse.environments.protocol import Description, Environment, HostEnvironment, HostVector
from averse.errors import AverseError
from averse.files import write_text
from averse.learners.contract import Learner
from averse.progress import progress_bar, progress_text
from averse.training.checkpoints import Checkpoints, any_nan
from averse.training.compiled import CompiledGroup
from averse.training.config import TrainingConfig
from averse.training.defaults import default_settings
from averse.training.fine_tuning import begin_with
from averse.training.host import HostGroup
from averse.training.metrics import MetricsLog, episode_figures, require_tensorboard
from averse.training.run import Run, abstract_snapshot, checkpoint_folder, groups_of, read_config

logger = logging.getLogger(__name__)

CLAMPED_MASS = 0.1  # fraction of the targets' mass beyond the support that deserves a warning
REPORTS = 100  # lines of metrics that a run writes, at most


# (learner, its state in one run) -> figures by name
Measure = Callable[[Learner, Any], dict[str, float]]


class DivergenceError(RuntimeError):
    """Training produced numbers that are not finite; the last good checkpoint is kept."""


def configure(
    environment: str,
    method: str,
    steps: float = 2e5,
    seeds: int | Sequence[int] = 1,
    *,
    environment_parameters: dict[str, Any] | None = None,
    checkpoints: int = 10,
    seeds_as: str = "vmap",
    fine_tune: str | Path | None = None,
    **settings: Any,
) -> TrainingConfig:
    """A checked configuration; a setting given as a list is swept over: `tau=[0.3, 1, 10]`.

    fine_tune: run directory whose networks to begin with.

    Raises AverseError for anything unknown, out of range or contradictory.
    """
    parameters = environment_parameters or {}
    built = environments.make(environment, **parameters)
    sequences = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
    fixed = {name: value for name, value in settings.items() if name not in sequences}
    fixed = {**default_settings(built, method), **fixed}
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
    config = TrainingConfig(
        environment=environment,
        environment_parameters=environments.parameters_of(built),
        method=method,
        learner=dataclasses.asdict(learners.preset(method, **fixed)),
        steps=int(steps),
        seeds=seeds,
        sweep={name: tuple(float(x) for x in values) for name, values in sequences.items()},
        checkpoints=checkpoints,
        seeds_as=seeds_as,  # type: ignore[arg-type]
        fine_tune=None if fine_tune is None else str(fine_tune),
    )
    config.build_learner(built)
    if fine_tune is not None:
        read_config(Path(fine_tune))
    return config


def train(
    environment: str,
    method: str,
    steps: float = 2e5,
    seeds: int | Sequence[int] = 1,
    *,
    out: str | Path | None = None,
    progress: bool = False,
    tensorboard: bool = False,
    **settings: Any,
) -> Run:
    """Train a method: `averse.train("risky-cartpole", "rqe-mappo", steps=1e6, seeds=10, tau=[0.3, 1, 10])`.

    Args:
      environment: name of an environment; its parameters as `environment_parameters={...}`.
      steps: environment steps per run.
      seeds: how many training seeds (0, 1, ...) or which.
      out: run directory to create; without it nothing is written.
      settings: the learner's settings; a list is swept over. Every combination with every seed is one run, and in a
        compiled environment all of them are one program.

    Raises AverseError for bad input and DivergenceError if the parameters stop being finite.
    """
    config = configure(environment, method, steps, seeds, **settings)
    return run_training(config, None if out is None else Path(out), progress=progress, tensorboard=tensorboard)


def resume(
    path: str | Path, *, progress: bool = False, tensorboard: bool = False, measure: Measure | None = None
) -> Run:
    """Finish an interrupted run from its last checkpoints; it ends as if it had never been interrupted."""
    path = Path(path)
    return run_training(
        read_config(path), path, resuming=True, progress=progress, tensorboard=tensorboard, measure=measure
    )


class _Disk:
    """The files of a run that is being trained: a checkpoint folder per group, and the log of metrics."""

    def __init__(self, path: Path, groups: list[list[int]], resuming: bool, tensorboard: bool):
        self.stores = [Checkpoints(checkpoint_folder(path, number)) for number in range(len(groups))]
        self.done = [store.latest() or 0 for store in self.stores]
        kept = {str(run): done for group, done in zip(groups, self.done) for run in group} if resuming else None
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
    progress: bool | Progress = False,
    stop: Event | None = None,
    tensorboard: bool = False,
    measure: Measure | None = None,
) -> Run:
    """Carry out a configuration, in a fresh run directory or (`resuming`) in an existing one.

    Args:
      progress: whether to show a bar, or the display to add one to.
      stop: if another thread sets it, training ends early, by KeyboardInterrupt as from the keyboard.
      measure: what else to write down of each run whenever metrics are written, such as an exact score.
    """
    environment = config.build_environment()
    learner = config.build_learner(environment)
    groups = groups_of(config, is_compiled(environment))
    if path is not None and not resuming and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise AverseError(f"{path} exists already; choose another --out, or --resume {path}")
    require_tensorboard(tensorboard)
    with contextlib.ExitStack() as stack:
        # Before anything is written, so that a simulator that is missing leaves no half-made run behind.
        vector = None
        if isinstance(environment, HostEnvironment):
            vector = stack.enter_context(environment.vector(learner.num_envs))
        disk = None
        if path is not None:
            if not resuming:
                path.mkdir(parents=True, exist_ok=True)
                write_text(path / "config.json", config.to_json())
            disk = stack.enter_context(contextlib.closing(_Disk(path, groups, resuming, tensorboard)))
        bar = progress if isinstance(progress, Progress) else stack.enter_context(progress_bar(disable=not progress))
        task = bar.add_task(config.method, total=config.total_updates * len(config.trials), figures="compiling")
        states = []
        for number, group in enumerate(groups):
            trainee = _trainee(config, environment, learner, group, vector)
            done = disk.done[number] if disk is not None else 0
            if disk is not None and done:
                abstract = abstract_snapshot(config, environment, learner, group)
                trainee.restore(disk.stores[number].restore(done, abstract))
            else:
                trainee.start()
                if config.fine_tune is not None:
                    begin_with(trainee, group, Path(config.fine_tune), config)
            bar.advance(task, done * len(group))
            for updates, speed, figures in _advance(config, trainee, group, done, number, disk, measure):
                bar.update(task, advance=updates * len(group), figures=progress_text(speed, figures))
                if stop is not None and stop.is_set():
                    raise KeyboardInterrupt
            states.append(trainee.learner_states())
    learner_states = jax.tree.map(lambda *x: jnp.concatenate(x), *states)
    return Run(config, path, learner_states, (config.total_updates,) * len(config.trials))


def _trainee(
    config: TrainingConfig, environment: Description, learner: Learner, group: list[int], vector: HostVector | None
) -> CompiledGroup | HostGroup:
    runs = [config.trials[index] for index in group]
    if isinstance(environment, Environment):
        return CompiledGroup(environment, learner, runs)
    assert isinstance(environment, HostEnvironment)
    assert vector is not None
    return HostGroup(environment, learner, runs, vector)


def _advance(
    config: TrainingConfig,
    trainee: CompiledGroup | HostGroup,
    group: list[int],
    done: int,
    number: int,
    disk: _Disk | None,
    measure: Measure | None,
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
        if measure is not None:
            states = trainee.learner_states()
            for i, row in enumerate(figures):
                row |= measure(trainee.learner, jax.tree.map(lambda x: x[i], states))  # noqa: B023
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


def _stop_if_diverged(trainee: Any, metrics: list[dict[str, float]], done: int, store: Checkpoints | None) -> None:
    if all(np.isfinite(value) for row in metrics for value in row.values()) and not any_nan(trainee.learner_states()):
        return
    bad = [trainee.trials[i] for i, row in enumerate(metrics) if not all(np.isfinite(v) for v in row.values())]
    which = ", ".join(str(run) for run in bad) or "some run"
    kept = (
        f"the checkpoint after update {store.latest()} is kept"
        if store is not None and store.latest()
        else "nothing was saved"
    )
    raise DivergenceError(
        f"training diverged by update {done} ({which}): numbers are no longer finite; {kept}. "
        "Lower the learning rate, raise tau, or narrow the support."
    )
