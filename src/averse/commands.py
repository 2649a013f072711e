"""A command of `averse`: typed arguments from the command line, and one clear line for what is wrong with them."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin

import tyro

from averse.errors import AverseError
from averse.settings import hints_of, is_sequence

T = TypeVar("T")


class Command(NamedTuple):
    """A verb of the command line: what it takes, and what it does.

    `module:Attribute` of one is a command too: `averse my_package.study:COMMAND --steps 1000`.
    """

    arguments: type
    """An `averse.settings.settings` dataclass: fields are flags, docstrings their help, the first the command's."""
    run: Callable[[Any], None]
    """Called with an instance. Raises AverseError for what no single argument can tell is wrong."""


def parse(arguments: type[T], given: Sequence[str], program: str) -> T:
    """Arguments from the texts of a command line.

    Raises AverseError for what does not fit, in one line, and for a flag with several values that is there twice: its
    first values would be lost.
    """
    told = io.StringIO()
    flags = [text.partition("=")[0] for text in given if text.startswith("--")]
    for flag in sorted({flag for flag in flags if flags.count(flag) > 1}):
        if flag.removeprefix("--").replace("-", "_") in _sequences(arguments):
            raise AverseError(f"{flag} is given twice; give all of its values behind one {flag}")
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(arguments, prog=program, args=list(given))
    except SystemExit as end:
        if not end.code:  # --help
            raise
        raise AverseError(_in_one_line(told.getvalue(), program)) from None


def _sequences(arguments: type) -> set[str]:
    """The names of those settings that take several values, also within settings that are settings themselves."""
    found: set[str] = set()
    for name, hint in hints_of(arguments).items():
        inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if is_sequence(hint):
            found.add(name)
        elif dataclasses.is_dataclass(inner) and isinstance(inner, type):
            found |= _sequences(inner)
    return found


def _in_one_line(box: str, program: str) -> str:
    """What tyro says in a box of several paragraphs: the first, and the flags that it proposes."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    paragraphs = re.split(r"^[─-]{5,}$", "\n".join(lines), flags=re.MULTILINE)
    if not box.startswith("╭"):  # a terminal without box-drawing characters, where the title is the first line
        paragraphs = paragraphs[1:]
    message = " ".join(paragraphs[0].partition("Got errors")[0].split())
    message = re.sub(r"^Error parsing (?!-)\w+: ", "", message)
    near = [flag for line in paragraphs[1:] for flag in re.findall(r"^(--[\w-]+)", line, re.MULTILINE)]
    if message.startswith("Unrecognized options") and near:
        message += f"; did you mean {' or '.join(dict.fromkeys(near[:2]))}?"
    return f"{message.rstrip('.')} (see {program} --help)"
