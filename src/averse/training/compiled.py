"""Training in compiled environments: rollouts and updates of many trials are one XLA program."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import methodcaller
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.compilation import jit, jit_once
from averse.environments.batch import where_done
from averse.environments.protocol import Environment, TimeStep
from averse.learners.contract import Learner
from averse.training.starts import AsTheyCome, TailStarts
from averse.training.trainee import EpisodeRecord, transition
from averse.training.trials import chosen, side_by_side

Starts = AsTheyCome | TailStarts


class LoopState(NamedTuple):
    """All that goes from one update to the next, of one trial; a checkpoint holds it whole."""

    learner: Any
    environment: Any  # running episodes, as `starts` has them; () where a program has no use for it
    observations: jax.Array  # [B, A, O]
    global_state: jax.Array  # [B, G]
    available: jax.Array  # [B, A, n]
    active: jax.Array  # bool [B, A]
    first: jax.Array  # bool [B]
    memory: Any
    returns: jax.Array  # float32 [B], return of the running episode, mean over agents
    lengths: jax.Array  # int32 [B], its steps so far
    key: jax.Array


class _Defined(NamedTuple):
    """Numbers of which some are not there. No NaN leaves the program, at which JAX_DEBUG_NANS would stop it."""

    numbers: jax.Array
    there: jax.Array  # bool

    @classmethod
    def where(cls, there: jax.Array, numbers: jax.Array) -> "_Defined":
        if numbers.dtype == bool:
            numbers = numbers.astype(jnp.int32)
        return cls(jnp.where(there, numbers, 0), there)

    def of_trial(self, index: int) -> np.ndarray:
        """All numbers of one trial in one row, NaN where there are none."""
        return np.where(self.there[index], self.numbers[index], np.float32(np.nan)).ravel()


def start(starts: Starts, learner: Learner, seed: jax.Array, swept: dict[str, jax.Array]) -> LoopState:
    """The state of a trial before its first update."""
    learner_key, environment_key, key = start_keys(seed)
    batch, step = starts.reset(environment_key, learner.num_envs)
    return first_state(learner, learner.init(learner_key, **swept), batch, step, key)


def start_keys(seed: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of a trial: the keys of the learner's parameters, of its environments, and of what follows."""
    learner_key, environment_key, key = jax.random.split(jax.random.key(seed), 3)
    return learner_key, environment_key, key


def first_state(learner: Learner, learner_state: Any, batch: Any, step: TimeStep, key: jax.Array) -> LoopState:
    """The state of a trial whose environments have just been reset."""
    return LoopState(
        learner=learner_state,
        environment=batch,
        observations=step.observations,
        global_state=step.global_state,
        available=step.available,
        active=jnp.ones(step.terminated.shape, bool),
        first=jnp.ones(learner.num_envs, bool),
        memory=learner.initial_memory(learner.num_envs),
        returns=jnp.zeros(learner.num_envs, jnp.float32),
        lengths=jnp.zeros(learner.num_envs, jnp.int32),
        key=key,
    )


def act(learner: Learner, state: LoopState) -> tuple[jax.Array, jax.Array, dict[str, Any]]:
    """The key that a trial goes on with, its actions, and what else acting gives."""
    key, act_key = jax.random.split(state.key)
    behave = learner.behave or learner.act
    return key, *behave(state.learner, state.observations, state.available, act_key, memory=state.memory)


def after_step(
    learner: Learner, state: LoopState, extras: dict[str, Any], batch: Any, step: TimeStep, key: jax.Array, weights: Any
) -> tuple[LoopState, EpisodeRecord]:
    """The state after a step, and the episodes that ended with it; `weights` [B] of those that it was a step of."""
    done = step.done
    returns = state.returns + step.rewards.mean(-1)
    lengths = state.lengths + 1
    record = EpisodeRecord(
        _Defined.where(done, returns),
        _Defined.where(done, lengths),
        {name: _Defined.where(done & ~jnp.isnan(value), value) for name, value in step.info.items()},
        None if weights is None else _Defined.where(done, weights),
    )
    state = LoopState(
        learner=state.learner,
        environment=batch,
        observations=step.observations,
        global_state=step.global_state,
        available=step.available,
        active=~step.terminated | done[:, None],
        first=done,
        memory=where_done(done, learner.initial_memory(learner.num_envs), extras.get("memory", ())),
        returns=jnp.where(done, 0.0, returns),
        lengths=jnp.where(done, 0, lengths),
        key=key,
    )
    return state, record


def _rollout_step(starts: Starts, learner: Learner, state: LoopState, _: None):
    key, actions, extras = act(learner, state)
    weights = starts.weights(state.environment)
    batch, step = starts.step(state.environment, actions)
    line = transition(state, actions, extras, state.memory, state.active, state.first, step)._replace(weights=weights)
    ended = starts.ended(state.environment, step.done, state.returns + step.rewards.mean(-1))
    state, record = after_step(learner, state, extras, batch, step, key, weights)
    return state, (line, record, ended)


