"""Worlds of Gymnasium and PettingZoo found by name and started. Read in worker processes: no JAX here.

Whatever they are, they are given as PettingZoo's parallel environments: several agents that act at once. A Gymnasium
environment is one with a single agent.
"""

import importlib
import multiprocessing
import os
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from averse.environments.adapters.spaces import gymnasium_module
from averse.errors import AverseError, shown, unknown_name
from averse.extras import PACKAGES, extra_module

AGENT = "agent"  # the only one of a Gymnasium environment
FAMILIES = ("atari", "butterfly", "classic", "magent", "mpe", "sisl")  # folders of PettingZoo that hold worlds
_LIMITS = ("max_episode_steps", "max_cycles", "max_steps", "horizon")  # by which worlds say how long episodes last

# pygame greets whoever imports it, in the middle of what is printed for machines
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "hide")


class OneAgent:
    """A Gymnasium environment as a parallel one of a single agent."""

    possible_agents = (AGENT,)

    def __init__(self, env: Any):
        self.env = env
        self.agents = list(self.possible_agents)

    @property
    def unwrapped(self) -> Any:
        """The environment without its wrappers."""
        return self.env.unwrapped

    def observation_space(self, agent: str) -> Any:
        """What the agent sees."""
        return self.env.observation_space

    def action_space(self, agent: str) -> Any:
        """What the agent chooses from."""
        return self.env.action_space

    def reset(self, seed: int) -> Any:
        """A fresh episode: observations and infos by agent."""
        return self.answered(self.env.reset(seed=seed))

    def step(self, actions: Mapping[str, Any]) -> Any:
        """One step: observations, rewards, terminations, truncations and infos by agent."""
        return self.answered(self.env.step(actions[AGENT]))

    def answered(self, answer: Any) -> Any:
        """What the environment answers, by agent; what is no answer at all stays as it is."""
        return answer if not isinstance(answer, tuple) else tuple({AGENT: part} for part in answer)

    def render(self) -> Any:
        """What it shows."""
        return self.env.render()

    def close(self) -> None:
        """End it."""
        self.env.close()


# ---- Gymnasium


def gymnasium_specification(id: str) -> Any:
    """Gymnasium's own record of an id. In `module:id` the module is imported first, so that it may register.

    Raises AverseError for an unknown id, with the nearest one, and for a module that cannot be imported.
    """
    gymnasium = gymnasium_module(f"gymnasium:{id}")
    module, _, own = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise AverseError(f"gymnasium:{id}: the module {module} cannot be imported: {_first(error)}") from error
    if own not in gymnasium.registry:
        raise unknown_name("Gymnasium id", own, gymnasium.registry)
    return gymnasium.registry[own]


def open_gymnasium(specification: Any, arguments: Mapping[str, Any], horizon: int | None = None) -> OneAgent:
    """Start a Gymnasium environment.

    Args:
      specification: Gymnasium's record of it.
      arguments: of `gymnasium.make`.
      horizon: where it is given, Gymnasium counts no steps: whoever steps it does.
    """
    gymnasium = gymnasium_module("an environment of Gymnasium's")
    if multiprocessing.parent_process() is not None:
        gymnasium.logger.min_level = gymnasium.logger.ERROR  # its advice on ids would come from every worker
    limit = None if horizon is None else -1  # its counter would hide what a step of another form answers
    return OneAgent(gymnasium.make(specification, max_episode_steps=limit, disable_env_checker=True, **arguments))


# ---- PettingZoo


def pettingzoo_builder(path: str) -> Callable[..., Any]:
    """What starts a world of PettingZoo: `mpe2.simple_spread_v3`, `sisl.pursuit_v4`, `my_module:my_function`.

    A path is looked up in PettingZoo first and then by itself. Its module has a function `parallel_env`, or only `env`
    (agents take turns), which PettingZoo's `aec_to_parallel` converts. Behind a colon stands another name than these.

    Raises AverseError for an unknown path, with the nearest one, and for a module without such a function.
    """
    extra_module("pettingzoo", f"pettingzoo:{path}")
    place, _, attribute = path.partition(":")
    package = place.partition(".")[0]
    if package in PACKAGES:
        extra_module(package, f"pettingzoo:{path}")
    module = None
    for full in (f"pettingzoo.{place}", place):
        try:
            module = importlib.import_module(full)
            break
        except ModuleNotFoundError as error:
            if error.name is None or not (full == error.name or full.startswith(f"{error.name}.")):
                raise AverseError(f"pettingzoo:{path} cannot be imported: {_first(error)}") from error
        except Exception as error:
            raise AverseError(f"pettingzoo:{path} cannot be imported: {_first(error)}") from error
    if module is None:
        raise unknown_name("PettingZoo environment", place, pettingzoo_names())
    names = (attribute,) if attribute else ("parallel_env", "env")
    for name in names:
        if callable(found := getattr(module, name, None)):
            return found
    raise AverseError(f"pettingzoo:{path}: the module {module.__name__} has no function {' or '.join(names)}")


def open_pettingzoo(path: str, arguments: Mapping[str, Any], horizon: int | None = None) -> Any:
    """Start a world of PettingZoo as a parallel environment; `horizon` is kept by whoever steps it."""
    del horizon
    env = pettingzoo_builder(path)(**arguments)
    utils = importlib.import_module("pettingzoo.utils")
    if isinstance(env, utils.AECEnv):
        if not env.metadata.get("is_parallelizable", False):
            raise AverseError(
                f"pettingzoo:{path}: its agents take turns, and only worlds whose agents may as well act at once "
                "(is_parallelizable) are supported"
            )
        return utils.aec_to_parallel(env)
    if not hasattr(env, "possible_agents") or not hasattr(env, "observation_space"):
        raise AverseError(f"pettingzoo:{path} builds no environment of PettingZoo's with possible_agents: {shown(env)}")
    return env


def pettingzoo_names() -> list[str]:
    """The worlds of the PettingZoo that is installed, and of mpe2; nothing is imported for it."""
    return sorted([*_worlds("pettingzoo", FAMILIES), *_worlds("mpe2", ("",))])


def _worlds(package: str, folders: tuple[str, ...]) -> Iterator[str]:
    found = find_spec(package)
    for root in (found.submodule_search_locations or ()) if found else ():
        for folder in folders:
            for module in pkgutil.iter_modules([os.path.join(root, folder)]):
                if module.name.rpartition("_v")[2].isdigit():
                    yield f"{folder or package}.{module.name}"


# ---- both


def time_limit(env: Any) -> int | None:
    """After how many steps episodes are cut, as Gymnasium's record or the world itself has it; None where neither."""
    recorded = getattr(getattr(getattr(env, "env", None), "spec", None), "max_episode_steps", None)
    values = (recorded, *(getattr(env.unwrapped, name, None) for name in _LIMITS))
    whole = (value for value in values if isinstance(value, int | np.integer) and not isinstance(value, bool))
    return next((int(value) for value in whole if value >= 1), None)


def _first(error: Exception) -> str:
    """The first line of what an exception says."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
