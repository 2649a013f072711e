"""Games from files, and the command `averse equilibrium`."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from averse.cli import main
from averse.errors import AverseError
from averse.experiments import equilibrium
from averse.experiments.equilibrium import EquilibriumArguments, run
from averse.games import NormalForm, Settings, from_gambit, from_openspiel, read_game, to_nfg
from averse.games.equilibrium import as_equilibrium
from averse.report import games as drawing


def test_json_round_trip(tmp_path):
    path = tmp_path / "game.json"
    path.write_text(json.dumps({"payoffs": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], "actions": [["a", "b"], ["c", "d"]]}))
    game = read_game(path)
    assert game.name == "game"
    assert game.actions == (("a", "b"), ("c", "d"))
    np.testing.assert_array_equal(game.arrays()[1], [[5, 6], [7, 8]])


def test_gambit_round_trip():
    pytest.importorskip("pygambit")
    game = NormalForm.random(0, (2, 3, 2))
    again = from_gambit(to_nfg(game))
    for ours, theirs in zip(game.arrays(), again.arrays()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-15)


def test_extensive_form():
    pytest.importorskip("pygambit")
    text = 'EFG 2 R "entry" { "entrant" "incumbent" }\n""\n\np "" 1 1 "" { "in" "out" } 0\n'
    text += 'p "" 2 1 "" { "fight" "yield" } 0\nt "" 1 "" { -1, -1 }\nt "" 2 "" { 2, 1 }\nt "" 3 "" { 0, 3 }\n'
    game = from_gambit(text, "efg")
    np.testing.assert_array_equal(game.arrays()[0], [[-1, 2], [0, 0]])
    assert game.players == ("entrant", "incumbent")


BAD_FILES = [
    ("game.txt", "x", "ends in .json, .nfg, .efg"),
    ("game.json", "{", "is not JSON"),
    ("game.json", "[1]", "must hold"),
    ("game.json", '{"payoffs": [[[1]], [[1]]], "pay": 1}', "unknown keys"),
    ("game.json", '{"payoffs": [[[1, 2], [3]], [[1]]]}', "ragged"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD_FILES)
def test_bad_files(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(AverseError, match=words) as caught:
        read_game(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_bad_gambit_text(tmp_path):
    pytest.importorskip("pygambit")
    with pytest.raises(AverseError, match="cannot read"):
        from_gambit("NFG nonsense")


class Prisoners:
    """The interface of OpenSpiel 2.0's matrix games, as `from_openspiel` uses it."""

    names = ("cooperate", "defect", "wait")
    payoffs = np.array([[5.0, 0, 1], [10, 1, 2]])

    def num_rows(self):
        return 2

    def num_cols(self):
        return 3

    def row_utility(self, row, column):
        return self.payoffs[row, column]

    def col_utility(self, row, column):
        return -self.payoffs[row, column]

    def row_action_name(self, row):
        return self.names[row]

    def col_action_name(self, column):
        return self.names[column]


def test_openspiel_matrix_games(monkeypatch):
    def load(name):
        if name != "matrix_pd":
            raise RuntimeError(f"Unknown game '{name}'. Available games are:\n2048\nadd_noise")
        return Prisoners()

    monkeypatch.setitem(sys.modules, "pyspiel", SimpleNamespace(load_matrix_game=load))
    game = from_openspiel("matrix_pd")
    assert game.name == "matrix_pd"
    assert game.actions == (("cooperate", "defect"), ("cooperate", "defect", "wait"))
    np.testing.assert_array_equal(game.arrays()[0], Prisoners.payoffs)
    np.testing.assert_array_equal(game.arrays()[1], -Prisoners.payoffs)
    with pytest.raises(AverseError, match="no matrix game 'matrix_dp': Unknown game") as caught:
        from_openspiel("matrix_dp")
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(AverseError, match=r"import pyspiel failed: .*; pip install .*'open_spiel'$"):
        from_openspiel("matrix_pd")


