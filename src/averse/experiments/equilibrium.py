"""The command `averse equilibrium`."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import ArrayLike

from averse.commands import Command, folded
from averse.errors import AverseError, NotConvergedError
from averse.games.equilibrium import Equilibrium, Form, Settings
from averse.games.fit import Model, compare_with_people
from averse.games.normal_form import NormalForm
from averse.games.penalties import Penalty, Regulariser
from averse.games.published import PublishedGame, find, published
from averse.games.reading import SUFFIXES, read_game
from averse.games.rqe import Method, rqe
from averse.games.tractability import Tractability, tractability
from averse.games.two_by_two import all_equilibria
from averse.report.games import check_place, draw_map, draw_people, draw_regret
from averse.report.style import check_suffix
from averse.settings import settings

_FIGURES = ("map", "people", "regret")


@settings
class EquilibriumArguments:
    """Solve a game between risk-averse, boundedly rational players: strategies, residual, tractability margin.

    The exit code is 1 where something is NOT CONVERGED; what was found is printed all the same.
    """

    game: tyro.conf.Positional[str | None] = None
    """A published game (selten-chmura-2, goeree-holt-palfrey-4, ...) or a file .json, .nfg, .efg."""
    tau: str | None = None
    """Risk tolerance, units of reward: one number or one per player (12.5,0.5); inf is risk-neutral. The authors' fit
    for published games if not given."""
    epsilon: str | None = None
    """Weight of the regulariser (bounded rationality), units of reward: one number or one per player."""
    penalty: Penalty = "kl"
    """What the players' adversaries pay for changing probabilities."""
    regulariser: Regulariser = "log-barrier"
    """What bounded rationality prefers; the theory covers kl with log-barrier and reverse-kl with entropy."""
    form: Form = "aggregate"
    """Risk of the whole mixed strategy, or of each action apart; their equilibria differ."""
    method: Method = "direct"
    """Follow the principal branch, or let players and adversaries learn."""
    all: bool = False
    """Every equilibrium of a 2x2 game, by bracketing."""
    map: bool = False
    """Draw the equilibrium over (tau, epsilon), the tractable region hatched."""
    people: bool = False
    """Compare RQE, QRE and Nash with human play over the 13 published games: table and figure."""
    regret: bool = False
    """Draw how the players' average regret and the residual fall, round by round (of --method no-regret)."""
    out: Path | None = None
    """Figure of --map, --people or --regret (.png, .svg, .pdf); equilibrium-map.png and the like if not given."""
    json: bool = False
    """Print JSON for machines. Equal labels are told apart: "a", "a (2)"."""

    def __post_init__(self) -> None:
        chosen = [f"--{name}" for name in ("all", *_FIGURES) if getattr(self, name)]
        if len(chosen) > 1:
            raise AverseError(f"{' and '.join(chosen)} are different things to do: choose one")
        if self.people and self.game is not None:
            raise AverseError(f"--people is about all published games: leave out {self.game}")
        if not self.people and self.game is None:
            raise AverseError(f"name a game or a file; published games: {', '.join(published())}")
        if self.method == "no-regret" and (self.all or self.map or self.people):
            raise AverseError(f"{chosen[0]} does not learn: leave out --method no-regret")
        if self.method == "no-regret" and self.form != "aggregate":
            raise AverseError('no-regret play solves the form "aggregate", not "action-dependent"')
        if self.regret and self.method != "no-regret":
            raise AverseError("--regret is about --method no-regret")
        if self.out is not None and not self.figure:
            raise AverseError("--out is for the figure of --map, --people or --regret")
        for name in ("tau", "epsilon"):
            if _numbers(name, getattr(self, name)) is not None and (self.map or self.people):
                raise AverseError(f"{chosen[0]} takes no --{name}")
        if self.figure:
            check_suffix(self.figure)

    @property
    def figure(self) -> Path | None:
        """Where the figure goes; None where none is drawn."""
        names = [name for name in _FIGURES if getattr(self, name)]
        return self.out or Path(f"equilibrium-{names[0]}.png") if names else None


def run(arguments: EquilibriumArguments) -> None:
    """Do what the arguments say and print it.

    Raises:
      AverseError: before anything is solved, for a game that is none, for settings that do not fit it, and for a figure
        that cannot be written.
      NotConvergedError: after everything is printed, where a residual is too large.
    """
    if arguments.people:
        _people(arguments)
        return
    assert arguments.game is not None
    game, known = _game(arguments.game)
    if arguments.map:
        _map(arguments, game)
    else:
        _solve(arguments, game, known)


def _solve(arguments: EquilibriumArguments, game: NormalForm, known: PublishedGame | None) -> None:
    tau = _given("tau", arguments.tau, None if known is None else known.tau)
    epsilon = _given("epsilon", arguments.epsilon, None if known is None else known.epsilon)
    pair = (arguments.penalty, arguments.regulariser)
    Settings(tau, epsilon, *pair, arguments.form).per_player(game.num_players)
    # The theorems are about the aggregate form.
    stand = tractability(tau, epsilon, *pair, game.num_players) if arguments.form == "aggregate" else None
    check_place(arguments.figure)
    if arguments.all:
        found = all_equilibria(game, tau, epsilon, *pair, arguments.form)
    else:
        found = [rqe(game, tau, epsilon, *pair, arguments.form, arguments.method)]
    if arguments.regret and arguments.figure:
        draw_regret({game.name or "game": found[0]}, arguments.figure)
    print(_json(game, found, stand, arguments) if arguments.json else folded(_text(game, found, stand, arguments)))
    if not found:
        raise NotConvergedError("NOT CONVERGED: bracketing found no equilibrium, but every game has one")
    unsolved = [equilibrium for equilibrium in found if not equilibrium.converged]
    if unsolved:
        worst = max(float(equilibrium.residual) for equilibrium in unsolved)
        which = f"{len(unsolved)} of {len(found)} equilibria" if arguments.all else "the equilibrium"
        raise NotConvergedError(f"NOT CONVERGED: {which}, residual {worst:.1e}")


