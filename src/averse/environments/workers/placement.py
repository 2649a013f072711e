"""Where worker processes run: on this machine, or where `crews_from` says, such as in actors of a cluster."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from averse import machine
from averse.environments.workers.crew import Crew, Loss, Simulators
from averse.environments.workers.process import Assignment
from averse.errors import AverseError

if TYPE_CHECKING:  # they import JAX, which who holds simulators has no need of
    from averse.environments.protocol import HostEnvironment, HostVector


class Workers(Protocol):
    """What a `WorkerPool` asks of its workers, wherever they run; `crew.Crew` says what each of these does."""

    blocks: list[range]
    memory: Any
    views: dict[str, dict[str, Any]]
    waiting: set[int]

    @property
    def process_ids(self) -> list[int]: ...

    @property
    def is_closed(self) -> bool: ...

    def close(self) -> None: ...

    def expect(self, count: int) -> None: ...

    def go(self, index: int) -> None: ...

    def order_reset(self, index: int, episodes: Mapping[int, Assignment]) -> None: ...

    def collect(self, indices: Iterable[int]) -> list[Loss]: ...

    def restart(self, index: int) -> None: ...

    def restart_unheard(self) -> None: ...


Start = Callable[[Simulators, int | None], Workers]
"""`start(simulators, processes)`; None: as many processes as there are cores for them."""


def _here(simulators: Simulators, processes: int | None) -> Workers:
    cores = machine.cores()
    return Crew(simulators, simulators.blocks(processes or cores), cores)


@dataclass
class _Door:
    """Who starts workers in this process, for all of its threads: a vector that one of them starts goes there too."""

    start: Start
    used: int = 0  # how often


_door = _Door(_here)


def start_crew(simulators: Simulators, processes: int | None) -> Workers:
    """Start the workers of a pool. Raises AverseError where an environment cannot start."""
    _door.used += 1
    return _door.start(simulators, processes)


@contextmanager
def crews_from(start: Start) -> Iterator[None]:
    """In this block, the workers of all pools are started in this way."""
    before, _door.start = _door.start, start
    try:
        yield
    finally:
        _door.start = before


def start_vector(environment: "HostEnvironment", num_envs: int) -> "HostVector":
    """`environment.vector(num_envs)`, where worker processes are to run.

    Raises AverseError for an environment that starts processes by itself, where they are to run elsewhere.
    """
    used = _door.used
    vector = environment.vector(num_envs)
    if _door.start is not _here and _door.used == used:
        vector.close()
        raise AverseError(
            f"{environment.name} starts its simulators by itself and not by a WorkerPool: they cannot run elsewhere"
        )
    return vector
