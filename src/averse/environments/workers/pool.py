"""Batches of host environments in worker processes: started safely, stepped together, replaced when they die.

A `WorkerPool` moves raw arrays between the parent and its workers through shared memory, with one semaphore each way
per worker. A `WorkerVector` is the `HostVector` made of a pool and an *encoder*, which turns the raw arrays of the
whole batch into `TimeStep`s; what an encoder computes for all environments at once costs far less than in each worker.
"""

import logging
import multiprocessing
import os
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from averse.environments.workers.process import (
    Assignment,
    Command,
    Factory,
    Layout,
    Link,
    run,
    shared_size,
    shared_views,
)
from averse.errors import AverseError
from averse.settings import Count, check_value

logger = logging.getLogger(__name__)

MAX_FAILURES = 3  # failures of one environment in a row, without a finished episode in between, that end the run
_POLL_SECONDS = 0.25  # how often a waiting parent looks whether a worker is still alive
_STARTING = threading.Lock()  # starting a process changes this process's environment variables for a moment
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class Batch(NamedTuple):
    """What a pool answers: copies, B environments along the leading axis."""

    now: Mapping[str, np.ndarray]  # the state to act on, of the next episode where one has ended
    after: Mapping[str, np.ndarray]  # what the last action led to
    outcome: Mapping[str, np.ndarray]
    ended: np.ndarray  # bool [B]: an episode ended in this step
    failed: np.ndarray  # bool [B]: it ended because its worker died; `after` is the state before, `outcome` is zero
    idle: np.ndarray  # bool [B]: had no episode to play in this step; its rows mean nothing
    idle_now: np.ndarray  # bool [B]: has no episode to play next; its rows of `now` mean nothing


@contextmanager
def _plain_process_start(import_main: bool) -> Iterator[None]:
    """While processes are started: one thread each and, without `import_main`, no import of the user's script.

    A worker that needs nothing of the script must not import it: it may import JAX, or lack the usual guard.
    """
    with _STARTING:
        variables = {name: os.environ.get(name) for name in _ONE_THREAD}
        main = sys.modules["__main__"]
        os.environ.update(_ONE_THREAD)
        if not import_main:
            sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            for name, value in variables.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


class _Died(Exception):
    """A worker has died, hangs, or told of an exception; the message says which."""


