"""Frames of recorded episodes as images: roads, cars coloured by speed, crashes that stay.

Drawn with Pillow at `SUPERSAMPLE` times the size and averaged down, some milliseconds a frame. Lengths are metres in
the world (y upwards) and pixels in the image (y downwards).
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from averse.environments.intersection.recording import Car, Recording
from averse.errors import AverseError
from averse.report.canvas import FAINT, INK, PAPER, Color, fitted, font

View = tuple[float, float, float, float]  # xmin, xmax, ymin, ymax in m

PANEL = 480  # px, width of one recording
HALF_VIEW = 50.0  # m on each side of the junction
SUPERSAMPLE = 3
GROUND, KERB, ROAD, MARKING = (238, 240, 234), (184, 188, 192), (212, 215, 219), (250, 250, 250)
WRECK, BURST, RECKLESS = (120, 20, 24), (222, 28, 36), (214, 20, 140)
FLAT: tuple[Color, ...] = (GROUND, KERB, ROAD, MARKING, INK, FAINT, PAPER, WRECK, BURST, RECKLESS)
_HEADER, _FOOTER, _GAP = 52, 46, 6  # px
_SPEED_COLORS = 64


class Crash(NamedTuple):
    """A collision: the frame from which it is seen and its place."""

    frame: int
    x: float  # m
    y: float  # m


def crashes(recording: Recording) -> list[Crash]:
    """The collisions of a recording in order of time: cars that first show as crashed together and in touch are one."""
    found, known = [], set[str]()
    for index, frame in enumerate(recording.frames):
        fresh = [car for car in frame if car.crashed and car.id not in known]
        known.update(car.id for car in fresh)
        while fresh:
            group = [fresh.pop()]
            for member in group:  # grows while we walk it
                touching = [car for car in fresh if _in_touch(car, member)]
                group += touching
                fresh = [car for car in fresh if car not in touching]
            centres = np.array([_centre(car) for car in group])
            found.append(Crash(index, *centres.mean(0).tolist()))
    return found


def junction_view(recording: Recording) -> View:
    """50 m around the middle of the road network."""
    points = np.concatenate(recording.lanes)
    x, y = (points.min(0) + points.max(0)) / 2
    return (float(x) - HALF_VIEW, float(x) + HALF_VIEW, float(y) - HALF_VIEW, float(y) + HALF_VIEW)


def _opening(recordings: Sequence[Recording], views: Sequence[View]) -> int:
    """The frame in which something is first to be seen: cars in every view, and an agent's in one of them.

    It is 0 where that never happens, and never later than the first crash. Agents depart far outside of the view.
    """
    kinds = [
        [{car.kind for car in frame if _in_view(car, view)} for frame in recording.frames]
        for recording, view in zip(recordings, views)
    ]
    first_crash = min((crash.frame for recording in recordings for crash in crashes(recording)), default=math.inf)
    for index in range(max(map(len, kinds))):
        shown = [rows[min(index, len(rows) - 1)] for rows in kinds]
        if index >= first_crash or (all(shown) and any("agent" in row for row in shown)):
            return index
    return 0


class Painter:
    """Draws frame after frame of one or several recordings side by side; what does not move is drawn once.

    A `Film`. Its `length` is the number of frames, `start` the first that shows cars everywhere and an
    agent's car somewhere, 0 where none does.
    """

    def __init__(self, recordings: Sequence[Recording], view: View | None = None):
        self.recordings = list(recordings)
        _check(self.recordings, view)
        self.length = max(len(recording.frames) for recording in self.recordings)
        fastest = max((car.speed for r in self.recordings for frame in r.frames for car in frame), default=1.0)
        self.top_speed = float(max(1, math.ceil(fastest)))
        views = [view or junction_view(recording) for recording in self.recordings]
        self.start = _opening(self.recordings, views)
        xmin, xmax, ymin, ymax = views[0]
        self.height = 2 * round(PANEL * (ymax - ymin) / (xmax - xmin) / 2)  # px of a panel, even for video
        self.panels = [_Panel(r, v, self.height, self.top_speed) for r, v in zip(self.recordings, views)]
        count = len(self.panels)
        self.size = (count * PANEL + (count - 1) * _GAP, _HEADER + self.height + _FOOTER)
        self.colors = (*FLAT, *(speed_color(x) for x in np.linspace(0, 1, 32)))  # that a GIF shows exactly
        self._still = self._draw_still()

    def frame(self, index: int) -> Image.Image:
        """Frame `index` of every recording, RGB; a recording that has ended holds its last frame."""
        image = self._still.copy()
        draw = ImageDraw.Draw(image)
        for column, panel in enumerate(self.panels):
            left = column * (PANEL + _GAP)
            at = min(index, len(panel.recording.frames) - 1)
            image.paste(panel.draw(at), (left, _HEADER))
            seconds = at * panel.recording.step_seconds
            count = sum(crash.frame <= at for crash in panel.crashes)
            draw.text((left + 10, 29), f"{seconds:.1f} s", fill=INK, font=font(14))
            words = "no crash" if count == 0 else f"{count} crash" if count == 1 else f"{count} crashes"
            draw.text(
                (left + PANEL - 10, 29), words, fill=BURST if count else FAINT, font=font(14, count > 0), anchor="ra"
            )
        return image

    def _draw_still(self) -> Image.Image:
        """Titles, legend and colour bar."""
        image = Image.new("RGB", self.size, PAPER)
        draw = ImageDraw.Draw(image)
        for column, panel in enumerate(self.panels):
            left = column * (PANEL + _GAP)
            draw.text((left + 10, 7), fitted(panel.recording.title, PANEL - 20), fill=INK, font=font(15, True))
        middle = self.size[1] - 18
        kinds = {car.kind for r in self.recordings for frame in r.frames for car in frame}
        left = 10
        for kind in ("agent", "human", "reckless"):
            if kind in kinds:
                _paste_icon(image, kind, (left, middle))
                draw.text((left + 34, middle), kind, fill=INK, font=font(12), anchor="lm")
                left += 34 + int(font(12).getlength(kind)) + 14
        bar_left, bar_right = self.size[0] - 150, self.size[0] - 66
        for x in range(bar_left, bar_right):
            color = speed_color((x - bar_left) / (bar_right - bar_left - 1))
            draw.line([(x, middle - 5), (x, middle + 5)], fill=color)
        draw.text((bar_left - 6, middle), "0", fill=INK, font=font(12), anchor="rm")
        draw.text((bar_right + 6, middle), f"{self.top_speed:g} m/s", fill=INK, font=font(12), anchor="lm")
        return image


class _Panel:
    """One recording in its window on the world."""

    def __init__(self, recording: Recording, view: View, height: int, top_speed: float):
        self.recording, self.top_speed = recording, top_speed
        self.crashes = crashes(recording)
        self.scale = SUPERSAMPLE * PANEL / (view[1] - view[0])  # drawn px per m
        self.corner = np.array([view[0], view[3]])  # world point of the image's upper left corner
        self.road = self._draw_road((SUPERSAMPLE * PANEL, SUPERSAMPLE * height))

    def pixels(self, points: np.ndarray) -> list[tuple[float, float]]:
        """World points [P, 2] in m to drawn pixels."""
        return [tuple(p) for p in ((points - self.corner) * (self.scale, -self.scale)).tolist()]

    def draw(self, index: int) -> Image.Image:
        image = self.road.copy()
        draw = ImageDraw.Draw(image)
        cars = self.recording.frames[index]
        for car in sorted(cars, key=lambda car: (not car.crashed, car.kind == "agent")):
            color = WRECK if car.crashed else speed_color(car.speed / self.top_speed)
            _draw_car(draw, self.pixels, self.scale, car, color)
        for crash in self.crashes:
            if crash.frame <= index:
                age = (index - crash.frame) * self.recording.step_seconds
                _draw_burst(draw, self.pixels(np.array([[crash.x, crash.y]]))[0], 11 + 8 * max(0.0, 1 - age / 0.6))
        return image.reduce(SUPERSAMPLE)

    def _draw_road(self, size: tuple[int, int]) -> Image.Image:
        image = Image.new("RGB", size, GROUND)
        draw = ImageDraw.Draw(image)
        width = self.recording.lane_width
        for color, extra in ((KERB, 0.7), (ROAD, 0.0)):
            for lane in self.recording.lanes:
                draw.line(self.pixels(lane), fill=color, width=round((width + extra) * self.scale), joint="curve")
        drawn: list[np.ndarray] = []  # the lanes of both directions share the line between them
        for lane in self.recording.lanes:
            if np.linalg.norm(lane[-1] - lane[0]) > HALF_VIEW / 2:  # not within the junction
                line = _left_of(lane, width / 2)
                if not any(np.abs(line[[0, -1]] - other[[-1, 0]]).max() < width / 2 for other in drawn):
                    self._draw_dashes(draw, line)
                    drawn.append(line)
        return image

    def _draw_dashes(self, draw: ImageDraw.ImageDraw, line: np.ndarray, dash: float = 2.0) -> None:
        """A line [P, 2] in dashes, each as long as the gap after it (m)."""
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        for start in np.arange(0.0, along[-1] - dash, 2 * dash):
            ends = np.array([start, start + dash])
            points = np.stack([np.interp(ends, along, line[:, 0]), np.interp(ends, along, line[:, 1])], axis=-1)
            draw.line(self.pixels(points), fill=MARKING, width=max(1, round(0.15 * self.scale)))


def speed_color(fraction: float) -> Color:
    """Colour of a speed as a fraction of the highest, 0..1: dark violet to yellow (viridis)."""
    return _colormap()[int(np.clip(fraction, 0.0, 1.0) * (_SPEED_COLORS - 1))]


def car_outline(car: Car, grow: float = 0.0) -> np.ndarray:
    """The car's rounded rectangle, `grow` m larger on each side: points [P, 2] in m, x and y its front bumper."""
    half = np.array([car.length / 2, car.width / 2]) + grow
    radius = min(0.55 + grow, *half)
    signs, circle = _corners()
    return _placed(car, signs * (half - radius) + circle * radius)


