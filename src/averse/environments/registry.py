"""Environments by name. Modules are imported only when their environment is asked for."""

import dataclasses
import importlib
from typing import Any

from averse.environments.protocol import Description, Environment
from averse.errors import AverseError, unknown_name

_CLASSES = {
    "car-following": "averse.environments.car_following:CarFollowing",
    "cliff-walk": "averse.environments.cliff_walk:CliffWalk",
    "corridor": "averse.environments.corridor:Corridor",
    "microgrids": "averse.environments.microgrids.environment:Microgrids",
    "intersection": "averse.environments.intersection.twin:Intersection",
    "risky-cartpole": "averse.environments.risky_cartpole:RiskyCartPole",
    "sumo-intersection": "averse.environments.sumo.environment:SumoIntersection",
}


def names() -> list[str]:
    """The names that `make` knows."""
    return sorted(_CLASSES)


def environment_class(name: str) -> type:
    """The class of a named environment: a frozen dataclass whose fields are the environment's parameters.

    Raises AverseError for an unknown name, with the nearest one.
    """
    if name not in _CLASSES:
        raise unknown_name("environment", name, _CLASSES)
    module, attribute = _CLASSES[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def make(name: str, **parameters: Any) -> Description:
    """Build an environment: `make("risky-cartpole", level="severe")`.

    Raises AverseError for an unknown name or parameter (with the nearest one) and for values out of range.
    """
    cls = environment_class(name)
    known = [field.name for field in dataclasses.fields(cls)]
    for parameter in parameters:
        if parameter not in known:
            raise unknown_name(f"parameter of {name}", parameter, known)
    try:
        return cls(**parameters)
    except TypeError as error:
        raise AverseError(f"{name}: {error}") from error


def is_compiled(environment: Description) -> bool:
    """Whether an environment is a pair of pure functions (compiled) or lives in worker processes (host)."""
    return isinstance(environment, Environment)
