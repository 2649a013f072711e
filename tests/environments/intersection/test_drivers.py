"""Hand-written drivers in the compiled intersection: the trade-off that the task's constants are chosen for."""

import json
from pathlib import Path

import numpy as np
import pytest

from averse.cli import main
from averse.environments.intersection.drivers import Reservation, Rush
from averse.environments.intersection.task import METRICS
from averse.environments.intersection.twin import Intersection
from averse.errors import AverseError
from averse.evaluation import Episodes
from averse.experiments.drivers import drive, driver
from averse.files import write_text
from averse.training import configure

SEEDS = np.arange(250)


@pytest.fixture(scope="module")
def trade_off() -> dict:
    """(collision rate, crossing time, mean return) by accepted gap."""
    figures = {}
    for gap in (-np.inf, -1.5, 0.0, 1.0):
        f = drive(Intersection(), Reservation(Intersection(), gap), SEEDS)
        seconds = f.metrics["crossing_time"]
        figures[gap] = (f.metrics["collision"].mean(), np.nanmean(seconds), f.agent_returns.mean())
    return figures


@pytest.mark.thorough
def test_safety_costs_time(trade_off):
    rates, seconds, _ = zip(*trade_off.values(), strict=True)
    assert rates[0] > rates[1] > max(rates[2:])
    assert list(seconds) == sorted(seconds)


@pytest.mark.thorough
def test_the_best_on_average_crashes_and_the_careful_hardly_ever(trade_off):
    """The calibration: whoever maximises the mean return is tempted, and a car can do without crashing at a price."""
    returns = {gap: figures[2] for gap, figures in trade_off.items()}
    assert max(returns, key=returns.get) == -1.5
    assert 0.02 < trade_off[-1.5][0] < 0.15
    assert trade_off[1.0][0] < 0.015
    assert trade_off[1.0][1] < trade_off[-1.5][1] + 6


