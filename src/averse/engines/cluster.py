"""Ray, started on this machine or joined where it runs: checked, told of tasks, and left without a trace.

There is no queue, scheduler or retry of our own: all tasks are Ray's from the beginning, and Ray gives those whose
worker or node is lost to another (`max_retries`). A task goes on from its last checkpoint.
"""

import contextlib
import functools
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import TYPE_CHECKING, Any

from averse.engines import worker
from averse.engines.actors import ActorCrew
from averse.engines.arguments import Engine, cores, require_room, slots
from averse.engines.worker import Manner
from averse.environments.workers.placement import crews_from
from averse.errors import AverseError, DivergenceError, WorkerLostError, WritingError, one_line
from averse.extras import extra_module

if TYPE_CHECKING:  # it imports JAX, which workers do when they have their cores
    from averse.training.config import TrainingConfig

RETRIES = 10  # of a task whose worker or node was lost
LOOK = 1.0  # seconds between two looks at how tasks do
PROBE = 120.0  # seconds that a node may take to start a worker and to look around
STORE = 200_000_000  # bytes of shared memory for outcomes where Ray is started here: they are small
LEAVE = 10.0  # seconds that processes of Ray have to end
_LONGEST = 24  # characters of a folder for Ray's files: sockets of the system have names of at most 107

# No usage statistics are sent. GPUs of tasks that asked for none stay hidden, without a warning.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
# Ray takes the address of the network, and listens everywhere, unless this says that there is no cluster beyond this
# machine (its name is of the systems where that is the default). Read when Ray is imported.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Of a Ray that is started here: its workers are not to give way to what this machine does else, as they are the work.
_EQUAL = {"RAY_worker_niceness": "0"}


@dataclass(frozen=True)
class Task:
    """Work for one worker."""

    function: Callable[..., Any]  # of `worker`; takes `arguments`, a `Manner`, a board, and its number
    arguments: tuple[Any, ...]
    name: str  # for errors: what is trained or played
    trials: int
    size: int  # what its reports count up to
    hasty: bool = False  # compile with few of XLA's optimisations


