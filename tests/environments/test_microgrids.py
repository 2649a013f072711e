"""The microgrids: published figures, and the compiled world against the exact local models."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

import averse
from averse import AverseError
from averse.environments.batch import reset_batch, step_batch
from averse.environments.microgrids.environment import Microgrids, MicrogridsState
from averse.environments.microgrids.tables import local_model, tables

CASES = [{"scenario": 1}, {"scenario": 2}, {"scenario": 2, "wind_levels": 3, "load_levels": 2, "battery_levels": 4}]


def states_of(env: Microgrids, local: list[np.ndarray]) -> MicrogridsState:
    """A batch of states from the numbers of local states, per microgrid [M]."""
    levels = np.stack([model.levels[s] for model, s in zip(env.local_models(), local)], 1)  # [M, N, 3]
    wind, load, battery = np.moveaxis(levels.astype(np.int32), -1, 0)
    zeros = np.zeros(len(levels), np.float32)
    return MicrogridsState(wind, load, battery, zeros.astype(np.int32), zeros, zeros, zeros)


@pytest.mark.parametrize(("scenario", "factor"), [(1, 1), (2, 3)])
def test_no_management_has_the_published_mean_and_variance(scenario, factor):
    """Without management the power is wind minus load, whose chains are independent."""
    mean = variance = 0.0
    for model in averse.make("microgrids", scenario=scenario).local_models():
        steady = np.kron(model.wind.steady_state, model.load.steady_state)
        np.testing.assert_allclose(steady @ model.exogenous, steady, atol=1e-14)
        idle = model.reward[:: len(model.energy), model.idle]
        mean += steady @ idle
        variance += steady @ idle**2 - (steady @ idle) ** 2
    assert mean == pytest.approx(-1.515125 * factor, abs=2e-6)
    assert variance == pytest.approx(0.567577 * factor, abs=2e-6)


def test_the_rows_of_the_published_tables():
    model = averse.make("microgrids", scenario=1).local_models()[0]
    data = tables()
    assert (model.num_states, model.num_actions, model.idle) == (216, 30, 12)
    # Wind 1.2 MW, load 3 MW, battery 1.8 MWh: discharging .6 MW, throwing .6 MW away.
    state, action = np.ravel_multi_index((2, 4, 2), model.shape), 3 * 6 + 1
    assert model.reward[state, action] == pytest.approx(1.2 - 3 + 0.95 * 0.6 - 0.6)
    assert model.reward[state, 0] == pytest.approx(1.2 - 3 - 1.2 / 0.95)  # charging 1.2 MW
    expected = np.zeros(model.shape)
    expected[:, :, 1] = np.outer(data["wind_transition"][2], data["load_transition"][4])
    np.testing.assert_allclose(model.transition[state, action], expected.ravel(), atol=1e-15)
    assert not model.available[state, 3]  # there are 1.2 MW of wind, no 1.8 MW to throw away
    assert not model.available[np.ravel_multi_index((0, 0, 0), model.shape), 3 * 6]  # the battery is at its lowest
    np.testing.assert_allclose(model.transition.sum(-1), model.available, atol=1e-12)


@pytest.mark.parametrize("parameters", CASES)
def test_every_state_and_action_of_the_compiled_world_is_the_exact_model(parameters):
    """Masks, rewards and the battery's moves, for all local states and actions of all microgrids."""
    env = averse.make("microgrids", **parameters)
    models = env.local_models()
    rng = np.random.default_rng(0)
    states, actions = models[0].num_states, models[0].num_actions
    masks, advance = jax.jit(jax.vmap(env.available_actions)), jax.jit(jax.vmap(env._advance))
    for agent, model in enumerate(models):
        pairs = np.argwhere(np.ones((states, actions), bool))
        local = [rng.integers(m.num_states, size=len(pairs)) for m in models]
        chosen = np.array([[m.idle for m in models]] * len(pairs))
        local[agent] = pairs[:, 0] % model.num_states
        chosen[:, agent] = pairs[:, 1] % model.num_actions
        batch = states_of(env, local)
        mask = np.asarray(masks(batch))
        for k, other in enumerate(models):
            np.testing.assert_array_equal(mask[:, k, : other.num_actions], other.available[local[k]])
            assert not mask[:, k, other.num_actions :].any()
        following, reward = advance(
            batch, chosen.astype(np.int32), np.full((len(pairs), 2, len(models)), 0.5, np.float32)
        )
        can = model.available[local[agent], chosen[:, agent]]
        exact = sum(m.reward[s, a] for m, s, a in zip(models, local, chosen.T))
        np.testing.assert_allclose(np.asarray(reward)[can], exact[can], atol=2e-6)
        battery = model.next_battery[local[agent], chosen[:, agent]]
        np.testing.assert_array_equal(np.asarray(following.battery)[can, agent], battery[can])
        # What is not available is carried out as far as it can be, and never leaves the battery's range.
        assert (np.asarray(following.battery) >= 0).all()
        assert (np.asarray(following.battery) < env.battery_levels).all()


