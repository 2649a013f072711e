"""Hand-written drivers in the compiled intersection: the trade-off that the task's constants are chosen for."""

import numpy as np
import pytest

from averse.cli import main
from averse.environments.intersection.drivers import Reservation, Rush
from averse.environments.intersection.twin import Intersection
from averse.errors import AverseError
from averse.experiments.drivers import drive, driver

SEEDS = np.arange(1000)


@pytest.fixture(scope="module")
def trade_off() -> dict:
    """(collision rate, crossing time, mean return) by accepted gap."""
    figures = {}
    for gap in (-np.inf, -1.5, 0.0, 1.0):
        f = drive(Intersection(), Reservation(Intersection(), gap), SEEDS)
        seconds = f.metrics["crossing_time"]
        figures[gap] = (f.metrics["collision"].mean(), np.nanmean(seconds), f.agent_returns.mean())
    return figures


def test_safety_costs_time(trade_off):
    rates, seconds, _ = zip(*trade_off.values(), strict=True)
    assert rates[0] > rates[1] > rates[2] >= rates[3]
    assert list(seconds) == sorted(seconds)


def test_the_best_on_average_crashes_and_the_careful_hardly_ever(trade_off):
    """The calibration: whoever maximises the mean return is tempted, and a car can do without crashing at a price."""
    returns = {gap: figures[2] for gap, figures in trade_off.items()}
    assert max(returns, key=returns.get) == -1.5
    assert 0.02 < trade_off[-1.5][0] < 0.15
    assert trade_off[1.0][0] < 0.01
    assert trade_off[1.0][1] < trade_off[-1.5][1] + 6


def test_without_humans_agents_with_reservations_all_arrive():
    world = Intersection(human_rate=0.0, num_agents=8)
    reserved, rushed = (drive(world, policy(world), SEEDS[:100]).metrics for policy in (Reservation, Rush))
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
        ("sumo-drivers", "sumo-intersection only"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(AverseError, match=message):
        driver(name, Intersection())


def test_the_command_writes_its_table_and_refuses_to_overwrite_it(tmp_path, capsys):
    command = [
        "drivers",
        "rush",
        "reservation:-1",
        "--env",
        "intersection",
        "--episodes",
        "20",
        "--out",
        str(tmp_path / "d"),
    ]
    assert main(command) == 0
    assert {path.name for path in (tmp_path / "d").iterdir()} == {
        "rush.parquet", "reservation--1.parquet", "table.md", "table.json",
    }  # fmt: skip
    assert "reservation:-1" in capsys.readouterr().out
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["drivers", "--env", "risky-cartpole"]) == 2
    assert "not in risky-cartpole" in capsys.readouterr().err
