"""Memory in every loop: it is blank where an episode begins, kept within, and told to the learner as it was.

A learner whose memory counts the steps and whose action is that count makes any mistake visible: in a world that pays
the action, an episode of L steps must return 0 + 1 + ... + (L - 1).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.protocol import Discrete, StepResult, TimeStep
from averse.evaluation.host_play import learned, play_host
from averse.evaluation.play import compiled_player
from averse.learners.contract import Learner
from averse.training.compiled import CompiledGroup
from averse.training.host import HostGroup

ENVS, STEPS, AGENTS, HORIZON = 3, 11, 2, 9


def length_of(seed):
    """Episodes of 2, 3 or 4 steps."""
    return 2 + seed % 3


class WorldState(NamedTuple):
    seed: jax.Array
    time: jax.Array


class Description:
    name = "pays-the-action"
    num_agents, action_space, horizon = AGENTS, Discrete(HORIZON), HORIZON
    observation_size = global_state_size = 2
    metrics: dict = {}  # noqa: RUF012

    def return_bounds(self, gamma):
        return 0.0, 10.0

    def parameters(self):
        return {}


class CompiledWorld(Description):
    def reset(self, key):
        state = WorldState(jax.random.randint(key, (), 0, 100), jnp.int32(0))
        return state, self._observe(state)

    def step(self, key, state, actions):
        state = WorldState(state.seed, state.time + 1)
        last = state.time >= length_of(state.seed)
        return StepResult(
            state, self._observe(state), actions.astype(jnp.float32), jnp.zeros(AGENTS),
            jnp.full(AGENTS, last), jnp.bool_(False), {},
        )  # fmt: skip

    def _observe(self, state):
        return jnp.broadcast_to(jnp.stack([state.seed, state.time]).astype(jnp.float32), (AGENTS, 2))

    def global_state(self, state):
        return self._observe(state)[0]

    def available_actions(self, state):
        return jnp.ones((AGENTS, HORIZON), bool)


class HostWorld(Description):
    """The same world outside JAX, in this process; it is its own vector."""

    num_envs = ENVS

    def reset(self, seeds):
        self._schedule = [list(row) for row in seeds]
        return self._begin()

    def reset_endless(self, seed):
        self._schedule = [list(range(seed % 7 + b, 10_000)) for b in range(ENVS)]
        return self._begin()

    def _begin(self):
        self._seeds = np.array([row.pop(0) for row in self._schedule])
        self._time = np.zeros(ENVS, int)
        self._idle = np.zeros(ENVS, bool)
        observations = self._observe()
        return self._answer(observations, observations, np.zeros((ENVS, AGENTS)), np.zeros(ENVS, bool))

    def step(self, actions):
        self._time += 1
        done = (self._time >= length_of(self._seeds)) & ~self._idle
        rewards = np.where(self._idle[:, None], 0.0, actions)
        after = self._observe()
        for b in np.flatnonzero(done):
            self._idle[b] = not self._schedule[b]
            self._seeds[b] = self._schedule[b].pop(0) if self._schedule[b] else 0
            self._time[b] = 0
        return self._answer(self._observe(), after, rewards, done)

    def _observe(self):
        return np.repeat(np.stack([self._seeds, self._time], -1)[:, None], AGENTS, 1).astype(np.float32)

    def _answer(self, observations, after, rewards, done):
        available = np.ones((ENVS, AGENTS, HORIZON), bool)
        return TimeStep(
            observations=observations, global_state=observations[:, 0], available=available,
            rewards=rewards.astype(np.float32), costs=np.zeros((ENVS, AGENTS), np.float32),
            terminated=np.repeat(done[:, None], AGENTS, 1), truncated=np.zeros(ENVS, bool), next_observations=after,
            next_global_state=after[:, 0], next_available=available, info={},
        )  # fmt: skip


def counter() -> Learner:
    """Plays how many steps it remembers; its state is the last trajectory."""

    def act(state, observations, available, key, memory=(), greedy=False):
        return memory["steps"].astype(jnp.int32), {"memory": {"steps": memory["steps"] + 1}}

    def update(state, trajectory):
        return trajectory, {}

    def init(key, **swept):
        lead = (STEPS, ENVS)
        agents = (*lead, AGENTS)
        memory = {"steps": jnp.zeros(agents)}
        from averse.learners.contract import Trajectory

        return Trajectory(
            observations=jnp.zeros((*agents, 2)), global_state=jnp.zeros((*lead, 2)),
            available=jnp.zeros((*agents, HORIZON), bool), actions=jnp.zeros(agents, jnp.int32),
            extras={"memory": memory}, rewards=jnp.zeros(agents), costs=jnp.zeros(agents),
            terminated=jnp.zeros(agents, bool), truncated=jnp.zeros(lead, bool), active=jnp.zeros(agents, bool),
            first=jnp.zeros(lead, bool), next_observations=jnp.zeros((*agents, 2)),
            next_global_state=jnp.zeros((*lead, 2)), next_available=jnp.zeros((*agents, HORIZON), bool), memory=memory,
        )  # fmt: skip

    return Learner(
        init=init,
        act=act,
        update=update,
        predict_returns=None,
        initial_memory=lambda num_envs: {"steps": jnp.zeros((num_envs, AGENTS))},
        sweepable=frozenset(),
        rollout_steps=STEPS,
        num_envs=ENVS,
        gamma=1.0,
    )


def check(trajectory, began_before):
    """The memory in a trajectory is the number of steps since the episode began; returns that at its end."""
    steps = np.array(began_before)
    first, memory = np.asarray(trajectory.first), np.asarray(trajectory.memory["steps"])
    after = np.asarray(trajectory.extras["memory"]["steps"])
    for t in range(STEPS):
        steps = np.where(first[t], 0, steps)
        np.testing.assert_array_equal(memory[t], np.repeat(steps[:, None], AGENTS, 1))
        np.testing.assert_array_equal(memory[t], np.asarray(trajectory.observations)[t, ..., 1])
        np.testing.assert_array_equal(after[t], memory[t] + 1)
        np.testing.assert_array_equal(trajectory.actions[t], memory[t])
        steps = steps + 1
    return steps


def test_the_compiled_loop():
    group = CompiledGroup(CompiledWorld(), counter(), [{"seed": 0}])
    group.start()
    steps = np.zeros(ENVS)
    for _ in range(3):
        group.advance(1)
        trajectory = jax.tree.map(lambda x: x[0], group.learner_states())
        assert np.asarray(trajectory.first)[1:].any()
        steps = check(trajectory, steps)


def test_the_host_loop():
    world = HostWorld()
    group = HostGroup(world, counter(), [{"seed": 0}], world)
    group.start()
    steps = np.zeros(ENVS)
    for _ in range(3):
        group.advance(1)
        assert np.asarray(group.state.first)[1:].any()
        steps = check(group.state, steps)
    # Episodes are given up at a checkpoint, and what was remembered of them with them.
    group.snapshot()
    group.advance(1)
    assert np.asarray(group.state.first)[0].all()
    check(group.state, np.full(ENVS, -1))


def sums(lengths):
    return np.repeat((lengths * (lengths - 1) / 2)[:, None], AGENTS, 1)


def test_compiled_evaluation():
    played = compiled_player(CompiledWorld(), counter(), greedy=False)((), np.arange(40))
    assert set(played.length) == {2, 3, 4}
    np.testing.assert_array_equal(played.returns, sums(played.length))
    seen = played.probe.active[:, 0]
    assert seen.any()
    np.testing.assert_array_equal(played.probe.memory["steps"][seen, 0], played.probe.time[seen])


def test_host_evaluation():
    seeds = np.arange(20)
    played = play_host(HostWorld(), learned(counter(), greedy=False)(()), seeds, horizon=HORIZON, gamma=1.0)
    np.testing.assert_array_equal(played.length, length_of(seeds))
    np.testing.assert_array_equal(played.returns, sums(played.length))
    seen = played.probe.active[:, 0]
    np.testing.assert_array_equal(played.probe.memory["steps"][seen, 0], played.probe.time[seen])
