"""The support of a critic, written into the settings: what a run is trained with must not follow later defaults."""

import dataclasses
from typing import Any

from averse.environments.protocol import Description
from averse.errors import AverseError
from averse.learners.policy_gradient.config import MAPPOConfig, support_of
from averse.learners.value_based.config import ValueBasedConfig, head_bounds
from averse.settings import field_names


def with_support(config: Any, environment: Description) -> Any:
    """The settings of a method with the support that its critic has in an environment, where it was left open.

    Settings of a method whose networks do not depend on it stay as they are, as do those that name their own.

    Raises AverseError where the environment's return bounds are nothing that atoms could lie between.
    """
    if "support" not in field_names(config) or config.support is not None:
        return config
    if isinstance(config, MAPPOConfig) and config.critic in ("categorical", "dual"):
        bounds = support_of(config, environment)
    elif isinstance(config, ValueBasedConfig) and config.head == "categorical":
        bounds = head_bounds(config, environment)
    else:
        return config
    try:
        return dataclasses.replace(config, support=bounds)
    except AverseError as error:
        raise AverseError(
            f"the return bounds of {environment.name} cannot be the critic's support; give one: {error}"
        ) from error
