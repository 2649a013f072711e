"""What SUMO 1.28 does, which the environment relies on. If one of these fails after an upgrade, so may the traffic."""

import pytest

pytest.importorskip("libsumo")

import sumo_facts as facts
from sumo_facts import alone

from averse.environments.sumo.simulation import OPTIONS


def without(option: str) -> tuple[str, ...]:
    return tuple(o for o in OPTIONS if option not in o)


def test_second_start_replaces_the_first_unless_guarded():
    before, after, refusal = alone(facts.second_start)
    assert before == ["a"]
    assert after == []
    assert "one per process" in refusal


def test_crossing_cars_crash_and_are_also_listed_as_arrived():
    seen = alone(facts.crossing)
    assert len(seen["collisions"]) == 1
    assert set(seen["collisions"][0]) == {"a", "b"}
    assert set(seen["arrived"]) == {"a", "b"}  # hence: read collisions first
    assert seen["left"] == []


@pytest.mark.parametrize(
    "options",
    [without("check-junctions"), (*without("collision.action"), "--collision.action=none")],
    ids=["without check-junctions", "action none"],
)
def test_crashes_go_unreported_with_other_flags(options):
    assert alone(facts.crossing, options)["collisions"] == []


def test_crashes_go_unreported_at_unregulated_junctions(tmp_path):
    assert alone(facts.crossing, OPTIONS, 38, facts.unregulated_network(tmp_path))["collisions"] == []


def test_standing_close_is_a_collision_unless_the_minimum_gap_is_ignored():
    assert alone(facts.queueing, OPTIONS) == 0
    assert alone(facts.queueing, (*without("mingap"), "--collision.mingap-factor=1")) > 0


def test_long_steps_lose_collisions():
    lost = alone(facts.crossing, OPTIONS, 38, facts.NET, 0.5)
    single = alone(facts.crossing)
    assert single["collisions"]
    assert not lost["collisions"]


@pytest.mark.parametrize("mode", [1, 7, 23, 31])
def test_other_speed_modes_brake_for_cars_inside_the_junction(mode):
    assert alone(facts.crossing, OPTIONS, 38, facts.NET, 0.0, 2.0)["collisions"]
    seen = alone(facts.crossing, OPTIONS, mode, facts.NET, 0.0, 2.0)
    assert seen["collisions"] == []
    assert seen["slowest"] < 9.0


def test_reckless_mode_does_not_yield():
    assert len(alone(facts.crossing, OPTIONS, 39)["collisions"]) == 1


def test_only_moved_cars_all_depart():
    assert alone(facts.departures, False) < 16
    assert alone(facts.departures, True) == 16


def test_moving_a_car_makes_it_forget_where_to_arrive():
    assert alone(facts.arrival_position, False) <= 40.0
    assert alone(facts.arrival_position, True) > 130.0


@pytest.mark.parametrize("human_rate", [0.0, 0.5])
def test_load_with_a_seed_is_reproducible(human_rate):
    assert alone(facts.repeated_episode, human_rate, True)


def test_adding_cars_again_is_a_clean_reset_without_humans():
    assert alone(facts.repeated_episode, 0.0, False)


def test_load_state_drops_speed_modes(tmp_path):
    assert alone(facts.speed_mode_after_load_state, tmp_path) != 38


def test_agents_move_as_the_task_says():
    speed, position, pose = alone(facts.driving_errors, 8)
    assert speed < 1e-9
    assert position < 1e-9
    assert pose < 1e-6


def test_crossing_collisions_unseen_at_longer_steps():
    unseen = [alone(facts.unseen_crossings, length, 40) for length in (0.1, 0.25, 0.5, 1.0)]
    assert unseen[0] < 0.05
    assert unseen == sorted(unseen)
    assert unseen[3] > 0.3
