"""Paths that users give, files that appear whole or not at all, and folders that are there before long work begins."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from averse.errors import AverseError, WritingError


def as_path(name: str, given: Any) -> Path:
    """A path that somebody gave as the argument `name`. Raises AverseError for what is none."""
    if not isinstance(given, str | os.PathLike) or not (text := os.fspath(given)) or "\0" in os.fsdecode(text):
        raise AverseError(f"{name} must be a path, not {given!r:.60}")
    return Path(os.fsdecode(text))


@contextmanager
def told_if_not_written(what: object, advice: str) -> Iterator[None]:
    """Raises WritingError in place of an OSError in the block: a full disk, a quota, a folder that is gone.

    Args:
      what: was to be written.
      advice: what is kept, and what to do.
    """
    try:
        yield
    except OSError as error:
        raise WritingError(f"{what} could not be written: {error.strerror or error}; {advice}") from error


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix) that takes its place when the block ends without an error.

    Readers see the old file or the new one, never a part; an interrupted block leaves the old one and no debris.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp's own are for the owner alone
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    with written_whole(path) as temporary:
        temporary.write_text(text)


def new_folder(path: str | os.PathLike, advice: str = "choose another --out or remove it") -> Path:
    """Make a folder for results, so that long work finds its place; one that is there already must be empty.

    Args:
      advice: what else to do where it is not empty.

    Raises AverseError if `path` is a file or a folder with something in it, or cannot be made or written to.
    """
    path = writable_folder(path)
    if any(path.iterdir()):
        raise AverseError(f"{path} exists already; {advice}")
    return path


@contextmanager
def folder_written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends without an error.

    What is there is all of it or nothing: an interrupted block leaves no folder, so that it can be repeated.

    Raises AverseError, before the block begins, where `new_folder` does.
    """
    fresh = not Path(path).exists()
    path = new_folder(path).resolve()
    if fresh:  # nothing is left where the block does not end
        path.rmdir()
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)  # mkdtemp's own are for the owner alone
        os.replace(temporary, path)  # which may be an empty folder
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def writable_folder(path: str | os.PathLike) -> Path:
    """Make a folder for results unless it is there; it may hold something.

    Raises AverseError if `path` is a file, or cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise AverseError(f"{path} cannot be a folder for results: {error.strerror or error}") from None
    return path


def cache_folder() -> Path:
    """Where what can be made again is kept, for this user: `averse` in the cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "averse"
