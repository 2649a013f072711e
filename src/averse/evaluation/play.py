"""Playing in compiled environments: episodes with an end, and chains that have none, by one and the same step.

Every episode is a deterministic function of its seed and the policy, whatever the other episodes of the batch: the
environment's and the policy's randomness both derive from that seed, so that two policies evaluated on the same seeds
meet common random numbers. `host_play` does the same in host environments.

Axes: E episodes, C chains, K batches of a chain, A agents, O observation, G global state, n actions.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.arguments import instance
from averse.compilation import is_hasty, jit
from averse.environments.batch import View, see
from averse.environments.protocol import Environment, StepResult
from averse.environments.stepwise import MOST_STEPS
from averse.errors import AverseError, shown
from averse.evaluation.arguments import episode_seeds
from averse.evaluation.episodes import Episodes
from averse.learners.contract import Learner
from averse.settings import Count, check_value

SALT = 0x5EED  # evaluation keys never coincide with training keys
FIRST_SEED = 1_000_000  # of evaluation episodes; tuning that looks at episodes should use others
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
    discounted: Any  # float32 [E, A], returns from the start at the learner's discount
    length: Any  # int32 [E], steps
    terminated: Any  # bool [E, A]; the agent's own episode had ended, also where the time limit then cut the others
    truncated: Any  # bool [E]; the time limit cut the episode
    failed: Any  # bool [E]; a worker died, the figures mean nothing
    info: dict[str, Any]  # metric -> [E], at the episode's end
    probe: Probe  # one moment of each episode, for the critic's calibration

    def table(self, metrics: Iterable[str], settings: Mapping[str, float] | None = None) -> Episodes:
        """The episodes as a table.

        Args:
          metrics: names of those to keep.
          settings: training seed (as `seed`) and swept settings of the policy; nothing where it has learnt nothing.

        Raises AverseError for a metric that was not played, and for settings that are no mapping.
        """
        settings = instance("settings", Mapping, settings or {}, "a mapping from names to numbers")
        metrics, count = check_value("metrics", tuple[str, ...], tuple(metrics)), len(self.seeds)
        if absent := [name for name in metrics if name not in self.info]:
            raise AverseError(
                f"metrics names what was not played: {', '.join(absent)}; there are {', '.join(self.info)}"
            )
        return Episodes(
            training_seed=np.full(count, int(settings.get("seed", 0))),
            seed=self.seeds,
            agent_returns=self.returns,
            length=self.length,
            failed=self.failed,
            metrics={name: self.info[name] for name in metrics},
            settings={name: np.full(count, value) for name, value in settings.items() if name != "seed"},
        )


class Chains(NamedTuple):
    """Long runs of one policy."""

    mean: Any  # float64 [C, K], of the team's reward in each batch of steps
    square: Any  # float64 [C, K], mean of the squared reward
    info: dict[str, Any]  # metric -> float64 [C], at the end of the chain


def probe_times(seeds: np.ndarray, horizon: int) -> np.ndarray:
    """When each episode is probed: at its start for half of the seeds, else within the first quarter of the horizon."""
    times = np.array([np.random.default_rng([SALT, int(s)]).integers(0, max(1, horizon // 4)) for s in seeds])
    return np.where(np.asarray(seeds) % 2 == 0, 0, times).astype(np.int32)


def single(batch: Any) -> Any:
    """The only element of a batch of one."""
    return jax.tree.map(lambda x: x[0], batch)


class Walk(NamedTuple):
    """One environment, and the memory of the policy that acts in it, between two steps."""

    state: Any
    observations: jax.Array
    memory: Any  # leading axis of one
    key: jax.Array


def episode_keys(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of the episode of a seed, uint32 []: the key that it goes on with, and that of its reset."""
    key, reset_key = jax.random.split(jax.random.fold_in(jax.random.key(SALT), seed))
    return key, reset_key


def set_out(environment: Environment, learner: Learner, seed: jax.Array) -> Walk:
    """The start of the episode of a seed, uint32 []."""
    key, reset_key = episode_keys(seed)
    state, observations = environment.reset(reset_key)
    return Walk(state, observations, learner.initial_memory(1), key)


