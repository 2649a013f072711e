"""Runs on disk: what is written, exact resume after a kill, divergence, and bad directories."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import averse
from averse import AverseError
from averse.training import DivergenceError, configure

SMALL = {"num_envs": 4, "rollout_steps": 16, "segment_length": 8, "minibatches": 2, "hidden": (16,)}


def equal(one, other) -> bool:
    def data(x):
        return jax.random.key_data(x) if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(data(a), data(b), equal_nan=True) for a, b in leaves)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "corridor"
    return averse.train("corridor", "rqe-mappo", steps=1280, seeds=2, tau=[1.0, 5.0], out=path, checkpoints=4, **SMALL)


def test_run_directory(finished):
    config = json.loads((finished.path / "config.json").read_text())
    assert config["environment"] == "corridor"
    assert config["sweep"] == {"tau": [1.0, 5.0]}
    rows = [json.loads(line) for line in (finished.path / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 4 * 20  # four runs, one line per update here
    assert {(row["seed"], row["tau"]) for row in rows} == {(0, 1.0), (1, 1.0), (0, 5.0), (1, 5.0)}
    assert rows[-1]["steps"] == 1280
    assert all(np.isfinite(float(row["critic_loss"])) for row in rows)
    assert not list(finished.path.rglob("*.pkl"))
    assert finished.finished


def test_load_gives_the_same_policies(finished):
    loaded = averse.load(finished.path)
    assert equal(loaded.learner_states, finished.learner_states)
    observations = np.eye(10, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(loaded.policy(1)(observations), finished.policy(1)(observations))
    assert loaded.policy()(observations[0]).shape == (1,)


def test_each_run_of_a_sweep_is_the_run_on_its_own(finished):
    """vmap over seeds and tau changes nothing but speed: trained one after another, policies are (nearly) the same."""
    alone = averse.train("corridor", "rqe-mappo", steps=1280, seeds=2, tau=[1.0, 5.0], seeds_as="loop", **SMALL)
    for a, b in zip(
        jax.tree.leaves(alone.learner_states.networks["actor"]),
        jax.tree.leaves(finished.learner_states.networks["actor"]),
    ):
        np.testing.assert_allclose(a, b, atol=2e-3)
    single = averse.train("corridor", "rqe-mappo", steps=1280, seeds=[1], tau=5.0, **SMALL)
    for a, b in zip(
        jax.tree.leaves(single.learner_states.networks["actor"]), jax.tree.leaves(finished.state(3).networks["actor"])
    ):
        np.testing.assert_allclose(a[0], b, atol=2e-3)


@pytest.mark.timeout(300)
def test_kill_and_resume_is_bit_exact(tmp_path):
    """kill -9 in the middle; the resumed run ends with the parameters, metrics and keys of one never killed."""
    settings = "--num-envs 4 --rollout-steps 16 --minibatches 2 --quiet --checkpoints 20"
    run = "train --env risky-cartpole --method rqe-mappo --steps 12800 --seeds 2"
    arguments = f"{run} {settings}".split()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, "-m", "averse.cli", *arguments, "--out", whole], check=True)
    process = subprocess.Popen([sys.executable, "-m", "averse.cli", *arguments, "--out", killed])
    checkpoints = killed / "checkpoints" / "group-0"
    while not (checkpoints.is_dir() and len([p for p in checkpoints.iterdir() if p.name.isdigit()]) >= 2):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not averse.load(killed).finished
    subprocess.run([sys.executable, "-m", "averse.cli", "train", "--resume", killed, "--quiet"], check=True)
    assert equal(averse.load(whole).learner_states, averse.load(killed).learner_states)
    strip = lambda path: [  # noqa: E731
        {k: v for k, v in json.loads(line).items() if k != "steps_per_second"}
        for line in (path / "metrics.jsonl").read_text().splitlines()
    ]
    assert strip(whole) == strip(killed)


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "wild"
    with pytest.raises(DivergenceError, match="diverged by update"):
        averse.train("corridor", "mappo", steps=64 * 400, out=path, checkpoints=400, learning_rate=1e30, **SMALL)
    assert (path / "config.json").exists()


def test_an_existing_directory_is_not_overwritten(finished):
    before = (finished.path / "config.json").read_text()
    with pytest.raises(AverseError, match="exists already"):
        averse.train("corridor", "mappo", steps=64, out=finished.path, **SMALL)
    assert (finished.path / "config.json").read_text() == before


def damaged(finished, tmp_path, damage):
    path = tmp_path / "damaged"
    shutil.copytree(finished.path, path)
    damage(path)
    return path


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: shutil.rmtree(path), "no such folder"),
        (lambda path: (path / "config.json").unlink(), "no config.json"),
        (lambda path: (path / "config.json").write_text("{"), "damaged"),
        (lambda path: (path / "config.json").write_text('{"format": 1}'), "damaged"),
        (lambda path: (path / "config.json").write_text('{"format": 99, "averse": "9"}'), "format is 99"),
        (lambda path: shutil.rmtree(path / "checkpoints"), "incomplete"),
        (lambda path: [p.unlink() for p in path.rglob("manifest.ocdbt")], "damaged"),
    ],
    ids=["missing", "no-config", "cut-config", "empty-config", "other-version", "no-checkpoint", "cut-checkpoint"],
)
def test_a_bad_run_directory_gets_one_clear_line(finished, tmp_path, damage, words):
    path = damaged(finished, tmp_path, damage)
    with pytest.raises(AverseError, match=words) as caught:
        averse.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, "steps"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": [1, 1]}, "different"),
        ({"tau": [1.0, 0.0]}, "tau"),
        ({"gamma": [0.9, 0.99]}, "cannot sweep 'gamma'"),
        ({"checkpoints": 0}, "checkpoints"),
    ],
)
def test_bad_configurations(arguments, words):
    with pytest.raises(AverseError, match=words):
        configure("corridor", "rqe-mappo", **{"steps": 64, **SMALL, **arguments})
