"""Simulators in Ray actors, as the learner sees them: the workers of a pool (`environments.workers.placement.Workers`).

An actor holds a share of the worker processes, and answers to all actions of a decision with one block of rows. Who
steps what does not depend on the actors: rows, processes and seeds are those of a pool on one machine, so that results
are the same to the last bit however many actors there are.

Ray restarts an actor that is lost (`max_restarts`), on another node if need be. Its processes count as ended, and the
pool replaces them as it does on one machine. Where Ray finds no room for it any more, an actor that is left takes its
share.
"""

import contextlib
import itertools
import logging
import math
import pickle
import secrets
import socket
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from averse.engines import worker
from averse.engines.actor import PACKAGES, News, Order, SimulatorActor
from averse.engines.channel import LOOK, TOKEN, Channel, greeted
from averse.environments.workers.crew import Loss, Simulators
from averse.environments.workers.process import Assignment, shared_size, views_of
from averse.errors import AverseError, WorkerLostError, one_line

logger = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds that Ray may take to find room for an actor
TRIES = 3  # of an actor that is lost while its simulators start
MOST = 8  # shares that one actor may hold, where others found no room
LEAVE = 5.0  # seconds that simulators have to end
_SLACK = 30.0  # seconds beyond those of its environments after which an actor that says nothing is taken for hung


class _Lost(Exception):
    """An actor does not answer any more."""


@dataclass(eq=False)
class _Share:
    """Worker processes that are in one actor."""

    workers: range  # by their numbers in the pool
    blocks: list[range]
    actor: Any
    channel: Channel | None = None  # None: its processes are lost
    serving: Any = None  # what Ray says of the actor's work for this share
    reason: str = ""  # why it was lost
    process_ids: Sequence[int] = ()
    resets: dict[int, Mapping[int, Assignment]] = field(default_factory=dict)  # orders that are to be sent
    steps: set[int] = field(default_factory=set)
    owed: list[int] = field(default_factory=list)  # workers whose orders were sent, and that have not answered

    @property
    def rows(self) -> slice:
        """Its rows of the pool's memory."""
        return slice(self.blocks[0].start, self.blocks[-1].stop)