def _json(
    game: NormalForm, found: list[Equilibrium], stand: Tractability | None, arguments: EquilibriumArguments
) -> str:
    margin = {"margin": _number(stand.margin), "unique": stand.unique, "theorem": stand.theorem} if stand else None
    answer = {"game": game.name, "equilibria": [_as_json(one) for one in found], "tractability": margin}
    return json.dumps(answer | ({"figure": str(arguments.figure)} if arguments.figure else {}), indent=2)


def _number(value: Any) -> float | None:
    """A number of JSON, which has none that is not finite."""
    return float(value) if np.isfinite(value) else None


def _text(
    game: NormalForm, found: list[Equilibrium], stand: Tractability | None, arguments: EquilibriumArguments
) -> str:
    lines = [f"{game.name}: {arguments.penalty}, {arguments.regulariser}, {arguments.form} form"]
    for equilibrium in found:
        lines.append(str(equilibrium))
        if not equilibrium.converged:
            after = "" if arguments.all else f" after {int(equilibrium.iterations)} iterations"
            lines.append(f"NOT CONVERGED{after}")
    words = stand.words if stand else "no theorem covers the action-dependent form: several equilibria may exist"
    return "\n".join([*lines, words, *([str(arguments.figure)] if arguments.figure else [])])


def _map(arguments: EquilibriumArguments, game: NormalForm) -> None:
    assert arguments.figure is not None
    solved = draw_map(game, arguments.figure, arguments.penalty, arguments.regulariser, arguments.form)
    unsolved, number = int((~solved.converged).sum()), solved.residual.size
    if arguments.json:
        print(json.dumps({"figure": str(arguments.figure), "unsolved": unsolved}))
    else:
        worst = f"largest residual {solved.residual.max():.1e}, {unsolved} unsolved"
        print(f"{arguments.figure}: {number} equilibria, {worst}")
    if unsolved:
        raise NotConvergedError(f"NOT CONVERGED: {unsolved} of the {number} equilibria of the map")


def _people(arguments: EquilibriumArguments) -> None:
    assert arguments.figure is not None
    check_place(arguments.figure)
    models = compare_with_people()
    draw_people(models, arguments.figure)
    if arguments.json:
        print(json.dumps([vars(model) for model in models], indent=2))
        return
    print("\n".join([*_table(models), str(arguments.figure)]))


def _table(models: list[Model]) -> list[str]:
    """What people did and what each model says they do, a line per game."""
    lines = [f"{'probability of Up, Left':22}{'people':>13}" + "".join(f"{_short(m.name):>13}" for m in models)]
    for name, game in published().items():
        cells = [(game.observed[0][0], game.observed[1][0]), *(model.predictions[name] for model in models)]
        lines.append(f"{name:22}" + "".join(f"{p:>7.3f} {q:.3f}" for p, q in cells))
    lines.append(f"{'RMSE':22}{'':13}" + "".join(f"{model.distance:>13.4f}" for model in models))
    lines.append(f"{'numbers fitted':22}{'':13}" + "".join(f"{model.parameters:>13}" for model in models))
    return lines


def _short(name: str) -> str:
    return name.replace(", one epsilon per game", ", own").replace(", published", ", fit")


def _game(name: str) -> tuple[NormalForm, PublishedGame | None]:
    path = Path(name)
    try:
        file = path.suffix.lower() in SUFFIXES or path.exists()
    except OSError:  # too long a name
        file = False
    if file:
        return read_game(path), None
    known = find(name)
    return known.game, known


def _given(name: str, text: str | None, default: np.ndarray | None) -> ArrayLike:
    given = _numbers(name, text)
    if given is None and default is None:
        raise AverseError(f"--{name} is needed: one number, or one per player such as 12.5,0.5")
    return given if given is not None else default  # type: ignore[return-value]


def _numbers(name: str, text: str | None) -> ArrayLike | None:
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise AverseError(f"--{name} takes numbers such as 12.5,0.5, not {text!r:.80}") from None
    return values[0] if len(values) == 1 else values


def _as_json(equilibrium: Equilibrium) -> dict[str, Any]:
    game = equilibrium.game
    return {
        "strategies": {
            player: dict(zip(_distinct(actions), map(_number, x), strict=True))
            for player, actions, x in zip(_distinct(game.players), game.actions, equilibrium.strategies, strict=True)
        },
        "values": [_number(value) for value in equilibrium.values],
        "residual": _number(equilibrium.residual),
        "gap": _number(equilibrium.gap),
        "iterations": int(equilibrium.iterations),
        "converged": bool(equilibrium.converged),
    }


def _distinct(labels: Sequence[str]) -> list[str]:
    """The labels as keys that nothing else has: of equal ones the first keeps its name, then come "a (2)", "a (3)"."""
    result: list[str] = []
    for label in labels:
        names = (label if k == 1 else f"{label} ({k})" for k in itertools.count(1))
        result.append(next(name for name in names if name not in result and (name == label or name not in labels)))
    return result


COMMAND = Command(EquilibriumArguments, run)
