"""Batches of host environments in worker processes: stepped together, replaced when they fail.

A `WorkerPool` moves raw arrays between the parent and its workers (`workers.crew`) through shared memory, or those of
another machine (`workers.placement`). A
`HostVector` is made of a pool and an *encoder*, which turns the raw arrays of the whole batch into `TimeStep`s
(`workers.vector`, `workers.encoded`); what an encoder computes for all environments at once costs far less than in each
worker.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from averse.environments.workers.crew import Loss, Simulators
from averse.environments.workers.placement import start_crew
from averse.environments.workers.process import Assignment, Command, Factory, Layout, places, views_of
from averse.errors import AverseError
from averse.settings import Count, check_value

logger = logging.getLogger(__name__)

MAX_FAILURES = 3  # failures of one environment in a row, without a finished episode in between, that end the run


class Batch(NamedTuple):
    """What a pool answers: copies, B environments along the leading axis."""

    now: Mapping[str, np.ndarray]  # the state to act on, of the next episode where one has ended
    after: Mapping[str, np.ndarray]  # what the last action led to
    outcome: Mapping[str, np.ndarray]
    ended: np.ndarray  # bool [B]: an episode ended in this step
    failed: np.ndarray  # bool [B]: it was given up; `after` is the state before, `outcome` is zero
    idle: np.ndarray  # bool [B]: had no episode to play in this step; its rows mean nothing
    idle_now: np.ndarray  # bool [B]: has no episode to play next; its rows of `now` mean nothing


class WorkerPool:
    """`num_envs` environments in worker processes, each with a block of them that it steps in turn.

    An environment that raises an exception costs its own episode and is built anew. A process that dies or hangs costs
    the episodes of its block and is replaced. Where nothing fails, the answers do not depend on the number of
    processes, if environments in one process leave each other alone.

    factory: builds a `WorkerEnvironment` in the worker; picklable.
    layout: the arrays it exchanges.
    processes: among which the environments are divided; None for environments that can share a process: as many as
      there are cores. At most one for each environment is started, which is what a simulator needs that fills its
      process.
    import_main: whether workers import the user's script; needed only where the factory is defined in it.
    preload: modules that new workers should find already imported (where the system has a fork server).
    timeout: seconds after which an environment that does not answer is taken for hung.

    Raises AverseError for numbers below 1, and where an environment cannot start.
    """

    def __init__(
        self,
        factory: Factory,
        layout: Layout,
        num_envs: int,
        *,
        processes: int | None,
        import_main: bool = True,
        preload: Sequence[str] = (),
        timeout: float = 60.0,
    ):
        check_value("num_envs", Count, num_envs)
        check_value("processes", Count | None, processes)
        self.layout, self.num_envs = layout, num_envs
        self._crew = start_crew(Simulators(factory, layout, num_envs, import_main, tuple(preload), timeout), processes)
        self._views = self._crew.views
        self._rows = np.frombuffer(self._crew.memory, np.int32).reshape(num_envs, -1)
        flags = places(layout)[0]["flags"]
        self._column = {name: place.start // 4 for name, place in flags.items() if place.dtype == np.int32}
        self._episodes = [Assignment(())] * num_envs
        self._begun = np.zeros(num_envs, np.int64)  # episodes of these assignments, before the present step
        self._replacements = [0] * num_envs
        self._failures = [0] * num_envs  # in a row
        self._unfinished = False  # the last step or reset was interrupted

    @property
    def process_ids(self) -> list[int]:
        """The process id of each environment's worker, [B]."""
        return self._crew.process_ids

    def close(self) -> None:
        """End every worker. May be called again."""
        self._crew.close()

    def reset(self, episodes: Sequence[Assignment]) -> Batch:
        """Start over: one `Assignment` for each environment."""
        self._start_over(episodes)
        never = np.zeros(self.num_envs, bool)
        idle = self._views["flags"]["idle"] != 0
        now = self._copy("now")
        self._last = now
        return Batch(now, now, self._copy("outcome"), never, never, idle, idle)

    def step(self, actions: np.ndarray) -> Batch:
        """One step of every environment that has an episode to play.

        Raises AverseError for actions of another shape or type than the layout's: [B, ...]; and after a step or reset
        that was interrupted, until the next reset.
        """
        idle, failed = self._play(actions)
        flags, after, outcome = self._views["flags"], self._copy("after"), self._copy("outcome")
        ended = (flags["ended"] != 0) & ~idle | failed
        if failed.any():
            for name, array in after.items():
                array[failed] = self._last[name][failed]
            for array in outcome.values():
                array[failed] = 0
        now = {name: array.copy() for name, array in after.items()}
        if ended.any():
            for name, array in now.items():
                array[ended] = self._views["now"][name][ended]
        self._last = now
        return Batch(now, after, outcome, ended, failed, idle, flags["idle"] != 0)

    def reset_rows(self, episodes: Sequence[Assignment]) -> np.ndarray:
        """As `reset`, for those who read the workers' memory themselves: its rows, int32 [B, W], a copy.

        `process.places` says where everything is in a row. Its flags `ended` say where the state to act on is `now`
        (here everywhere) and not `after`.
        """
        self._start_over(episodes)
        self._last_rows = self._rows.copy()
        return self._last_rows

    def step_rows(self, actions: np.ndarray) -> np.ndarray:
        """As `step`, in rows (see `reset_rows`): their flags tell what `Batch` does."""
        idle, failed = self._play(actions)
        rows = self._rows.copy()
        if idle.any():
            rows[:, self._column["was_idle"]] = idle
            rows[idle, self._column["ended"]] = False
        if failed.any():
            rows[:, self._column["failed"]] = failed
            self._give_up(rows, failed)
        self._last_rows = rows
        return rows

    def flag(self, rows: np.ndarray, name: str) -> np.ndarray:
        """Where a flag of rows is set, bool [B]."""
        return rows[:, self._column[name]] != 0

    def fields(self, rows: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """The fields of rows by section, each [B, ...]: views."""
        return views_of(rows, self.layout, self.num_envs)

    def _give_up(self, rows: np.ndarray, failed: np.ndarray) -> None:
        """In the rows of episodes that failed: ended, in the state before, and nothing happened."""
        new, old = self.fields(rows), self.fields(self._last_rows)
        new["flags"]["ended"][failed] = True
        fresh = old["flags"]["ended"] != 0
        for name, array in new["after"].items():
            array[failed & fresh] = old["now"][name][failed & fresh]
            array[failed & ~fresh] = old["after"][name][failed & ~fresh]
        for array in new["outcome"].values():
            array[failed] = 0

    # ---- workers

    def _require_open(self) -> None:
        if self._crew.is_closed:
            raise AverseError("these environments are closed")

    def _copy(self, section: str) -> dict[str, np.ndarray]:
        return {name: view.copy() for name, view in self._views[section].items()}

    def _start_over(self, episodes: Sequence[Assignment]) -> None:
        self._require_open()
        self._unfinished = True
        for loss in self._crew.collect(sorted(self._crew.waiting)):  # an interrupted step may have left answers behind
            if loss.gone:
                self._crew.restart(loss.worker)
        self._crew.restart_unheard()
        self._episodes = list(episodes)
        self._begun[:] = 0
        self._replacements = [0] * self.num_envs
        self._failures = [0] * self.num_envs
        self._crew.expect(len(self._crew.blocks))
        for index, rows in enumerate(self._crew.blocks):
            self._crew.order_reset(index, {row: self._episodes[row] for row in rows})
        for loss in self._crew.collect(range(len(self._crew.blocks))):
            self._mend(loss)
        self._unfinished = False

    def _play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Let the workers do a step: which had no episode to play, and whose was given up, both bool [B]."""
        self._require_open()
        flags, shared = self._views["flags"], self._views["actions"]["actions"]
        actions = np.asarray(actions)
        if actions.shape != shared.shape or not np.can_cast(actions.dtype, shared.dtype, "same_kind"):
            raise AverseError(
                f"actions must be {shared.dtype} {list(shared.shape)}, not {actions.dtype} {list(actions.shape)}"
            )
        if self._unfinished:  # late answers would be taken for those to this step
            raise AverseError("the last step was interrupted; reset these environments before the next one")
        self._unfinished = True
        shared[...] = actions
        flags["command"][...] = Command.STEP
        idle = flags["idle"] != 0
        self._begun[:] = flags["episodes"]
        playing: Sequence[int] = range(len(self._crew.blocks))
        if idle.any():
            playing = [index for index, rows in enumerate(self._crew.blocks) if not idle[rows.start : rows.stop].all()]
        self._crew.expect(len(playing))
        for index in playing:
            self._crew.go(index)
        failed = np.zeros(self.num_envs, bool)
        for loss in self._crew.collect(playing):
            failed[self._mend(loss)] = True
            failed &= ~idle
        if any(self._failures):
            for row in np.flatnonzero((flags["ended"] != 0) & ~idle & ~failed).tolist():
                self._failures[row] = 0
        self._unfinished = False
        return idle, failed

    def _mend(self, loss: Loss) -> list[int]:
        """Put right what was lost, and let its rows go on with the episodes after those that failed: these rows."""
        index, rows = loss.worker, self._crew.blocks[loss.worker]
        given_up: set[int] = set()
        while True:
            lost = list(rows) if loss.gone else sorted(loss.reasons)
            given_up.update(lost)
            for row, reason in loss.reasons.items():
                self._failures[row] += 1
                if self._failures[row] >= MAX_FAILURES:
                    raise AverseError(f"environment {row} failed {MAX_FAILURES} times in a row: {reason}")
            logger.warning("%s; what failed is replaced and %s given up", _told(loss), _episodes_of(lost))
            # One that is alone in its process begins in a new one: what it may have spoilt there is gone, too.
            if loss.gone or len(rows) == 1:
                self._crew.restart(index)
            for row in lost:
                self._replacements[row] += 1
                old = self._episodes[row]
                seeds = None if old.seeds is None else old.seeds[self._begun[row] :]
                self._episodes[row] = Assignment(seeds, (*old.entropy[:2], self._replacements[row]))
                self._begun[row] = 0
            self._crew.order_reset(index, {row: self._episodes[row] for row in lost})
            again = self._crew.collect([index])
            if not again:
                return sorted(given_up)
            (loss,) = again


def _told(loss: Loss) -> str:
    """What happened, for the log."""
    named = ", ".join(map(str, loss.reasons))
    return f"environment {named}: {' '.join(dict.fromkeys(loss.reasons.values()))}"


def _episodes_of(rows: Sequence[int]) -> str:
    return "its episode" if len(rows) == 1 else f"the episodes of environments {', '.join(map(str, rows))}"
