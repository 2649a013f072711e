"""Training that ends early: locks, full disks, signals, closed output, checkpoints by the clock; and the bar."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from filelock import FileLock
from tiers import thorough

import averse
from averse.cli import main
from averse.errors import AverseError, WritingError
from averse.progress import progress_bar
from averse.stopping import signals_held
from averse.training import configure, run_training
from averse.training.checkpoints import Checkpoints
from averse.training.compiled import CompiledGroup
from averse.training.metrics import MetricsLog

SMALL = {"num_envs": 2, "rollout_steps": 8, "segment_length": 8, "minibatches": 1, "epochs": 1, "hidden": (4,)}
UPDATE = 2 * 8
CONFIG = configure("corridor", "ppo", 6 * UPDATE, checkpoints=6, **SMALL)
FLAGS = ["--env", "corridor", "--method", "ppo", "--steps", str(6 * UPDATE), "--checkpoints", "6", "--quiet"]
FLAGS += ["--num-envs", "2", "--rollout-steps", "8", "--segment-length", "8", "--minibatches", "1", "--epochs", "1"]
FLAGS += ["--hidden", "4"]


def with_flag(flag: str, value: int) -> list[str]:
    """FLAGS with another value of one of them."""
    return [str(value) if before == flag else text for before, text in zip(["", *FLAGS], FLAGS)]


def saved(path) -> list[int]:
    return sorted(int(each.name) for each in (path / "checkpoints" / "group-0").iterdir() if each.name.isdigit())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_training(CONFIG, tmp_path_factory.mktemp("runs") / "run")


@contextmanager
def small_files():
    """As on a full disk: no file may grow beyond 64 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def full_from_update_3(monkeypatch):
    save = Checkpoints.save

    def on_a_disk_that_fills(self, update, snapshot):
        if update < 3:
            return save(self, update, snapshot)
        with small_files():
            return save(self, update, snapshot)

    monkeypatch.setattr(Checkpoints, "save", on_a_disk_that_fills)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, full_from_update_3, capsys):
    path = tmp_path / "run"
    assert main(["train", *FLAGS, "--out", str(path)]) == 74
    error = capsys.readouterr().err
    assert f"the checkpoint {path}/checkpoints/group-0/3 could not be written: " in error
    assert "the checkpoint after update 2 is kept" in error
    assert error.count("\n") == 1
    assert averse.load(path).updates == (2,)
    assert saved(path) == [1, 2]


def test_a_start_on_a_full_disk_leaves_nothing_in_the_way(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MetricsLog, "write", full)
    with pytest.raises(WritingError, match=r"metrics.jsonl could not be written: No space left on device; nothing was"):
        run_training(CONFIG, tmp_path / "runs" / "run")
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr("averse.training.directory.write_text", full)
    with pytest.raises(WritingError, match=r"config.json could not be written"):
        run_training(CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Finalised:
    """Sends a signal in its finalizer, where Python drops what a handler raises: what may happen in compiling."""

    def __init__(self, number: int):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)


SIGNALS = pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)


@SIGNALS
def test_a_signal_is_answered_after_a_checkpoint(number, code, words, tmp_path, monkeypatch, capsys):
    path, advance, before = tmp_path / "run", CompiledGroup.advance, signal.getsignal(number)
    calls: list[int] = []

    def and_a_signal(group, count):
        result = advance(group, count)
        calls.append(count)
        if len(calls) == 2:
            Finalised(number)
        return result

    monkeypatch.setattr(CompiledGroup, "advance", and_a_signal)
    assert main(["train", *with_flag("--checkpoints", 2), "--out", str(path)]) == code  # else after updates 3 and 6
    assert signal.getsignal(number) == before
    told = f"averse: {words}; averse train --resume {path} goes on from the last checkpoint\n"
    assert capsys.readouterr().err == told
    assert averse.load(path).updates == (2,)
    monkeypatch.undo()
    assert averse.resume(path).finished


@SIGNALS
def test_a_signal_before_the_first_checkpoint_promises_none(number, code, words, tmp_path, monkeypatch, capsys):
    path, start = tmp_path / "a run", CompiledGroup.start

    def and_a_signal(group):
        start(group)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(CompiledGroup, "start", and_a_signal)
    told = f"there is no checkpoint yet, so that averse train --resume '{path}' begins at the start\n"
    for command in (["--out", str(path), *FLAGS], ["--resume", str(path), "--quiet"]):
        assert main(["train", *command]) == code
        assert capsys.readouterr().err == f"averse: {words}; {told}"
    (path / "checkpoints" / "group-0" / "1.orbax-checkpoint-tmp").mkdir()  # killed while it was written
    monkeypatch.undo()
    assert main(["train", "--resume", str(path), "--quiet"]) == 0
    assert averse.load(path).finished


