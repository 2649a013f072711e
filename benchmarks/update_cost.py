"""What a training step in the compiled intersection costs, by the size of the update and by the learner."""

import statistics
import time
from typing import Any

from averse.training import configure
from averse.training.compiled import CompiledGroup
from benchmarks.timing import paired, ratio

UPDATES = 4
ORDINARY = "sets of 64 units, 2 layers of 64, 51 atoms, 4 passes of 4 minibatches"
SETTINGS: dict[str, dict[str, Any]] = {
    ORDINARY: {},
    "the dense network": {"network": "dense"},
    "sets of 32 units": {"set_units": 32},
    "1 layer": {"hidden": (64,)},
    "48 units": {"hidden": (48, 48)},
    "32 units": {"hidden": (32, 32)},
    "3 passes": {"epochs": 3},
    "half of the batch, step by step": {"segment_length": 1, "batch_fraction": 0.5},
    "a quarter of the batch, step by step": {"segment_length": 1, "batch_fraction": 0.25},
    "48 units, 48 atoms, 3 passes": {"hidden": (48, 48), "num_atoms": 48, "epochs": 3},
    "2 passes of 8 minibatches": {"epochs": 2, "minibatches": 8},
    "128 environments, 2 passes": {"num_envs": 128, "epochs": 2},
    "rollouts of 16 steps, 2 passes": {"rollout_steps": 16, "epochs": 2},
}
LEARNERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rqe-mappo": ("intersection", "rqe-mappo", {}),
    "mappo": ("intersection", "mappo", {}),
    "c51-cvar-mappo": ("intersection", "c51-cvar-mappo", {}),
    "static-cvar-mappo": ("budget:intersection", "static-cvar-mappo", {}),
    "srpo-mappo": ("intersection", "srpo-mappo", {}),
}


def group(environment_name: str = "intersection", method: str = "rqe-mappo", **settings: Any) -> CompiledGroup:
    """One trial at the junction."""
    config = configure(environment_name, method, steps=1e7, **settings)
    environment = config.build_environment()
    trial = CompiledGroup(environment, config.build_learner(environment), config.trials)  # type: ignore[arg-type]
    trial.start()
    return trial


def update_cost() -> None:
    """Microseconds of processor time per environment step, rollout included; the ratio to the ordinary settings."""
    _compare("rqe-mappo", {name: group(tau=3.0, **settings) for name, settings in SETTINGS.items()}, ORDINARY)


def learner_cost() -> None:
    """The same of each learner that is averse, with its own settings, beside `rqe-mappo`."""
    _compare(
        "learners", {name: group(*where, **settings) for name, (*where, settings) in LEARNERS.items()}, "rqe-mappo"
    )


def _compare(what: str, groups: dict[str, CompiledGroup], first: str) -> None:
    began = time.process_time()
    seconds = paired({name: lambda g=g: g.advance(UPDATES) for name, g in groups.items()}, 5, time.process_time)
    busy = time.process_time() - began
    print(f"{what} at the intersection, {UPDATES} updates per call ({busy:.0f} s of processor time in all):")
    for name, times in seconds.items():
        steps = UPDATES * groups[name].learner.num_envs * groups[name].learner.rollout_steps
        print(f"  {name:72} {1e6 * statistics.median(times) / steps:5.1f} us   {ratio(times, seconds[first])}")