@pytest.mark.thorough
def test_without_humans_agents_with_reservations_all_arrive():
    world = Intersection(human_rate=0.0, num_agents=8)
    reserved, rushed = (drive(world, policy(world), SEEDS[:50]).metrics for policy in (Reservation, Rush))
    assert reserved["collisions"].sum() == 0
    assert reserved["arrival"].mean() > 0.98
    assert rushed["collision"].mean() > 0.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rsh", "rush"),
        ("rush:1", "rush"),
        ("reservation:x", "number of seconds"),
        ("reservation:nan", "number of seconds"),
        ("gap-acceptance:5", "agents see gaps of -5 to 5 s"),
        ("gap-acceptance:-inf", "agents see gaps of -5 to 5 s"),
        ("sumo-drivers", "sumo-intersection only"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(AverseError, match=message):
        driver(name, Intersection())


def learned(path, environment="sumo-intersection", method="mappo", **parameters) -> Path:
    """A run directory as `train` and `evaluate --env intersection` leave it, without the policies."""
    config = configure(environment, method, 1e4, 2, environment_parameters=parameters)
    write_text(path / "config.json", config.to_json())
    return path


def episodes(returns) -> Episodes:
    n = len(returns)
    metrics = {name: np.zeros(n) for name in METRICS}
    return Episodes(np.arange(n) % 2, np.arange(n), np.asarray(returns, float), np.ones(n), np.zeros(n, bool), metrics)


@pytest.fixture
def undriven(monkeypatch):
    """Nothing is driven where the question is what is shown beside it: each episode's return is 0."""

    def drive(environment, policy, seeds, on_progress):
        return episodes(np.zeros(len(seeds)))

    monkeypatch.setattr("averse.experiments.drivers.drive", drive)


@pytest.mark.thorough
def test_the_command_writes_its_table_beside_learned_policies_and_overwrites_nothing(tmp_path, capsys):
    run = learned(tmp_path / "careful")
    episodes(np.full(100, 1.25)).write_parquet(run / "episodes-intersection.parquet")
    out = tmp_path / "drivers"
    command = ["drivers", "rush", "reservation:-1", "--env", "intersection", "--episodes", "250"]
    command += ["--beside", str(run), "--out", str(out)]
    assert main(command) == 0
    files = {"rush.parquet", "reservation--1.parquet", "table.md", "table.json", "tradeoff.png"}
    assert {path.name for path in out.iterdir()} == files
    table = json.loads((out / "table.json").read_text())
    assert list(table) == ["rush", "reservation:-1", "careful"]
    assert table["careful"]["mean"]["value"] == 1.25
    assert table["rush"]["collision_rate"]["value"] > table["reservation:-1"]["collision_rate"]["value"]
    rushing = table["rush"]["collision_rate"]
    assert rushing["low"] < 0.354 < rushing["high"]  # as in 1,000 episodes, docs/results.md
    assert "reservation:-1" in capsys.readouterr().out
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.usefixtures("undriven")
@pytest.mark.parametrize("content", [{"finished": False, "updates": [30, 40], "total_updates": 100}, {}, None])
def test_learned_policies_that_are_not_trained_to_their_end_are_called_so(tmp_path, capsys, content):
    run = learned(tmp_path / "careful")
    episodes(np.full(20, 1.25)).write_parquet(run / "episodes-intersection.parquet")
    if content is not None:
        (run / "evaluation-intersection.json").write_text(json.dumps(content))
    command = ["drivers", "rush", "--env", "intersection", "--episodes", "250", "--beside", str(run)]
    assert main(command) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert ("unfinished run, after 30 of 100 updates" in told) == bool(content)
    assert main([*command, "--json"]) == 0
    warning = json.loads(capsys.readouterr().out)["careful"].get("warning", "")
    assert ("unfinished" in warning) == bool(content)
    (run / "evaluation-intersection.json").write_text("[1]")
    assert main(command) == 2


@pytest.mark.usefixtures("undriven")
def test_policies_trained_among_other_drivers_are_shown_by_their_shifted_evaluation(tmp_path, capsys):
    run = learned(tmp_path / "careful", human_rate=0.1)
    episodes(np.full(20, 9.0)).write_parquet(
        run / "episodes-intersection.parquet"
    )  # of another world than is asked for
    command = ["drivers", "rush", "--env", "intersection", "--episodes", "20", "--json", "--beside", str(run)]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"make it with: averse evaluate {run} --env intersection --shift human_rate=0.2" in told
    episodes(np.full(20, 1.25)).write_parquet(run / "episodes-intersection-human_rate=0.2.parquet")
    content = {"finished": False, "updates": [3], "total_updates": 9}
    (run / "evaluation-intersection-human_rate=0.2.json").write_text(json.dumps(content))
    assert main(command) == 0
    shown = json.loads(capsys.readouterr().out)["careful"]
    assert shown["mean"]["value"] == 1.25
    assert "after 3 of 9 updates" in shown["warning"]
    assert main([*command, "--human-rate", "0.1"]) == 0  # the world of its training
    assert json.loads(capsys.readouterr().out)["careful"]["mean"]["value"] == 9.0
    assert main([*command, "--human-rate", "0.4", "--reckless-fraction", "0.1"]) == 2
    assert "--shift human_rate=0.4 reckless_fraction=0.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [("--num-agents", "2", "num_agents is 2, not 4"), ("--human-rate", "0", "global_state_size is")],
)
def test_policies_that_cannot_act_in_the_drivers_world_are_refused_without_a_command(
    tmp_path, capsys, flag, value, words
):
    run = learned(tmp_path / "careful")
    assert main(["drivers", "rush", "--env", "intersection", flag, value, "--beside", str(run)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert words in told
    assert "make it with" not in told


def test_bad_commands_are_one_clear_line(tmp_path, capsys):
    def refused(*arguments: str) -> str:
        assert main(["drivers", "rush", "--env", "intersection", *arguments]) == 2
        return capsys.readouterr().err

    assert "not in risky-cartpole" in refused("--env", "risky-cartpole")
    assert "episodes must be a whole number >= 1, not 0" in refused("--episodes", "0")
    assert "no such folder" in refused("--beside", str(tmp_path / "nothing"))
    assert "averse evaluate" in refused("--beside", str(learned(tmp_path / "not-evaluated")))
    assert "another crash_penalty" in refused("--beside", str(learned(tmp_path / "other", crash_penalty=1.0)))
    assert "not at the intersection" in refused("--beside", str(learned(tmp_path / "pole", "risky-cartpole", "ppo")))