class ActorCrew:
    """The workers of a pool, in Ray actors; see `placement.Workers`.

    Args:
      actors: how many, at most one for each process.
      cores: of each.
      processes: among which environments are divided; None: as many as the actors have cores.

    Raises AverseError where an environment cannot start or cannot be sent, for nodes with other versions;
    WorkerLostError where Ray has no room for any actor.
    """

    def __init__(self, ray: ModuleType, actors: int, cores: int, simulators: Simulators, processes: int | None):
        _require_sendable(simulators)
        self._ray, self._cores, self._simulators = ray, cores, simulators
        self.blocks = simulators.blocks(processes or actors * cores)
        layout, num_envs = simulators.layout, simulators.num_envs
        self.memory = bytearray(shared_size(layout, num_envs))
        self.views = views_of(self.memory, layout, num_envs)
        self._bytes = np.frombuffer(self.memory, np.uint8).reshape(num_envs, -1)
        self.waiting: set[int] = set()
        self._lost: set[int] = set()  # workers whose process is gone, or new and without orders
        self._told: dict[int, Loss] = {}
        self._host = ray.util.get_node_ip_address()
        self._limit = simulators.timeout * (1 + max(map(len, self.blocks))) + _SLACK
        count = min(actors, len(self.blocks))
        make = ray.remote(num_cpus=cores, max_restarts=-1, max_concurrency=MOST + 1, enable_task_events=False)
        bounds = [len(self.blocks) * index // count for index in range(count + 1)]
        self._shares = [
            _Share(range(first, last), self.blocks[first:last], make(SimulatorActor).remote())
            for first, last in itertools.pairwise(bounds)
        ]
        self._holder = [share for share in self._shares for _ in share.workers]
        self._finalizer = weakref.finalize(self, _shut_down, ray, self._shares)
        try:
            self._start(self._shares)
        except BaseException:
            self.close()
            raise

    @property
    def process_ids(self) -> list[int]:
        """The process id of each environment's worker on its node, [B]."""
        return [number for share in self._shares for number in share.process_ids]

    @property
    def is_closed(self) -> bool:
        """Whether all have been ended."""
        return not self._finalizer.alive

    def close(self) -> None:
        """End every simulator and every actor. May be called again."""
        self._finalizer()

    def expect(self, count: int) -> None:
        """Nothing: each actor awaits its own workers."""

    def go(self, index: int) -> None:
        """Let a worker step."""
        self.waiting.add(index)
        if index not in self._lost:
            self._share(index).steps.add(index)

    def order_reset(self, index: int, episodes: Mapping[int, Assignment]) -> None:
        """Let a worker start over in these of its rows."""
        self.waiting.add(index)
        share = self._share(index)
        if share.channel is not None:
            self._lost.discard(index)  # a new process needs no more than this
            share.resets[index] = dict(episodes)

    def collect(self, indices: Iterable[int]) -> list[Loss]:
        """Send what was ordered and wait for the answers: what went wrong, at most once per worker.

        Raises AverseError where an environment did.
        """
        asked = list(indices)
        refusals = self._exchange([share for share in self._shares if share.steps or share.resets])
        self.waiting.difference_update(asked)
        if refusals:
            raise AverseError(refusals[0])
        if not self._lost and not self._told:
            return []
        return [loss for index in asked if (loss := self._loss(index))]

    def restart(self, index: int) -> None:
        """Put a new process in the place of a worker's, and of all of its actor's where that was lost."""
        share = self._share(index)
        if share.channel is not None and index not in self._lost:
            self._order(share, Order(restart=index - share.workers.start))
        if share.channel is None:
            self._start([share])
        self.waiting.discard(index)

    def restart_unheard(self) -> None:
        """Restart workers that told of exceptions which nobody has read."""
        for share in self._shares:
            if share.channel is not None:
                self._order(share, Order(restart_unheard=True))

    # ---- messages

    def _share(self, index: int) -> _Share:
        return self._holder[index]

    def _exchange(self, shares: Sequence[_Share]) -> list[str]:
        """Send orders to actors, and take what they answer: what their environments refuse."""
        refusals: list[str] = []
        try:
            for share in shares:
                with self._whose_loss_is_noted(share):
                    self._send(share)
            for share in shares:
                with self._whose_loss_is_noted(share):
                    news = self._receive(share)
                    if news is not None and news.refusal is not None:
                        refusals.append(news.refusal)
        except BaseException:
            for share in shares:  # what is half sent or half read would be taken for the next answer
                self._lose(share, "was given up, as this process was interrupted")
            raise
        return refusals

    def _send(self, share: _Share) -> None:
        first = share.workers.start
        share.owed = [*share.steps, *share.resets]
        steps, resets = share.steps, share.resets
        share.steps, share.resets = set(), {}
        if share.channel is None:
            return
        if resets:
            share.channel.send(told=Order({index - first: episodes for index, episodes in resets.items()}))
        else:
            playing = bytes(index in steps for index in share.workers)
            share.channel.send(playing + self.views["actions"]["actions"][share.rows].tobytes())

    def _receive(self, share: _Share) -> News | None:
        if share.channel is None:
            return None
        answer, news = share.channel.receive(self._looking(share, self._limit))
        if len(share.owed) == len(share.workers):
            self._bytes[share.rows] = np.frombuffer(answer, np.uint8).reshape(-1, self._bytes.shape[1])
        elif share.owed:  # rows of new processes that have played nothing are not to be seen
            rows = np.frombuffer(answer, np.uint8).reshape(-1, self._bytes.shape[1])
            for index in share.owed:
                block = self.blocks[index]
                self._bytes[block.start : block.stop] = rows[block.start - share.rows.start :][: len(block)]
        share.owed = []
        if news is not None:
            share.process_ids = news.process_ids
            for loss in news.losses:
                index = loss.worker + share.workers.start
                self._told[index] = loss._replace(worker=index)
        return news

    def _order(self, share: _Share, order: Order) -> None:
        """Do what is done seldom, now. Raises AverseError where an environment cannot start."""
        news = None
        with self._whose_loss_is_noted(share):
            assert share.channel is not None
            share.channel.send(told=order)
            news = self._receive(share)
        if news is not None and news.refusal is not None:
            raise AverseError(news.refusal)

    # ---- actors that are lost

    def _loss(self, index: int) -> Loss | None:
        if index in self._lost:
            self._told.pop(index, None)
            return Loss(index, True, dict.fromkeys(self.blocks[index], f"its Ray actor {self._share(index).reason}"))
        return self._told.pop(index, None)

    @contextlib.contextmanager
    def _whose_loss_is_noted(self, share: _Share) -> Iterator[None]:
        try:
            yield
        except (_Lost, EOFError, OSError) as error:
            self._lose(share, str(error) if isinstance(error, _Lost) else self._end_of(share))
        except BaseException:
            self._lose(share, "was given up, as this process was interrupted")
            raise

    def _lose(self, share: _Share, reason: str) -> None:
        if share.channel is not None:
            share.channel.close()
            share.channel, share.reason = None, reason
        share.steps, share.resets, share.owed = set(), {}, []
        self._lost.update(share.workers)

    def _end_of(self, share: _Share) -> str:
        """What Ray says of an actor that is gone."""
        self._ray.wait([share.serving], timeout=LEAVE)
        return f"was lost ({_fault(self._ray, share) or 'its connection ended'})"

    def _looking(self, share: _Share, limit: float) -> Callable[[], None]:
        """What is looked at while an actor says nothing."""
        until = time.monotonic() + limit

        def look() -> None:
            if _is_over(self._ray, share):
                raise _Lost(f"was lost ({_fault(self._ray, share) or 'it ended'})")
            if time.monotonic() > until:
                self._ray.kill(share.actor, no_restart=False)
                raise _Lost(f"did not answer for {limit:g} s")

        return look

    # ---- actors that begin

    def _start(self, shares: Sequence[_Share]) -> None:
        """Let simulators of shares start, in the actors that Ray has for them."""
        for _ in range(TRIES):
            self._connect(shares)
            for share in shares:
                self._lost.update(share.workers)
                with self._whose_loss_is_noted(share):
                    assert share.channel is not None
                    look = self._looking(share, math.inf)
                    _, found = share.channel.receive(look)
                    worker.require_same(f"of actor {self._shares.index(share)}", found, worker.versions(PACKAGES))
                    _, news = share.channel.receive(look)
                    if news.refusal is not None:
                        raise AverseError(news.refusal)
                    share.process_ids = news.process_ids
            shares = [share for share in shares if share.channel is None]
            if not shares:
                return
        raise WorkerLostError(f"a Ray actor {shares[0].reason} {TRIES} times while its simulators started")

    def _connect(self, shares: Sequence[_Share]) -> None:
        """Ask actors to serve shares, until all are connected."""
        with socket.create_server((self._host, 0), backlog=len(shares)) as listener:
            listener.settimeout(LOOK / 4)
            address = listener.getsockname()[:2]
            awaited = {self._asked(share, address): share for share in shares}
            until = time.monotonic() + PATIENCE
            while awaited:
                if (guest := greeted(listener)) is not None:
                    token, connection = guest
                    if token in awaited:
                        awaited.pop(token).channel = Channel(connection)
                    else:
                        connection.close()
                late = time.monotonic() > until
                for token, share in list(awaited.items()):
                    if late:
                        self._move(share)
                    if late or _is_over(self._ray, share):  # Ray refuses what is asked of an actor that it restarts
                        del awaited[token]
                        awaited[self._asked(share, address)] = share
                until = time.monotonic() + PATIENCE if late else until

    def _asked(self, share: _Share, address: tuple[str, int]) -> bytes:
        """The token with which an actor will connect that is asked to serve a share."""
        token = secrets.token_bytes(TOKEN)
        share.serving = share.actor.serve.remote(address, token, self._simulators, share.blocks, self._cores)
        return token

    def _move(self, share: _Share) -> None:
        """Give a share that Ray finds no room for to the actor that has fewest."""
        others = [other.actor for other in self._shares if other.channel is not None]
        held = {actor: sum(other.actor == actor for other in self._shares) for actor in others}
        held = {actor: count for actor, count in held.items() if count < MOST and actor != share.actor}
        if not held:
            fault = _fault(self._ray, share)
            raise WorkerLostError(
                f"Ray has had no room for an actor of {self._cores} cores for {PATIENCE:g} s"
                + (f" ({fault})" if fault else "")
            )
        logger.warning(
            "Ray has had no room for actor %d for %g s; another one takes its simulators",
            self._shares.index(share),
            PATIENCE,
        )
        if not any(other.actor == share.actor for other in self._shares if other is not share):
            self._ray.kill(share.actor)
        share.actor = min(held, key=held.__getitem__)


def _require_sendable(simulators: Simulators) -> None:
    """Raises AverseError for environments that no other machine can import."""
    try:
        content = pickle.dumps(simulators.factory)
    except Exception as error:
        raise AverseError(f"these environments cannot be sent to Ray actors: {error}") from error
    if b"__main__" in content:
        raise AverseError(
            "these environments are defined in the script that is being run, which Ray actors cannot import: put them "
            "into a module"
        )


def _is_over(ray: ModuleType, share: _Share) -> bool:
    """Whether an actor serves a share no more."""
    return bool(ray.wait([share.serving], timeout=0)[0])


def _fault(ray: ModuleType, share: _Share) -> str | None:
    """Why an actor serves a share no more, in a few words; None where it ended well, or is at work."""
    if not _is_over(ray, share):
        return None
    try:
        ray.get(share.serving)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        return one_line((str(cause).strip().splitlines() or [type(cause).__name__])[0])[:200]
    return None


def _shut_down(ray: ModuleType, shares: list[_Share]) -> None:
    """Let all actors end their simulators, and end them."""
    for share in shares:
        if share.channel is not None:
            share.channel.close()
    if ray.is_initialized():  # else the actors went with it
        with contextlib.suppress(Exception):
            serving = [share.serving for share in shares if share.serving is not None]
            ray.wait(serving, num_returns=len(serving), timeout=LEAVE)
        for share in shares:
            with contextlib.suppress(Exception):
                ray.kill(share.actor)
    shares.clear()
