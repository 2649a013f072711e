"""Steps of host environments for a learner: one by one through their `step`, or in one program with what states them.

Axes: T time, B environments, A agents.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from averse.compilation import is_hasty, jit_beside
from averse.environments.batch import where_done
from averse.environments.protocol import HostEnvironment, HostVector, TimeStep
from averse.environments.workers.encoded import EncodedVector
from averse.learners.contract import Learner, Trajectory
from averse.training.trainee import EpisodeRecord, transition


class Rollouts(Protocol):
    """Plays on and on in the same environments."""

    def begin(self, seed: int) -> None:
        """Fresh episodes, a function of the seed and of what is done in them."""
        ...

    def play(self, state: Any, key: jax.Array, update: int) -> tuple[Trajectory, EpisodeRecord]:
        """T steps of all environments with the policy of a learner's state, and the episodes that ended on the way.

        The trajectory is there until the next call.
        """
        ...


def rollouts(environment: HostEnvironment, learner: Learner, vector: HostVector) -> Rollouts:
    """What plays in a vector in the quickest way that it allows.

    In haste that is step by step: what states a vector's rows is then compiled once for all methods.
    """
    if isinstance(vector, EncodedVector) and not is_hasty():
        return EncodedRollouts(environment, learner, vector)
    return StepwiseRollouts(environment, learner, vector)


def _act(learner: Learner, state: Any, key: jax.Array, seen: Any, memory: Any, first: Any) -> Any:
    """Actions, extras and the memory before acting, which is blank where an episode begins; key of a step."""
    memory = where_done(first, learner.initial_memory(learner.num_envs), memory)
    behave = learner.behave or learner.act
    return *behave(state, *seen, key, memory=memory), memory


@lru_cache(maxsize=2)
def _act_of(learner: Learner, hasty: bool) -> Callable[..., Any]:
    """`_act` at a time after an update, compiled once for all trials of a run."""
    del hasty  # of which compiled programs are

    def act_at(state: Any, key: jax.Array, update: int, time: int, seen: Any, memory: Any, first: Any) -> Any:
        # Keys are derived in here, as each operation outside a compiled function costs as much as the policy itself.
        key = jax.random.fold_in(jax.random.fold_in(key, update + 1), time)
        return _act(learner, state, key, seen, memory, first)

    return jit_beside(act_at)


class StepwiseRollouts:
    """`Rollouts` of any vector. The policy is one compiled call."""

    def __init__(self, environment: HostEnvironment, learner: Learner, vector: HostVector):
        self.environment, self.learner, self.vector = environment, learner, vector
        self._act = _act_of(learner, is_hasty())

    def begin(self, seed: int) -> None:
        """See `Rollouts`."""
        self._step: TimeStep = self.vector.reset_endless(seed)
        num_envs, num_agents = self.learner.num_envs, self.environment.num_agents
        self._memory = self.learner.initial_memory(num_envs)
        self._active: Any = np.ones((num_envs, num_agents), bool)
        self._first: Any = np.ones(num_envs, bool)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs)

    def play(self, state: Any, key: jax.Array, update: int) -> tuple[Trajectory, EpisodeRecord]:
        """See `Rollouts`."""
        steps, ended = [], []
        for time in range(self.learner.rollout_steps):
            before = self._step
            seen = before.observations, before.available
            actions, extras, memory = self._act(state, key, update, time, seen, self._memory, self._first)
            after = self.vector.step(np.asarray(actions))
            done = np.asarray(after.done)
            self._returns += after.rewards.mean(-1)
            self._lengths += 1
            # Numpy arrays until the update, which takes the whole trajectory to the device at once.
            steps.append(transition(before, actions, extras, memory, self._active, self._first, after))
            info = {name: np.where(done, value, np.nan) for name, value in after.info.items()}
            ended.append(
                EpisodeRecord(np.where(done, self._returns, np.nan), np.where(done, self._lengths, np.nan), info)
            )
            self._active = ~after.terminated | done[:, None]
            self._first = done
            self._memory = extras.get("memory", ())
            self._returns = np.where(done, 0.0, self._returns)
            self._lengths = np.where(done, 0, self._lengths)
            self._step = after
        stack = lambda *leaves: np.stack(leaves)  # noqa: E731
        return jax.tree.map(stack, *steps), jax.tree.map(stack, *ended)


class _Now(NamedTuple):
    """What is seen now. Of a `TimeStep` no more is needed for what comes, and each array costs microseconds."""

    observations: jax.Array
    global_state: jax.Array
    available: jax.Array


class _Ride(NamedTuple):
    """Where all environments are, between two of their steps. Arrays of the device."""

    past: Any  # the encoding's
    now: _Now
    actions: jax.Array
    extras: dict[str, Any]
    memory: Any  # before acting
    active: jax.Array
    first: jax.Array
    returns: jax.Array  # of the running episodes so far
    lengths: jax.Array
    time: jax.Array  # steps since the update


class EncodedRollouts:
    """`Rollouts` of an `EncodedVector`: one compiled call states what a step led to, keeps it, and chooses what to do
    next. After the last step of a rollout that choice is dropped: the updated policy chooses anew.
    """

    def __init__(self, environment: HostEnvironment, learner: Learner, vector: EncodedVector):
        self.environment, self.learner, self.vector = environment, learner, vector
        self._start = jax.jit(self._start_at, donate_argnums=3)
        self._turn = jax.jit(self._turn_at, donate_argnums=(1, 2))

    def begin(self, seed: int) -> None:
        """See `Rollouts`."""
        self._rows = self.vector.restart_endless(seed)
        self._ride: _Ride | None = None

    def play(self, state: Any, key: jax.Array, update: int) -> tuple[Trajectory, EpisodeRecord]:
        """See `Rollouts`."""
        if self._ride is None:  # a step from nowhere, in which all episodes end and the first ones begin
            self._ride, self._lines = self._nowhere(state)
            keys = jax.random.split(key, self.learner.rollout_steps)  # of no consequence
            self._ride, self._lines, _ = self._turn(state, self._ride, self._lines, keys, self._rows)
        self._ride, keys, commands = self._start(state, key, update, self._ride)
        for _ in range(self.learner.rollout_steps):
            rows = self.vector.exchange(np.asarray(commands))
            self._ride, self._lines, commands = self._turn(state, self._ride, self._lines, keys, rows)
        trajectory, record = self._lines
        return trajectory, jax.tree.map(np.array, record)  # a copy, as the next rollout writes to the same memory

    def _nowhere(self, state: Any) -> tuple[_Ride, Any]:
        """A ride of which nothing is known, and lines that are still empty."""
        num_envs, rows = self.learner.num_envs, jax.ShapeDtypeStruct(self._rows.shape, np.int32)
        past = self.vector.encoding.blank(num_envs)
        _, step = jax.eval_shape(self.vector.encoding.advance, past, rows)
        now = _zeros(_Now(step.observations, step.global_state, step.available))
        act = partial(_act, self.learner)
        first, memory = jnp.ones(num_envs, bool), self.learner.initial_memory(num_envs)
        seen = now.observations, now.available
        actions, extras, memory = _zeros(jax.eval_shape(act, state, jax.random.key(0), seen, memory, first))
        none = jnp.zeros(num_envs)
        active = jnp.ones((num_envs, self.environment.num_agents), bool)
        ride = _Ride(past, now, actions, extras, memory, active, first, none, none, jnp.int32(0))
        _, *line = jax.eval_shape(self._enter, ride, rows)
        length = self.learner.rollout_steps
        lines = jax.tree.map(lambda part: jnp.zeros((length, *part.shape), part.dtype), tuple(line))
        return jax.tree.map(jnp.copy, ride), lines  # each with an array of its own, as all are given away

    def _enter(self, ride: _Ride, rows: jax.Array) -> tuple[_Ride, Trajectory, EpisodeRecord]:
        """What a step led to: the ride after it, not yet acting, and a line for the trajectory and the record."""
        past, after = self.vector.encoding.advance(ride.past, rows)
        done = after.done
        line = transition(ride.now, ride.actions, ride.extras, ride.memory, ride.active, ride.first, after)
        returns, lengths = ride.returns + after.rewards.mean(-1), ride.lengths + 1
        ended = jax.tree.map(lambda figure: jnp.where(done, figure, jnp.nan), (returns, lengths, dict(after.info)))
        ride = ride._replace(
            past=past,
            now=_Now(after.observations, after.global_state, after.available),
            memory=ride.extras.get("memory", ()),
            active=~after.terminated | done[:, None],
            first=done,
            returns=jnp.where(done, 0.0, returns),
            lengths=jnp.where(done, 0.0, lengths),
            time=ride.time + 1,
        )
        return ride, line, EpisodeRecord(*ended)

    def _act_on(self, state: Any, ride: _Ride, key: jax.Array) -> tuple[_Ride, jax.Array]:
        """The ride, acting, and the commands for the workers."""
        seen = ride.now.observations, ride.now.available
        actions, extras, memory = _act(self.learner, state, key, seen, ride.memory, ride.first)
        commands = self.vector.encoding.commands(ride.past, actions)
        return ride._replace(actions=actions, extras=extras, memory=memory), commands

    def _start_at(self, state: Any, key: jax.Array, update: int, ride: _Ride) -> tuple[_Ride, jax.Array, jax.Array]:
        times = jnp.arange(self.learner.rollout_steps)
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(key, update + 1)))(times)
        ride, commands = self._act_on(state, ride._replace(time=jnp.int32(0)), keys[0])
        return ride, keys, commands

    def _turn_at(
        self, state: Any, ride: _Ride, lines: Any, keys: jax.Array, rows: jax.Array
    ) -> tuple[_Ride, Any, jax.Array]:
        put = partial(jax.lax.dynamic_update_index_in_dim, index=ride.time, axis=0)  # in place; at[...].set copies all
        ride, *line = self._enter(ride, rows)
        lines = jax.tree.map(put, lines, tuple(line))
        ride, commands = self._act_on(state, ride, jax.lax.dynamic_index_in_dim(keys, ride.time, keepdims=False))
        return ride, lines, commands


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda part: jnp.zeros(part.shape, part.dtype), shapes)
