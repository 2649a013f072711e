"""`averse record`: films of the episodes that were evaluated, and a line for what cannot be filmed."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import averse
from averse.cli import main
from averse.evaluation import Episodes, learned, play_host
from averse.evaluation.recording import recorder
from averse.experiments import record
from averse.experiments.record import worst_shots
from averse.learners.fixed import fixed
from averse.report.film import film_of


@pytest.fixture(scope="module")
def runs(corridor_runs, tmp_path_factory):
    """Two settings with two seeds each, evaluated; another method, which is not."""
    path = tmp_path_factory.mktemp("record")
    for name in "ab":
        shutil.copytree(corridor_runs / name, path / name)
    averse.evaluate(path / "a", 20)
    return path


def said(capsys, *arguments) -> dict:
    assert main([str(argument) for argument in (*arguments, "--json")]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_an_episode_is_that_which_is_evaluated(runs):
    run = averse.load(runs / "a")
    table = Episodes.read_parquet(runs / "a" / "episodes.parquet")
    played = recorder(run.environment, run.learner)
    for row in (0, 7, 41):
        trial = run.trial(seed=table.training_seed[row], epsilon=table.settings["epsilon"][row])
        shot = played(run.state(trial), int(table.seed[row]))
        assert shot.over
        assert shot.earned(len(shot)) == pytest.approx(table.episode_return[row], abs=1e-6)
        assert shot.told(len(shot))["risky"] == pytest.approx(table.metrics["risky"][row], abs=1e-6)
        assert shot.state(len(shot)).time == len(shot) == table.length[row]
    beginning = played(run.state(0), int(table.seed[0]), steps=2)
    assert (len(beginning), beginning.over) == (2, False)


def test_the_worst_beside_another_method(runs, tmp_path, capsys):
    beside = ("--beside", runs / "b", "--beside-trial", "seed=3")
    told = said(capsys, "record", runs / "a", "--worst", 3, *beside, "--out", tmp_path / "film.gif")
    table = Episodes.read_parquet(runs / "a" / "episodes.parquet")
    mine = [episode for episode in told["episodes"] if episode["run"] == str(runs / "a")]
    assert [episode["return"] for episode in mine] == pytest.approx(np.sort(table.episode_return)[:3].tolist())
    assert [e["seed"] for e in told["episodes"]] == [e["seed"] for e in mine for _ in range(2)]
    assert told["notes"] == []
    with Image.open(tmp_path / "film.gif") as gif:
        assert list(gif.size) == told["size"]
        assert gif.size[0] > 2 * 480


def test_an_evaluation_that_is_not_of_this_training_is_told(runs, tmp_path, capsys):
    shutil.copytree(runs / "a", tmp_path / "a")
    table = Episodes.read_parquet(tmp_path / "a" / "episodes.parquet")
    columns = {**table.columns(), "return_0": table.agent_returns[:, 0] + 5.0}
    Episodes.from_columns(columns, ["epsilon"]).write_parquet(tmp_path / "a" / "episodes.parquet")
    (note,) = said(capsys, "record", tmp_path / "a", "--worst", 1)["notes"]
    assert "when it was evaluated and" in note
    assert (tmp_path / "a" / "film-worst-1.gif").exists()


def test_which_trial_is_shown_beside(runs):
    run = averse.load(runs / "a")
    assert record.trial_beside("a", run, {"seed": 1.0, "epsilon": 0.5}, None) == run.trial(seed=1, epsilon=0.5)
    assert record.trial_beside("a", run, {"seed": 7.0}, ("3",)) == 3
    other = averse.load(runs / "b")
    assert record.trial_beside("b", other, {"seed": 4.0, "epsilon": 0.5}, None) == other.trial(seed=4)
    with pytest.raises(averse.AverseError, match="a has 4 trials; say which by --beside-trial"):
        record.trial_beside("a", run, {"seed": 1.0}, None)


def test_worst_episodes():
    trials = [{"seed": 0, "tau": 1.0}, {"seed": 0, "tau": 2.0}]
    table = Episodes(
        training_seed=[0] * 6,
        seed=[1, 2, 3, 1, 2, 3],
        agent_returns=np.array([5, -3, 0, -9, -3, 1.0]),
        length=[1] * 6,
        failed=[0, 0, 0, 1, 0, 0],
        settings={"tau": np.repeat([1.0, 2.0], 3)},
    )
    found = [(shot.trial, shot.seed, shot.expected) for shot in worst_shots(table, trials, 3)]
    assert found == [(0, 2, -3.0), (1, 2, -3.0), (0, 3, 0.0)]  # the failed one is none
    assert [shot.seed for shot in worst_shots(table, trials, 2, only=1)] == [2, 3]
    with pytest.raises(averse.AverseError, match="at most the 5 episodes"):
        worst_shots(table, trials, 6)
    with pytest.raises(averse.AverseError, match="of a trial that the run has not"):
        worst_shots(table, trials[:1], 1)


def test_several_seeds_shifted_and_slow(runs, tmp_path, capsys):
    out = tmp_path / "film.gif"
    told = said(
        capsys, "record", runs / "a", "--trial", 1, "--seed", 5, "--episodes", 2, "--shift", "bad_probability=1",
        "--speed", 2, "--out", out,
    )  # fmt: skip
    assert [episode["seed"] for episode in told["episodes"]] == [5, 6]
    assert told["frames_per_second"] == 5.0
    earned = [5.0 - 3.0 * 5 * episode["metrics"]["risky"] for episode in told["episodes"]]
    assert [episode["return"] for episode in told["episodes"]] == pytest.approx(earned)


def test_ctrl_c_leaves_nothing(runs, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "recorder", lambda *_: stopped)
    assert main(["record", str(runs / "b"), "--trial", "0", "--out", str(tmp_path / "film.gif")]) == 130
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a"], "choose one of 4 trials"),
        (["a", "--trial", "seed=7"], "leaves 0"),
        (["a", "--trial", "0", "--out", "film.avi"], "must end in .gif or .mp4"),
        (["a", "--trial", "0", "--out", "a/config.json/film.gif"], "cannot be a folder for results"),
        (["a", "--trial", "0", "--out", "taken.gif"], "exists already; choose another --out or --overwrite"),
        (["a", "--worst", "81"], "at most the 80 episodes"),
        (["a", "--worst", "1", "--seed", "3"], "--worst chooses the episodes"),
        (["a", "--worst", "1", "--greedy"], "--greedy would play other episodes"),
        (["a", "--worst", "1", "--shift", "bad_probability=0.5"], r"make them: averse evaluate .*a --shift bad_prob"),
        (["b", "--trial", "0", "--worst", "1"], "make them: averse evaluate"),
        (["a", "--trial", "0", "--beside", "b", "--beside-trial", "seed=9"], "leaves 0"),
        (["a", "--trial", "0", "--beside", "b"], "b has 2 trials; say which by --beside-trial"),
        (["a", "--trial", "0", "--shift", "length=6"], "observation_size is 6, not 5"),
        (["missing"], "no run at missing"),
        (["a", "--trial", "0", "--speed", "0"], "speed must be"),
    ],
)
def test_bad_input_is_one_line(runs, arguments, words, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    (runs / "taken.gif").touch()
    monkeypatch.setattr(record, "recorder", lambda *_: pytest.fail("it began"))
    before = sorted(runs.rglob("*"))
    assert re.search(words, refused(capsys, "record", *arguments))
    assert sorted(runs.rglob("*")) == before


def test_a_world_without_a_drawing(runs, capsys, monkeypatch):
    monkeypatch.setattr("averse.environments.corridor.Corridor.drawing", None)
    assert "corridor cannot be drawn: it has no `drawing`" in refused(capsys, "record", runs / "a", "--trial", "0")


class TestOtherLibraries:
    """Worlds that show themselves."""

    def test_the_same_episode_as_in_worker_processes(self):
        pytest.importorskip("pygame")
        world = averse.make("gymnasium:CartPole-v1", horizon=20)
        policy = fixed(lambda seen: (seen[..., 2] > 0).astype("int32"))
        shots = [recorder(world, policy)((), seed) for seed in (3, 4)]
        with world.vector(1) as vector:
            played = play_host(vector, learned(policy, greedy=False)(()), [3, 4], horizon=20, gamma=1.0)
        assert [shot.earned(len(shot)) for shot in shots] == played.returns[:, 0].tolist()
        assert [len(shot) for shot in shots] == played.length.tolist()
        pictures = shots[0].states
        assert pictures.shape == (len(shots[0]) + 1, 400, 600, 3)
        assert (pictures[0] != pictures[-1]).any()
        film, _ = film_of([shots[0]])
        np.testing.assert_array_equal(np.asarray(film.frame(5))[52:452, :600], pictures[5])

    def test_one_that_cannot_be_drawn(self):
        pytest.importorskip("pettingzoo")
        world = averse.make("gymnasium:foreign_worlds:Odd-v0", horizon=3)
        with pytest.raises(averse.AverseError, match="cannot be drawn") as error:
            recorder(world, fixed(lambda seen: seen[..., 0].astype("int32")))((), 1)
        assert "\n" not in str(error.value)
