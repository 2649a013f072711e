"""Trials by Ray itself: the same figures as by the local engine, whatever is killed, and nothing left behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray_tasks
from same_runs import assert_same

import averse
from averse.cli import main
from averse.engines import Engine, cluster, opened, worker
from averse.engines.cluster import Task
from averse.errors import AverseError, DivergenceError, WorkerLostError

pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.thorough

HELPERS = Path(__file__).parents[1] / "helpers"
UPDATES = 12_000
TRAIN = ["train", "--env", "corridor", "--method", "trifling:AVERSE", "--seeds", "2", "--sweep", "tau=1,3", "--quiet"]
TRAIN += ["--num-envs", "4", "--steps", str(UPDATES * 4 * 10), "--checkpoints", "50"]
TRADEOFF = ["tradeoff", "--method", "trifling:AVERSE", "--neutral", "trifling:NEUTRAL", "--env", "corridor", "--json"]
TRADEOFF += ["--seeds", "2", "--steps", "12800", "--episodes", "100", "--taus", "5", "0.5", "--failure", "risky"]
TRADEOFF += ["--shift", "bad_probability=0.3"]
TABLES = ("table.md", "table.json", "episodes.parquet", "episodes-shift-1.parquet")
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@pytest.fixture(scope="module", autouse=True)
def surroundings():
    """Processes of tests find the helpers, as pytest does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(averse.__file__).parents[1]), str(HELPERS)]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.fixture(scope="module")
def nodes(surroundings):
    """Ray's own simulation of a cluster: two nodes of one core each."""
    from ray.cluster_utils import Cluster

    found = Cluster()
    for _ in range(2):
        add_node(found)
    yield found
    found.shutdown()


def add_node(found):
    return found.add_node(num_cpus=1, object_store_memory=100_000_000, include_dashboard=False)


