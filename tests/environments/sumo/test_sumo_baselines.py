"""Untrained drivers: what they cause is the environment's difficulty. And recordings of what they do."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("libsumo")

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from averse.environments.intersection.recording import Recording
from averse.environments.sumo.baselines import NAMES, baseline, full_speed
from averse.environments.sumo.environment import SumoIntersection
from averse.environments.sumo.recording import record_episode
from averse.errors import AverseError
from sumo_baselines import play


@pytest.fixture(scope="module")
def figures() -> dict:
    return {name: play(*baseline(name, SumoIntersection()), 60, 4) for name in NAMES}


def test_rushing_is_fast_and_dangerous_and_care_costs_time(figures):
    collision = {name: f["collision"].mean() for name, f in figures.items()}
    seconds = {name: np.nanmean(f["crossing_time"]) for name, f in figures.items()}
    assert 0.2 < collision["rush"] < 0.55
    assert collision["full-speed"] > collision["rush"]
    assert collision["reservation"] < 0.15
    assert collision["sumo-drivers"] < 0.1
    assert seconds["full-speed"] < seconds["rush"] < seconds["reservation"] < seconds["sumo-drivers"]
    assert figures["reservation"]["arrival"].mean() > 0.9
    assert figures["reservation"]["return"].mean() > figures["rush"]["return"].mean()
    assert all(-15 < f["return"].mean() < 5 for f in figures.values())


def test_unknown_baselines_are_errors_with_the_nearest_name():
    with pytest.raises(AverseError, match="rush"):
        baseline("rsh", SumoIntersection())


def test_agents_with_reservations_do_not_crash_into_each_other():
    f = play(*baseline("reservation", SumoIntersection(human_rate=0.0)), 60, 4)
    assert f["collisions"].sum() == 0
    assert f["arrival"].mean() > 0.98


def test_sixteen_cars_of_sumo_drivers_get_across_without_agents_crashing():
    f = play(*baseline("sumo-drivers", SumoIntersection(num_agents=16, human_rate=0.0)), 4, 2)
    assert f["collisions"].sum() == 0
    assert f["arrival"].mean() > 0.9


def test_a_recording_shows_every_car_moving_smoothly_and_wrecks_for_two_seconds():
    environment = SumoIntersection()
    recordings = [record_episode(environment, full_speed, seed) for seed in range(4)]
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
    again = record_episode(environment, full_speed, 0, title="again")
    assert again.frames == recordings[0].frames
    assert again.title == "again"
