"""Whole training of replay learners in compiled environments: speed, gradient steps, and the memory of the buffer."""

import statistics
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from averse import learners
from averse.environments.protocol import Discrete, StepResult, all_available
from averse.environments.registry import make
from averse.learners.parts.replay import size_in_bytes
from averse.training.compiled import CompiledGroup
from benchmarks.timing import paired

RISKQ_AUTHORS = 127  # environment steps/s of RiskQ's PyTorch code in its car-following task, on two such cores
EPYMARL = 574  # environment steps/s of EPyMARL's QMIX in MPE simple_spread, on two such cores
UPDATES = 10


class SpreadSized:
    """An environment of the size of MPE's simple_spread: 3 agents, 18 numbers seen, 5 actions, episodes of 25 steps.

    Points that move at random: what is measured is the learner; this costs about what stepping points in a plane does.
    """

    name: ClassVar[str] = "spread-sized"
    num_agents, observation_size, global_state_size, horizon = 3, 18, 54, 25
    action_space = Discrete(5)
    metrics: ClassVar[dict[str, str]] = {}

    def parameters(self) -> dict[str, Any]:
        return {}

    def return_bounds(self, gamma: float) -> tuple[float, float]:
        return -100.0, 0.0

    def reset(self, key: jax.Array):
        positions = jax.random.normal(key, (3, 18))
        return (positions, jnp.int32(0)), positions

    def step(self, key: jax.Array, state, actions: jax.Array) -> StepResult:
        positions = state[0] + 0.1 * jnp.sin(actions[:, None] + jnp.arange(18.0))
        time = state[1] + 1
        reward = -jnp.abs(positions).mean()
        return StepResult(
            (positions, time), positions, jnp.full(3, reward), jnp.zeros(3), jnp.zeros(3, bool), time >= 25, {}
        )

    def global_state(self, state) -> jax.Array:
        return state[0].ravel()

    def available_actions(self, state) -> jax.Array:
        return all_available(self.action_space, 3)


def _group(environment: Any, method: str, settings: dict[str, Any]) -> CompiledGroup:
    learner = learners.learner(method, environment, total_updates=1000, **settings)
    group = CompiledGroup(environment, learner, [{"seed": 0}])
    group.start()
    return group


def value_based() -> None:
    """Steps and gradient steps per second, by how often each new sequence is learned from; one seed.

    The references learn 32 times from each: one gradient step on 32 episodes per episode played.
    """
    cases = (
        ("riskq", make("car-following"), {"rollout_steps": 50, "num_envs": 32}, (1, 2, 4, 8, 32), RISKQ_AUTHORS),
        ("qmix", SpreadSized(), {"rollout_steps": 25, "num_envs": 64}, (1, 4, 16, 64), EPYMARL),
    )
    for method, environment, settings, gradient_steps, reference in cases:
        sizes = ", ".join(f"{name} {value}" for name, value in settings.items())
        print(
            f"{method} on {environment.name}: {sizes}, GRU 64, batches of 32 sequences; reference {reference} steps/s"
        )
        groups = {n: _group(environment, method, {**settings, "gradient_steps": n}) for n in gradient_steps}
        memory = size_in_bytes(groups[gradient_steps[0]].learner_states().replay)
        seconds = paired({str(n): lambda g=g: g.advance(UPDATES) for n, g in groups.items()}, rounds=5)
        steps = UPDATES * settings["num_envs"] * settings["rollout_steps"]
        for n in gradient_steps:
            time = statistics.median(seconds[str(n)])
            print(
                f"  {n:2} gradient steps per {settings['num_envs']} sequences (each learned from "
                f"{32 * n / settings['num_envs']:.2g} times): {steps / time:>9,.0f} steps/s "
                f"({steps / time / reference:,.0f} x)  {UPDATES * n / time:6.1f} gradient steps/s"
            )
        print(f"  replay buffer: {memory / 1e6:.1f} MB for 5,000 sequences")
