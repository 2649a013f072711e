"""Risky CartPole: CartPole-v1's physics with gusts of wind, an uncertain pole and, as an option, a risky edge."""

from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.base import CompiledEnvironment
from averse.environments.protocol import ActionSpace, Box, Discrete, StepResult
from averse.environments.ranges import Magnitude, Steps
from averse.settings import Fraction, settings

GRAVITY = 9.8  # m/s^2
CART_MASS = 1.0  # kg
POLE_HALF_LENGTH = 0.5  # m
PUSH = 10.0  # N
SECONDS_PER_STEP = 0.02
TRACK = 2.4  # m, half of the track
ANGLE_LIMIT = float(np.deg2rad(12.0))
START = 0.05  # each coordinate starts uniformly within +-START
POLE_MASS = 0.1  # kg, mean


class Level(NamedTuple):
    """How strong the disturbances are."""

    wind_std: float  # N
    wind_probability: float  # per step
    mass_std: float  # kg


# low, medium and high are the published levels; they have no tail (a linear controller scores 500 on each of them).
LEVELS = {
    "none": Level(0.0, 0.0, 0.0),
    "low": Level(0.25, 0.05, 0.05),
    "medium": Level(0.5, 0.1, 0.1),
    "high": Level(1.0, 0.2, 0.2),
    "severe": Level(20.0, 0.1, 0.2),
}


class CartPoleState(NamedTuple):
    """Cart and pole."""

    physics: jax.Array  # float32 [4]: position m, velocity m/s, angle rad, angular velocity rad/s
    pole_mass: jax.Array  # float32 [], kg
    time: jax.Array  # int32 []


