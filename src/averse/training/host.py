"""Training in host environments: actors step in worker processes while the learner stays one compiled program."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.compilation import is_hasty, jit_beside
from averse.environments.protocol import HostEnvironment, HostVector
from averse.errors import AverseError
from averse.learners.contract import Learner
from averse.training.host_rollouts import rollouts
from averse.training.trainee import EpisodeRecord


class HostSnapshot(NamedTuple):
    """What a checkpoint holds of a trial in a host environment."""

    learner: Any  # the learner's state, leading axis of one trial
    updates: Any  # int32 [], updates done


@lru_cache(maxsize=2)
def _update_of(learner: Learner, hasty: bool) -> Callable[..., Any]:
    """A learner's update, compiled once for all trials of a run."""
    del hasty  # of which compiled programs are
    return jit_beside(learner.update, donate_argnums=0)


class HostGroup:
    """One trial in a host environment: a `Trainee`.

    Episodes start afresh at each checkpoint (a simulator's inside cannot be saved exactly), in an interrupted and in an
    uninterrupted run alike, so that both end with the same parameters if the environment is deterministic by its seeds;
    unless it was stopped by a signal, which leaves a checkpoint of its own.

    Args:
      trials: a single one, its seed and the swept numbers.
      vector: the running environments; may be missing where nothing is to advance.
    """

    def __init__(
        self,
        environment: HostEnvironment,
        learner: Learner,
        trials: list[dict[str, float]],
        vector: HostVector | None = None,
    ):
        if len(trials) != 1:
            raise AverseError(f"a host environment trains one trial at a time, not {len(trials)}")
        self.environment, self.learner, self.trials, self.vector = environment, learner, trials, vector
        self.at_once = 1
        self._rollouts = None if vector is None else rollouts(environment, learner, vector)
        self._update = _update_of(learner, is_hasty())
        self._key = jax.random.key(int(trials[0]["seed"]))
        self.state: Any
        self.updates = 0
        self._begun = False

    def start(self) -> None:
        """Begin at update 0."""
        swept = {name: jnp.float32(value) for name, value in self.trials[0].items() if name != "seed"}
        self.state = self.learner.init(jax.random.fold_in(self._key, 0), **swept)
        self.updates = 0
        self._begun = False

    def advance(self, num_updates: int) -> tuple[list[dict[str, float]], list[EpisodeRecord]]:
        """Do some updates; the means of the learner's metrics and the episodes that ended."""
        if self._rollouts is None:
            raise AverseError("there is no running environment to train in")
        if not self._begun:
            seed = np.random.SeedSequence([int(self.trials[0]["seed"]), self.updates]).generate_state(1)[0]
            self._rollouts.begin(int(seed))
            self._begun = True
        history, records = [], []
        for _ in range(num_updates):
            trajectory, record = self._rollouts.play(self.state, self._key, self.updates)
            self.state, metrics = self._update(self.state, trajectory)
            self.updates += 1
            history.append(metrics)
            records.append(record)
        history = jax.device_get(history)
        means = {name: float(np.mean([metrics[name] for metrics in history])) for name in history[0]}
        return [means], [jax.tree.map(lambda *x: np.concatenate([np.ravel(y) for y in x]), *records)]

    def snapshot(self) -> HostSnapshot:
        """What a checkpoint must hold; running episodes are given up here, whether or not the run is then killed."""
        self._begun = False
        return HostSnapshot(self.learner_states(), jnp.int32(self.updates))

    def abstract(self) -> HostSnapshot:
        """Shapes and dtypes of a snapshot, without computing anything."""
        swept = {name: jax.ShapeDtypeStruct((1,), np.float32) for name in self.trials[0] if name != "seed"}
        state = jax.eval_shape(jax.vmap(lambda numbers: self.learner.init(self._key, **numbers), axis_size=1), swept)
        return HostSnapshot(state, jax.ShapeDtypeStruct((), np.int32))

    def restore(self, snapshot: HostSnapshot) -> None:
        """Go on from a snapshot."""
        self.state = jax.tree.map(lambda x: x[0], snapshot.learner)
        self.updates = int(snapshot.updates)
        self._begun = False

    def learner_states(self) -> Any:
        """The learner's state with a leading axis of one trial."""
        return jax.tree.map(lambda x: x[None], self.state)
