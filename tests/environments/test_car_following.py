"""Car following: its rules, the published returns of scripted drivers, and the exact optimum of the mean return."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse import AverseError
from averse.environments.car_following import (
    ACCELERATIONS,
    CarFollowing,
    CarFollowingState,
    advance,
    speed_limited,
)
from averse.evaluation import compiled_player, play_scripted, summarise
from averse.learners.fixed import fixed
from averse.statistics import cvar

ENV = CarFollowing()
EPISODES = 4_000


def play(policy, episodes=EPISODES):
    return compiled_player(ENV, fixed(policy), greedy=True)((), np.arange(episodes))


def state_of(position, speed, arrived=(False, False), time=0):
    return CarFollowingState(
        jnp.array(position, jnp.float32), jnp.array(speed, jnp.float32), jnp.array(arrived),
        jnp.float32(0), jnp.float32(0), jnp.int32(time),
    )  # fmt: skip


def standard_error(values):
    return values.std() / np.sqrt(len(values))


# --- the scripted drivers -------------------------------------------------------------------------------------------


def test_a_driver_at_the_safe_speed_gets_the_published_return():
    played = play(speed_limited(1.0), 1_000)
    np.testing.assert_allclose(played.returns, -66.8, atol=0.05)
    assert (played.info["crashes"] == 0).all()
    assert (played.info["speeding"] == 0).all()
    assert (played.info["arrivals"] == 2).all()
    assert (played.length == 31).all()


def test_a_driver_at_the_cap_gets_the_published_return_and_crashes():
    """-61.6 with standard deviation 1.9 and 5.5 crashes are published, from how many episodes is not said."""
    played = play(speed_limited(1.8))
    returns, crashes = played.returns[:, 0], played.info["crashes"]
    assert returns.mean() == pytest.approx(-61.6, abs=0.15 + 3 * standard_error(returns))
    assert returns.std() == pytest.approx(1.9, abs=0.15)
    assert crashes.mean() == pytest.approx(5.5, abs=0.05 + 3 * standard_error(crashes))
    assert played.info["collision"].mean() > 0.98
    # Crashes are all that is random.
    np.testing.assert_allclose(returns + crashes, -56.044, atol=1e-3)


def test_speeding_wins_in_the_mean_and_in_the_tail():
    """The known trap: neither figure tells a reckless policy from a careful one, the crashes do."""
    careful, reckless = play(speed_limited(1.0)), play(speed_limited(1.8))
    assert reckless.returns[:, 0].mean() > careful.returns[:, 0].mean() + 4
    assert cvar(reckless.returns[:, 0], 0.05) > cvar(careful.returns[:, 0], 0.05) + 0.5
    assert reckless.info["crashes"].mean() > careful.info["crashes"].mean() + 5


@pytest.mark.parametrize("limit", [0.3, 0.75, 1.37, 5.0])
def test_any_limit_arrives(limit):
    played = play(speed_limited(limit), 10)
    assert (played.info["arrivals"] == 2).all()
    assert not played.truncated.any()


def test_scripted_drivers_are_evaluated_like_learned_ones():
    episodes = play_scripted(ENV, speed_limited(1.8), 50, first_seed=0)
    np.testing.assert_array_equal(episodes.agent_returns, play(speed_limited(1.8), 50).returns)
    assert summarise(episodes, ENV.metrics).collision_rate is not None


# --- the optimum ----------------------------------------------------------------------------------------------------


def best_plan(penalty: float) -> tuple[float, float, list[int]]:
    """The best deterministic plan for both cars at once: its mean return, its mean number of crashes, and itself.

    Crashes do not move the cars, so that a plan is a path. Positions are multiples of 1/4200 m and speeds of 1/210 m/s
    (where the cap is only reached exactly), x' = x + v + v'; x grows, so that one pass from the target backwards
    finds the best path. Both cars take it: apart, neither could do better, and they would lose the reward for being
    together.
    """
    cap, target, window = 378, 10_500, 42
    gains = 2 * np.arange(21) - 21
    speed = np.arange(cap + 1)[:, None]
    after = speed + gains
    after[cap] = np.minimum(after[cap], cap)
    possible = (after >= 0) & (after <= cap)
    after = np.clip(after, 0, cap)
    way = speed + after
    risk = 0.4 * np.maximum(after / 210 - 1, 0)
    value = np.full((target + window, cap + 1), -np.inf)
    choice = np.zeros(value.shape, int)
    for x in reversed(range(target + window)):
        there = np.minimum(x + way, target + window - 1)
        arrived = np.abs(there - target) < window
        worth = -np.abs(there - target) / 4200 - penalty * risk + np.where(arrived, 10.0, value[there, after])
        worth = np.where(possible & (way > 0) & (x + way < target + window), worth, -np.inf)
        value[x], choice[x] = worth.max(1), worth.argmax(1)
    x = v = 0
    crashes, plan = 0.0, []
    while abs(x - target) >= window:
        k = choice[x, v]
        plan.append(int(k))
        crashes += 2 * risk[v, k]
        x, v = x + way[v, k], after[v, k]
    return 2 * value[0, 0], crashes, plan


def follow(plan):
    """A policy that plays a plan, which it finds its place in by the position it has reached."""
    positions, x, v = [], jnp.float32(0), jnp.float32(0)
    for k in plan:
        positions.append(float(x))
        x, v = advance(x, v, jnp.float32(ACCELERATIONS[k]), 1.8)
    places, plan = jnp.array(positions), jnp.array(plan)
    return lambda observations: plan[jnp.abs(jnp.subtract.outer(observations[..., 0], places)).argmin(-1)]


@pytest.mark.parametrize(("penalty", "best", "crashed"), [(1.0, -61.009, 3.657), (100.0, -66.758, 0.0)])
def test_the_best_plan_by_dynamic_programming(penalty, best, crashed):
    """The best mean return is -61.01, with 3.7 crashes; without any crash it is -66.76, near to the scripted driver."""
    worth, crashes, plan = best_plan(penalty)
    assert worth == pytest.approx(best, abs=1e-3)
    assert crashes == pytest.approx(crashed, abs=1e-3)
    played = play(follow(plan))
    assert (played.length == len(plan)).all()
    # The two implementations agree to rounding on everything that is not random, and in the mean on the rest.
    np.testing.assert_allclose(played.returns[:, 0] + played.info["crashes"], worth + penalty * crashes, atol=1e-3)
    error = 3 * standard_error(played.info["crashes"]) + 1e-9
    assert played.info["crashes"].mean() == pytest.approx(crashes, abs=error)
    assert worth >= play(speed_limited(1.0 if penalty > 1 else 1.8)).returns.mean() - 0.01


# --- the rules ------------------------------------------------------------------------------------------------------


def test_motion_is_that_of_a_constant_acceleration_up_to_the_cap():
    generator = np.random.default_rng(0)
    speed = generator.uniform(-1.8, 1.8, 500)
    speed[:50] = 1.8
    acceleration = generator.choice(ACCELERATIONS, 500)
    fine = 100_000
    x, v = np.zeros(500), speed.copy()
    for _ in range(100):  # midpoints of many short pieces; only the piece in which the cap is reached is inexact
        piece = np.clip(v[:, None] + acceleration[:, None] * 0.1 * (np.arange(fine // 100) + 0.5) / fine, -1.8, 1.8)
        x += piece.sum(-1) * 0.1 / fine
        v = np.clip(v + acceleration * 0.1 / 100, -1.8, 1.8)
    position, after = advance(jnp.zeros(500), jnp.asarray(speed), jnp.asarray(acceleration), 1.8)
    np.testing.assert_allclose(position, x, atol=2e-6)
    np.testing.assert_allclose(after, v, atol=1e-6)


def test_crashes_happen_as_often_as_the_speed_says():
    speeds = jnp.array([0.5, 1.0, 1.2, 1.5, 1.8, -1.5])
    keys = jax.random.split(jax.random.key(0), 20_000)

    def costs(speed, key):
        # The other car stands; the acceleration 11 adds 1/210 m/s, but not at the cap.
        return ENV.step(key, state_of([1.0, 1.0], jnp.stack([speed, 0.0])), jnp.array([11, 0]))

    result = jax.jit(jax.vmap(jax.vmap(costs, (None, 0)), (0, None)))(speeds, keys)
    after = np.asarray(result.state.speed)[:, 0, 0]
    expected = 0.4 * np.maximum(np.abs(after) - 1, 0)
    error = np.sqrt(expected * (1 - expected) / len(keys))
    assert (np.abs(np.asarray(result.costs)[:, :, 0].mean(1) - expected) <= 4 * error).all()
    assert expected[4] == pytest.approx(0.32, abs=1e-6)
    assert (np.asarray(result.costs)[:, :, 1] == 0).all()
    # The team pays 1 for each crash.
    rewards, crashed = np.asarray(result.rewards), np.asarray(result.costs).sum(-1)
    np.testing.assert_allclose(
        rewards[..., 0] + crashed, (rewards[..., 0] + crashed)[:, :1].repeat(20_000, 1), atol=1e-5
    )


def test_arrivals_pay_once_and_the_last_ends_the_episode():
    step = lambda state: ENV.step(jax.random.key(0), state, jnp.array([10, 10]))  # noqa: E731
    one = step(state_of([2.5, 1.0], [0.0, 0.0]))
    assert one.rewards[0] == pytest.approx(-1 - 1.5 + 5, abs=1e-3)
    assert (one.rewards == one.rewards[0]).all()
    assert not one.terminated.any()
    again = step(one.state)
    assert again.rewards[0] == pytest.approx(-1 - 1.5, abs=1e-3)
    assert again.state.position[0] == 2.5
    assert again.state.speed[0] == 0
    both = step(state_of([2.5, 2.496], [0.0, 0.0], (True, False)))
    assert both.rewards[0] == pytest.approx(-1 + 1 + 5 + 10, abs=0.01)
    assert both.terminated.all()
    assert not both.truncated
    assert both.info["arrivals"] == 2
    # One that merely drives by has not arrived.
    by = step(state_of([2.45, 1.0], [1.0, 0.0]))
    assert by.info["arrivals"] == 0
    assert by.state.position[0] > 2.5


def test_cars_see_each_other_when_near():
    near = ENV.step(jax.random.key(0), state_of([1.0, 1.2], [0.5, 0.6]), jnp.array([11, 11]))
    own, other = np.asarray(near.observations)
    assert own[2] == other[2] == 1.0
    np.testing.assert_array_equal(own[:2], other[3:])
    np.testing.assert_array_equal(own[3:], other[:2])
    far = ENV.step(jax.random.key(0), state_of([1.0, 1.4], [0.5, 0.6]), jnp.array([11, 11]))
    assert (np.asarray(far.observations)[:, 2:] == 0).all()
    # Together they earn 1; apart, the car ahead is 0.2 m nearer to the target.
    assert near.rewards[0] - far.rewards[0] == pytest.approx(1.0 - 0.2, abs=1e-5)


def test_the_road_ends():
    stop = ENV.step(jax.random.key(0), state_of([0.0, 4.99], [-1.0, 1.5]), jnp.array([0, 20]))
    np.testing.assert_array_equal(stop.state.position, [0.0, 5.0])
    np.testing.assert_array_equal(stop.state.speed, [0.0, 0.0])


def test_time_is_a_truncation():
    last = ENV.step(jax.random.key(0), state_of([0.0, 0.0], [0.0, 0.0], time=199), jnp.array([0, 0]))
    assert bool(last.truncated)
    assert not last.terminated.any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": 0.0}, r"target must be a number in \(0, 1e\+06\], not 0.0"),
        ({"crash_rate": -0.1}, r"crash_rate must be a number in \[0, 1e\+06\], not -0.1"),
    ],
)
def test_bad_parameters(settings, words):
    with pytest.raises(AverseError, match=words):
        CarFollowing(**settings)
    with pytest.raises(AverseError, match="speed limit must be positive"):
        speed_limited(0.0)
