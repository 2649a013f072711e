"""Microgrids from a folder of measurements: bad files, the compiled world against the exact game, what runs keep."""

import json
import re
from datetime import datetime, timedelta

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import averse
from averse import AverseError
from averse.environments.microgrids.example import write_example
from averse.environments.microgrids.own_data import pinned, read_folder
from averse.evaluation.known_models import solvable_game
from averse.planning import FactoredTeamGame, TeamGame, mean_variance
from averse.training.config import TrainingConfig, configure

HOURS = 400
SMALL = {"wind_levels": 2, "load_levels": 2, "battery_levels": 3, "price_levels": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_example(tmp_path_factory.mktemp("own") / "farm", hours=HOURS)


@pytest.fixture(scope="module")
def world(folder):
    return averse.make("microgrids", data=str(folder), **SMALL)


@pytest.fixture
def copy(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def edited(path, line, text):
    """The file with another line, None: without it; counted from 1."""
    lines = path.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")


def test_what_is_read_is_what_is_in_the_files(folder):
    found = read_folder(folder)
    assert [site.name for site in found.sites] == ["north", "south"]
    assert (found.hours, found.start) == (HOURS, datetime(2023, 1, 1))
    assert (found.hour_of_day[:25] == [*range(24), 0]).all()
    rows = [line.split(",") for line in (folder / "south.csv").read_text().splitlines()[1:]]
    np.testing.assert_array_equal(found.sites[1].wind, [float(row[1]) for row in rows])
    np.testing.assert_array_equal(found.sites[1].load, [float(row[2]) for row in rows])
    assert found.sites[1].efficiency == 0.9
    assert found.prices is not None
    assert found.prices[0] == float((folder / "prices.csv").read_text().splitlines()[1].split(",")[1])


def test_the_example_is_the_process_that_it_says(tmp_path):
    """Mean wind by the Weibull distribution of its speeds, load and price by their daily course."""
    found = read_folder(write_example(tmp_path / "long", hours=24 * 1000, seed=1))
    speed = 8 * np.sqrt(-np.log1p(-(np.arange(100_000) + 0.5) / 100_000))
    turbine = np.clip((speed**3 - 27) / (1728 - 27), 0, 1).mean()
    for site, (power, load) in zip(found.sites, ((3.0, 2.0), (2.0, 1.5))):
        blocks = site.wind.reshape(50, -1).mean(-1)  # of 20 days, which hardly depend on one another
        assert abs(site.wind.mean() - power * turbine) < 4.5 * blocks.std() / np.sqrt(50)
        assert site.wind.max() == power
        daily = site.load.reshape(-1, 24).mean(0)
        np.testing.assert_allclose(daily, load * (1 + 0.25 * np.cos(2 * np.pi * (np.arange(24) - 18) / 24)), rtol=0.02)
    assert found.prices is not None
    hours = found.prices.reshape(-1, 24).mean(0)
    np.testing.assert_allclose(hours, 60 + 15 * np.cos(2 * np.pi * (np.arange(24) - 19) / 24), atol=2.5)


BAD = {
    "no folder": (lambda f: f / "nowhere", "nowhere is no folder"),
    "a file": (lambda f: f / "north.csv", "north.csv is no folder"),
    "no list": (lambda f: (f / "microgrids.csv").unlink(), "must be a folder with microgrids.csv"),
    "an empty list": (lambda f: (f / "microgrids.csv").write_text(""), "microgrids.csv is empty"),
    "a missing battery": (
        lambda f: edited(f / "microgrids.csv", 1, "microgrid,battery_mhw,battery_mw,efficiency,curtailment_step_mw"),
        "{f}/microgrids.csv has no column 'battery_mwh'; it has ",
    ),
    "efficiency above 1": (
        lambda f: edited(f / "microgrids.csv", 2, "north,2,1,95,1"),
        "line 2 of {f}/microgrids.csv: efficiency must be in [0.1, 1], not 95",
    ),
    "no battery": (lambda f: edited(f / "microgrids.csv", 2, "north,0,1,.95,1"), "battery_mwh must be in [1e-06,"),
    "a name twice": (lambda f: edited(f / "microgrids.csv", 3, "north,2,1,.9,1"), "line 3 of {f}/microgrids.csv names"),
    "a path as name": (lambda f: edited(f / "microgrids.csv", 3, "../south,2,1,.9,1"), "a microgrid's name must be"),
    "a microgrid without file": (lambda f: (f / "south.csv").unlink(), "south.csv cannot be read as CSV: No such file"),
    "a file without microgrid": (lambda f: (f / "prize.csv").write_text("x"), "prize.csv is not read"),
    "a folder for a file": (lambda f: ((f / "south.csv").unlink(), (f / "south.csv").mkdir())[0], "cannot be read"),
    "no text": (lambda f: (f / "south.csv").write_bytes(b"\xff\xfe\x00"), "south.csv cannot be read as CSV"),
    "a missing column": (
        lambda f: edited(f / "north.csv", 1, "time,wind_mw,laod_mw"),
        "{f}/north.csv has no column 'load_mw'; it has time, wind_mw, laod_mw",
    ),
    "a further column": (
        lambda f: (f / "prices.csv").write_text((f / "north.csv").read_text().replace("load_mw", "price")),
        "prices.csv has a column 'wind_mw', which is not read; allowed: time, price",
    ),
    "a missing hour": (
        lambda f: edited(f / "north.csv", 10, None),
        "line 10 of {f}/north.csv: 2023-01-01T09:00 follows 2023-01-01T07:00, so that an hour is missing",
    ),
    "an hour twice": (lambda f: edited(f / "north.csv", 10, "2023-01-01T07:00,1,1"), "comes twice or too late"),
    "half an hour": (lambda f: edited(f / "north.csv", 10, "2023-01-01T07:30,1,1"), "comes twice or too late"),
    "no time": (lambda f: edited(f / "north.csv", 10, "8 o'clock,1,1"), "time must be a date and an hour"),
    "a zone in one line": (lambda f: edited(f / "north.csv", 10, "2023-01-01T08:00+00:00,1,1"), "an offset from UTC"),
    "negative load": (
        lambda f: edited(f / "north.csv", 10, "2023-01-01T08:00,1,-1"),
        "line 10 of {f}/north.csv: load_mw must be in [0, 1e+06], not -1",
    ),
    "NaN": (lambda f: edited(f / "north.csv", 10, "2023-01-01T08:00,nan,1"), "wind_mw must be finite, not nan"),
    "an empty cell": (lambda f: edited(f / "north.csv", 10, "2023-01-01T08:00,,1"), "wind_mw is missing"),
    "a text": (lambda f: edited(f / "north.csv", 10, "2023-01-01T08:00,calm,1"), "wind_mw must be a number, not 'ca"),
    "a cell more": (lambda f: edited(f / "north.csv", 10, "2023-01-01T08:00,1,1,1"), "line 10 of {f}/north.csv has 4"),
    "fewer hours": (
        lambda f: edited(f / "south.csv", HOURS + 1, None),
        "must have the same hours: north.csv has 400 hours from 2023-01-01T00:00 on, south.csv has 399 hours",
    ),
    "other hours of prices": (lambda f: edited(f / "prices.csv", 2, None), "must have the same hours"),
    "fewer rows than levels": (
        lambda f: (f / "north.csv").write_text("time,wind_mw,load_mw\n2023-01-01T00:00,1,1\n"),
        "north.csv has 1 hours; 336 (two weeks) are the least",
    ),
    "an absorbing level": (lambda f: ending(f / "north.csv"), "wind of north never comes back from its level 9 to"),
    "a weak battery": (
        lambda f: edited(f / "microgrids.csv", 3, "south,2,.25,.9,1"),
        "the battery of south (2 MWh, 0.25 MW) needs at least 9 battery_levels to move by a level in an hour, not 3",
    ),
    "fine curtailment": (
        lambda f: edited(f / "microgrids.csv", 3, "south,2,2,.9,.001"),
        "curtailment_step_mw of south must be above",
    ),
}  # fmt: skip


def ending(path):
    """The wind is strong in the last fifty hours, and never before."""
    lines = path.read_text().splitlines()
    for row in range(len(lines) - 50, len(lines)):
        time, _, load = lines[row].split(",")
        lines[row] = f"{time},9,{load}"
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("fault", list(BAD))
def test_one_line_for_what_is_wrong(copy, fault):
    spoil, words = BAD[fault]
    other = spoil(copy)
    given = other if fault in ("no folder", "a file") else copy
    with pytest.raises(AverseError, match=re.escape(words.format(f=copy))) as caught:
        averse.make("microgrids", data=str(given), **SMALL)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"scenario": 1}, "scenario and microgrids choose among published systems"),
        ({"microgrids": 2}, "scenario and microgrids choose among published systems"),
        ({"battery_levels": 1}, "needs at least 3 battery_levels"),
        ({"price_levels": 0}, "price_levels must be a whole number in [1, 24], not 0"),
        ({"data": ""}, "data must be a path, not ''"),
        ({"data": 3}, "data must be a text or nothing, not 3"),
    ],
)
def test_bad_parameters(folder, parameters, words):
    with pytest.raises(AverseError, match=re.escape(words)):
        averse.make("microgrids", **{"data": str(folder), **SMALL, **parameters})


