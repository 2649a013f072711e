"""A finished or unfinished run on disk, and the policies in it."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from averse import environments
from averse.compilation import is_hasty, single_precision
from averse.environments.protocol import Description, Environment, HostEnvironment, HostVector
from averse.environments.stepwise import MOST_STEPS
from averse.errors import AverseError
from averse.files import as_path
from averse.learners.contract import Learner
from averse.settings import check_value
from averse.training.checkpoints import Checkpoints
from averse.training.compiled import CompiledGroup
from averse.training.config import TrainingConfig
from averse.training.host import HostGroup
from averse.training.policy import Policy
from averse.training.stepwise import StepwiseGroup
from averse.training.trainee import Trainee
from averse.training.trials import chosen, side_by_side

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What `averse.train` returns and `averse.load` reads: the configuration and the newest policies, one per trial."""

    config: TrainingConfig  # all that is needed to run it again
    path: Path | None  # the run directory; None where nothing was stored
    learner_states: Any  # leading axis: trials
    updates: tuple[int, ...]  # how far each trial has come

    def __repr__(self) -> str:
        where = "not stored" if self.path is None else str(self.path)
        done = "" if self.finished else f", {min(self.updates)} of {self.config.total_updates} updates"
        return f"Run({self.config.method} on {self.config.environment}, {len(self.trials)} trials{done}, {where})"

    @functools.cached_property
    def environment(self) -> Description:
        """The environment that the policies were trained in."""
        return self.config.build_environment()

    @functools.cached_property
    def learner(self) -> Learner:
        """The functions of the method that trained them."""
        return self.config.build_learner(self.environment)

    @property
    def trials(self) -> list[dict[str, float]]:
        """Seed and swept settings of each trial: `{"seed": 0, "tau": 1.0}` and so on."""
        return self.config.trials

    @property
    def finished(self) -> bool:
        """Whether every trial has done all of its updates."""
        return all(done >= self.config.total_updates for done in self.updates)

    def trial(self, index: int | None = None, **settings: float) -> int:
        """The number of a trial, by itself or by its seed and swept settings: `run.trial(tau=3, seed=1)`.

        Raises AverseError unless exactly one trial is meant.
        """
        trials = self.trials
        if index is not None and settings:
            raise AverseError("choose a trial by its number or by its settings, not by both")
        if index is not None:
            if isinstance(index, bool) or not isinstance(index, int | np.integer) or not 0 <= index < len(trials):
                raise AverseError(f"the trials of this run are numbered 0 to {len(trials) - 1}; there is no {index!r}")
            return int(index)
        known = list(trials[0])
        for name in settings:
            if name not in known:
                raise AverseError(f"trials of this run are told apart by {', '.join(known)}, not by {name!r}")
        settings = {name: check_value(name, float, value) for name, value in settings.items()}
        found = [i for i, trial in enumerate(trials) if all(trial[name] == value for name, value in settings.items())]
        if len(found) == 1:
            return found[0]
        given = ", ".join(f"{name}={value:g}" for name, value in settings.items()) or "nothing chosen"
        values = "; ".join(
            f"{name} {', '.join(f'{value:g}' for value in dict.fromkeys(trial[name] for trial in trials))}"
            for name in known
        )
        raise AverseError(f"choose one of {len(trials)} trials ({values}); {given} leaves {len(found)}")

    def state(self, index: int) -> Any:
        """The learner's state of one trial. Raises AverseError for a number that no trial has."""
        return chosen(self.learner_states, self.trial(index))

    def policy(
        self, index: int | None = None, *, greedy: bool = False, random_seed: int = 0, **settings: float
    ) -> Policy:
        """The policy of one trial, for your own code: `actions = run.policy(tau=3, seed=1)(observations)`.

        Args:
          index: number of the trial, if it is not chosen by its settings; a run of one trial needs neither.
          greedy: the most likely action instead of a draw from the policy.
          random_seed: of the draws.
          settings: `seed` (the training seed) and swept settings of the trial.

        Raises AverseError unless exactly one trial is meant.
        """
        state = self.state(self.trial(index, **settings))
        return Policy(self.learner, state, self.environment, greedy=greedy, random_seed=random_seed)

    def moved_to(self, environment: str | None = None, parameters: Mapping[str, Any] | None = None) -> "Run":
        """The same policies in another environment that looks alike to them, such as a simulator's compiled twin.

        It takes over the parameters that both environments have. The critic keeps the support it was trained with.

        Args:
          environment: its name; the environment of training where not given.
          parameters: other values of some of its parameters, a shifted world: `{"human_rate": 0.4}`.

        Raises AverseError for an unknown environment or parameter, for values out of range, for an environment whose
        observations, actions or agents are not those that the policies know, and, where it is that of training, if
        nothing can build it again.
        """
        return dataclasses.replace(self, config=self.config.moved_to(environment, parameters))


