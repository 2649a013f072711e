"""The SLURM script of examples/: its shell, and a task that is stopped, queued again, and finished."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import averse

SCRIPT = Path(__file__).parents[1] / "examples" / "slurm" / "train_array.sh"
UPDATES = 20_000  # reported after every 200
FLAGS = ["--env", "corridor", "--method", "ppo", "--steps", str(16 * UPDATES), "--num-envs", "2", "--hidden", "4"]
FLAGS += ["--rollout-steps", "8", "--segment-length", "8", "--minibatches", "1", "--epochs", "1"]


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A machine whose `averse` is this one, and whose `scontrol` writes down what it is asked for."""
    commands = {
        "averse": f'exec "{sys.executable}" -m averse.cli "$@"',
        "scontrol": f'echo "$@" >> "{tmp_path}/asked"',
    }
    for name, line in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # quickly compiled
    return tmp_path


def task(node) -> subprocess.Popen:
    return subprocess.Popen(["bash", str(SCRIPT), str(node / "runs"), *FLAGS])


def test_it_is_shell_and_says_how_it_is_used(node):
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    told = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("usage: sbatch")
    assert not (node / "asked").exists()


@pytest.mark.slow
def test_what_is_wrong_is_not_queued_again(node):
    wrong = ["bash", str(SCRIPT), str(node / "runs"), "--env", "coridor"]
    assert subprocess.run(wrong, capture_output=True, check=False).returncode == 2
    assert not (node / "asked").exists()


@pytest.mark.slow
def test_a_task_that_is_stopped_is_queued_again_and_goes_on(node):
    """To the same parameters, bit for bit, as the training that nobody stops."""
    run = node / "runs" / "seed-7"
    log = run / "metrics.jsonl"
    with task(node) as first:
        while first.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.05)
        first.send_signal(signal.SIGTERM)  # to the shell alone, as SLURM does
        assert first.wait() == 143
    assert (node / "asked").read_text() == "requeue 4711_7\n"
    stopped = averse.load(run)
    assert 0 < stopped.updates[0] < UPDATES
    with task(node) as second:
        assert second.wait() == 0
    with task(node) as third:  # a task that is queued once too often
        assert third.wait() == 0
    assert (node / "asked").read_text() == "requeue 4711_7\n"
    done = averse.load(run)
    assert done.finished
    assert done.trials == [{"seed": 7}]
    subprocess.run(["averse", "train", *FLAGS, "--seed", "7", "--quiet", "--out", str(node / "whole")], check=True)
    whole = averse.load(node / "whole")
    observations = np.eye(done.environment.observation_size, dtype=np.float32)[:, None]
    for one in (done, whole):
        assert one.finished
    probabilities = [one.policy().probabilities(observations) for one in (done, whole)]
    np.testing.assert_array_equal(*probabilities)
