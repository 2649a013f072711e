"""What an evaluation keeps: nothing is lost unasked, unfinished runs are called so, and bad arguments cost no work."""

import dataclasses
import errno
import json
import shutil

import numpy as np
import pytest

import averse
from averse import AverseError, machine
from averse.cli import main
from averse.evaluation import Episodes, compiled_player, evaluator, play_scripted
from averse.evaluation.accounts import Played
from averse.evaluation.arguments import SEEDS
from averse.evaluation.memory import check_episodes, episode_size
from averse.learners.fixed import fixed

TINY = {"num_envs": 4, "rollout_steps": 16, "minibatches": 1, "epochs": 1, "hidden": (8,)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds, hardly trained."""
    out = tmp_path_factory.mktemp("runs") / "corridor"
    return averse.train("corridor", "mappo", steps=128, seeds=2, out=out, **TINY)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run for each test."""
    shutil.copytree(trained.path, tmp_path / "run")
    return dataclasses.replace(trained, path=tmp_path / "run")


@pytest.fixture(autouse=True)
def played_at_once(monkeypatch):
    """Made-up episodes in place of played ones, which each evaluation would compile anew."""

    def played(run, seeds, greedy, num_envs, advance):
        agents = run.environment.num_agents
        for own in seeds.values():
            yield Played(
                seeds=own.astype(np.uint32),
                returns=np.random.default_rng(own).normal(size=(len(own), agents)),
                discounted=np.random.default_rng(own).normal(size=(len(own), agents)),
                length=np.full(len(own), 10),
                terminated=np.ones((len(own), agents), bool),
                truncated=np.zeros(len(own), bool),
                failed=np.zeros(len(own), bool),
                info={name: np.zeros(len(own)) for name in run.environment.metrics},
                probe=None,
            )

    monkeypatch.setattr(evaluator, "play_all", played)


@pytest.fixture
def no_play(monkeypatch):
    """Fails a test in which something is played."""

    def played(*_, **__):
        raise AssertionError("played before its arguments were checked")

    monkeypatch.setattr(evaluator, "play_all", played)


def files(run):
    return {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}


def kept(run):
    return json.loads((run.path / "evaluation.json").read_text())


# ------------------------------------------------------------------------------------------------------ nothing lost


def test_fewer_episodes_do_not_take_the_place_of_more(run, capsys):
    averse.evaluate(run, 50)
    before = files(run)
    with pytest.raises(AverseError, match=r"holds an evaluation of 50 episodes per policy .* more than 4: --overwrite"):
        averse.evaluate(run, 4)
    assert main(["evaluate", str(run.path), "--episodes", "49"]) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "--no-save" in told.err
    assert files(run) == before


def test_as_many_or_more_do(run):
    for count in (4, 4, 6):
        averse.evaluate(run, count)
        assert kept(run)["episodes_per_policy"] == count
    assert len(Episodes.read_parquet(run.path / "episodes.parquet")) == 12


def test_overwriting_and_only_looking_are_asked_for(run, capsys):
    averse.evaluate(run, 6)
    before = files(run)
    assert len(averse.evaluate(run, 2, save=False).episodes) == 4
    assert main(["evaluate", str(run.path), "--episodes", "3", "--no-save", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes_per_policy"] == 3
    assert files(run) == before
    assert main(["evaluate", str(run.path), "--episodes", "3", "--overwrite", "--json"]) == 0
    assert kept(run)["episodes_per_policy"] == 3


@pytest.mark.parametrize(
    ("other", "words"),
    [({"greedy": True}, "with greedy off .* not on"), ({"first_seed": 7}, "with first_seed 1000000 .* not 7")],
)
def test_what_was_played_otherwise_is_not_replaced_either(run, other, words):
    averse.evaluate(run, 4)
    before = files(run)
    with pytest.raises(AverseError, match=words):
        averse.evaluate(run, 8, **other)
    assert files(run) == before
    averse.evaluate(run, 8, overwrite=True, **other)
    assert kept(run)[next(iter(other))] == next(iter(other.values()))


def test_evaluations_of_older_versions_and_halves_of_one_count_by_their_episodes(run, no_play):
    figures = run.path / "evaluation.json"
    table = Episodes(np.repeat([0, 1], 5), np.arange(10), np.zeros(10), np.ones(10), np.zeros(10, bool))
    table.write_parquet(run.path / "episodes.parquet")  # interrupted before the figures were written
    with pytest.raises(AverseError, match="evaluation of 5 episodes per policy"):
        averse.evaluate(run, 4)
    figures.write_text(json.dumps({"environment": "corridor", "mean": {"value": 1.0}}))  # without a basis
    with pytest.raises(AverseError, match="evaluation of 5 episodes per policy"):
        averse.evaluate(run, 4)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[1, 2]"])
def test_what_cannot_be_read_is_not_replaced(run, no_play, content):
    (run.path / "evaluation.json").write_bytes(content)
    with pytest.raises(AverseError, match="cannot be read: --overwrite") as error:
        averse.evaluate(run, 4)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------------ unfinished


def test_an_unfinished_run_is_called_so(run):
    evaluation = averse.evaluate(dataclasses.replace(run, updates=(1, 1)), 4)
    assert "unfinished run: 1 of 2 updates" in repr(evaluation)
    words = " ".join(str(evaluation).split())
    assert "Warning: the run is unfinished: its policies are those after 1 of 2 updates." in words
    assert kept(run)["finished"] is False
    assert (kept(run)["updates"], kept(run)["total_updates"]) == ([1, 1], 2)
    some = averse.evaluate(dataclasses.replace(run, updates=(1, 2)), 4, save=False)
    assert "after 1 to 2 of 2 updates" in " ".join(str(some).split())


def test_a_finished_one_is_not(run):
    evaluation = averse.evaluate(run, 4)
    assert evaluation.basis.finished
    assert "unfinished" not in repr(evaluation) + str(evaluation)
    assert kept(run)["finished"] is True


def test_the_command_line_says_so_too(run, capsys):
    config = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps({**config, "steps": 640}))
    assert main(["evaluate", str(run.path), "--episodes", "4"]) == 0
    assert "unfinished: its policies are those after 2 of 10 updates" in " ".join(capsys.readouterr().out.split())


# ------------------------------------------------------------------------------------------------------ memory, seeds


@pytest.mark.parametrize("count", ["100000000000", "10000000000000"])
def test_episodes_that_do_not_fit_in_memory_are_refused_with_their_size(run, no_play, capsys, count):
    assert main(["evaluate", str(run.path), "--episodes", count]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"episodes must fit in memory: {int(count):,} of each of 2 policies would take about" in told
    assert "TB" in told or "PB" in told


def test_the_size_is_that_of_all_policies(trained, monkeypatch):
    size = episode_size(trained.environment, trained.learner)
    assert 100 < size < 2000
    monkeypatch.setattr(machine, "memory", lambda: 1000 * 2 * size)
    check_episodes(trained.environment, trained.learner, 1000, 2, 0)
    with pytest.raises(AverseError, match="1,001 of each of 2 policies"):
        check_episodes(trained.environment, trained.learner, 1001, 2, 0)
    with pytest.raises(AverseError, match="2,001 would take"):
        check_episodes(trained.environment, trained.learner, 2001, 1, 0)


def test_scripts_are_checked_alike(trained):
    with pytest.raises(AverseError, match="episodes must fit in memory: 1,000,000,000,000 would take about"):
        play_scripted(trained.environment, lambda observations: observations[..., 0], 10**12)


@pytest.mark.parametrize("first", [SEEDS - 7, SEEDS, 2**70])
def test_episode_seeds_do_not_begin_anew_at_the_end_of_32_bits(run, no_play, first):
    with pytest.raises(AverseError, match="episode seeds end at 4294967295"):
        averse.evaluate(run, 4, first_seed=first)


# ------------------------------------------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"episodes": 0}, "episodes must be"),
        ({"episodes": 4.5}, "episodes must be"),
        ({"episodes": "4"}, "episodes must be"),
        ({"episodes": True}, "episodes must be"),
        ({"environment": 5}, "environment must be"),
        ({"steps": float("nan")}, "steps must be"),
        ({"beta": "1"}, "beta must be"),
        ({"first_seed": -1}, "first_seed must be"),
        ({"first_seed": 1.5}, "first_seed must be"),
        ({"greedy": 1}, "greedy must be true or false"),
        ({"greedy": "no"}, "greedy must be true or false"),
        ({"num_envs": 0}, "num_envs must be"),
        ({"num_envs": [2]}, "num_envs must be"),
        ({"progress": None}, "progress must be"),
        ({"save": "yes"}, "save must be"),
        ({"overwrite": 1}, "overwrite must be"),
    ],
)
def test_arguments_of_other_kinds_are_named(run, no_play, arguments, words):
    before = files(run)
    with pytest.raises(AverseError, match=words) as error:
        averse.evaluate(run, **arguments)
    assert "\n" not in str(error.value)
    assert files(run) == before


@pytest.mark.parametrize("what", [5, None, ["runs/x"], b"runs/x", {"path": "x"}])
def test_what_is_no_run_is_refused(what):
    with pytest.raises(AverseError, match="run must be a run or the path of its directory"):
        averse.evaluate(what)


def test_players_are_checked(trained):
    learner = fixed(lambda observations: np.zeros(observations.shape[:-1], np.int32))
    play = compiled_player(trained.environment, learner, greedy=True)
    for seeds in ([], [1.5], [-1], [SEEDS], "12", None, [[1]]):
        with pytest.raises(AverseError, match="seeds must"):
            play((), seeds)
    with pytest.raises(AverseError, match="greedy must be"):
        compiled_player(trained.environment, learner, greedy="no")
    with pytest.raises(AverseError, match="learner must be"):
        compiled_player(trained.environment, "mappo", greedy=True)
    with pytest.raises(AverseError, match="environment must be"):
        compiled_player("corridor", learner, greedy=True)


@pytest.mark.parametrize("file", ["write_parquet", "write_text"])
def test_a_full_disk_is_told(run, monkeypatch, capsys, file):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((Episodes, file) if file == "write_parquet" else (evaluator, file)), full)
    with pytest.raises(
        averse.WritingError, match=r"the evaluation in .* could not be written: No space left on device"
    ):
        averse.evaluate(run, 10)
    assert main(["evaluate", str(run.path), "--episodes", "10", "--json"]) == 74
    assert capsys.readouterr().err.startswith("averse: the evaluation in ")
