"""The two ways to train from Python: begin a run, or finish one."""

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any, Literal

from averse.environments.protocol import Description
from averse.files import as_path
from averse.settings import check_value
from averse.training.config import configure
from averse.training.extension import extended
from averse.training.loop import Monitor, run_training
from averse.training.run import Run, read_config
from averse.training.tracking import Tracker


def train(
    environment: str | Description,
    method: Any = "rqe-mappo",
    steps: float = 2e5,
    seeds: int | Sequence[int] = 1,
    *,
    out: str | Path | None = None,
    environment_parameters: dict[str, Any] | None = None,
    checkpoints: int = 10,
    seeds_as: Literal["vmap", "loop"] = "vmap",
    fine_tune: str | Path | None = None,
    tail_starts: float = 0.0,
    overwrite: bool = False,
    progress: bool = False,
    track: Sequence[Tracker] = (),
    checkpoint_minutes: float | None = None,
    **settings: Any,
) -> Run:
    """Train a method: `averse.train("risky-cartpole", "rqe-mappo", steps=1e6, seeds=10, tau=[0.3, 1, 10])`.

    Args:
      environment: a name (`averse list`), `module:Attribute`, or an environment of your own.
      method: a name, `module:Attribute`, or a method's configuration such as `MAPPOConfig(clip=0.1)`.
      steps: environment steps per trial.
      seeds: how many training seeds (0, 1, ...) or which.
      out: run directory to create; without it nothing is written.
      environment_parameters: of a named environment; may as well stand among the `settings` (`level="low"`).
      checkpoints: how many a trial writes.
      seeds_as: whether the trials of a compiled environment advance together, by one program, or one after another.
      fine_tune: run directory whose networks to begin with.
      tail_starts: share, below 1, of the training episodes that begin more often as the worst ones did, with importance
        weights that make up for it (`averse.training.starts`). Compiled environments that say what episodes begin with.
      overwrite: throw away the run that `out` holds, if any, once the new one has its first checkpoint.
      progress: show a bar.
      track: where else metrics go, files in the run directory: csv, tensorboard, wandb, mlflow.
      checkpoint_minutes: leave a checkpoint also whenever so many minutes have gone by, as seen at each hundredth of
        the training.
      settings: the method's settings. `measure` takes a text ("cvar:0.1") or a risk measure; `tau`, `alpha`, `weight`
        and `eta` are its number. A sequence for a setting that is one number is a sweep: every combination with every
        seed is one trial, and in a compiled environment one program trains all of them.

    Raises AverseError for bad input, before any work; DivergenceError if the parameters stop being finite, and
    WritingError if the disk is full, both of which leave the last checkpoint.
    """
    config = configure(
        environment, method, steps, seeds, environment_parameters=environment_parameters, checkpoints=checkpoints,
        seeds_as=seeds_as, fine_tune=fine_tune, tail_starts=tail_starts, **settings,
    )  # fmt: skip
    return run_training(
        config,
        None if out is None else as_path("out", out),
        overwrite=overwrite,
        progress=check_value("progress", bool, progress),
        track=track,
        checkpoint_minutes=checkpoint_minutes,
    )


def resume(
    path: str | Path,
    steps: float | None = None,
    *,
    progress: bool = False,
    track: Sequence[Tracker] = (),
    checkpoint_minutes: float | None = None,
    monitor: Monitor | None = None,
    stop: Event | None = None,
    **given: Any,
) -> Run:
    """Finish an interrupted run from its last checkpoints, or extend a finished one.

    An interrupted run ends as if it had never been interrupted. An extended one has its schedules (of learning rate,
    risk, exploration) stretched over the new number of steps from where it stands; where a method has none, it ends as
    if it had had so many steps from the beginning.

    Args:
      path: the run directory.
      steps: environment steps per trial in all; more than the run had extend it.
      progress: show a bar.
      track: where else metrics go, files in the run directory: csv, tensorboard, wandb, mlflow.
      checkpoint_minutes: leave a checkpoint also whenever so many minutes have gone by, as seen at each hundredth of
        the training.
      monitor: what else to write down of each trial whenever metrics are written.
      stop: if another thread sets it, training ends early, by KeyboardInterrupt as from the keyboard.
      given: what else `train` takes; it must say what the run is trained with already.

    Raises AverseError if there is no run in `path`, or one of another version, if somebody trains in it, and for fewer
    steps or settings that are not the run's; else as `train` does.
    """
    path = as_path("path", path)
    return run_training(
        extended(read_config(path), steps, **given),
        path,
        resuming=True,
        progress=check_value("progress", bool, progress),
        track=track,
        checkpoint_minutes=checkpoint_minutes,
        monitor=monitor,
        stop=stop,
    )
