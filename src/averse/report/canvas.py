"""A small picture in the coordinates of a world, drawn with Pillow at several times its size and averaged down."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from averse.report import style
from averse.report.style import rgb

Color = tuple[int, int, int]
Point = tuple[float, float]

INK, FAINT, GRID, WASH, PAPER = (rgb(c) for c in (style.INK, style.FAINT, style.GRID, style.WASH, style.PAPER))
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY = (rgb(c) for c in style.PALETTE[:6])
RED = (222, 28, 36)
COLORS: tuple[Color, ...] = (INK, FAINT, GRID, WASH, PAPER, BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, RED)
SUPERSAMPLE = 3


class Canvas:
    """A picture of `width` x `height` pixels of the part of a world in x0..x1, y0..y1, y upwards.

    Without a view, x and y are pixels from the lower left corner. Widths of lines and sizes of letters are pixels.
    """

    def __init__(
        self,
        width: int,
        height: int,
        view: tuple[float, float, float, float] | None = None,
        background: Color = PAPER,
    ):
        self.left, right, self.low, high = view or (0.0, float(width), 0.0, float(height))
        self.across, self.up = SUPERSAMPLE * width / (right - self.left), SUPERSAMPLE * height / (high - self.low)
        self._image = Image.new("RGB", (SUPERSAMPLE * width, SUPERSAMPLE * height), background)
        self._draw = ImageDraw.Draw(self._image)

    def _pixel(self, point: Point) -> Point:
        x, y = (point[0] - self.left) * self.across, self._image.height - (point[1] - self.low) * self.up
        return float(x), float(y)

    def line(self, points: Sequence[Point], color: Color = INK, width: float = 1.0) -> None:
        """A polyline through two points or more."""
        self._draw.line([self._pixel(p) for p in points], fill=color, width=round(width * SUPERSAMPLE), joint="curve")

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """A filled polygon."""
        self._draw.polygon([self._pixel(p) for p in points], fill=color)

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color, edge: Color | None = None) -> None:
        """A filled rectangle between two corners."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)
        if edge is not None:
            self.line([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], edge)

    def disc(self, x: float, y: float, radius: float, color: Color) -> None:
        """A filled circle, its radius in pixels."""
        (px, py), r = self._pixel((x, y)), radius * SUPERSAMPLE
        self._draw.ellipse([px - r, py - r, px + r, py + r], fill=color)

    def text(
        self, x: float, y: float, words: str, size: int = 12, color: Color = INK, anchor: str = "mm", bold: bool = False
    ) -> None:
        """Words at a point; `anchor` as Pillow has it: "lm" begins there, "mm" has it in the middle."""
        self._draw.text(self._pixel((x, y)), words, fill=color, font=font(size * SUPERSAMPLE, bold), anchor=anchor)

    def image(self) -> Image.Image:
        """What was drawn, RGB."""
        return self._image.reduce(SUPERSAMPLE)


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of all pictures, in pixels."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)


def fitted(text: str, width: float, size: int = 15, bold: bool = True) -> str:
    """The text, shortened with an ellipsis to `width` px of the font."""
    if font(size, bold).getlength(text) <= width:
        return text
    while text and font(size, bold).getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
