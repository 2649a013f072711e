"""How agents learn: one contract, one folder per algorithm family, methods by name."""

from averse.learners.average_reward.config import MATRPOConfig, MVIPPOConfig
from averse.learners.contract import Learner, Method, Metrics, Portable, Trajectory
from averse.learners.fixed import fixed
from averse.learners.parts.measure import MeasureNumbers
from averse.learners.policy_gradient.config import MAPPOConfig, SRPOConfig, StaticRiskConfig
from averse.learners.registry import (
    build,
    learner,
    method,
    named_configuration,
    names,
    preset,
    register,
    with_settings,
)
from averse.learners.value_based.config import RMIXConfig, ValueBasedConfig

__all__ = [
    "Learner",
    "MAPPOConfig",
    "MATRPOConfig",
    "MVIPPOConfig",
    "MeasureNumbers",
    "Method",
    "Metrics",
    "Portable",
    "RMIXConfig",
    "SRPOConfig",
    "StaticRiskConfig",
    "Trajectory",
    "ValueBasedConfig",
    "build",
    "fixed",
    "learner",
    "method",
    "named_configuration",
    "names",
    "preset",
    "register",
    "with_settings",
]
