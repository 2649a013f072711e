"""A `HostVector` of worker processes whose answers are stated by compiled code, alone or with whoever acts.

What Python does between two steps of a simulator can take longer than the simulator. An `Encoding` is therefore made
of pure functions of JAX. `EncodedVector.step` runs them as two small programs; a training loop or a player that chooses
the actions itself puts them into one program with its policy, so that a step of all environments costs one call.

Axes: B environments, A agents, W words of 4 bytes in a row of the workers' memory (`process.places`).
"""

from collections.abc import Hashable
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.actions import checked_actions
from averse.environments.protocol import ActionSpace, TimeStep
from averse.environments.workers.pool import Batch, WorkerPool
from averse.environments.workers.process import Layout, places
from averse.environments.workers.vector import assignments, endless_assignments, plain_metrics


class Encoding(Hashable, Protocol):
    """Turns rows of workers into `TimeStep`s: pure functions, compiled once for all equal encodings."""

    def blank(self, num_envs: int) -> Any:
        """The past of environments of which nothing is known, a pytree of arrays."""
        ...

    def advance(self, past: Any, rows: jax.Array) -> tuple[Any, TimeStep]:
        """The past after this, and the answer to a step; rows int32 [B, W].

        Where all environments were reset, everything is done (`TimeStep.done`), and beside that only `observations`,
        `global_state` and `available` mean anything. `info` has `worker_failed`. Environments that were idle: zero
        rewards, nothing ended, NaN.
        """
        ...

    def commands(self, past: Any, actions: jax.Array) -> jax.Array:
        """What the workers are told, as their layout has it, for what agents chose [B, A, ...]."""
        ...


