"""Methods by name. A preset is a configuration of a learner family; `learner` builds it for an environment."""

import dataclasses
import importlib
from typing import Any

from averse.environments.protocol import Description
from averse.errors import AverseError, unknown_name
from averse.learners.average_reward.config import MATRPOConfig, MVIPPOConfig
from averse.learners.contract import Learner
from averse.learners.policy_gradient.config import MAPPOConfig
from averse.learners.value_based.config import ValueBasedConfig

# method -> (configuration, family); a family is the function (config, environment, total_updates) -> Learner.
_MAPPO = "averse.learners.policy_gradient.mappo:mappo"
_MATRPO = "averse.learners.average_reward.matrpo:matrpo"
_VALUE_BASED = "averse.learners.value_based.learner:value_based"
_PRESETS: dict[str, tuple[Any, str]] = {
    "ppo": (MAPPOConfig(centralised=False), _MAPPO),
    "mappo": (MAPPOConfig(), _MAPPO),
    "reward-shaped-mappo": (MAPPOConfig(shaping=5.0), _MAPPO),
    "mean-variance-mappo": (
        MAPPOConfig(critic="dual", measure="mean-variance:0.05", advantage="mean-variance"),
        _MAPPO,
    ),
    "c51-cvar-mappo": (MAPPOConfig(critic="categorical", measure="cvar:0.1", advantage="influence"), _MAPPO),
    "rqe-mappo": (MAPPOConfig(critic="categorical", measure="entropic:1", advantage="entropic"), _MAPPO),
    "mv-matrpo": (MATRPOConfig(), _MATRPO),
    "matrpo": (MATRPOConfig(beta=0.0), _MATRPO),
    "mv-ippo": (MVIPPOConfig(), "averse.learners.average_reward.ippo:mv_ippo"),
    "dqn": (ValueBasedConfig(recurrent=False, rollout_steps=16), _VALUE_BASED),
    "c51": (ValueBasedConfig(head="categorical", num_quantiles=51, recurrent=False, rollout_steps=16), _VALUE_BASED),
    "qr-dqn": (ValueBasedConfig(head="quantile", recurrent=False, rollout_steps=16), _VALUE_BASED),
    "vdn": (ValueBasedConfig(mixer="sum", lam=0.6), _VALUE_BASED),
    "qmix": (ValueBasedConfig(mixer="monotone", lam=0.6), _VALUE_BASED),
    "rmix": (
        ValueBasedConfig(
            head="quantile", mixer="monotone", dynamic_risk=True, lam=0.6, num_quantiles=100, mixer_embedding=48
        ),
        _VALUE_BASED,
    ),
    "riskq": (
        ValueBasedConfig(
            head="quantile", mixer="quantile", measure="wang:0.75", lam=0.6, optimiser="rmsprop", learning_rate=1e-3
        ),
        _VALUE_BASED,
    ),
}


def names() -> list[str]:
    """The methods that `learner` knows."""
    return list(_PRESETS)


def preset(method: str, **overrides: Any) -> Any:
    """The configuration of a method with some settings replaced.

    Raises AverseError for an unknown method or setting, with the nearest one.
    """
    if method not in _PRESETS:
        raise unknown_name("method", method, _PRESETS)
    config = _PRESETS[method][0]
    known = [field.name for field in dataclasses.fields(config)]
    for name in overrides:
        if name not in known:
            raise unknown_name(f"setting of {method}", name, known)
    return dataclasses.replace(config, **overrides)


def build(method: str, config: Any, environment: Description, total_updates: int) -> Learner:
    """The learner of a method with a complete configuration."""
    module, function = _PRESETS[method][1].split(":")
    return getattr(importlib.import_module(module), function)(config, environment, total_updates)


def learner(method: str, environment: Description, total_updates: int = 100, **overrides: Any) -> Learner:
    """Build a learner: `learner("rqe-mappo", env, tau=3.0)`.

    Args:
      total_updates: how many updates the schedules (risk, learning rate) are stretched over.
      overrides: settings in place of the preset's.

    Raises AverseError for unknown names and for settings that contradict each other.
    """
    if total_updates < 1:
        raise AverseError(f"total_updates must be at least 1, not {total_updates}")
    return build(method, preset(method, **overrides), environment, total_updates)
