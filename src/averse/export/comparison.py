"""Whether an exported policy answers as the policy itself does, on random observations.

Axes: B moments side by side, A agents, n actions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from averse.environments.protocol import ActionSpace, Box, Description, num_available
from averse.environments.sets import SetLayout, observation_layout
from averse.learners.contract import Learner
from averse.risk import Expectation

MOMENTS = 64
STEPS = 4  # one after another, as memory has it


class Answers(Protocol):
    """An exported policy, `reader.PortablePolicy` or `session.Session`."""

    def __call__(self, observations: np.ndarray, available: np.ndarray) -> np.ndarray:
        """Actions, [B, A, ...]."""
        ...

    def distribution(self, observations: np.ndarray, available: np.ndarray) -> dict[str, np.ndarray]:
        """What the actions are chosen from, by name, [B, A, ...]."""
        ...

    def value(
        self, observations: np.ndarray, global_state: np.ndarray | None = None, available: np.ndarray | None = None
    ) -> np.ndarray:
        """The critic's risk value, [B, A]."""
        ...


class Exchange(NamedTuple):
    """What was asked of a policy, and what it answered."""

    observations: np.ndarray  # float32 [B, A, O]
    available: np.ndarray  # bool [B, A, n]
    global_state: np.ndarray  # float32 [B, G]
    answers: dict[str, Any]  # by name, [B, A, ...]; see `exchanges`


def exchanges(
    learner: Learner,
    state: Any,
    environment: Description,
    *,
    moments: int = MOMENTS,
    steps: int = STEPS,
    seed: int = 0,
) -> list[Exchange]:
    """Random questions to a policy, one after another, and its answers.

    These are `actions`, drawn; their `log_prob`, where it is told; `probabilities`, where it tells them, else `mode`,
    the likeliest or best actions; and `value`, where it predicts returns.

    Args:
      moments: B, how many are asked for side by side.
      steps: how many are asked for one after another.
      seed: of the questions.
    """
    random, key, memory = np.random.default_rng(seed), jax.random.key(seed), learner.initial_memory(moments)

    @jax.jit
    def answered(seen: Any, mask: Any, whole: Any, key: Any, memory: Any) -> tuple[dict[str, Any], Any]:
        actions, extras = learner.act(state, seen, mask, key, memory=memory, greedy=learner.explores_by_noise)
        answers = {"actions": actions}
        if "log_prob" in extras:
            answers["log_prob"] = extras["log_prob"]
        if learner.action_probabilities is None:
            answers["mode"], _ = learner.act(state, seen, mask, key, memory=memory, greedy=True)
        if learner.action_probabilities is not None:
            answers["probabilities"] = learner.action_probabilities(state, seen, mask, memory=memory)
        if learner.predict_returns is not None:
            predicted = learner.predict_returns(state, seen, whole, mask, memory=memory)
            answers["value"] = getattr(state, "measure", Expectation())(predicted)
        return answers, extras.get("memory", ())

    found = []
    for _ in range(steps):
        seen, mask, whole = questions(random, environment, moments)
        key, draw = jax.random.split(key)
        answers, memory = answered(seen, mask, whole, draw, memory)
        found.append(Exchange(seen, mask, whole, jax.tree.map(np.asarray, answers)))
    return found


def largest_difference(answers: Answers, asked: Sequence[Exchange], space: ActionSpace, *, valued: bool) -> float:
    """The largest difference between the answers of an exported policy and those of the policy.

    Of probabilities, or of what is told of Gaussians: the mean, in half widths of the box, and the log-density of
    draws. Of scores, and of probabilities that the policy does not tell: how much its choice is worse than the best. Of
    values. The last two in proportion, where a score or value is above 1.

    Args:
      asked: what the policy was asked, from its beginning on.
      space: what its agents choose from.
      valued: whether the exported policy tells values.
    """
    half_width = (space.high - space.low) / 2 if isinstance(space, Box) else 1.0
    differences = [0.0]
    for seen, mask, whole, own in asked:
        told = answers.distribution(seen, mask)
        differences.append(_of_actions(told, own, half_width))
        if valued and "value" in own:
            off = np.abs(answers.value(seen, whole, mask) - own["value"])
            differences.append(float((off / np.maximum(1, np.abs(own["value"]))).max()))
        answers(seen, mask)
    return float(np.max(differences))  # NaN stays


def questions(
    random: np.random.Generator, environment: Description, moments: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random observations float32 [B, A, O], masks bool [B, A, n] that allow something, global states [B, G]."""
    agents, size, choices = (
        environment.num_agents,
        environment.observation_size,
        num_available(environment.action_space),
    )
    seen = random.standard_normal((moments, agents, size), np.float32)
    layout = observation_layout(environment)
    if layout is not None:
        _leave_out(random, seen, layout)
    mask = random.random((moments, agents, choices)) < 0.7
    mask |= np.eye(choices, dtype=bool)[random.integers(choices, size=(moments, agents))]
    return seen, mask, random.standard_normal((moments, environment.global_state_size), np.float32)


def _leave_out(random: np.random.Generator, seen: np.ndarray, layout: SetLayout) -> None:
    """A third of the members of sets are not there; sometimes none is."""
    there = random.random((*seen.shape[:2], layout.count)) < 2 / 3
    there &= random.random((*seen.shape[:2], 1)) < 0.9
    seen[..., layout.own :] *= there.repeat(layout.size, -1)


def _of_actions(told: dict[str, np.ndarray], own: dict[str, np.ndarray], half_width: float) -> float:
    """How far what is told is off what the policy answered."""
    if "probabilities" in told and "probabilities" in own:
        return float(np.abs(told["probabilities"] - own["probabilities"]).max())
    if "mean" not in told:
        scores = told["scores" if "scores" in told else "probabilities"]
        best, chosen = scores.max(-1), np.take_along_axis(scores, own["mode"][..., None], -1)[..., 0]
        return float(((best - chosen) / np.maximum(1, np.abs(best))).max())
    off = float(np.abs(told["mean"] - own["mode"]).max()) / half_width
    if "log_prob" not in own:
        return off
    standard = (own["actions"] - told["mean"]) / told["std"]
    density = (-0.5 * standard**2 - np.log(told["std"]) - 0.5 * np.log(2 * np.pi)).sum(-1)
    # A narrow Gaussian's density magnifies what rounding does to its mean.
    narrowness = np.minimum(1, told["std"].min(-1) / half_width)
    return max(off, float((np.abs(density - own["log_prob"]) * narrowness).max()))
