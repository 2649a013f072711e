"""What goes wrong: bad input (one exception type, one line, the nearest name), divergence, and a disk that is full."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

LONGEST_NAME = 80  # characters of an unknown name that are told


class AverseError(ValueError):
    """Bad input, told in one line that says what was wrong and what is allowed. The command line exits with code 2."""

    def __init__(self, message: object = ""):
        super().__init__(re.sub(r"\s*\n\s*", " ", str(message)))  # what was given may have lines, such as an array


class DivergenceError(RuntimeError):
    """Training produced numbers that are not finite; the last good checkpoint is kept. The exit code is 1."""


class WritingError(RuntimeError):
    """Results could not be written, as on a full disk; what had been written before is kept. The exit code is 74."""


def shown(value: Any) -> str:
    """What was given, for a message: in at most 80 characters of one line."""
    text = " ".join(repr(value).split())  # arrays have lines
    return text if len(text) <= 80 else f"{text[:77]}..."


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> AverseError:
    """The error for a name not among `allowed`, with the nearest ones: `raise unknown_name("method", name, names)`."""
    name = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    allowed = sorted(allowed)
    near = difflib.get_close_matches(name, allowed, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"allowed: {', '.join(allowed)}"
    return AverseError(f"unknown {kind} {name!r}; {hint}")


class NotConvergedError(RuntimeError):
    """A solver stopped before its result was exact; what it has is printed all the same. The exit code is 1."""
