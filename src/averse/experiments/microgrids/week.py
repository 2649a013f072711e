"""A week of microgrids under different policies, in the same weather and at the same prices."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from averse.environments.microgrids.environment import Microgrids
from averse.environments.microgrids.tables import System
from averse.planning.team_games.game import Tables
from averse.training.policy import Policy

HOURS = 168
SEED = 0

Decide = Callable[[np.ndarray, int | None], Sequence[int]]
"""Levels of wind, load and battery of each microgrid [N, 3] and the price's level -> an action for each [N]."""

COLUMNS = ("hour", "policy", "microgrid", "wind_mw", "load_mw", "battery_mw", "curtailed_mw", "energy_mwh", "sold_mw")


def by_tables(system: System, policy: Tables) -> Decide:
    """The likeliest actions of a policy of the exact game, per agent [S, Ai]."""
    actions = [table.argmax(-1) for table in policy]

    def decide(levels: np.ndarray, price: int | None) -> list[int]:
        own = [np.ravel_multi_index(tuple(row), model.shape) for row, model in zip(levels, system.models)]
        joint = np.ravel_multi_index(tuple(own) if price is None else (price, *own), system.shape)
        return [int(table[joint]) for table in actions]

    return decide


def by_policy(environment: Microgrids, policy: Policy) -> Decide:
    """What a trained policy chooses, hour by hour; one with memory begins anew."""
    policy.reset()
    look = jax.jit(lambda state: (environment.observe(state), environment.available_actions(state)))

    def decide(levels: np.ndarray, price: int | None) -> list[int]:
        return [int(action) for action in policy(*look(environment.state_of(levels, price)))]

    return decide


def one_week(environment: Microgrids, policies: Mapping[str, Decide], hours: int = HOURS, seed: int = SEED) -> dict:
    """Plays policies on the exact local models, wind, load and price drawn once for all of them.

    They start in steady state, batteries at a middle level, and the first week, which forgets that, is not shown.

    Returns:
      JSON-ready: "microgrids", their names; "wind" and "load" [hours], MW over all of them; "price" [hours] (None
      without prices); for each policy "power" sold [hours], MW, and "energy" in the batteries at the end of each hour
      [hours], MWh, over all; and "each", for every microgrid the columns of the schedule (`schedule`) [hours].
    """
    rng, system = np.random.default_rng(seed), environment.system()
    chains = [chain for model in system.models for chain in (model.wind, model.load)]
    chains += [] if system.price is None else [system.price]
    drawn = np.stack([_path(chain.transition, chain.steady_state, hours + HOURS, rng) for chain in chains], -1)
    weather = drawn[:, : 2 * len(system.models)].reshape(len(drawn), -1, 2)
    price = None if system.price is None else drawn[:, -1]
    played = {name: _played(system, decide, weather, price) for name, decide in policies.items()}
    first = next(iter(played.values()))
    return {
        "microgrids": list(system.names),
        "wind": np.sum([own["wind_mw"] for own in first], 0)[HOURS:].tolist(),
        "load": np.sum([own["load_mw"] for own in first], 0)[HOURS:].tolist(),
        "price": None if price is None or system.price is None else system.price.power[price][HOURS:].tolist(),
        "policies": {
            name: {
                "power": np.sum([own["sold_mw"] for own in each], 0)[HOURS:].tolist(),
                "energy": np.sum([own["energy_mwh"] for own in each], 0)[HOURS:].tolist(),
                "each": [{column: values[HOURS:].tolist() for column, values in own.items()} for own in each],
            }
            for name, each in played.items()
        },
    }


def schedule(data: Mapping[str, Any]) -> str:
    """A week as CSV: a row for each hour, policy and microgrid, in `COLUMNS`, and with prices `price` and `revenue`.

    sold_mw = wind_mw - load_mw + battery_mw - curtailed_mw; battery_mw is what the battery gives after its losses
    (below 0: takes), energy_mwh what it holds at the end of the hour, revenue = price * sold_mw.
    """
    prices = data["price"]
    lines = [",".join([*COLUMNS, *([] if prices is None else ["price", "revenue"])])]
    for name, found in data["policies"].items():
        for microgrid, own in zip(data["microgrids"], found["each"]):
            for hour in range(len(data["wind"])):
                row = [hour, name, microgrid, *(f"{own[column][hour]:.9g}" for column in COLUMNS[3:])]
                if prices is not None:
                    row += [f"{prices[hour]:.9g}", f"{prices[hour] * own['sold_mw'][hour]:.9g}"]
                lines.append(",".join(map(str, row)))
    return "\n".join(lines) + "\n"


def _played(
    system: System, decide: Decide, weather: np.ndarray, price: np.ndarray | None
) -> list[dict[str, np.ndarray]]:
    """The schedule's columns of each microgrid, from levels of wind and load [hours, N, 2] and of the price [hours]."""
    battery = [len(model.energy) // 2 for model in system.models]
    states, chosen = np.zeros((2, len(weather), len(battery)), int)
    for hour, outside in enumerate(weather):
        levels = np.column_stack([outside, battery])
        chosen[hour] = decide(levels, None if price is None else int(price[hour]))
        for i, model in enumerate(system.models):
            states[hour, i] = np.ravel_multi_index(tuple(levels[i]), model.shape)
            battery[i] = int(model.next_battery[states[hour, i], chosen[hour, i]])
    return [
        {
            "wind_mw": model.wind.power[model.levels[state, 0]],
            "load_mw": model.load.power[model.levels[state, 1]],
            "battery_mw": model.battery_power[model.actions[action, 0]],
            "curtailed_mw": model.curtailment[model.actions[action, 1]],
            "energy_mwh": model.energy[model.next_battery[state, action]],
            "sold_mw": model.reward[state, action],
        }
        for model, state, action in zip(system.models, states.T, chosen.T)
    ]


def _path(transition: np.ndarray, start: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    levels = [rng.choice(len(start), p=start)]
    for _ in range(length - 1):
        levels.append(rng.choice(len(start), p=transition[levels[-1]]))
    return np.array(levels)
