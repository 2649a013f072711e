"""The worker side of host environments: a block of them in one process, driven through shared memory.

A worker steps its environments in turn. One that raises is told of, and built anew when it is given episodes again;
its neighbours do not notice. Nothing here imports JAX: a worker must start quickly, stay small and run no threads of
its own.
"""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import numpy as np

from averse.errors import AverseError


class WorkerStep(NamedTuple):
    """What a single environment answers to one joint action: what its action led to, never the next episode."""

    state: Mapping[str, Any]  # the fields of `Layout.state`
    outcome: Mapping[str, Any]  # the fields of `Layout.outcome`
    done: bool  # whether the episode has ended


class WorkerEnvironment(Protocol):
    """One environment in a worker process, without batch axis and without automatic reset.

    Others of its kind may live in the same process (`WorkerPool`, `processes`). Its episodes must not depend on them.
    """

    def reset(self, seed: int, exact: bool) -> Mapping[str, Any]:
        """A fresh episode: the fields of `Layout.state`.

        With `exact` the episode must be a deterministic function of the seed and the actions; otherwise it may depend
        on what this simulator has played before, if that makes the reset cheaper.
        """
        ...

    def step(self, actions: np.ndarray) -> WorkerStep:
        """One step; actions as one row of what `HostVector.step` gets."""
        ...

    def close(self) -> None:
        """End the simulator."""
        ...


_PARENT_CHECK_SECONDS = 2.0  # how often an idle worker looks whether its parent still lives
_AWAKE_SECONDS = 3e-4  # how long a worker looks for the next command before it sleeps, if it has a core for itself

_let_others_run = getattr(os, "sched_yield", lambda: time.sleep(0))  # the parent may need this core now

Factory = Callable[[], WorkerEnvironment]

Fields = Mapping[str, tuple[tuple[int, ...], str]]  # name -> (shape, dtype)


class Layout(NamedTuple):
    """The arrays that one environment exchanges with the parent process."""

    actions: tuple[tuple[int, ...], str]  # shape and dtype of one joint action
    state: Fields  # what describes a moment: known after a reset and after a step
    outcome: Fields  # what a step yields besides


class Command(IntEnum):
    """What the parent tells a worker to do with an environment."""

    STEP = 0
    RESET = 1
    CLOSE = 2
    REST = 3  # while a neighbour is reset


# per-environment flags, at the head of each environment's row of the shared memory
_FLAGS: Fields = {
    "command": ((), "int32"),
    "idle": ((), "int32"),  # all given episodes are played
    "ended": ((), "int32"),  # an episode ended in this step, so that the state to act on is "now" and not "after"
    "broken": ((), "int32"),  # it raised an exception, of which the worker tells
    "at": ((), "int32"),  # in a worker's first row: in which of its rows it is at work; NOWHERE between commands
    "failed": ((), "int32"),  # the parent's: the episode was given up in this step
    "was_idle": ((), "int32"),  # the parent's: there was no episode to play in this step
    "episodes": ((), "int64"),  # episodes begun since the last reset
}
NOWHERE = -1
_LINE = 64  # bytes of a cache line, in which sections begin


class Place(NamedTuple):
    """Where a field is in an environment's row."""

    shape: tuple[int, ...]
    dtype: np.dtype
    start: int  # in bytes


