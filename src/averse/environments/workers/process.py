"""The worker side of host environments: one simulator in one process, driven through shared memory.

Nothing here imports JAX: a worker must start quickly, stay small and run no threads of its own.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
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
    """One environment in a worker process, without batch axis and without automatic reset."""

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

Factory = Callable[[], WorkerEnvironment]

Fields = Mapping[str, tuple[tuple[int, ...], str]]  # name -> (shape, dtype)


class Layout(NamedTuple):
    """The arrays that one environment exchanges with the parent process."""

    actions: tuple[tuple[int, ...], str]  # shape and dtype of one joint action
    state: Fields  # what describes a moment: known after a reset and after a step
    outcome: Fields  # what a step yields besides


class Command(IntEnum):
    """What the parent tells a worker to do."""

    STEP = 0
    RESET = 1
    CLOSE = 2


# per-environment flags, at the head of each environment's row of the shared memory
_FLAGS: Fields = {
    "command": ((), "int32"),
    "idle": ((), "int32"),  # all given episodes are played
    "ended": ((), "int32"),  # an episode ended in this step, so that the state to act on is "now" and not "after"
    "broken": ((), "int32"),  # the worker has told of an exception and gone
    "failed": ((), "int32"),  # the parent's: the worker died in this step
    "was_idle": ((), "int32"),  # the parent's: there was no episode to play in this step
    "episodes": ((), "int64"),  # episodes begun since the last reset
}
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
    """Which episodes a worker is to play after a reset."""

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

    index: int
    layout: Layout
    num_envs: int
    memory: Any  # shared by all workers
    go: Any  # semaphore: a command is waiting
    ready: Any  # semaphore: the answer is there
    others: Any  # semaphore of all workers: how many more are to answer
    all_ready: Any  # semaphore of all workers: the last one has answered
    pipe: Connection  # episodes to play, and the worker's errors

    def answer(self) -> None:
        """Tell the parent, and wake it if this is the last answer: it would wake for each of many in vain."""
        self.ready.release()
        if not self.others.acquire(block=False):
            self.all_ready.release()


def run(factory: Factory, link: Link) -> None:
    """The life of a worker: build the environment, then answer commands until told to close or left alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    views = views_of(link.memory, link.layout, link.num_envs)
    try:
        mine = {section: {name: array[link.index : link.index + 1] for name, array in arrays.items()}
                for section, arrays in views.items()}  # fmt: skip
        environment = factory()
        link.answer()
        try:
            _serve(environment, link, mine)
        finally:
            environment.close()
    except BaseException as error:
        try:
            link.pipe.send((str(error) if isinstance(error, AverseError) else None, traceback.format_exc()))
        except OSError:
            return  # nobody listens any more
        views["flags"]["broken"][link.index] = True
        link.answer()


def _serve(environment: WorkerEnvironment, link: Link, mine: dict[str, dict[str, np.ndarray]]) -> None:
    flags, actions = mine["flags"], mine["actions"]["actions"]
    command, idle, ended, begun = (flags[name] for name in ("command", "idle", "ended", "episodes"))
    now, after, outcome = mine["now"], mine["after"], mine["outcome"]
    episodes: Iterator[tuple[int, bool]] = iter(())
    parent = multiprocessing.parent_process()
    parent_id = os.getppid()

    def begin() -> None:
        ended[0] = True
        following = next(episodes, None)
        if following is None:
            idle[0] = True
            return
        _write(now, environment.reset(*following))
        begun[0] += 1  # only now: the seed of a reset that kills the worker is tried again

    while True:
        while not link.go.acquire(timeout=_PARENT_CHECK_SECONDS):
            if os.getppid() != parent_id or (parent is not None and not parent.is_alive()):
                return
        order = command[0]
        if order == Command.STEP:
            step = environment.step(actions[0])
            _write(after, step.state)
            _write(outcome, step.outcome)
            ended[0] = False
            if step.done:
                begin()
        elif order == Command.RESET:
            episodes = iter(link.pipe.recv())
            idle[0], begun[0] = False, 0
            begin()
        else:
            return
        link.answer()


def _write(views: dict[str, np.ndarray], values: Mapping[str, Any]) -> None:
    for name, view in views.items():
        view[0] = values[name]
