"""`cliff-walk`: the grid, the cliff, both agents, the ways they came, and which of them fell."""

from typing import Any

import numpy as np
from PIL import Image

from averse.environments.cliff_walk import CLIFF, GOALS, SIZE
from averse.evaluation.recording import RecordedEpisode
from averse.report.canvas import BLUE, FAINT, GREEN, GRID, INK, ORANGE, PAPER, RED, WASH, Canvas
from averse.report.film import Drawing

WIDTH = HEIGHT = 360  # px


def frame(episode: RecordedEpisode, index: int) -> Image.Image:
    """The grid after `index` steps."""
    canvas = Canvas(WIDTH, HEIGHT, (-0.15, SIZE + 0.15, -0.15, SIZE + 0.15))
    for cell in range(SIZE * SIZE):
        x, y = _place(cell)
        canvas.box(x - 0.48, y - 0.48, x + 0.48, y + 0.48, INK if cell in CLIFF else WASH)
    for goal, color, name in zip(GOALS, (BLUE, ORANGE), "12"):
        x, y = _place(goal)
        canvas.box(x - 0.48, y - 0.48, x + 0.48, y + 0.48, GRID)
        canvas.text(x, y - 0.34, f"goal of {name}", 10, color)
    canvas.text(2.5, 0.5, "cliff", 13, FAINT)
    cells = np.asarray(episode.states.cells[: index + 1])
    for agent, (color, shift) in enumerate(((BLUE, 0.08), (ORANGE, -0.08))):
        way = [(x + shift, y + shift) for x, y in map(_place, cells[:, agent].tolist())]
        if len(way) > 1:
            canvas.line(way, color, 2)
        _draw_agent(canvas, way[-1], int(cells[-1, agent]), agent, color)
    return canvas.image()


def _draw_agent(canvas: Canvas, at: tuple[float, float], cell: int, agent: int, color: Any) -> None:
    (x, y), fell = at, cell in CLIFF
    if cell == GOALS[agent]:
        canvas.disc(x, y, 18, GREEN)
    canvas.disc(x, y, 14, RED if fell else color)
    canvas.text(x, y, "x" if fell else str(agent + 1), 14, PAPER, bold=True)


def _place(cell: int) -> tuple[float, float]:
    """The middle of a cell; rows are numbered from the top."""
    row, column = divmod(cell, SIZE)
    return column + 0.5, SIZE - row - 0.5


DRAWING = Drawing(frame, 0.4)
