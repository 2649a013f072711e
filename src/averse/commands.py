"""A command of `averse`: typed arguments from the command line, and one clear line for what is wrong with them."""

import contextlib
import dataclasses
import difflib
import io
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin

import tyro

from averse.errors import AverseError
from averse.settings import hints_of, is_sequence, words

T = TypeVar("T")


class Command(NamedTuple):
    """A verb of the command line: what it takes, and what it does.

    `module:Attribute` of one is a command too: `averse my_package.study:COMMAND --steps 1000`.
    """

    arguments: type
    """An `averse.settings.settings` dataclass: fields are flags, docstrings their help, the first the command's."""
    run: Callable[[Any], None]
    """Called with an instance. Raises AverseError for what no single argument can tell is wrong."""
    goes_on: str = ""
    """How work that was stopped goes on, for the line that is then printed; empty where it begins anew."""


def parse(arguments: type[T], given: Sequence[str], program: str) -> T:
    """Arguments from the texts of a command line.

    Raises AverseError for what does not fit, in one line, and for a flag with several values that is there twice: its
    first values would be lost.
    """
    told = io.StringIO()
    shown = io.TextIOWrapper(io.BytesIO(), getattr(sys.stdout, "encoding", None) or "utf-8")  # boxes need an encoding
    flags = [text.partition("=")[0] for text in given if text.startswith("--")]
    for flag in sorted({flag for flag in flags if flags.count(flag) > 1}):
        if flag.removeprefix("--").replace("-", "_") in _sequences(arguments):
            raise AverseError(f"{flag} is given twice; give all of its values behind one {flag}")
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(shown):
            return tyro.cli(arguments, prog=program, args=list(given))
    except SystemExit as end:
        if not end.code:  # --help, or a script for a shell, which stays as it is
            shown.seek(0)
            text = shown.read()
            print(folded(text) if {"-h", "--help"} & set(given) else text, end="")
            raise
        line = _in_one_line(told.getvalue(), arguments, given)
    raise AverseError(f"{_shortened(line).rstrip('.')} (see {program} --help)")


def assignments(flag: str, form: str, texts: Sequence[str] | None, read: Callable[[str], T]) -> dict[str, T]:
    """{name: value} of texts NAME=VALUE; hyphens in a name are underscores.

    Args:
      flag: behind which they were given, `--sweep`.
      form: what is to be given, in words.
      texts: what was given; None where the flag was not.
      read: makes the value of its text; raises ValueError for what is none.

    Raises AverseError for texts of another form, for a flag without any, and for a name that is there twice.
    """
    found: dict[str, T] = {}
    for text in ("",) if texts == () else texts or ():
        name, equals, value = text.partition("=")
        name = name.replace("-", "_")
        if name in found:
            raise AverseError(f"{flag} has {name} twice; give it once: {form}")
        try:
            if not name or not equals:
                raise ValueError
            found[name] = read(value)
        except ValueError:
            raise AverseError(f"{flag} takes {form}, not {text!r:.80}") from None
    return found


def trial_said(flag: str, texts: Sequence[str] | None) -> tuple[int | None, dict[str, float]]:
    """Which trial of a run is meant: its number, or its seed and swept settings, `tau=3 seed=1`.

    Args:
      flag: behind which it was said, `--trial`.
      texts: what was given; None where the flag was not.

    Raises AverseError for what is neither.
    """
    if texts is not None and len(texts) == 1 and texts[0].isascii() and texts[0].isdigit():
        return int(texts[0]), {}
    chosen = assignments(flag, "a number, or SETTING=NUMBER ... such as tau=3 seed=1", texts, float)
    for name in ("out", "index", "format", "overwrite", "run", "self"):  # no swept settings, but arguments beside them
        if name in chosen:
            raise AverseError(f"trials are told apart by seed and swept settings, not by {name!r}")
    return None, chosen


def literal(text: str) -> Any:
    """What a text means where no type says so: a number, a truth, None, several with commas between, else a text.

    A comma at the end makes a sequence of one: "5,".
    """
    if text in _LITERALS:
        return _LITERALS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return tuple(literal(part) for part in text.removesuffix(",").split(",")) if "," in text else text


