"""Films of recorded episodes of any world: side by side, or one after another.

How a world looks is separate from its dynamics. An environment names what draws it by an attribute `drawing`: a
`Drawing`, a function `draw(episode, index) -> picture`, or the text `module:Attribute` of either. Worlds that make
pictures of themselves (`RecordedEpisode.states` is then a stack of these) need none.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageDraw

from averse.environments.protocol import Description, is_average_reward
from averse.errors import AverseError, shown
from averse.evaluation.arguments import members
from averse.evaluation.recording import RecordedEpisode
from averse.plugins import imported
from averse.report.canvas import COLORS, FAINT, INK, PAPER, Color, fitted, font

NARROWEST = 360  # px of a panel, so that its title can be read
_HEADER, _GAP = 52, 6  # px


class Film(Protocol):
    """Images of one size, one after another."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        ...

    @property
    def length(self) -> int:
        """How many frames there are."""
        ...

    @property
    def start(self) -> int:
        """The first frame that is shown."""
        ...

    @property
    def colors(self) -> Sequence[Color]:
        """At most 120 that a GIF is to show exactly; the others are the nearest of some more."""
        ...

    def frame(self, index: int) -> Image.Image:
        """A frame, RGB; index below `length`."""
        ...


class Drawing(NamedTuple):
    """How a world looks."""

    frame: Callable[[RecordedEpisode, int], Any]
    """`frame(episode, index) -> picture` after `index` steps, 0 to T: a Pillow image or uint8 [H, W, 3], always of the
    same size. `episode.state(index)` is what is to be drawn; the steps before are there too."""
    seconds: float = 0.1
    """For how long a step is shown."""
    colors: Sequence[Color] = COLORS
    """That a GIF is to show exactly, at most 120; photographs have none."""


PICTURES = Drawing(lambda episode, index: episode.state(index), seconds=0.05, colors=())
"""What draws a world that makes pictures of itself, twenty a second."""


def drawing_of(environment: Description) -> Any:
    """What draws an environment: a `Drawing`, or an object whose `film(episodes)` gives a film and the s of its frames.

    Raises AverseError for an environment that has no `drawing` and makes no pictures, and for a `drawing` that is none.
    """
    found = getattr(environment, "drawing", None)
    found = imported(found, "drawing") if isinstance(found, str) else found
    if found is None and hasattr(environment, "rendered"):
        return PICTURES
    if found is None:
        raise AverseError(
            f"{environment.name} cannot be drawn: it has no `drawing`, a function (episode, index) -> picture "
            "(docs/extending.md)"
        )
    if isinstance(found, Drawing) or hasattr(found, "film"):
        return found
    if not callable(found):
        raise AverseError(f"the drawing of {environment.name} must be a function or a Drawing, not {shown(found)}")
    return Drawing(found)


def film_of(episodes: Sequence[RecordedEpisode]) -> tuple[Film, float]:
    """Episodes of one world side by side and in step, and how long a frame is to be shown, s.

    Raises AverseError for no episode, for one that cannot be drawn, and for pictures of several sizes.
    """
    members("episodes", RecordedEpisode, "recorded episodes", episodes)
    if not episodes:
        raise AverseError("episodes is empty: no episode to draw")
    drawing = drawing_of(episodes[0].environment)
    if not isinstance(drawing, Drawing):
        return drawing.film(episodes)
    return SideBySide(episodes, drawing), drawing.seconds


class SideBySide:
    """A `Film` of recorded episodes next to each other, each below its title, clock and return.

    An episode that has ended holds its last frame.

    Raises AverseError where a drawing makes no pictures, or pictures of several sizes.
    """

    start = 0

    def __init__(self, episodes: Sequence[RecordedEpisode], drawing: Drawing):
        self.episodes, self.drawing = list(episodes), drawing
        self.length = 1 + max(map(len, self.episodes))
        self.colors = drawing.colors
        self._sizes = [picture_of(drawing, episode, 0).size for episode in self.episodes]
        self._widths = [max(NARROWEST, width) for width, _ in self._sizes]
        width = sum(self._widths) + _GAP * (len(self._widths) - 1)
        height = _HEADER + max(height for _, height in self._sizes)
        self.size = (width + width % 2, height + height % 2)  # even, for video

    def frame(self, index: int) -> Image.Image:
        """See `Film`. Raises AverseError for a picture of another size than the first one's."""
        image = Image.new("RGB", self.size, PAPER)
        draw, left = ImageDraw.Draw(image), 0
        for episode, width, size in zip(self.episodes, self._widths, self._sizes):
            at = min(index, len(episode))
            picture = picture_of(self.drawing, episode, at)
            if picture.size != size:
                raise AverseError(f"a drawing's pictures must be of one size; {picture.size} follows {size}")
            image.paste(picture, (left + (width - size[0]) // 2, _HEADER))
            draw.text((left + 10, 7), fitted(episode.title, width - 20), fill=INK, font=font(15, True))
            draw.text((left + 10, 29), f"step {at} of {len(episode)}", fill=FAINT, font=font(14))
            earned = f"return {episode.earned(at):.2f}"
            if is_average_reward(episode.environment):
                earned = f"mean {episode.earned(at) / max(1, at):.3f}"
            draw.text((left + width - 10, 29), earned, fill=INK, font=font(14), anchor="ra")
            left += width + _GAP
        return image


def picture_of(drawing: Drawing, episode: RecordedEpisode, index: int) -> Image.Image:
    """What a drawing makes of a moment, RGB. Raises AverseError where it is no picture."""
    picture = drawing.frame(episode, index)
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3 or 0 in array.shape:
        raise AverseError(
            f"the drawing of {episode.environment.name} must give a Pillow image or uint8 [height, width, 3], not "
            f"{shown(picture)}"
        )
    return Image.fromarray(array, "RGB")


class OneAfterAnother:
    """A `Film` of films in turn, only each so many of their frames, and each with its last one.

    Args:
      films: of the same size.
      every: how many frames further the next one is.
      hold: for how many frames the end of each but the last stays.

    Raises AverseError for films of several sizes.
    """

    start = 0

    def __init__(self, films: Sequence[Film], every: int = 1, hold: int = 0):
        if len({film.size for film in films}) != 1:
            sizes = ", ".join(f"{width} x {height}" for width, height in (film.size for film in films))
            raise AverseError(f"films one after another must be of one size, not {sizes}")
        self.size, self.colors = films[0].size, films[0].colors
        self._frames: list[tuple[Film, int]] = []
        for film in films:
            shown_ones = [*range(film.start, film.length - 1, every), film.length - 1]
            stay = hold if film is not films[-1] else 0
            self._frames += [(film, index) for index in [*shown_ones, *[film.length - 1] * stay]]
        self.length = len(self._frames)

    def frame(self, index: int) -> Image.Image:
        """See `Film`."""
        film, at = self._frames[index]
        return film.frame(at)
