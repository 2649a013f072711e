"""An environment of your own: a ferryman who may carry much and capsize.

    python examples/own_environment.py
    cd examples && averse train --env own_environment:Ferry --method rqe-mappo --tau 3 --gust 0.3 --out ../runs/ferry
    averse evaluate ../runs/ferry

Each of ten trips carries one, two or three loads. A load pays 1; a gust comes with a probability, and then every load
beyond the first is lost with the boat, which costs 6.
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

import averse
from averse.environments import CompiledEnvironment, Discrete, StepResult
from averse.settings import Count, Fraction, settings


class FerryState(NamedTuple):
    trips: jax.Array  # int32 [], made so far
    sunk: jax.Array  # float32 [], boats lost so far


@settings
class Ferry(CompiledEnvironment):
    """A ferryman who may carry much and capsize."""

    trips: Count = 10
    """Trips of an episode."""
    gust: Fraction = 0.2
    """Probability of a gust on a trip."""

    num_agents: ClassVar[int] = 1
    action_space: ClassVar[Discrete] = Discrete(3)
    observation_size: ClassVar[int] = 1
    reward_bounds: ClassVar[tuple[float, float]] = (-6.0, 3.0)
    ends_at_horizon: ClassVar[bool] = True  # there the task is over; else learners would look beyond it
    metrics: ClassVar[dict[str, str]] = {"sunk": "boats lost"}

    @property
    def horizon(self) -> int:
        return self.trips

    def observe(self, state: FerryState) -> jax.Array:
        """The share of the trips that are made, float32 [1, 1]."""
        return jnp.full((1, 1), state.trips / self.trips)

    def reset(self, key: jax.Array) -> tuple[FerryState, jax.Array]:
        state = FerryState(jnp.int32(0), jnp.float32(0.0))
        return state, self.observe(state)

    def step(self, key: jax.Array, state: FerryState, actions: jax.Array) -> StepResult:
        loads = 1.0 + actions[0].astype(jnp.float32)
        sinks = (loads > 1.0) & jax.random.bernoulli(key, self.gust)
        state = FerryState(state.trips + 1, state.sunk + sinks.astype(jnp.float32))
        return self.result(
            state,
            jnp.where(sinks, -6.0, loads),
            costs=sinks,
            terminated=state.trips >= self.trips,  # the end of the day is the end of the task, not a time limit
            info={"sunk": state.sunk},
        )


if __name__ == "__main__":
    averse.check_environment(Ferry())
    run = averse.train(Ferry(gust=0.3), "rqe-mappo", steps=2e5, seeds=2, tau=[1.0, 30.0])
    print(averse.evaluate(run, episodes=1000))
