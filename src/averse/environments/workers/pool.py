"""Batches of host environments in worker processes: started safely, stepped together, replaced when they die.

A `WorkerPool` moves raw arrays between the parent and its workers through shared memory, with one semaphore each way
per worker, and one that wakes the parent when all have answered. A `HostVector` is made of a pool and an *encoder*,
which turns the raw arrays of the whole batch into `TimeStep`s (`workers.vector`, `workers.encoded`); what an encoder
computes for all environments at once costs far less than in each worker.
"""

import logging
import multiprocessing
import os
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from averse.environments.workers.process import (
    Assignment,
    Command,
    Factory,
    Layout,
    Link,
    places,
    run,
    shared_size,
    views_of,
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


class _Worker:
    """A running worker process, as its parent sees it."""

    def __init__(self, pool: "WorkerPool", index: int):
        context = pool.context
        self.go, self.ready = context.Semaphore(0), context.Semaphore(0)
        self.pipe, theirs = context.Pipe()
        link = Link(
            index, pool.layout, pool.num_envs, pool.memory, self.go, self.ready, pool.others, pool.all_ready, theirs
        )
        name = f"averse-worker-{index}"
        self.process = context.Process(target=run, args=(pool.factory, link), name=name, daemon=True)
        with _plain_process_start(pool.import_main):
            self.process.start()
        theirs.close()

    @property
    def answered(self) -> bool:
        """Whether an answer is there; it is taken."""
        return self.ready.acquire(block=False)

    def exception(self) -> str:
        """What a worker told before it went. Raises its own AverseError."""
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
        self._views = views_of(self.memory, layout, num_envs)
        self._rows = np.frombuffer(self.memory, np.int32).reshape(num_envs, -1)
        flags = places(layout)[0]["flags"]
        self._column = {name: place.start // 4 for name, place in flags.items() if place.dtype == np.int32}
        self.others, self.all_ready = self.context.Semaphore(0), self.context.Semaphore(0)
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
        self._start_over(episodes)
        never = np.zeros(self.num_envs, bool)
        idle = self._views["flags"]["idle"] != 0
        now = self._copy("now")
        self._last = now
        return Batch(now, now, self._copy("outcome"), never, never, idle, idle)

    def step(self, actions: np.ndarray) -> Batch:
        """One step of every environment that has an episode to play.

        Raises AverseError for actions of another shape or type than the layout's: [B, ...]; and after a step or reset
        that was interrupted, until the next reset.
        """
        idle, failed = self._play(actions)
        flags, after, outcome = self._views["flags"], self._copy("after"), self._copy("outcome")
        ended = (flags["ended"] != 0) & ~idle | failed
        if failed.any():
            for name, array in after.items():
                array[failed] = self._last[name][failed]
            for array in outcome.values():
                array[failed] = 0
        now = {name: array.copy() for name, array in after.items()}
        if ended.any():
            for name, array in now.items():
                array[ended] = self._views["now"][name][ended]
        self._last = now
        return Batch(now, after, outcome, ended, failed, idle, flags["idle"] != 0)

    def reset_rows(self, episodes: Sequence[Assignment]) -> np.ndarray:
        """As `reset`, for those who read the workers' memory themselves: its rows, int32 [B, W], a copy.

        `process.places` says where everything is in a row. Its flags `ended` say where the state to act on is `now`
        (here everywhere) and not `after`.
        """
        self._start_over(episodes)
        self._last_rows = self._rows.copy()
        return self._last_rows

    def step_rows(self, actions: np.ndarray) -> np.ndarray:
        """As `step`, in rows (see `reset_rows`): their flags tell what `Batch` does."""
        idle, failed = self._play(actions)
        rows = self._rows.copy()
        rows[:, self._column["was_idle"]], rows[:, self._column["failed"]] = idle, failed
        if idle.any():
            rows[idle, self._column["ended"]] = False
        if failed.any():
            self._give_up(rows, failed)
        self._last_rows = rows
        return rows

    def flag(self, rows: np.ndarray, name: str) -> np.ndarray:
        """Where a flag of rows is set, bool [B]."""
        return rows[:, self._column[name]] != 0

    def fields(self, rows: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """The fields of rows by section, each [B, ...]: views."""
        return views_of(rows, self.layout, self.num_envs)

    def _give_up(self, rows: np.ndarray, failed: np.ndarray) -> None:
        """In the rows of episodes that failed: ended, in the state before, and nothing happened."""
        new, old = self.fields(rows), self.fields(self._last_rows)
        new["flags"]["ended"][failed] = True
        fresh = old["flags"]["ended"] != 0
        for name, array in new["after"].items():
            array[failed & fresh] = old["now"][name][failed & fresh]
            array[failed & ~fresh] = old["after"][name][failed & ~fresh]
        for array in new["outcome"].values():
            array[failed] = 0

    # ---- workers

    def _require_open(self) -> None:
        if not self._finalizer.alive:
            raise AverseError("these environments are closed")

    def _copy(self, section: str) -> dict[str, np.ndarray]:
        return {name: view.copy() for name, view in self._views[section].items()}

    def _start_over(self, episodes: Sequence[Assignment]) -> None:
        self._require_open()
        for index, reason in self._collect(self._waiting).items():  # an interrupted step may have left answers behind
            self._replace(index, reason, play=False)
        self._episodes = list(episodes)
        self._replacements = [0] * self.num_envs
        self._failures = [0] * self.num_envs
        self._expect(self.num_envs)
        for index in range(self.num_envs):
            self._order_reset(index, self._episodes[index])
        for index, reason in self._collect(range(self.num_envs)).items():
            self._replace(index, reason)

    def _play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Let the workers do a step: which had no episode to play, and which died, both bool [B]."""
        self._require_open()
        flags, shared = self._views["flags"], self._views["actions"]["actions"]
        actions = np.asarray(actions)
        if actions.shape != shared.shape or not np.can_cast(actions.dtype, shared.dtype, "same_kind"):
            raise AverseError(
                f"actions must be {shared.dtype} {list(shared.shape)}, not {actions.dtype} {list(actions.shape)}"
            )
        if self._waiting:  # their late answers would be taken for those to this step
            raise AverseError("the last step was interrupted; reset these environments before the next one")
        shared[...] = actions
        flags["command"][...] = Command.STEP
        idle = flags["idle"] != 0
        playing = np.flatnonzero(~idle).tolist()
        self._expect(len(playing))
        for index in playing:
            self._waiting.add(index)  # one by one: whom an interrupt leaves untold owes no answer
            self._workers[index].go.release()
        failed = np.zeros(self.num_envs, bool)
        for index, reason in self._collect(playing).items():
            self._replace(index, reason)
            failed[index] = True
        for index in np.flatnonzero((flags["ended"] != 0) & ~idle & ~failed).tolist():
            self._failures[index] = 0
        return idle, failed

    def _expect(self, count: int) -> None:
        """Before so many workers are told to go: the last of them is to wake the parent."""
        for semaphore in (self.others, self.all_ready):  # what is left of workers that died, or of an interrupted step
            while semaphore.acquire(block=False):
                pass
        for _ in range(count - 1):
            self.others.release()

    def _collect(self, indices: Iterable[int]) -> dict[int, str]:
        """Wait for the workers' answers: those that died, hang, or told of an exception, and what they did.

        Raises AverseError where a worker's environment did.
        """
        left, lost = sorted(indices), {}
        flags, deadline = self._views["flags"], time.monotonic() + self.timeout
        asked = left
        while left := [index for index in left if not self._take(index)]:
            # A hint, not a proof: each worker's own semaphore tells whether it has answered.
            if self.all_ready.acquire(timeout=_POLL_SECONDS):
                continue
            dead = [index for index in left if not self._workers[index].process.is_alive()]
            left = [index for index in left if not self._take(index)]  # perhaps just before its end
            for index in set(dead) & set(left):
                lost[index] = f"ended with exit code {self._workers[index].process.exitcode}"
            if time.monotonic() > deadline:
                lost |= {index: f"did not answer for {self.timeout:g} s" for index in left if index not in lost}
            left = [index for index in left if index not in lost]
        self._waiting.difference_update(asked)
        for index in asked:
            if index not in lost and flags["broken"][index]:
                lost[index] = self._workers[index].exception()
        return lost

    def _take(self, index: int) -> bool:
        """Whether a worker's answer is there; then it owes none any more, also if this process is interrupted next."""
        answered = self._workers[index].answered
        if answered:
            self._waiting.discard(index)
        return answered

    def _await_start(self, index: int) -> None:
        for reason in self._collect([index]).values():  # a worker that dies at once would do so again
            raise AverseError(f"environment worker {index} could not start: it {reason}")

    def _order_reset(self, index: int, episodes: Assignment) -> None:
        flags = self._views["flags"]
        flags["command"][index] = Command.RESET
        flags["episodes"][index] = 0
        self._waiting.add(index)  # first, as episodes that were sent but not begun with would be taken for the next
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
            flags["broken"][index] = False
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
            again = self._collect([index])
            if not again:
                return
            reason = again[index]
