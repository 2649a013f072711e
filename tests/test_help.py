"""What the command line says before it works: help, lists, unknown flags, and all of it within 80 columns."""

import contextlib
import json
import re
import subprocess
import sys

import pytest
from rich.console import Console

from averse import AverseError, environments, learners
from averse.cli import COMMANDS, main
from averse.commands import Command, flags, folded, hanging
from averse.listing import BUDGETED, DISCRETE, ENDLESS, EVERYWHERE, SEVERAL, facts_of, fits_where
from averse.progress import progress_bar, progress_text

WIDTH = 80


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def said(capsys, *arguments: str) -> str:
    with contextlib.suppress(SystemExit):
        main(list(arguments))
    return capsys.readouterr().out


def too_long(text: str) -> list[str]:
    return [line for line in text.splitlines() if len(line) > WIDTH]


class TestWidth:
    @pytest.mark.parametrize("command", COMMANDS.names())
    def test_help(self, command, capsys):
        text = said(capsys, command, "--help")
        assert len(text.splitlines()) > 4
        assert too_long(text) == []

    @pytest.mark.parametrize(
        "chosen", [("--env", "intersection", "--method", "riskq"), ("--env", "microgrids", "--method", "mv-matrpo")]
    )
    def test_help_with_settings_of_ones_own(self, chosen, capsys):
        assert too_long(said(capsys, "train", *chosen, "--help")) == []

    @pytest.mark.parametrize("arguments", [("list",), ("--help",), ()])
    def test_overviews(self, arguments, capsys):
        assert too_long(said(capsys, *arguments)) == []

    def test_tables_and_the_summary(self, capsys, tmp_path):
        out = str(tmp_path / "run")
        small = ["--num-envs", "4", "--rollout-steps", "16", "--minibatches", "1", "--epochs", "1", "--hidden", "8"]
        assert main(["train", "--env", "corridor", "--steps", "64", "--out", out, *small]) == 0
        assert main(["evaluate", out, "--episodes", "20"]) == 0
        text = capsys.readouterr().out.replace(out, "")
        assert "worst-5%" in text
        assert "critic calibration" in text
        assert too_long(text) == []

    def test_the_bar_with_its_figures(self):
        figures = progress_text(123456.0, [{"return": -1234.567, "cvar_05": -2345.678}])
        for width, lines in ((80, 1), (120, 1)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("COLUMNS", str(width))
                bar = progress_bar(disable=False)
            bar.add_task("rqe-mappo", total=10, completed=5, figures=figures)
            console = Console(width=width, force_terminal=False, color_system=None)
            with console.capture() as capture:
                console.print(bar.make_tasks_table(bar.tasks))
            assert len(capture.get().splitlines()) == lines, width
            assert figures in capture.get()


def test_lines_are_folded_at_spaces_only():
    assert folded("a b " * 4 + "c" * 12, 12) == f"a b a b a b\na b\n{'c' * 12}"
    assert folded("usage: x [--one] [--two]", 12) == "usage: x\n  [--one]\n  [--two]"
    box = "╭" + "─" * 20 + "╮"
    assert folded(box, 12) == box
    assert hanging("  name  ", "some words, and some-more", 28) == "  name  some words, and\n        some-more"


def test_a_script_for_the_shell_is_not_folded(capsys):
    text = said(capsys, "list", "--tyro-print-completion", "bash")
    assert too_long(text)
    assert "--json" in text


class TestList:
    def test_it_says_which_method_fits_which_environment(self, capsys):
        text = said(capsys, "list")
        headings = [f"methods that learn {where}:" for where in (EVERYWHERE, DISCRETE, ENDLESS)]
        places = [text.index(heading) for heading in headings]
        assert places == sorted(places)
        everywhere, discrete, endless = (text[a:b] for a, b in zip(places, [*places[1:], text.index("measures:")]))
        assert re.search(r"^  rqe-mappo ", everywhere, re.MULTILINE)
        assert re.search(r"^  qr-dqn ", discrete, re.MULTILINE)
        assert re.search(r"^  mv-ippo ", endless, re.MULTILINE)
        assert re.search(
            r"^  microgrids .*?\(3 agents,\s+30\s+actions,\s+never\s+ends\)", text, re.MULTILINE | re.DOTALL
        )

    def test_each_name_has_a_sentence(self, capsys):
        names = json.loads(said(capsys, "list", "--json"))
        assert set(names) == {"environments", "methods", "measures", "environment_facts", "methods_learn"}
        for kind in ("environments", "methods", "measures"):
            for name, words in names[kind].items():
                assert words[0].isupper() or kind == "measures", name
                assert words.endswith("."), name
                assert len(words.split()) > 1, name

    def test_what_is_said_is_true(self):
        """Every pair of a method and an environment, as the built-in environments are."""
        for name in [*environments.names(), "budget:cliff-walk"]:
            environment = environments.make(name)
            for method in learners.names():
                suggested = environments.suggested_settings(environment, method)
                try:
                    learners.learner(method, environment, **suggested)
                    fits = True
                except AverseError:
                    fits = False
                where = fits_where(method)
                endless, budget = "never ends" in facts_of(name), name.startswith("budget:")
                expected = {BUDGETED: budget, SEVERAL: environment.num_agents > 1, ENDLESS: endless}.get(where, True)
                assert fits == expected, (name, method)

    @pytest.mark.parametrize(
        ("method", "where"),
        [
            ("ppo", EVERYWHERE),
            ("vdn", DISCRETE),
            ("riskq", DISCRETE),
            ("matrpo", ENDLESS),
            ("static-cvar-mappo", BUDGETED),
            ("srpo-mappo", SEVERAL),
        ],
    )
    def test_where_a_method_learns(self, method, where):
        assert fits_where(method) == where

    def test_one_of_ones_own(self, monkeypatch):
        from averse.environments import registry

        monkeypatch.setattr(registry._REGISTRY, "_registered", {"needy": lambda size: None})
        assert facts_of("needy") == ""


class TestUnknownFlags:
    @pytest.mark.parametrize("command", COMMANDS.names())
    def test_the_nearest_flag_of_every_verb(self, command, capsys, tmp_path, monkeypatch):
        """Every flag, with a letter too many in its midst."""
        monkeypatch.chdir(tmp_path)
        found = COMMANDS.find(command)
        assert isinstance(found, Command)
        known = [flag for flag in flags(found.arguments) if not flag.startswith("--no-")]
        assert known
        for flag in known[:: max(1, len(known) // 4)]:
            wrong = f"{flag[:4]}x{flag[4:]}"
            runs = {"evaluate": 1, "export": 1, "risk": 1, "record": 1, "interpolate": 2, "crossplay": 1}
            given = ["runs/x"] * runs.get(command, 0)
            assert main([command, *given, wrong, "3"]) == 2
            error = capsys.readouterr().err
            assert error == f"averse: unknown flag {wrong}; did you mean {flag}? (see averse {command} --help)\n"
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["list", "--jsn"], "unknown flag --jsn; did you mean --json? (see averse list --help)"),
            (["list", "--xyzzy"], "unknown flag --xyzzy (see averse list --help)"),
            (["list", "environments"], "unexpected argument 'environments' (see averse list --help)"),
            (["drivers", "--environment", "x"], "unknown flag --environment; did you mean --env?"),
            (["demo", "--episode=3"], "unknown flag --episode; did you mean --episodes?"),
            (["train", "--learnin_rate", "3"], "unknown flag --learnin_rate; did you mean --learning-rate?"),
            (["train", "--env", "corridor", "--lenght", "3"], "unknown flag --lenght; did you mean --length?"),
            (["train", "--method", "riskq", "--mixr", "x"], "unknown flag --mixr; did you mean --mixer?"),
            (["train", "--level"], "--level needs a value: one of none, low, medium, high, severe"),
            (["train", "--horizon", "1.5"], "--horizon must be a whole number in [1, 1e+09], not 1.5"),
            (["train", "--hidden", "8", "x"], "--hidden must be a sequence, each of it a whole number >= 1, not 8 x"),
            (["evaluate", "runs/x", "--episodes=ten"], "--episodes must be a whole number >= 1 or nothing, not ten"),
            (["--hlp"], "unknown flag '--hlp'; did you mean --help?"),
            (["--versoin"], "unknown flag '--versoin'; did you mean --version?"),
        ],
    )
    def test_the_line(self, arguments, words, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"averse: {words}")
        assert error.count("\n") == 1


@pytest.mark.thorough
def test_nothing_is_said_on_stderr_by_ordinary_work(tmp_path):
    """No warnings of absl, orbax or JAX: train, resume what is finished, evaluate, in processes as users start them."""
    small = ["--num-envs", "4", "--rollout-steps", "16", "--minibatches", "1", "--epochs", "1", "--hidden", "8"]
    commands = [
        ["train", "--env", "corridor", "--method", "ppo", "--steps", "64", "--out", "run", "--quiet", *small],
        ["train", "--resume", "run", "--quiet"],
        ["evaluate", "run", "--episodes", "20", "--json"],
    ]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "averse.cli", *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, ""), command