_LITERALS = {"true": True, "True": True, "false": False, "False": False, "None": None}


def folded(text: str, width: int | None = None) -> str:
    """The text with its long lines broken at spaces; boxes are drawn to fit and stay as they are.

    Args:
      width: characters of a line; those of the terminal where not given, 80 where there is none.
    """
    width = shutil.get_terminal_size((80, 24)).columns if width is None else width
    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()) + 2 * line.startswith("usage"))
        if len(line) <= width or line.startswith(("╭", "│", "╰")):
            lines.append(line)
        else:
            lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(lines)


def hanging(label: str, words: str, width: int | None = None) -> str:
    """A label and words beside it, in lines of at most `width` characters (as in `folded`)."""
    width = shutil.get_terminal_size((80, 24)).columns if width is None else width
    return textwrap.fill(
        words,
        max(width, len(label) + 20),
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_on_hyphens=False,
    )


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


def _in_one_line(box: str, arguments: type, given: Sequence[str]) -> str:
    """What tyro says in a box of several paragraphs, in a line."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    paragraphs = re.split(r"^[─-]{5,}$", "\n".join(lines), flags=re.MULTILINE)
    if not box.startswith("╭"):  # a terminal without box-drawing characters, where the title is the first line
        paragraphs = paragraphs[1:]
    message = " ".join(paragraphs[0].partition("Got errors")[0].split())
    if found := re.match(r"Unrecognized options: ([^\s,]+)", message):
        return _unknown(found[1].partition("=")[0], arguments)
    kinds = flags(arguments)
    if (found := re.match(r"Error parsing (--[\w-]+): ", message)) and found[1] in kinds:
        return f"{found[1]} must be {words(kinds[found[1]])}, not {_value(found[1], given)}"
    if (found := re.match(r"Missing value for argument '(--[\w-]+)", message)) and found[1] in kinds:
        return f"{found[1]} needs a value: {words(kinds[found[1]])}"
    return re.sub(r"^Error parsing (?!-)\w+: ", "", message)


def _shortened(line: str, longest: int = 400) -> str:
    """The line without the middle of a text that somebody gave, where that makes it too long to be read."""
    return line if len(line) <= longest else f"{line[: longest // 2]}...{line[-longest // 2 :]}"


def _unknown(flag: str, arguments: type) -> str:
    """The line for what is no flag, with the nearest that is one."""
    if not flag.startswith("-"):
        return f"unexpected argument {flag!r}"
    written, known = flag.replace("_", "-"), [*flags(arguments), "--help"]
    begun = [name for name in known if len(name) > 4 and (written.startswith(name) or name.startswith(written + "-"))]
    near = [*difflib.get_close_matches(written, known, n=1), *sorted(begun, key=len)]
    return f"unknown flag {flag}" + (f"; did you mean {near[0]}?" if near else "")


def flags(arguments: type) -> Mapping[str, Any]:
    """The flags of a command's arguments and their types; fields that are dataclasses stand for their own fields."""
    found: dict[str, Any] = {}
    for name, hint in hints_of(arguments).items():
        base, *notes = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
        if dataclasses.is_dataclass(base) and isinstance(base, type):
            found |= flags(base)
            continue
        if tyro.conf.Positional in notes or any("Positional" in repr(note) for note in notes):
            continue
        named = [note.name for note in notes if getattr(note, "name", None)]
        flag = (named[0] if named else name).replace("_", "-")
        found[f"--{flag}"] = hint
        if base is bool:
            found[f"--no-{flag}"] = hint
    return found


def _value(flag: str, given: Sequence[str]) -> str:
    """What was given for a flag, all of it."""
    after: list[str] = []
    reading = False
    for text in given:
        name, equals, value = text.partition("=")
        if name.replace("_", "-") == flag:
            after, reading = [value] if equals else [], True
        elif text.startswith("--"):
            reading = False
        elif reading:
            after.append(text)
    return " ".join(after)