def test_command_prints_strategies_residual_and_margin(capsys):
    run(EquilibriumArguments("selten-chmura-2", tau="12.5,0.5", epsilon="0.68,10"))
    text = capsys.readouterr().out
    assert "Up 0.214234" in text
    assert "Left 0.524509" in text
    assert "residual" in text
    assert "margin 0.55" in text
    run(EquilibriumArguments("SC2", json=True))
    answer = json.loads(capsys.readouterr().out)
    assert answer["equilibria"][0]["strategies"]["row"]["Up"] == pytest.approx(0.214234, abs=1e-6)
    assert answer["tractability"]["margin"] == pytest.approx(0.55)


def test_command_lists_every_equilibrium_of_a_file(tmp_path, capsys):
    path = tmp_path / "chicken.json"
    path.write_text(json.dumps({"payoffs": [[[0.6, 0.6], [1, 0]], [[0.6, 1], [0.6, 0]]]}))
    run(EquilibriumArguments(str(path), tau="2", epsilon="0.2", regulariser="entropy", all=True, json=True))
    assert len(json.loads(capsys.readouterr().out)["equilibria"]) == 3


@pytest.mark.thorough
def test_command_draws(tmp_path, capsys, monkeypatch):
    out = tmp_path / "map.png"
    run(EquilibriumArguments("selten-chmura-2", map=True, out=out, json=True))
    assert json.loads(capsys.readouterr().out)["unsolved"] == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    out = tmp_path / "people.svg"
    run(EquilibriumArguments(people=True, out=out))
    text = capsys.readouterr().out
    assert "selten-chmura-12" in text
    assert "RMSE" in text
    assert "<svg" in out.read_text()
    monkeypatch.chdir(tmp_path)
    run(EquilibriumArguments("SC2", method="no-regret", regret=True))
    assert "Up 0.214234" in (text := capsys.readouterr().out)
    assert text.endswith("equilibrium-regret.png\n")
    assert (tmp_path / "equilibrium-regret.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "published games"),
        ({"game": "selten-chmura-13"}, "did you mean selten-chmura"),
        ({"game": "selten-chmura-2", "tau": "a,b"}, "--tau takes numbers"),
        ({"game": "selten-chmura-2", "tau": "0,1"}, "above 0"),
        ({"game": "selten-chmura-2", "tau": "1,2,3"}, r"one per player \(2\), not 3"),
        ({"game": "nowhere.json"}, "no such file"),
        ({"game": "SC2", "map": True, "all": True}, "--all and --map are different things"),
        ({"game": "SC2", "people": True}, "leave out SC2"),
        ({"game": "SC2", "map": True, "method": "no-regret"}, "--map does not learn"),
        ({"game": "SC2", "method": "no-regret", "form": "action-dependent"}, 'the form "aggregate"'),
        ({"game": "SC2", "regret": True}, "--regret is about --method no-regret"),
        ({"game": "SC2", "out": Path("map.png")}, "--out is for the figure"),
        ({"game": "SC2", "map": True, "tau": "1"}, "--map takes no --tau"),
        ({"game": "SC2", "map": True, "out": Path("map.jpg")}, "must end in .png, .svg or .pdf, not 'map.jpg'"),
        ({"people": True, "out": Path("people")}, "must end in .png"),
        ({"game": "SC2", "penalty": "lk"}, "unknown penalty"),
        ({"game": "SC2", "json": 1}, "json must be true or false"),
    ],
)
def test_bad_commands(arguments, words, monkeypatch):
    for work in ("rqe", "all_equilibria", "draw_map", "compare_with_people"):
        monkeypatch.setattr(equilibrium, work, lambda *_, work=work: pytest.fail(f"{work} ran before the checks"))
    with pytest.raises(AverseError, match=words) as caught:
        run(EquilibriumArguments(**arguments))
    assert "\n" not in str(caught.value)


