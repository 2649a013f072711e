"""Untrained drivers: what they cause is the environment's difficulty. And recordings of what they do."""

import numpy as np
import pytest

pytest.importorskip("libsumo")

from averse.environments.intersection.drivers import full_speed
from averse.environments.intersection.recording import Recording
from averse.environments.sumo.environment import SumoIntersection
from averse.evaluation import Episodes
from averse.evaluation.host_play import scripted
from averse.evaluation.recording import record
from averse.experiments.drivers import NAMES, drive, driver


def drive_in_sumo(name: str, episodes: int, **parameters) -> Episodes:
    return drive(*driver(name, SumoIntersection(**parameters)), np.arange(episodes))


@pytest.fixture(scope="module")
def figures() -> dict:
    return {name: drive_in_sumo(name, 40) for name in NAMES}


def test_rushing_is_fast_and_dangerous_and_care_costs_time(figures):
    collision = {name: f.metrics["collision"].mean() for name, f in figures.items()}
    seconds = {name: np.nanmean(f.metrics["crossing_time"]) for name, f in figures.items()}
    returns = {name: f.agent_returns.mean() for name, f in figures.items()}
    assert 0.2 < collision["rush"] < 0.55
    assert collision["full-speed"] > collision["rush"]
    assert collision["reservation"] < 0.06
    assert collision["sumo-drivers"] < 0.1
    assert seconds["full-speed"] < seconds["rush"] < seconds["reservation"] < seconds["sumo-drivers"]
    assert figures["reservation"].metrics["arrival"].mean() > 0.95
    assert returns["reservation"] > returns["rush"]
    assert all(-15 < value < 5 for value in returns.values())


@pytest.mark.parametrize("num_agents", [4, 16])
def test_agents_with_reservations_do_not_crash_into_each_other(num_agents):
    f = drive_in_sumo("reservation", 96 // num_agents, human_rate=0.0, num_agents=num_agents)
    assert f.metrics["collisions"].sum() == 0
    assert f.metrics["arrival"].mean() > 0.98


def test_sixteen_cars_of_sumo_drivers_get_across_without_agents_crashing():
    f = drive_in_sumo("sumo-drivers", 4, num_agents=16, human_rate=0.0)
    assert f.metrics["collisions"].sum() == 0
    assert f.metrics["arrival"].mean() > 0.9


def test_a_recording_shows_every_car_moving_smoothly_and_wrecks_for_two_seconds():
    environment = SumoIntersection(control="acceleration")
    recordings = [record(environment, scripted(full_speed), seed) for seed in range(3)]
    wrecks = 0
    for recording in recordings:
        assert isinstance(recording, Recording)
        assert len(recording.lanes) == 20
        assert all(lane.ndim == 2 and lane.shape[1] == 2 for lane in recording.lanes)
        assert {car.kind for frame in recording.frames for car in frame} <= {"agent", "human", "reckless"}
        last: dict = {}
        shown: dict = {}
        for frame in recording.frames:
            assert len({car.id for car in frame}) == len(frame)
            for car in frame:
                if car.crashed:
                    shown[car.id] = shown.get(car.id, 0) + 1
                    assert car.speed == 0
                elif car.id in last:
                    before = last[car.id]
                    moved = np.hypot(car.x - before.x, car.y - before.y)
                    assert moved <= car.speed * 0.1 + 0.01
                    assert moved >= car.speed * 0.1 * 0.95 - 0.01
                last[car.id] = car
        assert all(count == 21 for count in shown.values())
        wrecks += len(shown)
    assert wrecks > 0
    again = record(environment, scripted(full_speed), 0, title="again")
    assert again.frames == recordings[0].frames
    assert again.title == "again"
