"""The command `averse equilibrium`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from numpy.typing import ArrayLike

from averse.commands import Command
from averse.errors import AverseError
from averse.games.normal_form import NormalForm
from averse.games.published import PublishedGame, find, published
from averse.games.reading import SUFFIXES, read_game
from averse.games.rqe import Equilibrium, rqe
from averse.games.tractability import tractability
from averse.games.two_by_two import all_equilibria


@dataclass(frozen=True)
class EquilibriumArguments:
    """Solve a game between risk-averse, boundedly rational players: strategies, residual, tractability margin."""

    game: tyro.conf.Positional[str | None] = None
    """A published game (selten-chmura-2, goeree-holt-palfrey-4, ...) or a file .json, .nfg, .efg."""
    tau: str | None = None
    """Risk tolerance, units of reward: one number or one per player (12.5,0.5); inf is risk-neutral. The authors' fit
    for published games if not given."""
    epsilon: str | None = None
    """Weight of the regulariser (bounded rationality), units of reward: one number or one per player."""
    penalty: Literal["kl", "reverse-kl"] = "kl"
    """What the players' adversaries pay for changing probabilities."""
    regulariser: Literal["log-barrier", "entropy"] = "log-barrier"
    """What bounded rationality prefers; the theory covers kl with log-barrier and reverse-kl with entropy."""
    form: Literal["aggregate", "action-dependent"] = "aggregate"
    """Risk of the whole mixed strategy, or of each action apart; their equilibria differ."""
    method: Literal["direct", "no-regret"] = "direct"
    """Follow the principal branch, or let players and adversaries learn."""
    all: bool = False
    """Every equilibrium of a 2x2 game, by bracketing."""
    map: bool = False
    """Draw the equilibrium over (tau, epsilon), the tractable region hatched."""
    people: bool = False
    """Compare RQE, QRE and Nash with human play over the 13 published games: table and figure."""
    out: Path | None = None
    """Figure of --map or --people (.png, .svg, .pdf); equilibrium-map.png or equilibrium-people.png if not given."""
    json: bool = False
    """Print JSON for machines."""


def run(arguments: EquilibriumArguments) -> None:
    """Do what the arguments say and print it. Raises AverseError for bad input."""
    if arguments.people:
        _people(arguments)
        return
    if arguments.game is None:
        raise AverseError(f"name a game or a file; published games: {', '.join(published())}")
    game, known = _game(arguments.game)
    if arguments.map:
        from averse.report.games import draw_map

        out = arguments.out or Path("equilibrium-map.png")
        solved = draw_map(game, out, arguments.penalty, arguments.regulariser, arguments.form)
        unsolved = int((solved.residual > 1e-8).sum())
        worst = f"largest residual {solved.residual.max():.1e}, {unsolved} unsolved"
        text = f"{out}: {solved.residual.size} equilibria, {worst}"
        print(json.dumps({"figure": str(out), "unsolved": unsolved}) if arguments.json else text)
        return
    tau = _numbers("tau", arguments.tau, None if known is None else known.tau)
    epsilon = _numbers("epsilon", arguments.epsilon, None if known is None else known.epsilon)
    settings = (arguments.penalty, arguments.regulariser)
    if arguments.all:
        found = all_equilibria(game, tau, epsilon, *settings, arguments.form)
    else:
        found = [rqe(game, tau, epsilon, *settings, arguments.form, arguments.method)]
    # The theorems are about the aggregate form.
    stand = tractability(tau, epsilon, *settings, game.num_players) if arguments.form == "aggregate" else None
    words = stand.words if stand else "no theorem covers the action-dependent form: several equilibria may exist"
    if arguments.json:
        shown = [_as_json(equilibrium) for equilibrium in found]
        margin = {"margin": stand.margin, "unique": stand.unique, "theorem": stand.theorem} if stand else None
        print(json.dumps({"game": game.name, "equilibria": shown, "tractability": margin}, indent=2))
        return
    print(f"{game.name}: {arguments.penalty}, {arguments.regulariser}, {arguments.form} form")
    for equilibrium in found:
        print(equilibrium)
        if equilibrium.method != "bracketing" and not equilibrium.converged:
            print(f"NOT CONVERGED after {int(equilibrium.iterations)} iterations")
    print(words)


def _people(arguments: EquilibriumArguments) -> None:
    from averse.games.fit import compare_with_people
    from averse.report.games import draw_people

    models = compare_with_people()
    out = arguments.out or Path("equilibrium-people.png")
    draw_people(models, out)
    if arguments.json:
        print(json.dumps([vars(model) for model in models], indent=2))
        return
    print(f"{'probability of Up, Left':22}" + f"{'people':>13}" + "".join(f"{_short(m.name):>13}" for m in models))
    for name, game in published().items():
        cells = [(game.observed[0][0], game.observed[1][0]), *(model.predictions[name] for model in models)]
        print(f"{name:22}" + "".join(f"{p:>7.3f} {q:.3f}" for p, q in cells))
    print(f"{'RMSE':22}{'':13}" + "".join(f"{model.distance:>13.4f}" for model in models))
    print(f"{'numbers fitted':22}{'':13}" + "".join(f"{model.parameters:>13}" for model in models))
    print(out)


def _short(name: str) -> str:
    return name.replace(", one epsilon per game", ", own").replace(", published", ", fit")


def _game(name: str) -> tuple[NormalForm, PublishedGame | None]:
    path = Path(name)
    if path.suffix in SUFFIXES or path.exists():
        return read_game(path), None
    known = find(name)
    return known.game, known


def _numbers(name: str, text: str | None, default: np.ndarray | None) -> ArrayLike:
    if text is None:
        if default is None:
            raise AverseError(f"--{name} is needed: one number, or one per player such as 12.5,0.5")
        return default
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise AverseError(f"--{name} takes numbers such as 12.5,0.5, not {text!r}") from None
    return values[0] if len(values) == 1 else values


def _as_json(equilibrium: Equilibrium) -> dict[str, Any]:
    return {
        "strategies": {
            player: dict(zip(actions, map(float, x)))
            for player, actions, x in zip(equilibrium.game.players, equilibrium.game.actions, equilibrium.strategies)
        },
        "values": equilibrium.values.tolist(),
        "residual": float(equilibrium.residual),
        "gap": float(equilibrium.gap),
        "iterations": int(equilibrium.iterations),
        "converged": bool(equilibrium.converged),
    }


COMMAND = Command(EquilibriumArguments, run)
