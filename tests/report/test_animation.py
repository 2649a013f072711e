"""Animations of a synthetic recording: decoded again and compared with the frames that were drawn."""

import sys

import numpy as np
import pytest
from PIL import Image

from averse.environments.intersection.recording import Car, Recording
from averse.errors import AverseError
from averse.report.animation import END_SECONDS, animate
from averse.report.drawing import BURST, PANEL, RECKLESS, Painter, car_outline, crashes, junction_view, speed_color

LANES = [np.array([[-100.0, -1.6], [100.0, -1.6]]), np.array([[1.6, -100.0], [1.6, 100.0]])]


def make_car(name="a", kind="agent", x=0.0, y=0.0, heading=0.0, speed=5.0, crashed=False) -> Car:
    return Car(name, kind, x, y, heading, speed, 5.0, 1.8, crashed)


def make_recording(frames=30, crash_at: int | None = 12, title="policy", step_seconds=0.1) -> Recording:
    """An agent from the west and a reckless human from the south; they crash in the middle and are removed."""
    result = []
    for t in range(frames):
        along = -20 + 20 * t / 12
        cars = [make_car("h", "human", 40 - t, 1.6, np.pi, 10.0)]
        if crash_at is None or t < crash_at:
            cars.append(make_car("a", "agent", along, -1.6))
            cars.append(make_car("r", "reckless", 1.6, along, np.pi / 2, 12.0))
        elif t < crash_at + 5:
            cars.append(make_car("a", "agent", 0.0, -1.6, crashed=True))
            cars.append(make_car("r", "reckless", 1.6, 0.0, np.pi / 2, crashed=True))
        result.append(cars)
    return Recording(step_seconds, LANES, 3.2, result, title)


def pixels_near(image: Image.Image, color, tolerance=12) -> np.ndarray:
    return (np.abs(np.asarray(image, int) - color) <= tolerance).all(-1)


class TestCrashes:
    def test_two_cars_in_touch_are_one_crash(self):
        (crash,) = crashes(make_recording())
        assert crash.frame == 12
        assert (crash.x, crash.y) == (pytest.approx((-2.5 + 1.6) / 2), pytest.approx((-1.6 - 2.5) / 2))

    def test_distant_and_later_ones_count_apart(self):
        wrecks = [make_car("a", crashed=True), make_car("b", x=3.0, crashed=True), make_car("c", x=40.0, crashed=True)]
        later = [*wrecks, make_car("d", x=6.0, crashed=True)]
        recording = Recording(0.1, LANES, 3.2, [[], wrecks, wrecks, later], "t")
        assert [crash.frame for crash in crashes(recording)] == [1, 1, 3]

    def test_a_chain_is_one_crash(self):
        chain = [make_car(str(i), x=5.5 * i, crashed=True) for i in (0, 2, 1, 3)]
        assert len(crashes(Recording(0.1, LANES, 3.2, [chain], "t"))) == 1


class TestDrawing:
    def test_outline_is_the_car(self):
        """Front bumper at (10, 20), heading north: the car reaches 5 m to the south and .9 m to either side."""
        outline = car_outline(make_car(x=10, y=20, heading=np.pi / 2))
        assert (outline.min(0), outline.max(0)) == (pytest.approx([9.1, 15.0]), pytest.approx([10.9, 20.0]))
        grown = car_outline(make_car(x=10, y=20, heading=np.pi / 2), grow=0.2)
        assert (grown.min(0), grown.max(0)) == (pytest.approx([8.9, 14.8]), pytest.approx([11.1, 20.2]))

    def test_cars_are_where_they_should_be(self):
        recording = Recording(0.1, LANES, 3.2, [[make_car(x=27.5, y=-1.6, speed=10.0)]], "t")
        painter = Painter([recording])
        at = pixels_near(painter.frame(0), speed_color(1.0))[52 : 52 + painter.height]
        rows, columns = np.nonzero(at)
        scale = PANEL / 100
        assert columns.min() == pytest.approx((50 + 22.5) * scale, abs=1.5)
        assert columns.max() == pytest.approx((50 + 27.5) * scale, abs=1.5)
        assert rows.mean() == pytest.approx((50 + 1.6) * scale, abs=1)

    def test_bursts_stay_and_are_counted(self):
        painter = Painter([make_recording()])
        assert painter.panels[0].crashes[0].frame == 12
        marked = [pixels_near(painter.frame(i), BURST)[52:-46].sum() for i in (11, 12, 29)]
        assert marked[0] == 0
        assert marked[1] > marked[2] > 100

    def test_reckless_drivers_are_marked(self):
        painter = Painter([make_recording(crash_at=None)])
        assert pixels_near(painter.frame(0), RECKLESS)[52:-46].sum() > 20
        tame = Painter([Recording(0.1, LANES, 3.2, [[make_car()]], "t")])
        assert pixels_near(tame.frame(0), RECKLESS).sum() == 0

    def test_shorter_recordings_hold_their_last_frame(self):
        painter = Painter([make_recording(10), make_recording(20, title="long")])
        left = [np.asarray(painter.frame(i))[:, :PANEL] for i in (9, 19)]
        right = [np.asarray(painter.frame(i))[:, PANEL:-160] for i in (9, 19)]
        assert (left[0] == left[1]).all()
        assert (right[0] != right[1]).any()

    def test_view(self):
        assert junction_view(make_recording()) == (-50.0, 50.0, -50.0, 50.0)
        assert Painter([make_recording()], view=(-40, 40, -20, 20)).height == PANEL // 2