def places(layout: Layout) -> tuple[dict[str, dict[str, Place]], int]:
    """All fields by section, and the bytes of a row; what one environment shares stands together.

    `now` is the state that an episode begins with, where one ended or all were reset; `after` is what the last action
    led to, which is the state to act on everywhere else.
    """
    sections: dict[str, Fields] = {
        "flags": _FLAGS,
        "actions": {"actions": layout.actions},
        "now": layout.state,
        "after": layout.state,
        "outcome": layout.outcome,
    }
    found: dict[str, dict[str, Place]] = {}
    end = 0
    for section, fields in sections.items():
        end = -(-end // _LINE) * _LINE
        found[section] = {}
        for name, (shape, kind) in fields.items():
            dtype = np.dtype(kind)
            start = -(-end // dtype.itemsize) * dtype.itemsize
            found[section][name] = Place(shape, dtype, start)
            end = start + int(np.prod(shape)) * dtype.itemsize
    return found, -(-end // _LINE) * _LINE


def shared_size(layout: Layout, num_envs: int) -> int:
    """Bytes of shared memory for `num_envs` environments."""
    return places(layout)[1] * num_envs


def views_of(memory: Any, layout: Layout, num_envs: int) -> dict[str, dict[str, np.ndarray]]:
    """The fields by section, each [B, ...], as views of all environments' rows."""
    found, size = places(layout)

    def view(place: Place) -> np.ndarray:
        strides = (size, *np.empty(place.shape, place.dtype).strides)
        return np.ndarray((num_envs, *place.shape), place.dtype, memory, place.start, strides)

    return {section: {name: view(place) for name, place in fields.items()} for section, fields in found.items()}


@dataclass(frozen=True)
class Assignment:
    """Which episodes an environment is to play after a reset."""

    seeds: tuple[int, ...] | None
    """One per episode, each exact; None for endless training episodes."""
    entropy: tuple[int, ...] = ()
    """What the seeds of endless episodes are derived from."""

    def __iter__(self) -> Iterator[tuple[int, bool]]:
        """(seed, whether the reset must be exact) of each episode."""
        if self.seeds is not None:
            yield from ((seed, True) for seed in self.seeds)
        else:
            # the first is exact, so that all of a training run's episodes are a function of its seed and actions
            generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.entropy)))
            yield int(generator.integers(2**32)), True
            while True:
                yield int(generator.integers(2**32)), False


@dataclass
class Link:
    """How the parent and one worker reach each other. Picklable while a process is being started."""

    rows: range  # of the shared memory: those of its environments
    layout: Layout
    num_envs: int
    memory: Any  # shared by all workers
    go: Any  # semaphore: commands are waiting
    ready: Any  # semaphore: the answer is there
    others: Any  # semaphore of all workers: how many more are to answer
    all_ready: Any  # semaphore of all workers: the last one has answered
    awake: bool  # whether to wait for the next command without sleeping, for a while
    pipe: Connection  # what to play {row: Assignment}, and after an answer with broken rows {row: Trouble}

    def await_commands(self, seconds: float) -> bool:
        """Whether commands have come, within so many seconds or a little more.

        To wake from sleep costs a worker and its parent some 50 us each time, and what else runs meanwhile leaves the
        processor's caches cold: a world of microseconds is half as fast again if its worker stays awake.
        """
        if self.go.acquire(block=False):
            return True
        if self.awake:
            end = time.perf_counter() + _AWAKE_SECONDS
            while time.perf_counter() < end:
                _let_others_run()
                if self.go.acquire(block=False):
                    return True
        return self.go.acquire(timeout=seconds)

    def answer(self) -> None:
        """Tell the parent, and wake it if this is the last answer: it would wake for each of many in vain."""
        self.ready.release()
        if not self.others.acquire(block=False):
            self.all_ready.release()

    def tell(self, troubles: "dict[int, Trouble]") -> None:
        """Answer, with what went wrong in rows that are flagged as broken."""
        self.answer()
        if troubles:  # only now, as the parent reads it: a long text would wait for that
            with suppress(OSError):  # nobody listens any more
                self.pipe.send(troubles)


class Trouble(NamedTuple):
    """An exception that an environment raised."""

    refusal: str | None  # what an AverseError says
    trace: str


