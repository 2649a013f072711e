"""What a worker of Ray does: trains a part of a run, or plays episodes. Nothing here imports JAX before it must.

Axes: E episodes.
"""

import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from averse.errors import AverseError
from averse.version import __version__

_CORES: list[socket.socket] = []  # what keeps other workers from this one's cores
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ray")  # that decide what is computed

Report = Callable[[int, list[dict[str, float]]], None]
"""`report(done, figures)`, as a `Tell` of a part, or with the number of episodes that were played."""


@dataclass(frozen=True)
class Manner:
    """How tasks work, the same for all of a command."""

    cpus: int
    on_gpu: bool
    host: str  # that the command was given on
    hasty: bool = False  # compile with few of XLA's optimisations
    checkpoint_minutes: float | None = None


class Board:
    """An actor that knows how far each task has come, for the display; nothing depends on it."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, list[dict[str, float]]]] = {}

    def tell(self, number: int, done: int, figures: list[dict[str, float]]) -> None:
        """Note how far a task has come."""
        self._told[number] = (done, figures)

    def read(self) -> dict[int, tuple[int, list[dict[str, float]]]]:
        """What was told since it was last read, the newest of each task."""
        told, self._told = self._told, {}
        return told


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Of averse, Python, and what decides what is computed."""
    found = {"averse": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def require_same(node: str, found: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Raises AverseError, in one line, for a node whose versions are others."""
    for package in sorted(ours.keys() | found.keys()):
        if ours.get(package) != found.get(package):
            raise AverseError(
                f"the Ray node {node} has {package} {found.get(package, '(none)')} and this process "
                f"{ours.get(package, '(none)')}: results would differ; install the same there"
            )


def probe(place: str, token: str) -> tuple[str, dict[str, str], str | None]:
    """A node's name, its versions, and what is wrong with the folder of results as it is seen from there."""
    fault = None
    try:
        if (Path(place) / token).read_text() != token:
            fault = "it is another folder there"
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        fault = error.strerror or str(error)
    return socket.gethostname(), versions(), fault


def train(part: Any, manner: Manner, board: Any, number: int) -> list[str]:
    """Train a `Part`; the warnings that were given."""
    with _at_work(manner) as warnings:
        from averse.training.parts import train_part  # imports JAX

        train_part(part, _report(board, number), manner.cpus, manner.checkpoint_minutes)
    return warnings


def play(
    run: Path,
    config: Any,
    seeds: dict[int, np.ndarray],
    greedy: bool,
    num_envs: int | None,
    manner: Manner,
    board: Any,
    number: int,
) -> tuple[list[Any], list[str]]:
    """Play the episodes of some policies of a run: what was `Played` of each, and the warnings that were given.

    Args:
      run: its directory.
      config: the run's configuration where it plays.
      seeds: trial -> seeds of its episodes, [E].
    """
    with _at_work(manner) as warnings:
        from dataclasses import replace

        from averse.evaluation.evaluator import play_all  # imports JAX
        from averse.training.run import load

        tell, done = _report(board, number), 0

        def advance(episodes: int) -> None:
            nonlocal done
            done += episodes
            tell(done, [])

        tell(0, [])
        played = list(play_all(replace(load(run), config=config), seeds, greedy, num_envs, advance))
    return played, warnings


def _report(board: Any, number: int) -> Report:
    return lambda done, figures: board.tell.remote(number, done, figures)


@contextlib.contextmanager
def _at_work(manner: Manner) -> Iterator[list[str]]:
    """A worker's surroundings: cores of its own, kept programs, the command's way to compile; yields what warns."""
    if not manner.on_gpu:
        claim_cores(manner.cpus)
    from averse.compilation import hasty_compilation, keep_programs  # imports JAX, which must see the cores

    here = socket.gethostname()
    keep_programs("xla" if here == manner.host else f"xla-{here}")
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("averse")
    logger.addHandler(handler)
    try:
        with hasty_compilation(manner.hasty):
            yield warnings
    finally:
        logger.removeHandler(handler)


def claim_cores(count: int, prefix: str = "averse-core") -> Sequence[int]:
    """Keep this process to so many cores that no other worker on this machine keeps to, once for its whole life.

    Ray counts cores and does not say which; threads of XLA would run on all of them. A core is claimed by a name in
    the kernel (an abstract socket), which goes with the process however it ends. Where too few are free, as where
    several nodes are simulated on one machine, or the system has no such names, the process keeps all of its cores.

    Args:
      prefix: of these names; processes with other prefixes do not heed each other.
    """
    if _CORES or not sys.platform.startswith("linux"):
        return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    claimed: dict[int, socket.socket] = {}
    for core in sorted(os.sched_getaffinity(0)):
        if len(claimed) == count:
            break
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0{prefix}-{core}")
        except OSError:
            name.close()
        else:
            claimed[core] = name
    if len(claimed) < count:
        for name in claimed.values():
            name.close()
        return sorted(os.sched_getaffinity(0))
    _CORES.extend(claimed.values())
    os.sched_setaffinity(0, claimed)
    return sorted(claimed)
