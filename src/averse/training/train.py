"""The two ways to train from Python: begin a run, or finish one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from averse.environments.protocol import Description
from averse.training.config import configure
from averse.training.loop import Monitor, run_training
from averse.training.run import Run, read_config


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
    overwrite: bool = False,
    progress: bool = False,
    tensorboard: bool = False,
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
      seeds_as: train the trials of a compiled environment side by side in one program, or one after another.
      fine_tune: run directory whose networks to begin with.
      overwrite: throw away the run that `out` holds, if any.
      progress: show a bar.
      tensorboard: also write TensorBoard files.
      settings: the method's settings. `measure` takes a text ("cvar:0.1") or a risk measure; `tau`, `alpha`, `weight`
        and `eta` are its number. A sequence for a setting that is one number is a sweep: every combination with every
        seed is one trial, and in a compiled environment all of them are one program.

    Raises AverseError for bad input and DivergenceError if the parameters stop being finite.
    """
    config = configure(
        environment, method, steps, seeds, environment_parameters=environment_parameters, checkpoints=checkpoints,
        seeds_as=seeds_as, fine_tune=fine_tune, **settings,
    )  # fmt: skip
    path = None if out is None else Path(out)
    return run_training(config, path, overwrite=overwrite, progress=progress, tensorboard=tensorboard)


def resume(
    path: str | Path, *, progress: bool = False, tensorboard: bool = False, monitor: Monitor | None = None
) -> Run:
    """Finish an interrupted run from its last checkpoints; it ends as if it had never been interrupted.

    Args:
      path: the run directory.
      monitor: what else to write down of each trial whenever metrics are written.

    Raises AverseError if there is no run in `path`, or one of another version.
    """
    path = Path(path)
    return run_training(
        read_config(path), path, resuming=True, progress=progress, tensorboard=tensorboard, monitor=monitor
    )
