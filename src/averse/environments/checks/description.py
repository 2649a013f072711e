"""Faults in what an environment says of itself: each a line, none where all is well."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from averse.environments.protocol import Box, Description, Discrete, Environment
from averse.environments.registry import rebuild_fault, specification
from averse.environments.sets import SetLayout, global_state_layout, observation_layout
from averse.errors import AverseError

GAMMAS = (1.0, 0.97, 0.0)  # at which returns are held against their bounds; at 0 they are single rewards


def description_faults(environment: Description) -> Iterator[str]:
    """Attributes of the wrong type or size, bounds that are none, parameters that do not build it again."""
    if not isinstance(environment.name, str) or not environment.name:
        yield f"name must be a text, not {environment.name!r:.80}"
    for attribute in ("num_agents", "observation_size", "global_state_size", "horizon"):
        value = getattr(environment, attribute)
        if not _count(value):
            yield f"{attribute} must be a whole number >= 1, not {value!r:.80}"
    yield from _action_space_faults(environment.action_space)
    yield from _metric_faults(environment.metrics)
    for layout in (observation_layout, global_state_layout):
        yield from _layout_faults(environment, layout)
    for gamma in GAMMAS:
        yield from _bounds_faults(environment, gamma)
    if isinstance(environment, Environment):
        try:
            hash(environment)
        except TypeError as error:
            yield f"it must be hashable, as a frozen dataclass of numbers and texts is: {error}"
    yield from _rebuild_faults(environment)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _action_space_faults(space: Any) -> Iterator[str]:
    if isinstance(space, Discrete):
        if not _count(space.num_actions):
            yield f"action_space must have at least 1 action, not {space.num_actions!r:.80}"
    elif isinstance(space, Box):
        if not _count(space.size) or not -math.inf < space.low < space.high < math.inf:
            yield f"action_space must have a size >= 1 and finite ends low < high, not {space}"
    else:
        yield f"action_space must be a Discrete or a Box of averse.environments, not {space!r:.80}"


def _metric_faults(metrics: Any) -> Iterator[str]:
    if not isinstance(metrics, Mapping) or not all(isinstance(text, str) for row in metrics.items() for text in row):
        yield f"metrics must map names to what they mean, both texts, not {metrics!r:.80}"


def _layout_faults(environment: Description, layout: Callable[[Description], SetLayout | None]) -> Iterator[str]:
    try:
        layout(environment)
    except AverseError as error:
        yield str(error)


def _bounds_faults(environment: Description, gamma: float) -> Iterator[str]:
    try:
        bounds = environment.return_bounds(gamma)
        low, high = (float(bound) for bound in bounds)
    except AverseError as error:
        yield str(error)
    except (TypeError, ValueError):
        yield f"return_bounds({gamma:g}) must be two numbers, not {environment.return_bounds(gamma)!r}"
    else:
        if not -math.inf < low <= high < math.inf:
            yield f"return_bounds({gamma:g}) must be two finite numbers, the lower one first, not {bounds}"


def _rebuild_faults(environment: Description) -> Iterator[str]:
    """What can be stored is tried as `train` would; of an object that has no name, only whether its class builds it."""
    try:
        specification(environment)
    except AverseError:
        if fault := rebuild_fault(environment, partial(type(environment))):
            yield fault
