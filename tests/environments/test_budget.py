"""Worlds with the return so far in what is seen: the same worlds, with numbers that are checked by adding up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse import environments
from averse.environments import check_environment, make, specification
from averse.environments.batch import reset_batch, step_batch
from averse.environments.budget import BudgetVector, is_budgeted, returns_so_far
from averse.environments.protocol import TimeStep
from averse.errors import AverseError
from averse.training import configure


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("budget:corridor", {"length": 4}), ("budget:cliff-walk", {"budget": "team", "budget_unit": 2.0, "horizon": 8})],
)
def test_a_world_with_a_budget_is_in_order(name, parameters):
    environment = make(name, **parameters)
    check_environment(environment, episodes=4)
    assert is_budgeted(environment)
    assert not is_budgeted(environment.inner)
    assert specification(environment) == (name, environments.parameters_of(environment))


@pytest.mark.parametrize("budget", ["own", "team"])
def test_returns_so_far_are_the_sums_of_what_was_earned(budget):
    """Played beside the world itself with the same keys and actions; all agents end at the horizon."""
    environment = make("budget:cliff-walk", horizon=6, budget=budget, budget_unit=4.0)
    inner = environment.inner
    (state, seen), (plain, plain_seen) = environment.reset(jax.random.key(0)), inner.reset(jax.random.key(0))
    step, plain_step = jax.jit(environment.step), jax.jit(inner.step)
    earned = np.zeros(2)
    ended_alone = 0
    for time in range(6):
        np.testing.assert_allclose(returns_so_far(environment, seen), earned, atol=1e-6)
        np.testing.assert_allclose(seen[:, 0], earned / 4, atol=1e-6)
        np.testing.assert_allclose(seen[:, 1], 1 - time / 6, atol=1e-6)
        np.testing.assert_array_equal(seen[:, 2:], plain_seen)
        whole = environment.global_state(state)
        np.testing.assert_allclose(whole, [*earned / 4, 1 - time / 6, *inner.global_state(plain)], atol=1e-6)
        actions = jax.random.randint(jax.random.key(100 + time), (2,), 0, inner.action_space.num_actions)
        key = jax.random.key(time)
        result, own = step(key, state, actions), plain_step(key, plain, actions)
        np.testing.assert_array_equal(result.rewards, own.rewards)
        earned = earned + (np.asarray(own.rewards) if budget == "own" else np.mean(own.rewards))
        over = bool(own.terminated.all() | own.truncated)
        expected = own.terminated | own.truncated if budget == "own" else jnp.full(2, over)
        np.testing.assert_array_equal(result.terminated, expected)
        ended_alone += int(own.terminated.any() and not over)
        assert not result.truncated
        if over:
            break
        state, seen, plain, plain_seen = result.state, result.observations, own.state, own.observations
    assert over


def test_sets_stay_where_they_are_among_the_other_numbers():
    environment = make("budget:intersection", num_agents=2)
    for layout in (environments.observation_layout, environments.global_state_layout):
        assert layout(environment).count == layout(environment.inner).count
    assert (
        environments.observation_layout(environment).own == environments.observation_layout(environment.inner).own + 2
    )
    assert environments.suggested_settings(environment, "mappo") == environments.suggested_settings(
        environment.inner, "mappo"
    )


def test_critics_of_whole_episodes_predict_in_the_unit_of_the_budget():
    """As both are the size of a typical return; unless the world itself knows better."""
    environment = make("budget:risky-cartpole", budget_unit=100.0)
    for method, suggested in [("static-cvar-mappo", {"value_scale": 100.0}), ("mappo", {}), ("qmix", {})]:
        assert environments.suggested_settings(environment, method) == suggested
    assert configure(environment.name, "static-entropic-mappo", budget_unit=100.0).learner["value_scale"] == 100.0
    own = environments.suggested_settings(make("intersection"), "static-cvar-mappo")
    assert own["value_scale"] == 5.0
    assert environments.suggested_settings(make("budget:intersection", budget_unit=20.0), "static-cvar-mappo") == own


class Compiled:
    """A compiled world as a running batch, as host worlds are: what a `HostVector` answers, from the same steps."""

    def __init__(self, environment, num_envs):
        self.environment, self.num_envs = environment, num_envs
        self._step = jax.jit(lambda state, actions: step_batch(environment, state, actions))

    def reset_endless(self, seed):
        self.state, step = reset_batch(self.environment, jax.random.key(seed), self.num_envs)
        return jax.tree.map(np.asarray, step)

    def step(self, actions):
        self.state, step = self._step(self.state, jnp.asarray(actions))
        return jax.tree.map(np.asarray, step)


@pytest.mark.parametrize("budget", ["own", "team"])
def test_host_worlds_count_as_compiled_ones_do(budget):
    """Over several episodes: each TimeStep of the vector is that of the compiled world with a budget."""
    environment = make("budget:cliff-walk", horizon=5, budget=budget, budget_unit=3.0)
    whole, parts = Compiled(environment, 3), BudgetVector(environment, Compiled(environment.inner, 3))
    rng = np.random.default_rng(0)
    pair = whole.reset_endless(7), parts.reset_endless(7)
    ends = 0
    for _ in range(14):
        for name in TimeStep._fields:
            for one, other in zip(jax.tree.leaves(getattr(pair[0], name)), jax.tree.leaves(getattr(pair[1], name))):
                np.testing.assert_allclose(one, other, atol=1e-6, err_msg=name)
        ends += int(pair[0].done.sum())
        actions = rng.integers(0, environment.action_space.num_actions, (3, 2), dtype=np.int32)
        pair = whole.step(actions), parts.step(actions)
    assert ends >= 6


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("budget:corridr", {}, "unknown environment 'corridr'; did you mean corridor"),
        ("budget:microgrids", {}, "episodes of microgrids never end"),
        ("budget:budget:corridor", {}, "two budgets"),
        ("budget:", {}, "unknown environment ''"),
        ("budget:corridor", {"budget": "mine"}, "unknown budget 'mine'; allowed: own, team"),
        ("budget:corridor", {"budget_unit": 0.0}, "budget_unit must be"),
        ("budget:corridor", {"lenght": 3}, "did you mean length"),
    ],
)
def test_bad_names_and_numbers_get_one_line(name, parameters, words):
    with pytest.raises(AverseError, match=words) as caught:
        make(name, **parameters)
    assert "\n" not in str(caught.value)