@settings
class RiskyCartPole(CompiledEnvironment):
    """Gymnasium's CartPole-v1 with wind: at each step, with `wind_probability`, a gust N(0, wind_std) N joins the push.

    The pole's mass is drawn at reset as max(.05, N(.1, mass_std)) kg; the agent does not see it. Reward
    1 - .1 (angle / 12 deg)^2 per step. With `corridor`, the reward grows towards the right edge of the track, where a
    gust is most likely to end the episode: `(1 - edge_reward) + edge_reward * (x / 2.4)` in place of 1 for x > 0 (and
    `1 - edge_reward` for x <= 0), so that the mean pulls towards the edge and the tail away from it.
    """

    level: Literal["none", "low", "medium", "high", "severe"] = "severe"
    """Strength of the disturbances: low, medium and high as published, which have no tail."""
    wind_std: Magnitude | None = None
    """Standard deviation of a gust in N; the level's where not given."""
    wind_probability: Fraction | None = None
    """Probability of a gust at each step; the level's where not given."""
    mass_std: Magnitude | None = None
    """Standard deviation of the pole's mass in kg; the level's where not given."""
    corridor: bool = False
    """Reward grows towards the risky right edge of the track."""
    edge_reward: Fraction = 0.8
    """Share of the reward that is only earned at the edge; used with `corridor`."""
    continuous: bool = False
    """The action is a force in [-1, 1] times 10 N instead of a push left or right."""
    horizon: Steps = 500
    """Steps after which the episode is truncated."""

    name: ClassVar[str] = "risky-cartpole"
    drawing: ClassVar[str] = "averse.report.worlds.cartpole:DRAWING"
    num_agents: ClassVar[int] = 1
    observation_size: ClassVar[int] = 4
    metrics: ClassVar[dict[str, str]] = {
        "failure": "1 if the pole fell or the cart left the track",
        "edge": "position of the cart at the episode's last step, m",
    }

    @property
    def disturbance(self) -> Level:
        """The level's disturbances with the given ones in their place."""
        given = {name: getattr(self, name) for name in Level._fields if getattr(self, name) is not None}
        return LEVELS[self.level]._replace(**given)

    @property
    def action_space(self) -> ActionSpace:
        """Push left or right, or a force."""
        return Box(1) if self.continuous else Discrete(2)

    @property
    def reward_bounds(self) -> tuple[float, float]:
        """Lowest and highest reward of a step."""
        lowest = (1.0 - self.edge_reward if self.corridor else 1.0) - 0.1
        return min(lowest, 0.0), 1.0

    def observe(self, state: CartPoleState) -> jax.Array:
        """Position (m), velocity (m/s), angle (rad) and angular velocity (rad/s), float32 [1, 4]."""
        return state.physics[None]

    def reset(self, key: jax.Array) -> tuple[CartPoleState, jax.Array]:
        """Nearly upright at the middle, with a pole of unknown mass: (state, observations [1, 4])."""
        key_start, key_mass = jax.random.split(key)
        physics = jax.random.uniform(key_start, (4,), minval=-START, maxval=START)
        return self._started(physics, jax.random.normal(key_mass))

    def _started(self, physics: jax.Array, normal: jax.Array) -> tuple[CartPoleState, jax.Array]:
        pole_mass = jnp.maximum(0.05, POLE_MASS + self.disturbance.mass_std * normal)
        state = CartPoleState(physics, pole_mass, jnp.int32(0))
        return state, self.observe(state)

    @property
    def num_conditions(self) -> int:
        """Where cart and pole are and how they move, and the pole's mass."""
        return 5

    def begin(self, key: jax.Array, conditions: jax.Array) -> tuple[CartPoleState, jax.Array]:
        """`reset` from random numbers [5] in [0, 1): (state, observations [1, 4])."""
        del key  # nothing else is random at the start
        normal = jax.scipy.special.ndtri(jnp.clip(conditions[4], 1e-7, 1 - 1e-7))
        return self._started((2.0 * conditions[:4] - 1.0) * START, normal)

    def step(self, key: jax.Array, state: CartPoleState, actions: jax.Array) -> StepResult:
        """0.02 s; actions int32 [1], left or right, or float32 [1, 1], shares of 10 N."""
        push = PUSH * (
            jnp.clip(actions[0, 0], -1.0, 1.0) if self.continuous else 2.0 * actions[0].astype(jnp.float32) - 1.0
        )
        gust_key, size_key = jax.random.split(key)
        gust = jax.random.bernoulli(gust_key, self.disturbance.wind_probability)
        wind = jnp.where(gust, self.disturbance.wind_std * jax.random.normal(size_key), 0.0)
        physics = _advance(state.physics, state.pole_mass, push + wind)
        state = CartPoleState(physics, state.pole_mass, state.time + 1)
        failed = (jnp.abs(physics[0]) > TRACK) | (jnp.abs(physics[2]) > ANGLE_LIMIT)
        return self.result(
            state,
            self._reward(physics),
            costs=failed,
            terminated=failed,
            truncated=state.time >= self.horizon,
            info={"failure": failed, "edge": physics[0]},
        )

    def _reward(self, physics: jax.Array) -> jax.Array:
        tilt = 0.1 * jnp.clip(physics[2] / ANGLE_LIMIT, -1.0, 1.0) ** 2
        if not self.corridor:
            return 1.0 - tilt
        nearness = jnp.clip(physics[0] / TRACK, 0.0, 1.0)
        return 1.0 - self.edge_reward + self.edge_reward * nearness - tilt


def _advance(physics: jax.Array, pole_mass: jax.Array, force: jax.Array) -> jax.Array:
    """One explicit Euler step of CartPole-v1 (Barto, Sutton, Anderson 1983, as in Gymnasium); physics float32 [4]."""
    x, x_dot, theta, theta_dot = physics
    total_mass = CART_MASS + pole_mass
    moment = pole_mass * POLE_HALF_LENGTH
    sin, cos = jnp.sin(theta), jnp.cos(theta)
    temp = (force + moment * theta_dot**2 * sin) / total_mass
    theta_acc = (GRAVITY * sin - cos * temp) / (POLE_HALF_LENGTH * (4.0 / 3.0 - pole_mass * cos**2 / total_mass))
    x_acc = temp - moment * theta_acc * cos / total_mass
    dt = SECONDS_PER_STEP
    return jnp.stack([x + dt * x_dot, x_dot + dt * x_acc, theta + dt * theta_dot, theta_dot + dt * theta_acc])
