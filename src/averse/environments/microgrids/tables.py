"""The exact model of microgrids, each with a few levels of wind, load and battery; and the published system.

In an hour a microgrid generates G MW, consumes D MW, discharges its battery by b MW (b < 0 charges it) and throws away
v MW of the wind. It sells H = G - D + e - v MW to the main grid (H < 0: it buys), e = .95 [b]+ + [b]-/.95 being the
battery's power after losses. Wind and load are Markov chains that no action moves; the battery goes from B to B - b.

Axes: W, L, C levels of wind, load and battery; S = W L C local states, numbered wind first and battery fastest; n
actions, numbered battery action first and curtailment fastest.
"""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Levels:
    """A Markov chain over levels of power.

    Attributes:
      power: [K], MW.
      transition: [K, K] per hour.
    """

    power: Floats
    transition: Floats

    @cached_property
    def steady_state(self) -> Floats:
        """The long-run share of hours at each level [K]."""
        size = len(self.power)
        return np.asarray(np.linalg.solve((np.eye(size) - self.transition + 1.0).T, np.ones(size)), np.float64)

    def lumped(self, count: int) -> "Levels":
        """Neighbouring levels merged to `count` (the number of levels at most).

        Merged levels take the mean of their powers and of their rows, weighted by the steady state, so that the mean
        power and the steady state of the merged levels are kept.
        """
        weights, groups = self.steady_state, np.array_split(np.arange(len(self.power)), count)
        member = np.zeros((count, len(self.power)))
        for row, group in enumerate(groups):
            member[row, group] = 1.0
        share = member * weights / (member @ weights)[:, None]
        return Levels(share @ self.power, share @ self.transition @ member.T)


