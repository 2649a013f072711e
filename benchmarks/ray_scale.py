"""Trials dealt out by Ray: what each part of the work costs at 1 and 2 workers, and what that predicts for many.

Costs are seconds of processors of the command, of its workers and of Ray's own processes, which a busy machine changes
far less than a clock.
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

FLAGS = ["--env", "risky-cartpole", "--method", "mappo", "--quiet", "--engine", "ray"]
LOOK = 0.1  # seconds between two looks: a process that ends in between has its last one missing
RUNS = ((1, 4, 3e5), (2, 4, 3e5), (2, 16, 3e5), (2, 16, 3e4))  # workers, trials, steps of each
CORES = (2, 10, 100, 1_000)
STUDIES = ((100, 3e6), (1_000, 3e6), (1_000, 1e8))  # trials, steps of each
FILES_PER_SECOND, BYTES_PER_SECOND = 1_000.0, 1e9  # of a shared file system: assumed, not measured


class Measured(NamedTuple):
    """A training with all of its processes, in seconds."""

    workers: int
    trials: int
    steps: float
    command: float
    working: float
    ray: float
    clock: float


class Costs(NamedTuple):
    """What the model is made of, in seconds of a processor, and the files of a trial."""

    begin: float  # the command, Ray's start among it
    deal: float  # the command, for each trial: its part is dealt out, looked at, joined
    worker: float  # a worker before its first trial: JAX is imported, the program traced and loaded
    trial: float  # a worker, for each trial whatever its length: checkpoints, files
    step: float
    files: float  # that a trial leaves, its share of the run's included
    size: float  # bytes of these

    def seconds(self, cores: int, trials: int, steps: float) -> dict[str, float]:
        """What a study takes with so many workers of one core each, by what takes it."""
        each = math.ceil(trials / cores)
        return {
            "begin": self.begin + self.worker,
            "steps": each * self.step * steps,
            "trials": each * self.trial,
            "command": self.deal * trials,
            "storage": trials * (self.files / FILES_PER_SECOND + self.size / BYTES_PER_SECOND),
        }


def ray_scale() -> None:
    """The same training with 1 and 2 workers, more trials and longer ones; then the model of the costs."""
    print(f"{' '.join(FLAGS)}, NPROC=1; {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        _compilation(Path(folder))
        found = []
        for number, (workers, trials, steps) in enumerate(RUNS):
            found.append(_measured(workers, trials, steps, Path(folder) / str(number)))
            one = found[-1]
            print(
                f"  {workers} workers, {trials:2} trials of {steps:.0e} steps: command {one.command:5.1f} s, workers "
                f"{one.working:5.1f} s, Ray {one.ray:4.1f} s of processors; {one.clock:5.1f} s of the clock",
                flush=True,
            )
        left = [path for path in (Path(folder) / "2").rglob("*") if path.is_file()]
        count = RUNS[2][1]
        costs = _fitted(found, len(left) / count, sum(path.stat().st_size for path in left) / count)
    one, two = found[0], found[1]
    print(
        f"efficiency of 2 workers against 1, {one.trials} trials: {one.working / two.working:.2f} in processor time, "
        f"{one.clock / two.clock / 2:.2f} by the clock"
    )
    print(f"fitted: {', '.join(f'{name} {value:.3g}' for name, value in costs._asdict().items())}")
    for trials, steps in STUDIES:
        for cores in CORES:
            parts = costs.seconds(cores, trials, steps)
            whole = sum(parts.values())
            shares = ", ".join(f"{name} {part / whole:.0%}" for name, part in parts.items())
            useful = trials * steps * costs.step / (cores * whole)
            print(
                f"  predicted, {trials:,} trials of {steps:.0e} steps on {cores:,} cores: {whole:9,.0f} s, efficiency "
                f"{useful:.0%} ({shares})"
            )


def _compilation(folder: Path) -> None:
    """What a worker takes more where no program is in the cache."""
    _measured(1, 1, 3e4, folder / "warm")
    again = _measured(1, 1, 3e4, folder / "again").working
    cold = _measured(1, 1, 3e4, folder / "cold", {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}).working
    print(
        f"  with an empty cache of programs the first worker takes {cold - again:.1f} s of processors more", flush=True
    )


def _fitted(found: list[Measured], files: float, size: float) -> Costs:
    """The costs that fit best; none is negative."""
    three, four = found[1], found[2]
    deal = max((four.command - three.command) / (four.trials - three.trials), 0.0)
    rows = np.array([[one.workers, one.trials, one.trials * one.steps] for one in found], float)
    working = np.array([one.working for one in found])
    kept = [0, 1, 2]
    while True:
        fit, *_ = np.linalg.lstsq(rows[:, kept], working, rcond=None)
        if (fit >= 0).all():
            break
        del kept[int(fit.argmin())]
    values = dict(zip(kept, fit.tolist(), strict=True))
    return Costs(
        begin=max(three.command - three.trials * deal, 0.0),
        deal=deal,
        worker=values.get(0, 0.0),
        trial=values.get(1, 0.0),
        step=values.get(2, 0.0),
        files=files,
        size=size,
    )


def _measured(
    workers: int, trials: int, steps: float, out: Path, variables: Mapping[str, str] | None = None
) -> Measured:
    command = [sys.executable, "-m", "averse.cli", "train", *FLAGS]
    command += ["--seeds", str(trials), "--steps", str(steps), "--out", str(out)]
    mine = sorted(os.sched_getaffinity(0))[:workers]
    began = time.perf_counter()
    seconds: dict[int, tuple[str, float]] = {}
    with subprocess.Popen(
        command, env={**os.environ, "NPROC": "1", **(variables or {})}, preexec_fn=lambda: os.sched_setaffinity(0, mine)
    ) as process:
        while process.poll() is None:
            _look(process.pid, seconds)
            time.sleep(LOOK)
        if process.returncode:
            raise SystemExit(f"the command ended with exit code {process.returncode}")
    sums = {kind: sum(spent for other, spent in seconds.values() if other == kind) for kind in ("us", "work", "ray")}
    return Measured(workers, trials, steps, sums["us"], sums["work"], sums["ray"], time.perf_counter() - began)


def _look(pid: int, seconds: dict[int, tuple[str, float]]) -> None:
    """Note whose processor time has come to what."""
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return
    for process in processes:
        try:
            name = " ".join(process.cmdline()[:1])
            works = name.startswith("ray::mappo") or seconds.get(process.pid, ("",))[0] == "work"
            kind = "us" if process.pid == pid else "work" if works else "ray"
            seconds[process.pid] = kind, sum(process.cpu_times()[:2])
        except psutil.Error:  # it has ended
            continue


if __name__ == "__main__":
    ray_scale()
