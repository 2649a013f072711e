"""`jaxmarl:MPE_...`: the particle worlds, agents and landmarks as discs of their own size."""

from typing import Any

import numpy as np
from PIL import Image

from averse.evaluation.recording import RecordedEpisode
from averse.report.canvas import BLUE, FAINT, INK, PAPER, RED, WASH, Canvas
from averse.report.film import Drawing

SIDE = 360  # px
REACH = 1.6  # of the view, in the world's units; everything starts within 1
_TRAIL = 8  # steps


def frame(episode: RecordedEpisode, index: int) -> Image.Image:
    """All particles after `index` steps, agents with the ways they came; adversaries are red, landmarks grey."""
    environment: Any = episode.environment
    world, places = environment.world, np.asarray(episode.states.inner.p_pos)
    radii = np.asarray(world.rad, float) * SIDE / (2 * REACH)
    canvas = Canvas(SIDE, SIDE, (-REACH, REACH, -REACH, REACH), WASH)
    for k in range(len(environment.agents), places.shape[1]):
        x, y = places[index, k].tolist()
        canvas.disc(x, y, float(radii[k]), FAINT)
    for k, name in enumerate(environment.agents):
        color = RED if "adversary" in name else BLUE
        way = [tuple(place) for place in places[max(0, index - _TRAIL) : index + 1, k].tolist()]
        if len(way) > 1:
            canvas.line(way, color, 2)
        x, y = way[-1]
        canvas.disc(x, y, float(radii[k]), color)
        canvas.text(x, y, str(k + 1), 12, PAPER if radii[k] > 6 else INK, bold=True)
    return canvas.image()


DRAWING = Drawing(frame)
"""A step is 0.1 s there, too."""
