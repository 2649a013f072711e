"""The examples, as strangers run them: by `module:Attribute` from the command line, resumed, as installed packages."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stirred import stirred
from tiers import first_quick

import averse
from averse.cli import main
from averse.export import export_policy
from averse.training.compiled import CompiledGroup

EXAMPLES = Path(__file__).parents[1] / "examples"
OWN = {"own_environment", "own_measure", "own_method", "own_experiment"}
SMALL = ("--num-envs", "4", "--rollout-steps", "16", "--minibatches", "1", "--epochs", "1", "--hidden", "8", "--quiet")
TRAININGS = {
    "environment": ("--env", "own_environment:Ferry", "--method", "rqe-mappo", "--tau", "3", "--gust", "0.3"),
    "measure": (
        "--env", "corridor", "--method", "c51-cvar-mappo", "--measure", "own_measure:Semideviation:0.9",
    ),
    "method": ("--env", "corridor", "--method", "own_method:METHOD", "--kl-penalty", "3"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def among_the_examples(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_each_example_is_short():
    files = list(EXAMPLES.glob("*.py"))
    assert {file.stem for file in files} == OWN | {"serve_policy"}
    assert all(len(file.read_text().splitlines()) < 80 for file in files)


@pytest.mark.parametrize("what", first_quick(list(TRAININGS)))
def test_trained_stopped_resumed_and_evaluated_from_the_command_line(what, tmp_path, capsys, monkeypatch):
    """Stopped half way, as from the keyboard, and resumed by a fresh configuration that knows the file alone."""
    out = tmp_path / "run"
    advance, calls = CompiledGroup.advance, []

    def interrupted(group, count):
        calls.append(count)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return advance(group, count)

    monkeypatch.setattr(CompiledGroup, "advance", interrupted)
    training = [
        "train",
        *TRAININGS[what],
        *SMALL,
        "--steps",
        "256",
        "--checkpoints",
        "4",
        "--track",
        "csv",
        "--out",
        str(out),
    ]
    assert main(training) == 130
    monkeypatch.setattr(CompiledGroup, "advance", advance)
    assert averse.load(out).updates == (2,)
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert len((out / "metrics.csv").read_text().splitlines()) == len(lines) + 1 == 3
    assert main(["train", "--resume", str(out), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(out), "--episodes", "20", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["episodes"] == 20
    assert main(["export", str(out)]) == 0
    assert f"wrote {out / 'export' / 'policy.npz'}" in capsys.readouterr().out
    config = json.loads((out / "config.json").read_text())
    assert any(":" in str(value) and "own_" in str(value) for value in (*config.values(), config["learner"]["measure"]))


@pytest.mark.thorough
def test_an_experiment_is_a_command_and_goes_on_where_it_was_left(tmp_path, capsys):
    command = [
        "own_experiment:COMMAND",
        "--tau",
        "1",
        "8",
        "--steps",
        "8192",
        "--seeds",
        "1",
        "--episodes",
        "20",
        "--out",
    ]
    assert main([*command, str(tmp_path)]) == 0
    assert "tau=8" in (tmp_path / "table.md").read_text()
    rows = len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert main([*command, str(tmp_path)]) == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == rows
    capsys.readouterr()
    assert main(["own_experiment:COMMAND", "--out", str(tmp_path), "--tau", "0"]) == 2
    assert "tau must be a sequence, each of it a finite number > 0" in capsys.readouterr().err


def test_an_exported_policy_serves_without_averse(tmp_path):
    """Exported here, and served by a process that could not import averse if it tried."""
    file = export_policy(stirred("cliff-walk", "rqe-mappo", recurrent=True, hidden=(8,)), tmp_path / "p.npz").files[0]
    code = f"import sys, runpy; sys.modules['averse'] = sys.modules['jax'] = None; sys.argv = {['x', str(file)]!r}"
    code += f" + ['--seconds', '0.5']; runpy.run_path({str(EXAMPLES / 'serve_policy.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"5 answers at 10 Hz; latency: median \d+ us, 99 % \d+ us, largest \d+ us\n", done.stdout)


PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "averse-ferry"
version = "1.0"

[project.entry-points."averse.environments"]
ferry = "own_environment:Ferry"

[project.entry-points."averse.methods"]
kl-ppo = "own_method:METHOD"

[project.entry-points."averse.measures"]
semideviation = "own_measure:Semideviation"

[project.entry-points."averse.commands"]
price = "own_experiment:COMMAND"

[tool.setuptools]
py-modules = ["own_environment", "own_measure", "own_method", "own_experiment"]
"""


@pytest.mark.thorough
def test_an_installed_package_offers_its_own(tmp_path):
    """Built and installed by pip into a folder of its own; then listed, explained and trained like what is built in."""
    source, target = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    for file in EXAMPLES.glob("*.py"):
        shutil.copy(file, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", target, source], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")])}

    def averse_says(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "averse.cli", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    names = json.loads(averse_says("list", "--json"))
    assert names["environments"]["ferry"].startswith("A ferryman")
    assert "kl-ppo" in names["methods"]
    assert "semideviation" in names["measures"]
    assert "What caution costs" in averse_says("--help")
    averse_says("train", "--env", "ferry", "--method", "kl-ppo", *SMALL, "--steps", "64", "--out", "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["environment"] == "ferry"
