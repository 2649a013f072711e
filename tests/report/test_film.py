"""Films of every world: made-up episodes, whose pictures show what happened in them."""

import itertools
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from averse.environments import make
from averse.environments.base import CompiledEnvironment
from averse.environments.car_following import CarFollowing, CarFollowingState
from averse.environments.cliff_walk import CLIFF, GOALS, CliffWalk, CliffWalkState
from averse.environments.corridor import Corridor, CorridorState
from averse.environments.intersection.task import Scene, Status
from averse.environments.microgrids.environment import Microgrids, MicrogridsState
from averse.environments.risky_cartpole import CartPoleState, RiskyCartPole
from averse.errors import AverseError
from averse.evaluation.recording import RecordedEpisode
from averse.report import canvas
from averse.report.animation import film_of_rows, write_film
from averse.report.film import Drawing, OneAfterAnother, drawing_of, film_of
from averse.report.worlds import car_following, cartpole, classic_control, cliff_walk, corridor, microgrids, particles
from averse.report.worlds.junction import recording_of


def episode(environment, states, rewards, actions=None, info=None, title="a policy", over=True) -> RecordedEpisode:
    rewards = np.asarray(rewards, np.float32)
    rewards = rewards[:, None] if rewards.ndim == 1 else rewards
    actions = np.zeros(rewards.shape, np.int32) if actions is None else np.asarray(actions)
    return RecordedEpisode(environment, 7, title, states, actions, rewards, info or {}, over)


def cart(*physics, failed=False) -> RecordedEpisode:
    states = CartPoleState(np.array(physics, np.float32), np.ones(len(physics)), np.arange(len(physics)))
    falls = np.zeros(len(physics) - 1)
    falls[-1] = failed
    return episode(RiskyCartPole(), states, np.ones(len(physics) - 1), info={"failure": falls})


def count(image: Image.Image, color, tolerance=6) -> int:
    return int(near(image, color, tolerance).sum())


def near(image: Image.Image, color, tolerance=6) -> np.ndarray:
    return (np.abs(np.asarray(image, int) - color) <= tolerance).all(-1)


def test_particles_are_where_they_are():
    """Discs of their own size: the areas are those of their radii, the places those of the state."""
    world = SimpleNamespace(rad=np.array([0.15, 0.3, 0.05]))
    environment = SimpleNamespace(agents=("agent_0", "adversary_0"), world=world)
    places = np.array([[[-1.0, 1.0], [0.5, 0.0], [0.0, -1.0]]] * 2)
    places[1, 1] = (1.0, 0.0)
    shot = episode(environment, SimpleNamespace(inner=SimpleNamespace(p_pos=places)), np.zeros((1, 2)))
    scale = particles.SIDE / (2 * particles.REACH)
    image = particles.frame(shot, 0)
    for k, color in enumerate((canvas.BLUE, canvas.RED, canvas.FAINT)):
        rows, columns = np.nonzero(near(image, color))
        assert columns.mean() == pytest.approx((places[0, k, 0] + particles.REACH) * scale, abs=2)
        assert rows.mean() == pytest.approx((particles.REACH - places[0, k, 1]) * scale, abs=2)
        assert len(rows) == pytest.approx(np.pi * (world.rad[k] * scale) ** 2, rel=0.2)
    assert (
        np.nonzero(near(particles.frame(shot, 1), canvas.RED))[1].max() > np.nonzero(near(image, canvas.RED))[1].max()
    )


class Inner(NamedTuple):
    inner: object


class Cart(NamedTuple):
    x: np.ndarray
    x_dot: np.ndarray
    theta: np.ndarray
    theta_dot: np.ndarray


