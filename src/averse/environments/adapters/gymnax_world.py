"""Worlds of gymnax by name. `gymnax:my_module:My-v0` imports the module first, so that it may register.

gymnax tells from version 1.0 on what is over (`step_env`) from what is only late (`is_truncated`), so that nothing
has to be guessed; older versions are refused.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import jax

from averse.environments.adapters.compiled_worlds import CompiledWorld, Played, whole
from averse.environments.adapters.foreign import class_of
from averse.environments.ranges import Reward, Steps
from averse.errors import AverseError, unknown_name
from averse.extras import PACKAGES, extra_module
from averse.settings import settings

AGENT = "agent"
_TIME = "max_steps_in_episode"
_DRAWN = ("Acrobot-v1", "CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1")


@settings
class GymnaxWorld(CompiledWorld):
    """A world of gymnax, compiled into the same program as the learner."""

    env_arg: tuple[str, ...] = ()
    """Arguments of gymnax.make, and fields of the world's EnvParams: gravity=5 force_mag=8."""
    horizon: Steps | None = None
    """Steps after which an episode is truncated; the world's own max_steps_in_episode where not given."""
    reward_bounds: tuple[Reward, Reward] | None = None
    """Lowest and highest reward of a step, for critics with a support."""
    report: tuple[str, ...] = ()
    """Numbers in `info` that are metrics, by their value at an episode's last step."""

    @property
    def drawing(self) -> str | None:
        """Gymnasium draws what it has too; nothing is drawn of others."""
        return "averse.report.worlds.classic_control:DRAWING" if self.id.rpartition(":")[2] in _DRAWN else None

    @classmethod
    def _limit(cls, arguments: Mapping[str, Any]) -> int | None:
        return whole(getattr(_made(cls, arguments)[1], _TIME, None))

    @classmethod
    def _build(cls, arguments: Mapping[str, Any], horizon: int) -> "_OneAgent":
        env, params = _made(cls, arguments)
        if not hasattr(env, "is_truncated"):
            raise AverseError(
                f"{cls.name}: this gymnax does not tell what is over from what is late; pip install "
                f"'{PACKAGES['gymnax']}'"
            )
        limit = getattr(params, _TIME, None)
        # of the type that it has there: some worlds compute with it
        return _OneAgent(env, params if limit is None else params.replace(**{_TIME: type(limit)(horizon)}))


class _OneAgent:
    """A gymnax environment as a `World` of a single agent."""

    agents = (AGENT,)

    def __init__(self, env: Any, params: Any):
        self.env, self.params = env, params

    def observation_space(self, agent: str) -> Any:
        """What it sees."""
        return self.env.observation_space(self.params)

    def action_space(self, agent: str) -> Any:
        """What it chooses from."""
        return self.env.action_space(self.params)

    def reset(self, key: jax.Array) -> tuple[Any, dict[str, Any]]:
        """A fresh episode."""
        observation, state = self.env.reset_env(key, self.params)
        return state, {AGENT: observation}

    def step(self, key: jax.Array, state: Any, actions: Mapping[str, jax.Array]) -> Played:
        """One step; gymnax's `step` would reset by itself."""
        observation, state, reward, terminated, info = self.env.step_env(key, state, actions[AGENT], self.params)
        return Played(state, {AGENT: observation}, {AGENT: reward}, {AGENT: terminated}, info)

    def masks(self, state: Any) -> None:
        """gymnax has no masks."""

    def own_state(self, state: Any) -> Any:
        """gymnax has no centralised critics."""
        raise AverseError("a world of gymnax has no state for centralised critics")


def gymnax_class(id: str) -> type[GymnaxWorld]:
    """The class of a gymnax id. Raises AverseError for an unknown id, and where gymnax is missing."""
    gymnax = extra_module("gymnax", f"gymnax:{id}")
    module, _, own = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise AverseError(f"gymnax:{id}: the module {module} cannot be imported: {error}") from error
    if own not in gymnax.registered_envs:
        raise unknown_name("gymnax id", own, gymnax.registered_envs)
    return class_of(GymnaxWorld, "gymnax", id)


def _made(cls: type[GymnaxWorld], arguments: Mapping[str, Any]) -> tuple[Any, Any]:
    """The environment and its params, in which those arguments are that are fields of these."""
    gymnax, own = extra_module("gymnax", cls.name), cls.id.rpartition(":")[2]
    fields = {field.name for field in dataclasses.fields(gymnax.make(own)[1])}
    env, params = gymnax.make(own, **{name: value for name, value in arguments.items() if name not in fields})
    ours = {name: value for name, value in arguments.items() if name in fields}
    return env, params.replace(**ours)