NFG = 'NFG 1 R "A title" { "Ann" "Bob" } { { "U" "D" } { "L" "R" } }\n\n1 2 3 4 5 6 7 8\n'
EFG = 'EFG 2 R "entry" { "entrant" "incumbent" }\n""\n\np "" 1 1 "" { "in" "out" } 0\n'
EFG += 'p "" 2 1 "" { "fight" "yield" } 0\np "" 1 2 "" { "stay" "leave" } 0\nt "" 1 "" { -1, -1 }\nt "" 4 "" { 0, 2 }\n'
EFG += 't "" 2 "" { 2, 1 }\nt "" 3 "" { 0, 3 }\n'


class Gambit:
    """The part of pygambit 17 that `from_gambit` uses, where it is not installed."""

    title, players = "A title", ("Ann", "Bob")

    def get_strategies(self, player):
        return {"Ann": ["U", "D"], "Bob": ["L", "R"]}[player]

    def to_arrays(self, dtype):
        return [np.array([[1, 5], [3, 7]], dtype), np.array([[2, 6], [4, 8]], dtype)]


def test_labels_and_titles_are_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygambit", SimpleNamespace(read_nfg=lambda _: Gambit(), read_efg=None))
    check_labels(tmp_path)


def test_labels_and_titles_are_kept_by_gambit(tmp_path):
    pytest.importorskip("pygambit")
    check_labels(tmp_path)
    entry = from_gambit(EFG, "efg")
    assert entry.name == "entry"
    assert entry.players == ("entrant", "incumbent")
    assert entry.actions == (("in, stay", "in, leave", "out"), ("fight", "yield"))
    untitled = tmp_path / "untitled.nfg"
    untitled.write_text('NFG 1 R "" { "a" "b" } { 2 2 } 1 2 3 4 5 6 7 8')
    assert read_game(untitled).name == "untitled"
    assert read_game(untitled).actions == (("1", "2"), ("1", "2"))
    game = NormalForm(NormalForm.random(0, (2, 3)).payoffs, 'a "title"', ("A", "é"), (("U", "D"), ("x y", '"', "z")))
    again = from_gambit(to_nfg(game))
    assert (again.name, again.players, again.actions) == (game.name, game.players, game.actions)


def check_labels(tmp_path):
    for name, start in (("plain.nfg", b""), ("marked.NFG", b"\xef\xbb\xbf")):
        (tmp_path / name).write_bytes(start + NFG.encode())
        game = read_game(tmp_path / name)
        assert game.name == "A title"
        assert game.players == ("Ann", "Bob")
        assert game.actions == (("U", "D"), ("L", "R"))
        np.testing.assert_array_equal(game.arrays()[0], [[1, 5], [3, 7]])
    assert from_gambit(NFG, name="another").name == "another"


def test_nfg_text_has_the_labels():
    game = NormalForm([[[1, 2]], [[3, 4]]], "t", ("Ann", "Bob"), (("U",), ("L", "R")))
    assert '{ { "U" }\n  { "L" "R" } }' in to_nfg(game)


