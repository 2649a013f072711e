"""Policies in a shifted world: its returns by closed form, what is refused, and files that say which world it was."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

import averse
from averse import AverseError, environments
from averse.cli import main
from averse.commands import literal
from averse.environments.corridor import RISKY, Corridor
from averse.evaluation import Episodes
from averse.evaluation.basis import LONGEST_SHIFT, shift_of, suffix
from averse.learners.fixed import fixed
from averse.training.config import TrainingConfig

LENGTH = 10
TINY = {"num_envs": 4, "rollout_steps": 16, "minibatches": 1, "epochs": 1, "hidden": (8,)}


def worth(bad):
    """The mean of ten risky steps."""
    return LENGTH * (1.5 * (1 - bad) - 2.0 * bad)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds of a method with a distributional critic, hardly trained."""
    out = tmp_path_factory.mktemp("runs") / "corridor"
    return averse.train("corridor", "rqe-mappo", steps=128, seeds=2, out=out, tau=3, **TINY)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run for each test."""
    shutil.copytree(trained.path, tmp_path / "run")
    return dataclasses.replace(trained, path=tmp_path / "run")


@pytest.fixture
def risky(monkeypatch):
    """Every policy takes the risky step always."""
    act = fixed(lambda observations: jnp.full(observations.shape[:-1], RISKY, jnp.int32), 0.9)
    monkeypatch.setattr(TrainingConfig, "build_learner", lambda self, environment: act)


@pytest.fixture
def no_play(monkeypatch):
    """Fails a test in which something is played."""

    def played(*_, **__):
        raise AssertionError("played before its arguments were checked")

    monkeypatch.setattr("averse.evaluation.evaluator.play_all", played)


def files(run):
    return {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}


# ------------------------------------------------------------------------------------------------------- the figures


@pytest.mark.parametrize("bad", [0.0, 0.5, 1.0])
def test_the_return_is_that_of_the_shifted_world(run, risky, bad):
    found = averse.evaluate(run, 2000, shift={"bad_probability": bad}, save=False).summaries[""].mean
    assert found.low - 1e-6 <= worth(bad) <= found.high + 1e-6
    assert found.value == pytest.approx(worth(bad), abs=0.5 if 0 < bad < 1 else 1e-5)
    assert abs(worth(bad) - worth(0.1)) > 1.0  # so that the world of training would show


def test_the_trained_objective_is_told_of_the_shifted_world(run, risky):
    found = averse.evaluate(run, 3000, shift={"bad_probability": 0.5}, save=False).objectives[""]
    weights = 0.9 ** np.arange(LENGTH)
    truth = sum(-3 * np.log(0.5 * np.exp(-1.5 * w / 3) + 0.5 * np.exp(2.0 * w / 3)) for w in weights)
    assert found.measure == "entropic:3"
    assert found.value.value == pytest.approx(truth, abs=0.15)


def test_learned_policies_act_as_they_learned_to(run):
    """Where a risky step is always bad, an episode's return is known from how many of its steps were risky."""
    table = averse.evaluate(run, 50, shift={"bad_probability": 1.0}, save=False).episodes
    steps = LENGTH * table.metrics["risky"]
    assert steps.std() > 0
    np.testing.assert_allclose(table.episode_return, LENGTH - 3.0 * steps, atol=1e-4)
    at_home = averse.evaluate(run, 50, save=False).episodes
    np.testing.assert_array_equal(table.metrics["risky"], at_home.metrics["risky"])  # draws are common random numbers


def test_the_critic_keeps_the_support_it_was_trained_with_and_is_compared_with_the_shifted_returns(run):
    moved = run.moved_to(parameters={"bad_reward": -20.0})
    assert moved.environment.return_bounds(0.99) != run.environment.return_bounds(0.99)
    assert moved.config.learner["support"] == run.config.learner["support"]
    here, there = (averse.evaluate(run, 50, shift=shift, save=False) for shift in (None, {"bad_reward": -20.0}))
    assert there.calibrations[""].to_dict() != here.calibrations[""].to_dict()
    assert there.left_out == {"": 0.0}


# --------------------------------------------------------------------------------------------------------- the files


def test_worlds_are_kept_beside_each_other(run, risky):
    averse.evaluate(run, 20)
    averse.evaluate(run, 20, shift={"bad_probability": 0.5})
    before = files(run)
    evaluation = averse.evaluate(run, 10, shift={"good_reward": 2, "bad_probability": 1.0})
    after = files(run)
    ends = {"", "-bad_probability=0.5", "-bad_probability=1.0,good_reward=2.0"}
    names = {f"{what}{end}.{kind}" for end in ends for what, kind in (("episodes", "parquet"), ("evaluation", "json"))}
    assert {name for name in after if name.startswith("e")} == names
    assert before == {name: content for name, content in after.items() if name in before}
    last = json.loads(after["evaluation-bad_probability=1.0,good_reward=2.0.json"])
    assert last == json.loads(json.dumps(evaluation.to_dict()))
    assert last["shift"] == {"bad_probability": 1.0, "good_reward": 2.0}
    assert last["mean"]["value"] == pytest.approx(worth(1.0))
    assert json.loads(after["evaluation.json"])["shift"] == {}
    table = Episodes.read_parquet(run.path / "episodes-bad_probability=1.0,good_reward=2.0.parquet")
    assert len(table) == 20


