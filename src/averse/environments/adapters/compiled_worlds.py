"""Worlds that other libraries compile as environments of ours: `gymnax:CartPole-v1`, `jaxmarl:MPE_simple_spread_v3`.

They run inside the same program as a learner. Automatic reset is ours (`environments.batch`): of theirs only the step
without it is called. An episode is *truncated* when `horizon` steps are counted here, and an agent is *terminated*
where the world says so for another reason than time; how that is known is a matter of each library
(`gymnax_world`, `jaxmarl_world`).

Axes: A agents, O observation, G global state, n actions.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from averse.environments.adapters.compiled_spaces import ActionReader, vector_of
from averse.environments.adapters.foreign import Foreign, arguments_of, unbuilt
from averse.environments.base import CompiledEnvironment
from averse.environments.protocol import ActionSpace, Box, StepResult
from averse.errors import AverseError, shown, unknown_name


class Played(NamedTuple):
    """What a world answers to a step, by agent."""

    state: Any
    observations: Mapping[str, Any]
    rewards: Mapping[str, Any]
    ended: Mapping[str, Any]  # whether an agent's episode is over for another reason than time
    info: Mapping[str, Any]  # numbers, or numbers by agent


class World(Protocol):
    """One world of another library's, several agents acting at once; pure functions."""

    agents: tuple[str, ...]

    def observation_space(self, agent: str) -> Any:
        """What an agent sees."""
        ...

    def action_space(self, agent: str) -> Any:
        """What an agent chooses from."""
        ...

    def reset(self, key: jax.Array) -> tuple[Any, Mapping[str, Any]]:
        """A fresh episode: (state, observations)."""
        ...

    def step(self, key: jax.Array, state: Any, actions: Mapping[str, jax.Array]) -> Played:
        """One step, without automatic reset."""
        ...

    def masks(self, state: Any) -> Mapping[str, Any] | None:
        """Which actions each agent may take; None where the world has no masks."""
        ...

    def own_state(self, state: Any) -> Any:
        """What the world has for centralised critics. Raises AverseError where it has nothing."""
        ...


class WorldState(NamedTuple):
    """The world's own state, and what is kept beside it."""

    inner: Any
    observations: jax.Array  # float32 [A, O]
    ended: jax.Array  # bool [A], who has terminated
    time: jax.Array  # int32 [], steps so far


