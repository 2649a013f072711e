"""Many short trials by Ray and by the local engine: processor time of all processes, starts and ends included."""

import os
import subprocess
import sys
import tempfile
import time

import psutil

TRIALS = 64
FLAGS = ["--env", "risky-cartpole", "--method", "mappo", "--steps", "3e5", "--quiet"]
ENGINES = {"local": ["--engine", "local"], "ray": ["--engine", "ray"]}
LOOK = 0.1  # seconds between two looks: a process that ends in between has its last one missing


def ray_trials() -> None:
    """A warm-up fills the cache of compiled programs; then each engine trains the same 64 trials."""
    print(f"{TRIALS} trials, {' '.join(FLAGS)}; {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        _measured(["--seeds", "2", *ENGINES["local"], "--out", f"{folder}/warm"])
        found = {}
        for name, engine in ENGINES.items():
            found[name] = _measured(["--seeds", str(TRIALS), *engine, "--out", f"{folder}/{name}"])
            print(f"{name:6} {found[name][0]:7.1f} s of processors, {found[name][1]:6.1f} s of the clock", flush=True)
    print(f"ray / local: {found['ray'][0] / found['local'][0]:.3f} in processor time")


def _measured(flags: list[str]) -> tuple[float, float]:
    """Seconds of processors of a command with all of its descendants, and seconds of the clock."""
    began = time.perf_counter()
    seconds: dict[int, float] = {}
    with subprocess.Popen([sys.executable, "-m", "averse.cli", "train", *FLAGS, *flags]) as command:
        root = psutil.Process(command.pid)
        while command.poll() is None:
            try:
                for process in [root, *root.children(recursive=True)]:
                    times = process.cpu_times()
                    seconds[process.pid] = times.user + times.system
            except psutil.Error:  # it has ended
                pass
            time.sleep(LOOK)
        if command.returncode:
            raise SystemExit(f"the command ended with exit code {command.returncode}")
    return sum(seconds.values()), time.perf_counter() - began
