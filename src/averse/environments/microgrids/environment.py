"""The compiled world of microgrids: one team, one reward per hour, no end."""

from functools import cached_property, lru_cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from numpy.typing import ArrayLike

from averse.environments.base import CompiledEnvironment
from averse.environments.microgrids.fitting import fitted_system
from averse.environments.microgrids.model import team_game
from averse.environments.microgrids.own_data import pinned, read_pinned
from averse.environments.microgrids.tables import LocalModel, System, published_system
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


class PricedState(NamedTuple):
    """As `MicrogridsState`, with a price: the running figures are of the money that is earned.

    A class of its own, as a field more would make checkpoints of worlds without prices unreadable.
    """

    wind: jax.Array  # int32 [N], level
    load: jax.Array  # int32 [N], level
    battery: jax.Array  # int32 [N], level
    time: jax.Array  # int32 [], hours
    mean: jax.Array  # float32 [], of the money earned per hour so far
    squares: jax.Array  # float32 [], sum of squared deviations from that mean
    curtailed: jax.Array  # float32 [], wind thrown away so far, MWh
    price: jax.Array  # int32 [], level


AnyState = MicrogridsState | PricedState


class _Tables(NamedTuple):
    """The local models side by side, padded to the largest: N microgrids, n actions."""

    wind_power: Any  # float32 [N, W], MW
    load_power: Any  # float32 [N, L], MW
    wind_bounds: Any  # float32 [N, W, W], cumulative transition probabilities
    load_bounds: Any  # float32 [N, L, L]
    wind_start: Any  # float32 [N, W], cumulative steady state
    load_start: Any  # float32 [N, L]
    battery_steps: Any  # int32 [N, n], levels
    battery_power: Any  # float32 [N, n_b], MW by levels + largest discharge of any
    curtailment: Any  # float32 [N, n], MW
    exists: Any  # bool [N, n]
    has_wind: Any  # float32 [N], 1 where there are wind and load