def test_gymnasium_draws_the_state_of_a_compiled_cart():
    states = Inner(Cart(np.array([0.0, 1.2]), *np.zeros((3, 2))))
    shot = episode(SimpleNamespace(id="CartPole-v1", name="gymnax:CartPole-v1"), states, np.ones(1))
    middles = []
    for index in range(2):
        picture = classic_control.frame(shot, index)
        rows, columns = np.nonzero((picture < 40).all(-1))  # the cart and its track are black
        carts = columns[rows != np.bincount(rows).argmax()]
        middles.append(np.median(carts))
    assert middles[1] - middles[0] == pytest.approx(1.2 * 600 / 4.8, abs=3)  # px of a track of 4.8 m


class TestCartPole:
    def test_the_cart_is_where_it_is(self):
        shot = cart((0, 0, 0, 0), (1.4, 0, 0.1, 0))
        for index, x in ((0, 0.0), (1, 1.4)):
            columns = np.nonzero(near(cartpole.frame(shot, index), canvas.BLUE))[1]
            scale = cartpole.WIDTH / 5.6
            assert columns.mean() == pytest.approx((2.8 + x) * scale, abs=3)

    def test_a_failure_is_red(self):
        states = ((0, 0, 0, 0), (0, 0, 0.3, 0))
        fine, failed = (count(cartpole.frame(cart(*states, failed=f), 1), canvas.RED) for f in (False, True))
        assert failed > fine + 500
        assert count(cartpole.frame(cart(*states, failed=True), 0), canvas.RED) == fine  # not before it happens

    def test_the_push_points_where_it_goes(self):
        states = CartPoleState(np.zeros((2, 4), np.float32), np.ones(2), np.arange(2))
        middles = []
        for action in (0, 1):
            shot = episode(RiskyCartPole(), states, [1.0], [[action]])
            ink = near(cartpole.frame(shot, 1), canvas.INK)[145:165]
            middles.append(np.nonzero(ink)[1].mean() - cartpole.WIDTH / 2)
        assert middles[0] < -2
        assert middles[1] > 2


def test_corridor_shows_what_was_chosen_and_paid():
    """Safe, risky and well, risky and badly; what is to come is blank."""
    states = CorridorState(np.arange(5), np.zeros(5))
    shot = episode(Corridor(length=4), states, [1.0, 1.5, -2.0, 1.0], [[0], [1], [1], [0]])
    colors = (canvas.GREEN, canvas.YELLOW, canvas.RED)
    legend = [count(corridor.frame(shot, 0), color) for color in colors]
    shown = [[count(corridor.frame(shot, k), c) - own > 1000 for c, own in zip(colors, legend)] for k in range(1, 5)]
    assert shown == [[True, False, False], [True, True, False], [True, True, True], [True, True, True]]
    long = corridor.frame(episode(Corridor(length=10_000), CorridorState(np.arange(2), np.zeros(2)), [1.0]), 1)
    assert long.size == (corridor.WIDTH, corridor.HEIGHT)


def test_cars_are_on_the_road_and_crashes_are_told():
    zeros = np.zeros((3, 2), np.float32)
    position = np.array([[0, 0], [2.5, 0], [5, 0]], np.float32)
    states = CarFollowingState(position, zeros, zeros > 0, np.array([0, 0, 1.0]), np.zeros(3), np.arange(3))
    shot = episode(CarFollowing(), states, np.zeros((2, 2)))
    places = []
    for index in range(3):
        _, columns = np.nonzero(near(car_following.frame(shot, index), canvas.BLUE)[80:140])
        places.append(columns.mean())
    metre = (car_following.WIDTH - 60) / 5
    assert np.diff(places) == pytest.approx(2.5 * metre, abs=2)
    red = [count(car_following.frame(shot, index), canvas.RED) for index in range(3)]
    assert red[:2] == [0, 0]
    assert red[2] > 50


def test_cliff_walk_shows_ways_falls_and_goals():
    cells = np.array([[30, 35], [24, 34], [GOALS[0], CLIFF[0]]])
    shot = episode(CliffWalk(), CliffWalkState(cells, np.arange(3)), np.zeros((2, 2)))
    red, green = ([count(cliff_walk.frame(shot, k), c) for k in range(3)] for c in (canvas.RED, canvas.GREEN))
    assert red[0] == green[0] == 0
    assert red[1] > 100  # agent 2 walked off the cliff
    assert green[1] == 0
    assert green[2] > 100


