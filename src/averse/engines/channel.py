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
_USUAL = 1 << 16  # bytes of a message, for which one read is enough
_GREETING = 5.0  # seconds that a new connection has to say who it is


class Channel:
    """One end. What is pickled is read from a peer that was told a token by Ray, or that knew it."""

    def __init__(self, connection: socket.socket):
        self._connection, self._buffer = connection, bytearray(_USUAL)
        self._early = b""  # what has come of the message after the last one
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

    def receive(self, look: Callable[[], None] = lambda: None) -> tuple[memoryview, Any]:
        """Wait for a message: its arrays, which the next one overwrites, and what was pickled.

        Args:
          look: called after each second of silence; may raise what ends the waiting.

        Raises EOFError where the other side is gone, or OSError.
        """
        have = len(self._early)
        self._buffer[:have] = self._early
        have = self._read(have, _HEAD.size, look)
        arrays, words = _HEAD.unpack_from(self._buffer)
        end = _HEAD.size + arrays + words
        if end > len(self._buffer):
            self._buffer = self._buffer[:have] + bytearray(end - have)
        have = self._read(have, end, look)
        self._early = bytes(memoryview(self._buffer)[end:have])
        message = memoryview(self._buffer)[_HEAD.size : end]
        return message[:arrays], pickle.loads(message[arrays:]) if words else None

    def close(self) -> None:
        """End the connection. May be called again."""
        self._connection.close()

    def _read(self, have: int, size: int, look: Callable[[], None]) -> int:
        """Read on until so many bytes are there, or more where there are more: how many are there then."""
        while have < size:
            try:
                count = self._connection.recv_into(memoryview(self._buffer)[have:])
            except BlockingIOError:
                look()
                continue
            if not count:
                raise EOFError
            have += count
        return have


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