PUBLISHED_LEVELS = 6  # the published tables have so many of each
NumLevels = Annotated[int, Ge(1), Le(24)]


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

    With `data` the microgrids are those of a folder of measurements (docs/own-data.md): levels and transitions of wind
    and load are fitted, the microgrids' batteries are its own, and where it has prices the reward is the money that
    the power earns; the price's level is seen by all, at the end of each observation.
    """

    scenario: Literal[1, 2] = 2
    """1: wind and load at the first microgrid only, the others are batteries. 2: at every microgrid."""
    microgrids: Annotated[int, Ge(1), Le(100)] | None = None
    """How many; the scenario's number (2 in scenario 1, 3 in scenario 2) where not given."""
    wind_levels: NumLevels = 6
    """Levels of wind, at most 6 without data; there fewer merge neighbours and keep the mean."""
    load_levels: NumLevels = 6
    """Levels of load, at most 6 without data; there fewer merge neighbours and keep the mean."""
    battery_levels: NumLevels = 6
    """Levels of the battery: evenly spaced from empty to full; without data the lowest of the published six."""
    horizon: Steps = 1000
    """Hours after which an episode is truncated."""
    data: str | None = None
    """Folder with hourly wind and load of microgrids of your own, in place of the published system."""
    price_levels: NumLevels = 3
    """Levels of the price, where the folder has prices."""

    name: ClassVar[str] = "microgrids"
    drawing: ClassVar[str] = "averse.report.worlds.microgrids:DRAWING"
    average_reward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.data is None:
            for name in ("wind_levels", "load_levels", "battery_levels"):
                if getattr(self, name) > PUBLISHED_LEVELS:
                    raise AverseError(
                        f"{name} must be at most {PUBLISHED_LEVELS} without data: the published tables have no more, "
                        f"not {getattr(self, name)}"
                    )
            return
        if self.scenario != 2 or self.microgrids is not None:
            raise AverseError("scenario and microgrids choose among published systems; with data, leave them out")
        object.__setattr__(self, "data", pinned(self.data))
        self.system()  # what is wrong with the folder is told now

    def system(self) -> System:
        """The microgrids and the price that this world is made of; names, exact models and chains."""
        return self._system

    @cached_property
    def _system(self) -> System:
        sizes = (self.wind_levels, self.load_levels, self.battery_levels)
        if self.data is None:
            return published_system(self.scenario, self.microgrids, sizes)
        return _fitted(self.data, sizes, self.price_levels)

    @property
    def _num_prices(self) -> int:
        """Places of an observation that tell the price's level; 0 without prices."""
        return 0 if self._system.price is None else self.price_levels

    @property
    def metrics(self) -> dict[str, str]:  # type: ignore[override]
        """Running figures of the episode."""
        curtailed = {"curtailed": "wind thrown away, mean over the hours so far, MW"}
        if self._system.price is not None:
            return {
                "mean_revenue": "money earned per hour, mean over the hours so far",
                "revenue_variance": "variance of the money earned per hour over the hours so far",
                **curtailed,
            }
        return {
            "mean_power": "power sold to the main grid, mean over the hours so far, MW",
            "power_variance": "variance of the power sold over the hours so far, MW^2",
            **curtailed,
        }

    def local_models(self) -> list[LocalModel]:
        """The exact model of each microgrid, numpy float64; equal microgrids share one object."""
        return list(self._models)

    @property
    def _models(self) -> tuple[LocalModel, ...]:
        return self._system.models

    def model(self, form: Literal["factored", "sparse", "dense"] | None = None) -> FactoredTeamGame | TeamGame:
        """The exact model as a team game; joint states number the price slowest, where there is one, then the first
        microgrid, as `state_index` does.

        Args:
          form: factored where not given; sparse where there are prices, which cannot be factored.

        Raises:
          AverseError: for an unknown form, or one whose tables would not fit into 16 GB.
        """
        return team_game(self._system, form)

    def state_index(self, state: AnyState) -> jax.Array:
        """The number of a state in `model()`, int32 []. Raises AverseError where there are more than int32 counts."""
        self._require_countable()
        index = jnp.asarray(state.price, jnp.int32) if isinstance(state, PricedState) else jnp.int32(0)
        for i, model in enumerate(self._models):
            for level, size in zip((state.wind[i], state.load[i], state.battery[i]), model.shape):
                index = index * size + level
        return index

    def state_at(self, index: jax.Array, time: jax.Array | int = 0) -> AnyState:
        """The state of a number of `model()`, its running figures 0; the inverse of `state_index`, also in what it
        raises."""
        self._require_countable()
        levels = []
        for model in reversed(self._models):
            for size in reversed(model.shape):
                levels.append(index % size)
                index = index // size
        battery, load, wind = (jnp.stack(levels[k::3][::-1]).astype(jnp.int32) for k in range(3))
        price = None if self._system.price is None else jnp.asarray(index, jnp.int32)
        return _start(wind, load, battery, price)._replace(time=jnp.int32(time))

    def state_of(self, levels: ArrayLike, price: int | None = None) -> AnyState:
        """The state of levels of wind, load and battery [N, 3], and of the price where there is one; at time 0."""
        wind, load, battery = jnp.asarray(levels, jnp.int32).T
        return _start(wind, load, battery, None if price is None else jnp.int32(price))

    def _require_countable(self) -> None:
        states = self._system.num_states
        if states > np.iinfo(np.int32).max:
            raise AverseError(
                f"microgrids: {states:,} joint states are more than int32 can number; choose fewer levels"
            )

    @property
    def num_states(self) -> int:
        """How many joint states the model has."""
        return self._system.num_states

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
        """G: levels of wind, load and battery of all, and of the price where there is one."""
        return self.num_agents * (self.wind_levels + self.load_levels + self.battery_levels) + self._num_prices

    @property
    def observation_size(self) -> int:
        """O, which is G: all see the joint state."""
        return self.global_state_size

    @property
    def reward_bounds(self) -> tuple[float, float]:
        """Lowest and highest power that they can sell in an hour, MW; with prices, what it earns."""
        low = sum(float(model.reward[model.available].min()) for model in self._models)
        high = sum(float(model.reward[model.available].max()) for model in self._models)
        if self._system.price is None:
            return low, high
        ends = np.multiply.outer(self._system.price.power, [low, high])
        return float(ends.min()), float(ends.max())

    @cached_property
    def _tables(self) -> _Tables:
        models, actions = self._models, self.action_space.num_actions
        wind, load = self.wind_levels, self.load_levels
        steps = np.stack([_padded(m.battery_steps[m.actions[:, 0]], actions) for m in models])
        most = max(int(m.battery_steps.max()) for m in models)
        powers = np.zeros((len(models), 2 * most + 1))
        for row, m in zip(powers, models):
            # Where the battery's limits cut an action short, it is another of its actions, with its own losses.
            assert sorted(m.battery_steps) == list(range(-m.battery_steps.max(), m.battery_steps.max() + 1))
            row[most + m.battery_steps] = m.battery_power
        return _Tables(
            wind_power=_floats([_padded(m.wind.power, wind) for m in models]),
            load_power=_floats([_padded(m.load.power, load) for m in models]),
            wind_bounds=np.stack([_padded_chain(m.wind.transition, wind) for m in models]),
            load_bounds=np.stack([_padded_chain(m.load.transition, load) for m in models]),
            wind_start=np.stack([_bounds(_padded(m.wind.steady_state, wind)) for m in models]),
            load_start=np.stack([_bounds(_padded(m.load.steady_state, load)) for m in models]),
            battery_steps=steps.astype(np.int32),
            battery_power=_floats(powers),
            curtailment=_floats([_padded(m.curtailment[m.actions[:, 1]], actions) for m in models]),
            exists=np.arange(actions) < np.array([m.num_actions for m in models])[:, None],
            has_wind=_floats([m.has_wind_and_load for m in models]),
        )

    @cached_property
    def _prices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Levels of the price [P], cumulative transition probabilities [P, P], cumulative steady state [P]; float32."""
        if (price := self._system.price) is None:
            return None
        bounds = np.stack([_bounds(row) for row in price.transition])
        return _floats(price.power), bounds, _bounds(price.steady_state)

    def reset(self, key: jax.Array) -> tuple[AnyState, jax.Array]:
        """Wind, load and price in steady state, batteries at any level: (state, observations [N, O])."""
        table = self._tables
        outside, inside = jax.random.split(key)
        outside, price_draw = self._price_draw(outside)
        draws = jax.random.uniform(outside, (2, self.num_agents))
        state = _start(
            _drawn(draws[0], table.wind_start),
            _drawn(draws[1], table.load_start),
            jax.random.randint(inside, (self.num_agents,), 0, self.battery_levels),
            None if self._prices is None else _drawn_one(price_draw, self._prices[2]),
        )
        return state, self.observe(state)

    def step(self, key: jax.Array, state: AnyState, actions: jax.Array) -> StepResult:
        """One hour; actions int32 [N]."""
        key, price_draw = self._price_draw(key)
        state, reward = self._advance(state, actions, jax.random.uniform(key, (2, self.num_agents)), price_draw)
        hours = state.time.astype(jnp.float32)
        mean, variance, curtailed = self.metrics
        # No costs: nothing that happens here is unsafe; variance is the team's own affair.
        return self.result(
            state,
            reward,
            truncated=state.time >= self.horizon,
            info={mean: state.mean, variance: state.squares / hours, curtailed: state.curtailed / hours},
        )

    def _price_draw(self, key: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """The key for wind and load, and a uniform draw [] for the price; without prices the key itself, and None."""
        if self._prices is None:
            return key, None
        key, own = jax.random.split(key)
        return key, jax.random.uniform(own)

    def _advance(
        self, state: AnyState, actions: jax.Array, draws: jax.Array, price_draw: jax.Array | None = None
    ) -> tuple[AnyState, jax.Array]:
        """The next state and the reward [], given the hour's chance: uniform draws [2, N] for wind and load, and []
        for the price where there is one."""
        table, rows = self._tables, jnp.arange(self.num_agents)
        generated = jnp.asarray(table.wind_power)[rows, state.wind]
        consumed = jnp.asarray(table.load_power)[rows, state.load]
        wanted = jnp.asarray(table.battery_steps)[rows, actions]
        step = jnp.clip(wanted, state.battery - (self.battery_levels - 1), state.battery)
        thrown = jnp.minimum(jnp.asarray(table.curtailment)[rows, actions], generated)
        discharged = jnp.asarray(table.battery_power)[rows, step + table.battery_power.shape[1] // 2]
        reward = (generated - consumed + discharged - thrown).sum()
        following = state
        if isinstance(state, PricedState):
            assert self._prices is not None
            power, bounds, _ = map(jnp.asarray, self._prices)
            reward = reward * power[state.price]
            following = state._replace(price=_drawn_one(price_draw, bounds[state.price]))
        time = state.time + 1
        mean = state.mean + (reward - state.mean) / time.astype(jnp.float32)
        return following._replace(
            wind=_drawn(draws[0], jnp.asarray(table.wind_bounds)[rows, state.wind]),
            load=_drawn(draws[1], jnp.asarray(table.load_bounds)[rows, state.load]),
            battery=state.battery - step,
            time=time,
            mean=mean,
            squares=state.squares + (reward - state.mean) * (reward - mean),
            curtailed=state.curtailed + thrown.sum(),
        ), reward

    def _local_features(self, state: AnyState) -> jax.Array:
        """One-hot levels of each microgrid, float32 [N, W + L + C]."""
        exists = jnp.asarray(self._tables.has_wind)[:, None]
        wind = exists * jax.nn.one_hot(state.wind, self.wind_levels)
        load = exists * jax.nn.one_hot(state.load, self.load_levels)
        return jnp.concatenate([wind, load, jax.nn.one_hot(state.battery, self.battery_levels)], -1)

    def observe(self, state: AnyState) -> jax.Array:
        """What the agents see in a state, float32 [A, O]."""
        features = self._local_features(state)
        ring = (np.arange(self.num_agents)[:, None] + np.arange(self.num_agents)) % self.num_agents
        own = features[ring].reshape(self.num_agents, -1)
        if not isinstance(state, PricedState):
            return own
        price = jnp.broadcast_to(jax.nn.one_hot(state.price, self.price_levels), (self.num_agents, self.price_levels))
        return jnp.concatenate([own, price], -1)

    def global_state(self, state: AnyState) -> jax.Array:
        """What the first microgrid sees, float32 [G]."""
        features = self._local_features(state).reshape(-1)
        if not isinstance(state, PricedState):
            return features
        return jnp.concatenate([features, jax.nn.one_hot(state.price, self.price_levels)])

    def available_actions(self, state: AnyState) -> jax.Array:
        """What the batteries and the wind allow, bool [N, n]."""
        table, rows = self._tables, jnp.arange(self.num_agents)
        left = state.battery[:, None] - jnp.asarray(table.battery_steps)
        generated = jnp.asarray(table.wind_power)[rows, state.wind]
        enough = jnp.asarray(table.curtailment) <= generated[:, None] + 1e-5
        return jnp.asarray(table.exists) & (left >= 0) & (left < self.battery_levels) & enough


@lru_cache(maxsize=16)
def _fitted(data: str, sizes: tuple[int, int, int], price_levels: int) -> System:
    """The system of a pinned folder; what its files hold is part of the name by which it is kept."""
    recording = read_pinned(data)
    pinned(data)  # the very files that were read
    return fitted_system(recording, sizes, price_levels)


def _start(wind: jax.Array, load: jax.Array, battery: jax.Array, price: jax.Array | None) -> AnyState:
    zero = jnp.float32(0)
    rest = (wind, load, battery, jnp.int32(0), zero, zero, zero)
    return MicrogridsState(*rest) if price is None else PricedState(*rest, price)


def _drawn(draws: jax.Array, bounds: Any) -> jax.Array:
    """Levels [N] by inversion: how many cumulative probabilities [N, K] a uniform draw [N] reaches."""
    return (draws[:, None] >= bounds).sum(-1).astype(jnp.int32)


def _drawn_one(draw: Any, bounds: Any) -> jax.Array:
    """A level [] of cumulative probabilities [K]."""
    return _drawn(jnp.asarray(draw)[None], jnp.asarray(bounds)[None])[0]


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