def test_a_shifted_evaluation_is_not_lost_either(run, no_play):
    shift = {"bad_probability": 0.5}
    (run.path / "evaluation-bad_probability=0.5.json").write_text(json.dumps({"episodes_per_policy": 50}))
    (run.path / "evaluation.json").write_text(json.dumps({"episodes_per_policy": 3}))  # an older one says no shift
    before = files(run)
    with pytest.raises(
        AverseError, match=r"50 episodes per policy \(evaluation-bad_probability=0.5.json\), more than 4"
    ):
        averse.evaluate(run, 4, shift=shift)
    with pytest.raises(AverseError, match="3 episodes per policy"):
        averse.evaluate(run, 2)
    assert files(run) == before


def test_names_of_files_are_safe_short_and_different(run):
    config = run.config
    assert suffix(config, "corridor", {}) == ""
    assert suffix(config, "elsewhere", {}) == "-elsewhere"
    assert suffix(config, "budget:corridor", {}) == "-budget%3Acorridor"  # no file of Windows has a colon
    assert suffix(config, "elsewhere", {"b": 0.4, "a": True}) == "-elsewhere-a=true,b=0.4"
    hard = suffix(config, "corridor", {"way": "../a b,c=d\n\u00e9", "list": (1, 2.5)})
    assert hard == "-list=1%2C2.5,way=..%2Fa%20b%2Cc%3Dd%0A%C3%A9"
    long = [suffix(config, "corridor", {"text": "x" * 1000 + last}) for last in "ab"]
    assert long[0] != long[1]
    assert all(len(each) < LONGEST_SHIFT + 30 for each in long)
    with pytest.raises(AverseError, match="thing must be a number, a text, a truth"):
        suffix(config, "corridor", {"thing": object()})


# -------------------------------------------------------------------------------------------------------- what is told


def test_every_figure_says_the_shift(run, capsys):
    shift = {"bad_probability": 0.5, "good_reward": 1.25}
    words = "shifted world: bad_probability=0.5, good_reward=1.25"
    evaluation = averse.evaluate(run, 10, shift=shift, save=False)
    assert str(evaluation).splitlines()[0] == words
    assert words in repr(evaluation)
    assert evaluation.to_dict()["shift"] == shift
    assert "shifted" not in str(averse.evaluate(run, 10, save=False))
    command = ["evaluate", str(run.path), "--episodes", "10"]
    assert main([*command, "--shift", "good-reward=1.25", "bad_probability=.5"]) == 0
    assert capsys.readouterr().out.startswith(words)
    assert (run.path / "evaluation-bad_probability=0.5,good_reward=1.25.json").is_file()


def test_a_shift_that_changes_nothing_is_told_and_left_out(run, risky, caplog):
    evaluation = averse.evaluate(run, 10, shift={"bad_probability": 0.1, "good_reward": 1.5})
    assert caplog.messages == ["no shift: bad_probability=0.1, good_reward=1.5 is so without it; it is left out"]
    assert evaluation.basis.shift == {}
    assert (run.path / "evaluation.json").is_file()
    caplog.clear()
    evaluation = averse.evaluate(run, 10, shift={"bad_probability": 0.5, "safe_reward": 1})
    assert caplog.messages == ["no shift: safe_reward=1.0 is so without it; it is left out"]
    assert (run.path / "evaluation-bad_probability=0.5.json").is_file()


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        ({"bad_probabilty": 0.5}, "unknown parameter of corridor 'bad_probabilty'; did you mean bad_probability"),
        ({"bad_probability": 1.5}, r"bad_probability must be a number in \[0, 1\], not 1.5"),
        ({"bad_probability": "often"}, "bad_probability must be a number"),
        ({"length": 5}, "corridor cannot act in corridor with length=5: observation_size is 5, not 10"),
        ({3: 4}, "shift must be"),
        ("bad_probability=0.5", "shift must be"),
        (0.5, "shift must be"),
    ],
)
def test_what_is_no_shift_is_refused_before_anything_is_played(run, no_play, shift, words):
    before = files(run)
    with pytest.raises(AverseError, match=words) as error:
        averse.evaluate(run, 10, shift=shift)
    assert "\n" not in str(error.value)
    assert files(run) == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "--shift takes PARAMETER=VALUE ... such as human_rate=0.4, not ''"),
        (["0.5"], "--shift takes PARAMETER=VALUE ... such as human_rate=0.4, not '0.5'"),
        (["=0.5"], "not '=0.5'"),
        (["bad_probability=.5", "bad-probability=.4"], "--shift has bad_probability twice; give it once"),
        (["bad_probability=often"], "bad_probability must be a number in [0, 1], not 'often'"),
        (["bad_probability=nan"], "bad_probability must be a number in [0, 1], not nan"),
        (["bad_probability="], "bad_probability must be a number in [0, 1], not ''"),
    ],
)
def test_and_on_the_command_line(run, no_play, capsys, given, words):
    assert main(["evaluate", str(run.path), "--shift", *given]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert words in told


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("0.4", 0.4), (".5", 0.5), ("1e3", 1000.0), ("true", True), ("False", False), ("None", None),
        ("none", "none"), ("severe", "severe"), ("", ""), ("1,2.5", (1, 2.5)), ("-inf", -np.inf),
    ],
)  # fmt: skip
def test_what_a_text_means(text, value):
    assert literal(text) == value
    assert type(literal(text)) is type(value)


