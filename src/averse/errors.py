"""What goes wrong: bad input (one exception type, one line, the nearest name), divergence, full disks, lost workers."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

LONGEST_NAME = 80  # characters of an unknown name that are told
LONGEST_LINE = 600  # characters of a message; what is longer repeats something long that was given

_END_OF_LINE = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")  # wherever `str.splitlines` ends one


def one_line(message: object) -> str:
    """A message as one line for a terminal: what was given to somebody may have lines, control codes, and no end."""
    text = _END_OF_LINE.sub(" ", str(message))
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 203]}...{text[-200:]}"


class _OneLine(Exception):
    """An error that is told in one line."""

    def __init__(self, message: object = ""):
        super().__init__(one_line(message))


class AverseError(_OneLine, ValueError):
    """Bad input, told in one line that says what was wrong and what is allowed. The command line exits with code 2."""


class DivergenceError(_OneLine, RuntimeError):
    """Training produced numbers that are not finite; the last good checkpoint is kept. The exit code is 1."""


class WritingError(_OneLine, RuntimeError):
    """Results could not be written, as on a full disk; what had been written before is kept. The exit code is 74."""


def shown(value: Any) -> str:
    """What was given, for a message, in at most 80 characters of one line; of an object only what it is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if (hasattr(value, "__dict__") or callable(value)) and not hasattr(value, "__array__"):
        return f"a {type(value).__name__}"
    text = " ".join(repr(value).split())  # arrays have lines
    return text if len(text) <= 80 else f"{text[:77]}..."


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> AverseError:
    """The error for a name not among `allowed`, with the nearest ones: `raise unknown_name("method", name, names)`."""
    name = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    allowed = sorted(allowed)
    near = difflib.get_close_matches(name, allowed, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"allowed: {', '.join(allowed)}"
    return AverseError(f"unknown {kind} {name!r}; {hint}")


class NotConvergedError(_OneLine, RuntimeError):
    """A solver stopped before its result was exact; what it has is printed all the same. The exit code is 1."""


class WorkerLostError(_OneLine, RuntimeError):
    """Workers of a cluster were lost too often; what they had saved is kept. The exit code is 75: try again."""
