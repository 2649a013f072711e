"""Several trainings at once, as the demo does them."""

import json
import re
import time

import numpy as np
import pytest

from averse.errors import AverseError
from averse.experiments import demo
from averse.training import configure, run_training

SMALL = {"num_envs": 4, "rollout_steps": 16, "hidden": (4,)}


@pytest.mark.thorough
def test_trained_at_once_as_one_after_another(tmp_path):
    configs = {method: configure("risky-cartpole", method, 512, **SMALL) for method in ("ppo", "mappo")}
    runs = demo.train_all(configs, tmp_path, at_once=2)
    for name, config in configs.items():
        alone = run_training(config, None).learner_states.networks["actor"]
        together = runs[name].learner_states.networks["actor"]
        for a, b in zip(together["params"].values(), alone["params"].values()):
            np.testing.assert_array_equal(a["kernel"], b["kernel"])


def test_one_that_fails_ends_the_others(tmp_path, monkeypatch):
    """The other one is in the midst of a training that would take minutes; it ends early, as from the keyboard."""
    long = configure("risky-cartpole", "ppo", 512 * 10_000, checkpoints=1000, **SMALL)
    metrics, ended = tmp_path / "long" / "metrics.jsonl", []

    def fails_once_the_other_trains(config, path, **arguments):
        if path.name == "fails":
            deadline = time.monotonic() + 120
            while not (metrics.exists() and metrics.read_text()) and time.monotonic() < deadline:
                time.sleep(0.02)
            raise AverseError("it fails")
        try:
            return run_training(config, path, **arguments)
        except BaseException as error:
            ended.append(type(error))
            raise

    monkeypatch.setattr(demo, "run_training", fails_once_the_other_trains)
    configs = {"fails": configure("risky-cartpole", "mappo", 512, **SMALL), "long": long}
    with pytest.raises(AverseError, match="it fails"):
        demo.train_all(configs, tmp_path, at_once=2)
    assert ended == [KeyboardInterrupt]
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert rows
    assert all(row["update"] < long.total_updates for row in rows)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "trained for 1,200,000 steps each, then play 500 episodes .* about 4 minutes on 2 free cores$"),
        ({"steps": 2e5, "episodes": 100}, "trained for 200,000 steps each, then play 100 .* about 2 minutes"),
        ({"trained_in": "sumo"}, "trained for 100,000 steps each, .* about 4 minutes"),
        ({"steps": 1e8}, "about 132 minutes"),
    ],
)
def test_what_it_takes_is_told_beforehand(given, words):
    told = demo.expectation(demo.DemoArguments(**given))
    assert re.search(words, told)
    assert "\n" not in told


def test_where_the_time_went(monkeypatch):
    moments = iter([10.0, 135.4, 200.0, 207.9])
    monkeypatch.setattr(demo.time, "perf_counter", lambda: next(moments))
    clock = demo.Clock()
    for part in ("training", "driving in SUMO", "pictures"):
        clock.ended(part)
    assert clock.told() == "time: training 2:05, driving in SUMO 1:05, pictures 0:08; 3:18 in all"


@pytest.mark.parametrize(
    ("given", "words"),
    [({"episodes": 0}, "episodes must be"), ({"steps": -1.0}, "steps must be"), ({"trained_in": "SUMO"}, "trained_in")],
)
def test_arguments_out_of_range(given, words):
    with pytest.raises(AverseError, match=words):
        demo.DemoArguments(**given)


def test_a_place_that_is_taken_is_told_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "train_all", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(demo, "require_simulator", lambda: None)
    (tmp_path / "table.md").touch()
    with pytest.raises(AverseError, match="exists already"):
        demo.run(demo.DemoArguments(out=tmp_path))
    with pytest.raises(AverseError, match="cannot be a folder for results"):
        demo.run(demo.DemoArguments(out=tmp_path / "table.md" / "below"))


def test_a_missing_simulator_is_told_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "train_all", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr("averse.extras.find_spec", lambda name: None)
    with pytest.raises(AverseError, match="pip install"):
        demo.run(demo.DemoArguments(out=tmp_path / "out"))
    assert not list(tmp_path.iterdir())