def _update(starts: Starts, learner: Learner, state: LoopState, _: None):
    state, (trajectory, record, ended) = jax.lax.scan(
        partial(_rollout_step, starts, learner), state, None, length=learner.rollout_steps
    )
    learner_state, metrics = learner.update(state.learner, trajectory)
    batch, of_starts = starts.learned(state.environment, trajectory.weights, ended)
    return state._replace(learner=learner_state, environment=batch), (metrics | of_starts, record)


class CompiledGroup:
    """Trials that are trained by one compiled program: a `Trainee`.

    On an accelerator the program takes all trials at once (`vmap`). On a CPU it takes a single one, and as many threads
    as there are cores each run it for one trial after another: figures are to the last bit those of the trial alone,
    one program does for any number of trials, and no more trajectories are held than there are threads.

    Args:
      trials: one dictionary per trial, its seed and the swept numbers.
      threads: on a CPU, how many trials are computed at the same time; as many as there are cores where not given.
      tail_starts: share of the episodes that begin as the worst ones did.
    """

    def __init__(
        self,
        environment: Environment,
        learner: Learner,
        trials: list[dict[str, float]],
        threads: int | None = None,
        tail_starts: float = 0.0,
    ):
        self.learner, self.trials = learner, trials
        self._starts: Starts = TailStarts(environment, tail_starts) if tail_starts else AsTheyCome(environment)
        one_by_one = jax.default_backend() == "cpu"
        self._per_part = 1 if one_by_one else len(trials)
        self._threads = min(threads or os.cpu_count() or 1, len(trials)) if one_by_one else 1
        self.at_once = self._per_part * self._threads
        self._start = jit_once(jax.vmap(partial(start, self._starts, learner)))
        self._programs: dict[int, Any] = {}
        self._parts: list[LoopState] = []

    def start(self) -> None:
        """Begin at update 0."""
        seeds = np.array([trial["seed"] for trial in self.trials], np.uint32)
        swept = {
            name: np.array([trial[name] for trial in self.trials], np.float32)
            for name in self.trials[0]
            if name != "seed"
        }
        self._parts = [self._start(*part) for part in self._dealt_out((seeds, swept))]

    def _dealt_out(self, of_trials: Any) -> list[Any]:
        """A tree with leading axis trials, in the parts that are computed at once."""
        if self._per_part == len(self.trials):
            return [of_trials]
        begins = range(0, len(self.trials), self._per_part)
        return [chosen(of_trials, slice(begin, begin + self._per_part)) for begin in begins]

    def advance(self, num_updates: int) -> tuple[list[dict[str, float]], list[EpisodeRecord]]:
        """Do some updates; per trial, the means of the learner's metrics and the episodes that ended."""
        if num_updates not in self._programs:

            def chunk(state: LoopState):
                return jax.lax.scan(partial(_update, self._starts, self.learner), state, None, length=num_updates)

            # Compiled here once, before the threads could each do so.
            self._programs[num_updates] = jit(jax.vmap(chunk), donate_argnums=0).lower(self._parts[0]).compile()
        program = self._programs[num_updates]
        with ThreadPoolExecutor(self._threads) as threads:
            results = list(threads.map(lambda part: jax.block_until_ready(program(part)), self._parts))
        self._parts = [state for state, _ in results]
        return self.figures([outputs for _, outputs in results])

    def figures(self, outputs: list[Any]) -> tuple[list[dict[str, float]], list[EpisodeRecord]]:
        """What `advance` tells, from the metrics and records of each part, leading axes: its trials, updates."""
        metrics: list[dict[str, float]] = []
        records: list[EpisodeRecord] = []
        for of_part in outputs:
            part_metrics, part_records = jax.device_get(of_part)
            for i in range(self._per_part):
                metrics.append({name: float(np.mean(values[i])) for name, values in part_metrics.items()})
                of_trial = methodcaller("of_trial", i)
                records.append(jax.tree.map(of_trial, part_records, is_leaf=lambda x: isinstance(x, _Defined)))
        return metrics, records

    def snapshot(self) -> LoopState:
        """What a checkpoint must hold for training to go on bit for bit; leading axis: trials."""
        return side_by_side(self._parts)

    def abstract(self) -> LoopState:
        """Shapes and dtypes of a snapshot, without computing anything."""
        count = len(self.trials)
        swept = {name: jax.ShapeDtypeStruct((count,), np.float32) for name in self.trials[0] if name != "seed"}
        seeds = jax.ShapeDtypeStruct((count,), np.uint32)
        batch, step = self._starts.shapes(self.learner.num_envs)

        def state(seed: jax.Array, swept: dict[str, jax.Array], batch: Any, step: TimeStep) -> LoopState:
            learner_key, _, key = start_keys(seed)
            return first_state(self.learner, self.learner.init(learner_key, **swept), batch, step, key)

        return jax.eval_shape(jax.vmap(state, in_axes=(0, 0, None, None)), seeds, swept, batch, step)

    def restore(self, snapshot: LoopState) -> None:
        """Go on from a snapshot."""
        self._parts = self._dealt_out(snapshot)

    def learner_states(self) -> Any:
        """The learner's states, leading axis: trials."""
        return side_by_side([part.learner for part in self._parts])