def choose(
    learner: Learner, greedy: bool, policy: Any, walk: Walk, available: jax.Array
) -> tuple[jax.Array, Any, Any, jax.Array]:
    """The actions [A, ...] of one step, the memory after it, and two keys: of the environment's step, and to go on."""
    key, act_key, step_key = jax.random.split(walk.key, 3)
    actions, extras = learner.act(
        policy, walk.observations[None], available[None], act_key, memory=walk.memory, greedy=greedy
    )
    return actions[0], extras.get("memory", ()), step_key, key


def act_once(
    environment: Environment, learner: Learner, greedy: bool, policy: Any, walk: Walk
) -> tuple[Walk, StepResult, jax.Array]:
    """Act and let the environment answer, with the actions [A, ...] that were chosen; nothing is reset."""
    available = environment.available_actions(walk.state)
    actions, memory, step_key, key = choose(learner, greedy, policy, walk, available)
    result = environment.step(step_key, walk.state, actions)
    return Walk(result.state, result.observations, memory, key), result, actions


class Episode(NamedTuple):
    """A running episode, and what is told of it so far."""

    walk: Walk
    active: jax.Array
    time: jax.Array
    returns: jax.Array
    discounted: jax.Array
    weight: jax.Array  # discount of the next reward
    done: jax.Array
    truncated: jax.Array
    info: dict[str, jax.Array]
    probe: Probe

    def played(self, seed: Any) -> Played:
        """The figures of a whole episode."""
        return Played(
            seeds=seed,
            returns=self.returns,
            discounted=self.discounted,
            length=self.time,
            terminated=~self.active,
            truncated=self.truncated,
            failed=jnp.bool_(False),
            info=self.info,
            probe=self.probe,
        )


def begun(walk: Walk, view: View, probe_time: jax.Array, num_agents: int, metrics: Iterable[str]) -> Episode:
    """An episode before its first step."""
    agents = jnp.zeros(num_agents)
    return Episode(
        walk=walk,
        active=agents == 0,
        time=jnp.int32(0),
        returns=agents,
        discounted=agents,
        weight=jnp.float32(1.0),
        done=jnp.bool_(False),
        truncated=jnp.bool_(False),
        info={name: jnp.float32(0.0) for name in metrics},
        probe=_probe(view, walk, probe_time, agents > 0),
    )


def counted(
    gamma: float, episode: Episode, view: View, walk: Walk, result: StepResult, probe_time: jax.Array
) -> Episode:
    """The episode after a step.

    Args:
      view: what was seen before it.
      walk: after it.
    """
    here = episode.time == probe_time
    seen = _probe(view, episode.walk, probe_time, episode.active)
    probe = jax.tree.map(lambda new, old: jnp.where(here, new, old), seen, episode.probe)
    after = episode.time >= probe_time
    probe = probe._replace(
        discounted_return=probe.discounted_return + jnp.where(after, probe.weight_left, 0.0) * result.rewards,
        weight_left=jnp.where(after, probe.weight_left * gamma, 1.0),
    )
    return Episode(
        walk=walk,
        active=~result.terminated,
        time=episode.time + 1,
        returns=episode.returns + result.rewards,
        discounted=episode.discounted + episode.weight * result.rewards,
        weight=episode.weight * gamma,
        done=result.terminated.all() | result.truncated,
        truncated=result.truncated,
        info=dict(result.info),
        probe=probe,
    )


def _probe(view: View, walk: Walk, time: jax.Array, active: jax.Array) -> Probe:
    """What there is to see now; nothing has been earned from here on."""
    return Probe(
        time=time,
        observations=view.observations,
        global_state=view.global_state,
        available=view.available,
        active=active,
        memory=single(walk.memory),
        discounted_return=jnp.zeros(active.shape),
        weight_left=jnp.float32(1.0),
    )


