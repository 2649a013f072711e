"""A week of microgrids under different policies, in the same weather."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from averse.environments.microgrids.environment import Microgrids
from averse.planning.team_games.game import Tables

HOURS = 168
SEED = 0


def one_week(environment: Microgrids, policies: Mapping[str, Tables], hours: int = HOURS, seed: int = SEED) -> dict:
    """Plays deterministic policies on the exact local models, wind and load drawn once for all of them.

    Wind and load start in steady state, batteries at a middle level, and the first week, which forgets that, is not
    shown.

    Returns:
      JSON-ready: "wind" and "load" [hours], MW over all microgrids; for each policy "power" sold [hours], MW, and the
      energy in the batteries at the end of each hour [hours], MWh.
    """
    rng = np.random.default_rng(seed)
    models = environment.local_models()
    chains = [chain for model in models for chain in (model.wind, model.load)]
    weather = np.stack([_path(chain.transition, chain.steady_state, hours + HOURS, rng) for chain in chains], -1)
    result: dict[str, Any] = {
        "wind": sum(model.wind.power[weather[:, 2 * i]] for i, model in enumerate(models))[HOURS:].tolist(),
        "load": sum(model.load.power[weather[:, 2 * i + 1]] for i, model in enumerate(models))[HOURS:].tolist(),
        "policies": {},
    }
    sizes = [model.num_states for model in models]
    for name, policy in policies.items():
        actions = [table.argmax(-1) for table in policy]
        battery = [len(model.energy) // 2 for model in models]
        power, energy = np.zeros(hours + HOURS), np.zeros(hours + HOURS)
        for hour, levels in enumerate(weather):
            own = [
                int(np.ravel_multi_index((levels[2 * i], levels[2 * i + 1], battery[i]), model.shape))
                for i, model in enumerate(models)
            ]
            joint = np.ravel_multi_index(own, sizes)
            for i, model in enumerate(models):
                action = actions[i][joint]
                power[hour] += model.reward[own[i], action]
                battery[i] = int(model.next_battery[own[i], action])
                energy[hour] += model.energy[battery[i]]
        result["policies"][name] = {"power": power[HOURS:].tolist(), "energy": energy[HOURS:].tolist()}
    return result


def _path(transition: np.ndarray, start: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    levels = [rng.choice(len(start), p=start)]
    for _ in range(length - 1):
        levels.append(rng.choice(len(start), p=transition[levels[-1]]))
    return np.array(levels)
