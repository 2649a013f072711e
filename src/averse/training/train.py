"""The training loop: groups of runs advance in chunks of updates, tell how they do, and leave checkpoints."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from averse import environments, learners
from averse.environments import is_compiled
from averse.environments.protocol import Description
from averse.errors import AverseError
from averse.files import write_text
from averse.training.checkpoints import Checkpoints, any_nan
from averse.training.compiled import CompiledGroup
from averse.training.config import TrainingConfig
from averse.training.host import HostGroup
from averse.training.metrics import MetricsLog, episode_figures, progress_bar, progress_text
from averse.training.run import Run, abstract_snapshot, checkpoint_folder, groups_of, read_config

logger = logging.getLogger(__name__)

HOST_ENVS = 16  # simulator processes; several per core, so that cores stay busy while the slowest step ends
CLAMPED_MASS = 0.1  # fraction of the targets' mass beyond the support that deserves a warning
REPORTS = 100  # lines of metrics that a run writes, at most


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
    **settings: Any,
) -> TrainingConfig:
    """A checked configuration; a setting given as a list is swept over: `tau=[0.3, 1, 10]`.

    Raises AverseError for anything unknown, out of range or contradictory.
    """
    parameters = environment_parameters or {}
    built = environments.make(environment, **parameters)
    sequences = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
    fixed = {name: value for name, value in settings.items() if name not in sequences}
    fixed = {**default_settings(built), **fixed}
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
    config = TrainingConfig(
        environment=environment,
        environment_parameters=built.parameters(),
        method=method,
        learner=dataclasses.asdict(learners.preset(method, **fixed)),
        steps=int(steps),
        seeds=seeds,
        sweep={name: tuple(float(x) for x in values) for name, values in sequences.items()},
        checkpoints=checkpoints,
        seeds_as=seeds_as,  # type: ignore[arg-type]
    )
    config.build_learner(built)
    return config


def default_settings(environment: Description) -> dict[str, Any]:
    """The learner's settings that suit a kind of environment: simulators run in fewer copies, costlier to step."""
    return {} if is_compiled(environment) else {"num_envs": HOST_ENVS, "rollout_steps": 64}


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


def resume(path: str | Path, *, progress: bool = False, tensorboard: bool = False) -> Run:
    """Finish an interrupted run from its last checkpoints; it ends as if it had never been interrupted."""
    path = Path(path)
    return run_training(read_config(path), path, resuming=True, progress=progress, tensorboard=tensorboard)


def run_training(
    config: TrainingConfig,
    path: Path | None,
    *,
    resuming: bool = False,
    progress: bool = False,
    tensorboard: bool = False,
) -> Run:
    """Carry out a configuration, in a fresh run directory or (`resuming`) in an existing one."""
    environment = config.build_environment()
    learner = config.build_learner(environment)
    groups = groups_of(config, is_compiled(environment))
    if path is not None and not resuming:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise AverseError(f"{path} exists already; choose another --out, or --resume {path}")
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / "config.json", config.to_json())
    latest = {}
    with contextlib.ExitStack() as stack:
        stores = []
        if path is not None:
            stores = [
                stack.enter_context(contextlib.closing(Checkpoints(checkpoint_folder(path, n))))
                for n in range(len(groups))
            ]
            latest = {n: store.latest() or 0 for n, store in enumerate(stores)}
        keep = {str(run): latest.get(n, 0) for n, group in enumerate(groups) for run in group} if resuming else None
        log = (
            stack.enter_context(contextlib.closing(MetricsLog(path / "metrics.jsonl", keep, tensorboard)))
            if path
            else None
        )
        bar = stack.enter_context(progress_bar(disable=not progress))
        vector = None
        if not is_compiled(environment):
            vector = stack.enter_context(environment.vector(learner.num_envs))  # type: ignore[attr-defined]
        states, updates = [], []
        task = bar.add_task(config.method, total=config.total_updates * len(config.runs), figures="compiling")
        for number, group in enumerate(groups):
            runs = [config.runs[index] for index in group]
            trainee: Any = (
                CompiledGroup(environment, learner, runs)  # type: ignore[arg-type]
                if vector is None
                else HostGroup(environment, learner, runs, vector)  # type: ignore[arg-type]
            )
            store = stores[number] if stores else None
            if latest.get(number):
                assert store is not None
                abstract = abstract_snapshot(config, environment, learner, group)
                trainee.restore(store.restore(latest[number], abstract))
            else:
                trainee.start()
            done = latest.get(number, 0)
            bar.advance(task, done * len(group))
            _train_group(config, trainee, group, done, store, log, bar, task)
            states.append(trainee.learner_states())
            updates += [config.total_updates] * len(group)
    return Run(config, path, jax.tree.map(lambda *x: jnp.concatenate(x), *states), tuple(updates))


def _train_group(
    config: TrainingConfig,
    trainee: Any,
    group: list[int],
    done: int,
    store: Checkpoints | None,
    log: MetricsLog | None,
    bar: Any,
    task: Any,
) -> None:
    """Advance a group from `done` updates to the end."""
    total = config.total_updates
    chunk = max(1, total // REPORTS)
    every = max(chunk, total // config.checkpoints // chunk * chunk)
    figures: list[dict[str, float]] = [{}]
    steps_per_update = trainee.learner.num_envs * trainee.learner.rollout_steps
    while done < total:
        count = min(chunk, total - done)
        began = time.perf_counter()
        metrics, records = trainee.advance(count)
        seconds = time.perf_counter() - began
        done += count
        _stop_if_diverged(trainee, metrics, done, store)
        figures = [{**metrics[i], **episode_figures(records[i])} for i in range(len(group))]
        speed = count * steps_per_update * len(group) / seconds
        for i, index in enumerate(group):
            if log is not None:
                row = {**figures[i], "steps_per_second": speed}
                log.write(index, trainee.runs[i], done, done * steps_per_update, row)
        if store is not None and (done % every == 0 or done == total):
            store.save(done, trainee.snapshot())
        bar.update(task, advance=count * len(group), figures=progress_text(speed, figures))
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
    bad = [trainee.runs[i] for i, row in enumerate(metrics) if not all(np.isfinite(v) for v in row.values())]
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