# ---------------------------------------------------------------------------------------------------- other worlds


def test_a_twin_is_shifted_in_the_simulator_by_what_both_know():
    config = averse.configure("intersection", "mappo", 1e4, human_rate=0.3)
    moved = config.moved_to("sumo-intersection", {"reckless_fraction": 0.4, "drivers": "sumo"})
    assert moved.environment == "sumo-intersection"
    assert moved.build_environment() == environments.make(
        "sumo-intersection", human_rate=0.3, reckless_fraction=0.4, drivers="sumo"
    )
    asked = {"human_rate": 0.3, "reckless_fraction": 0.4, "drivers": "agents"}
    assert shift_of(config, "sumo-intersection", asked) == {"reckless_fraction": 0.4}
    assert suffix(config, "sumo-intersection", {"human_rate": 0.4}) == "-sumo-intersection-human_rate=0.4"
    for parameters, words in (
        ({"num_agents": 8}, "with num_agents=8: num_agents is 8, not 4"),
        ({"control": "acceleration"}, "action_space is"),
        ({"num_neighbours": 3}, "observation_size is"),
        ({"max_humans": 3}, "global_state_size is"),
        ({"drivers": "nobody"}, "drivers"),
    ):
        with pytest.raises(AverseError, match=words):
            config.moved_to("sumo-intersection", parameters)


def of_length(bad_probability=0.1, **others):
    """A corridor, built by a function."""
    return Corridor(bad_probability=bad_probability, **others)


def test_what_a_function_builds_keeps_what_it_was_given(monkeypatch):
    monkeypatch.setattr(environments.registry._REGISTRY, "_registered", {"hallway": of_length})
    config = averse.configure("hallway", "mappo", 64, environment_parameters={"length": 4}, **TINY)
    moved = config.moved_to(None, {"bad_probability": 0.5})
    assert moved.build_environment() == Corridor(length=4, bad_probability=0.5)
    assert shift_of(config, "hallway", {"bad_probability": 0.1, "length": 4}) == {}
    with pytest.raises(AverseError, match="observation_size is 5, not 4"):
        config.moved_to(None, {"length": 5})


def test_what_nothing_can_build_again_is_not_shifted():
    class Mine(Corridor):
        """Defined where nothing finds it."""

    config = averse.configure(Mine(), "mappo", 64, **TINY)
    with pytest.raises(AverseError, match=r"register\(NAME, Mine\)") as error:
        config.moved_to(None, {"bad_probability": 0.5})
    assert "\n" not in str(error.value)


@pytest.mark.thorough
def test_long_runs_are_shifted_too(tmp_path, capsys):
    small = {"microgrids": 1, "wind_levels": 2, "load_levels": 2, "battery_levels": 2}
    out = tmp_path / "grid"
    averse.train("microgrids", "mv-ippo", steps=64, out=out, environment_parameters={**small, "horizon": 50}, **TINY)
    assert main(["evaluate", str(out), "--steps", "1e4", "--shift", "horizon=60", "--no-save"]) == 0
    assert capsys.readouterr().out.startswith("shifted world: horizon=60")
    evaluation = averse.evaluate(out, steps=1e4, shift={"horizon": 60})
    figures = json.loads((out / "evaluation-horizon=60.json").read_text())
    assert figures["shift"] == {"horizon": 60}
    assert figures["steps_per_policy"] == 10_000
    assert "shifted world: horizon=60" in repr(evaluation)
    assert pq.read_table(out / "long_run-horizon=60.parquet").num_rows == len(evaluation.batches[0].columns()["mean"])
    with pytest.raises(AverseError, match=r"cannot act in microgrids with battery_levels=3"):
        averse.evaluate(out, steps=1e4, shift={"battery_levels": 3})
