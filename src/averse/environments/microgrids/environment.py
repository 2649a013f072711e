"""The compiled world of microgrids: one team, one reward per hour, no end."""

import math
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from averse.environments.base import CompiledEnvironment
from averse.environments.microgrids.model import team_game
from averse.environments.microgrids.tables import LocalModel, local_model, tables
from averse.environments.protocol import Discrete, StepResult
from averse.environments.ranges import Steps
from averse.errors import AverseError
from averse.planning import FactoredTeamGame, TeamGame
from averse.settings import settings


class MicrogridsState(NamedTuple):
    """N microgrids; the running figures belong to the episode."""

    wind: jax.Array  # int32 [N], level
    load: jax.Array  # int32 [N], level
    battery: jax.Array  # int32 [N], level
    time: jax.Array  # int32 [], hours
    mean: jax.Array  # float32 [], of the team's reward so far, MW
    squares: jax.Array  # float32 [], sum of squared deviations from that mean, MW^2
    curtailed: jax.Array  # float32 [], wind thrown away so far, MWh


class _Tables(NamedTuple):
    """The local models side by side, padded to the largest: N microgrids, n actions."""

    wind_power: Any  # float32 [N, W], MW
    load_power: Any  # float32 [N, L], MW
    wind_bounds: Any  # float32 [N, W, W], cumulative transition probabilities
    load_bounds: Any  # float32 [N, L, L]
    wind_start: Any  # float32 [N, W], cumulative steady state
    load_start: Any  # float32 [N, L]
    battery_steps: Any  # int32 [N, n], levels
    battery_power: Any  # float32 [n_b], MW by levels + largest discharge
    curtailment: Any  # float32 [N, n], MW
    exists: Any  # bool [N, n]
    has_wind: Any  # float32 [N], 1 where there are wind and load


NumLevels = Annotated[int, Ge(1), Le(6)]  # the published tables have six of each


