"""Games from files: our JSON, Gambit's .nfg and .efg, OpenSpiel's matrix games."""

import io
import json
import os
from pathlib import Path

import numpy as np

from averse.errors import AverseError
from averse.extras import extra_module
from averse.games.normal_form import NormalForm

SUFFIXES = (".json", ".nfg", ".efg")


def read_game(path: str | os.PathLike) -> NormalForm:
    """The game in a file.

    .json holds {"payoffs": [player 1's nested list, player 2's, ...], "players": [...], "actions": [[...], ...]}, of
    which only the payoffs are required. .nfg and .efg are read by Gambit (extra `gambit`); an extensive game becomes
    its reduced normal form.

    Raises:
      AverseError: no such file, another suffix, text that is not a game, or pygambit not installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise AverseError(f"a game file ends in {', '.join(SUFFIXES)}, not {path.suffix or path.name!r}")
    if not path.is_file():
        raise AverseError(f"no such file: {path}")
    if path.suffix != ".json":
        return from_gambit(path.read_text(), path.suffix[1:], path.stem)
    try:
        content = json.loads(path.read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise AverseError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("payoffs"), list):
        raise AverseError(f'{path} must hold {{"payoffs": [one nested list per player]}}')
    unknown = set(content) - {"payoffs", "players", "actions", "name"}
    if unknown:
        raise AverseError(f"{path} has unknown keys {sorted(unknown)}; allowed: payoffs, players, actions, name")
    name = content.get("name", path.stem)
    return NormalForm(content["payoffs"], name, content.get("players", ()), content.get("actions", ()))


def from_gambit(text: str, kind: str = "nfg", name: str = "") -> NormalForm:
    """The game in Gambit's .nfg or .efg text. Needs the extra `gambit`. Raises AverseError for text it cannot read."""
    pygambit = extra_module("pygambit", "reading .nfg and .efg")
    readers = {"nfg": pygambit.read_nfg, "efg": pygambit.read_efg}
    if kind not in readers:
        raise AverseError(f"kind must be nfg or efg, not {kind!r}")
    try:
        game = readers[kind](io.BytesIO(text.encode()))
        payoffs = [np.asarray(array, dtype=float) for array in game.to_arrays(dtype=float)]
    except Exception as error:
        raise AverseError(f"Gambit cannot read this as .{kind}: {str(error).splitlines()[0]}") from None
    # Gambit 17 lists players by label, earlier versions as objects that have one.
    players = [str(getattr(p, "label", p)) or f"player {i + 1}" for i, p in enumerate(game.players)]
    return NormalForm(payoffs, name or str(game.title), players)


def to_nfg(game: NormalForm) -> str:
    """Gambit's .nfg text (payoff version) of a single game, payoffs to 17 digits. Raises AverseError for a batch."""
    if game.batched:
        raise AverseError("a file holds one game of the batch: game[i]")

    def quoted(text: str) -> str:
        return '"' + text.replace('"', "'") + '"'

    header = f"NFG 1 R {quoted(game.name)} {{ {' '.join(map(quoted, game.players))} }}"
    sizes = "{ " + " ".join(map(str, game.num_actions)) + " }"
    # The first player's action varies fastest.
    cells = np.stack([array.transpose().reshape(-1) for array in game.arrays()], -1).reshape(-1)
    return f"{header} {sizes}\n\n" + " ".join(repr(float(cell)) for cell in cells) + "\n"


def from_openspiel(name: str) -> NormalForm:
    """OpenSpiel's two-player matrix game of that name, such as "matrix_pd".

    Raises AverseError for an unknown name, and where open_spiel is not installed.
    """
    pyspiel = extra_module("pyspiel", "a game of OpenSpiel")
    try:
        game = pyspiel.load_matrix_game(name)
    except Exception as error:
        raise AverseError(f"OpenSpiel has no matrix game {name!r}: {str(error).splitlines()[0]}") from None
    rows, columns = range(game.num_rows()), range(game.num_cols())
    payoffs = [[[utility(r, c) for c in columns] for r in rows] for utility in (game.row_utility, game.col_utility)]
    actions = [[game.row_action_name(r) for r in rows], [game.col_action_name(c) for c in columns]]
    return NormalForm(payoffs, name, actions=actions)
