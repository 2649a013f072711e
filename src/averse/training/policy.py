"""A trained policy as a function, for your own code."""

import functools
from typing import Any

import jax
import numpy as np

from averse.compilation import single_precision
from averse.environments.protocol import Description, num_available
from averse.environments.registry import verified
from averse.errors import AverseError, shown
from averse.learners.combined import Mixture, likeliest, mixture
from averse.learners.contract import Learner
from averse.risk import Expectation
from averse.settings import Fraction, Seed, check_value


class Policy:
    """`policy(observations, available=None) -> actions`: what a user deploys.

    Observations are one moment [A, O] of all agents, a batch of moments [B, A, O], or, of a single agent, [O]. Actions
    have the same leading axes: int32 [B, A] for discrete actions, float32 [B, A, size] for continuous ones. A policy
    with memory remembers from call to call: `reset()` where episodes begin.

    Args:
      learner, state: what was learned, and by which method.
      environment: whose sizes the policy knows.
      greedy: the most likely action instead of a draw from the policy; always so where exploration is mere noise.
      random_seed: of the draws.

    Raises AverseError for what is no learner or environment, and for a `greedy` or `random_seed` of another type.
    """

    @single_precision
    def __init__(
        self, learner: Learner, state: Any, environment: Description, *, greedy: bool = False, random_seed: int = 0
    ):
        if not isinstance(learner, Learner):
            raise AverseError(f"learner must be a Learner (run.learner, averse.learner(...)), not {learner!r:.60}")
        environment = verified(environment)
        greedy, random_seed = check_value("greedy", bool, greedy), check_value("random_seed", Seed, random_seed)
        self.num_agents, self.observation_size = environment.num_agents, environment.observation_size
        self.global_state_size = environment.global_state_size
        self.num_available = num_available(environment.action_space)
        self._name, self._learner, self._state = environment.name, learner, state
        self._environment, self._greedy = environment, greedy or learner.explores_by_noise
        self._act = jax.jit(functools.partial(learner.act, greedy=self._greedy))
        self._probabilities = None if learner.action_probabilities is None else jax.jit(learner.action_probabilities)
        self._predict = None if learner.predict_returns is None else jax.jit(learner.predict_returns)
        self._key = jax.random.key(random_seed)
        self._memory: Any = None

    def __repr__(self) -> str:
        return f"Policy({self._name!r}, {self.num_agents} agents, observations of {self.observation_size})"

    def reset(self) -> None:
        """Forget everything, at the start of an episode."""
        self._memory = None

    @single_precision
    def mix(self, other: "Policy", alpha: float, *, random_seed: int = 0) -> "Policy":
        """The policy alpha pi + (1 - alpha) pi_other, of any two that see and choose the same.

        At every step each agent takes, with probability alpha, what this policy draws, else what the other one draws;
        of a greedy policy that is its likeliest action. `probabilities` are the mixture of both, where both tell some.
        Both see all that happens, and each keeps a memory of its own; neither of the two policies is changed. The
        mixture remembers nothing at first, and has no `value`.

        Args:
          other: with as many agents, observations and actions; of another method, too.
          alpha: in [0, 1]; at 1 and 0 the actions are those of one of both alone with this `random_seed`.
          random_seed: of the draws.

        Raises AverseError for what is no policy, for one that sees or chooses otherwise, and for an alpha that is not
        in [0, 1].
        """
        if not isinstance(other, Policy):
            raise AverseError(f"other must be a Policy (run.policy(...)), not {shown(other)}")
        alpha, random_seed = check_value("alpha", Fraction, alpha), check_value("random_seed", Seed, random_seed)
        for what in ("num_agents", "observation_size", "action_space"):
            own, theirs = getattr(self._environment, what), getattr(other._environment, what)
            if own != theirs:
                raise AverseError(
                    f"a policy of {self._name} cannot be mixed with one of {other._name}: {what} is {theirs}, not {own}"
                )
        learner = mixture(*(likeliest(p._learner) if p._greedy else p._learner for p in (self, other)))
        state = Mixture(self._state, other._state, jax.numpy.float32(alpha))
        return Policy(learner, state, self._environment, random_seed=random_seed)

    @single_precision
    def __call__(self, observations: Any, available: Any = None) -> np.ndarray:
        """Actions for observations [O] (of a single agent), [A, O] or [B, A, O].

        Args:
          available: which actions each agent may take, bool, of the observations' leading axes and n; all where not
            given.

        Raises AverseError for another shape, numbers that are not finite, a mask that allows an agent nothing, and a
        batch of another size than the one that the policy remembers.
        """
        seen, mask, lead = self._checked(observations, available)
        memory = self._remembered(len(seen))
        self._key, key = jax.random.split(self._key)
        actions, extras = self._act(self._state, seen, mask, key, memory=memory)
        self._memory = extras.get("memory", ())
        return _with_axes(actions, lead)

    @single_precision
    def probabilities(self, observations: Any, available: Any = None) -> np.ndarray:
        """What `policy(observations)` would draw from now: float32 [..., n], with the observations' leading axes.

        Changes nothing that is remembered. Raises AverseError as a call does, and where the method tells none.
        """
        if self._probabilities is None:
            raise AverseError("this policy tells no probabilities: its actions are continuous, or it acts by values")
        seen, mask, lead = self._checked(observations, available)
        return _with_axes(self._probabilities(self._state, seen, mask, memory=self._remembered(len(seen))), lead)

    @single_precision
    def value(self, observations: Any, global_state: Any, available: Any = None) -> np.ndarray:
        """The risk measure of the discounted return that the critic predicts, float32, an entry per agent.

        Args:
          global_state: what a centralised critic sees, [G], or [B, G] for a batch.

        Raises AverseError as a call does, and where the method's critic predicts no distribution.
        """
        if self._predict is None:
            raise AverseError("this policy's critic predicts no distribution of returns")
        seen, mask, lead = self._checked(observations, available)
        state = _numbers("global_state", global_state)
        if not np.isfinite(state).all():
            raise AverseError("global_state must be finite")
        state = state[None] if len(lead) < 2 and state.ndim == 1 else state
        if state.shape != (len(seen), self.global_state_size):
            expected = (*lead[:-1], self.global_state_size) if len(lead) > 1 else (self.global_state_size,)
            raise AverseError(f"global_state must have the shape {expected}, not {np.shape(global_state)}")
        predicted = self._predict(self._state, seen, state, mask, memory=self._remembered(len(seen)))
        return _with_axes(getattr(self._state, "measure", Expectation())(predicted), lead)

    def _checked(self, observations: Any, available: Any) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        """Observations [B, A, O], masks [B, A, n], and the leading axes that the answer is to have."""
        agents, size = self.num_agents, self.observation_size
        seen = _numbers("observations", observations)
        alone = seen.ndim == 1 and agents == 1
        shaped = seen[None] if alone else seen
        if shaped.ndim not in (2, 3) or shaped.shape[-2:] != (agents, size):
            one = f"[{size}], " if agents == 1 else ""
            raise AverseError(
                f"observations of {self._name} must have the shape {one}[{agents}, {size}] or [batch, {agents}, "
                f"{size}], not {list(seen.shape)}"
            )
        if not np.isfinite(seen).all():
            raise AverseError(f"observations must be finite; {int((~np.isfinite(seen)).sum())} numbers are not")
        lead = () if alone else shaped.shape[:-1]
        batch = shaped if shaped.ndim == 3 else shaped[None]
        if available is None:
            return batch, np.ones((*batch.shape[:2], self.num_available), bool), lead
        try:
            mask = np.asarray(available)
        except ValueError:  # rows of different lengths
            raise AverseError("available must be a bool array") from None
        if mask.dtype != bool or mask.shape != (*lead, self.num_available):
            raise AverseError(
                f"available must be a bool array of the shape {[*lead, self.num_available]}, not {mask.dtype} "
                f"{list(mask.shape)}"
            )
        if not mask.any(-1).all():
            raise AverseError("available must allow every agent at least one action")
        return batch, mask.reshape(*batch.shape[:2], self.num_available), lead

    def _remembered(self, count: int) -> Any:
        if self._memory is None:
            return self._learner.initial_memory(count)
        sizes = {leaf.shape[0] for leaf in jax.tree.leaves(self._memory)}
        if sizes - {count}:
            raise AverseError(
                f"the policy remembers a batch of {sizes.pop()} and was given one of {count}: call reset() where "
                "episodes begin"
            )
        return self._memory


def _numbers(name: str, given: Any) -> np.ndarray:
    """An array in single precision. Raises AverseError for what is none, complex numbers among it."""
    try:
        array = np.asarray(given)
        if array.dtype.kind not in "OUSMmc":  # objects, texts, times, complex numbers; bfloat16 has a letter of its own
            with np.errstate(over="ignore"):  # what is too large is infinite then, and refused
                return array.astype(np.float32)
    except (TypeError, ValueError):  # rows of different lengths
        pass
    raise AverseError(f"{name} must be numbers, not {type(given).__name__}")


def _with_axes(answer: Any, lead: tuple[int, ...]) -> np.ndarray:
    """[B, A, ...] with the leading axes of the question."""
    array = np.asarray(answer)
    return array.reshape((*lead, *array.shape[2:]))
