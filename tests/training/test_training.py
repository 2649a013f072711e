"""Runs on disk: what is written, exact resume after a kill, divergence, and bad directories."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from filelock import FileLock

import averse
from averse import AverseError, DivergenceError
from averse.cli import main
from averse.training.compiled import CompiledGroup

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
    assert loaded.policy(tau=1.0, seed=0)(observations[0]).shape == (1,)


def test_each_run_of_a_sweep_is_the_run_on_its_own(finished):
    """vmap over seeds and tau changes nothing but speed: trained one after another, policies are (nearly) the same."""
    alone = averse.train("corridor", "rqe-mappo", steps=1280, seeds=[1], tau=[1.0, 5.0], seeds_as="loop", **SMALL)
    for index, settings in enumerate(alone.trials):
        one, other = alone.state(index), finished.state(finished.trial(**settings))
        for a, b in zip(jax.tree.leaves(one.networks["actor"]), jax.tree.leaves(other.networks["actor"])):
            np.testing.assert_allclose(a, b, atol=2e-3)


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_kill_and_resume_is_bit_exact(tmp_path):
    """kill -9 in the middle; the resumed run ends with the parameters, metrics and keys of one never killed."""
    settings = "--num-envs 4 --rollout-steps 16 --minibatches 1 --epochs 1 --hidden 8 --quiet --checkpoints 6"
    run = "train --env corridor --method rqe-mappo --steps 7680 --seeds 2"
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


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    """Rewards that stop being finite after five updates, each with a checkpoint: what was learned before is there."""
    whole, wild = tmp_path / "whole", tmp_path / "wild"
    averse.train("corridor", "mappo", steps=64 * 5, out=whole, checkpoints=5, **SMALL)
    advance = CompiledGroup.advance

    def poisoned(group, count):
        metrics, records = advance(group, count)
        updates = int(group.learner_states().updates[0])
        return ([{**row, "critic_loss": math.nan} for row in metrics] if updates > 5 else metrics), records

    monkeypatch.setattr(CompiledGroup, "advance", poisoned)
    with pytest.raises(DivergenceError, match=r"diverged by update 6 .*the checkpoint after update 5 is kept"):
        averse.train("corridor", "mappo", steps=64 * 20, out=wild, checkpoints=20, **SMALL)
    kept = averse.load(wild)
    assert kept.updates == (5,)
    assert not kept.finished


def test_a_start_that_fails_leaves_nothing_in_the_way(tmp_path):
    path = tmp_path / "wild"
    with pytest.raises(DivergenceError, match="nothing was saved"):
        averse.train("corridor", "mappo", steps=64 * 400, out=path, checkpoints=1, learning_rate=1e30, **SMALL)
    assert not path.exists()


def test_a_run_is_locked_while_it_is_trained_in(finished, tmp_path):
    path = tmp_path / "busy"
    shutil.copytree(finished.path, path)
    with FileLock(path / "lock"), pytest.raises(AverseError, match="is being trained in by another process"):
        averse.resume(path)
    assert averse.resume(path).finished


def test_a_run_is_overwritten_on_demand_alone_and_nothing_else_is(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    assert averse.train("corridor", "mappo", steps=64, out=path, overwrite=True, **SMALL).trials == [{"seed": 0}]
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.tex").write_text("all of it")
    with pytest.raises(AverseError, match="exists already"):
        averse.train("corridor", "mappo", steps=64, out=other, overwrite=True, **SMALL)
    assert (other / "thesis.tex").read_text() == "all of it"


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


def as_file(path):
    shutil.rmtree(path)
    path.touch()


def as_folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def edited(**content):
    def edit(path):
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, **content}))

    return edit


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: as_folder(path / "metrics.jsonl"), "metrics.jsonl cannot be read .*Is a directory"),
        (lambda path: (path / "metrics.jsonl").write_bytes(b"\xff\xfe\n\n"), "metrics.jsonl cannot be read"),
        (lambda path: (path / "metrics.jsonl").write_text("[]\n[]\n"), "line 1 of .*metrics.jsonl is damaged"),
        (lambda path: (path / "metrics.jsonl").write_text('{"trial": "x", "update": 1}\n{}\n'), "line 1 of .*damaged"),
        (lambda path: as_file(path / "checkpoints"), "checkpoints/group-0 cannot be a folder for checkpoints"),
        (lambda path: as_file(path / "checkpoints" / "group-0"), "group-0 cannot be a folder for checkpoints"),
        (edited(learner=None), "cannot be read: learner must be"),
        (edited(learner={"gamma": "x"}), "cannot be read: gamma must be"),
        (lambda path: as_folder(path / "lock"), "lock cannot be locked: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "damage",
)
def test_a_damaged_run_that_is_resumed_gets_one_clear_line(finished, tmp_path, capsys, damage, words):
    path = damaged(finished, tmp_path, damage)
    before = {each for each in path.rglob("*") if each.name != "lock"}
    assert main(["train", "--resume", str(path), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert re.search(words, error)
    assert error.count("\n") == 1
    assert before <= set(path.rglob("*"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: shutil.rmtree(path), "no such folder"),
        (lambda path: (path / "config.json").unlink(), "no config.json"),
        (lambda path: (path / "config.json").write_text("{"), "damaged"),
        (lambda path: (path / "config.json").write_text('{"format": 1}'), "damaged"),
        (
            lambda path: (path / "config.json").write_text('{"format": 1, "averse": "0.0"}'),
            "format 1 .averse 0.0. .*train it again",
        ),
        (lambda path: shutil.rmtree(path / "checkpoints"), "incomplete"),
        (lambda path: [p.unlink() for p in path.rglob("manifest.ocdbt")], "damaged"),
        (lambda path: (path / "config.json").write_bytes(b"\xff\xfe\x00"), "config.json is damaged"),
        (lambda path: (path / "config.json").write_text("[" * 100_000), "damaged"),
        (lambda path: (path / "config.json").write_text("[2]"), "damaged"),
        (lambda path: as_folder(path / "config.json"), "no config.json"),
        (lambda path: as_file(path / "checkpoints"), "incomplete"),
        (lambda path: as_file(path / "checkpoints" / "group-0"), "incomplete"),
        (lambda path: as_file(path), "no such folder"),
        (edited(learner=None), "cannot be read: learner must be .*, not None"),
        (edited(learner={"gamma": "x"}), "cannot be read: gamma must be a number in .0, 1., not 'x'"),
        (edited(learner={"gama": 0.9}), "cannot be read: .*did you mean gamma"),
        (edited(learner={"learning_rate": "inf"}), "cannot be read: learning_rate must be a finite number > 0"),
        (edited(method=None), "cannot be read: method must be a text, not None"),
        (edited(method="mapo"), "cannot be read: .*did you mean mappo"),
        (edited(environment="nowhere:Nothing"), "cannot be read: .*cannot be imported"),
        (
            edited(environment_parameters={"length": 0}),
            r"cannot be read: length must be a whole number in \[1, 10000\], not 0",
        ),
        (edited(environment_parameters=[1]), "cannot be read: environment_parameters must be"),
        (edited(steps=0), "cannot be read: steps must be"),
        (edited(steps=10**30), "cannot be read: steps 1e.30 are .* updates"),
        (edited(seeds=[]), "cannot be read: seeds must be"),
        (edited(seeds=[0, 2**40]), "cannot be read: seeds must be"),
        (edited(sweep=None), "damaged"),
        (edited(sweep={"tau": ["a"]}), "cannot be read: sweep must be"),
        (edited(sweep={"tau": [1, -5]}), "cannot be read: tau must be"),
        (edited(seeds=[0]), "damaged or of another version"),  # checkpoints of more trials
    ],
    ids=lambda value: value if isinstance(value, str) else "damage",
)
def test_a_bad_run_directory_gets_one_clear_line(finished, tmp_path, damage, words):
    path = damaged(finished, tmp_path, damage)
    with pytest.raises(AverseError, match=words) as caught:
        averse.load(path)
    assert "\n" not in str(caught.value)