class _Worker:
    """A running worker process, as its parent sees it."""

    def __init__(self, pool: "WorkerPool", index: int):
        context = pool.context
        self.go, self.ready = context.Semaphore(0), context.Semaphore(0)
        self.pipe, theirs = context.Pipe()
        link = Link(index, pool.layout, pool.num_envs, pool.memory, self.go, self.ready, theirs)
        name = f"averse-worker-{index}"
        self.process = context.Process(target=run, args=(pool.factory, link), name=name, daemon=True)
        with _plain_process_start(pool.import_main):
            self.process.start()
        theirs.close()

    def wait(self, timeout: float, failed: np.ndarray) -> None:
        """Wait for the worker's answer. Raises `_Died`, or the worker's own AverseError."""
        deadline = time.monotonic() + timeout
        while not self.ready.acquire(timeout=_POLL_SECONDS):
            alive = self.process.is_alive()
            if self.ready.acquire(block=False):  # it may have answered in the meantime
                break
            if not alive:
                raise _Died(f"ended with exit code {self.process.exitcode}")
            if time.monotonic() > deadline:
                raise _Died(f"did not answer for {timeout:g} s")
        if failed:
            raise _Died(self._exception())

    def _exception(self) -> str:
        message, trace = self.pipe.recv()
        if message is not None:
            raise AverseError(message)
        return f"raised an exception:\n{trace}"

    def kill(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.pipe.close()


def _shut_down(workers: list[_Worker], command: np.ndarray) -> None:
    """Ask all workers to end, and end those that do not."""
    command[...] = Command.CLOSE
    for worker in workers:
        worker.go.release()
    deadline = time.monotonic() + 2.0
    for worker in workers:
        worker.process.join(max(deadline - time.monotonic(), 0.0))
        worker.kill()
    workers.clear()


class WorkerPool:
    """`num_envs` worker processes with one environment each.

    factory: builds a `WorkerEnvironment` in the worker; picklable.
    layout: the arrays it exchanges.
    import_main: whether workers import the user's script; needed only where the factory is defined in it.
    preload: modules that new workers should find already imported (where the system has a fork server).
    timeout: seconds after which a worker that does not answer is taken for hung.
    """

    def __init__(
        self,
        factory: Factory,
        layout: Layout,
        num_envs: int,
        *,
        import_main: bool = True,
        preload: Sequence[str] = (),
        timeout: float = 60.0,
    ):
        check_value("num_envs", Count, num_envs)
        self.factory, self.layout, self.num_envs = factory, layout, num_envs
        self.import_main, self.timeout = import_main, timeout
        # never fork: the parent runs JAX's threads, and a simulator's state must not be inherited
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self.context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self.context.set_forkserver_preload(["averse.environments.workers.process", *preload])
        self.memory = self.context.RawArray("b", shared_size(layout, num_envs))
        self._views = shared_views(self.memory, layout, num_envs)
        self._episodes = [Assignment(())] * num_envs
        self._replacements = [0] * num_envs
        self._failures = [0] * num_envs
        self._waiting: set[int] = set()  # workers that owe an answer
        self._workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _shut_down, self._workers, self._views["flags"]["command"])
        try:
            for index in range(num_envs):
                self._workers.append(_Worker(self, index))
            for index in range(num_envs):
                self._await_start(index)
        except BaseException:
            self.close()
            raise

    @property
    def process_ids(self) -> list[int]:
        """The process id of each environment's worker."""
        return [worker.process.pid for worker in self._workers]

    def close(self) -> None:
        """End every worker. May be called again."""
        self._finalizer()

    def reset(self, episodes: Sequence[Assignment]) -> Batch:
        """Start over: one `Assignment` for each environment."""
        self._require_open()
        for index in sorted(self._waiting):  # an interrupted step may have left answers behind
            try:
                self._await(index)
            except _Died as death:
                self._replace(index, str(death), play=False)
        self._episodes = list(episodes)
        self._replacements = [0] * self.num_envs
        self._failures = [0] * self.num_envs
        for index in range(self.num_envs):
            self._order_reset(index, self._episodes[index])
        for index in range(self.num_envs):
            try:
                self._await(index)
            except _Died as death:
                self._replace(index, str(death))
        never = np.zeros(self.num_envs, bool)
        idle = self._views["flags"]["idle"].copy()
        now = self._copy("now")
        self._last = now
        return Batch(now, now, self._copy("outcome"), never, never, idle, idle)

    def step(self, actions: np.ndarray) -> Batch:
        """One step of every environment that has an episode to play.

        Raises AverseError for actions of another shape or type than the layout's: [B, ...].
        """
        self._require_open()
        flags, workers, shared = self._views["flags"], self._workers, self._views["actions"]["actions"]
        actions = np.asarray(actions)
        if actions.shape != shared.shape or not np.can_cast(actions.dtype, shared.dtype, "same_kind"):
            raise AverseError(
                f"actions must be {shared.dtype} {list(shared.shape)}, not {actions.dtype} {list(actions.shape)}"
            )
        shared[...] = actions
        flags["command"][...] = Command.STEP
        idle = flags["idle"].copy()
        playing = np.flatnonzero(~idle).tolist()
        self._waiting.update(playing)
        for index in playing:
            workers[index].go.release()
        failed = np.zeros(self.num_envs, bool)
        for index in playing:
            try:
                self._await(index)
            except _Died as death:
                self._replace(index, str(death))
                failed[index] = True
        after, outcome, ended = self._copy("after"), self._copy("outcome"), flags["ended"] & ~idle
        if failed.any():
            ended |= failed
            for name, array in after.items():
                array[failed] = self._last[name][failed]
            for array in outcome.values():
                array[failed] = 0
        for index in np.flatnonzero(ended & ~failed).tolist():
            self._failures[index] = 0
        now = self._copy("now")
        self._last = now
        return Batch(now, after, outcome, ended, failed, idle, flags["idle"].copy())

    # ---- workers

    def _require_open(self) -> None:
        if not self._finalizer.alive:
            raise AverseError("these environments are closed")

    def _copy(self, section: str) -> dict[str, np.ndarray]:
        return {name: view.copy() for name, view in self._views[section].items()}

    def _await_start(self, index: int) -> None:
        try:
            self._await(index)
        except _Died as death:  # a worker that dies at once would do so again
            raise AverseError(f"environment worker {index} could not start: it {death}") from death

    def _await(self, index: int) -> None:
        try:
            self._workers[index].wait(self.timeout, self._views["flags"]["failed"][index : index + 1])
        finally:
            self._waiting.discard(index)

    def _order_reset(self, index: int, episodes: Assignment) -> None:
        flags = self._views["flags"]
        flags["command"][index] = Command.RESET
        flags["episodes"][index] = 0
        self._waiting.add(index)
        with suppress(OSError):  # a dead worker is found out by whoever waits for it
            self._workers[index].pipe.send(episodes)
        self._workers[index].go.release()

    def _replace(self, index: int, reason: str, play: bool = True) -> None:
        """Put a new worker in the place of a dead one; with `play`, let it go on with the episode after the failed."""
        flags = self._views["flags"]
        while True:
            self._failures[index] += 1
            self._replacements[index] += 1
            self._workers[index].kill()
            if self._failures[index] >= MAX_FAILURES:
                raise AverseError(f"environment worker {index} failed {MAX_FAILURES} times in a row; it {reason}")
            logger.warning("environment worker %d %s; it is replaced and its episode given up", index, reason)
            flags["failed"][index] = False
            begun = int(flags["episodes"][index])
            self._workers[index] = _Worker(self, index)
            self._await_start(index)
            if not play:
                return
            old = self._episodes[index]
            seeds = None if old.seeds is None else old.seeds[begun:]
            entropy = (*old.entropy[:2], self._replacements[index])
            self._episodes[index] = Assignment(seeds, entropy)
            self._order_reset(index, self._episodes[index])
            try:
                self._await(index)
                return
            except _Died as death:
                reason = str(death)
