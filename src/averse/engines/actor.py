"""What a Ray actor does that holds simulators: starts their processes and steps them, for a learner elsewhere.

Nothing here imports JAX. Messages to an actor: the bytes of which workers are to step, uint8 [workers], and of the
actions of its rows; or, pickled, an `Order`. It answers with the bytes of its rows and, where there is more to say,
`News`.
"""

import contextlib
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from averse.engines.channel import Channel
from averse.engines.worker import versions
from averse.environments.workers.crew import Crew, Loss, Simulators
from averse.environments.workers.process import Assignment, Command, shared_size
from averse.errors import AverseError

PACKAGES = ("numpy", "libsumo", "gymnasium", "pettingzoo")  # that decide how simulators answer


class Order(NamedTuple):
    """What is done seldom; workers by their numbers in the actor."""

    resets: Mapping[int, Mapping[int, Assignment]] = {}  # worker -> row -> its episodes
    restart: int | None = None
    restart_unheard: bool = False


@dataclass(frozen=True)
class News:
    """What an actor says beside its rows."""

    losses: Sequence[Loss]
    refusal: str | None  # what an AverseError says
    process_ids: Sequence[int]  # of the worker of each of its rows


class SimulatorActor:
    """A Ray actor that holds simulators. It may serve several shares of them at once, each by a thread."""

    def __init__(self) -> None:
        with contextlib.suppress(ValueError):  # no signal reaches a thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the learner's to handle

    def serve(
        self, address: tuple[str, int], token: bytes, simulators: Simulators, blocks: Sequence[range], cores: int
    ) -> None:
        """Start the worker processes of these blocks, and do what the learner at an address says until it is gone."""
        with contextlib.closing(Channel.to(address, token)) as channel:
            channel.send(told=versions(PACKAGES))
            try:
                crew = Crew(simulators, blocks, cores)
            except AverseError as error:
                channel.send(told=News((), str(error), ()))
                return
            with contextlib.closing(crew), contextlib.suppress(EOFError, OSError):
                channel.send(told=News((), None, crew.process_ids))
                rows, stepped = _rows_of(crew), _Stepping(crew)
                while True:
                    asked, order = channel.receive()
                    news = stepped(asked) if order is None else _ordered(crew, order)
                    channel.send(rows, news)


def _rows_of(crew: Crew) -> np.ndarray:
    """The memory of a crew's rows, uint8."""
    size = shared_size(crew.simulators.layout, 1)
    return np.frombuffer(crew.memory, np.uint8)[crew.blocks[0].start * size : crew.blocks[-1].stop * size]


class _Stepping:
    """Lets workers of a crew step; called at each decision, between which the processor's caches grow cold."""

    def __init__(self, crew: Crew):
        self._crew, self._count = crew, len(crew.blocks)
        rows = slice(crew.blocks[0].start, crew.blocks[-1].stop)
        self._actions = crew.views["actions"]["actions"][rows]
        self._commands = crew.views["flags"]["command"][rows]
        self._given = np.empty(self._actions.shape, self._actions.dtype)
        self._bytes = self._given.reshape(-1).view(np.uint8)
        self._all = list(range(self._count))

    def __call__(self, asked: memoryview) -> News | None:
        """None where nothing went wrong."""
        self._bytes[:] = np.frombuffer(asked, np.uint8, offset=self._count)
        self._actions[...] = self._given
        self._commands[...] = Command.STEP
        playing = self._all if all(asked[: self._count]) else [i for i in self._all if asked[i]]
        self._crew.expect(len(playing))
        for index in playing:
            self._crew.go(index)
        return _collected(self._crew, playing, quiet=True)


def _ordered(crew: Crew, order: Order) -> News | None:
    try:
        if order.restart_unheard:
            crew.restart_unheard()
        if order.restart is not None:
            crew.restart(order.restart)
    except AverseError as error:
        return News((), str(error), crew.process_ids)
    crew.expect(len(order.resets))
    for index, episodes in order.resets.items():
        crew.order_reset(index, episodes)
    return _collected(crew, list(order.resets), quiet=False)


def _collected(crew: Crew, workers: Sequence[int], quiet: bool) -> News | None:
    """What went wrong in workers; None where nothing did and that is not to be said."""
    try:
        losses = crew.collect(workers)
    except AverseError as error:
        return News((), str(error), crew.process_ids)
    return None if quiet and not losses else News(losses, None, crew.process_ids)
