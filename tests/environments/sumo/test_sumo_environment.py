"""The environment `sumo-intersection` as learners see it."""

import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tiers import first_rows_quick

pytest.importorskip("libsumo")

from averse.environments.intersection.task import NO_OP, Status
from averse.environments.protocol import Discrete, HostEnvironment
from averse.environments.sumo.environment import SumoIntersection
from averse.errors import AverseError

# Programs are compiled for each world and each number of simulations: most tests have this world, and one or two.
SMALL = SumoIntersection(horizon=70, human_rate=0.4, control="acceleration")
NOISY = replace(SMALL, observation_noise=2.0, dropout=0.2)


def random_actions(steps: int, num_envs: int, agents: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 5, (steps, num_envs, agents)).astype(np.int32)


def split(info) -> np.ndarray:
    """How many agents crashed with another agent, a lawful human, a reckless human, [3, ...]."""
    return np.stack([info[f"crashes_with_{kind}"] for kind in ("agents", "lawful", "reckless")])


def rollout(environment: SumoIntersection, seeds: np.ndarray, actions: np.ndarray) -> list:
    with environment.vector(len(seeds)) as vector:
        return [vector.reset(seeds)] + [vector.step(row) for row in actions]


@pytest.mark.parametrize(
    ("agents", "control", "n"),
    first_rows_quick([(1, "acceleration", 5), (16, "manoeuvre", 3), (4, "manoeuvre", 3), (8, "acceleration", 5)], 2),
)
def test_shapes_types_and_ranges(agents, control, n):
    environment = replace(SMALL, num_agents=agents, control=control)
    assert isinstance(environment, HostEnvironment)
    assert environment.action_space == Discrete(n)
    actions = np.minimum(random_actions(75, 2, agents), n - 1)
    steps = rollout(environment, np.arange(4, dtype=np.uint32).reshape(2, 2), actions)
    sizes = {
        "observations": (2, agents, environment.observation_size),
        "global_state": (2, environment.global_state_size),
        "available": (2, agents, n),
        "rewards": (2, agents),
        "costs": (2, agents),
        "terminated": (2, agents),
        "truncated": (2,),
        "next_observations": (2, agents, environment.observation_size),
        "next_global_state": (2, environment.global_state_size),
        "next_available": (2, agents, n),
    }
    for step in steps:
        for name, shape in sizes.items():
            value = getattr(step, name)
            expected = np.bool_ if name in ("available", "next_available", "terminated", "truncated") else np.float32
            assert (name, value.shape, value.dtype) == (name, shape, expected)
            if value.dtype == np.float32:
                assert np.isfinite(value).all()
        assert np.abs(step.observations).max() <= 1.3
        assert np.abs(step.global_state).max() <= 1.3
        assert step.available.any(-1).all()
        assert (step.costs >= 0).all()
        assert (step.costs <= 1).all()
        assert set(step.info) == set(environment.metrics)
        assert all(v.shape == (2,) and v.dtype == np.float32 for v in step.info.values())


@pytest.mark.parametrize("environment", [SMALL, NOISY], ids=["plain", "noisy"])
def test_episodes_are_functions_of_seed_and_actions_wherever_they_run(environment):
    actions = random_actions(75, 2, 4)
    seeds = np.array([[1, 2], [3, 4]], np.uint32)
    two = rollout(environment, seeds, actions)
    turned = rollout(environment, seeds[::-1], actions[:, ::-1])
    one = rollout(environment, seeds[:1], actions[:, :1])
    different = False
    for wide, other, narrow in zip(two, turned, one, strict=True):
        for name in ("observations", "global_state", "rewards", "costs", "terminated", "truncated", "available"):
            value = getattr(wide, name)
            assert np.array_equal(value, getattr(other, name)[::-1])
            assert np.array_equal(value[:1], getattr(narrow, name))
            different |= not np.array_equal(value[0], value[1])
        for name, value in wide.info.items():
            assert np.array_equal(value, other.info[name][::-1], equal_nan=True)
            assert np.array_equal(value[:1], narrow.info[name], equal_nan=True)
    assert different


def test_training_episodes_repeat_with_their_seed():
    actions = random_actions(240, 2, 4)

    def play(seed: int) -> np.ndarray:
        with SMALL.vector(2) as vector:
            seen = [vector.reset_endless(seed)] + [vector.step(row) for row in actions]
        assert sum(step.done.sum() for step in seen) > 4
        return np.stack([step.global_state for step in seen])

    assert np.array_equal(play(1), play(1))
    assert not np.array_equal(play(1), play(2))


