"""Games from files: our JSON, Gambit's .nfg and .efg, OpenSpiel's matrix games."""

import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from averse.errors import AverseError, shown
from averse.extras import extra_module
from averse.games.normal_form import NormalForm, checked_game
from averse.settings import check_value

Kind = Literal["nfg", "efg"]
SUFFIXES = (".json", ".nfg", ".efg")
_KEYS = ("payoffs", "players", "actions", "name")


def read_game(path: str | os.PathLike) -> NormalForm:
    """The game in a file, which is UTF-8 text, with a byte order mark or without.

    .json holds {"payoffs": [player 1's nested list, player 2's, ...], "players": [...], "actions": [[...], ...],
    "name": ...}, of which only the payoffs are required. .nfg and .efg are read by Gambit (extra `gambit`); an
    extensive game becomes its reduced normal form. A game without a name or title is called as the file is.

    Raises:
      AverseError: no such file, another suffix, text that is not a game, or pygambit not installed.
    """
    if not isinstance(path, str | os.PathLike):
        raise AverseError(f"path must be the path of a game file, not {shown(path)}")
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise AverseError(f"a game file ends in {', '.join(SUFFIXES)}, not {path.suffix or path.name!r}")
    text = _text(path)
    if suffix == ".json":
        return _from_json(text, path)
    try:
        game = from_gambit(text, "nfg" if suffix == ".nfg" else "efg")
    except AverseError as error:
        raise AverseError(f"{path}: {error}") from None
    return game if game.name else dataclasses.replace(game, name=path.stem)


def from_gambit(text: str, kind: Kind = "nfg", name: str = "") -> NormalForm:
    """The game in Gambit's .nfg or .efg text, with its labels. Needs the extra `gambit`.

    A strategy of an extensive game is called after the actions that it chooses: "in, fight". The name is the title
    unless another is given. Raises AverseError for text that Gambit cannot read.
    """
    check_value("text", str, text)
    check_value("name", str, name)
    check_value("kind", Kind, kind)
    pygambit = extra_module("pygambit", "reading .nfg and .efg")
    readers = {"nfg": pygambit.read_nfg, "efg": pygambit.read_efg}
    try:
        game = readers[kind](io.BytesIO(text.encode()))
        payoffs = [np.asarray(array, dtype=float) for array in game.to_arrays(dtype=float)]
        players, actions = _labels(game)
    except Exception as error:
        raise AverseError(f"Gambit cannot read this as .{kind}: {_first_line(error)}") from None
    return NormalForm(payoffs, name or str(game.title), players, actions)


def to_nfg(game: NormalForm) -> str:
    """Gambit's .nfg text (payoff version) of a single game, with its labels, payoffs to 17 digits.

    Raises AverseError for anything but a single game.
    """
    checked_game(game, "a file holds one game of the batch: game[i]")

    def quoted(text: str) -> str:
        # Gambit knows no way to write a backslash before a quotation mark.
        return '"' + text.replace("\\", "/").replace('"', '\\"') + '"'

    def listed(labels: Any) -> str:
        return "{ " + " ".join(map(quoted, labels)) + " }"

    header = f"NFG 1 R {quoted(game.name)} {listed(game.players)}"
    strategies = "{ " + "\n  ".join(listed(labels) for labels in game.actions) + " }"
    # The first player's action varies fastest.
    cells = np.stack([array.transpose().reshape(-1) for array in game.arrays()], -1).reshape(-1)
    return f"{header}\n\n{strategies}\n\n" + " ".join(repr(float(cell)) for cell in cells) + "\n"


def from_openspiel(name: str) -> NormalForm:
    """OpenSpiel's two-player matrix game of that name, such as "matrix_pd".

    Raises AverseError for an unknown name, and where open_spiel is not installed.
    """
    check_value("name", str, name)
    pyspiel = extra_module("pyspiel", "a game of OpenSpiel")
    try:
        game = pyspiel.load_matrix_game(name)
    except Exception as error:
        raise AverseError(f"OpenSpiel has no matrix game {name!r}: {_first_line(error)}") from None
    rows, columns = range(game.num_rows()), range(game.num_cols())
    payoffs = [[[utility(r, c) for c in columns] for r in rows] for utility in (game.row_utility, game.col_utility)]
    actions = [[game.row_action_name(r) for r in rows], [game.col_action_name(c) for c in columns]]
    return NormalForm(payoffs, name, actions=actions)


def _text(path: Path) -> str:
    """The text of a file. Raises AverseError where there is none, in one line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise AverseError(f"no such file: {path}") from None
    except UnicodeDecodeError as error:
        byte = f"byte {error.object[error.start]:#04x} at position {error.start}"
        raise AverseError(f"{path} is not UTF-8 text ({byte}): save it as UTF-8") from None
    except (OSError, ValueError) as error:  # a folder, no permission, too long a name, a name with a null character
        raise AverseError(f"{shown(str(path))} cannot be read: {_first_line(error)}") from None
    if "\0" in text:
        raise AverseError(f"{path} is not UTF-8 text: it holds null characters")
    if not text.strip():
        raise AverseError(f"{path} is empty")
    return text


def _from_json(text: str, path: Path) -> NormalForm:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AverseError(f"{path} is not JSON: {_first_line(error)}") from None
    if not isinstance(content, dict) or not isinstance(content.get("payoffs"), list):
        raise AverseError(f'{path} must hold {{"payoffs": [one nested list per player]}}')
    unknown = set(content) - set(_KEYS)
    if unknown:
        raise AverseError(f"{path} has unknown keys {sorted(unknown)}; allowed: {', '.join(_KEYS)}")
    try:
        return NormalForm(content.pop("payoffs"), **{"name": path.stem, **content})
    except AverseError as error:
        raise AverseError(f"{path}: {error}") from None


def _labels(game: Any) -> tuple[list[str], list[list[str]]]:
    """The labels of players and strategies of a game of Gambit, numbers where it has none."""
    players, actions = [], []
    for i, player in enumerate(game.players):
        # Gambit 17 lists labels, earlier versions objects that have one.
        label = str(getattr(player, "label", player))
        strategies = game.get_strategies(player) if hasattr(game, "get_strategies") else player.strategies
        names = [str(getattr(strategy, "label", strategy)) for strategy in strategies]
        if hasattr(game, "get_behavior"):  # of an extensive game
            chosen = [", ".join(map(str, game.get_behavior(player, one).values())) for one in names]
            names = [behaviour or name for behaviour, name in zip(chosen, names)]
        players.append(label or f"player {i + 1}")
        actions.append([name or str(a + 1) for a, name in enumerate(names)])
    return players, actions


def _first_line(error: Exception) -> str:
    return (str(getattr(error, "strerror", None) or error).splitlines() or [type(error).__name__])[0]
