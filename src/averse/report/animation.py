"""Recorded episodes as a GIF, or as an MP4 where `imageio-ffmpeg` is installed.

`animate` is for recordings of a junction; `write_film` for a film of any world (`averse.report.film`).
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from averse.arguments import instance
from averse.environments.intersection.recording import Recording
from averse.errors import AverseError
from averse.evaluation.arguments import members
from averse.evaluation.recording import RecordedEpisode
from averse.extras import extra_module
from averse.files import as_path, written_whole
from averse.report.drawing import Painter, View
from averse.report.film import Film, OneAfterAnother, film_of
from averse.settings import Number, Positive, check_value

END_SECONDS = 2.0  # how long the last frame stays
SMOOTH = 25.0  # images per second, above which frames are left out
HOLD_SECONDS = 1.5  # for which the end of an episode stays before the next one begins
_COLORS = 127  # of the GIF, beside the transparent one


def animate(
    recordings: Sequence[Recording], path: str | os.PathLike, fps: float = 10, view: View | None = None
) -> None:
    """Write the recordings, side by side and in step, to a .gif or .mp4 file.

    One image per recorded frame, `fps` images a second: 1 / step_seconds is real time. Shorter recordings hold their
    last frame, and the end is held for two seconds. The first image is the first frame that shows cars everywhere and
    an agent's car somewhere; the clock in it tells how far the episode has come. `view` = (xmin, xmax, ymin, ymax) in
    m; by default 50 m around the middle of the road network. Cars are coloured by speed; agents have a black outline,
    reckless humans a magenta one and a warning sign; a crash is marked by a red star that stays.

    Raises AverseError for another suffix, an fps that players cannot show, recordings without a frame or with different
    time steps, an empty view, and an MP4 without `imageio-ffmpeg`.
    """
    members("recordings", Recording, "recorded episodes", recordings)
    check_value("view", tuple[Number, Number, Number, Number] | None, view)
    check_film(path, fps)
    write_film(Painter(recordings, view), path, fps)


def write_film(
    film: Film, path: str | os.PathLike, fps: float, on_progress: Callable[[int], None] = lambda frames: None
) -> None:
    """Write a film to a .gif or .mp4 file, whole or not at all.

    Args:
      fps: images per second. The end is held for two seconds.
      on_progress: called after every frame with 1.

    Raises AverseError for another suffix, an fps that players cannot show, and an MP4 without `imageio-ffmpeg`.
    """
    suffix = check_film(path, fps)
    with written_whole(as_path("path", path)) as temporary:
        (_write_gif if suffix == ".gif" else _write_mp4)(film, temporary, fps, on_progress)


def film_of_rows(rows: Sequence[Sequence[RecordedEpisode]], speed: float = 1.0) -> tuple[Film, float]:
    """A film of recorded episodes of one world, and its images per second, for `write_film`.

    Args:
      rows: episodes that are shown side by side and in step; the rows follow one another.
      speed: how many times as fast as the world's drawing has it. Of more than 25 images a second some are left out.

    Raises AverseError for no episode, for what cannot be drawn, and for a speed that is not positive.
    """
    check_value("speed", Positive, speed)
    instance("rows", list | tuple, rows, "a list of lists of recorded episodes")
    if not rows:
        raise AverseError("rows is empty: no episode to draw")
    films = [film_of(row) for row in rows]
    rate = speed / films[0][1]
    every = math.ceil(rate / SMOOTH - 1e-9)
    fps = rate / every
    return OneAfterAnother([film for film, _ in films], every, round(HOLD_SECONDS * fps)), fps


def check_film(path: str | os.PathLike, fps: float = 10) -> str:
    """The suffix of a film's file: ".gif" or ".mp4".

    Raises AverseError for another one, an fps that players cannot show, and an MP4 without `imageio-ffmpeg`.
    """
    path = as_path("path", path)
    suffix = path.suffix.lower()
    if suffix not in (".gif", ".mp4"):
        raise AverseError(f"an animation's file name must end in .gif or .mp4, not {path.name!r:.80}")
    check_value("fps", Number, fps)
    if not 0 < fps <= 50:
        raise AverseError(f"fps must be in (0, 50], which players can show, not {fps}")
    if suffix == ".mp4":
        extra_module("imageio_ffmpeg", "an MP4 (a GIF does without)")
    return suffix


def _write_gif(film: Film, path: Path, fps: float, on_progress: Callable[[int], None]) -> None:
    """One palette for all frames, no dithering, and only what has changed since the frame before."""
    palette, index_of = _palette(film)
    transparent = len(palette)
    flat = [*palette.ravel().tolist(), 0, 0, 0]
    delays = _centiseconds(film.length - film.start, fps)

    def frames() -> Iterator[Image.Image]:
        shown: np.ndarray | None = None
        for i in range(film.start, film.length):
            pixels = np.asarray(film.frame(i))
            indices = index_of[_cell(pixels)]
            changes = indices if shown is None else np.where(indices == shown, np.uint8(transparent), indices)
            shown = indices
            image = Image.fromarray(changes, "P")
            image.putpalette(flat)
            on_progress(1)
            yield image

    _save_gif(frames(), path, delays, transparent)


def _save_gif(frames: Iterator[Image.Image], path: Path, delays: Sequence[int], transparent: int) -> None:
    first = next(frames)
    first.save(
        path, "GIF", save_all=True, append_images=frames, duration=[10 * d for d in delays], loop=0, disposal=1,
        transparency=transparent, optimize=False,
    )  # fmt: skip


def _write_mp4(film: Film, path: Path, fps: float, on_progress: Callable[[int], None]) -> None:
    imageio_ffmpeg = extra_module("imageio_ffmpeg", "an MP4 (a GIF does without)")
    writer = imageio_ffmpeg.write_frames(
        str(path),
        film.size,
        fps=fps,
        codec="libx264",
        macro_block_size=2,
        quality=None,
        output_params=["-crf", "20"],
    )
    writer.send(None)
    held = repeat(film.length - 1, round(END_SECONDS * fps))
    try:
        for i in chain(range(film.start, film.length), held):
            writer.send(np.ascontiguousarray(film.frame(i)))
            on_progress(1)
    finally:
        writer.close()


def _palette(film: Film) -> tuple[np.ndarray, np.ndarray]:
    """Colours uint8 [K, 3] for all frames, and the nearest one's index for every `_cell`, uint8 [64^3].

    The film's own colours are exact; the rest is chosen among the blends at edges, by median cut over
    the *different* colours of sampled frames, so that few bright pixels count as much as much grey road.
    """
    exact = np.array(list(dict.fromkeys(film.colors)), np.uint8).reshape(-1, 3)
    sampled = [np.asarray(film.frame(i)) for i in np.linspace(film.start, film.length - 1, 8).astype(int).tolist()]
    cells = np.unique(np.concatenate([_cell(image).ravel() for image in sampled]))
    different = np.ascontiguousarray(_cell_colors(cells)[None])
    blends = Image.fromarray(different, "RGB").quantize(_COLORS - len(exact), Image.Quantize.MEDIANCUT)
    rest = np.array(blends.getpalette(), np.uint8).reshape(-1, 3)
    palette = np.concatenate([exact, rest])[:_COLORS]
    index_of = cKDTree(palette.astype(float)).query(_cell_colors(np.arange(64**3)).astype(float))[1].astype(np.uint8)
    index_of[_cell(exact)] = np.arange(len(exact), dtype=np.uint8)
    return palette, index_of


def _cell(pixels: np.ndarray) -> np.ndarray:
    """Number of the colour cell, six bits a channel: uint8 [..., 3] -> int32 [...]."""
    high = (pixels >> 2).astype(np.int32)
    return (high[..., 0] << 12) | (high[..., 1] << 6) | high[..., 2]


def _cell_colors(cells: np.ndarray) -> np.ndarray:
    """Middle colour of each cell, uint8 [..., 3]."""
    channels = np.stack([cells >> 12, (cells >> 6) & 63, cells & 63], axis=-1)
    return (channels * 4 + 2).astype(np.uint8)


def _centiseconds(count: int, fps: float) -> list[int]:
    """How long each of `count` frames is shown, in the format's 1/100 s, without drift; the last one longer."""
    ends = np.round(100 * np.arange(1, count + 1) / fps).astype(int)
    delays = np.diff(ends, prepend=0)
    delays[-1] += round(100 * END_SECONDS)
    return delays.tolist()