def _draw_car(draw: ImageDraw.ImageDraw, pixels, scale: float, car: Car, color: Color) -> None:
    px = SUPERSAMPLE / scale  # m per final pixel
    edge, width = {"agent": (INK, 1.7 * px), "reckless": (RECKLESS, 1.5 * px)}.get(car.kind, (FAINT, 0.7 * px))
    draw.polygon(pixels(car_outline(car, width)), fill=edge)
    draw.polygon(pixels(car_outline(car)), fill=color)
    front, half = car.length / 2, car.width / 2  # the windscreen shows where it is heading
    glass = [[front - 1.1, half - 0.3], [front - 1.9, half - 0.3], [front - 1.9, 0.3 - half], [front - 1.1, 0.3 - half]]
    draw.polygon(pixels(_placed(car, np.array(glass))), fill=PAPER if sum(color) < 330 else INK)
    if car.kind == "reckless" and not car.crashed:
        x, y = pixels(_centre(car)[None])[0]
        unit = SUPERSAMPLE
        y -= 13 * unit
        draw.polygon([(x, y - 7 * unit), (x + 7 * unit, y + 5 * unit), (x - 7 * unit, y + 5 * unit)], fill=RECKLESS)
        draw.line([(x, y - 3 * unit), (x, y + 1 * unit)], fill=PAPER, width=2 * unit)
        draw.rectangle([x - unit, y + 2.4 * unit, x + 0.7 * unit, y + 4 * unit], fill=PAPER)