class Interface:
    """A world that is built, and what its arrays are as ours.

    Raises AverseError for spaces that are not supported, and for answers that are not by agent.
    """

    def __init__(self, label: str, world: World, own_state: bool):
        self.world, self.own_state, self._label = world, own_state, label
        self.actions = ActionReader(label, {agent: world.action_space(agent) for agent in world.agents})
        self._spaces = {agent: world.observation_space(agent) for agent in world.agents}
        state, observations = self._shapes(self._begun, jax.random.key(0))
        if not isinstance(observations, Mapping) or set(world.agents) - set(observations):
            raise AverseError(f"{label} must answer with the observations of {', '.join(world.agents)} by these names")
        sizes = [self._shapes(functools.partial(vector_of, s), observations[a]).size for a, s in self._pairs]
        self.observation_size = max(sizes)
        if not self.observation_size:
            raise AverseError(f"{label}: the observations are empty")
        self.global_state_size = len(sizes) * self.observation_size
        if own_state:
            self.global_state_size = self._shapes(world.own_state, state).size
        actions = {agent: self.actions.read(i, self._idle()) for i, agent in enumerate(world.agents)}
        after, self._info = self._shapes(self._answers, jax.random.key(0), state, actions)
        if not _alike(state, after):  # no loop can carry it
            raise AverseError(f"{label} must have states of the same shapes and types after a step as after a reset")

    def _shapes(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """What a function of the world's answers, nothing being computed. Raises AverseError where it fails."""
        try:
            return jax.eval_shape(function, *inputs)
        except AverseError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise AverseError(f"{self._label} cannot be compiled: {text}") from error

    @property
    def _pairs(self) -> list[tuple[str, Any]]:
        return list(self._spaces.items())

    def seen(self, observations: Mapping[str, Any]) -> jax.Array:
        """What all agents see, float32 [A, O]; zeros where an agent sees less than another."""
        rows = [vector_of(space, observations[agent]) for agent, space in self._pairs]
        return jnp.stack([jnp.pad(row, (0, self.observation_size - row.size)) for row in rows])

    def each(self, values: Mapping[str, Any], dtype: Any) -> jax.Array:
        """A number of every agent, [A]."""
        return jnp.stack([jnp.asarray(values[agent], dtype).reshape(()) for agent in self.world.agents])

    def available(self, state: Any) -> jax.Array:
        """Which actions each agent may take, bool [A, n]."""
        masks = self.world.masks(state)
        return self.actions.available(None if masks is None else [masks[agent] for agent in self.world.agents])

    def require_reported(self, names: tuple[str, ...]) -> None:
        """Raises AverseError for a name that `info` has not, with the nearest that it has."""
        for name in names:
            if name not in self._info:
                raise unknown_name(f"number in the info of {self._label}", name, self._info)
            if not jax.tree.leaves(self._info[name]):
                raise AverseError(f"info of {self._label} has no number {name!r}")

    def _begun(self, key: jax.Array) -> tuple[Any, Mapping[str, Any]]:
        """The state and the observations of a fresh episode."""
        state, observations = self.world.reset(key)
        return _strong(state), observations

    def _answers(self, key: jax.Array, state: Any, actions: Mapping[str, jax.Array]) -> tuple[Any, Mapping[str, Any]]:
        """The state after a step and its info; what else is needed of the step is there, too."""
        played = self.world.step(key, state, actions)
        self.seen(played.observations), self.available(played.state)
        self.each(played.rewards, jnp.float32), self.each(played.ended, bool)
        return _strong(played.state), played.info

    def _idle(self) -> jax.Array:
        space = self.actions.space
        return jnp.zeros(space.size, jnp.float32) if isinstance(space, Box) else jnp.int32(0)


class CompiledWorld(Foreign, CompiledEnvironment):
    """What gymnax's and JaxMARL's worlds have in common: a compiled `Environment`."""

    team: bool = False
    state: str = "observations"

    # ---- what a library adds

    @classmethod
    def _limit(cls, arguments: Mapping[str, Any]) -> int | None:
        """The world's own time limit; None where it says none."""
        raise NotImplementedError

    @classmethod
    def _build(cls, arguments: Mapping[str, Any], horizon: int) -> World:
        """The world, whose own time limit is put where ours is."""
        raise NotImplementedError

    # ---- Description

    def __post_init__(self) -> None:
        super().__post_init__()
        self._interface.require_reported(self.report)

    @property
    def _own_limit(self) -> int | None:
        kind: Any = type(self)
        return _limit(kind, self.env_arg)

    @property
    def _interface(self) -> Interface:
        kind: Any = type(self)
        return _interface(kind, self.env_arg, self.horizon, self.state == "own")

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents' names, in the order of the arrays."""
        return self._interface.world.agents

    @property
    def num_agents(self) -> int:
        """A."""
        return len(self.agents)

    @property
    def action_space(self) -> ActionSpace:
        """The largest of the agents' spaces."""
        return self._interface.actions.space

    @property
    def observation_size(self) -> int:
        """O: that of the longest observation."""
        return self._interface.observation_size

    @property
    def global_state_size(self) -> int:
        """G."""
        return self._interface.global_state_size

    @property
    def metrics(self) -> Mapping[str, str]:  # type: ignore[override]
        """What `report` names."""
        return {name: f"info[{name!r}] at the episode's last step, mean over agents" for name in self.report}

    # ---- Environment

    def observe(self, state: WorldState) -> jax.Array:
        """What the agents see in a state, float32 [A, O]."""
        return state.observations

    def global_state(self, state: WorldState) -> jax.Array:
        """All observations one after another, or the world's own state, float32 [G]."""
        if self.state != "own":
            return state.observations.reshape(-1)
        return jnp.asarray(self._interface.world.own_state(state.inner), jnp.float32).reshape(-1)

    def available_actions(self, state: WorldState) -> jax.Array:
        """Which actions each agent may take, bool [A, n]; one that has ended and may take none counts as free."""
        allowed = self._interface.available(state.inner)
        return allowed | (state.ended & ~allowed.any(-1))[:, None]

    def reset(self, key: jax.Array) -> tuple[WorldState, jax.Array]:
        """A fresh episode: (state, observations [A, O])."""
        inner, observations = self._interface.world.reset(key)
        seen = self._interface.seen(observations)
        state = WorldState(_strong(inner), seen, jnp.zeros(self.num_agents, bool), jnp.int32(0))
        return state, seen

    def step(self, key: jax.Array, state: WorldState, actions: jax.Array) -> StepResult:
        """One step of the world; actions int32 [A] or float32 [A, size]."""
        interface = self._interface
        given = {agent: interface.actions.read(i, actions[i]) for i, agent in enumerate(self.agents)}
        played = interface.world.step(key, state.inner, given)
        ended = state.ended | interface.each(played.ended, bool)
        seen = interface.seen(played.observations)
        if self.num_agents > 1:
            seen = jnp.where(ended[:, None], 0.0, seen)
        time = state.time + 1
        paid = interface.each(played.rewards, jnp.float32)
        return self.result(
            WorldState(_strong(played.state), seen, ended, time),
            paid.mean() if self.team else jnp.where(state.ended, 0.0, paid),
            terminated=ended.all() if self.team else ended,
            truncated=time >= self.horizon,
            info={name: _mean(played.info[name]) for name in self.report},
        )


State = Literal["observations", "own"]
"""What a centralised critic sees."""


@functools.lru_cache(maxsize=256)
def _limit(cls: type[CompiledWorld], env_arg: tuple[str, ...]) -> int | None:
    arguments = arguments_of(env_arg)
    try:
        return cls._limit(arguments)
    except AverseError:
        raise
    except Exception as error:
        raise unbuilt(cls.name, error) from error


@functools.lru_cache(maxsize=256)
def _interface(cls: type[CompiledWorld], env_arg: tuple[str, ...], horizon: int, own_state: bool) -> Interface:
    """The same world whenever it is asked for, so that nothing is compiled twice."""
    arguments = arguments_of(env_arg)
    try:
        world = cls._build(arguments, horizon)
    except AverseError:
        raise
    except Exception as error:
        raise unbuilt(cls.name, error) from error
    return Interface(cls.name, world, own_state)


def require_names(label: str, agents: Any) -> tuple[str, ...]:
    """The agents' names. Raises AverseError where they are none: worlds whose answers are arrays have numbers."""
    names = tuple(agents)
    if not names or not all(isinstance(name, str) for name in names):
        raise AverseError(f"{label} must name its agents by texts and answer by these names, not {shown(list(names))}")
    return names


def whole(limit: Any) -> int | None:
    """A time limit as a whole number; None where there is none."""
    number = limit.item() if hasattr(limit, "item") else limit
    return int(number) if isinstance(number, int | float) and not isinstance(number, bool) and number >= 1 else None


def _strong(state: Any) -> Any:
    """A state whose numbers are of the type that they are, so that loops carry it: a bare 0 becomes an int32."""

    def strong(leaf: Any) -> Any:
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf if is_key else jnp.asarray(leaf, jnp.result_type(leaf))

    return jax.tree.map(strong, state)


def _alike(one: Any, other: Any) -> bool:
    """Whether all arrays of two states, or their shapes and types, agree in these."""
    (leaves, structure), (others, same) = jax.tree.flatten(one), jax.tree.flatten(other)
    if structure != same:  # type: ignore[operator]
        return False
    return all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(leaves, others, strict=True))


def _mean(numbers: Any) -> jax.Array:
    """The mean of a number, or of one of each agent."""
    leaves = [jnp.asarray(leaf, jnp.float32).mean() for leaf in jax.tree.leaves(numbers)]
    return jnp.stack(leaves).mean()
