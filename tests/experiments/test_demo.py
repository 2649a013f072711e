"""Several trainings at once, as the demo does them."""

import json

import numpy as np
import pytest

from averse.errors import AverseError
from averse.experiments.demo import train_all
from averse.training import configure, run_training

SMALL = {"num_envs": 4, "rollout_steps": 16, "hidden": (4,)}


def test_trained_at_once_as_one_after_another(tmp_path):
    configs = {method: configure("risky-cartpole", method, 512, **SMALL) for method in ("ppo", "mappo")}
    runs = train_all(configs, tmp_path, at_once=2)
    for name, config in configs.items():
        alone = run_training(config, None).learner_states.networks["actor"]
        together = runs[name].learner_states.networks["actor"]
        for a, b in zip(together["params"].values(), alone["params"].values()):
            np.testing.assert_array_equal(a["kernel"], b["kernel"])


def test_one_that_fails_ends_the_others(tmp_path):
    long = configure("risky-cartpole", "ppo", 512 * 100, **SMALL)
    configs = {"fails": configure("risky-cartpole", "mappo", 512, **SMALL), "long": long}
    (tmp_path / "fails").mkdir()
    (tmp_path / "fails" / "something").touch()
    with pytest.raises(AverseError, match="exists already"):
        train_all(configs, tmp_path, at_once=2)
    metrics = tmp_path / "long" / "metrics.jsonl"  # missing if it was ended before its first update
    rows = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    assert all(row["update"] < long.total_updates for row in rows)
