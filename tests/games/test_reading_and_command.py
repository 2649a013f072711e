"""Games from files, and the command `averse equilibrium`."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from averse.errors import AverseError
from averse.experiments import equilibrium
from averse.experiments.equilibrium import EquilibriumArguments, run
from averse.games import NormalForm, from_gambit, from_openspiel, read_game, to_nfg


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
