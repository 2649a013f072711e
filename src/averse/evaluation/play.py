"""Playing in compiled environments: episodes with an end, and chains that have none, by one and the same step.

Every episode is a deterministic function of its seed and the policy, whatever the other episodes of the batch: the
environment's and the policy's randomness both derive from that seed, so that two policies evaluated on the same seeds
meet common random numbers. `host_play` does the same in host environments.

Axes: E episodes, C chains, K batches of a chain, A agents, O observation, G global state, n actions.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.arguments import instance
from averse.compilation import is_hasty, jit
from averse.environments.batch import see
from averse.environments.protocol import Environment, StepResult
from averse.environments.stepwise import MOST_STEPS
from averse.errors import AverseError, shown
from averse.evaluation.accounts import SALT, Episode, Played, Walk, begun, choose, counted, episode_keys
from averse.evaluation.arguments import episode_seeds
from averse.evaluation.stepwise import stepwise_player
from averse.learners.contract import Learner
from averse.settings import Count, check_value

FIRST_SEED = 1_000_000  # of evaluation episodes; tuning that looks at episodes should use others
BATCH = 1_000  # compiled episodes played side by side


class Chains(NamedTuple):
    """Long runs of one policy."""

    mean: Any  # float64 [C, K], of the team's reward in each batch of steps
    square: Any  # float64 [C, K], mean of the squared reward
    info: dict[str, Any]  # metric -> float64 [C], at the end of the chain


def probe_times(seeds: np.ndarray, horizon: int) -> np.ndarray:
    """When each episode is probed: at its start for half of the seeds, else within the first quarter of the horizon."""
    times = np.array([np.random.default_rng([SALT, int(s)]).integers(0, max(1, horizon // 4)) for s in seeds])
    return np.where(np.asarray(seeds) % 2 == 0, 0, times).astype(np.int32)


def set_out(environment: Environment, learner: Learner, seed: jax.Array) -> Walk:
    """The start of the episode of a seed, uint32 []."""
    key, reset_key = episode_keys(seed)
    state, observations = environment.reset(reset_key)
    return Walk(state, observations, learner.initial_memory(1), key)


def act_once(
    environment: Environment, learner: Learner, greedy: bool, policy: Any, walk: Walk
) -> tuple[Walk, StepResult, jax.Array]:
    """Act and let the environment answer, with the actions [A, ...] that were chosen; nothing is reset."""
    available = environment.available_actions(walk.state)
    actions, memory, step_key, key = choose(learner, greedy, policy, walk, available)
    result = environment.step(step_key, walk.state, actions)
    return Walk(result.state, result.observations, memory, key), result, actions


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
    brief = stepwise_player(environment, learner, greedy) if is_hasty() else None

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