def decoded(rows: Any, layout: Layout) -> dict[str, dict[str, jax.Array]]:
    """The fields of rows int32 [B, W] by section, each [B, ...]; of those of 4 bytes, and truths."""
    fields: dict[str, dict[str, jax.Array]] = {}
    for section, found in places(layout)[0].items():
        fields[section] = {}
        for name, (shape, dtype, start) in found.items():
            size = int(np.prod(shape))
            if dtype.itemsize == 4:
                words = rows[:, start // 4 : start // 4 + size].reshape(-1, *shape)
                fields[section][name] = jax.lax.bitcast_convert_type(words, dtype)
            elif dtype.kind == "b":
                words = rows[:, start // 4 : -(-(start + size) // 4)]
                octets = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(len(rows), -1)
                fields[section][name] = octets[:, start % 4 : start % 4 + size].reshape(-1, *shape) != 0
    return fields


class EncodedVector:
    """A `HostVector` of environments in worker processes, stated by an encoding.

    Args:
      space: what each agent chooses from.
    """

    def __init__(self, pool: WorkerPool, encoding: Encoding, space: ActionSpace):
        self.pool, self.num_envs, self.encoding, self._space = pool, pool.num_envs, encoding, space
        (self._num_agents, *_), _ = pool.layout.actions
        self._rows: np.ndarray | None = None

    # ---- for those who put the encoding into a program of their own

    def restart(self, seeds: np.ndarray) -> np.ndarray:
        """As `reset`, but the rows alone, int32 [B, W]."""
        self._rows = self.pool.reset_rows(assignments(seeds, self.num_envs))
        return self._rows

    def restart_endless(self, seed: int) -> np.ndarray:
        """As `reset_endless`, but the rows alone."""
        self._rows = self.pool.reset_rows(endless_assignments(seed, self.num_envs))
        return self._rows

    def exchange(self, commands: np.ndarray) -> np.ndarray:
        """One step of every environment, by commands of the encoding: the rows alone."""
        self._rows = self.pool.step_rows(commands)
        return self._rows

    @property
    def rows(self) -> np.ndarray:
        """What the workers said last, int32 [B, W]; see `WorkerPool.reset_rows`."""
        assert self._rows is not None, "nothing has been played yet"
        return self._rows

    @property
    def ended(self) -> np.ndarray:
        """In which environments an episode has just ended, or all were reset, bool [B]."""
        return self.pool.flag(self.rows, "ended")

    # ---- for all others

    def reset(self, seeds: np.ndarray) -> TimeStep:
        """Start over for evaluation with seeds uint32 [B, K]: see `HostVector.reset`."""
        return self._begin(self.restart(seeds))

    def reset_endless(self, seed: int) -> TimeStep:
        """Start over for training: see `HostVector.reset_endless`."""
        return self._begin(self.restart_endless(seed))

    def step(self, actions: np.ndarray) -> TimeStep:
        """One step of every environment: actions [B, A] or [B, A, size].

        Raises AverseError for actions outside the space, before anything is stepped.
        """
        actions = checked_actions(self._space, actions, (self.num_envs, self._num_agents))
        rows = self.exchange(np.asarray(_commands(self.encoding, self._past, actions)))
        return self._enter(self._past, rows)

    def _enter(self, past: Any, rows: np.ndarray) -> TimeStep:
        self._past, step, figures = _advance(self.encoding, past, rows)
        info = dict(zip(sorted(step.info), np.asarray(figures), strict=True))
        return jax.tree.map(np.asarray, step._replace(info=()))._replace(info=info)

    def _begin(self, rows: np.ndarray) -> TimeStep:
        step = self._enter(self.encoding.blank(self.num_envs), rows)
        return TimeStep.first(step.observations, step.global_state, step.available, step.info)

    @property
    def batch(self) -> Batch | None:
        """What the workers said last, for those who watch."""
        if self._rows is None:
            return None
        fields = self.pool.fields(self._rows)
        flags = {name: array != 0 for name, array in fields["flags"].items()}
        ended = flags["ended"]
        now = {
            name: np.where(ended.reshape(-1, *[1] * (fresh.ndim - 1)), fresh, fields["after"][name])
            for name, fresh in fields["now"].items()
        }
        return Batch(now, fields["after"], fields["outcome"], ended, flags["failed"], flags["was_idle"], flags["idle"])

    def close(self) -> None:
        """End every worker process."""
        self.pool.close()

    def __enter__(self) -> "EncodedVector":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class PlainEncoding:
    """The encoding of workers that speak in the terms of `TimeStep` themselves: a `PlainEncoder` in compiled code.

    Layout: as `PlainEncoder` has it.
    """

    def __init__(self, layout: Layout):
        self.layout = layout
        self._metrics = plain_metrics(layout)
        parts = (tuple(fields.items()) for fields in (layout.state, layout.outcome))
        self._key = (layout.actions, *parts)  # in their order, which says where they are

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlainEncoding) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def blank(self, num_envs: int) -> jax.Array:
        """See `Encoding`: which agents are done, bool [B, A]."""
        (shape, _) = self.layout.outcome["terminated"]
        return jnp.zeros((num_envs, *shape), bool)

    def commands(self, past: jax.Array, actions: jax.Array) -> jax.Array:
        """See `Encoding`: the same."""
        del past
        return actions.astype(self.layout.actions[1])

    def advance(self, past: jax.Array, rows: jax.Array) -> tuple[jax.Array, TimeStep]:
        """See `Encoding`."""
        told = decoded(rows, self.layout)
        flags = {name: value != 0 for name, value in told["flags"].items()}
        ended, failed, idle, idle_now = (flags[name] for name in ("ended", "failed", "was_idle", "idle"))
        after, outcome = told["after"], told["outcome"]
        now = {name: _where(ended, begun, after[name]) for name, begun in told["now"].items()}
        # of a failed episode the agents who were done before stay so
        terminated = _where(idle, False, _where(failed, past, outcome["terminated"]))
        # after a reset, too, everything has ended, whatever the outcome of the last step before it was
        truncated = outcome["truncated"] | failed | (ended & ~terminated.all(-1))
        figures = {**{name: outcome[name] for name in self._metrics}, "worker_failed": failed}
        step = TimeStep(
            observations=_where(idle_now, 0, now["observations"]),
            global_state=_where(idle_now, 0, now["global_state"]),
            available=_where(idle_now, True, now["available"]),
            rewards=_where(idle, 0, outcome["rewards"]),
            costs=_where(idle, 0, outcome["costs"]),
            terminated=terminated,
            truncated=truncated & ~idle,
            next_observations=_where(idle, 0, after["observations"]),
            next_global_state=_where(idle, 0, after["global_state"]),
            next_available=_where(idle, True, after["available"]),
            info={name: jnp.where(idle, jnp.nan, value.astype(jnp.float32)) for name, value in figures.items()},
        )
        return _where(ended, False, terminated), step


def _where(which: jax.Array, new: Any, old: jax.Array) -> jax.Array:
    """`new` in those environments, bool [B], else `old`; [B, ...]."""
    return jnp.where(which.reshape(-1, *[1] * (old.ndim - 1)), new, old)


# Compiled once for all vectors of an environment.


@partial(jax.jit, static_argnums=0)
def _advance(encoding: Encoding, past: Any, rows: jax.Array) -> tuple[Any, TimeStep, jax.Array]:
    """The past, the answer but for its `info`, and that in one piece: each array that is fetched costs microseconds."""
    past, step = encoding.advance(past, rows)
    names = sorted(step.info)  # as JAX orders the keys of what it returns
    return past, step._replace(info=dict.fromkeys(names, ())), jnp.stack([step.info[name] for name in names])


@partial(jax.jit, static_argnums=0)
def _commands(encoding: Encoding, past: Any, actions: jax.Array) -> jax.Array:
    return encoding.commands(past, actions)
