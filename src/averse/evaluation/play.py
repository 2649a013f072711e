"""Playing evaluation episodes with a policy, in compiled and in host environments.

Every episode is a deterministic function of its seed and the policy, whatever the number of workers or the other
episodes of the batch: the environment's and the policy's randomness both derive from that seed, so that two policies
evaluated on the same seeds meet common random numbers.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.compilation import jit
from averse.environments.protocol import Environment, HostVector, TimeStep
from averse.learners.contract import Learner

SALT = 0x5EED  # evaluation keys never coincide with training keys
BATCH = 1_000  # compiled episodes played side by side


class Probe(NamedTuple):
    """One moment of each episode at which the critic is asked for its prediction, leading axis E."""

    time: Any  # int32 [E], the step
    observations: Any  # [E, A, O]
    global_state: Any  # [E, G]
    available: Any  # [E, A, n]
    active: Any  # bool [E, A]; False if the agent's episode, or the whole, was over before
    memory: Any  # a recurrent policy's memory before acting, leaves [E, ...]; () where there is none
    discounted_return: Any  # float32 [E, A], realised from there on
    weight_left: Any  # float32 [E], discount that the episode's end was seen with: gamma^(length - time)


class Played(NamedTuple):
    """Episodes with their figures, leading axis E."""

    seeds: Any  # uint32 [E]
    returns: Any  # float32 [E, A], undiscounted
    length: Any  # int32 [E], steps
    truncated: Any  # bool [E]
    failed: Any  # bool [E]; a worker died, the figures mean nothing
    info: dict[str, Any]  # metric -> [E], at the episode's end
    probe: Probe


def probe_times(seeds: np.ndarray, horizon: int) -> np.ndarray:
    """When each episode is probed: at its start for half of the seeds, else within the first quarter of the horizon."""
    times = np.array([np.random.default_rng([SALT, int(s)]).integers(0, max(1, horizon // 4)) for s in seeds])
    return np.where(np.asarray(seeds) % 2 == 0, 0, times).astype(np.int32)


# --- compiled ---------------------------------------------------------------------------------------------------------


class _Episode(NamedTuple):
    state: Any
    observations: jax.Array
    active: jax.Array
    memory: Any
    time: jax.Array
    returns: jax.Array
    done: jax.Array
    truncated: jax.Array
    info: dict[str, jax.Array]
    probe: Probe
    key: jax.Array


def _play_one(
    environment: Environment, learner: Learner, greedy: bool, policy: Any, seed: jax.Array, probe_time: jax.Array
):
    """One episode from its seed."""
    key, reset_key = jax.random.split(jax.random.fold_in(jax.random.key(SALT), seed))
    state, observations = environment.reset(reset_key)
    agents = jnp.zeros(environment.num_agents)
    blank = learner.initial_memory(1)
    probe = Probe(
        time=probe_time,
        observations=observations,
        global_state=environment.global_state(state),
        available=environment.available_actions(state),
        active=agents > 0,
        memory=_only(blank),
        discounted_return=agents,
        weight_left=jnp.float32(1.0),
    )

    def step(episode: _Episode) -> _Episode:
        key, act_key, step_key = jax.random.split(episode.key, 3)
        available = environment.available_actions(episode.state)
        here = episode.time == probe_time
        seen = Probe(
            probe_time, episode.observations, environment.global_state(episode.state), available, episode.active,
            _only(episode.memory), jnp.zeros_like(agents), jnp.float32(1.0),
        )  # fmt: skip
        probe = jax.tree.map(lambda new, old: jnp.where(here, new, old), seen, episode.probe)
        actions, extras = learner.act(
            policy, episode.observations[None], available[None], act_key, memory=episode.memory, greedy=greedy
        )
        result = environment.step(step_key, episode.state, actions[0])
        counted = episode.time >= probe_time
        probe = probe._replace(
            discounted_return=probe.discounted_return + counted * probe.weight_left * result.rewards,
            weight_left=jnp.where(counted, probe.weight_left * learner.gamma, 1.0),
        )
        return _Episode(
            state=result.state,
            observations=result.observations,
            active=~result.terminated,
            memory=extras.get("memory", ()),
            time=episode.time + 1,
            returns=episode.returns + result.rewards,
            done=result.terminated.all() | result.truncated,
            truncated=result.truncated,
            info=dict(result.info),
            probe=probe,
            key=key,
        )

    undone = jnp.bool_(False)
    first = _Episode(
        state, observations, agents == 0, blank, jnp.int32(0), agents, undone, undone,
        {name: jnp.float32(0.0) for name in environment.metrics}, probe, key,
    )  # fmt: skip
    last = jax.lax.while_loop(lambda episode: ~episode.done, step, first)
    return Played(seed, last.returns, last.time, last.truncated, jnp.bool_(False), last.info, last.probe)


def _only(batch: Any) -> Any:
    """The single element of a batch of one."""
    return jax.tree.map(lambda x: x[0], batch)


def compiled_player(environment: Environment, learner: Learner, greedy: bool) -> Callable[[Any, np.ndarray], Played]:
    """A function (policy state, seeds [E]) -> Played that is compiled once for all policies of a learner."""
    one = partial(_play_one, environment, learner, greedy)
    batch = jit(jax.vmap(one, in_axes=(None, 0, 0)))

    def play(policy: Any, seeds: np.ndarray) -> Played:
        size = min(BATCH, len(seeds))
        padded = np.resize(seeds, -(-len(seeds) // size) * size).astype(np.uint32)
        times = probe_times(padded, environment.horizon)
        parts = [
            jax.device_get(batch(policy, padded[i : i + size], times[i : i + size]))
            for i in range(0, len(padded), size)
        ]
        return jax.tree.map(lambda *x: np.concatenate(x)[: len(seeds)], *parts)

    return play


# --- host -------------------------------------------------------------------------------------------------------------

# (time step, seeds of the running episodes [B], steps so far [B], memory) -> (actions [B, A, ...], memory)
HostPolicy = Callable[[TimeStep, np.ndarray, np.ndarray, Any], tuple[np.ndarray, Any]]


def learned_host_policy(learner: Learner, greedy: bool) -> Callable[[Any], HostPolicy]:
    """From a learner to a function that turns a policy state into a `HostPolicy`; compiled once for all states."""

    def one(policy, observations, available, seed, time, memory):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(SALT), seed), time)
        single = jax.tree.map(lambda x: x[None], (observations, available, memory))
        actions, extras = learner.act(policy, *single[:2], key, memory=single[2], greedy=greedy)
        return actions[0], _only(extras.get("memory", ()))

    batch = jax.jit(jax.vmap(one, in_axes=(None, 0, 0, 0, 0, 0)))

    def bind(policy: Any) -> HostPolicy:
        def act(step: TimeStep, seeds: np.ndarray, times: np.ndarray, memory: Any):
            actions, memory = batch(policy, step.observations, step.available, seeds, times, memory)
            return np.asarray(actions), memory

        return act

    return bind


def _where_done(done: np.ndarray, fresh: Any, old: Any) -> np.ndarray:
    return np.where(done.reshape(-1, *[1] * (np.ndim(old) - 1)), fresh, old)


def play_host(
    vector: HostVector,
    policy: HostPolicy,
    seeds: Sequence[int] | np.ndarray,
    horizon: int,
    gamma: float,
    initial_memory: Callable[[int], Any] = lambda num_envs: (),
    on_progress: Callable[[int], None] = lambda episodes: None,
) -> Played:
    """Play one episode per seed, spread over the vector's environments."""
    seeds = np.asarray(seeds, np.uint32)
    num_envs = vector.num_envs
    rounds = -(-len(seeds) // num_envs)
    # Column-major, so that the seeds that fill up the last round are the last ones and can be cut off.
    schedule = np.resize(seeds, rounds * num_envs).reshape(rounds, num_envs).T.copy()
    times = probe_times(schedule.ravel(), horizon).reshape(schedule.shape)
    step = vector.reset(schedule)
    num_agents = step.rewards.shape[1]
    rows = np.arange(num_envs)
    episode = np.zeros(num_envs, np.int64)  # index into the schedule of the running episode
    time = np.zeros(num_envs, np.int32)
    returns = np.zeros((num_envs, num_agents))
    active = np.ones((num_envs, num_agents), bool)
    fresh = initial_memory(num_envs)
    memory = fresh
    probes: list[list[Any]] = [[None] * rounds for _ in rows]
    discounted = np.zeros((num_envs, num_agents))
    weight = np.ones(num_envs)
    finished: dict[tuple[int, int], Played] = {}
    while len(finished) < schedule.size:
        playing = episode < rounds
        index = np.minimum(episode, rounds - 1)
        for b in np.flatnonzero(playing & (time == times[rows, index])):
            now = (step.observations, step.global_state, step.available, active, memory)
            probes[b][episode[b]] = jax.tree.map(lambda x: np.array(x[b]), now)  # noqa: B023
        actions, memory = policy(step, schedule[rows, index], time, memory)
        step = vector.step(actions)
        counted = playing & (time >= times[rows, index])
        discounted += np.where(counted, weight, 0.0)[:, None] * step.rewards
        weight = np.where(counted, weight * gamma, 1.0)
        returns += step.rewards
        time += 1
        done = np.asarray(step.done) & playing
        for row in np.flatnonzero(done).tolist():
            k = int(episode[row])
            never = [np.zeros_like(x[row]) for x in (step.observations, step.global_state)]
            blank = jax.tree.map(lambda x: np.array(x[row]), fresh)  # noqa: B023
            seen = probes[row][k] or [*never, np.ones_like(step.available[row]), np.zeros(num_agents, bool), blank]
            info = {name: float(values[row]) for name, values in step.info.items()}
            finished[row, k] = Played(
                seeds=schedule[row, k],
                returns=returns[row].copy(),
                length=time[row],
                truncated=bool(step.truncated[row]),
                failed=info.get("worker_failed", 0.0) > 0.0,
                info=info,
                probe=Probe._make([times[row, k], *seen, discounted[row].astype(np.float32), np.float32(weight[row])]),
            )
        on_progress(int(done.sum()))
        active = ~np.asarray(step.terminated) | done[:, None]
        episode += done
        time = np.where(done, 0, time).astype(np.int32)
        returns = np.where(done[:, None], 0.0, returns)
        discounted = np.where(done[:, None], 0.0, discounted)
        weight = np.where(done, 1.0, weight)
        memory = jax.tree.map(partial(_where_done, done), fresh, memory)
    ordered = [finished[b, k] for k in range(rounds) for b in range(num_envs)][: len(seeds)]
    return jax.tree.map(lambda *x: np.stack(x), *ordered)