def test_microgrids_are_curves_that_grow():
    world = Microgrids()
    hours, grids = 48, world.num_agents
    levels = np.tile(np.arange(hours + 1)[:, None] % 6, (1, grids))
    zero = np.zeros(hours + 1)
    states = MicrogridsState(levels, levels, levels, np.arange(hours + 1), zero, zero, zero)
    shot = episode(world, states, np.full((hours, grids), 1.0))
    sky = [near(microgrids.frame(shot, k), canvas.GREEN) for k in (0, 24, 48)]
    furthest = [np.nonzero(found)[1].max(initial=0) for found in sky]
    assert furthest[0] == 0
    assert furthest[1] == pytest.approx((52 + 470) / 2, abs=3)
    assert furthest[2] == pytest.approx(470, abs=3)


class TestJunction:
    """A twin's states, two decisions of them: an agent that crashes, a human who vanishes, one who arrives."""

    @pytest.fixture
    def states(self):
        scene = Scene(
            movement=np.array([[1, 4, 7]] * 3),
            position=np.array([[100.0, 50.0, 190.0], [105.0, 55.0, 400.0], [109.0, 58.0, 400.0]], np.float32),
            speed=np.array([[10.0, 10.0, 10.0], [10.0, 10.0, 10.0], [8.0, 6.0, 10.0]], np.float32),
            present=np.array([[True, True, True], [True, True, False], [False, False, False]]),
            status=np.array([[Status.DRIVING], [Status.DRIVING], [Status.CRASHED]]),
            elapsed=np.arange(3.0),
        )
        return SimpleNamespace(scene=scene, reckless=np.array([[False, True, False]] * 3))

    def test_between_decisions_cars_go_on(self, states):
        recording = recording_of(episode(make("intersection", num_agents=1), states, [1.0, -9.0]))
        agent = [car for frame in recording.frames[:11] for car in frame if car.kind == "agent"]
        way = np.cumsum([np.hypot(b.x - a.x, b.y - a.y) for a, b in itertools.pairwise(agent)])
        assert way[:5] == pytest.approx([1, 2, 3, 4, 5], abs=1e-3)
        assert way[5:9] == pytest.approx([5.8, 6.6, 7.4, 8.2], abs=1e-3)
        assert way[9] == pytest.approx(9.0, abs=1e-3)

    def test_who_crashed(self, states):
        recording = recording_of(episode(make("intersection", num_agents=1), states, [1.0, -9.0]))
        wrecks = [{car.kind for car in frame if car.crashed} for frame in recording.frames]
        assert wrecks[:10] == [set()] * 10
        assert wrecks[10] == {"agent", "reckless"}  # who arrived in the first decision is gone and no wreck
        assert wrecks[-1] == {"agent", "reckless"}
        assert len(recording.frames) == 31
        assert "return -8.00" in recording.title

    def test_a_place_that_is_taken_anew(self, states):
        """The human who vanished is a wreck, the newcomer another car."""
        states.scene.present[2, 1], states.scene.position[2, 1] = True, 10.0
        recording = recording_of(episode(make("intersection", num_agents=1), states, [1.0, -9.0]))
        reckless = [(car.id, car.crashed) for car in recording.frames[10] if car.kind == "reckless"]
        assert len(set(reckless)) == 2
        assert sorted(crashed for _, crashed in reckless) == [False, True]


class Marked(CompiledEnvironment):
    """A world of one's own."""

    drawing = staticmethod(lambda shot, index: np.full((20, 30, 3), 10 * index, np.uint8))