@dataclass(frozen=True, eq=False)
class LocalModel:
    """One microgrid as a controlled chain.

    Attributes:
      wind, load: what it generates and consumes.
      energy: battery levels [C], MWh.
      battery_steps: levels by which each battery action lowers the battery [K].
      battery_power: MW to the grid of each battery action, after losses [K].
      curtailment: MW of each curtailment action [V].
    """

    wind: Levels
    load: Levels
    energy: Floats
    battery_steps: Integers
    battery_power: Floats
    curtailment: Floats

    @property
    def shape(self) -> tuple[int, int, int]:
        """(W, L, C)."""
        return len(self.wind.power), len(self.load.power), len(self.energy)

    @property
    def num_states(self) -> int:
        """S = W L C."""
        return int(np.prod(self.shape))

    @property
    def num_actions(self) -> int:
        """n, battery actions times curtailment actions."""
        return len(self.battery_steps) * len(self.curtailment)

    @property
    def has_wind_and_load(self) -> bool:
        """Whether it is more than a battery."""
        return bool(max(self.wind.power.max(), self.load.power.max()) > 0)

    @property
    def idle(self) -> int:
        """The action that leaves the battery alone and throws nothing away."""
        return int(np.flatnonzero(self.battery_steps == 0)[0]) * len(self.curtailment)

    @cached_property
    def actions(self) -> Integers:
        """Battery action and curtailment action of each action [n, 2]."""
        return np.stack(np.divmod(np.arange(self.num_actions), len(self.curtailment)), -1)

    @cached_property
    def levels(self) -> Integers:
        """Wind, load and battery level of each state [S, 3]."""
        return np.stack(np.unravel_index(np.arange(self.num_states), self.shape), -1)

    @cached_property
    def next_battery(self) -> Integers:
        """The battery's next level [S, n]; out of range where the action is not available."""
        return self.levels[:, 2:] - self.battery_steps[self.actions[:, 0]]

    @cached_property
    def available(self) -> Mask:
        """Which actions keep the battery within its limits and throw away no more than there is, bool [S, n]."""
        within = (self.next_battery >= 0) & (self.next_battery < len(self.energy))
        enough = self.curtailment[self.actions[:, 1]] <= self.wind.power[self.levels[:, :1]] + 1e-9
        return within & enough

    @cached_property
    def reward(self) -> Floats:
        """Power sold to the main grid, MW [S, n]."""
        net = self.wind.power[self.levels[:, :1]] - self.load.power[self.levels[:, 1:2]]
        return net + self.battery_power[self.actions[:, 0]] - self.curtailment[self.actions[:, 1]]

    @cached_property
    def exogenous(self) -> Floats:
        """Transition of wind and load together [W L, W L]."""
        return np.asarray(np.kron(self.wind.transition, self.load.transition), np.float64)

    @cached_property
    def transition(self) -> Floats:
        """Probabilities of the next state [S, n, S]; all zero where the action is not available."""
        batteries = len(self.energy)
        moves = np.zeros((self.num_states, self.num_actions, batteries))
        state, action = np.nonzero(self.available)
        moves[state, action, self.next_battery[state, action]] = 1.0
        outside = self.exogenous[np.arange(self.num_states) // batteries]
        return (outside[:, None, :, None] * moves[:, :, None, :]).reshape(self.num_states, self.num_actions, -1)


@dataclass(frozen=True, eq=False)
class System:
    """Microgrids at one main grid: what the compiled world and the exact team game are both made of.

    Attributes:
      names: of the microgrids [N].
      models: of each; equal microgrids may share one object.
      price: of a MWh at the main grid, the same for all (its levels are money per MWh, not MW); the reward is then the
        money that is earned. None: the reward is the power that is sold.
    """

    names: tuple[str, ...]
    models: tuple[LocalModel, ...]
    price: Levels | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of what a joint state is made of, as they are numbered: the price first, where there is one."""
        prices = () if self.price is None else (len(self.price.power),)
        return (*prices, *(model.num_states for model in self.models))

    @property
    def num_states(self) -> int:
        """How many joint states there are."""
        return math.prod(self.shape)


def microgrid(
    wind: Levels,
    load: Levels,
    energy: Floats,
    discharge: Floats,
    *,
    spacing: float,
    efficiency: float,
    curtailment_step: float,
) -> LocalModel:
    """A microgrid whose battery loses the same share whenever it charges or discharges.

    Args:
      energy: battery levels [C], MWh, `spacing` apart.
      discharge: of each battery action [K], MW, multiples of `spacing` in an hour; below 0 it charges.
      efficiency: share of the power that is left, each way, in (0, 1].
      curtailment_step: MW; wind is thrown away in multiples of it, up to the most there is.
    """
    return LocalModel(
        wind,
        load,
        energy,
        np.rint(discharge / spacing).astype(np.int64),
        np.where(discharge > 0, efficiency * discharge, discharge / efficiency),
        np.asarray(curtailment_step * np.arange(int(np.floor(wind.power.max() / curtailment_step + 1e-9)) + 1), float),
    )


def local_model(wind_and_load: bool, wind_levels: int, load_levels: int, battery_levels: int) -> LocalModel:
    """One microgrid from the published tables.

    Args:
      wind_and_load: whether it has wind turbines and consumers; else it is a battery alone.
      wind_levels, load_levels: levels after merging neighbours, 1 to 6.
      battery_levels: the lowest so many of the battery's levels, 1 to 6.
    """
    data = tables()
    nothing = Levels(np.zeros(1), np.ones((1, 1)))
    wind = Levels(np.array(data["wind_mw"], float), np.array(data["wind_transition"], float))
    load = Levels(np.array(data["load_mw"], float), np.array(data["load_transition"], float))
    wind, load = (wind.lumped(wind_levels), load.lumped(load_levels)) if wind_and_load else (nothing, nothing)
    energy = np.array(data["energy_mwh"], float)
    return microgrid(
        wind,
        load,
        energy[:battery_levels],
        np.array(data["battery_action_mw"], float),
        spacing=energy[1] - energy[0],
        efficiency=data["efficiency"],
        curtailment_step=data["curtailment_step_mw"],
    )


def published_system(scenario: int, microgrids: int | None, sizes: tuple[int, int, int]) -> System:
    """A scenario of the published tables.

    Args:
      scenario: 1 (wind and load at the first microgrid alone) or 2 (at each).
      microgrids: how many; the scenario's number where not given.
      sizes: levels of wind, load and battery, as for `local_model`.
    """
    count = tables()[f"scenario_{scenario}"]["microgrids"] if microgrids is None else microgrids
    first = local_model(True, *sizes)
    rest = first if scenario == 2 else local_model(False, *sizes)
    return System(tuple(str(i + 1) for i in range(count)), (first, *[rest] * (count - 1)))


def tables() -> dict:
    """The published tables, as shipped."""
    return json.loads((resources.files(__package__) / "data" / "microgrids.json").read_text())
