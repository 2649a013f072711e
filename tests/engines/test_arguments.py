"""What is said of the engine: flags that fit together, shares of nodes, what workers are told; all without Ray."""

import os
import socket
import subprocess
import sys

import pytest

from averse import extras
from averse.cli import main
from averse.engines import Engine, cluster, opened, worker
from averse.engines.arguments import cores, require_room, slots
from averse.engines.cluster import State, Task, worker_variables
from averse.errors import AverseError
from averse.experiments.study import command_line
from averse.experiments.tradeoff import TradeoffArguments

COMMANDS = {
    "train": ["train", "--env", "corridor", "--method", "ppo"],
    "evaluate": ["evaluate", "nowhere"],
    "compare": ["compare", "--env", "corridor"],
    "tradeoff": ["tradeoff", "--env", "corridor"],
    "ablate": ["ablate", "--env", "corridor"],
}


@pytest.fixture
def no_ray(monkeypatch):
    """A Python that has no Ray."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.mark.parametrize("command", COMMANDS)
def test_without_ray_one_line_says_how_to_install_it_before_anything_is_done(
    command, no_ray, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main([*COMMANDS[command], "--engine", "ray"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("averse: --engine ray needs ray, and import ray failed: ")
    assert error.endswith(f"; pip install '{extras.PACKAGES['ray']}'\n")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--address", "10.0.0.1:6379"], "--address goes with --engine ray"),
        (["--cpus-per-trial", "2"], "--cpus-per-trial goes with --engine ray"),
        (["--engine", "local", "--gpus-per-trial", "1"], "--gpus-per-trial goes with --engine ray"),
        (["--engine", "ray", "--cpus-per-trial", "100000"], f"must be at most the {cores()} cores of this machine"),
        (["--engine", "ray", "--cpus-per-trial", "0"], "cpus_per_trial must be a whole number >= 1 or nothing, not 0"),
        (["--engine", "ray", "--gpus-per-trial", "1.5"], "must be a share of one GPU or a whole number, not 1.5"),
        (["--engine", "ray", "--gpus-per-trial", "-1"], "gpus_per_trial must be a finite number >= 0"),
        (["--engine", "ray", "--address", "head"], "--address must be HOST:PORT of a Ray cluster's head, or auto"),
        (["--engine", "ray", "--address", "ray://head:10001"], "--address must be HOST:PORT of a Ray cluster's head"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "--address 127.0.0.1:1 does not answer"),
        (["--engine", "dask"], "invalid choice 'dask'"),
        (["--actors", "2"], "--actors goes with --engine ray"),
        (["--engine", "local", "--cpus-per-actor", "2"], "--cpus-per-actor goes with --engine ray"),
        (["--engine", "ray", "--cpus-per-actor", "2"], "--cpus-per-actor goes with --actors"),
        (["--engine", "ray", "--actors", "1", "--gpus-per-trial", "1"], "--gpus-per-trial goes without --actors, with"),
        (["--engine", "ray", "--actors", "0"], "actors must be a whole number >= 1 or nothing, not 0"),
        (["--engine", "ray", "--actors", "two"], "--actors must be a whole number >= 1 or nothing, not two"),
        (["--engine", "ray", "--actor", "2"], "unknown flag --actor; did you mean --actors?"),
        (["--engine", "ray", "--actors", "100000"], f"--actors must have at most the {cores()} cores of this machine"),
        (["--engine", "ray", "--actors", "1", "--cpus-per-actor", "100000"], "not 1 times 100000; --address names a"),
        (["--engine", "ray", "--actors", "1"], "--actors: corridor is compiled and has no simulators; leave --actors"),
    ],
)
def test_bad_input_is_one_line(flags, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*COMMANDS["train"], *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["compare", "tradeoff", "ablate"])
def test_studies_of_compiled_worlds_have_no_simulators(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*COMMANDS[command], "--engine", "ray", "--actors", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("averse: --actors: corridor is compiled and has no simulators; leave --actors out")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_is_told_before_ray_is_started(capsys, tmp_path, monkeypatch):
    for module in ("cli", "experiments.outcome"):
        monkeypatch.setattr(f"averse.{module}.require", lambda engine: None)
        monkeypatch.setattr(f"averse.{module}.opened", lambda engine: pytest.fail("opened"))
    taken = tmp_path / "taken"
    (taken / "something").mkdir(parents=True)
    for command in ([*COMMANDS["train"], "--out", str(taken)], COMMANDS["evaluate"]):
        assert main([*command, "--engine", "ray"]) == 2
        error = capsys.readouterr().err
        assert "exists already" in error or "there is no such folder" in error
    assert main([*COMMANDS["tradeoff"], "--engine", "ray", "--out", str(taken)]) == 2
    assert "is no study" in capsys.readouterr().err


def test_metrics_go_elsewhere_with_the_local_engine_only(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*COMMANDS["train"], "--engine", "ray", "--track", "csv"]) == 2
    assert "--track goes with --engine local" in capsys.readouterr().err


def test_the_command_of_a_study_says_its_engine():
    arguments = TradeoffArguments(seeds=3, engine=Engine(engine="ray", cpus_per_trial=2))
    assert command_line("tradeoff", arguments) == "averse tradeoff --seeds 3 --engine ray --cpus-per-trial 2"
    assert command_line("tradeoff", TradeoffArguments()) == "averse tradeoff"


def test_the_local_engine_opens_nothing(no_ray):
    with opened(Engine()) as found:
        assert found is None


def test_slots_are_counted_on_each_node():
    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0}, {"node:x": 1.0}]
    assert slots(Engine("ray"), nodes) == 11
    assert slots(Engine("ray", cpus_per_trial=2), nodes) == 5
    assert slots(Engine("ray", cpus_per_trial=3, gpus_per_trial=0.5), nodes) == 2
    assert slots(Engine("ray", gpus_per_trial=0.1), nodes) == 8
    for engine, words in [
        (Engine("ray", None, 9), "--cpus-per-trial 9: no node of the Ray cluster has so many; the largest has 8"),
        (Engine("ray", None, 1, 4), "--gpus-per-trial 4: no node of the Ray cluster has so many; the largest has 2"),
    ]:
        with pytest.raises(AverseError, match=words):
            slots(engine, nodes)
    with pytest.raises(AverseError, match="has both 3 cores and 1 GPUs"):
        slots(Engine("ray", None, 3, 1), [{"CPU": 4.0}, {"CPU": 1.0, "GPU": 1.0}])


def test_actors_need_room_on_nodes():
    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0}, {"node:x": 1.0}]
    require_room(Engine("ray", actors=11), nodes)
    require_room(Engine("ray", actors=5, cpus_per_actor=2), nodes)
    for actors, cpus, room in ((12, 1, 11), (6, 2, 5), (1, 9, 0)):
        with pytest.raises(
            AverseError, match=f"--actors {actors}: the Ray cluster has cores for {room} of {cpus} each"
        ):
            require_room(Engine("ray", actors=actors, cpus_per_actor=cpus), nodes)


def test_workers_compile_as_this_process_does():
    mine = {"JAX_ENABLE_X64": "1", "XLA_FLAGS": "--a=b", "JAX_PLATFORMS": "cuda", "HOME": "/home/me", "NPROC": "6"}
    told = worker_variables(Engine("ray"), mine)
    assert told["JAX_PLATFORMS"] == "cpu"
    assert (told["XLA_FLAGS"], told["JAX_ENABLE_X64"]) == ("--a=b", "1")
    assert (told["NPROC"], told["PJRT_NPROC"]) == ("6", "6")
    assert "HOME" not in told
    assert worker_variables(Engine("ray"), {})["NPROC"] == str(cores())
    shared = worker_variables(Engine("ray", gpus_per_trial=0.5), mine)
    assert (shared["JAX_PLATFORMS"], shared["XLA_PYTHON_CLIENT_MEM_FRACTION"]) == ("cuda", "0.450")
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in worker_variables(Engine("ray", gpus_per_trial=2), {})


def test_the_display_counts_trials():
    state = State([Task(worker.train, (), "a", trials, 10) for trials in (4, 3, 2, 1)])
    assert str(state) == "trials: 10 waiting, 0 running, 0 done"
    state.done |= {0: 10, 1: 3, 2: 1}
    state.finished.add(0)
    state.failed.add(2)
    assert str(state) == "trials: 1 waiting, 3 running, 4 done, 2 failed"


def test_a_node_looks_at_the_folder_of_results(tmp_path):
    (tmp_path / "token").write_text("token")
    name, versions, fault = worker.probe(str(tmp_path), "token")
    assert (name, fault) == (socket.gethostname(), None)
    assert {"averse", "python", "jax", "ray"} <= versions.keys()
    assert worker.probe(str(tmp_path / "nowhere"), "token")[2] == "No such file or directory"
    (tmp_path / "token").write_text("of somebody else")
    assert worker.probe(str(tmp_path), "token")[2] == "it is another folder there"
    os.symlink("/proc/self", tmp_path / "proc")
    assert worker.probe(str(tmp_path / "proc"), "status")[2] is not None


CLAIMS = """
import os, sys
from averse.engines.worker import claim_cores
mine = claim_cores(1, sys.argv[1])
again = claim_cores(1, sys.argv[1])
print(mine == again == sorted(os.sched_getaffinity(0)), *mine, flush=True)
input()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or cores() < 2, reason="cores are claimed on Linux")
def test_no_two_workers_keep_to_the_same_core():
    """A worker that is killed leaves its core free; one that finds none free keeps all."""
    usual, prefix = sorted(os.sched_getaffinity(0)), f"averse-test-{os.getpid()}"  # other tests may use Ray now

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", CLAIMS, prefix], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    workers = [start() for _ in usual]
    told = [each.stdout.readline().split() for each in workers]
    assert all(flag == "True" for flag, *_ in told)
    assert sorted(int(core) for _, core in told) == usual
    with start() as late:
        assert late.stdout.readline().split() == ["True", *map(str, usual)]
        late.kill()
    workers[0].kill()
    workers[0].wait()
    with start() as next_one:
        assert next_one.stdout.readline().split() == ["True", told[0][1]]
        next_one.kill()
    for each in workers:
        each.kill()
        each.wait()
        each.stdin.close()
        each.stdout.close()


def test_workers_import_jax_after_they_have_their_cores():
    """What a worker imports first must not import JAX, whose threads would run wherever the process may then run."""
    for module in ("worker", "actor"):
        code = f"import sys, averse.engines.{module}; sys.exit('jax' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_ray_that_would_listen_on_the_network_is_refused():
    cluster._require_loopback([{"NodeManagerAddress": "127.0.0.1"}])
    with pytest.raises(AverseError, match="would listen on the network"):
        cluster._require_loopback([{"NodeManagerAddress": "127.0.0.1"}, {"NodeManagerAddress": "192.0.2.2"}])


def test_folders_of_sockets_are_short(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster.tempfile, "gettempdir", lambda: "/a/very/long/path/for/files/of/a/job")
    folder = cluster._own_folder()
    os.rmdir(folder)
    assert folder.startswith("/tmp/averse-")