@dataclass
class State:
    """How the tasks of one call do, in trials, for the display."""

    tasks: Sequence[Task]
    done: dict[int, int] = field(default_factory=dict)  # task that has begun -> what its last report counted
    figures: dict[int, list[dict[str, float]]] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        over = self.finished | self.failed
        running = self.done.keys() - over
        waiting = set(range(len(self.tasks))) - over - running
        parts = {"waiting": waiting, "running": running, "done": self.finished, "failed": self.failed}
        told = {name: sum(self.tasks[number].trials for number in numbers) for name, numbers in parts.items()}
        return "trials: " + ", ".join(f"{count} {name}" for name, count in told.items() if count or name != "failed")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that is open for work."""

    engine: Engine
    ray: ModuleType
    slots: int  # tasks at the same time
    board: Any
    _seen: list[Path] = field(default_factory=list)  # folders that nodes have looked at

    def check(self, place: Path) -> None:
        """Let every node look at the folder of results, and tell its versions; once, for what a command does is near.

        Raises AverseError for a node without averse, with other versions, or where the folder is not this one or cannot
        be written to.
        """
        if self._seen:
            return
        token = f".seen-{secrets.token_hex(8)}"
        try:
            (place / token).write_text(token)
        except OSError as error:
            raise AverseError(f"{place} cannot be written to: {error.strerror or error}") from None
        try:
            for name, found, fault in self._probed(place.resolve(), token):
                worker.require_same(name, found, worker.versions())
                if fault is not None:
                    raise AverseError(
                        f"{place.resolve()} cannot be used on the Ray node {name}: {fault}; --out must be a folder "
                        "that all nodes share"
                    )
        finally:
            (place / token).unlink(missing_ok=True)
        self._seen.append(place)

    def run(
        self,
        tasks: Sequence[Task],
        show: Callable[[State], None],
        ended: Callable[[int, Any], None] = lambda number, outcome: None,
        stop: Event | None = None,
        checkpoint_minutes: float | None = None,
    ) -> list[Any]:
        """The outcomes of tasks.

        Args:
          show: called now and then with how they do.
          ended: called with the number and the outcome of each that ends well.
          stop: if it is set, all tasks are stopped by KeyboardInterrupt.
          checkpoint_minutes: as of `run_training`.

        A task that fails does not stop the others; when they are done, the first failure is raised: AverseError,
        DivergenceError or WritingError of a task, WorkerLostError where its workers were lost too often. Whatever stops
        this process stops the tasks too, after their present chunk of updates, whose checkpoint is then there.
        """
        state = State(tasks)
        pending = {self._begun(task, number, checkpoint_minutes): number for number, task in enumerate(tasks)}
        outcomes: dict[int, Any] = {}
        failures: list[BaseException] = []
        try:
            while pending:
                ready, _ = self.ray.wait(list(pending), timeout=LOOK)
                for reference in ready:
                    number = pending.pop(reference)
                    try:
                        outcomes[number] = self.ray.get(reference)
                    except self.ray.exceptions.RayError as error:
                        state.failed.add(number)
                        failures.append(_in_a_line(self.ray, error, tasks[number].name))
                    else:
                        ended(number, outcomes[number])
                        state.finished.add(number)
                self._look(state)
                show(state)
                if stop is not None and stop.is_set():
                    raise KeyboardInterrupt
        except BaseException:
            self._stop(list(pending))
            raise
        if failures:
            raise failures[0]
        return [outcomes[number] for number in range(len(tasks))]

    def _begun(self, task: Task, number: int, checkpoint_minutes: float | None) -> Any:
        options = {"num_cpus": self.engine.cpus, "num_gpus": self.engine.gpus, "max_retries": RETRIES}
        manner = Manner(self.engine.cpus, self.engine.gpus > 0, socket.gethostname(), task.hasty, checkpoint_minutes)
        remote = self.ray.remote(**options)(task.function)
        return remote.options(name=task.name).remote(*task.arguments, manner, self.board, number)

    def _look(self, state: State) -> None:
        """What tasks have told since. The display goes without where the board's own node was lost."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            for number, (done, figures) in self.ray.get(self.board.read.remote(), timeout=LOOK).items():
                if number < len(state.tasks):
                    state.done[number] = done
                    state.figures[number] = figures or state.figures.get(number, [])
        for number in state.finished:
            state.done[number] = state.tasks[number].size

    def _stop(self, references: list[Any]) -> None:
        """Stop tasks as Ctrl-C would, and wait until they have left their checkpoints."""
        for reference in references:
            self.ray.cancel(reference, force=False)
        if references:
            self.ray.wait(references, num_returns=len(references))

    def _probed(self, place: Path, token: str) -> list[tuple[str, dict[str, str], str | None]]:
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = self.ray.remote(num_cpus=0, max_retries=1)(worker.probe)
        found = []
        for node in _alive(self.ray):
            here = look.options(scheduling_strategy=strategy(node["NodeID"], soft=False))
            found.append((node["NodeManagerAddress"], here.remote(str(place), token)))
        outcomes = []
        for address, reference in found:
            try:
                outcomes.append(self.ray.get(reference, timeout=PROBE))
            except self.ray.exceptions.RayError as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                raise AverseError(f"the Ray node {address} cannot run this averse: {one_line(reason)[:200]}") from None
        return outcomes


def require(engine: Engine) -> None:
    """What can be told before any work. Raises AverseError where Ray is missing, and as `Engine.require`."""
    if engine.engine == "ray":
        engine.require()
        _imported(engine)


def require_simulators(engine: Engine, *configs: "TrainingConfig") -> None:
    """Raises AverseError for actors where no world that a command trains or plays in has simulators."""
    if engine.actors is None:
        return
    from averse.environments import is_compiled  # imports JAX

    if not all(is_compiled(each.build_environment()) for each in configs):
        return
    names = " and ".join(dict.fromkeys(each.environment for each in configs))
    raise AverseError(f"--actors: {names} is compiled and has no simulators; leave --actors out")