def _play_one(
    environment: Environment, learner: Learner, greedy: bool, policy: Any, seed: jax.Array, probe_time: jax.Array
) -> Played:
    """One episode from its seed."""

    def step(episode: Episode) -> Episode:
        walk, result, _ = act_once(environment, learner, greedy, policy, episode.walk)
        return counted(
            learner.gamma,
            episode,
            see(environment, episode.walk.state, episode.walk.observations),
            walk,
            result,
            probe_time,
        )

    walk = set_out(environment, learner, seed)
    first = begun(
        walk, see(environment, walk.state, walk.observations), probe_time, environment.num_agents, environment.metrics
    )
    return jax.lax.while_loop(lambda episode: ~episode.done, step, first).played(seed)


def compiled_player(environment: Environment, learner: Learner, greedy: bool) -> Callable[[Any, np.ndarray], Played]:
    """A function (learner's state, seeds [E]) -> Played that is compiled once for all states of a learner.

    Args:
      greedy: the most likely actions instead of draws.

    Raises AverseError for other kinds of arguments and, when it plays, for seeds that are none or not in [0, 2^32).
    """
    _check_players(environment, learner, greedy)
    whole = jit(jax.vmap(partial(_play_one, environment, learner, greedy), in_axes=(None, 0, 0)))
    brief = None
    if is_hasty():
        from averse.evaluation.stepwise import stepwise_player  # here, as it needs what this module defines

        brief = stepwise_player(environment, learner, greedy)

    def play(policy: Any, seeds: np.ndarray) -> Played:
        seeds = episode_seeds("seeds", seeds)
        size = min(BATCH, len(seeds))
        padded = np.resize(seeds, -(-len(seeds) // size) * size).astype(np.uint32)
        times = probe_times(padded, environment.horizon)
        steps = environment.horizon * len(padded) // size
        batch = whole if brief is None or steps > MOST_STEPS else brief
        parts = [
            jax.device_get(batch(policy, padded[i : i + size], times[i : i + size]))
            for i in range(0, len(padded), size)
        ]
        return jax.tree.map(lambda *x: np.concatenate(x)[: len(seeds)], *parts)

    return play


def chain_player(
    environment: Environment, learner: Learner, greedy: bool, *, batches: int, length: int
) -> Callable[[Any, np.ndarray], Chains]:
    """A function (learner's state, seeds [C]) -> Chains that is compiled once for all states of a learner.

    Each chain is a deterministic function of its seed and the policy. The environment's time limit is ignored: nothing
    is ever reset.

    Args:
      greedy: the most likely actions instead of draws.
      batches: K, into which each chain is cut.
      length: of a batch, in steps.

    Raises AverseError for other kinds of arguments and numbers below 1 and, when it plays, for seeds that are none or
    not in [0, 2^32).
    """
    _check_players(environment, learner, greedy)
    check_value("batches", Count, batches)
    check_value("length", Count, length)

    def step(policy: Any, carry: tuple[Walk, dict[str, jax.Array]], _: None):
        walk, result, _chosen = act_once(environment, learner, greedy, policy, carry[0])
        return (walk, dict(result.info)), result.rewards.mean()

    def batch(policy: Any, carry: tuple[Walk, dict[str, jax.Array]], _: None):
        carry, rewards = jax.lax.scan(partial(step, policy), carry, None, length=length)
        return carry, (rewards.mean(), (rewards**2).mean())

    def chain(policy: Any, seed: jax.Array) -> Chains:
        info = {name: jnp.float32(0.0) for name in environment.metrics}
        first = (set_out(environment, learner, seed), info)
        (_, info), (means, squares) = jax.lax.scan(partial(batch, policy), first, None, length=batches)
        return Chains(means, squares, info)

    program = jax.jit(jax.vmap(chain, in_axes=(None, 0)))

    def play(policy: Any, seeds: np.ndarray) -> Chains:
        return jax.tree.map(lambda x: np.asarray(x, np.float64), program(policy, episode_seeds("seeds", seeds)))

    return play


def _check_players(environment: Any, learner: Any, greedy: Any) -> None:
    if not isinstance(environment, Environment):
        raise AverseError(f"environment must be a compiled environment, not {shown(environment)}")
    instance("learner", Learner, learner, "a learner (run.learner, averse.learner(...))")
    check_value("greedy", bool, greedy)
