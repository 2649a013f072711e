"""Car following: two cars drive together to a target, tempted to speed (the MACF task of Shen et al., RiskQ, 2023).

The rules are those of the authors' published environment, which reproduce the scripted returns known of it (see
`speed_limited`), with three differences. The road has ends, at its start and as far behind the target, where a car
stops, so that returns are bounded; a car that reverses faster than the safe speed risks a crash too; and reaching the
speed cap within a step is computed exactly instead of to hundredths of a second.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from averse.environments.base import CompiledEnvironment
from averse.environments.protocol import Discrete, StepResult, discounted_bounds, reward_steps
from averse.environments.ranges import Cost, Magnitude, PositiveMagnitude, Steps
from averse.errors import AverseError
from averse.settings import settings

SECONDS_PER_STEP = 0.1
NUM_ACTIONS = 21
ACCELERATIONS = tuple(-1.0 + 2.0 * k / NUM_ACTIONS for k in range(NUM_ACTIONS))  # m/s^2; none of them is 0
ROUNDING = 1e-5  # m/s; a car at exactly the safe speed is not speeding
WINDOW = 0.01  # m; a car that ends a step this close to the target has arrived
ARRIVAL_REWARD = 5.0  # per car
ALL_ARRIVED_REWARD = 10.0
TOGETHER_REWARD = 1.0  # per step


class CarFollowingState(NamedTuple):
    """One running episode."""

    position: jax.Array  # float32 [2], m
    speed: jax.Array  # float32 [2], m/s
    arrived: jax.Array  # bool [2]
    crashes: jax.Array  # float32 [], of both cars so far
    speeding: jax.Array  # float32 [], car-steps above the safe speed so far
    time: jax.Array  # int32 [], steps taken


@settings
class CarFollowing(CompiledEnvironment):
    """Two cars start at 0 m, at rest, and have 200 steps of 0.1 s to arrive at the target; the reward is the team's.

    A car chooses one of 21 accelerations -1 + 2k/21 m/s^2, held for the step but for the speed cap. Every step pays
    -1 - |x_1 - target| - |x_2 - target|, +1 if the cars are within `sight` of each other, and -`crash_penalty` for each
    car that crashes, which happens with probability `crash_rate` (|v| - `safe_speed`) above the safe speed. A crash is
    counted and costs reward but does not end anything. A car that ends a step within 0.01 m of the target has arrived,
    which pays 5 once; from the next step on it stands at the target. When both have arrived, the team is paid 10 and
    the episode ends. A car may miss the target, and come back.

    A car sees its own position (m) and speed (m/s), whether the other car is within `sight`, and that one's position
    and speed (zeros if it is not). The global state holds position and speed of both.

    Beware of what is compared. Speeding wins by the mean *and* by the worst 5 % of the returns: a crash costs less than
    the time that speeding saves. Whether a policy is careful is told by `crashes`.
    """

    target: PositiveMagnitude = 2.5
    """Position of the target, m. The road ends at twice that."""
    speed_cap: PositiveMagnitude = 1.8
    """No car is faster, m/s."""
    safe_speed: Magnitude = 1.0
    """Below this speed, m/s, no car crashes."""
    crash_rate: Magnitude = 0.4
    """Probability of a crash per step and per m/s above the safe speed."""
    crash_penalty: Cost = 1.0
    """Reward units that a crash costs."""
    sight: PositiveMagnitude = 0.3
    """Distance in m within which the cars see each other, and are paid for staying together."""
    horizon: Steps = 200
    """Steps after which the episode is truncated."""

    name: ClassVar[str] = "car-following"
    drawing: ClassVar[str] = "averse.report.worlds.car_following:DRAWING"
    num_agents: ClassVar[int] = 2
    action_space: ClassVar[Discrete] = Discrete(NUM_ACTIONS)
    observation_size: ClassVar[int] = 5
    global_state_size: ClassVar[int] = 4
    metrics: ClassVar[dict[str, str]] = {
        "collision": "1 if a car crashed at least once",
        "crashes": "crashes of both cars",
        "arrivals": "cars that arrived (0-2)",
        "speeding": "steps above the safe speed, both cars",
    }

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        """The worst is to crash at an end of the road for ever, the best to arrive at once."""
        low = -1.0 - 2.0 * self.target - 2.0 * self.crash_penalty
        high = 2.0 * ARRIVAL_REWARD + ALL_ARRIVED_REWARD + TOGETHER_REWARD - 1.0
        return discounted_bounds(low, 0.0, reward_steps(self, gamma), gamma)[0], high

    def reset(self, key: jax.Array) -> tuple[CarFollowingState, jax.Array]:
        """Both cars at the start, at rest: (state, observations [2, 5])."""
        del key
        state = CarFollowingState(
            position=jnp.zeros(2),
            speed=jnp.zeros(2),
            arrived=jnp.zeros(2, bool),
            crashes=jnp.float32(0.0),
            speeding=jnp.float32(0.0),
            time=jnp.int32(0),
        )
        return state, self.observe(state)

    def step(self, key: jax.Array, state: CarFollowingState, actions: jax.Array) -> StepResult:
        """0.1 s; actions int32 [2], indices of `ACCELERATIONS`."""
        position, speed = advance(state.position, state.speed, jnp.asarray(ACCELERATIONS)[actions], self.speed_cap)
        beyond = (position < 0.0) | (position > 2.0 * self.target)
        position = jnp.where(state.arrived, self.target, jnp.clip(position, 0.0, 2.0 * self.target))
        speed = jnp.where(state.arrived | beyond, 0.0, speed)
        distance = jnp.abs(position - self.target)
        arrived = state.arrived | (distance < WINDOW)
        excess = jnp.abs(speed) - self.safe_speed
        crashed = jax.random.uniform(key, (2,)) < self.crash_rate * excess
        reward = (
            -1.0
            - distance.sum()
            + jnp.where(self._together(position), TOGETHER_REWARD, 0.0)
            - self.crash_penalty * crashed.sum(dtype=jnp.float32)
            + ARRIVAL_REWARD * (arrived & ~state.arrived).sum(dtype=jnp.float32)
            + jnp.where(arrived.all(), ALL_ARRIVED_REWARD, 0.0)
        )
        state = CarFollowingState(
            position=position,
            speed=speed,
            arrived=arrived,
            crashes=state.crashes + crashed.sum(dtype=jnp.float32),
            speeding=state.speeding + (excess > ROUNDING).sum(dtype=jnp.float32),
            time=state.time + 1,
        )
        return self.result(
            state,
            reward,
            costs=crashed,
            terminated=arrived.all(),
            truncated=state.time >= self.horizon,
            info={
                "collision": state.crashes > 0,
                "crashes": state.crashes,
                "arrivals": arrived.sum(),
                "speeding": state.speeding,
            },
        )

    def _together(self, position: jax.Array) -> jax.Array:
        return jnp.abs(position[0] - position[1]) <= self.sight

    def observe(self, state: CarFollowingState) -> jax.Array:
        """What both cars see, float32 [2, 5]; m and m/s."""
        own = jnp.stack([state.position, state.speed], -1)
        seen = jnp.full((2, 1), self._together(state.position), jnp.float32)
        return jnp.concatenate([own, seen, seen * own[::-1]], -1)

    def global_state(self, state: CarFollowingState) -> jax.Array:
        """Position (m) of both cars, then speed (m/s) of both, float32 [4]."""
        return jnp.concatenate([state.position, state.speed])


def advance(position: jax.Array, speed: jax.Array, acceleration: jax.Array, cap: float) -> tuple[jax.Array, jax.Array]:
    """Position (m) and speed (m/s) after one step at a constant acceleration, until the cap is reached; any shape.

    `acceleration` must not be 0.
    """
    after = jnp.clip(speed + acceleration * SECONDS_PER_STEP, -cap, cap)
    accelerating = (after - speed) / acceleration  # s, until the cap is reached
    way = 0.5 * (speed + after) * accelerating + after * (SECONDS_PER_STEP - accelerating)
    return position + way, after


def speed_limited(limit: float, environment: CarFollowing | None = None) -> Callable[[jax.Array], jax.Array]:
    """A scripted driver: as fast as the limit (m/s) allows, braking at the last moment that lets it land on the target.

    It maps observations [..., 2, 5] to actions int32 [..., 2]. In the default environment a limit of 1.0 makes a return
    of -66.8 without a crash, the limit 1.8 makes -61.5 with a standard deviation of 2.0 and 5.4 crashes.

    Raises AverseError for a limit that is not positive.
    """
    environment = environment or CarFollowing()
    if not limit > 0:
        raise AverseError(f"the speed limit must be positive, not {limit}")
    limit = min(limit, environment.speed_cap)
    hardest, strongest = ACCELERATIONS[-1], ACCELERATIONS[0]
    # Choosing to be capped needs no care where the limit is the cap; else a choice must stay below the limit.
    allowed = limit if limit < environment.speed_cap else jnp.inf
    durations = SECONDS_PER_STEP * jnp.arange(1, environment.horizon + 1, dtype=jnp.float32)

    def farthest(speed: jax.Array) -> jax.Array:
        """The way that is possible in 1, 2, ... steps, [..., horizon]."""
        times = jnp.broadcast_to(durations, (*speed.shape, environment.horizon))
        accelerating = jnp.clip((limit - speed[..., None]) / hardest, 0.0, times)
        return (speed[..., None] + 0.5 * hardest * accelerating) * accelerating + limit * (times - accelerating)

    def policy(observations: jax.Array) -> jax.Array:
        position, speed = observations[..., 0], observations[..., 1]
        accelerations = jnp.broadcast_to(jnp.asarray(ACCELERATIONS), (*speed.shape, NUM_ACTIONS))
        steps_after = jnp.argmax(farthest(speed) >= (environment.target - position)[..., None], -1)
        left = SECONDS_PER_STEP * steps_after[..., None].astype(jnp.float32)  # s, after this step
        reached, then = advance(position[..., None], speed[..., None], accelerations, environment.speed_cap)
        nearest = reached + (then + 0.5 * strongest * left) * left
        tolerance = 0.01 * WINDOW
        feasible = (nearest <= environment.target + tolerance) & (
            speed[..., None] + accelerations * SECONDS_PER_STEP <= allowed + 1e-6
        )
        return jnp.where(feasible, jnp.arange(NUM_ACTIONS), 0).max(-1)

    return policy