class TestFilms:
    def shots(self, *lengths: int) -> list[RecordedEpisode]:
        return [episode(Marked(), np.zeros(n + 1), np.arange(n), title=f"of {n}") for n in lengths]

    def test_side_by_side_hold_their_last_frame(self):
        film, seconds = film_of(self.shots(2, 4))
        assert (film.length, seconds) == (5, 0.1)
        values = [[int(np.asarray(film.frame(k))[60, x, 0]) for x in (180, 546)] for k in range(5)]
        assert values == [[0, 0], [10, 10], [20, 20], [20, 30], [20, 40]]

    def test_one_after_another_with_every_last_frame(self):
        films = [film_of(self.shots(n))[0] for n in (5, 3)]
        film = OneAfterAnother(films, every=2, hold=2)
        values = [int(np.asarray(film.frame(k))[60, 180, 0]) for k in range(film.length)]
        assert values == [0, 20, 40, 50, 50, 50, 0, 20, 30]

    @pytest.mark.parametrize(("speed", "fps", "frames"), [(1, 10, 9), (2.5, 25, 9), (5, 25, 5), (0.5, 5, 9)])
    def test_speed_leaves_frames_out_where_they_are_too_many(self, speed, fps, frames, tmp_path):
        film, rate = film_of_rows([self.shots(8)], speed)
        assert (rate, film.length) == (pytest.approx(fps), frames)
        told = []
        write_film(film, tmp_path / "film.gif", rate, told.append)
        assert sum(told) == frames
        with Image.open(tmp_path / "film.gif") as gif:
            assert (gif.n_frames, gif.size) == (frames, film.size)

    def test_photographs_have_no_colours_of_their_own(self, tmp_path):
        """A gradient: the palette is chosen from what is there."""
        world = Marked()
        gradient = np.arange(200, dtype=np.uint8)[None, :, None] * np.ones((20, 1, 3), np.uint8)
        object.__setattr__(world, "drawing", Drawing(lambda shot, index: gradient, colors=()))
        film, rate = film_of_rows([[episode(world, np.zeros(3), np.zeros(2))]])
        write_film(film, tmp_path / "film.gif", rate)
        with Image.open(tmp_path / "film.gif") as gif:
            shown = np.asarray(gif.convert("RGB"), int)[60, 80:280, 0]
        assert np.abs(shown - np.arange(200)).max() < 12

    def test_an_interruption_leaves_nothing(self, tmp_path):
        film, rate = film_of_rows([self.shots(8)])

        def stop(frames):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_film(film, tmp_path / "film.gif", rate, stop)
        assert not list(tmp_path.iterdir())

    def test_the_doors(self):
        for drawing in ("averse.report.worlds.corridor:DRAWING", corridor.DRAWING):
            world = Marked()
            object.__setattr__(world, "drawing", drawing)
            assert drawing_of(world) is corridor.DRAWING
        assert isinstance(drawing_of(Marked()), Drawing)

    @pytest.mark.parametrize(
        ("drawing", "words"),
        [
            (None, "has no `drawing`"),
            (3, "must be a function or a Drawing, not 3"),
            ("nowhere:DRAWING", "the drawing nowhere:DRAWING cannot be imported"),
            (lambda shot, index: np.zeros((3, 3)), "must give a Pillow image or uint8"),
            (lambda shot, index: None, "must give a Pillow image or uint8"),
            (lambda shot, index: np.zeros((3 + index, 3, 3), np.uint8), "must be of one size"),
        ],
    )
    def test_what_cannot_be_drawn(self, drawing, words, tmp_path):
        world = Marked()
        object.__setattr__(world, "drawing", drawing)
        shot = episode(world, np.zeros(4), np.zeros(3))
        with pytest.raises(AverseError, match=words) as error:
            write_film(*film_of_rows([[shot]])[:1], tmp_path / "film.gif", 10)
        assert "\n" not in str(error.value)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("rows", "words"), [([], "rows is empty"), ([[]], "episodes is empty"), ("x", "rows must")]
    )
    def test_nothing_to_draw(self, rows, words):
        with pytest.raises(AverseError, match=words):
            film_of_rows(rows)
