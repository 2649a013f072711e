"""Our worlds of one agent under Gymnasium's ids: importing this module registers them.

`gymnasium.make("averse.gymnasium:averse/RiskyCartPole-v0", level="low")` imports it by itself; after `import
averse.gymnasium` the id alone will do. Keyword arguments are the environment's parameters.
"""

from typing import Any

import gymnasium

WORLDS: dict[str, dict[str, Any]] = {
    "averse/Corridor-v0": {"environment": "corridor"},
    "averse/Intersection-v0": {"environment": "intersection", "num_agents": 1},
    "averse/RiskyCartPole-v0": {"environment": "risky-cartpole"},
    "averse/SumoIntersection-v0": {"environment": "sumo-intersection", "num_agents": 1},
}
"""Gymnasium id -> the arguments of `averse.environments.to_gymnasium`."""


def register() -> None:
    """Register all of `WORLDS` that are not registered yet."""
    for id, arguments in WORLDS.items():
        if id not in gymnasium.registry:
            gymnasium.register(
                id, entry_point="averse.environments.adapters.gymnasium_env:AverseEnv", kwargs=dict(arguments)
            )


register()
