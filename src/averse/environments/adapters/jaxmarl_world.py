"""Worlds of JaxMARL by name. `jaxmarl:my_module:make_world` is a function that builds one of yours.

JaxMARL's `dones` mean over *or* late. A world that keeps its time limit as an attribute `max_steps` is therefore built
twice: one copy has our horizon as its limit and answers everything but `dones`; of the other, whose limit is out of
reach, only `dones` are taken. What both compute alike the compiler computes once. A world without `max_steps` is taken
at its word: its `dones` end an episode.
"""

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax

from averse.environments.adapters.compiled_worlds import CompiledWorld, Played, State, require_names, whole
from averse.environments.adapters.foreign import class_of
from averse.environments.ranges import Reward, Steps
from averse.errors import AverseError, unknown_name
from averse.extras import extra_module
from averse.settings import settings

_LIMIT, _OUT_OF_REACH = "max_steps", 2**30


@settings
class JaxMARLWorld(CompiledWorld):
    """A world of JaxMARL, compiled into the same program as the learner."""

    env_arg: tuple[str, ...] = ()
    """Arguments of jaxmarl.make: num_agents=2; a text, list or dictionary may be written as JSON."""
    horizon: Steps | None = None
    """Steps after which an episode is truncated; the world's own max_steps where not given."""
    reward_bounds: tuple[Reward, Reward] | None = None
    """Lowest and highest reward of a step, for critics with a support."""
    report: tuple[str, ...] = ()
    """Numbers in `info` that are metrics, by their mean over agents at an episode's last step."""
    team: bool = False
    """All agents earn the mean of their rewards, and end together."""
    state: State = "observations"
    """What a centralised critic sees: all agents' observations, or the world's own `get_world_state`."""

    @property
    def drawing(self) -> str | None:
        """The particle worlds are drawn; nothing is drawn of others."""
        return "averse.report.worlds.particles:DRAWING" if hasattr(self.world, "rad") else None

    @property
    def world(self) -> Any:
        """JaxMARL's own object."""
        port: Any = self._interface.world
        return port.env

    @classmethod
    def _limit(cls, arguments: Mapping[str, Any]) -> int | None:
        world = _builder(cls.id)(**arguments)
        limits = [vars(part)[_LIMIT] for part in _holders(world)]
        return whole(limits[0]) if limits else None

    @classmethod
    def _build(cls, arguments: Mapping[str, Any], horizon: int) -> "_Several":
        build = partial(_builder(cls.id), **arguments)
        world, endless = build(), build()
        if _holders(world) and set(map(id, _holders(world))) & set(map(id, _holders(endless))):
            raise AverseError(f"{cls.name} must be built anew whenever it is asked for; it is the same object twice")
        return _Several(cls.name, _limited(world, horizon), _limited(endless, _OUT_OF_REACH))


class _Several:
    """A JaxMARL environment as a `World`.

    Args:
      endless: the same without a time limit in reach, if it has one that is known.
    """

    def __init__(self, label: str, env: Any, endless: Any):
        self.agents = require_names(label, env.agents)
        self._label, self.env = label, env
        self._endless = endless if _holders(env) else None
        self._masks: Callable[[Any], Mapping[str, Any]] | None = _masks(env)

    def observation_space(self, agent: str) -> Any:
        """What an agent sees."""
        return self.env.observation_space(agent)

    def action_space(self, agent: str) -> Any:
        """What an agent chooses from."""
        return self.env.action_space(agent)

    def reset(self, key: jax.Array) -> tuple[Any, Mapping[str, Any]]:
        """A fresh episode."""
        observations, state = self.env.reset(key)
        return state, observations

    def step(self, key: jax.Array, state: Any, actions: Mapping[str, jax.Array]) -> Played:
        """One step; JaxMARL's `step` would reset by itself."""
        observations, after, rewards, dones, info = self.env.step_env(key, state, dict(actions))
        if self._endless is not None:
            dones = self._endless.step_env(key, state, dict(actions))[3]
        ended = {agent: dones[agent] | dones["__all__"] for agent in self.agents}
        return Played(after, observations, rewards, ended, info)

    def masks(self, state: Any) -> Mapping[str, Any] | None:
        """Those of `get_avail_actions`, or Hanabi's `get_legal_moves`; None where the world has neither."""
        return None if self._masks is None else self._masks(state)

    def own_state(self, state: Any) -> Any:
        """What `get_world_state` says. Raises AverseError where the world has none."""
        if not hasattr(self.env, "get_world_state"):
            raise AverseError(f"{self._label} has no state of its own (get_world_state); use --state observations")
        return self.env.get_world_state(state)


def jaxmarl_class(id: str) -> type[JaxMARLWorld]:
    """The class of a JaxMARL id. Raises AverseError for an unknown id, and where JaxMARL is missing."""
    _builder(id)
    return class_of(JaxMARLWorld, "jaxmarl", id)


def _builder(id: str) -> Callable[..., Any]:
    """What builds a world: `jaxmarl.make` of an id, or a function of a module of one's own."""
    with _in_silence():
        jaxmarl = extra_module("jaxmarl", f"jaxmarl:{id}")
    module, _, name = id.rpartition(":")
    if not module:
        if id not in jaxmarl.registered_envs:
            raise unknown_name("JaxMARL id", id, jaxmarl.registered_envs)
        return partial(jaxmarl.make, id)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:
        raise AverseError(f"jaxmarl:{id}: the module {module} cannot be imported: {error}") from error
    if not callable(found):
        raise AverseError(f"jaxmarl:{id}: the module {module} has no function {name}")
    return found


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    """Nothing is printed meanwhile, and streams are afterwards what they were.

    On import JaxMARL prints which submodules it has not, in the middle of what is for machines; before that it has put
    the process's first streams in the place of whatever stood there.
    """
    names = ("stdout", "stderr", "__stdout__")
    before = {name: getattr(sys, name) for name in names}
    sys.stdout = sys.__stdout__ = io.StringIO()  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        for name, stream in before.items():
            setattr(sys, name, stream)


def _parts(world: Any) -> Iterator[Any]:
    """A world and those that it wraps."""
    while world is not None:
        yield world
        world = vars(world).get("_env")


def _holders(world: Any) -> list[Any]:
    """Those of its parts that have a time limit."""
    return [part for part in _parts(world) if _LIMIT in vars(part)]


def _limited(world: Any, limit: int) -> Any:
    """The same world with another time limit, if it has one: nothing of it has been compiled yet."""
    for part in _holders(world):
        vars(part)[_LIMIT] = limit
    return world


def _masks(env: Any) -> Callable[[Any], Mapping[str, Any]] | None:
    """What says which actions are allowed. JaxMARL's base class has a function that only raises."""
    for name in ("get_avail_actions", "get_legal_moves"):
        function = getattr(env, name, None)
        if function is None:
            continue
        try:
            jax.eval_shape(lambda key, function=function: function(env.reset(key)[1]), jax.random.key(0))
        except NotImplementedError:
            continue
        return function
    return None
