"""Two small runs that several experiments are tried on, trained once for all tests of a process."""

import pytest

import averse

SMALL = {"num_envs": 4, "rollout_steps": 8, "segment_length": 8, "minibatches": 1, "hidden": (8,)}


@pytest.fixture(scope="session")
def corridor_runs(tmp_path_factory):
    """The folder of runs in a corridor of 5 steps: "a", two settings with two seeds each; "b", two seeds."""
    path = tmp_path_factory.mktemp("corridor-runs")
    averse.train("corridor", "ppo", 32, seeds=2, length=5, epsilon=[0.01, 0.5], out=path / "a", **SMALL)
    averse.train("corridor", "mappo", 32, seeds=(3, 4), length=5, out=path / "b", **SMALL)
    return path
