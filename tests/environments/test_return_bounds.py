"""The bounds of returns hold what learners learn: they bootstrap where an episode is only cut."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import averse
from averse.environments import find_faults
from averse.environments.base import CompiledEnvironment
from averse.environments.protocol import Discrete, reward_steps
from averse.learners.parts.predictions import prediction
from averse.risk import shift_and_project
from averse.settings import settings


@settings
class Waiting(CompiledEnvironment):
    """Each step costs .1; nothing ever happens."""

    ends: bool = False
    horizon: ClassVar[int] = 120
    num_agents: ClassVar[int] = 1
    observation_size: ClassVar[int] = 1
    action_space: ClassVar[Discrete] = Discrete(2)
    reward_bounds: ClassVar[tuple[float, float]] = (-0.1, 0.0)

    @property
    def ends_at_horizon(self):
        return self.ends

    def observe(self, state):
        return jnp.zeros((1, 1))

    def reset(self, key):
        return jnp.int32(0), self.observe(None)

    def step(self, key, state, actions):
        over = state + 1 >= self.horizon
        return self.result(state + 1, -0.1, terminated=over & self.ends, truncated=over)


def learned_value(environment, gamma, sweeps=20_000):
    """V of the last state before the cut, which sees no more than any other, as bootstrapping has it."""
    value = 0.0
    for _ in range(sweeps):
        value = -0.1 + gamma * value
    return value


@pytest.mark.parametrize("gamma", [0.9, 0.99, 0.999])
def test_waiting_for_ever_is_within_the_bounds(gamma):
    low, high = Waiting().return_bounds(gamma)
    assert high == 0.0
    np.testing.assert_allclose(low, learned_value(Waiting(), gamma), rtol=1e-6)


def test_at_gamma_999_waiting_is_worth_100():
    for environment in (Waiting(), averse.make("intersection"), averse.make("intersection", horizon=20)):
        np.testing.assert_allclose(environment.return_bounds(0.999)[0], -100.0, rtol=1e-9)
    assert averse.make("intersection", horizon=20).return_bounds(1.0)[0] == pytest.approx(-20 * 0.1 - 10.0)


def test_a_bootstrapped_return_is_within_the_bounds_of_every_environment():
    """The lowest and the highest reward of a step, for ever."""
    for name, (low, high), ends in (
        ("risky-cartpole", (0.0, 1.0), False),
        ("car-following", (-8.0, 0.0), False),
        ("corridor", (-2.0, 1.5), True),
    ):
        environment = averse.make(name)
        for gamma in (0.0, 0.97, 0.999):
            steps = (1 - gamma ** (environment.horizon if ends else np.inf)) / (1 - gamma)
            bounds = environment.return_bounds(gamma)
            assert bounds[0] == pytest.approx(min(low, low * steps), rel=1e-9)
            assert bounds[1] >= high * steps - 1e-9
        assert all(np.isfinite(environment.return_bounds(1.0)))


def test_where_episodes_end_nothing_is_added():
    assert Waiting(ends=True).return_bounds(0.999) == (pytest.approx(-0.1 * (1 - 0.999**120) / 0.001), 0.0)
    assert reward_steps(Waiting(ends=True), 0.999) == reward_steps(Waiting(), 1.0) == 120
    assert reward_steps(Waiting(), 0.999) == np.inf
    # These defaults are those of the published figures.
    assert averse.make("cliff-walk").return_bounds(0.99) == (-2.0, 1.0)
    assert averse.make("intersection").return_bounds(0.99)[0] == pytest.approx(-10.1)
    np.testing.assert_allclose(averse.make("corridor").return_bounds(0.99), (-19.12358, 14.34269), rtol=1e-6)


def test_an_environment_that_says_it_ends_must_not_be_cut():
    assert find_faults(Waiting()) == find_faults(Waiting(ends=True)) == []

    class Cut(Waiting):
        ends_at_horizon: ClassVar[bool] = True

    assert any("ends_at_horizon says that it ends" in fault for fault in find_faults(Cut()))


def test_a_critic_on_the_default_support_learns_what_waiting_is_worth():
    """On the old support, which stopped at -.1 (1 - .95^20) / .05, the value was out of reach."""
    environment = Waiting()
    support = prediction("categorical", environment.return_bounds(0.95), num_atoms=51, value_scale=1.0).support
    probs = jnp.full(51, 1 / 51)
    probs = jax.lax.fori_loop(0, 500, lambda _, p: shift_and_project(p, -0.1, 0.95, support), probs)
    np.testing.assert_allclose(probs @ support, -0.1 / 0.05, rtol=1e-3)