JSON = {"payoffs": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}
BAD_CONTENTS = [
    ("latin.nfg", NFG.replace("Ann", "Ñandú").encode("latin-1"), "is not UTF-8 text"),
    ("latin.json", '{"name": "é"}'.encode("latin-1"), "is not UTF-8 text"),
    ("wide.nfg", NFG.encode("utf-16"), "is not UTF-8 text"),
    ("binary.nfg", bytes(range(256)), "is not UTF-8 text"),
    ("binary.efg", b"EFG\0\1\2", "null characters"),
    ("picture.json", b"\x89PNG\r\n\x1a\n", "is not UTF-8 text"),
    ("empty.nfg", b"", "is empty"),
    ("empty.efg", b"\xef\xbb\xbf \n", "is empty"),
    ("empty.json", b"", "is empty"),
    ("deep.json", b"[" * 100_000, "is not JSON"),
    ("long.json", b'{"payoffs": [' + b"1" * 5000 + b"]}", "is not JSON"),
    *(
        (f"shape-{k}.json", json.dumps(content).encode(), words)
        for k, (content, words) in enumerate(
            [
                (None, "must hold"),
                ("payoffs", "must hold"),
                ({}, "must hold"),
                ({"payoffs": None}, "must hold"),
                ({"payoffs": {"a": 1}}, "must hold"),
                ({"payoffs": []}, "at least two players"),
                ({"payoffs": [1, 2]}, "2 axes"),
                ({"payoffs": [[[1, 2], [3, 4]], None]}, "payoffs of player 2"),
                ({"payoffs": [[[1, "2"]], [[1, 2]]]}, "payoffs of player 1"),
                ({"payoffs": [[[True, False]], [[1, 2]]]}, "payoffs of player 1"),
                ({"payoffs": [[[float("nan"), 2]], [[1, 2]]]}, "payoffs of player 1 must be finite"),
                ({"payoffs": [[[1, 2]], [[1, float("-inf")]]]}, "payoffs of player 2 must be finite"),
                ({"payoffs": [[[1, 10**400]], [[1, 2]]]}, "payoffs of player 1 must be at most 1.8e308"),
                ({"payoffs": [[], []]}, "2 axes"),
                (JSON | {"players": None}, "players must be"),
                (JSON | {"players": "ab"}, "players must be"),
                (JSON | {"players": ["a", 1]}, "players must be"),
                (JSON | {"players": ["a"]}, "2 player names"),
                (JSON | {"actions": None}, "actions must be"),
                (JSON | {"actions": {"a": 1}}, "actions must be"),
                (JSON | {"actions": [["a", "b"], None]}, "actions of player 2 must be"),
                (JSON | {"actions": ["ab", "cd"]}, "actions of player 1 must be"),
                (JSON | {"name": None}, "name must be"),
                (JSON | {"name": 3}, "name must be"),
            ]
        )
    ),
]


@pytest.mark.parametrize(("name", "content", "words"), BAD_CONTENTS, ids=[name for name, _, _ in BAD_CONTENTS])
def test_files_that_are_no_games(tmp_path, monkeypatch, capsys, name, content, words):
    monkeypatch.setitem(sys.modules, "pygambit", SimpleNamespace(read_nfg=None, read_efg=None))
    path = tmp_path / name
    path.write_bytes(content)
    assert main(["equilibrium", str(path), "--tau", "1", "--epsilon", "1"]) == 2
    out, told = capsys.readouterr()
    assert out == ""
    assert told.count("\n") == 1
    assert words in told
    assert str(path) in told


@pytest.mark.parametrize("name", ["folder.nfg", "file.json/game.json", "a" * 300 + ".nfg", "null\0.json"])
def test_places_that_are_no_files(tmp_path, name):
    (tmp_path / "folder.nfg").mkdir()
    (tmp_path / "file.json").write_text(json.dumps(JSON))
    with pytest.raises(AverseError) as caught:
        read_game(f"{tmp_path}/{name}")
    assert "\n" not in str(caught.value)


def test_a_marked_json_is_read(tmp_path):
    path = tmp_path / "marked.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(JSON | {"name": "marked as UTF-8"}).encode())
    assert read_game(path).name == "marked as UTF-8"