def test_noise_and_dropout_change_what_is_seen_but_not_what_happens():
    actions, seeds = random_actions(30, 1, 4), np.array([[5]], np.uint32)
    clear = rollout(SMALL, seeds, actions)
    noisy = rollout(NOISY, seeds, actions)
    own = 12
    assert any(not np.array_equal(a.observations, b.observations) for a, b in zip(clear, noisy, strict=True))
    assert np.array_equal(clear[0].observations[..., :own], noisy[0].observations[..., :own])
    assert np.array_equal(clear[0].global_state, noisy[0].global_state)
    for a, b in zip(clear, noisy, strict=True):
        assert np.array_equal(a.next_global_state, b.next_global_state)


def test_episodes_end_as_they_should():
    """Auto-reset, per-agent ends, masks, metrics, bounds: followed through many random episodes."""
    low, high = SMALL.return_bounds(1.0)
    num_envs, seeds = 2, np.arange(24, dtype=np.uint32).reshape(2, 12)
    generator = np.random.default_rng(0)
    crashes = arrivals = cuts = 0
    with SMALL.vector(num_envs) as vector:
        step = vector.reset(seeds)
        over = np.zeros((num_envs, 4), bool)
        returns, length = np.zeros((num_envs, 4)), np.zeros(num_envs, int)
        played = np.zeros(num_envs, int)
        while (played < seeds.shape[1]).any():
            active = played < seeds.shape[1]
            waiting = step.observations[..., 0] == 1
            acting = step.available.all(-1) & active[:, None]
            assert (step.available[waiting & active[:, None]].sum(-1) == 1).all()
            assert not (waiting & over)[active].any()
            before = step
            step = vector.step(generator.integers(3, 5, (num_envs, 4)))
            length += 1
            assert not step.rewards[~acting].any()  # neither before departure nor after the end
            assert step.available[..., NO_OP].all()
            assert (step.terminated | ~over)[active].all()  # once over, it stays over
            assert not step.next_observations[step.terminated].any()
            returns += step.rewards
            for b in np.flatnonzero(active):
                info = {name: value[b] for name, value in step.info.items()}
                crashed = step.costs[b] == 1
                assert info["collisions"] >= crashed.sum()
                assert (step.rewards[b][crashed] < -9).all()
                if step.done[b]:
                    ends_all = step.terminated[b].all()
                    assert step.truncated[b] == (not ends_all)
                    assert not step.truncated[b] or length[b] == SMALL.horizon
                    assert (low <= returns[b]).all()
                    assert (returns[b] <= high).all()
                    gone = info["collisions"] + 4 * info["arrival"]
                    assert gone == step.terminated[b].sum()
                    assert info["collision"] == (info["collisions"] > 0)
                    assert np.isnan(info["impact_speed"]) == (info["collisions"] == 0)
                    partners = split(info)
                    assert (partners <= info["collisions"]).all()
                    assert partners.sum() >= info["collisions"]  # each crashed agent, with some kind
                    assert partners[0] != 1
                    assert np.isnan(info["crossing_time"]) == (info["arrival"] == 0)
                    assert np.isnan(info["crossing_time"]) or 12 < info["crossing_time"] < 40
                    assert (info["near_miss"] == 0) == (info["collisions"] > 0) or info["near_miss"] < 0.3
                    crashes, arrivals = crashes + info["collisions"], arrivals + 4 * info["arrival"]
                    cuts += step.truncated[b]
                    played[b] += 1
                    returns[b] = length[b] = 0
                    over[b] = False
                    if played[b] < seeds.shape[1]:
                        assert step.global_state[b, 0] == 0  # a new episode's clock
                        assert step.next_global_state[b, 0] > 0
                else:
                    over[b] = step.terminated[b]
                    assert np.array_equal(step.observations[b], step.next_observations[b])
                    assert step.global_state[b, 0] > before.global_state[b, 0]
    assert crashes > 5
    assert arrivals > 30


@pytest.mark.parametrize(("reckless_fraction", "kind"), [(0.0, 1), (1.0, 2)])
def test_who_is_alone_among_humans_crashes_with_their_kind(reckless_fraction, kind):
    changes = {"num_agents": 1, "human_rate": 0.8, "reckless_fraction": reckless_fraction, "horizon": 60}
    met = 0
    with replace(SMALL, **changes).vector(4) as vector:
        vector.reset_endless(0)
        for row in np.random.default_rng(0).integers(2, 5, (500, 4, 1)):
            step = vector.step(row)
            expected = np.zeros((3, 4))
            expected[kind] = step.info["collisions"]
            assert np.array_equal(split(step.info), expected)
            met += step.info["collisions"][step.done].sum()
    assert met > 5