def _draw_burst(draw: ImageDraw.ImageDraw, at: tuple[float, float], radius: float) -> None:
    """A star with a cross in it, `radius` in final pixels."""
    angles = np.arange(24) * np.pi / 12
    star = np.stack([np.cos(angles), np.sin(angles)], -1) * np.where(np.arange(24) % 2, 0.62, 1.0)[:, None]
    for size, color in ((radius + 2, PAPER), (radius, BURST)):
        draw.polygon([tuple(p) for p in (star * size * SUPERSAMPLE + at).tolist()], fill=color)
    arm = 0.34 * radius * SUPERSAMPLE
    for sign in (1, -1):
        ends = [(at[0] - arm, at[1] - sign * arm), (at[0] + arm, at[1] + sign * arm)]
        draw.line(ends, fill=PAPER, width=round(2.2 * SUPERSAMPLE))


def _paste_icon(image: Image.Image, kind: str, at: tuple[int, int]) -> None:
    """A car of the legend, its left end at a pixel."""
    size = (34, 34)
    icon = Image.new("RGB", (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE), PAPER)
    scale = SUPERSAMPLE * PANEL / (2 * HALF_VIEW)
    shift = np.array([1.5, size[1] * 0.55 * SUPERSAMPLE / scale])
    car = Car("", kind, 5.0, 0.0, 0.0, 0.0, 5.0, 1.8, False)

    def pixels(points: np.ndarray) -> list[tuple[float, float]]:
        return [tuple(p) for p in ((points * (1, -1) + shift) * scale).tolist()]

    _draw_car(ImageDraw.Draw(icon), pixels, scale, car, speed_color(0.55))
    image.paste(icon.reduce(SUPERSAMPLE), (at[0] - 4, at[1] - round(size[1] * 0.55)))


