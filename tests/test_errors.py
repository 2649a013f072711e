"""What is told is one line that a terminal can show, whatever was given."""

import pickle

import pytest

from averse.cli import main
from averse.environments.corridor import Corridor
from averse.errors import AverseError, DivergenceError, NotConvergedError, WritingError, one_line, shown
from averse.risk import CVaR


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("a\nb", "a b"),
        ("not \r (see help)", "not (see help)"),
        ("a  \r\n  b", "a b"),
        ("a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i", "a b c d e f g h i"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),  # would colour and ring
        ("a\x00b\tc", r"a\x00b\tc"),
        ("of a file \udcff", r"of a file \udcff"),  # no UTF-8: could not be printed
        ("\u00e9 \U0001f697 [1, 2]", "\u00e9 \U0001f697 [1, 2]"),
        (3, "3"),
    ],
)
def test_one_line(given, told):
    assert one_line(given) == told
    assert one_line(told) == told
    assert len(told.splitlines()) == 1
    for kind in (AverseError, DivergenceError, NotConvergedError, WritingError):
        assert str(kind(given)) == told
        assert str(pickle.loads(pickle.dumps(kind(given)))) == told  # as from a process of workers


@pytest.mark.parametrize("given", ["x" * 3000, "x y " * 900, "x\n" * 3000])
def test_a_message_without_end_is_cut_in_its_midst(given):
    told = one_line(f"no run at {given}/end: it is too long")
    assert told.startswith("no run at x")
    assert "..." in told
    assert told.endswith("/end: it is too long")
    assert one_line(told) == told
    assert len(told) == 600
    assert one_line("x" * 600) == "x" * 600  # such as a name that is too long for a file system


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--checkpoint-minutes", "\r"],
        ["train", "--env", "\x1b[2J"],
        ["train", "--env", "\udcff"],
        ["evaluate", "a\u2028b"],
        ["evaluate", "\x85"],
        ["evaluate", "x" * 3000],
        ["drivers", "rush", "--env", "intersection", "--beside", "y" * 3000],
        ["equilibrium", "z" * 3000 + ".json", "--tau", "1", "--epsilon", "1"],
        ["train", "--fine-tune", "a\rb" * 1000],
    ],
)
def test_on_the_command_line(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.startswith("averse: ")
    assert len(told.splitlines()) == 1
    assert told[:-1].isprintable()
    assert len(told) < 700


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2], "[1, 2]"),
        ("a\nb", r"'a\nb'"),
        ("x" * 100, "'" + "x" * 76 + "..."),
        (Corridor, "the class Corridor"),
        (Corridor(), "a Corridor"),
        (CVaR(0.1), "a CVaR"),
        (len, "a builtin_function_or_method"),
        (object, "the class object"),
    ],
)
def test_what_was_given(value, words):
    assert shown(value) == words
