"""`--actors` on the command line: the same runs as without, whatever is killed, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from same_runs import assert_same

import averse

pytest.importorskip("ray", reason="the extra ray is not installed")
pytest.importorskip("gymnasium")
pytestmark = pytest.mark.thorough

FLAGS = (
    "train --env gymnasium:CartPole-v1 --own-process --reward-bounds 0 1 --method ppo --num-envs 4 --rollout-steps 8"
)
FLAGS += " --segment-length 8 --minibatches 1 --hidden 4 --quiet"
ACTORS = ["--engine", "ray", "--actors"]
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(averse.__file__).parents[1]))


def averse_process(*arguments: str) -> subprocess.Popen:
    """In a group of its own, as a shell starts it: Ctrl-C reaches all of it."""
    return subprocess.Popen(
        [sys.executable, "-m", "averse.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class Watched:
    """What a command starts: none of it may be left, nor its folder."""

    def __init__(self, process: subprocess.Popen):
        self.process, self.started, self.folders = process, set(), set()

    def look(self) -> None:
        try:
            for each in psutil.Process(self.process.pid).children(recursive=True):
                if each not in self.started:
                    self.started.add(each)
                    self.folders |= set(re.findall(r"--log_dir=(\S*/averse-\w+)/", " ".join(each.cmdline())))
        except psutil.Error:
            pass
        time.sleep(0.05)

    def actors(self) -> list[psutil.Process]:
        """Ray gives a process the name of its actor."""
        found = []
        for each in self.started:
            try:
                if "SimulatorActor" in each.cmdline()[0]:
                    found.append(each)
            except (psutil.Error, IndexError):
                continue
        return found

    def until(self, condition) -> None:
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[1]
            self.look()

    def ended(self) -> tuple[int, str]:
        while self.process.poll() is None:
            self.look()
        assert self.folders
        assert not psutil.wait_procs(self.started, timeout=5)[1]
        assert not any(Path(folder).exists() for folder in self.folders)
        return self.process.returncode, self.process.communicate()[1]


def test_runs_and_evaluations_are_the_same_however_many_actors(tmp_path):
    files = {}
    for name, engine in (("local", []), ("one", [*ACTORS, "1"]), ("two", [*ACTORS, str(min(2, os.cpu_count() or 1))])):
        run = tmp_path / name
        for command in (
            [*FLAGS.split(), "--steps", "128", "--seeds", "2", "--out", str(run)],
            ["evaluate", str(run), "--episodes", "20", "--json"],
        ):
            with averse_process(*command, *engine) as process:
                if engine:
                    assert Watched(process).ended() == (0, "")
                else:
                    assert process.wait() == 0
        files[name] = [(run / each).read_bytes() for each in ("evaluation.json", "episodes.parquet")]
        if engine:
            assert files[name] == files["local"]
            assert_same(run, tmp_path / "local")


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["command", "everybody"])
def test_ctrl_c_leaves_a_checkpoint_and_nothing_else(whom, tmp_path):
    """Also where, as in a terminal, it reaches all of the command's processes; what listens does so on the loopback."""
    path = tmp_path / "run"
    with averse_process(*FLAGS.split(), "--steps", "1e7", "--out", str(path), *ACTORS, "1") as process:
        watched = Watched(process)
        watched.until(lambda: (path / "metrics.jsonl").exists() or watched.actors())
        watched.until(lambda: len(watched.actors()) == 1)
        time.sleep(10)  # it trains
        watched.look()
        pids = {process.pid, *(each.pid for each in watched.started)}
        listening = [each for each in psutil.net_connections("inet") if each.status == psutil.CONN_LISTEN]
        addresses = {each.laddr.ip for each in listening if each.pid in pids}
        assert addresses
        assert addresses <= set(LOOPBACK)
        if whom == "command":
            process.send_signal(signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGINT)
        code, error = watched.ended()
    assert (code, error.count("\n")) == (130, 1), error
    assert list(path.glob("checkpoints/*/[0-9]*"))


@pytest.mark.slow
def test_an_actor_that_is_killed_costs_its_episodes_and_no_more(tmp_path):
    path = tmp_path / "run"
    with averse_process(*FLAGS.split(), "--steps", "4e4", "--out", str(path), *ACTORS, "1") as process:
        watched = Watched(process)
        metrics = path / "metrics.jsonl"
        watched.until(lambda: metrics.exists() and metrics.read_text().count("\n") > 3)
        watched.actors()[0].kill()
        code, error = watched.ended()
    assert code == 0, error
    assert error.count("its Ray actor was lost") == 4
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert rows[-1]["steps"] >= 4e4
    assert sum(row.get("worker_failed", 0) > 0 for row in rows) == 1
