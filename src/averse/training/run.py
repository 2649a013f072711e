"""A finished or unfinished run on disk, and the policies in it."""

import contextlib
import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from averse import environments
from averse.environments import is_compiled
from averse.environments.protocol import Description, Environment
from averse.errors import AverseError
from averse.learners.contract import Learner
from averse.settings import field_names
from averse.training.checkpoints import Checkpoints
from averse.training.compiled import start
from averse.training.config import TrainingConfig


def groups_of(config: TrainingConfig, compiled: bool) -> list[list[int]]:
    """Which runs (indices into `config.trials`) are trained together: all of them, or one after another."""
    indices = list(range(len(config.trials)))
    return [indices] if compiled and config.seeds_as == "vmap" else [[index] for index in indices]


def checkpoint_folder(run_directory: Path, group: int) -> Path:
    return run_directory / "checkpoints" / f"group-{group}"


def abstract_snapshot(config: TrainingConfig, environment: Description, learner: Learner, group: list[int]) -> Any:
    """Shapes and dtypes of a group's snapshot, without computing anything."""
    swept = {name: jax.ShapeDtypeStruct((len(group),), np.float32) for name in config.sweep}
    seeds = jax.ShapeDtypeStruct((len(group),), np.uint32)
    if isinstance(environment, Environment):
        return jax.eval_shape(jax.vmap(functools.partial(start, environment, learner)), seeds, swept)
    state = jax.eval_shape(jax.vmap(lambda seed, numbers: learner.init(jax.random.key(seed), **numbers)), seeds, swept)
    return {"learner": state, "updates": jax.ShapeDtypeStruct((), np.int32)}


@dataclass(frozen=True)
class Run:
    """What `averse.train` returns and `averse.load` reads: the configuration and the newest policies.

    `learner_states` has a leading axis over `config.trials`; `updates` says how far each has come.
    """

    config: TrainingConfig
    path: Path | None
    learner_states: Any
    updates: tuple[int, ...]

    @functools.cached_property
    def environment(self) -> Description:
        return self.config.build_environment()

    @functools.cached_property
    def learner(self) -> Learner:
        return self.config.build_learner(self.environment)

    def state(self, index: int) -> Any:
        """The learner's state of one run."""
        return jax.tree.map(lambda x: x[index], self.learner_states)

    def policy(self, index: int = 0, greedy: bool = False) -> "Policy":
        """A callable from observations to actions, for your own code: `actions = run.policy()(observations)`."""
        return Policy(self.learner, self.state(index), self.environment, greedy)

    def moved_to(self, environment: str) -> "Run":
        """The same policies in another environment that looks alike to them, such as a simulator's compiled twin.

        It takes over the parameters that both environments have. Raises AverseError for an unknown environment and for
        one whose observations, actions or agents are not those that the policies know.
        """
        known = field_names(environments.parameters_class(environment))
        parameters = {name: v for name, v in self.config.environment_parameters.items() if name in known}
        config = dataclasses.replace(self.config, environment=environment, environment_parameters=parameters)
        moved = dataclasses.replace(self, config=config)
        for what in ("num_agents", "action_space", "observation_size", "global_state_size"):
            here, there = getattr(self.environment, what), getattr(moved.environment, what)
            if here != there:
                raise AverseError(
                    f"a policy of {self.config.environment} cannot act in {environment}: {what} is {there}, not {here}"
                )
        return moved

    @property
    def finished(self) -> bool:
        return all(done >= self.config.total_updates for done in self.updates)


class Policy:
    """`policy(observations [A, O] or [B, A, O], available=None) -> actions`, with its own random key."""

    def __init__(self, learner: Learner, state: Any, environment: Description, greedy: bool, seed: int = 0):
        from averse.environments.protocol import num_available

        self._learner, self._state = learner, state
        self._act = jax.jit(functools.partial(learner.act, greedy=greedy and not learner.explores_by_noise))
        self._key = jax.random.key(seed)
        self._num_available = num_available(environment.action_space)
        self._memory: Any = None

    def reset(self) -> None:
        """Forget the memory of a recurrent policy, at the start of an episode."""
        self._memory = None

    def __call__(self, observations: Any, available: Any = None) -> np.ndarray:
        observations = np.asarray(observations, np.float32)
        single = observations.ndim == 2
        if single:
            observations = observations[None]
            available = None if available is None else np.asarray(available)[None]
        if available is None:
            available = np.ones((*observations.shape[:2], self._num_available), bool)
        if self._memory is None:
            self._memory = self._learner.initial_memory(observations.shape[0])
        self._key, key = jax.random.split(self._key)
        actions, extras = self._act(self._state, observations, available, key, memory=self._memory)
        self._memory = extras.get("memory", ())
        return np.asarray(actions[0] if single else actions)


def read_config(path: Path) -> TrainingConfig:
    """Raises AverseError if there is no complete run directory at `path`."""
    if not path.is_dir():
        raise AverseError(f"no run at {path}: there is no such folder")
    if not (path / "config.json").is_file():
        raise AverseError(f"{path} is not a run directory: it has no config.json")
    try:
        return TrainingConfig.from_json((path / "config.json").read_text())
    except (AverseError, UnicodeDecodeError) as error:
        raise AverseError(f"the run at {path} cannot be read: {error}") from error


def load(path: str | Path) -> Run:
    """Read a run directory: its configuration and newest checkpoints.

    Raises AverseError if the directory is missing, incomplete, damaged or of another version.
    """
    path = Path(path)
    config = read_config(path)
    environment = config.build_environment()
    learner = config.build_learner(environment)
    states, updates = [], []
    for number, group in enumerate(groups_of(config, is_compiled(environment))):
        folder = checkpoint_folder(path, number)
        if not folder.is_dir():
            raise AverseError(
                f"the run at {path} is incomplete: no checkpoint of runs {group}; finish it with --resume"
            )
        with contextlib.closing(Checkpoints(folder)) as checkpoints:
            update = checkpoints.latest()
            if update is None:
                raise AverseError(
                    f"the run at {path} is incomplete: no checkpoint of runs {group}; finish it with --resume"
                )
            snapshot = checkpoints.restore(update, abstract_snapshot(config, environment, learner, group))
        states.append(snapshot["learner"] if isinstance(snapshot, dict) else snapshot.learner)
        updates += [update] * len(group)
    return Run(config, path, jax.tree.map(lambda *x: jax.numpy.concatenate(x), *states), tuple(updates))