def test_it_is_an_environment(world):
    averse.check_environment(world)
    assert world.num_states == 2 * (2 * 2 * 3) ** 2
    assert world.observation_size == 2 * (2 + 2 + 3) + 2


def test_the_compiled_world_is_the_exact_game(world):
    """Masks, numbers and rewards of every joint state and action; and each row of transitions is a product."""
    game = world.model()
    assert isinstance(game, TeamGame)
    models, price = world.local_models(), world.system().price
    states = jax.vmap(world.state_at)(jnp.arange(game.num_states))
    np.testing.assert_array_equal(jax.vmap(world.state_index)(states), np.arange(game.num_states))
    masks = np.asarray(jax.vmap(world.available_actions)(states))
    for agent, size in enumerate(game.num_actions):
        np.testing.assert_array_equal(masks[:, agent, :size], game.available[agent])
    observed = np.asarray(jax.vmap(world.observe)(states))
    np.testing.assert_array_equal(observed[:, 0, -2:].argmax(-1), np.arange(game.num_states) // 144)
    np.testing.assert_array_equal(observed[:, 1, -2:], observed[:, 0, -2:])
    rng = np.random.default_rng(0)
    actions = np.stack([[rng.choice(np.flatnonzero(row)) for row in mask] for mask in game.available], -1)
    draws = jnp.full((2, 2), 0.5)
    following, reward = jax.vmap(lambda s, a: world._advance(s, a, draws, jnp.float32(0.5)))(states, actions)
    exact = game.reward[np.arange(game.num_states), actions[:, 0], actions[:, 1]]
    np.testing.assert_allclose(np.asarray(reward), exact, rtol=2e-5, atol=1e-3)
    low, high = world.reward_bounds
    assert low <= exact.min() < exact.max() <= high
    dense = world.model("dense")
    for number in rng.integers(game.num_states, size=20):
        tariff, *own = np.unravel_index(number, world.system().shape)
        parts = [price.transition[tariff], *(m.transition[s, a] for m, s, a in zip(models, own, actions[number]))]
        row = np.kron(np.kron(parts[0], parts[1]), parts[2])
        np.testing.assert_allclose(dense.transition[number, actions[number, 0], actions[number, 1]], row, atol=1e-15)
    assert (np.asarray(following.battery) < world.battery_levels).all()


def test_long_runs_have_the_exact_mean_and_variance(world):
    """Random actions, 400 worlds for 500 hours: against the exact chain, in units of the runs' own scatter."""
    game = world.model()
    eta, zeta = mean_variance(game, game.uniform_policy(), 0.0)[:2]
    keys = jax.random.split(jax.random.key(0), 400)

    def play(key):
        begin, go = jax.random.split(key)

        def hour(state, key):
            chance, choice = jax.random.split(key)
            mask = world.available_actions(state)
            actions = jax.random.categorical(choice, jnp.where(mask, 0.0, -1e9))
            result = world.step(chance, state, actions)
            return result.state, result.rewards[0]

        return jax.lax.scan(hour, world.reset(begin)[0], jax.random.split(go, 500))[1]

    rewards = np.asarray(jax.jit(jax.vmap(play))(keys), float)[:, 50:]
    for values, exact in ((rewards, eta), (np.square(rewards - eta), zeta)):
        scatter = values.mean(-1).std() / np.sqrt(len(values))
        assert abs(values.mean() - exact) < 4.5 * scatter
        assert scatter < 0.1 * abs(exact)


def test_without_prices_the_game_is_factored_and_the_same(copy):
    (copy / "prices.csv").unlink()
    world = averse.make("microgrids", data=str(copy), **SMALL)
    game = world.model()
    assert isinstance(game, FactoredTeamGame)
    policy = game.uniform_policy()
    sparse = mean_variance(world.model("sparse"), policy, 0.3)
    assert mean_variance(game, policy, 0.3)[:3] == pytest.approx(sparse[:3], rel=1e-9)
    assert "mean_power" in world.metrics
    assert world.observation_size == 14


def test_a_game_with_prices_is_not_factored_and_may_be_too_large(world, folder):
    with pytest.raises(AverseError, match='use form="sparse"'):
        world.model("factored")
    large = averse.make("microgrids", data=str(folder))
    with pytest.raises(AverseError, match=r"joint states would take .* GB; use fewer levels"):
        large.model()
    assert solvable_game(large) is None
    assert solvable_game(world) is not None


def test_a_microgrid_that_is_a_battery_alone(copy):
    start = datetime(2023, 1, 1)
    rows = [f"{(start + timedelta(hours=k)).isoformat()},0,0" for k in range(HOURS)]
    (copy / "south.csv").write_text("\n".join(["time,wind_mw,load_mw", *rows]))
    world = averse.make("microgrids", data=str(copy), **SMALL)
    assert [model.num_states for model in world.local_models()] == [12, 3]
    observed = np.asarray(world.reset(jax.random.key(0))[1])
    assert (observed[0, 7:11] == 0).all()
    assert world.action_space.num_actions == max(model.num_actions for model in world.local_models())


def test_a_configuration_builds_the_world_again_and_refuses_another_folder(copy, monkeypatch):
    """From any folder, as the path is whole; from changed files, in one line."""
    monkeypatch.chdir(copy.parent)
    config = configure("microgrids", "mv-ippo", 1e3, environment_parameters={"data": copy.name, **SMALL})
    text = config.to_json()
    assert json.loads(text)["environment_parameters"]["data"] == pinned(str(copy))
    monkeypatch.chdir("/")
    again = TrainingConfig.from_json(text).build_environment()
    assert again == config.build_environment()
    edited(copy / "north.csv", 10, "2023-01-01T08:00,1.5,1.5")
    with pytest.raises(AverseError, match=r"the files in .* have changed since they were fitted"):
        TrainingConfig.from_json(text).build_environment()
    shifted = averse.make("microgrids", data=str(copy), **SMALL)  # named anew, it is what it is now
    assert shifted.data != again.data
    (copy / "north.csv").unlink()
    for file in copy.iterdir():
        file.unlink()
    copy.rmdir()
    with pytest.raises(AverseError, match="is no folder; put it back where it was"):
        TrainingConfig.from_json(text).build_environment()
