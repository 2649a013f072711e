"""Where agents act: the protocol, the built-in worlds, adapters to other people's, and the door for your own."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from averse.environments.actions import checked_actions, guarded
    from averse.environments.adapters.outward import to_gymnasium, to_pettingzoo
    from averse.environments.base import CompiledEnvironment, Described
    from averse.environments.check import check_environment, find_faults
    from averse.environments.known_model import KnownModel
    from averse.environments.protocol import (
        ActionSpace,
        Box,
        Description,
        Discrete,
        Environment,
        HostEnvironment,
        HostVector,
        StepResult,
        TimeStep,
        is_average_reward,
    )
    from averse.environments.registry import (
        Specification,
        describe,
        factory,
        is_compiled,
        is_foreign,
        make,
        names,
        parameters_class,
        parameters_of,
        register,
        specification,
        verified,
    )
    from averse.environments.sets import SetLayout, global_state_layout, observation_layout
    from averse.environments.suggestions import HOST_ENVS, HOST_SETTINGS, suggested_settings

__all__ = [
    "HOST_ENVS",
    "HOST_SETTINGS",
    "ActionSpace",
    "Box",
    "CompiledEnvironment",
    "Described",
    "Description",
    "Discrete",
    "Environment",
    "HostEnvironment",
    "HostVector",
    "KnownModel",
    "SetLayout",
    "Specification",
    "StepResult",
    "TimeStep",
    "check_environment",
    "checked_actions",
    "describe",
    "factory",
    "find_faults",
    "global_state_layout",
    "guarded",
    "is_average_reward",
    "is_compiled",
    "is_foreign",
    "make",
    "names",
    "observation_layout",
    "parameters_class",
    "parameters_of",
    "register",
    "specification",
    "suggested_settings",
    "to_gymnasium",
    "to_pettingzoo",
    "verified",
]


_MODULES = (
    "protocol",
    "actions",
    "base",
    "registry",
    "sets",
    "suggestions",
    "check",
    "known_model",
    "adapters.outward",
)


def __getattr__(name: str) -> Any:
    # Imported when first used, so that a simulator's worker process can import its own modules without importing JAX.
    if name in __all__:
        for module in _MODULES:
            loaded = import_module(f"{__name__}.{module}")
            if hasattr(loaded, name):
                return getattr(loaded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
