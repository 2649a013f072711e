"""Gap acceptance: what agents see of gaps, against drives step by step, and against the rule that sees everybody."""

import jax
import numpy as np
import pytest

from averse.environments.batch import reset_batch, step_batch
from averse.environments.intersection.drivers import GapAcceptance, Reservation
from averse.environments.intersection.gaps import NO_CAR, gaps_if_going
from averse.environments.intersection.manoeuvres import GO
from averse.environments.intersection.observations import own_numbers
from averse.environments.intersection.pairs import Pairs, Side
from averse.environments.intersection.task import ACCELERATIONS, MAX_SPEED, Status
from averse.environments.intersection.twin import Intersection

MILLISECOND = 1e-3


def seconds_at_full_throttle(distance: float, speed: float) -> float:
    """Seconds in which a car drives so far (m), driven millisecond by millisecond."""
    seconds = 0.0
    while distance > 0:
        faster = min(MAX_SPEED, speed + ACCELERATIONS[-1] * MILLISECOND)
        distance -= 0.5 * (speed + faster) * MILLISECOND
        seconds, speed = seconds + MILLISECOND, faster
    return seconds


def one_pair(rng: np.random.Generator) -> tuple[Pairs, Side, Side, bool]:
    """A random pair whose paths cross, as arrays [1, 1], and whether the other car is an agent's."""

    def number(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (1, 1))

    to_zone, their_to_zone = number(-3, 40), number(-3, 40)
    pairs = Pairs(
        conflict=np.array([[True]]),
        same_arm=np.array([[False]]),
        to_zone=to_zone,
        to_zone_end=to_zone + number(3, 12),
        their_to_zone=their_to_zone,
        their_to_zone_end=their_to_zone + number(3, 12),
        to_line=to_zone - number(0, 5),
        their_to_line=their_to_zone - number(0, 5),
        committed=np.array([[False]]),
        they_committed=rng.random((1, 1)) < 0.3,
    )
    speeds = number(0, MAX_SPEED), number(0, MAX_SPEED) * (rng.random() < 0.8)
    me, them = (Side(np.zeros((1, 1), int), np.zeros((1, 1)), speed) for speed in speeds)
    return pairs, me, them, bool(rng.random() < 0.5)


def test_gaps_are_those_of_cars_driven_step_by_step():
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(300):
        pairs, me, them, by_agent = one_pair(rng)
        found = gaps_if_going(np, pairs, me, them, np.array([[by_agent]]), np.array([[True]]))
        at = {name: float(part[0, 0]) for name, part in pairs._asdict().items()}
        mine, theirs = float(me.speed[0, 0]), float(them.speed[0, 0])
        i_come, i_leave = (seconds_at_full_throttle(at[name], mine) for name in ("to_zone", "to_zone_end"))
        they_come = seconds_at_full_throttle(at["their_to_zone"], theirs)
        they_leave = max(at["their_to_zone_end"], 0) / max(theirs, 1.0)
        counts = at["they_committed"] or (at["their_to_line"] < at["to_line"] if by_agent else theirs > 1)
        expected = max(i_come - they_leave, they_come - i_leave) if counts else NO_CAR
        seen, other = (found.to_agents, found.to_humans) if by_agent else (found.to_humans, found.to_agents)
        assert seen[0] == pytest.approx(expected, abs=5e-3)
        assert other[0] == NO_CAR
        first = at["their_to_zone"] < 0 or (at["they_committed"] and theirs > 1 and they_come < i_come)
        if abs(they_come - i_come) > 0.01 and abs(i_come - they_leave) > 0.01:
            taken = first and i_come < they_leave and at["to_zone"] > 0.5
            assert bool(found.taken[0]) == taken
            kinds.add((by_agent, counts, taken))
    assert len(kinds) >= 6  # all sorts of pairs have been met


def test_the_smallest_gap_counts_and_nobody_else_is_looked_at():
    rng = np.random.default_rng(1)
    several = [one_pair(rng)[:3] for _ in range(5)]
    pairs, me, them = (
        type(parts[0])(*(np.concatenate(field, 1) for field in zip(*parts, strict=True)))
        for parts in zip(*several, strict=True)
    )
    me = me._replace(speed=me.speed[:, :1])
    by_agent = np.array([[True, False, True, False, False]])
    there = np.array([[True, True, True, True, False]])
    found = gaps_if_going(np, pairs, me, them, by_agent, there)
    alone = [
        gaps_if_going(np, *(type(x)(*(f[:, k : k + 1] if f.shape[1] > 1 else f for f in x)) for x in (pairs, me, them)),
                      by_agent[:, k : k + 1], there[:, k : k + 1])
        for k in range(5)
    ]  # fmt: skip
    assert found.to_agents[0] == min(gaps.to_agents[0] for gaps in alone)
    assert found.to_humans[0] == min(gaps.to_humans[0] for gaps in alone)
    assert found.taken[0] == any(gaps.taken[0] for gaps in alone)
    assert alone[4].to_humans[0] == NO_CAR
    assert not alone[4].taken[0]


FAR = Intersection(max_humans=6, num_neighbours=9, sensor_range=400.0)
NUM_ENVS = 128


@jax.jit
def far_reset(key):
    return reset_batch(FAR, key, NUM_ENVS)


@jax.jit
def far_step(batch, actions):
    return step_batch(FAR, batch, actions)


def test_agents_who_see_far_drive_as_the_rule_that_sees_everybody():
    batch, time_step = far_reset(jax.random.key(0))
    same = decisions = yielded = 0
    for t in range(40):
        gap = (-1.0, 0.0)[t % 2]
        seen, everybody = (rule(FAR, gap)(time_step) for rule in (GapAcceptance, Reservation))
        driving = np.asarray(time_step.available)[..., 0]
        decisions, same = decisions + driving.sum(), same + (seen == everybody)[driving].sum()
        yielded += (everybody[driving] == 0).sum()
        batch, time_step = far_step(batch, everybody)
    assert yielded > 0.1 * decisions
    assert same > 0.998 * decisions  # the global state's rounding tips some that are on the edge


def test_a_driver_who_asks_for_any_gap_goes_where_nobody_is():
    _, time_step = far_reset(jax.random.key(0))
    state, layout = np.array(time_step.global_state), FAR.global_state_layout
    cars = state[:, layout.own :].reshape(NUM_ENVS, layout.count, layout.size)
    driving = np.asarray(time_step.available)[:, 0, 0]
    assert driving.any()
    for there, goes in ((layout.count, False), (1, True)):
        cars[:, there:] = 0
        alone = time_step._replace(global_state=np.concatenate([state[:, : layout.own], cars.reshape(NUM_ENVS, -1)], 1))
        assert (Reservation(FAR, 1e4)(alone)[driving, 0] == GO).all() == goes


def test_only_agents_that_drive_see_gaps():
    batch, time_step = far_reset(jax.random.key(3))
    gaps = 0
    for _ in range(40):
        own = own_numbers(np.asarray(time_step.observations))
        idle = np.asarray(batch.states.scene.status) != Status.DRIVING
        for part in (own.gap_to_agents, own.gap_to_humans, own.taken):
            assert not part[idle].any()
        assert np.abs(own.gap_to_agents).max() <= 5
        gaps += (own.gap_to_humans[~idle] < 5).sum()
        batch, time_step = far_step(batch, np.full((NUM_ENVS, 4), 2, np.int32))
    assert gaps > 100
