"""`averse microgrids`: what the exact studies find, that they resume, and that every figure is drawn."""

import json
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from averse import AverseError, cli
from averse.environments.microgrids.environment import Microgrids
from averse.experiments.microgrids import command
from averse.experiments.microgrids.studies import STUDIES, Scale, idle_policy, microgrids_game, no_management
from averse.experiments.microgrids.week import by_tables, one_week
from averse.planning import mv_mapi
from averse.report.microgrids_architecture import draw_architecture

TINY = Scale(policies=2, starts=1, curves=1, betas=(0.0, 0.3, 1.0), levels=(2, 2, 3), gap=1e-5)
SILENT = Console(quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def found(folder):
    return {name: command.stored(name, STUDIES[name], folder / f"{name}.json", TINY, SILENT) for name in STUDIES}


@pytest.mark.thorough
def test_optimality_orders_random_policies_end_points_and_the_optimum(found):
    data = found["optimality"]
    assert data["no_management"] == pytest.approx([-1.515125, 0.567577], abs=1e-6)
    for price, best in (("0.3", -1.630651), ("1", -1.792943)):
        result = data["prices"][price]
        assert result["optimum"]["objective"] == pytest.approx(best, abs=1e-6)
        random = np.array(data["random"]) @ [1, -float(price)]
        assert len(random) == TINY.policies
        assert len(result["ends"]) == TINY.starts
        assert random.max() < min(result["ends"]) <= max(result["ends"]) < best + 1e-6
        assert max(result["ends"]) > best - 0.02


def test_the_other_studies_find_the_exact_figures(found):
    runs = found["convergence"]["prices"]
    assert {price: run["history"][-1] for price, run in runs.items()} == pytest.approx(
        {"0": -1.515125, "0.3": -1.631869, "1": -1.795973}, abs=1e-6
    )
    assert all(np.diff(run["history"]).min() >= -1e-9 for run in runs.values())
    starts = found["starts"]
    assert len(starts["runs"]) == 2 * (TINY.curves + 1)
    assert starts["best"] <= starts["optimum"]["objective"] + 1e-9
    optimum = [point["optimum"] for point in found["frontier"]["points"]]
    assert np.all(np.diff([point["zeta"] for point in optimum]) < 0)  # a higher price buys less variance
    assert np.all(np.diff([point["eta"] for point in optimum]) < 0)


def test_scenario_2_with_fewer_levels_is_ordered(found):
    for result in found["optimum-2"]["prices"].values():
        assert result["no_management"] < result["each_alone"] < result["optimum"]["objective"]
        assert result["optimum"]["gap"] <= TINY.gap


def test_a_week_is_played_on_the_exact_model(found):
    """The battery's losses and the curtailed wind account for the whole difference in power sold."""
    week = found["week"]
    idle, managed = week["policies"]["no management"], week["policies"]["managed"]
    np.testing.assert_allclose(idle["power"], np.subtract(week["wind"], week["load"]), atol=1e-9)
    assert len(set(idle["energy"])) == 1
    moved = -np.diff(managed["energy"])
    assert np.isin(moved.round(9), np.round(0.6 * np.arange(-4, 5), 9)).all()
    extra = np.subtract(managed["power"], idle["power"])[1:]
    most = np.where(moved > 0, 0.95 * moved, moved / 0.95)
    assert (extra <= np.maximum(most, 0.95 * moved) + 1e-9).all()
    assert np.var(managed["power"]) < np.var(idle["power"])


@pytest.mark.thorough
def test_long_weeks_have_the_exact_mean_and_variance():
    environment, game = microgrids_game()
    plan = mv_mapi(game, 1.0)
    tables = {"idle": idle_policy(environment, game), "managed": plan.policy}
    policies = {name: by_tables(environment.system(), policy) for name, policy in tables.items()}
    runs = one_week(environment, policies, hours=60_000, seed=3)["policies"]
    for name, (eta, zeta) in {"idle": no_management(environment, game), "managed": (plan.eta, plan.zeta)}.items():
        assert np.mean(runs[name]["power"]) == pytest.approx(eta, abs=0.06)
        assert np.var(runs[name]["power"]) == pytest.approx(zeta, rel=0.12)


def test_what_is_stored_is_not_computed_again_nor_taken_for_something_else(folder, found, monkeypatch):
    def refuse(*_):
        raise AssertionError("computed again")

    path = folder / "convergence.json"
    before = path.stat().st_mtime_ns
    monkeypatch.setitem(STUDIES, "convergence", replace(STUDIES["convergence"], compute=refuse))
    assert command.stored("convergence", STUDIES["convergence"], path, TINY, SILENT) == found["convergence"]
    assert path.stat().st_mtime_ns == before
    with pytest.raises(AverseError, match="holds results of other settings"):
        command.stored("convergence", STUDIES["convergence"], path, Scale(5, 2, 1, (0.0,), (2, 2, 3), 1e-5), SILENT)
    with pytest.raises(AverseError, match="holds results of other settings"):
        command.stored("starts", STUDIES["starts"], path, TINY, SILENT)


def test_an_interrupted_study_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(scale, tick):
        tick()
        raise KeyboardInterrupt

    monkeypatch.setitem(STUDIES, "convergence", replace(STUDIES["convergence"], compute=interrupted))
    with pytest.raises(KeyboardInterrupt):
        command.stored("convergence", STUDIES["convergence"], tmp_path / "convergence.json", TINY, SILENT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_pieces_of_work_are_counted_right():
    for name in ("convergence", "starts", "frontier", "week", "optimum-2"):
        ticks = []
        STUDIES[name].compute(TINY, lambda ticks=ticks: ticks.append(1))
        assert len(ticks) == STUDIES[name].pieces(TINY)


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_study_has_a_figure_and_words(name, found, tmp_path):
    STUDIES[name].draw(found[name], tmp_path / f"{name}.png")
    image = matplotlib.image.imread(tmp_path / f"{name}.png")
    assert image[..., :3].std() > 0.05  # not blank
    assert STUDIES[name].words(found[name])


def test_the_architecture_for_any_number_of_microgrids(tmp_path):
    for number in (1, 2, 4):
        draw_architecture(tmp_path / f"{number}.png", number)
    sizes = [matplotlib.image.imread(tmp_path / f"{number}.png").shape[1] for number in (1, 2, 4)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "QUICK", TINY)
    assert cli.main(["microgrids", "architecture", "week", "--quick", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"architecture.png", "week.json", "week.png", "week.csv"}
    assert json.loads((tmp_path / "week.json").read_text())["settings"]["study"] == "week"
    assert "managed" in capsys.readouterr().out
    assert cli.main(["microgrids", "weak", "--out", str(tmp_path)]) == 2
    assert "did you mean week?" in capsys.readouterr().err


def test_the_studies_are_about_scenario_1():
    environment, game = microgrids_game()
    assert environment == Microgrids(scenario=1)
    assert game.num_states == 1296
