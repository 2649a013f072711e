"""The worker processes of a pool, as their parent sees them: started safely, told to go, waited for, started anew.

Each has a block of rows of the shared memory, those of its environments. A semaphore each way per worker, and one that
wakes the parent when all have answered, go with it (`process.Link`).
"""

import itertools
import multiprocessing
import os
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from averse.environments.workers.process import (
    Assignment,
    Command,
    Factory,
    Layout,
    Link,
    Trouble,
    run,
    shared_size,
    views_of,
)
from averse.errors import AverseError

_POLL_SECONDS = 0.25  # how often a waiting parent looks whether a worker is still alive
_STARTING = threading.Lock()  # starting a process changes this process's environment variables for a moment
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Simulators:
    """What is to be run in worker processes: `num_envs` environments, as `pool.WorkerPool` was told. Picklable."""

    factory: Factory
    layout: Layout
    num_envs: int
    import_main: bool
    preload: tuple[str, ...]
    timeout: float

    def blocks(self, processes: int) -> list[range]:
        """The rows of each process, at most so many of them, none without a row."""
        processes = min(processes, self.num_envs)
        bounds = [self.num_envs * index // processes for index in range(processes + 1)]
        return [range(first, last) for first, last in itertools.pairwise(bounds)]


class Loss(NamedTuple):
    """What went wrong in a worker."""

    worker: int
    gone: bool  # the process is of no use any more, and all its episodes are lost
    reasons: dict[int, str]  # row -> what happened to its environment, or in it to the process; a sentence's end


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


class _Worker:
    """A running worker process with its block of rows."""

    def __init__(self, crew: "Crew", rows: range):
        context = crew.context
        self.rows = rows
        self.go, self.ready = context.Semaphore(0), context.Semaphore(0)
        self.pipe, theirs = context.Pipe()
        what = crew.simulators
        shared = what.layout, what.num_envs, crew.memory
        link = Link(rows, *shared, self.go, self.ready, crew.others, crew.all_ready, crew.awake, theirs)
        name = f"averse-worker-{rows.start}"
        self.process = context.Process(target=run, args=(what.factory, link), name=name, daemon=True)
        with _plain_process_start(what.import_main):
            self.process.start()
        theirs.close()

    @property
    def answered(self) -> bool:
        """Whether an answer is there; it is taken."""
        return self.ready.acquire(block=False)

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


class Crew:
    """Worker processes of this machine that share environments among them, in blocks of one after another.

    Args:
      blocks: the rows of each process; all rows of the memory, or those that are this crew's.
      cores: those of this crew; processes that are as many or fewer wait for commands awake.

    Raises AverseError where an environment cannot start.
    """

    def __init__(self, simulators: Simulators, blocks: Sequence[range], cores: int):
        self.simulators, self.blocks, self.timeout = simulators, list(blocks), simulators.timeout
        layout, num_envs = simulators.layout, simulators.num_envs
        # never fork: the parent runs JAX's threads, and a simulator's state must not be inherited
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self.context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self.context.set_forkserver_preload(["averse.environments.workers.process", *simulators.preload])
        self.memory = self.context.RawArray("b", shared_size(layout, num_envs))
        self.views = views_of(self.memory, layout, num_envs)
        self.others, self.all_ready = self.context.Semaphore(0), self.context.Semaphore(0)
        self.waiting: set[int] = set()  # workers that owe an answer
        self._workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _shut_down, self._workers, self.views["flags"]["command"])
        self.awake = len(self.blocks) <= cores  # more that waited awake would be in each other's way
        try:
            for rows in self.blocks:
                self._workers.append(_Worker(self, rows))
            for index in range(len(self.blocks)):
                self._await_start(index)
        except BaseException:
            self.close()
            raise

    @property
    def process_ids(self) -> list[int]:
        """The process id of each environment's worker, [B]."""
        return [worker.process.pid for worker in self._workers for _ in worker.rows]

    @property
    def is_closed(self) -> bool:
        """Whether all have been ended."""
        return not self._finalizer.alive

    def close(self) -> None:
        """End every worker. May be called again."""
        self._finalizer()

    def expect(self, count: int) -> None:
        """Before so many workers are told to go: the last of them is to wake the parent."""
        for semaphore in (self.others, self.all_ready):  # what is left of workers that died, or of an interrupted step
            while semaphore.acquire(block=False):
                pass
        for _ in range(count - 1):
            self.others.release()

    def go(self, index: int) -> None:
        """Let a worker do what its rows' commands say."""
        self.waiting.add(index)  # one by one: whom an interrupt leaves untold owes no answer
        self._workers[index].go.release()

    def order_reset(self, index: int, episodes: Mapping[int, Assignment]) -> None:
        """Let a worker start over in these of its rows."""
        flags, worker = self.views["flags"], self._workers[index]
        for row in worker.rows:
            flags["command"][row] = Command.RESET if row in episodes else Command.REST
        self.waiting.add(index)  # first, as episodes that were sent but not begun with would be taken for the next
        with suppress(OSError):  # a dead worker is found out by whoever waits for it
            worker.pipe.send(dict(episodes))
        worker.go.release()

    def collect(self, indices: Iterable[int]) -> list[Loss]:
        """Wait for workers' answers: what went wrong, at most once per worker.

        A worker is taken for hung that stays with one environment for longer than the timeout.

        Raises AverseError where an environment did.
        """
        asked = left = list(indices)
        gone: dict[int, str] = {}
        at: dict[int, int] = {}
        since: dict[int, float] = {}
        while left := [index for index in left if not self._take(index)]:
            # A hint, not a proof: each worker's own semaphore tells whether it has answered.
            if self.all_ready.acquire(timeout=_POLL_SECONDS):
                continue
            now, before, at = time.monotonic(), at, self._at(left)
            since = {index: since[index] if at[index] == before.get(index) else now for index in left}
            dead = [index for index in left if not self._workers[index].process.is_alive()]
            left = [index for index in left if not self._take(index)]  # perhaps just before its end
            for index in left:
                if index in dead:
                    gone[index] = f"ended with exit code {self._workers[index].process.exitcode}"
                elif now - since[index] > self.timeout:
                    gone[index] = f"did not answer for {self.timeout:g} s"
            left = [index for index in left if index not in gone]
        self.waiting.difference_update(asked)
        if not gone and not self.views["flags"]["broken"].any():
            return []
        return [loss for index in asked if (loss := self._loss(index, gone.get(index)))]

    def restart(self, index: int) -> None:
        """Put a new worker in the place of one. Raises AverseError where an environment cannot start."""
        rows = self.blocks[index]
        self._workers[index].kill()
        self.waiting.discard(index)
        self.views["flags"]["broken"][rows.start : rows.stop] = False
        self._workers[index] = _Worker(self, rows)
        self._await_start(index)

    def restart_unheard(self) -> None:
        """Restart workers that told of exceptions which nobody has read: an interrupt or a refusal came before."""
        for index, rows in enumerate(self.blocks):
            if self.views["flags"]["broken"][rows.start : rows.stop].any():
                self.restart(index)

    def _take(self, index: int) -> bool:
        """Whether a worker's answer is there; then it owes none any more, also if this process is interrupted next."""
        answered = self._workers[index].answered
        if answered:
            self.waiting.discard(index)
        return answered

    def _at(self, indices: Iterable[int]) -> dict[int, int]:
        """In which rows workers are."""
        return {index: int(self.views["flags"]["at"][self.blocks[index].start]) for index in indices}

    def _loss(self, index: int, reason: str | None) -> Loss | None:
        """What went wrong in a worker that has answered or, for the reason given, never will."""
        rows = self.blocks[index]
        if reason is None:
            broken = self.views["flags"]["broken"][rows.start : rows.stop]
            if not broken.any():
                return None
            troubles = self._troubles(index)
            if troubles is not None:
                broken[:] = False
                for trouble in troubles.values():
                    if trouble.refusal is not None:
                        raise AverseError(trouble.refusal)
                return Loss(index, False, {row: f"it raised an exception:\n{t.trace}" for row, t in troubles.items()})
            reason = "ended while it told of an exception"
        at = self._at([index])[index]
        return Loss(index, True, dict.fromkeys([at] if at in rows else rows, f"its worker process {reason}"))

    def _troubles(self, index: int) -> dict[int, Trouble] | None:
        """What a worker tells of its broken environments; None where it ends before."""
        try:
            return self._workers[index].pipe.recv()
        except (EOFError, OSError):
            return None

    def _await_start(self, index: int) -> None:
        for loss in self.collect([index]):  # an environment that fails at once would do so again
            row, reason = next(iter(loss.reasons.items()))
            raise AverseError(f"environment {row} could not start: {reason}")
