"""What can be said of who does the work: `--engine local`, or `--engine ray` with its address and its shares.

With `--actors` this process trains and plays, and Ray holds the simulators of a host environment alone.
"""

import math
import socket
from typing import Annotated, Literal

import tyro

from averse.errors import AverseError
from averse.machine import cores
from averse.settings import Count, NonNegative, settings

_SHARES = ("cpus_per_trial", "gpus_per_trial")
SECONDS = 5.0  # that an address may take to answer


@settings
class Engine:
    """Who trains and plays: this process, or workers of Ray; with actors, who holds its simulators."""

    engine: Literal["local", "ray"] = "local"
    """Who trains and plays: this process, or workers of Ray (needs the extra `ray`), with the same figures."""
    address: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT|auto")] = None
    """Of a Ray cluster that runs already; where not given, --engine ray starts one on this machine and ends it."""
    cpus_per_trial: Count | None = None
    """Cores that --engine ray gives to trials that are trained together on a CPU; 1 where not given."""
    gpus_per_trial: NonNegative | None = None
    """GPUs, or the share of one, that --engine ray gives to trials that are trained together; none where not given."""

    actors: Count | None = None
    """This process trains and plays, and so many actors of --engine ray hold its simulators (sumo-intersection, worlds
    of Gymnasium and PettingZoo); at most one for each simulator is started. Where not given, Ray's workers train."""
    cpus_per_actor: Count | None = None
    """Cores that --engine ray gives to each of --actors; 1 where not given."""

    def __post_init__(self) -> None:
        if self.engine == "local":
            self._refuse("goes with --engine ray", "address", *_SHARES, "actors", "cpus_per_actor")
        elif self.actors is None:
            self._refuse("goes with --actors", "cpus_per_actor")
        else:
            self._refuse("goes without --actors, with which this process trains", *_SHARES)
        if self.gpus > 1 and not self.gpus.is_integer():
            raise AverseError(f"--gpus-per-trial must be a share of one GPU or a whole number, not {self.gpus:g}")
        if self.address is not None and self.address != "auto":
            self.host_and_port()

    def _refuse(self, why: str, *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise AverseError(f"--{name.replace('_', '-')} {why}")

    @property
    def deals_out(self) -> bool:
        """Whether workers of Ray train and play, and not this process."""
        return self.engine == "ray" and self.actors is None

    @property
    def cpus(self) -> int:
        """Cores of a task."""
        return self.cpus_per_trial or 1

    @property
    def gpus(self) -> float:
        """GPUs of a task."""
        return self.gpus_per_trial or 0.0

    def host_and_port(self) -> tuple[str, int]:
        """Of the address. Raises AverseError for one that is none."""
        host, colon, port = (self.address or "").rpartition(":")
        if not host or not colon or "/" in host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise AverseError(f"--address must be HOST:PORT of a Ray cluster's head, or auto, not {self.address!r:.80}")
        return host.strip("[]"), int(port)

    def require(self) -> None:
        """What can be told before Ray is started: raises AverseError for more cores than there are, and no answer."""
        if self.address is None and self.cpus > cores():
            raise AverseError(f"--cpus-per-trial must be at most the {cores()} cores of this machine, not {self.cpus}")
        if self.address is None and self.actors is not None and self.actors * (self.cpus_per_actor or 1) > cores():
            raise AverseError(
                f"--actors must have at most the {cores()} cores of this machine, not {self.actors} times "
                f"{self.cpus_per_actor or 1}; --address names a cluster with more"
            )
        if self.address is not None and self.address != "auto":
            try:
                socket.create_connection(self.host_and_port(), timeout=SECONDS).close()
            except OSError as error:
                reason = error.strerror or str(error) or "no answer"
                raise AverseError(f"--address {self.address} does not answer ({reason}): is it a Ray head?") from None


def slots(engine: Engine, nodes: list[dict[str, float]]) -> int:
    """How many tasks run at the same time on nodes with such resources.

    Raises AverseError where none has so many.
    """
    wanted = {"CPU": float(engine.cpus), "GPU": engine.gpus}
    for name, amount in wanted.items():
        most = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if amount > most:
            flag = f"--{name.lower()}s-per-trial"
            raise AverseError(f"{flag} {amount:g}: no node of the Ray cluster has so many; the largest has {most:g}")
    shares = [min(node.get(name, 0.0) / amount for name, amount in wanted.items() if amount) for node in nodes]
    if (found := sum(math.floor(share + 1e-9) for share in shares)) < 1:
        raise AverseError(f"no node of the Ray cluster has both {wanted['CPU']:g} cores and {wanted['GPU']:g} GPUs")
    return found


def require_room(engine: Engine, nodes: list[dict[str, float]]) -> None:
    """Raises AverseError for more actors than nodes with such resources have cores for."""
    wanted, cpus = engine.actors or 0, engine.cpus_per_actor or 1
    room = sum(int(node.get("CPU", 0.0)) // cpus for node in nodes)
    if room < wanted:
        raise AverseError(f"--actors {wanted}: the Ray cluster has cores for {room} of {cpus} each")
