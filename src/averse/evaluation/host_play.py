"""Playing episodes in host environments: one loop for learned policies, for scripts, and for those who watch.

Every episode is a deterministic function of its seed and of who acts, whatever the number of workers or the other
episodes of the batch; see `play`, which does the same in compiled environments.

Axes: B environments side by side, E episodes, A agents.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from averse.arguments import function, instance
from averse.compilation import is_hasty, jit_beside
from averse.environments.batch import where_done
from averse.environments.protocol import HostVector, TimeStep
from averse.environments.workers.encoded import EncodedVector, Encoding
from averse.errors import AverseError
from averse.evaluation.accounts import SALT, Played, Probe, single
from averse.evaluation.arguments import episode_seeds
from averse.evaluation.play import probe_times
from averse.learners.contract import Learner
from averse.settings import Count, Fraction, check_value


class Actor(NamedTuple):
    """What acts in host environments: a learned policy (`learned`) or a script (`scripted`)."""

    act: Callable[[TimeStep, np.ndarray, np.ndarray, Any], tuple[np.ndarray, Any]]
    """`act(step, seeds, times, memory) -> (actions [B, A, ...], memory)`; seeds uint32 [B] are those of the running
    episodes, times int32 [B] their steps so far."""
    initial_memory: Callable[[int], Any] = lambda num_envs: ()
    """`initial_memory(num_envs)`: the memory at the start of an episode, leaves [B, ...]; () where there is none."""
    turn: Callable[..., "Turn"] | None = None
    """`turn(encoding, past, rows, seeds, times, memory) -> Turn`: what `act` does, in one compiled call with what
    states the workers' rows (`workers.encoded`); None where `act` alone must do."""


class Turn(NamedTuple):
    """What a step of an `EncodedVector` led to, and what is done next. Arrays of the device."""

    past: Any  # the encoding's
    step: TimeStep
    memory: Any  # before acting, blank where an episode begins
    actions: jax.Array
    remembered: Any  # after acting
    commands: jax.Array  # for the workers