def _centre(car: Car) -> np.ndarray:
    return np.array([car.x - car.length / 2 * math.cos(car.heading), car.y - car.length / 2 * math.sin(car.heading)])


def _placed(car: Car, local: np.ndarray) -> np.ndarray:
    """Points [P, 2] in the car's frame (x forwards, its centre at 0) in the world."""
    cos, sin = math.cos(car.heading), math.sin(car.heading)
    return local @ np.array([[cos, sin], [-sin, cos]]) + _centre(car)


def _in_view(car: Car, view: View) -> bool:
    x, y = _centre(car)
    return bool(view[0] < x < view[1] and view[2] < y < view[3])


def _in_touch(a: Car, b: Car) -> bool:
    return bool(np.linalg.norm(_centre(a) - _centre(b)) < (a.length + b.length) / 2 + 1.0)


def _left_of(line: np.ndarray, offset: float) -> np.ndarray:
    """A polyline [P, 2] shifted to its left by `offset` m (good for nearly straight ones)."""
    direction = np.gradient(line, axis=0)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return line + offset * np.stack([-direction[:, 1], direction[:, 0]], axis=-1)


@cache
def _corners() -> tuple[np.ndarray, np.ndarray]:
    """Points around a rounded rectangle: signs of their corner and places on the unit circle, [P, 2]."""
    angles = np.linspace(0, np.pi / 2, 5)
    signs = np.repeat([(1, 1), (-1, 1), (-1, -1), (1, -1)], angles.size, axis=0)
    around = np.concatenate([quarter * np.pi / 2 + angles for quarter in range(4)])
    return signs, np.stack([np.cos(around), np.sin(around)], axis=-1)


@cache
def _colormap() -> list[Color]:
    rgba = matplotlib.colormaps["viridis"](np.linspace(0, 1, _SPEED_COLORS))
    return [tuple(round(255 * c) for c in row[:3]) for row in rgba]


def _check(recordings: Sequence[Recording], view: View | None) -> None:
    if not recordings:
        raise AverseError("no recording to draw")
    for recording in recordings:
        if not recording.frames:
            raise AverseError(f"the recording {recording.title!r} has no frame")
        if not recording.lanes:
            raise AverseError(f"the recording {recording.title!r} has no lane")
    if len({recording.step_seconds for recording in recordings}) > 1:
        steps = ", ".join(f"{recording.step_seconds:g} s" for recording in recordings)
        raise AverseError(f"recordings side by side must have equal time steps, not {steps}")
    if view is not None and not (view[0] < view[1] and view[2] < view[3]):
        raise AverseError(f"view must be (xmin, xmax, ymin, ymax) with xmin < xmax and ymin < ymax, not {view}")
