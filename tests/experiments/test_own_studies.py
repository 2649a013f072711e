"""`averse microgrids fit` and `week` of measurements and of trained policies, on the command line."""

import contextlib
import csv
import io
import json
import re

import matplotlib.image
import numpy as np
import pytest

import averse
from averse import cli
from averse.environments.microgrids.example import write_example
from averse.environments.microgrids.own_data import pinned
from averse.experiments.microgrids.own_studies import OwnScale, fit_study
from averse.planning import best_joint_policy, mean_variance
from averse.planning.team_games.game import TeamGame

LEVELS = ("--wind-levels", "2", "--load-levels", "2", "--battery-levels", "3", "--price-levels", "2")
SIZES = {"wind_levels": 2, "load_levels": 2, "battery_levels": 3, "price_levels": 2}
TRAIN = ("--env", "microgrids", "--method", "mv-ippo", "--steps", "64", "--num-envs", "4", "--rollout-steps", "8")
BETA = 0.02


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def farm(place):
    return str(write_example(place / "farm", hours=600))


@pytest.fixture(scope="module")
def told(place, farm):
    """What `fit` and the week of the optimum leave, and in words.txt what they say."""
    out, words = place / "optimum", io.StringIO()
    with contextlib.redirect_stdout(words):
        command = ["microgrids", "fit", "week", "--data", farm, "--out", str(out), "--beta", str(BETA), *LEVELS]
        assert cli.main(command) == 0
    (out / "words.txt").write_text(words.getvalue())
    return out


@pytest.fixture(scope="module")
def run(place, farm):
    run = place / "run"
    assert cli.main(["train", *TRAIN, "--data", farm, "--out", str(run), "--quiet", "--seeds", "2", *LEVELS]) == 0
    return str(run)


def rows_of(path):
    with path.open() as file:
        return [
            {k: v if k in ("policy", "microgrid") else float(v) for k, v in row.items()} for row in csv.DictReader(file)
        ]


def test_files_and_figures(told):
    assert {path.name for path in told.iterdir()} == {f"{n}.{s}" for n in ("fit", "week") for s in ("json", "png")} | {
        "week.csv",
        "words.txt",
    }
    for name in ("fit", "week"):
        assert matplotlib.image.imread(told / f"{name}.png")[..., :3].std() > 0.05


def test_the_fit_of_each_series(told, farm):
    data = json.loads((told / "fit.json").read_text())["data"]
    assert [found["name"] for found in data["series"]] == [
        "wind of north", "load of north", "wind of south", "load of south", "price",
    ]  # fmt: skip
    world = OwnScale({"data": farm, **SIZES}).world()
    chains = [c for m in world.local_models() for c in (m.wind, m.load)] + [world.system().price]
    for found, chain in zip(data["series"], chains):
        np.testing.assert_allclose(found["transition"], chain.transition, rtol=1e-12)
        np.testing.assert_allclose(
            found["steady_state"], np.array(found["steady_state"]) @ chain.transition, atol=1e-12
        )
        assert found["held_out"]["difference"]["low"] > 0
    # Load has a daily rhythm, and hours are as many in every quarter; a chain has none.
    assert data["series"][1]["between_quarters_of_the_day"]["p_value"] < 1e-6
    words = " ".join((told / "words.txt").read_text().split())  # lines are folded where a path is long
    for text in ("600 hours from 2023-01-01", "wind of south: transitions per hour", "held-out gain", "fit.png"):
        assert text in words


def test_without_management_the_chains_have_the_mean_and_variance_of_the_exact_game(farm):
    """And the mean power that was measured, without prices, to what smoothing moves."""
    scale = OwnScale({"data": farm, **SIZES})
    found = fit_study(scale, lambda: None)["no_management"]
    world = scale.world()
    game = world.model()
    assert isinstance(game, TeamGame)
    idle = [np.tile(np.eye(n)[action], (game.num_states, 1)) for n, action in zip(game.num_actions, world.idle)]
    exact = mean_variance(game, idle, 0.0, initial=np.full(game.num_states, 1 / game.num_states))
    assert found["chains"] == pytest.approx(exact[:2], rel=1e-9)
    assert found["hours"][0] == pytest.approx(found["chains"][0], rel=0.1)