def averse_process(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "averse.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Exit code and errors of a process that says little; none of the processes that it started may be left."""
    started: set[psutil.Process] = set()
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            started |= set(psutil.Process(process.pid).children(recursive=True))
        time.sleep(0.05)
    assert not psutil.wait_procs(started, timeout=5)[1]
    return process.returncode, process.communicate()[1]


def until(condition, process: subprocess.Popen) -> None:
    """Wait until something is so, while a process runs."""
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def training_workers(path: Path) -> list[psutil.Process]:
    """Workers of Ray that train a run: Ray gives a process the name of its task."""
    name = f"ray::trifling:AVERSE in {path}"
    return [each for each in psutil.process_iter(["cmdline"]) if (each.info["cmdline"] or [""])[0].startswith(name)]


def saved_in_parts(path: Path) -> bool:
    """Whether both parts have left checkpoints."""
    parts = {each.parts[-4] for each in path.glob("parts/*/checkpoints/*/[0-9]*")}
    return len(parts) == 2


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The training by the local engine."""
    path = tmp_path_factory.mktemp("local") / "run"
    with averse_process(*TRAIN, "--out", str(path)) as process:
        assert ended(process) == (0, "")
    return path


class TestOnThisMachine:
    @pytest.mark.slow
    def test_ctrl_c_leaves_checkpoints_and_nothing_else_and_the_same_command_goes_on(self, local, tmp_path):
        """What listens does so on the loopback alone."""
        path = tmp_path / "run"
        with averse_process(*TRAIN, "--out", str(path), "--engine", "ray") as process:
            until(lambda: saved_in_parts(path), process)
            ours = psutil.Process(process.pid).children(recursive=True)
            pids = {process.pid, *(each.pid for each in ours)}
            told = " ".join(word for each in ours for word in each.cmdline())
            (folder,) = set(re.findall(r"--log_dir=(\S*/averse-\w+)/", told))
            assert Path(folder).is_dir()
            listening = [each for each in psutil.net_connections("inet") if each.status == psutil.CONN_LISTEN]
            addresses = {each.laddr.ip for each in listening if each.pid in pids}
            assert addresses
            assert addresses <= set(LOOPBACK)
            process.send_signal(signal.SIGINT)
            code, error = ended(process)
        assert (code, error.count("\n")) == (130, 1), error
        assert not psutil.wait_procs(ours, timeout=0)[1]
        assert not Path(folder).exists()
        with averse_process("train", "--resume", str(path), "--quiet", "--engine", "ray") as process:
            assert ended(process) == (0, "")
        assert_same(path, local)

    def test_simulators_are_started_by_workers_of_ray(self, tmp_path):
        """A trial in a host environment, whose processes are started anew and not forked; and its evaluation."""
        pytest.importorskip("gymnasium")
        flags = "--env gymnasium:CartPole-v1 --reward-bounds 0 1 --method ppo --steps 64 --num-envs 2 --rollout-steps 8"
        flags += " --segment-length 8 --minibatches 1 --hidden 4 --seeds 2 --quiet"
        files = {}
        for name, engine in (("local", []), ("ray", ["--engine", "ray"])):
            run = tmp_path / name
            for command in (
                ["train", *flags.split(), "--out", str(run)],
                ["evaluate", str(run), "--episodes", "20"],
            ):
                with averse_process(*command, *engine) as process:
                    code, error = ended(process)
                    assert code == 0, error
            files[name] = [(run / each).read_bytes() for each in ("evaluation.json", "episodes.parquet")]
        assert files["ray"] == files["local"]
        assert_same(tmp_path / "ray", tmp_path / "local")


class TestOnACluster:
    def test_a_trade_off_has_the_same_tables(self, nodes, tmp_path):
        assert main([*TRADEOFF, "--out", str(tmp_path / "local")]) == 0
        for _ in range(2):  # the second time there is nothing left to do
            with averse_process(
                *TRADEOFF, "--out", str(tmp_path / "ray"), "--engine", "ray", "--address", nodes.address
            ) as process:
                code, error = ended(process)
            assert code == 0, error
            for name in TABLES:
                assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name

    @pytest.mark.slow
    def test_a_worker_that_is_killed_changes_nothing(self, nodes, local, tmp_path):
        path = tmp_path / "run"
        with averse_process(*TRAIN, "--out", str(path), "--engine", "ray", "--address", nodes.address) as process:
            until(lambda: saved_in_parts(path) and training_workers(path), process)
            before = training_workers(path)
            before[0].kill()
            until(lambda: set(training_workers(path)) - set(before), process)  # another worker goes on
            assert ended(process) == (0, "")
        assert_same(path, local)

    @pytest.mark.slow
    def test_a_node_that_is_killed_changes_nothing(self, nodes, local, tmp_path):
        path = tmp_path / "run"
        lost = next(iter(nodes.worker_nodes))
        with averse_process(*TRAIN, "--out", str(path), "--engine", "ray", "--address", nodes.address) as process:
            until(lambda: saved_in_parts(path) and len(training_workers(path)) == 2, process)
            before = training_workers(path)
            nodes.remove_node(lost, allow_graceful=False)
            until(lambda: len([each for each in before if each.is_running()]) == 1, process)
            assert ended(process) == (0, "")
        add_node(nodes)
        assert_same(path, local)

    def test_what_fails_is_told_in_a_line_when_the_others_are_done(self, nodes, tmp_path, monkeypatch):
        monkeypatch.setattr(cluster, "RETRIES", 0)
        shown = []
        kinds = {
            ray_tasks.diverges: (DivergenceError, "one: numbers are no longer finite"),
            ray_tasks.dies: (WorkerLostError, "one: the worker was lost"),
            ray_tasks.breaks: (TypeError, "a fault of the program"),
        }
        with opened(Engine("ray", nodes.address)) as found:
            assert found.slots == 2
            with (
                pytest.raises(AverseError, match="this process is in a Ray cluster already"),
                opened(Engine("ray", nodes.address)),
            ):
                pass
            for function, (kind, words) in kinds.items():
                tasks = [Task(function, (), "one", 3, 1), Task(ray_tasks.naps, (), "two", 2, 1)]
                with pytest.raises(kind, match=words):
                    found.run(tasks, lambda state: shown.append(str(state)))
                assert shown[-1] == "trials: 0 waiting, 0 running, 2 done, 3 failed"
            monkeypatch.setattr(worker, "versions", lambda: {"averse": "0.0.9"})
            with pytest.raises(AverseError, match=r"the Ray node \S+ has \w+ .* and this process .*: results would"):
                found.check(tmp_path)
            assert not list(tmp_path.iterdir())
            with pytest.raises(AverseError, match="cannot be written to"):
                found.check(tmp_path / "nowhere")
        with (
            pytest.raises(AverseError, match="--cpus-per-trial 2: no node of the Ray cluster has so many; the largest"),
            opened(Engine("ray", nodes.address, 2)),
        ):
            pass