def groups_of(config: TrainingConfig, compiled: bool) -> list[list[int]]:
    """Which trials (by number) are trained together: all of them, or one after another."""
    indices = list(range(len(config.trials)))
    return [indices] if compiled and config.seeds_as == "vmap" else [[index] for index in indices]


def trainee_of(
    config: TrainingConfig,
    environment: Description,
    learner: Learner,
    group: list[int],
    vector: HostVector | None = None,
    threads: int | None = None,
) -> Trainee:
    """The trials of a group, ready to be started or restored.

    Args:
      vector: the running environments where these are no compiled ones; not needed where nothing is to advance.
      threads: on a CPU, how many trials of a compiled environment are computed at the same time; as many as there are
        cores where not given.
    """
    trials = [config.trials[index] for index in group]
    if isinstance(environment, Environment):
        brief = config.total_updates * learner.rollout_steps <= MOST_STEPS
        if is_hasty() and brief and not config.tail_starts:
            return StepwiseGroup(environment, learner, trials, threads)
        return CompiledGroup(environment, learner, trials, threads, config.tail_starts)
    assert isinstance(environment, HostEnvironment)
    return HostGroup(environment, learner, trials, vector)


def checkpoint_folder(run_directory: Path, group: int) -> Path:
    """Where the checkpoints of a group are."""
    return run_directory / "checkpoints" / f"group-{group}"


def read_config(path: Path) -> TrainingConfig:
    """Raises AverseError if there is no complete run directory at `path`."""
    try:
        if not path.is_dir():
            raise AverseError(f"no run at {path}: there is no such folder")
        if not (path / "config.json").is_file():
            raise AverseError(f"{path} is not a run directory: it has no config.json")
        text = (path / "config.json").read_text()
    except OSError as error:
        raise AverseError(f"no run at {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise AverseError(f"the run at {path} cannot be read: its config.json is damaged ({error})") from error
    try:
        return TrainingConfig.from_json(text)
    except AverseError as error:
        raise AverseError(f"the run at {path} cannot be read: {error}") from error


def build(config: TrainingConfig, path: Path | None = None) -> tuple[Description, Learner]:
    """The environment and the learner of a configuration.

    Args:
      path: the run directory that the configuration was read from, if it was.

    Raises AverseError, which names the run directory, for settings that are not allowed.
    """
    try:
        environment = config.build_environment()
        learner = config.build_learner(environment)
        settled = config.with_support(environment)
    except AverseError as error:
        if path is None:
            raise
        raise AverseError(f"the run at {path} cannot be read: {error}") from error
    if path is not None and settled is not config:
        low, high = settled.learner["support"]
        logger.warning(
            "the run at %s names no support, as an older averse wrote it; the return bounds that %s has now, %g to %g, "
            "are taken: if it had others, what its critic predicts, and training it further, are wrong",
            path, config.environment, low, high,
        )  # fmt: skip
    return environment, learner


@single_precision
def load(path: str | Path) -> Run:
    """Read a run directory: its configuration and newest checkpoints, wherever it was trained.

    The learner's states come to the device that JAX computes on here.

    Raises AverseError if the directory is missing, incomplete, damaged or of another version.
    """
    path = as_path("path", path)
    config = read_config(path)
    environment, learner = build(config, path)
    states: list[Any] = []
    updates: list[int] = []
    for number, group in enumerate(groups_of(config, environments.is_compiled(environment))):
        folder = checkpoint_folder(path, number)
        done = None
        if folder.is_dir():
            with contextlib.closing(Checkpoints(folder)) as checkpoints:
                done = checkpoints.latest()
                if done is not None:
                    abstract = trainee_of(config, environment, learner, group).abstract()
                    states.append(checkpoints.restore(done, abstract).learner)
        if done is None:
            raise AverseError(
                f"the run at {path} is incomplete: no checkpoint of trials {group}; finish it with --resume"
            )
        updates += [done] * len(group)
    return Run(config, path, side_by_side(states), tuple(updates))
