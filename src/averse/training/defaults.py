"""The settings of a learner that suit an environment, where the user gives none."""

from typing import Any

from averse import learners
from averse.environments import is_compiled
from averse.environments.protocol import Description
from averse.learners.policy_gradient.config import MAPPOConfig

HOST_ENVS = 16  # simulator processes; several per core, so that cores stay busy while the slowest step ends

# Of MAPPO's presets, found on development seed 100. At the junction crashes are rare and returns far from 1: large
# batches, long steps, and critics that predict in units of 5. A simulator is too slow for many steps: small batches.
_AT_THE_JUNCTION = {
    "intersection": {
        "num_envs": 256,
        "rollout_steps": 32,
        "learning_rate": 6e-3,
        "max_gradient_norm": 5.0,
        "epsilon": 0.001,
        "value_scale": 5.0,
    },
    "sumo-intersection": {"rollout_steps": 32, "learning_rate": 2e-3, "epsilon": 0.003, "value_scale": 5.0},
}


def default_settings(environment: Description, method: str) -> dict[str, Any]:
    """The settings of a method in which an environment departs from the method's own defaults.

    Raises AverseError for an unknown method, with the nearest one.
    """
    preset = learners.preset(method)
    settings: dict[str, Any] = {} if is_compiled(environment) else {"num_envs": HOST_ENVS, "rollout_steps": 64}
    if isinstance(preset, MAPPOConfig):
        settings |= _AT_THE_JUNCTION.get(environment.name, {})
    return settings
