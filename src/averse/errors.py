"""What goes wrong because of the caller: one exception type, one line, the nearest name."""

import difflib
from collections.abc import Iterable


class AverseError(ValueError):
    """Bad input, told in one line that says what was wrong and what is allowed. The command line exits with code 2."""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> AverseError:
    """The error for a name not among `allowed`, with the nearest ones: `raise unknown_name("method", name, names)`."""
    allowed = sorted(allowed)
    near = difflib.get_close_matches(name, allowed, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"allowed: {', '.join(allowed)}"
    return AverseError(f"unknown {kind} {name!r}; {hint}")
