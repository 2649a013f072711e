"""Figures of games: equilibria over (tau, epsilon), models against people, regret against rounds."""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from averse.arguments import instance
from averse.errors import AverseError, shown
from averse.evaluation.arguments import mapping, members
from averse.files import as_path, written_whole
from averse.games.equilibrium import Equilibrium, Form, Settings
from averse.games.fit import Model
from averse.games.normal_form import NormalForm
from averse.games.penalties import Penalty, Regulariser
from averse.games.published import published
from averse.games.rqe import rqe
from averse.games.tractability import tractability
from averse.report.style import (
    FAINT,
    PALETTE,
    check_suffix,
    legend_within,
    line_styles,
    panels,
    plain_logarithm,
    save,
    thousands,
)

_POINTS = 61


class _Tried(Exception):
    """Ends the writing of a file that is not wanted yet."""


def check_place(path: str | os.PathLike | None) -> None:
    """Raises AverseError for a figure's path that cannot be written; makes the folder. None is no figure."""
    if path is None:
        return
    path = as_path("path", path)
    check_suffix(path)
    try:
        if Path(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with written_whole(path):
            raise _Tried
    except _Tried:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AverseError(f"the figure {shown(str(path))} cannot be written: {reason}") from None


def draw_map(
    game: NormalForm,
    path: str | os.PathLike,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
) -> Equilibrium:
    """The probability of each player's first action over (tau, epsilon), equal for all players, on logarithmic axes.

    Where the theory proves one equilibrium, the map is hatched above the dashed line. One compiled call solves the
    whole grid; the result is that batch [epsilon, tau].

    Raises AverseError for a path that is no figure's or cannot be written, before anything is solved.
    """
    game = instance("game", NormalForm, game)
    Settings(1.0, 1.0, penalty, regulariser, form)
    check_place(path)
    spread = max(np.ptp(array) for array in game.arrays()) or 1.0
    tau, epsilon = spread * np.logspace(-2.5, 1, _POINTS), spread * np.logspace(-2, 0.5, _POINTS)
    grid = np.meshgrid(tau, epsilon)
    n = game.num_players
    both = [np.repeat(axis[..., None], n, -1) for axis in grid]
    solved = rqe(game, both[0], both[1], penalty, regulariser, form, tolerance=1e-10)
    stands = [[tractability(t, e, penalty, regulariser, n) for t in tau] for e in epsilon]
    depth = np.array([[-np.log(stand.radius) for stand in row] for row in stands])
    covered = stands[0][0].covered
    words = "hatched: provably one equilibrium" if covered else "no theorem covers this pair"
    title = f"{game.name or 'game'}, {penalty} with {regulariser}; {words}"
    figure, (axes,) = panels(1, n, (4.3 * n, 3.9), title, sharey=True)
    for i, axis in enumerate(axes):
        axis.grid(False)
        mesh = axis.pcolormesh(*grid, solved.strategies[i][..., 0], cmap="viridis", vmin=0, vmax=1, shading="nearest")
        if covered:
            axis.contourf(*grid, depth, levels=[0, np.inf], colors="none", hatches=["//"])
            axis.contour(*grid, depth, levels=[0], colors="white", linestyles="--")
        axis.set(xscale="log", yscale="log", xlabel="risk tolerance tau (reward)")
        axis.set_title(f"{game.players[i]}: probability of {game.actions[i][0]}", fontsize=10)
    axes[0].set_ylabel("bounded rationality epsilon (reward)")
    figure.colorbar(mesh, ax=list(axes), label="probability")
    save(figure, path)
    return solved


def draw_people(models: Sequence[Model], path: str | os.PathLike) -> None:
    """Predicted against observed probabilities of the 13 published games, one panel per model.

    Raises AverseError, before anything is drawn, for no models and a path that is no figure's or cannot be written.
    """
    models = members("models", Model, "a Model (compare_with_people)", models)
    if not models:
        raise AverseError("models is empty: no model to draw")
    check_place(path)
    figure, (axes,) = panels(1, len(models), (2.55 * len(models), 3.1), sharey=True)
    for axis, model in zip(axes, models):
        axis.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
        for k, (label, marker) in enumerate((("Up (row)", "o"), ("Left (column)", "s"))):
            seen = [published()[name].observed[k][0] for name in model.predictions]
            said = [prediction[k] for prediction in model.predictions.values()]
            axis.plot(seen, said, marker, color=PALETTE[k], markersize=5, alpha=0.85, label=label)
        numbers = {0: "nothing fitted", 1: "1 number fitted"}.get(
            model.parameters, f"{model.parameters} numbers fitted"
        )
        axis.set_title(f"{model.name}\n{numbers}, RMSE {model.distance:.3f}", fontsize=9)
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="observed", aspect="equal")
    axes[0].set_ylabel("predicted")
    legend_within(axes[0], "upper left")
    save(figure, path)


def draw_regret(runs: Mapping[str, Equilibrium], path: str | os.PathLike) -> None:
    """Average regret (largest over players) and residual of the last iterate against rounds, of no-regret solutions.

    Raises AverseError, before anything is drawn, for other solutions and a path that is no figure's.
    """
    mapping("runs", Equilibrium, 'equilibria (rqe(..., method="no-regret"))', runs)
    if not runs or any("regret" not in run.history for run in runs.values()):
        raise AverseError('runs must be one or more equilibria of rqe(..., method="no-regret"), which have a history')
    check_place(path)
    figure, ((left, right),) = panels(1, 2, (8.4, 3.5))
    for name, style in line_styles(runs).items():
        history = runs[name].history
        left.plot(history["iteration"], history["regret"].max(-1), label=name, **style)
        right.plot(history["iteration"], np.maximum(history["residual"], 1e-17), label=name, **style)
    left.set(title="average regret, worst player", ylabel="reward")
    right.set(title="last iterate: residual", ylabel="probability")
    for axis in (left, right):
        axis.set(xscale="log", yscale="log", xlabel="rounds of play")
        plain_logarithm(axis.xaxis, thousands, (1, 2, 5))
    legend_within(left, "upper right")
    save(figure, path)