class _Row:
    """One environment of a worker, with its row of the shared memory."""

    def __init__(self, factory: Factory, views: dict[str, dict[str, np.ndarray]], row: int):
        mine = {section: {name: array[row : row + 1] for name, array in arrays.items()}
                for section, arrays in views.items()}  # fmt: skip
        self.row, self._factory = row, factory
        self._flags, self._actions = mine["flags"], mine["actions"]["actions"]
        self._now, self._after, self._outcome = mine["now"], mine["after"], mine["outcome"]
        self._episodes: Iterator[tuple[int, bool]] = iter(())
        self._environment: WorkerEnvironment | None = factory()

    def reset(self, episodes: Assignment) -> None:
        """Begin the first of these episodes, in a new environment if the last one is broken."""
        if self._environment is None:
            try:
                self._environment = self._factory()
            except AverseError:
                raise
            except BaseException as error:  # one that cannot start would not the next time either
                raise AverseError(
                    f"environment {self.row} could not be built anew: it raised an exception:\n{traceback.format_exc()}"
                ) from error
        self._episodes = iter(episodes)
        self._flags["idle"][0], self._flags["episodes"][0] = False, 0
        self._begin()

    def step(self) -> None:
        """One step, and the begin of the next episode where it was the last; nothing if no episode is left."""
        if self._flags["idle"][0]:
            return
        assert self._environment is not None, "a broken environment is reset before it is stepped"
        step = self._environment.step(self._actions[0])
        _write(self._after, step.state)
        _write(self._outcome, step.outcome)
        self._flags["ended"][0] = False
        if step.done:
            self._begin()

    def _begin(self) -> None:
        self._flags["ended"][0] = True
        following = next(self._episodes, None)
        if following is None:
            self._flags["idle"][0] = True
            return
        assert self._environment is not None
        _write(self._now, self._environment.reset(*following))
        self._flags["episodes"][0] += 1  # only now: the seed of a reset that fails is tried again

    def give_up(self) -> None:
        """After an exception: the environment is not to be used any more."""
        self.close()
        self._environment = None
        self._flags["broken"][0] = True

    def close(self) -> None:
        """End the environment. What it raises at its end concerns nobody."""
        if self._environment is not None:
            with suppress(Exception):
                self._environment.close()


def run(factory: Factory, link: Link) -> None:
    """The life of a worker: build its environments, then answer commands until told to close or left alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    views = views_of(link.memory, link.layout, link.num_envs)
    at = views["flags"]["at"][link.rows.start : link.rows.start + 1]
    rows: list[_Row] = []
    try:
        for row in link.rows:
            at[0] = row
            try:
                rows.append(_Row(factory, views, row))
            except BaseException as error:
                views["flags"]["broken"][row] = True
                link.tell({row: _trouble(error)})
                return
        at[0] = NOWHERE
        link.answer()
        _serve(rows, link, views["flags"]["command"][link.rows.start : link.rows.stop], at)
    finally:
        for one in rows:
            one.close()


def _serve(rows: list[_Row], link: Link, commands: np.ndarray, at: np.ndarray) -> None:
    parent = multiprocessing.parent_process()
    parent_id = os.getppid()
    while True:
        while not link.await_commands(_PARENT_CHECK_SECONDS):
            if os.getppid() != parent_id or (parent is not None and not parent.is_alive()):
                return
        orders = commands.tolist()
        if Command.CLOSE in orders:
            return
        try:
            given = link.pipe.recv() if Command.RESET in orders else {}
        except (EOFError, OSError):
            return  # nobody is there any more
        troubles: dict[int, Trouble] = {}
        for one, order in zip(rows, orders):
            at[0] = one.row
            try:
                if order == Command.STEP:
                    one.step()
                elif order == Command.RESET:
                    one.reset(given[one.row])
            except BaseException as error:  # whatever it is, only this environment's episode is lost
                troubles[one.row] = _trouble(error)
                one.give_up()
        at[0] = NOWHERE
        link.tell(troubles)


def _trouble(error: BaseException) -> Trouble:
    return Trouble(str(error) if isinstance(error, AverseError) else None, traceback.format_exc())


def _write(views: dict[str, np.ndarray], values: Mapping[str, Any]) -> None:
    for name, view in views.items():
        view[0] = values[name]
