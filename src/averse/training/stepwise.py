"""Training in compiled environments that are stepped from Python: for runs that take less time than their compilation.

What is computed is what `compiled` computes, with the same random numbers and checkpoints; last bits differ. The
environment's programs serve all methods (`environments.stepwise`). A method compiles how it acts and its update.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from averse.compilation import jit, jit_once, single_precision
from averse.environments.protocol import Environment
from averse.environments.stepwise import stepwise
from averse.learners.contract import Learner, Trajectory
from averse.training.compiled import CompiledGroup, LoopState, act, after_step, first_state, start_keys
from averse.training.trainee import EpisodeRecord, transition
from averse.training.trials import chosen


class StepwiseGroup(CompiledGroup):
    """A `CompiledGroup` on a CPU whose environments are stepped from Python."""

    def __init__(
        self,
        environment: Environment,
        learner: Learner,
        trials: list[dict[str, float]],
        threads: int | None = None,
    ):
        super().__init__(environment, learner, trials, threads)
        self._world = stepwise(environment)
        self._init = jit_once(partial(_init, learner))
        self._act = jit(partial(act, learner))
        self._after = jit(partial(after_step, learner))
        self._update = jit(learner.update, donate_argnums=0)

    def start(self) -> None:
        """Begin at update 0."""
        self._parts = [_with_axis(self._started(**trial)) for trial in self.trials]

    def _started(self, seed: float, **swept: float) -> LoopState:
        learner_state, environment_key, key = self._init(
            np.uint32(seed), {name: np.float32(value) for name, value in swept.items()}
        )
        batch, step = self._world.reset_batch(environment_key, self.learner.num_envs)
        return first_state(self.learner, learner_state, batch, step, key)

    def advance(self, num_updates: int) -> tuple[list[dict[str, float]], list[EpisodeRecord]]:
        """Do some updates; per trial, the means of the learner's metrics and the episodes that ended."""
        advanced = single_precision(partial(self._advanced, num_updates))  # threads do not inherit it
        first, *others = self._parts
        results = [advanced(first)]  # alone, so that everything is compiled once
        with ThreadPoolExecutor(self._threads) as threads:
            results += threads.map(advanced, others)
        self._parts = [part for part, _ in results]
        return self.figures([outputs for _, outputs in results])

    def _advanced(self, num_updates: int, part: LoopState) -> tuple[LoopState, Any]:
        """The only trial of a part after some updates; its metrics and records, leading axes [1, updates]."""
        state, told = chosen(part, 0), []
        for _ in range(num_updates):
            state, trajectory, record = self._rollout(state)
            learner_state, metrics = self._update(state.learner, trajectory)
            state = state._replace(learner=learner_state)
            told.append((metrics, record))
        return _with_axis(state), _with_axis(_stacked(told))

    def _rollout(self, state: LoopState) -> tuple[LoopState, Trajectory, EpisodeRecord]:
        lines, records, learner_state = [], [], state.learner
        for _ in range(self.learner.rollout_steps):
            key, actions, extras = self._act(state._replace(learner=learner_state, environment=()))
            actions = np.asarray(actions)
            batch, step = self._world.step_batch(state.environment, actions)
            lines.append(transition(state, actions, extras, state.memory, state.active, state.first, step))
            before = state._replace(learner=(), environment=())  # which no program needs to take and give back
            state, record = self._after(before, extras, (), step, key, None)
            state = state._replace(environment=batch)
            records.append(record)
        return state._replace(learner=learner_state), _stacked(lines), _stacked(records)


def _init(learner: Learner, seed: jax.Array, swept: dict[str, jax.Array]) -> tuple[Any, jax.Array, jax.Array]:
    """The learner's state, and the keys of the environments and of what follows; as `compiled.start` has them."""
    learner_key, environment_key, key = start_keys(seed)
    return learner.init(learner_key, **swept), environment_key, key


def _stacked(trees: list[Any]) -> Any:
    """One tree with a new leading axis."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)


def _with_axis(tree: Any) -> Any:
    """The tree with a leading axis of one trial."""

    def widened(leaf: Any) -> jax.Array:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # of which numpy knows nothing
        return leaf[None] if is_key else jnp.asarray(np.asarray(leaf)[None])

    return jax.tree.map(widened, tree)