@settings
class Microgrids(CompiledEnvironment):
    """Microgrids with wind, load and a battery sell and buy power; a team with one reward (Hu, Xia, arXiv 2511.20977).

    Each hour each microgrid chooses a battery action and how much wind to throw away. Reward, the same for all: the
    power they sell to the main grid together, MW (negative: they buy). The task has no end: what counts is the long-run
    mean and variance of the reward per hour, and episodes are only cut (`horizon`), never terminated. They start with
    wind and load in steady state and batteries at any level.

    Observations: for each microgrid one-hot levels of wind, load and battery (zeros for wind and load where it has
    none), the agent's own microgrid first, the others after it in a ring. So every agent sees the joint state, as the
    theory's product policies do. The global state is the same from the first microgrid's view.

    Actions are numbered battery action first (-1.2, -.6, 0, .6, 1.2 MW; positive discharges), curtailment (multiples
    of .6 MW) fastest, by the microgrid's own number of curtailments; where it has fewer actions than others, the rest
    are never available. An unavailable action is carried out as far as it can be.
    """

    scenario: Literal[1, 2] = 2
    """1: wind and load at the first microgrid only, the others are batteries. 2: at every microgrid."""
    microgrids: Annotated[int, Ge(1), Le(100)] | None = None
    """How many; the scenario's number (2 in scenario 1, 3 in scenario 2) where not given."""
    wind_levels: NumLevels = 6
    """Levels of wind; fewer merge neighbours and keep the mean."""
    load_levels: NumLevels = 6
    """Levels of load; fewer merge neighbours and keep the mean."""
    battery_levels: NumLevels = 6
    """Levels of the battery: the lowest ones."""
    horizon: Steps = 1000
    """Hours after which an episode is truncated."""

    name: ClassVar[str] = "microgrids"
    drawing: ClassVar[str] = "averse.report.worlds.microgrids:DRAWING"
    average_reward: ClassVar[bool] = True
    metrics: ClassVar[dict[str, str]] = {
        "mean_power": "power sold to the main grid, mean over the hours so far, MW",
        "power_variance": "variance of the power sold over the hours so far, MW^2",
        "curtailed": "wind thrown away, mean over the hours so far, MW",
    }

    def local_models(self) -> list[LocalModel]:
        """The exact model of each microgrid, numpy float64; equal microgrids share one object."""
        return list(self._models)

    @cached_property
    def _models(self) -> tuple[LocalModel, ...]:
        published = tables()[f"scenario_{self.scenario}"]
        count = published["microgrids"] if self.microgrids is None else self.microgrids
        sizes = (self.wind_levels, self.load_levels, self.battery_levels)
        first = local_model(True, *sizes)
        rest = first if self.scenario == 2 else local_model(False, *sizes)
        return (first, *[rest] * (count - 1))

    def model(self, form: Literal["factored", "sparse", "dense"] = "factored") -> FactoredTeamGame | TeamGame:
        """The exact model as a team game; joint states number the first microgrid slowest, as `state_index` does.

        Raises:
          AverseError: for an unknown form, or one whose tables would not fit into 16 GB.
        """
        return team_game(self.local_models(), form)

    def state_index(self, state: MicrogridsState) -> jax.Array:
        """The number of a state in `model()`, int32 []. Raises AverseError where there are more than int32 counts."""
        self._require_countable()
        index = jnp.int32(0)
        for i, model in enumerate(self._models):
            for level, size in zip((state.wind[i], state.load[i], state.battery[i]), model.shape):
                index = index * size + level
        return index

    def state_at(self, index: jax.Array, time: jax.Array | int = 0) -> MicrogridsState:
        """The state of a number of `model()`, its running figures 0; the inverse of `state_index`, also in what it
        raises."""
        self._require_countable()
        levels = []
        for model in reversed(self._models):
            for size in reversed(model.shape):
                levels.append(index % size)
                index = index // size
        battery, load, wind = (jnp.stack(levels[k::3][::-1]).astype(jnp.int32) for k in range(3))
        return _start(wind, load, battery)._replace(time=jnp.int32(time))

    def _require_countable(self) -> None:
        states = math.prod(size for model in self._models for size in model.shape)
        if states > np.iinfo(np.int32).max:
            raise AverseError(
                f"microgrids: {states:,} joint states are more than int32 can number; choose fewer levels"
            )

    @property
    def idle(self) -> tuple[int, ...]:
        """Per agent the action of no management: the battery rests, no wind is thrown away."""
        return tuple(model.idle for model in self._models)

    @property
    def num_agents(self) -> int:
        """N, one for each microgrid."""
        return len(self._models)

    @property
    def action_space(self) -> Discrete:
        """The actions of the microgrid that has the most."""
        return Discrete(max(model.num_actions for model in self._models))

    @property
    def global_state_size(self) -> int:
        """G: levels of wind, load and battery of all."""
        return self.num_agents * (self.wind_levels + self.load_levels + self.battery_levels)

    @property
    def observation_size(self) -> int:
        """O, which is G: all see the joint state."""
        return self.global_state_size

    @property
    def reward_bounds(self) -> tuple[float, float]:
        """Lowest and highest power that they can sell in an hour, MW."""
        low = sum(float(model.reward[model.available].min()) for model in self._models)
        high = sum(float(model.reward[model.available].max()) for model in self._models)
        return low, high

    @cached_property
    def _tables(self) -> _Tables:
        models, actions = self._models, self.action_space.num_actions
        wind, load = self.wind_levels, self.load_levels
        steps = np.stack([_padded(m.battery_steps[m.actions[:, 0]], actions) for m in models])
        powers = {int(s): p for s, p in zip(models[0].battery_steps, models[0].battery_power)}
        most = max(powers)
        # Where the battery's limits cut an action short, it is another of the battery actions, with its own losses.
        assert sorted(powers) == list(range(-most, most + 1))
        return _Tables(
            wind_power=_floats([_padded(m.wind.power, wind) for m in models]),
            load_power=_floats([_padded(m.load.power, load) for m in models]),
            wind_bounds=np.stack([_padded_chain(m.wind.transition, wind) for m in models]),
            load_bounds=np.stack([_padded_chain(m.load.transition, load) for m in models]),
            wind_start=np.stack([_bounds(_padded(m.wind.steady_state, wind)) for m in models]),
            load_start=np.stack([_bounds(_padded(m.load.steady_state, load)) for m in models]),
            battery_steps=steps.astype(np.int32),
            battery_power=_floats([powers[step] for step in range(-most, most + 1)]),
            curtailment=_floats([_padded(m.curtailment[m.actions[:, 1]], actions) for m in models]),
            exists=np.arange(actions) < np.array([m.num_actions for m in models])[:, None],
            has_wind=_floats([i == 0 or self.scenario == 2 for i in range(len(models))]),
        )

    def reset(self, key: jax.Array) -> tuple[MicrogridsState, jax.Array]:
        """Wind and load in steady state, batteries at any level: (state, observations [N, O])."""
        table = self._tables
        outside, inside = jax.random.split(key)
        draws = jax.random.uniform(outside, (2, self.num_agents))
        state = _start(
            _drawn(draws[0], table.wind_start),
            _drawn(draws[1], table.load_start),
            jax.random.randint(inside, (self.num_agents,), 0, self.battery_levels),
        )
        return state, self.observe(state)

    def step(self, key: jax.Array, state: MicrogridsState, actions: jax.Array) -> StepResult:
        """One hour; actions int32 [N]."""
        state, reward = self._advance(state, actions, jax.random.uniform(key, (2, self.num_agents)))
        hours = state.time.astype(jnp.float32)
        # No costs: nothing that happens here is unsafe; variance is the team's own affair.
        return self.result(
            state,
            reward,
            truncated=state.time >= self.horizon,
            info={
                "mean_power": state.mean,
                "power_variance": state.squares / hours,
                "curtailed": state.curtailed / hours,
            },
        )

    def _advance(
        self, state: MicrogridsState, actions: jax.Array, draws: jax.Array
    ) -> tuple[MicrogridsState, jax.Array]:
        """The next state and the reward [], MW, given the hour's chance: uniform draws [2, N] for wind and load."""
        table, rows = self._tables, jnp.arange(self.num_agents)
        generated = jnp.asarray(table.wind_power)[rows, state.wind]
        consumed = jnp.asarray(table.load_power)[rows, state.load]
        wanted = jnp.asarray(table.battery_steps)[rows, actions]
        step = jnp.clip(wanted, state.battery - (self.battery_levels - 1), state.battery)
        thrown = jnp.minimum(jnp.asarray(table.curtailment)[rows, actions], generated)
        discharged = jnp.asarray(table.battery_power)[step + table.battery_power.size // 2]
        reward = (generated - consumed + discharged - thrown).sum()
        time = state.time + 1
        mean = state.mean + (reward - state.mean) / time.astype(jnp.float32)
        following = MicrogridsState(
            wind=_drawn(draws[0], jnp.asarray(table.wind_bounds)[rows, state.wind]),
            load=_drawn(draws[1], jnp.asarray(table.load_bounds)[rows, state.load]),
            battery=state.battery - step,
            time=time,
            mean=mean,
            squares=state.squares + (reward - state.mean) * (reward - mean),
            curtailed=state.curtailed + thrown.sum(),
        )
        return following, reward

    def _local_features(self, state: MicrogridsState) -> jax.Array:
        """One-hot levels of each microgrid, float32 [N, W + L + C]."""
        exists = jnp.asarray(self._tables.has_wind)[:, None]
        wind = exists * jax.nn.one_hot(state.wind, self.wind_levels)
        load = exists * jax.nn.one_hot(state.load, self.load_levels)
        return jnp.concatenate([wind, load, jax.nn.one_hot(state.battery, self.battery_levels)], -1)

    def observe(self, state: MicrogridsState) -> jax.Array:
        """What the agents see in a state, float32 [A, O]."""
        features = self._local_features(state)
        ring = (np.arange(self.num_agents)[:, None] + np.arange(self.num_agents)) % self.num_agents
        return features[ring].reshape(self.num_agents, -1)

    def global_state(self, state: MicrogridsState) -> jax.Array:
        """What the first microgrid sees, float32 [G]."""
        return self._local_features(state).reshape(-1)

    def available_actions(self, state: MicrogridsState) -> jax.Array:
        """What the batteries and the wind allow, bool [N, n]."""
        table, rows = self._tables, jnp.arange(self.num_agents)
        left = state.battery[:, None] - jnp.asarray(table.battery_steps)
        generated = jnp.asarray(table.wind_power)[rows, state.wind]
        enough = jnp.asarray(table.curtailment) <= generated[:, None] + 1e-5
        return jnp.asarray(table.exists) & (left >= 0) & (left < self.battery_levels) & enough


def _start(wind: jax.Array, load: jax.Array, battery: jax.Array) -> MicrogridsState:
    zero = jnp.float32(0)
    return MicrogridsState(wind, load, battery, jnp.int32(0), zero, zero, zero)


def _drawn(draws: jax.Array, bounds: Any) -> jax.Array:
    """Levels [N] by inversion: how many cumulative probabilities [N, K] a uniform draw [N] reaches."""
    return (draws[:, None] >= bounds).sum(-1).astype(jnp.int32)


def _bounds(probs: np.ndarray) -> np.ndarray:
    """Cumulative probabilities [K], float32; from the last possible level on 2, which no draw reaches, so that rounding
    can never draw an impossible level."""
    bounds = np.cumsum(probs).astype(np.float32)
    bounds[np.flatnonzero(probs)[-1] :] = 2.0
    return bounds


def _floats(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return np.pad(values, (0, size - len(values)))


def _padded_chain(transition: np.ndarray, size: int) -> np.ndarray:
    """Cumulative rows [size, size] of a chain of at most so many levels; the levels that do not exist lead to 0."""
    rows = np.zeros((size, size))
    rows[:, 0] = 1.0
    rows[: len(transition)] = np.pad(transition, ((0, 0), (0, size - len(transition))))
    return np.stack([_bounds(row) for row in rows])
