"""A connection between a learner and an actor, for the arrays of a decision.

Ray's own call of an actor takes a millisecond of processors (`python -m benchmarks ray-sumo`), a fifth of what sixteen
steps of SUMO take. Ray therefore places, watches and restarts actors, and arrays go beside it, with nothing pickled.
"""

import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any

_HEAD = struct.Struct("<QQ")  # bytes of the arrays, bytes of what is pickled
_SECONDS = struct.Struct("@ll")  # seconds and microseconds, as the kernel has them
TOKEN = 32  # bytes that prove that an actor is the one which was asked
LOOK = 1.0  # seconds of silence after which whoever waits looks around
_GREETING = 5.0  # seconds that a new connection has to say who it is


class Channel:
    """One end. What is pickled is read from a peer that was told a token by Ray, or that knew it."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small messages are waited for
        # The kernel's own limit: one of Python's costs another two system calls for each read.
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _SECONDS.pack(int(LOOK), 0))

    @classmethod
    def to(cls, address: tuple[str, int], token: bytes) -> "Channel":
        """Connect to who has asked. Raises OSError where nobody answers."""
        channel = cls(socket.create_connection(address, timeout=_GREETING))
        channel._connection.sendall(token)
        return channel

    def send(self, arrays: Any = b"", told: Any = None) -> None:
        """Send the bytes of arrays, and an object that is pickled unless it is None. Raises OSError."""
        words = b"" if told is None else pickle.dumps(told)
        self._connection.sendall(b"".join([_HEAD.pack(len(arrays), len(words)), arrays, words]))

    def receive(self, look: Callable[[], None] = lambda: None) -> tuple[bytearray, Any]:
        """Wait for a message.

        Args:
          look: called after each second of silence; may raise what ends the waiting.

        Raises EOFError where the other side is gone, or OSError.
        """
        arrays, words = _HEAD.unpack(self._read(_HEAD.size, look))
        return self._read(arrays, look), pickle.loads(self._read(words, look)) if words else None

    def close(self) -> None:
        """End the connection. May be called again."""
        self._connection.close()

    def _read(self, size: int, look: Callable[[], None]) -> bytearray:
        content = bytearray(size)
        left = memoryview(content)
        while left:
            try:
                count = self._connection.recv_into(left)
            except BlockingIOError:
                look()
                continue
            if not count:
                raise EOFError
            left = left[count:]
        return content


def greeted(listener: socket.socket) -> tuple[bytes, socket.socket] | None:
    """The token of one who connects, and the connection; None where nobody does for a moment, or does not say."""
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return None
    connection.settimeout(_GREETING)
    try:
        token = bytearray()
        while len(token) < TOKEN:
            if not (part := connection.recv(TOKEN - len(token))):
                raise EOFError
            token += part
    except (OSError, EOFError):
        connection.close()
        return None
    return bytes(token), connection