def test_the_schedule_adds_up(told):
    """Hour by hour: power, losses, energy; in the long run the week is that of the certified optimum."""
    rows = rows_of(told / "week.csv")
    assert len(rows) == 168 * 2 * 2
    efficiency, capacity = {"north": 0.95, "south": 0.9}, {"north": 2.0, "south": 1.0}
    before = {}
    for row in rows:
        net = row["wind_mw"] - row["load_mw"] + row["battery_mw"] - row["curtailed_mw"]
        assert row["sold_mw"] == pytest.approx(net, abs=1e-7)
        assert row["revenue"] == pytest.approx(row["price"] * row["sold_mw"], abs=1e-5)
        assert 0 <= row["energy_mwh"] <= capacity[row["microgrid"]]
        assert 0 <= row["curtailed_mw"] <= row["wind_mw"] + 1e-9
        key, share = (row["policy"], row["microgrid"]), efficiency[row["microgrid"]]
        if row["hour"]:
            left = before[key] - row["energy_mwh"]
            assert row["battery_mw"] == pytest.approx(left * share if left > 0 else left / share, abs=1e-7)
        before[key] = row["energy_mwh"]
    idle, best = ([r for r in rows if r["policy"] == policy] for policy in ("no management", "optimum"))
    assert {r["battery_mw"] for r in idle} == {0.0}
    assert [r["wind_mw"] for r in idle] == [r["wind_mw"] for r in best]  # the same weather
    assert [r["price"] for r in idle] == [r["price"] for r in best]


def test_the_optimum_is_that_of_the_planner(told, farm):
    data = json.loads((told / "week.json").read_text())["data"]
    exact = best_joint_policy(OwnScale({"data": farm, **SIZES}).world().model(), BETA, gap=1e-3)
    assert data["optimum"]["objective"] == pytest.approx(exact.objective, abs=data["optimum"]["gap"] + exact.gap)


@pytest.mark.thorough
def test_a_week_of_a_trained_policy(place, run, capsys):
    out = place / "trained"
    assert cli.main(["microgrids", "--run", run, "--trial", "seed=1", "--out", str(out)]) == 0
    assert "mv-ippo" in capsys.readouterr().out
    rows = rows_of(out / "week.csv")
    assert {row["policy"] for row in rows} == {"no management", "mv-ippo"}
    power = [row["sold_mw"] for row in rows if row["policy"] == "mv-ippo"]
    assert power != [row["sold_mw"] for row in rows if row["policy"] == "no management"]


def test_other_measurements_are_a_shifted_world(place, run):
    other = str(write_example(place / "other", hours=600, seed=1))
    there = averse.load(run).moved_to(parameters={"data": other}).environment
    assert there.data == pinned(other)
    assert there.local_models()[0].wind.power[0] != averse.load(run).environment.local_models()[0].wind.power[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("fit", "fit needs --data FOLDER"),
        ("week --beta 0.3", "--beta is for --data FOLDER"),
        ("week --wind-levels 3", "--wind-levels is for --data FOLDER"),
        ("week --trial 0", "--trial is for --run RUN"),
        ("fit --data {farm} --run {run}", "--run says itself which data"),
        ("frontier --data {farm}", "unknown study with --data 'frontier'; allowed: fit, week"),
        ("fit --run {run}", "unknown study with --run 'fit'; allowed: week"),
        ("week --run {run}", "choose one of 2 trials"),
        ("week --run {run} --trial tau=1", "told apart by seed, not by 'tau'"),
        ("week --run {run} --trial 0 --beta 0.3", "--beta is for --data FOLDER"),
        ("week --run {farm}", "is not a run directory"),
        ("week --data {farm}", "needs at most 5,000 joint states, and there are 139,968"),
        (f"week --data {{farm}} --out {{farm}}/north.csv {' '.join(LEVELS)}", "cannot be a folder for results"),
        ("fit --data {farm} --wind-levels 0", "wind_levels must be a whole number in [1, 24], not 0"),
        ("fit --data {place}", "must be a folder with microgrids.csv"),
        ("fit --data {farm} --out {told} --wind-levels 3", "fit.json holds results of other settings"),
        ("exampel", "unknown study 'exampel'; did you mean example"),
    ],
)
def test_one_line_for_what_is_wrong(place, farm, run, told, capsys, given, words):
    texts = given.format(place=place, farm=farm, run=run, told=told).split()
    out = [] if "--out" in given else ["--out", str(place / "none")]
    assert cli.main(["microgrids", *texts, *out]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert re.sub(r"\s+", " ", words) in lines[-1]
    assert len(lines) == 1
    assert not (place / "none").exists()


def test_an_example_that_is_ready_to_use(tmp_path, capsys):
    assert cli.main(["microgrids", "example", "--out", str(tmp_path)]) == 0
    assert f"--data {tmp_path / 'example'}" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"example"}
    assert {path.name for path in (tmp_path / "example").iterdir()} == {
        "microgrids.csv", "north.csv", "south.csv", "prices.csv",
    }  # fmt: skip
    assert cli.main(["microgrids", "example", "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