def test_a_signal_before_anything_is_begun_promises_nothing(finished, tmp_path, monkeypatch, capsys):
    """Neither where there is nothing yet, nor where the run is that is to be replaced by another one."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("averse.training.loop.require_memory", interrupted)
    shutil.copytree(finished.path, tmp_path / "old")
    other = with_flag("--steps", 7 * UPDATE)
    for command in (["--out", str(tmp_path / "new"), *FLAGS], ["--out", str(tmp_path / "old"), "--overwrite", *other]):
        assert main(["train", *command]) == 130
        assert capsys.readouterr().err == "averse: interrupted; nothing was begun\n"
    assert averse.load(tmp_path / "old").finished


def test_a_signal_waits_and_a_second_one_does_not():
    reached = []

    def interrupted(times: int) -> None:
        with signals_held() as held:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
                reached.append(held.waiting())

    for times in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            interrupted(times)
    assert reached == [True, True]


@pytest.mark.parametrize(("number", "code"), [(None, 141), thorough(signal.SIGTERM, 143)])
def test_output_that_nobody_reads_ends_a_training(number, code, tmp_path):
    """As behind `2>&1 | head -1`; a quiet training has nothing to write, and goes on until a signal comes."""
    path = tmp_path / "run"
    flags = with_flag("--steps", 100_000 * UPDATE)  # reported after every 1,000 updates, saved after 16,000
    command = [sys.executable, "-m", "averse.cli", "train", *flags, "--out", str(path)]
    if number is None:
        command.remove("--quiet")
    log = path / "metrics.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.1)
        if number is None:
            assert process.stdout.readline() == "ppo on corridor (compiled; 1 agent, 2 actions, horizon 10)\n"
        process.stdout.close()
        if number is not None:
            process.send_signal(number)
        assert process.wait() == code
    assert averse.load(path).updates[0] in range(1_000, 16_000, 1_000)


def test_who_comes_second_gets_one_line(finished, tmp_path, capsys):
    path = tmp_path / "busy"
    shutil.copytree(finished.path, path)
    before = sorted(each.name for each in path.rglob("*"))
    with FileLock(path / "lock"):
        for command in (["--resume", str(path)], ["--out", str(path), "--overwrite", *FLAGS]):
            assert main(["train", *command]) == 2
            error = capsys.readouterr().err
            assert error == f"averse: {path} is being trained in by another process\n"
    assert sorted(each.name for each in path.rglob("*")) == before
    assert averse.load(path).finished


def test_checkpoints_by_the_clock(tmp_path, monkeypatch):
    """A minute goes by in each update; a checkpoint begins the next two anew."""
    updates: list[int] = []
    clock = [0.0]
    advance = CompiledGroup.advance

    def in_a_minute(group, count):
        clock[0] += 60.0
        return advance(group, count)

    monkeypatch.setattr(CompiledGroup, "advance", in_a_minute)
    monkeypatch.setattr("averse.training.loop.monotonic", lambda: clock[0])
    monkeypatch.setattr(Checkpoints, "save", lambda self, update, snapshot: updates.append(update))
    config = configure("corridor", "ppo", 6 * UPDATE, checkpoints=2, **SMALL)  # after updates 3 and 6
    run_training(config, tmp_path, checkpoint_minutes=2)
    assert updates == [2, 3, 5, 6]


@pytest.mark.parametrize("minutes", [0, -1.0, float("nan"), "often", True])
def test_minutes_that_are_none(tmp_path, minutes):
    with pytest.raises(AverseError, match="checkpoint_minutes must be a finite number > 0"):
        run_training(CONFIG, tmp_path / "run", checkpoint_minutes=minutes)
    assert not (tmp_path / "run").exists()


def test_bars_end_at_100_percent(finished):
    with progress_bar(disable=True) as bar:
        run_training(CONFIG, None, progress=bar)
        run_training(CONFIG, finished.path, resuming=True, progress=bar)
        vague = bar.add_task("work of which there was less than thought", total=7)
        bar.advance(vague, 3)
    assert [task.percentage for task in bar.tasks] == [100, 100, 100]
    assert bar.tasks[1].fields["figures"] == "done before"


def test_a_bar_that_is_interrupted_says_how_far_it_came():
    bar = progress_bar(disable=True)

    def work() -> None:
        with bar:
            bar.advance(bar.add_task("work", total=4), 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert bar.tasks[0].percentage == 25


def test_the_log_of_metrics_goes_on_where_a_kill_cut_it_short(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    whole = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text(whole + '{"trial": 0, "upd')
    averse.resume(path)
    assert (path / "metrics.jsonl").read_text() == whole
    assert len([json.loads(line) for line in whole.splitlines()]) == 6
