"""The run directory while it is trained in: what is refused before any work, the lock, what a failed start leaves."""

import contextlib
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from averse.errors import AverseError
from averse.files import told_if_not_written, writable_folder, write_text
from averse.training.config import TrainingConfig
from averse.training.run import read_config

LOCK = "lock"
REPLACED = ".replaced"  # holds the run that `overwrite` throws away, until the new one has a checkpoint
PARTS = "parts"  # holds the trials that were dealt out, each part with its own checkpoints, until they are joined


def check_place(path: Path, config: TrainingConfig, resuming: bool, overwrite: bool) -> None:
    """Everything about a run directory that can be refused before any work, and without touching anything.

    Raises AverseError for a place that is taken, an environment that nothing could build again, and a run to be thrown
    away that the training is to begin with.
    """
    config.require_storable()
    if resuming:
        return
    try:
        taken = path.exists() and (not path.is_dir() or _holds_something(path))
    except OSError:  # told when the folder is made
        return
    if taken and not (overwrite and (_is_run(path) or _is_run(path / REPLACED))):
        if overwrite:
            raise AverseError(
                f"{path} exists already and is no run that --overwrite could replace; choose another --out"
            )
        raise AverseError(f"{path} exists already; choose another --out, or --resume or --overwrite a run")
    if taken and config.fine_tune is not None and Path(config.fine_tune) == path.resolve():
        raise AverseError(f"{path} cannot both be thrown away by --overwrite and be what --fine-tune begins with")


def check_source(config: TrainingConfig, path: Path | None, num_groups: int) -> None:
    """Raises AverseError if the run to begin with is not there, unless every group of trials has begun already."""
    begun = path is not None and len({each.parent for each in _checkpoints(path)}) == num_groups
    if config.fine_tune is not None and not begun:
        read_config(Path(config.fine_tune))


def refuse_parts(path: Path) -> None:
    """Raises AverseError for a run whose trials were dealt out: what was trained of them is not in one place yet."""
    if (path / PARTS).is_dir():
        raise AverseError(f"{path} is being trained in parts, which --engine ray finishes: give it again")


def _is_run(path: Path) -> bool:
    """Whether a folder is a run directory, and not one of somebody else's with a file of the same name."""
    try:
        content = json.loads((path / "config.json").read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"format", "averse"} <= content.keys()


def _checkpoints(path: Path) -> list[Path]:
    """All that are complete; one that is being written has a longer name."""
    return [each for each in (path / "checkpoints").glob("*/*") if each.name.isdigit()]


def _trained(path: Path) -> bool:
    """Whether a run has anything to show, be it in parts."""
    return bool(_checkpoints(path)) or any((path / PARTS).glob("*/checkpoints/*/[0-9]*"))


def _holds_something(path: Path) -> bool:
    """Whether there is anything in a folder, but for the lock that an interrupted start may have left."""
    return any(each.name != LOCK for each in path.iterdir())


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """The run directory, made where it is not there, and locked; gone again if nothing comes into it.

    Raises AverseError if it cannot be made or written to, and if another process trains in it.
    """
    made = [each for each in (path, *path.parents) if not _is_there(each)]
    writable_folder(path)
    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise AverseError(f"{path} is being trained in by another process") from None
    except OSError as error:
        raise AverseError(f"{path / LOCK} cannot be locked: {error.strerror or error}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if not _holds_something(path):
                (path / LOCK).unlink(missing_ok=True)
                for each in made:
                    each.rmdir()
        lock.release()


@contextlib.contextmanager
def begun(path: Path, config: TrainingConfig, resuming: bool, overwrite: bool) -> Iterator[None]:
    """The locked run directory with the configuration in it; as it was if a first start fails before a checkpoint.

    Raises AverseError if somebody else has begun a run in it by now, and WritingError if the disk is full.
    """
    if overwrite:
        _set_aside(path)
    elif not resuming and _holds_something(path):
        raise AverseError(f"{path} exists already; choose another --out, or --resume or --overwrite a run")
    try:
        if not resuming or config.to_json() != (path / "config.json").read_text():
            with told_if_not_written(path / "config.json", "make room and begin again"):
                write_text(path / "config.json", config.to_json())
        yield
    except Exception:
        if not resuming and not _trained(path):  # or it would stand in the way of the next try
            _empty(path)
            _bring_back(path)
        raise


def how_to_go_on(path: Path, config: TrainingConfig | None) -> str:
    """What can be done with a run whose training was stopped from outside, in words for a terminal.

    Args:
      config: what was to be trained; None where a run that is there was to be finished.
    """
    try:
        there = read_config(path)
    except AverseError:
        there = None
    if there is None or config not in (None, there):  # it had not got so far; perhaps a run to be thrown away is there
        return "nothing was begun"
    resume = shlex.join(["averse", "train", "--resume", str(path)])
    if not _checkpoints(path):
        return f"there is no checkpoint yet, so that {resume} begins at the start"
    return f"{resume} goes on from the last checkpoint"


def _is_there(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.exists()
    return True


def _set_aside(path: Path) -> None:
    """Make room for a new run, which may yet come to nothing: what is there waits in a folder of its own."""
    aside = path / REPLACED
    if aside.exists() and not _trained(path):
        _empty(path)  # of a start that was killed; what that one was to replace goes on waiting
        return
    forget_replaced(path)
    if held := _held(path):
        aside.mkdir()
    for each in held:
        each.rename(aside / each.name)


def _bring_back(path: Path) -> None:
    """What was set aside is the run again."""
    aside = path / REPLACED
    if aside.is_dir():
        for each in aside.iterdir():
            each.rename(path / each.name)
        aside.rmdir()


def forget_replaced(path: Path) -> None:
    """Throw away what was set aside, now that the new run has something to show."""
    if (path / REPLACED).is_dir():
        shutil.rmtree(path / REPLACED)


def _held(path: Path) -> list[Path]:
    """What belongs to the run in a folder: neither the lock that is held nor what was set aside."""
    return [each for each in path.iterdir() if each.name not in (LOCK, REPLACED)]


def _empty(path: Path) -> None:
    """Throw away the run that a folder holds."""
    for each in _held(path):
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