def test_time_limit_truncates():
    braking = np.ones((SMALL.horizon, 1, 4), np.int32)
    last = rollout(SMALL, np.array([[0]], np.uint32), braking)[-1]
    assert last.truncated.tolist() == [True]
    assert not last.terminated.any()
    assert last.next_global_state[0, 0] == 1.0
    assert last.next_observations.any()


def test_team_reward_is_everybodys_mean_and_ends_for_all_at_once():
    actions, seeds = np.full((70, 1, 4), 4, np.int32), np.array([[3]], np.uint32)
    alone = rollout(SMALL, seeds, actions)
    team = rollout(replace(SMALL, team=True), seeds, actions)
    ends = 0
    for one, all_ in zip(alone, team, strict=True):
        assert np.allclose(all_.rewards, one.rewards.mean(-1, keepdims=True), atol=1e-6)
        assert np.array_equal(all_.terminated.all(-1), one.terminated.all(-1))
        assert np.array_equal(all_.terminated.any(-1), one.terminated.all(-1))
        ends += int(one.done[0])
    assert ends == 1


def test_no_humans():
    steps = rollout(replace(SMALL, human_rate=0.0), np.array([[0]], np.uint32), random_actions(20, 1, 4))
    assert steps[-1].global_state.shape == (1, 4 * 15 + 1)
    assert not replace(SMALL, human_rate=0.0).num_humans


def test_a_killed_worker_costs_one_episode(caplog):
    with SMALL.vector(2) as vector, caplog.at_level(logging.WARNING):
        vector.reset(np.array([[1, 9], [2, 9]], np.uint32))
        actions = random_actions(100, 2, 4)
        for row in actions[:5]:
            before = vector.step(row)
        os.kill(vector.pool.process_ids[0], signal.SIGKILL)
        step = vector.step(actions[5])
        assert "replaced" in caplog.text
        assert step.truncated.tolist() == [True, False]
        assert step.info["worker_failed"].tolist() == [1.0, 0.0]
        assert not step.rewards[0].any()
        assert not step.costs[0].any()
        assert np.array_equal(step.next_observations[0], before.observations[0])
        assert step.global_state[0, 0] == 0
        fresh = step.observations[0]
        ended = False
        for row in actions[6:]:
            step = vector.step(row)
            ended |= bool(step.done[0])
        assert ended
    assert np.array_equal(fresh, rollout(SMALL, np.array([[9]], np.uint32), actions[:0])[0].observations[0])


def test_missing_libsumo_is_one_clear_line(monkeypatch):
    monkeypatch.setattr("averse.extras.find_spec", lambda name: None)
    with pytest.raises(AverseError, match=r"import libsumo failed: .*; pip install 'libsumo==1.28.0'$"):
        SMALL.vector(1)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"num_agents": 0}, r"num_agents must be a whole number in \[1, 16\]"),
        ({"num_agents": 17}, "num_agents"),
        ({"num_agents": 2.5}, "num_agents"),
        ({"human_rate": -0.1}, "human_rate"),
        ({"reckless_fraction": 1.5}, "reckless_fraction"),
        ({"human_rate": float("nan")}, "human_rate"),
        ({"crash_penalty": -1.0}, "crash_penalty"),
        ({"horizon": 0}, "horizon"),
        ({"team": "yes"}, "team"),
        ({"drivers": "robots"}, "drivers"),
        ({"max_humans": 0}, "max_humans"),
    ],
)
def test_bad_parameters_are_one_clear_line(parameters, said):
    with pytest.raises(AverseError, match=said) as caught:
        SumoIntersection(**parameters)
    assert "\n" not in str(caught.value)


def test_parameters_build_the_same_environment():
    environment = replace(SMALL, team=True, drivers="sumo")
    assert SumoIntersection(**environment.parameters()) == environment


def test_return_bounds():
    environment = SumoIntersection()
    low, high = environment.return_bounds(1.0)
    assert low == pytest.approx(-(0.2 * 60 + 10))
    assert 1.8 < high < 2.2
    low, high = environment.return_bounds(0.99)
    assert -12.0 < low < -10.0
    assert all(np.isfinite(environment.return_bounds(gamma)).all() for gamma in (0.0, 0.5, 0.999))


def test_the_simulation_does_not_import_jax():
    code = "import averse.environments.sumo.preload, sys; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_statuses_are_ordered_so_that_the_last_two_are_ends():
    assert Status.WAITING < Status.DRIVING < Status.ARRIVED < Status.CRASHED
