"""Being stopped from outside: signals that wait until nothing is lost, and output that nobody reads any more."""

import contextlib
import io
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO


class HeldSignals:
    """Signals that have come and wait for their answer; see `signals_held`."""

    def __init__(self) -> None:
        # What answers each signal otherwise, by its number.
        self.handlers: dict[int, Callable[..., Any]] = {}
        self._waiting: int | None = None

    def waiting(self) -> bool:
        """Whether a signal has come."""
        return self._waiting is not None

    def answer(self) -> None:
        """Do what the signal that waits, if any, would have done at once; most raise an exception."""
        number, self._waiting = self._waiting, None
        if number is not None:
            self.handlers[number](number, None)

    def hold(self, number: int, frame: Any) -> None:
        """Take note of a signal, as its handler."""
        if self.waiting():  # somebody is impatient
            self.handlers[number](number, frame)
        self._waiting = number


@contextlib.contextmanager
def signals_held() -> Iterator[HeldSignals]:
    """SIGINT and SIGTERM wait in the block until it asks for them to be answered, or ends.

    An exception from a signal's handler comes out wherever the interpreter is at that moment. In a finalizer or a
    callback of the garbage collector, where compiling passes through, Python only notes it on standard error and the
    work goes on. So the handlers do not run there. Handlers that are no Python functions (SIGTERM ends a process by
    default) stay as they are, and so do all in threads, which no signal reaches. A second signal is answered at once.
    """
    held = HeldSignals()
    if threading.current_thread() is threading.main_thread():  # the only one that may handle signals
        found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        held.handlers.update((number, handler) for number, handler in found.items() if callable(handler))
    try:
        for each in held.handlers:
            signal.signal(each, held.hold)
        yield held
    finally:
        for each, before in held.handlers.items():
            signal.signal(each, before)
    held.answer()


class Unread(threading.Event):
    """An event that is set once nobody reads a stream any more, as behind `| head`; never for what is no pipe."""

    def __init__(self, stream: TextIO):
        super().__init__()
        self._poll = select.poll()
        with contextlib.suppress(io.UnsupportedOperation, ValueError):  # a stream in memory, or one that is closed
            self._poll.register(stream.fileno(), 0)

    def is_set(self) -> bool:
        """Whether the other end of the pipe is closed."""
        return super().is_set() or any(events & select.POLLERR for _, events in self._poll.poll(0))


def discard(stream: TextIO) -> None:
    """Let what is still to be written to a stream that nobody reads go nowhere, without an error at the exit."""
    with contextlib.suppress(io.UnsupportedOperation, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