def approaching(frames: int, arrives: int, kind="agent", title="t", also=()) -> Recording:
    """A car that drives into the view from the west; 5 m/s, its middle within 50 m from frame `arrives` on."""
    along = [-50 + 0.5 * (t - arrives) + 2.5 + 0.01 for t in range(frames)]
    return Recording(0.1, LANES, 3.2, [[make_car("a", kind, x, -1.6), *also] for x in along], title)


class TestOpening:
    """A film begins where something is to be seen."""

    @pytest.mark.parametrize(
        ("recordings", "start"),
        [
            ([approaching(90, 30)], 30),
            ([approaching(90, 0)], 0),
            ([approaching(90, 30), approaching(90, 50)], 50),
            ([approaching(90, 30), approaching(20, 10)], 30),
            ([approaching(90, 30, "human")], 0),  # never an agent
            ([approaching(90, 30, "human"), approaching(90, 45)], 45),
            ([approaching(20, 500)], 0),  # nobody comes
            ([approaching(90, 30, also=[make_car("h", "human", 99.0)])], 30),
            ([approaching(90, 60, "human"), make_recording(90, 12)], 12),  # no crash is left out
        ],
    )
    def test_the_first_frame(self, recordings, start):
        assert Painter(recordings).start == start

    def test_the_first_image_shows_a_car_and_the_time(self, tmp_path):
        recording = approaching(60, 40)
        animate([recording], tmp_path / "late.gif", fps=10)
        with Image.open(tmp_path / "late.gif") as gif:
            assert gif.n_frames == 20
            first = gif.convert("RGB")
        assert np.abs(np.asarray(first, int) - np.asarray(Painter([recording]).frame(40), int)).mean() < 0.5
        assert pixels_near(first, speed_color(1.0))[52 : 52 + PANEL].sum() > 20


class TestFiles:
    def test_gif_shows_the_frames(self, tmp_path):
        recordings = [make_recording(30), make_recording(25, crash_at=None, title="a" * 200)]
        animate(recordings, tmp_path / "episode.gif", fps=12)
        painter, duration = Painter(recordings), 0
        with Image.open(tmp_path / "episode.gif") as gif:
            assert gif.size == painter.size
            for i in range(gif.n_frames):
                gif.seek(i)
                duration += gif.info["duration"]
                difference = np.abs(np.asarray(gif.convert("RGB"), int) - np.asarray(painter.frame(i), int))
                assert difference.mean() < 0.5
                assert (difference.max(-1) > 40).mean() < 1e-3
            assert gif.n_frames == 30
            assert gif.info["loop"] == 0
        assert duration == pytest.approx(1000 * (30 / 12 + END_SECONDS), abs=10)
        assert [path.name for path in tmp_path.iterdir()] == ["episode.gif"]

    def test_gif_of_a_still_scene(self, tmp_path):
        still = Recording(0.1, LANES, 3.2, [[make_car()]], "still")
        animate([still], tmp_path / "one.gif")
        with Image.open(tmp_path / "one.gif") as gif:
            assert np.abs(np.asarray(gif.convert("RGB"), int) - np.asarray(Painter([still]).frame(0), int)).mean() < 0.5

    @pytest.mark.thorough
    def test_a_long_pair_is_small(self, tmp_path):
        animate([make_recording(300, None), make_recording(300, 150)], tmp_path / "long.gif")
        assert (tmp_path / "long.gif").stat().st_size < 3e6

    def test_mp4(self, tmp_path):
        imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
        animate([make_recording(30)], tmp_path / "episode.mp4")
        reader = imageio_ffmpeg.read_frames(str(tmp_path / "episode.mp4"))
        described = next(reader)
        assert described["size"] == Painter([make_recording(30)]).size
        assert described["duration"] == pytest.approx(3.0 + END_SECONDS, abs=0.2)
        reader.close()

    def test_mp4_without_the_package(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
        with pytest.raises(
            AverseError, match=r"import imageio_ffmpeg failed: .*; pip install .*'imageio-ffmpeg>=0.5'$"
        ):
            animate([make_recording(3)], tmp_path / "episode.mp4")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (([], "a.gif"), "no recording"),
            (([make_recording(3)], "a.avi"), "must end in"),
            (([make_recording(3)], "a.gif", 0), "fps"),
            (([make_recording(3)], "a.gif", 10, (1, 0, 0, 1)), "view"),
            (([make_recording(3), make_recording(3, step_seconds=0.5)], "a.gif"), "equal time steps"),
            (([Recording(0.1, LANES, 3.2, [], "empty")], "a.gif"), "no frame"),
        ],
    )
    def test_bad_input_is_one_line(self, arguments, words, tmp_path):
        recordings, name, *rest = arguments
        with pytest.raises(AverseError, match=words) as error:
            animate(recordings, tmp_path / name, *rest)
        assert "\n" not in str(error.value)
        assert not list(tmp_path.iterdir())
