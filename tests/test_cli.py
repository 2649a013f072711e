"""The command line: help, lists, a whole train-evaluate round, and one clear line for bad input."""

import dataclasses
import errno
import json
import os
import re

import pytest
from tiers import first_quick

from averse.cli import COMMANDS, EXIT_CODES, main

SMALL = ("--num-envs", "4", "--rollout-steps", "16", "--minibatches", "1", "--epochs", "1", "--hidden", "8")
SMALL += ("--steps", "128", "--quiet")
METHODS = ("rqe-mappo", "mean-variance-mappo")  # every other one is trained in tests/learners


@pytest.mark.parametrize("method", first_quick(METHODS))
def test_train_and_evaluate(method, tmp_path, capsys):
    out = tmp_path / "run"
    assert (
        main(["train", "--env", "risky-cartpole", "--method", method, "--seeds", "2", "--out", str(out), *SMALL]) == 0
    )
    capsys.readouterr()
    assert main(["evaluate", str(out), "--episodes", "20", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    for name in ("mean", "std", "cvar_05"):
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]
    assert figures["collision_rate"] is None
    assert figures["episodes"] == 40
    assert figures["training_seeds"] == 2
    assert (figures["calibration"] is not None) == (method == "rqe-mappo")
    assert json.loads((out / "evaluation.json").read_text()) == figures
    assert (out / "episodes.parquet").exists()


def test_a_sweep_reports_every_setting(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "--env", "corridor", "--sweep", "tau=1,8", "--out", str(out), *SMALL]) == 0
    assert main(["evaluate", str(out), "--episodes", "10", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures["settings"]) == {"tau=1", "tau=8"}


def test_environment_parameters_are_flags(tmp_path):
    out = tmp_path / "run"
    command = ["train", "--env", "risky-cartpole", "--level", "low", "--corridor", "--horizon", "30"]
    assert main([*command, "--out", str(out), *SMALL]) == 0
    parameters = json.loads((out / "config.json").read_text())["environment_parameters"]
    assert parameters["level"] == "low"
    assert parameters["corridor"] is True
    assert parameters["horizon"] == 30


def test_list(capsys):
    assert main(["list", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    assert {"ppo", "rqe-mappo", "riskq", "mv-matrpo"} <= set(names["methods"])
    assert {"corridor", "risky-cartpole", "sumo-intersection"} <= set(names["environments"])
    assert {"cvar", "entropic"} <= set(names["measures"])
    assert all(words.strip() for kind in names.values() for words in kind.values())


@pytest.mark.parametrize("command", COMMANDS.names())
def test_help_explains_every_flag(command, capsys):
    """Each field of the command's arguments is a flag or an argument, with a sentence on what it is."""
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.partition("\n\n")[2].split())  # without the line of usage
    for field in dataclasses.fields(COMMANDS.find(command).arguments):
        if "Positional" in str(field.type):
            assert "positional arguments" in shown
            continue
        name = "in" if field.name == "trained_in" else field.name.replace("_", "-")
        told = re.findall(rf"--{name}(?: |, --no-{name} )(.*?)\(default", shown)
        assert any(len(words.split()) > 3 for words in told), name


def test_training_help_has_the_settings_of_environment_and_method(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--env", "corridor", "--method", "riskq", "--help"])
    shown = capsys.readouterr().out
    for flag in ("--length INT in [1, 10000]", "--gamma FLOAT in [0, 1]", "--num-atoms", "--eta", "--mixer"):
        assert flag in shown


def test_overview(capsys):
    assert main(["--help"]) == 0
    overview = " ".join(capsys.readouterr().out.split())
    assert all(f"{code} {words}" in overview for code, words in EXIT_CODES.items())
    assert all(command in overview for command in COMMANDS.names())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "did you mean train"),
        (["train", "--env", "risky-cartpol"], "did you mean risky-cartpole"),
        (["train", "--method", "rqe-mapo"], "did you mean rqe-mappo"),
        (["train", "--tau", "0"], "tau"),
        (["train", "--method", "c51-cvar-mappo", "--alpha", "2"], "alpha"),
        (["train", "--support", "1", "1"], "support"),
        (["train", "--level", "sever"], "severe"),
        (["train", "--sweep", "tau"], "--sweep takes"),
        (["train", "--stps", "3"], "did you mean --steps"),
        (["train", "--gamma", "1.5"], "gamma must be a number in [0, 1], not 1.5"),
        (["train", "--num-envs", "x"], "--num-envs"),
        (["train", "--seeds", "0"], "seeds must be a whole number >= 1"),
        (["train", "--env", "nowhere:Nothing"], "cannot be imported"),
        (["nowhere:COMMAND"], "cannot be imported"),
        (["averse.errors:AverseError"], "is no command"),
        (["train", "--resume", "nowhere"], "no such folder"),
        (["train", "--resume", "x" * 300], "no run at"),
        (["train", "--steps", "nan"], "steps must be a finite number > 0, not nan"),
        (["train", "--steps", "inf"], "steps must be a finite number > 0, not inf"),
        (["train", "--steps", "1e300"], "steps must be a finite number > 0 (of a size between"),
        (["train", "--steps", "1e20"], "and at most 2147483647 can be counted"),
        (["train", "--num-envs", "0"], "num_envs must be a whole number >= 1, not 0"),
        (["train", "--num-envs", "100000000"], "of memory, and this machine has"),
        (["train", "--num-envs", "10000000000000000000000"], "num_envs must be at most 2147483647"),
        (["train", "--epochs", "3000000000"], "epochs must be at most 2147483647"),
        (["train", "--rollout-steps", "0"], "rollout_steps must be a whole number >= 1, not 0"),
        (["train", "--hidden", "0"], "hidden must be a sequence, each of it a whole number >= 1"),
        (["train", "--hidden", "-3"], "hidden must be a sequence, each of it a whole number >= 1"),
        (["train", "--hidden", "8", "99999999999"], "hidden must be at most 2147483647"),
        (["train", "--num-atoms", "1000000"], "num_atoms must be a whole number in [2, 10000]"),
        (["train", "--max-gradient-norm", "0"], "max_gradient_norm must be a finite number > 0, not 0.0"),
        (["train", "--critic-weight", "-1"], "critic_weight must be a finite number >= 0, not -1.0"),
        (["train", "--tau", "1e-300"], "tau must be a number > 0 or nothing (of a size between 1e-30 and 1e+30)"),
        (["train", "--measure", "entropic:1e-300"], "the tau of the measure 'entropic:1e-300' must be a number"),
        (["train", "--sweep", "tau=1,1e-300"], "tau must be a number > 0"),
        (["train", "--sweep", "tau=1,nan"], "tau must be a number > 0"),
        (["train", "--learning-rate", "nan"], "learning_rate must be a finite number > 0, not nan"),
        (["train", "--value-scale", "inf"], "value_scale must be a finite number > 0, not inf"),
        (["train", "--epsilon", "1e300"], "epsilon must be a finite number >= 0 (of a size between"),
        (["train", "--support", "-1e300", "1"], "support must be 2 values"),
        (["train", "--sweep", "epsilon=.1,.1"], "a sweep over epsilon needs one or more different numbers"),
        (["train", "--env"], "--env"),
        (["train", "--steps", "64", "--method"], "--method"),
        (["train", "--resume"], "--resume"),
        (["train", "--sweep"], "--sweep takes SETTING=NUMBER"),
        (["train", "--sweep", ""], "--sweep takes SETTING=NUMBER"),
        (["train", "--sweep", "=1"], "--sweep takes SETTING=NUMBER"),
        (["train", "--sweep", "tau=1,2", "tau=3"], "--sweep has tau twice"),
        (["train", "--sweep", "tau=1,2", "--sweep", "epsilon=.1,.2"], "--sweep is given twice"),
        (["train", "--seed", "1", "--seed", "2"], "--seed is given twice"),
        (["train", "--hidden", "8", "--hidden=4"], "--hidden is given twice"),
        (["train", "--seed"], "seeds must be one or more different whole numbers"),
        (["train", "--seed", "-1"], "seed must be a sequence, each of it a whole number >= 0"),
        (["train", "--seed", "4294967296"], "(below 2^32)"),
        (["train", "--seed", "3", "--seeds", "2"], "give one of the two"),
        (["train", "--seeds", "100000000"], "seeds must be at most 100,000"),
        (["train", "--horizon", "1.5"], "--horizon"),
        (["train", "--checkpoint-minutes", "0"], "checkpoint_minutes must be a finite number > 0"),
        (["evaluate", "nowhere", "--workers", "0"], "workers must be a whole number >= 1"),
        (["evaluate", "nowhere"], "no such folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_has_an_exit_code_whatever_is_written(monkeypatch, capsys, number):
    def full(*_):
        raise OSError(number, os.strerror(number), "table.md")

    monkeypatch.setattr("averse.listing.COMMAND", COMMANDS.find("list")._replace(run=full))
    assert main(["list"]) == 74
    assert capsys.readouterr().err == f"averse: table.md could not be written: {os.strerror(number)}\n"


def test_an_equilibrium_fits_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    main(["equilibrium", "selten-chmura-1", "--tau", "1", "--epsilon", "1"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize(
    "command",
    [
        ["demo", "--in=" + "x" * 3000],
        ["train", "--" + "x" * 3000],
        ["list", "x" * 3000],
        ["train", "--env", "x" * 3000],
    ],
)
def test_a_long_text_is_not_told_whole(command, capsys):
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert len(told) < 700


@pytest.mark.parametrize(
    ("command", "interrupted", "words"),
    [
        (["compare"], "experiments.compare.carried_out", "; the same command goes on; what is done is not done again"),
        (
            ["tradeoff"],
            "experiments.tradeoff.carried_out",
            "; the same command goes on; what is done is not done again",
        ),
        (["microgrids"], "experiments.microgrids.command.Console", "; the same command goes on; what is done is not"),
        (["train"], "training.configure", ""),
        (["record", "run"], "experiments.record.load", ""),
    ],
)
def test_who_interrupts_is_told_how_it_goes_on(command, interrupted, words, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"averse.{interrupted}", stop)
    assert main(command) == 130
    error = capsys.readouterr().err
    assert error.startswith(f"averse: interrupted{words}")
    assert words or error == "averse: interrupted\n"