@pytest.mark.parametrize("parameters", CASES)
def test_the_chance_of_the_compiled_world_is_the_exact_model(parameters):
    """Wind and load by inversion: the breaks at which the next level changes are the cumulative probabilities."""
    env = averse.make("microgrids", **parameters)
    table = env._tables
    for agent, model in enumerate(env.local_models()):
        for bounds, levels in ((table.wind_bounds, model.wind), (table.load_bounds, model.load)):
            size = len(levels.power)
            reached = np.clip(bounds[agent, :size, :size], 0, 1).astype(float)
            np.testing.assert_allclose(np.diff(reached, prepend=0, axis=-1), levels.transition, atol=2e-7)
            impossible = levels.transition == 0
            assert (np.diff(reached, prepend=0, axis=-1)[impossible] == 0).all()


def test_long_runs_agree_with_the_exact_transitions_and_rewards():
    """Chi-square of the counted transitions of the first microgrid under random actions, and every reward."""
    env = averse.make("microgrids", scenario=1, horizon=10_000)
    batch, first = jax.jit(partial(reset_batch, env, num_envs=200))(jax.random.key(0))

    @jax.jit
    def play(batch, available, key):
        def step(carry, key):
            batch, available = carry
            actions = jax.random.categorical(key, jnp.where(available, 0.0, -1e9))
            following, out = step_batch(env, batch, actions)
            index = jax.vmap(env.state_index)
            return (following, out.available), (
                index(batch.states),
                actions,
                out.rewards[:, 0],
                index(following.states),
            )

        return jax.lax.scan(step, (batch, available), jax.random.split(key, 1000))[1]

    before, actions, rewards, after = map(np.asarray, play(batch, first.available, jax.random.key(1)))
    model, second = env.local_models()
    local = np.divmod(before, 6)
    exact = sum(m.reward[s, actions[..., k]] for k, (m, s) in enumerate(zip((model, second), local)))
    np.testing.assert_allclose(rewards, exact, atol=3e-6)
    counts = np.zeros((5, 216, 216))
    battery_action = actions[..., 0] // 6
    for k in range(5):
        chosen = battery_action == k
        np.add.at(counts[k], (local[0][chosen], after[chosen] // 6), 1)
    statistic = freedom = 0.0
    for k in range(5):
        tried = counts[k].sum(-1)
        expected = tried[:, None] * model.transition[:, 6 * k]
        assert not counts[k][expected == 0].any()
        large = expected > 5
        statistic += np.sum((counts[k] - expected)[large] ** 2 / expected[large])
        freedom += (1 - model.transition[:, 6 * k])[large].sum()  # the mean of the statistic
    assert 1e-3 < chi2.sf(statistic, freedom) < 1 - 1e-6


def test_numbers_of_states_and_their_inverse():
    for parameters in CASES:
        env = averse.make("microgrids", **parameters)
        total = int(np.prod([model.num_states for model in env.local_models()]))
        numbers = np.random.default_rng(0).integers(0, total, 1000, np.int32)
        states = jax.device_get(jax.jit(jax.vmap(env.state_at))(numbers))
        np.testing.assert_array_equal(jax.jit(jax.vmap(env.state_index))(states), numbers)
        local = np.unravel_index(numbers, [model.num_states for model in env.local_models()])
        for agent, (model, s) in enumerate(zip(env.local_models(), local)):
            mine = np.stack([states.wind[:, agent], states.load[:, agent], states.battery[:, agent]], -1)
            np.testing.assert_array_equal(model.levels[s], mine)


def test_observations_show_the_joint_state_from_each_agents_side():
    env = averse.make("microgrids", scenario=2)
    state, step = jax.jit(env.state_at)(1_234_567), jax.jit(env.step)
    observed = np.asarray(step(jax.random.key(0), state, np.array(env.idle, np.int32)).observations).reshape(3, 3, 18)
    np.testing.assert_array_equal(observed[0, 1], observed[1, 0])
    np.testing.assert_array_equal(observed[2, 1], observed[0, 0])
    assert (observed.reshape(3, 3, 3, 6).sum(-1) == 1).all()
    reset = jax.jit(averse.make("microgrids", scenario=1).reset)
    alone = np.asarray(reset(jax.random.key(0))[1]).reshape(2, 2, 3, 6)
    assert (alone[0].sum(-1) == [[1, 1, 1], [0, 0, 1]]).all()
    assert (alone[1].sum(-1) == [[0, 0, 1], [1, 1, 1]]).all()


def test_it_never_ends_and_its_metrics_are_the_running_mean_and_variance():
    env = averse.make("microgrids", scenario=2, horizon=50)
    state, _ = jax.jit(env.reset)(jax.random.key(3))
    step, rewards = jax.jit(env.step), []
    for hour in range(50):
        result = step(jax.random.key(hour), state, np.array([3, 15, 20], np.int32))
        state = result.state
        rewards.append(float(result.rewards[0]))
        assert not np.asarray(result.terminated).any()
        assert bool(result.truncated) == (hour == 49)
    assert (np.asarray(result.rewards) == rewards[-1]).all()
    assert float(result.info["mean_power"]) == pytest.approx(np.mean(rewards), abs=1e-5)
    assert float(result.info["power_variance"]) == pytest.approx(np.var(rewards), abs=1e-4)
    assert float(result.info["curtailed"]) > 0


def test_merged_levels_keep_mean_and_steady_state():
    full = local_model(True, 6, 6, 6)
    for levels in (2, 3, 5):
        fewer = local_model(True, levels, levels, 3)
        for one, other in ((full.wind, fewer.wind), (full.load, fewer.load)):
            merged = [part.sum() for part in np.array_split(one.steady_state, levels)]
            np.testing.assert_allclose(other.steady_state, merged, atol=1e-12)
            assert other.steady_state @ other.power == pytest.approx(one.steady_state @ one.power, abs=1e-12)
            np.testing.assert_allclose(other.transition.sum(-1), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scenario": 3}, "scenario must be one of 1, 2, not 3"),
        ({"microgrids": 0}, r"microgrids must be a whole number in \[1, 100\] or nothing, not 0"),
        ({"battery_levels": 7}, r"battery_levels must be at most 6 without data: .*, not 7"),
        ({"wind_levels": 25}, r"wind_levels must be a whole number in \[1, 24\], not 25"),
        ({"horizon": 0}, r"horizon must be a whole number in \[1, 1e\+09\], not 0"),
    ],
)
def test_bad_parameters_are_one_clear_line(parameters, message):
    with pytest.raises(AverseError, match=message):
        averse.make("microgrids", **parameters)


@pytest.mark.parametrize("parameters", [{"microgrids": 4}, {"microgrids": 100}, {"scenario": 1, "microgrids": 15}])
def test_more_joint_states_than_can_be_numbered(parameters):
    """Four of scenario 2 have 2,176,782,336 joint states: int32 would begin again from below."""
    world = averse.make("microgrids", **parameters)
    state, _ = jax.eval_shape(world.reset, jax.random.key(0))
    with pytest.raises(AverseError, match="joint states are more than int32 can number"):
        world.state_index(state)
    with pytest.raises(AverseError, match="joint states are more than int32 can number"):
        world.state_at(0)