def learned(learner: Learner, greedy: bool) -> Callable[[Any], Actor]:
    """A function from a learner's state to the actor it is; compiled once for all states of a learner.

    Args:
      greedy: the most likely actions instead of draws.

    Raises AverseError for what is no learner, and for a `greedy` that is neither true nor false.
    """
    instance("learner", Learner, learner, "a learner (run.learner, averse.learner(...))")
    check_value("greedy", bool, greedy)

    def one(policy, observations, available, seed, time, memory):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(SALT), seed), time)
        alone = jax.tree.map(lambda x: x[None], (observations, available, memory))
        actions, extras = learner.act(policy, *alone[:2], key, memory=alone[2], greedy=greedy)
        return actions[0], single(extras.get("memory", ()))

    many = jax.vmap(one, in_axes=(None, 0, 0, 0, 0, 0))
    batch = jit_beside(many)

    @cache
    def turns(encoding: Encoding) -> Callable[..., Turn]:
        @jax.jit
        def turn(policy, past, rows, seeds, times, memory):
            past, step = encoding.advance(past, rows)
            memory = where_done(step.done, learner.initial_memory(len(rows)), memory)
            actions, remembered = many(policy, step.observations, step.available, seeds, times, memory)
            return Turn(past, step, memory, actions, remembered, encoding.commands(past, actions))

        return turn

    def bind(policy: Any) -> Actor:
        def act(step: TimeStep, seeds: np.ndarray, times: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
            actions, memory = batch(policy, step.observations, step.available, seeds, times, memory)
            return np.asarray(actions), memory

        return Actor(act, learner.initial_memory, lambda encoding, *rest: turns(encoding)(policy, *rest))

    return bind


def scripted(script: Callable[[TimeStep], np.ndarray]) -> Actor:
    """The actor that does what a function from a `TimeStep` to actions [B, A, ...] says.

    Raises AverseError for what is no function.
    """
    function("script", "from a TimeStep to actions [B, A, ...]", script)
    return Actor(lambda step, seeds, times, memory: (script(step), memory))


class Moment(NamedTuple):
    """What an observer is shown: once at the start, then after every step of the B environments."""

    seeds: np.ndarray  # uint32 [B], of the episodes that the actions belonged to
    times: np.ndarray  # int32 [B], steps of these episodes so far
    actions: np.ndarray | None  # [B, A, ...]; None at the start
    step: TimeStep  # what followed; where an episode has ended, it already shows the next one


Observer = Callable[[Moment], None]


def _nobody(moment: Moment) -> None:
    """The observer where there is none."""


def play_host(
    vector: HostVector,
    actor: Actor,
    seeds: Sequence[int] | np.ndarray,
    *,
    horizon: int,
    gamma: float,
    on_progress: Callable[[int], None] = lambda episodes: None,
    observer: Observer = _nobody,
) -> Played:
    """Play one episode per seed, spread over the vector's environments.

    Args:
      seeds: [E], in any order; the episodes come back in it.
      horizon: of the environment, in steps.
      gamma: discount of the returns from the start, and of those that the probes tell.
      on_progress: called after every step with the number of episodes that ended in it.
      observer: called at the start and after every step, with all that happened.

    Raises AverseError for other kinds of arguments, for seeds that are none or not in [0, 2^32), and for numbers out of
    range.
    """
    if not all(hasattr(vector, name) for name in ("num_envs", "reset", "step")):
        raise AverseError(f"vector must be a started batch of environments (environment.vector(8)), not {vector!r:.80}")
    instance("actor", Actor, actor, "an Actor (learned(...)(state), scripted(...))")
    check_value("horizon", Count, horizon)
    check_value("gamma", Fraction, gamma)
    function("on_progress", "of the number of episodes that ended", on_progress)
    function("observer", "of a Moment", observer)
    ledger = _Ledger(episode_seeds("seeds", seeds), vector.num_envs, horizon, gamma)
    blank = actor.initial_memory(vector.num_envs)
    game: _Encoded | _Stepwise
    if isinstance(vector, EncodedVector) and actor.turn is not None and not is_hasty():
        game = _Encoded(vector, actor.turn, blank)
    else:
        game = _Stepwise(vector, actor, blank)
    step, memory = game.begin(ledger)
    ledger.open(step, blank)
    observer(Moment(ledger.seeds, ledger.time, None, step))
    while not ledger.complete:
        seeds, times = ledger.seeds, ledger.time
        ledger.probe(step, memory)
        actions, step, memory = game.play(ledger)
        if observer is not _nobody:
            observer(Moment(seeds, times + 1, np.asarray(actions), jax.tree.map(np.asarray, step)))
        on_progress(int(ledger.enter(step).sum()))
    return ledger.played()


class _Stepwise:
    """Any vector, through its `step`."""

    def __init__(self, vector: HostVector, actor: Actor, blank: Any):
        self._vector, self._actor, self._blank = vector, actor, blank

    def begin(self, ledger: "_Ledger") -> tuple[TimeStep, Any]:
        """What is seen at the start, and the memory."""
        self._step, self._memory = self._vector.reset(ledger.schedule), self._blank
        return self._step, self._memory

    def play(self, ledger: "_Ledger") -> tuple[Any, TimeStep, Any]:
        """One step: the actions, what they led to, and the memory before the next ones."""
        actions, memory = self._actor.act(self._step, ledger.seeds, ledger.time, self._memory)
        self._step = self._vector.step(actions)
        # An idle environment has nothing to remember, so that its last memory may as well stay.
        self._memory = jax.tree.map(partial(_where_done, np.asarray(self._step.done)), self._blank, memory)
        return actions, self._step, self._memory


class _Encoded:
    """An encoded vector, together with a learned policy."""

    def __init__(self, vector: EncodedVector, turn: Callable[..., Turn], blank: Any):
        self._vector, self._act, self._blank = vector, partial(turn, vector.encoding), blank

    def begin(self, ledger: "_Ledger") -> tuple[TimeStep, Any]:
        """See `_Stepwise`."""
        rows, past = self._vector.restart(ledger.schedule), self._vector.encoding.blank(self._vector.num_envs)
        self._turn = self._act(past, rows, ledger.seeds, ledger.time, self._blank)
        step = self._turn.step
        nothing = TimeStep.first(step.observations, step.global_state, step.available, step.info)
        return jax.tree.map(np.asarray, nothing), self._turn.memory

    def play(self, ledger: "_Ledger") -> tuple[Any, TimeStep, Any]:
        """See `_Stepwise`."""
        old = self._turn
        rows = self._vector.exchange(np.asarray(old.commands))
        seeds, times = ledger.after(self._vector.ended)
        self._turn = self._act(old.past, rows, seeds, times, old.remembered)
        step = self._turn.step
        # What is needed at every step; the rest is fetched where it is looked at.
        rewards, terminated, truncated = map(np.asarray, (step.rewards, step.terminated, step.truncated))
        step = step._replace(rewards=rewards, terminated=terminated, truncated=truncated)
        return old.actions, step, self._turn.memory


def _where_done(done: np.ndarray, fresh: Any, old: Any) -> np.ndarray:
    return np.where(done.reshape(-1, *[1] * (np.ndim(old) - 1)), fresh, old)


class _Ledger:
    """The accounts of episodes while they are played: who plays what, returns, probes."""

    def __init__(self, seeds: np.ndarray, num_envs: int, horizon: int, gamma: float):
        self._count, self._gamma = len(seeds), gamma
        self._rounds = -(-len(seeds) // num_envs)
        # Column-major, so that the seeds that fill up the last round are the last ones and can be cut off.
        self.schedule = np.resize(seeds, self._rounds * num_envs).reshape(self._rounds, num_envs).T.copy()
        self._probe_times = probe_times(self.schedule.ravel(), horizon).reshape(self.schedule.shape)
        self._rows = np.arange(num_envs)
        self._episode = np.zeros(num_envs, np.int64)  # of the running one, its index into the schedule
        self._probes: list[list[Any]] = [[None] * self._rounds for _ in self._rows]
        self._finished: dict[tuple[int, int], Played] = {}
        self.time = np.zeros(num_envs, np.int32)

    def open(self, step: TimeStep, blank: Any) -> None:
        """Begin, with the answer to the reset and the memory of those who remember nothing yet."""
        shape = np.shape(step.rewards)
        self._blank = blank
        self._active = np.ones(shape, bool)
        self._returns, self._discounted = np.zeros(shape), np.zeros(shape)
        self._since_probe, self._weight = np.zeros(shape), np.ones(len(self._rows))

    @property
    def complete(self) -> bool:
        return len(self._finished) == self.schedule.size

    @property
    def seeds(self) -> np.ndarray:
        """Of the running episodes, uint32 [B]; where there are no more, of the last one."""
        return self.schedule[self._rows, self._index]

    def after(self, ended: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`seeds` and `time` after a step in which episodes ended, bool [B], before it is entered."""
        following = np.minimum(self._episode + ended, self._rounds - 1)
        return self.schedule[self._rows, following], np.where(ended, 0, self.time + 1).astype(np.int32)

    @property
    def _index(self) -> np.ndarray:
        return np.minimum(self._episode, self._rounds - 1)

    def probe(self, step: TimeStep, memory: Any) -> None:
        """Keep what is seen and remembered now in the episodes whose probe is due."""
        due = (self._episode < self._rounds) & (self.time == self._probe_times[self._rows, self._index])
        now = (step.observations, step.global_state, step.available, self._active, memory)
        if not due.any():
            return
        now = jax.tree.map(np.asarray, now)
        for b in np.flatnonzero(due):
            self._probes[b][self._episode[b]] = jax.tree.map(lambda x: np.array(x[b]), now)  # noqa: B023

    def enter(self, step: TimeStep) -> np.ndarray:
        """Account for a step; which episodes ended in it, bool [B]."""
        playing = self._episode < self._rounds
        counted = playing & (self.time >= self._probe_times[self._rows, self._index])
        self._since_probe += np.where(counted, self._weight, 0.0)[:, None] * step.rewards
        self._weight = np.where(counted, self._weight * self._gamma, 1.0)
        self._returns += step.rewards
        self._discounted += (self._gamma**self.time)[:, None] * step.rewards
        self.time = self.time + 1
        done = np.asarray(step.done) & playing
        if done.any():
            step = jax.tree.map(np.asarray, step)
        for row in np.flatnonzero(done).tolist():
            self._finish(row, step)
        self._active = ~np.asarray(step.terminated) | done[:, None]
        self._episode += done
        self.time = np.where(done, 0, self.time).astype(np.int32)
        self._returns = np.where(done[:, None], 0.0, self._returns)
        self._discounted = np.where(done[:, None], 0.0, self._discounted)
        self._since_probe = np.where(done[:, None], 0.0, self._since_probe)
        self._weight = np.where(done, 1.0, self._weight)
        return done

    def _finish(self, row: int, step: TimeStep) -> None:
        """The figures of the episode that has just ended in an environment."""
        k = int(self._episode[row])
        info = {name: float(values[row]) for name, values in step.info.items()}
        seen = self._probes[row][k] or self._unseen(row, step)
        earned = self._since_probe[row].astype(np.float32), np.float32(self._weight[row])
        self._finished[row, k] = Played(
            seeds=self.schedule[row, k],
            returns=self._returns[row].copy(),
            discounted=self._discounted[row].astype(np.float32),
            length=self.time[row],
            terminated=np.array(step.terminated[row]),
            truncated=bool(step.truncated[row]),
            failed=info.get("worker_failed", 0.0) > 0.0,
            info=info,
            probe=Probe._make([self._probe_times[row, k], *seen, *earned]),
        )

    def _unseen(self, row: int, step: TimeStep) -> list[Any]:
        """In place of what the probe would have seen, had the episode lasted so long."""
        never = [np.zeros_like(x[row]) for x in (step.observations, step.global_state)]
        blank = jax.tree.map(lambda x: np.array(x[row]), self._blank)
        return [*never, np.ones_like(step.available[row]), np.zeros(self._active.shape[1], bool), blank]

    def played(self) -> Played:
        """All episodes, in the order of their seeds."""
        num_envs = len(self._rows)
        ordered = [self._finished[b, k] for k in range(self._rounds) for b in range(num_envs)][: self._count]
        return jax.tree.map(lambda *x: np.stack(x), *ordered)