def test_json_never_merges_equal_labels(tmp_path, capsys):
    path = tmp_path / "same.json"
    labels = {"players": ["a", "a"], "actions": [["x", "x"], ["y", "y (2)"]]}
    path.write_text(json.dumps({"payoffs": [[[3, 0], [1, 2]], [[1, 0], [0, 3]]]} | labels))
    assert main(["equilibrium", str(path), "--tau", "inf", "--epsilon", "1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    strategies = answer["equilibria"][0]["strategies"]
    assert list(strategies) == ["a", "a (2)"]
    assert [list(x) for x in strategies.values()] == [["x", "x (2)"], ["y", "y (2)"]]
    for x in strategies.values():
        assert sum(x.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("labels", "keys"),
    [
        (["a", "a", "a"], ["a", "a (2)", "a (3)"]),
        (["a", "a", "a (2)"], ["a", "a (3)", "a (2)"]),
        (["a (2)", "a", "a"], ["a (2)", "a", "a (3)"]),
        (["", "", "b"], ["", " (2)", "b"]),
    ],
)
def test_keys_are_distinct(labels, keys):
    assert equilibrium._distinct(labels) == keys


def solved_badly(game, *settings):
    """A profile that is no equilibrium, as a solver would return it."""
    return as_equilibrium(game, Settings(*settings[:5]), [[0.9, 0.1], [0.9, 0.1]], "direct")


@pytest.mark.parametrize("flags", [[], ["--json"], ["--all"], ["--all", "--json"]])
def test_what_did_not_converge_is_printed_and_has_exit_code_1(flags, capsys, monkeypatch):
    monkeypatch.setattr(equilibrium, "rqe", solved_badly)
    monkeypatch.setattr(equilibrium, "all_equilibria", lambda *settings: [solved_badly(*settings)] * 2)
    assert main(["equilibrium", "SC2", *flags]) == 1
    out, told = capsys.readouterr()
    assert told.startswith("averse: NOT CONVERGED: ")
    assert told.count("\n") == 1
    if "--json" in flags:
        assert not json.loads(out)["equilibria"][-1]["converged"]
    else:
        assert "Up 0.900000" in out
        assert "NOT CONVERGED" in out


def test_a_map_with_holes_has_exit_code_1(tmp_path, capsys, monkeypatch):
    out = tmp_path / "map.png"
    solved = SimpleNamespace(converged=np.array([True, False]), residual=np.array([1e-16, 0.5]))
    monkeypatch.setattr(equilibrium, "draw_map", lambda *_: solved)
    assert main(["equilibrium", "SC2", "--map", "--out", str(out)]) == 1
    shown, told = capsys.readouterr()
    assert "2 equilibria, largest residual 5.0e-01, 1 unsolved" in shown
    assert "NOT CONVERGED: 1 of the 2" in told


def test_the_exit_code_is_documented(capsys):
    with pytest.raises(SystemExit):
        main(["equilibrium", "--help"])
    assert "exit code is 1" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("place", ["a.xyz", "file/a.png", "folder.png", "a" * 300 + ".png", "/proc/nowhere/a.pdf"])
@pytest.mark.parametrize("figure", [["SC2", "--map"], ["--people"], ["SC2", "--regret", "--method", "no-regret"]])
def test_figures_that_cannot_be_written(tmp_path, capsys, monkeypatch, place, figure):
    for module, work in ((equilibrium, "rqe"), (drawing, "rqe"), (equilibrium, "compare_with_people")):
        monkeypatch.setattr(module, work, lambda *_, **__: pytest.fail("solved before the checks"))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["equilibrium", *figure, "--out", place]) == 2
    out, told = capsys.readouterr()
    assert out == ""
    assert told.count("\n") == 1
    assert "figure" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tau", "nan"], "tau, the risk tolerance, must be above 0"),
        (["--tau", ""], "--tau takes numbers"),
        (["--tau", "1,,2"], "--tau takes numbers"),
        (["--epsilon", "inf"], "epsilon must be above 0 and finite"),
        (["--epsilon", "nan,1"], "epsilon must be above 0"),
        (["--epsilon", "1e-320"], "epsilon must be at least"),
        (["--tau", "1e-320"], "tau must be at least"),
        (["--tau", "1,2,3"], "one per player (2), not 3"),
    ],
)
def test_settings_out_of_range(flags, words, capsys):
    assert main(["equilibrium", "SC2", *flags]) == 2
    out, told = capsys.readouterr()
    assert out == ""
    assert told.count("\n") == 1
    assert words in told