@contextlib.contextmanager
def opened(engine: Engine) -> Iterator[Cluster | None]:
    """The cluster that is to do the work, or None where this process does it; with `actors`, their simulators are then
    in actors of Ray, for the time of the block.

    A Ray that is started here listens on the loopback alone, has no dashboard, and is gone at the end of the block with
    all of its processes and files, whatever ended it.

    Raises AverseError, in one line, where Ray is missing, where this process uses it already, where no cluster answers,
    where its version is another, and for more cores or GPUs than a node has.
    """
    if engine.engine == "local":
        yield None
        return
    require(engine)
    ray, psutil = _imported(engine)
    if ray.is_initialized():
        raise AverseError("--engine ray: this process is in a Ray cluster already; leave it first (ray.shutdown())")
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    folder = _own_folder() if engine.address is None else None
    before = set(psutil.Process().children(recursive=True))
    try:
        _connected(ray, engine, folder)
        _restored(handlers)
        if folder is not None:
            _require_loopback(_alive(ray))
        resources = [node["Resources"] for node in _alive(ray)]
        if engine.actors is not None:
            require_room(engine, resources)
            with crews_from(functools.partial(ActorCrew, ray, engine.actors, engine.cpus_per_actor or 1)):
                yield None
            return
        found = slots(engine, resources)
        board = ray.remote(num_cpus=0, max_restarts=-1)(worker.Board).remote()
        yield Cluster(engine, ray, found, board)
    finally:
        ours = set(psutil.Process().children(recursive=True)) - before
        ray.shutdown()
        _restored(handlers)
        if folder is not None:
            _, left = psutil.wait_procs(ours, timeout=LEAVE)
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=LEAVE)
            shutil.rmtree(folder, ignore_errors=True)


def _imported(engine: Engine) -> tuple[ModuleType, ModuleType]:
    """Ray and psutil, told by variables of the environment how to be."""
    os.environ.update({**_QUIET, **({} if engine.address else _LOOPBACK | _EQUAL)})
    psutil = extra_module("psutil", "--engine ray")
    return extra_module("ray", "--engine ray"), psutil


def _own_folder() -> str:
    """For the files of a Ray that is started here."""
    usual = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="averse-", dir=usual if len(usual) <= _LONGEST or os.name != "posix" else "/tmp")


def worker_variables(engine: Engine, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of the environment of workers: what decides how programs are compiled is as it is in this process.

    XLA compiles for a number of threads, and figures depend on it in their last bits. It takes the number from the
    cores that a process may use, or from NPROC. Workers get this process's, whatever cores they have.
    """
    kept = {name: value for name, value in environment.items() if name.startswith(("JAX_", "XLA_")) and value}
    threads = next((environment[name] for name in ("PJRT_NPROC", "NPROC") if environment.get(name)), str(cores()))
    kept |= {"PJRT_NPROC": threads, "NPROC": threads, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if engine.gpus == 0:
        kept["JAX_PLATFORMS"] = "cpu"
    elif engine.gpus < 1:  # of the share of a GPU as much as JAX takes of a whole one
        kept.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 * engine.gpus:.3f}")
    return kept


def _connected(ray: ModuleType, engine: Engine, folder: str | None) -> None:
    """Start Ray, or join it where it runs."""
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "critical",
        "runtime_env": {"env_vars": worker_variables(engine, os.environ)},
    }
    try:
        if folder is None:
            ray.init(address=engine.address, **options)
        else:
            ray.init(
                address="local",
                num_cpus=cores(),
                include_dashboard=False,
                object_store_memory=STORE,
                _temp_dir=folder,
                **options,
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = f"--address {engine.address}" if engine.address else "--engine ray"
        raise AverseError(f"{where}: no Ray cluster to work with: {one_line(error)[:300]}") from None


def _require_loopback(nodes: Sequence[Mapping[str, Any]]) -> None:
    """Raises AverseError for a Ray that was started here and listens on the network all the same."""
    if any(not ipaddress.ip_address(node["NodeManagerAddress"]).is_loopback for node in nodes):
        raise AverseError(
            "--engine ray would listen on the network, as ray was imported before averse could tell it not to: set "
            f"{next(iter(_LOOPBACK))}=0 before, or start a cluster (ray start --head) and give its --address"
        )


def _restored(handlers: Mapping[int, Any]) -> None:
    """Ray puts handlers of its own in place of those of this process."""
    with contextlib.suppress(ValueError):  # no signal reaches a thread
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _alive(ray: ModuleType) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _in_a_line(ray: ModuleType, error: Exception, name: str) -> BaseException:
    """What a task failed of, as it would be raised here, with the task's name."""
    cause = getattr(error, "cause", None)
    if isinstance(error, ray.exceptions.RayTaskError):
        for kind in (AverseError, DivergenceError, WritingError):
            if isinstance(cause, kind):
                return kind(f"{name}: {cause}")
        return cause if isinstance(cause, OSError) else error
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return WorkerLostError(
        f"{name}: the worker was lost ({reason[:200]}), more often than the {RETRIES} times that it is replaced; what "
        "was saved is kept, and the same command goes on"
    )
