"""Whether an exported policy answers as the policy itself does, on random observations.

Axes: B moments side by side, A agents, n actions.
"""

from typing import Any, Protocol

import jax
import numpy as np

from averse.environments.protocol import Box, Description, num_available
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


def largest_difference(
    answers: Answers,
    learner: Learner,
    state: Any,
    environment: Description,
    *,
    valued: bool,
    moments: int = MOMENTS,
    steps: int = STEPS,
    seed: int = 0,
) -> float:
    """The largest difference between the answers of an exported policy and those of the learner.

    Of probabilities, or of what is told of Gaussians: the mean, in half widths of the box, and the log-density of
    draws. Of scores: how much the learner's choice is worse than the best. Of values. The last two in proportion, where
    a score or value is above 1.

    Args:
      valued: whether it tells values.
      moments, steps: how many are asked for side by side, [B], and one after another.
      seed: of the observations.
    """
    random, key, memory = np.random.default_rng(seed), jax.random.key(seed), learner.initial_memory(moments)
    largest, space = 0.0, environment.action_space
    half_width = (space.high - space.low) / 2 if isinstance(space, Box) else 1.0
    act = jax.jit(learner.act, static_argnames="greedy")
    for _ in range(steps):
        seen, mask, whole = questions(random, environment, moments)
        key, draw = jax.random.split(key)
        told = answers.distribution(seen, mask)
        actions, extras = act(state, seen, mask, draw, memory=memory, greedy=learner.explores_by_noise)
        differences = [_of_actions(told, np.asarray(actions), extras, half_width)]
        if "mean" in told:
            mode, _ = act(state, seen, mask, draw, memory=memory, greedy=True)
            differences.append(np.abs(told["mean"] - mode).max() / half_width)
        if learner.action_probabilities is not None:
            own = jax.jit(learner.action_probabilities)(state, seen, mask, memory=memory)
            differences.append(np.abs(told["probabilities"] - own).max())
        if valued and learner.predict_returns is not None:
            predicted = jax.jit(learner.predict_returns)(state, seen, whole, mask, memory=memory)
            value = np.asarray(getattr(state, "measure", Expectation())(predicted))
            differences.append((np.abs(answers.value(seen, whole, mask) - value) / np.maximum(1, np.abs(value))).max())
        largest = float(np.max([largest, *differences]))  # NaN stays
        answers(seen, mask)
        memory = extras.get("memory", ())
    return largest


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


def _of_actions(told: dict[str, np.ndarray], actions: np.ndarray, extras: Any, half_width: float) -> float:
    """How far what is told is off the actions that the learner takes."""
    if "scores" in told:
        best = told["scores"].max(-1)
        chosen = np.take_along_axis(told["scores"], actions[..., None], -1)[..., 0]
        return float(((best - chosen) / np.maximum(1, np.abs(best))).max())
    if "mean" in told and "log_prob" in extras:
        standard = (actions - told["mean"]) / told["std"]
        density = (-0.5 * standard**2 - np.log(told["std"]) - 0.5 * np.log(2 * np.pi)).sum(-1)
        # A narrow Gaussian's density magnifies what rounding does to its mean.
        return float((np.abs(density - extras["log_prob"]) * np.minimum(1, told["std"].min(-1) / half_width)).max())
    return 0.0
