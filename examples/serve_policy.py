"""A trained policy at work ten times a second, without averse: the arrays, the reader beside them, and numpy.

    averse export runs/x --out serve/policy.npz
    python examples/serve_policy.py serve/policy.npz --seconds 10

Without a file it trains a small policy first and exports that. `sensors` and `actuators` are where your machine is.
"""

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path

import numpy as np

RATE = 10.0  # Hz


def reader_beside(path: Path):
    """The module `averse_policy.py` that `averse export` wrote beside the arrays."""
    spec = importlib.util.spec_from_file_location("averse_policy", path.parent / "averse_policy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(path: Path, seconds: float, sensors, actuators) -> np.ndarray:
    """Ask the policy at `RATE` for so many seconds; the seconds that each answer took, [steps]."""
    policy = reader_beside(path).PortablePolicy(path, greedy=True)
    policy.reset()
    latencies, due = [], time.perf_counter()
    for _ in range(max(1, round(seconds * RATE))):
        observations = sensors(policy.about)
        began = time.perf_counter()
        actions = policy(observations)
        latencies.append(time.perf_counter() - began)
        actuators(actions)
        due += 1 / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
    return np.array(latencies)


def exported_here(folder: str) -> Path:
    """A policy to try with: trained for a moment, and exported."""
    import averse
    from averse.export import export_policy

    run = averse.train("corridor", "rqe-mappo", steps=2e4, tau=3.0)
    return export_policy(run, Path(folder) / "policy.npz").files[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("policy", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        latencies = serve(
            given.policy or exported_here(folder),
            given.seconds,
            sensors=lambda about: random.random((about["agents"], about["observation"]["size"]), np.float32),
            actuators=lambda actions: None,
        )
    told = ", ".join(f"{name} {1e6 * value:.0f} us" for name, value in (
        ("median", np.median(latencies)), ("99 %", np.quantile(latencies, 0.99)), ("largest", latencies.max()),
    ))  # fmt: skip
    print(f"{len(latencies)} answers at {RATE:g} Hz; latency: {told}")
