"""Settings of a learner that suit an environment, where the user gives none."""

from typing import Any

from averse.environments.protocol import Description, Environment

HOST_ENVS = 16
"""Simulator processes of a host environment; several per core, so that cores stay busy while the slowest step ends."""
HOST_SETTINGS = {"num_envs": HOST_ENVS, "rollout_steps": 64}
"""What suits host environments: a simulator is too slow for many of them and long rollouts."""


def suggested_settings(environment: Description, method: str) -> dict[str, Any]:
    """Settings of a method in which an environment departs from the method's own defaults.

    Those for its kind (a simulator is too slow for many environments and long rollouts), and in their place those that
    the environment itself suggests, by a function `suggested_settings(method)` that it may have.
    """
    kind = {} if isinstance(environment, Environment) else HOST_SETTINGS
    own = getattr(environment, "suggested_settings", None)
    return kind | (own(method) if own is not None else {})
