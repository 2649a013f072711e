"""A `HostVector` of worker processes: a pool that steps them and an encoder that states what they answer."""

from typing import Protocol

import numpy as np

from averse.environments.actions import checked_actions
from averse.environments.protocol import ActionSpace, TimeStep
from averse.environments.workers.pool import Batch, WorkerPool
from averse.environments.workers.process import Assignment, Layout
from averse.errors import AverseError


def assignments(seeds: np.ndarray, num_envs: int) -> list[Assignment]:
    """What workers play for `HostVector.reset`. Raises AverseError for seeds that are none, or not [B, K]."""
    seeds = np.asarray(seeds)
    if seeds.ndim != 2 or len(seeds) != num_envs or seeds.dtype.kind not in "iu" or (seeds < 0).any():
        raise AverseError(f"seeds must be whole numbers >= 0 of shape [{num_envs}, K], not {seeds.shape}")
    return [Assignment(tuple(row)) for row in seeds.tolist()]


def endless_assignments(seed: int, num_envs: int) -> list[Assignment]:
    """What workers play for `HostVector.reset_endless`. Raises AverseError for a negative seed."""
    if seed < 0:
        raise AverseError(f"seed must be >= 0, not {seed}")
    return [Assignment(None, (int(seed), index)) for index in range(num_envs)]


class Encoder(Protocol):
    """Turns a pool's batches into `TimeStep`s; may remember what it needs from one to the next."""

    def begin(self, batch: Batch) -> TimeStep:
        """The answer to a reset: rewards are zero, nothing has ended."""
        ...

    def commands(self, actions: np.ndarray) -> np.ndarray:
        """What the workers are told, as their layout has it, for what agents chose [B, A, ...]."""
        ...

    def advance(self, batch: Batch) -> TimeStep:
        """The answer to a step. `info` has `worker_failed`; rows that were idle: zero rewards, nothing ended, NaN."""
        ...


class WorkerVector:
    """A `HostVector` of environments in worker processes.

    Args:
      space: what each agent chooses from.
    """

    def __init__(self, pool: WorkerPool, encoder: Encoder, space: ActionSpace):
        self.pool, self.num_envs, self._encoder, self._space = pool, pool.num_envs, encoder, space
        (self._num_agents, *_), _ = pool.layout.actions
        self.batch: Batch | None = None  # what the workers said last, for those who watch

    def reset(self, seeds: np.ndarray) -> TimeStep:
        """Start over for evaluation with seeds uint32 [B, K]: see `HostVector.reset`."""
        self.batch = self.pool.reset(assignments(seeds, self.num_envs))
        return self._encoder.begin(self.batch)

    def reset_endless(self, seed: int) -> TimeStep:
        """Start over for training: see `HostVector.reset_endless`."""
        self.batch = self.pool.reset(endless_assignments(seed, self.num_envs))
        return self._encoder.begin(self.batch)

    def step(self, actions: np.ndarray) -> TimeStep:
        """One step of every environment: actions [B, A] or [B, A, size].

        Raises AverseError for actions outside the space, before anything is stepped.
        """
        actions = checked_actions(self._space, actions, (self.num_envs, self._num_agents))
        self.batch = self.pool.step(self._encoder.commands(actions))
        return self._encoder.advance(self.batch)

    def close(self) -> None:
        """End every worker process."""
        self.pool.close()

    def __enter__(self) -> "WorkerVector":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def plain_metrics(layout: Layout) -> list[str]:
    """The metrics in the layout of workers that speak in the terms of `TimeStep`."""
    return [name for name in layout.outcome if name not in ("rewards", "costs", "terminated", "truncated")]


class PlainEncoder:
    """For workers that speak in the terms of `TimeStep` themselves.

    Layout: state fields `observations` [A, O], `global_state` [G], `available` [A, n]; outcome fields `rewards` [A],
    `costs` [A], `terminated` [A], `truncated` [], and one float32 [] per metric.
    """

    def __init__(self, layout: Layout):
        self._metrics = plain_metrics(layout)

    def begin(self, batch: Batch) -> TimeStep:
        """See `Encoder`."""
        self._terminated = np.zeros_like(batch.outcome["terminated"])
        now, idle = batch.now, batch.idle
        return TimeStep.first(
            _blank(now["observations"], idle),
            _blank(now["global_state"], idle),
            now["available"] | idle[:, None, None],
            [*self._metrics, "worker_failed"],
        )

    def commands(self, actions: np.ndarray) -> np.ndarray:
        """See `Encoder`: the same."""
        return actions

    def advance(self, batch: Batch) -> TimeStep:
        """See `Encoder`."""
        outcome, idle, failed = batch.outcome, batch.idle, batch.failed
        # of a failed episode the agents who were done before stay so
        terminated = np.where(failed[:, None], self._terminated, outcome["terminated"]) & ~idle[:, None]
        self._terminated = terminated & ~batch.ended[:, None]
        info = {name: np.where(idle, np.nan, outcome[name]).astype(np.float32) for name in self._metrics}
        info["worker_failed"] = np.where(idle, np.nan, failed).astype(np.float32)
        now, after = batch.now, batch.after
        return TimeStep(
            observations=_blank(now["observations"], batch.idle_now),
            global_state=_blank(now["global_state"], batch.idle_now),
            available=now["available"] | batch.idle_now[:, None, None],
            rewards=_blank(outcome["rewards"], idle),
            costs=_blank(outcome["costs"], idle),
            terminated=terminated,
            truncated=(outcome["truncated"] | failed) & ~idle,
            next_observations=_blank(after["observations"], idle),
            next_global_state=_blank(after["global_state"], idle),
            next_available=after["available"] | idle[:, None, None],
            info=info,
        )


def _blank(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    array[rows] = 0
    return array
