"""Training in host environments: actors step in worker processes while the learner stays one compiled program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.batch import where_done
from averse.environments.protocol import HostEnvironment, HostVector, TimeStep
from averse.errors import AverseError
from averse.learners.contract import Learner, Trajectory
from averse.training.trainee import EpisodeRecord


class HostSnapshot(NamedTuple):
    """What a checkpoint holds of a trial in a host environment."""

    learner: Any  # the learner's state, leading axis of one trial
    updates: Any  # int32 [], updates done


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
        self._act = jax.jit(self._act_at)
        self._update = jax.jit(learner.update, donate_argnums=0)
        self._key = jax.random.key(int(trials[0]["seed"]))
        self.state: Any
        self.updates = 0
        self._step: TimeStep | None = None

    def _act_at(self, state: Any, key: jax.Array, update: int, time: int, observations, available, memory, first):
        """Actions, extras and the memory before acting, which is blank where an episode begins."""
        # Keys are derived in here, as each operation outside a compiled function costs as much as the policy itself.
        key = jax.random.fold_in(jax.random.fold_in(key, update + 1), time)
        memory = where_done(first, self.learner.initial_memory(self.learner.num_envs), memory)
        return *self.learner.act(state, observations, available, key, memory=memory), memory

    def start(self) -> None:
        """Begin at update 0."""
        swept = {name: jnp.float32(value) for name, value in self.trials[0].items() if name != "seed"}
        self.state = self.learner.init(jax.random.fold_in(self._key, 0), **swept)
        self.updates = 0
        self._step = None

    def _begin_episodes(self) -> None:
        if self.vector is None:
            raise AverseError("there is no running environment to train in")
        seed = np.random.SeedSequence([int(self.trials[0]["seed"]), self.updates]).generate_state(1)[0]
        self._step = self.vector.reset_endless(int(seed))
        num_envs, num_agents = self.learner.num_envs, self.environment.num_agents
        self._carry = self.learner.initial_memory(num_envs)
        self._active: Any = np.ones((num_envs, num_agents), bool)
        self._first: Any = np.ones(num_envs, bool)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs)

    def advance(self, num_updates: int) -> tuple[list[dict[str, float]], list[EpisodeRecord]]:
        """Do some updates; the means of the learner's metrics and the episodes that ended."""
        if self._step is None:
            self._begin_episodes()
        history, records = [], []
        for _ in range(num_updates):
            trajectory, record = self._rollout()
            self.state, metrics = self._update(self.state, trajectory)
            self.updates += 1
            history.append(metrics)
            records.append(record)
        history = jax.device_get(history)
        means = {name: float(np.mean([metrics[name] for metrics in history])) for name in history[0]}
        return [means], [jax.tree.map(lambda *x: np.concatenate([np.ravel(y) for y in x]), *records)]

    def _rollout(self) -> tuple[Trajectory, EpisodeRecord]:
        """T steps of all environments, and the episodes that ended on the way."""
        steps, ended = [], []
        for t in range(self.learner.rollout_steps):
            before = self._step
            assert before is not None
            assert self.vector is not None
            actions, extras, memory = self._act(
                self.state, self._key, self.updates, t, before.observations, before.available, self._carry, self._first
            )
            after = self.vector.step(np.asarray(actions))
            done = np.asarray(after.done)
            self._returns += after.rewards.mean(-1)
            self._lengths += 1
            # Numpy arrays until the update, which takes the whole trajectory to the device at once.
            transition = Trajectory(
                observations=before.observations,
                global_state=before.global_state,
                available=before.available,
                actions=actions,
                extras=extras,
                rewards=after.rewards,
                costs=after.costs,
                terminated=after.terminated,
                truncated=after.truncated,
                active=self._active,
                first=self._first,
                next_observations=after.next_observations,
                next_global_state=after.next_global_state,
                next_available=after.next_available,
                memory=memory,
            )
            steps.append(transition)
            info = {name: np.where(done, value, np.nan) for name, value in after.info.items()}
            ended.append(
                EpisodeRecord(np.where(done, self._returns, np.nan), np.where(done, self._lengths, np.nan), info)
            )
            self._active = ~after.terminated | done[:, None]
            self._first = done
            self._carry = extras.get("memory", ())
            self._returns = np.where(done, 0.0, self._returns)
            self._lengths = np.where(done, 0, self._lengths)
            self._step = after
        stack = lambda *leaves: np.stack(leaves)  # noqa: E731
        return jax.tree.map(stack, *steps), jax.tree.map(stack, *ended)

    def snapshot(self) -> HostSnapshot:
        """What a checkpoint must hold; running episodes are given up here, whether or not the run is then killed."""
        self._step = None
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
        self._step = None

    def learner_states(self) -> Any:
        """The learner's state with a leading axis of one trial."""
        return jax.tree.map(lambda x: x[None], self.state)
