"""One episode while it is played: its randomness, what is chosen, and what is told of it; without the environment.

Who plays it, in one program (`play`) or step by step from Python (`stepwise`), puts the environment in between.

Axes: E episodes, A agents, O observation, G global state, n actions.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.arguments import instance
from averse.environments.batch import View
from averse.environments.protocol import StepResult
from averse.errors import AverseError
from averse.evaluation.episodes import Episodes
from averse.learners.contract import Learner
from averse.settings import check_value

SALT = 0x5EED  # evaluation keys never coincide with training keys


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


def choose(
    learner: Learner, greedy: bool, policy: Any, walk: Walk, available: jax.Array
) -> tuple[jax.Array, Any, Any, jax.Array]:
    """The actions [A, ...] of one step, the memory after it, and two keys: of the environment's step, and to go on."""
    key, act_key, step_key = jax.random.split(walk.key, 3)
    actions, extras = learner.act(
        policy, walk.observations[None], available[None], act_key, memory=walk.memory, greedy=greedy
    )
    return actions[0], extras.get("memory", ()), step_key, key


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
