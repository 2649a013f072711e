"""Messages between a learner and an actor: whole, in order, of any size, however they come in."""

import socket
import threading
import time

import numpy as np
import pytest

from averse.engines import channel
from averse.engines.channel import TOKEN, Channel, greeted


@pytest.fixture
def ends(monkeypatch):
    monkeypatch.setattr(channel, "LOOK", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there: list[Channel] = []
        token = bytes(range(TOKEN))
        caller = threading.Thread(target=lambda: there.append(Channel.to(listener.getsockname()[:2], token)))
        caller.start()
        found, connection = greeted(listener)
        caller.join()
    assert found == token
    here = Channel(connection)
    yield here, there[0]
    here.close()
    there[0].close()


def test_messages_that_come_together_are_told_apart(ends):
    here, there = ends
    for number in range(5):
        there.send(np.full(number * 7, number, np.uint8), {"number": number} if number % 2 else None)
    time.sleep(0.1)
    for number in range(5):
        arrays, told = here.receive()
        assert bytes(arrays) == bytes([number]) * number * 7
        assert told == ({"number": number} if number % 2 else None)


def test_large_messages_are_whole_and_the_next_one_follows(ends):
    here, there = ends
    generator = np.random.default_rng(0)
    content = generator.integers(0, 256, 3_000_000, np.uint8)

    def send() -> None:
        there.send(content, "and this")
        there.send(b"short")

    sender = threading.Thread(target=send)
    sender.start()
    arrays, told = here.receive()
    assert told == "and this"
    assert np.array_equal(np.frombuffer(arrays, np.uint8), content)
    assert bytes(here.receive()[0]) == b"short"
    sender.join()


def test_silence_is_looked_at_and_the_end_is_told(ends):
    here, there = ends
    looks = []

    def look() -> None:
        looks.append(1)
        raise RuntimeError("it takes too long")

    began = time.monotonic()
    with pytest.raises(RuntimeError, match="it takes too long"):
        here.receive(look)
    assert len(looks) == 1
    assert time.monotonic() - began < 3
    there._connection.sendall(b"half a head")
    there.close()
    with pytest.raises(EOFError):
        here.receive()


def test_who_does_not_say_who_he_is_gets_nowhere(monkeypatch):
    monkeypatch.setattr(channel, "_GREETING", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        assert greeted(listener) is None
        for said in (b"", b"short"):
            with socket.create_connection(listener.getsockname()[:2]) as guest:
                guest.sendall(said)
                assert greeted(listener) is None
