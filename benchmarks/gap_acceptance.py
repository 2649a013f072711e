"""What the hand-written rule is worth by the objectives that risk-averse agents are trained for, by accepted gap."""

import jax
import numpy as np

from averse.environments.batch import reset_batch, step_batch
from averse.environments.intersection.drivers import GapAcceptance
from averse.environments.intersection.twin import Intersection
from averse.risk import Entropic, Samples

GAMMA = 0.99
GAPS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
TAUS = (1.0, 1.5, 3.0, 6.0, np.inf)


def gap_acceptance(episodes: int = 4_000) -> None:
    """Certainty equivalents of each agent's discounted return in the twin, over 4,000 episodes per gap."""
    world = Intersection()
    step = jax.jit(lambda batch, actions: step_batch(world, batch, actions))
    print(f"intersection, gap-acceptance, {episodes:,} episodes, discount {GAMMA}: certainty equivalents")
    print("  gap, s  " + "".join(f"{f'tau {tau:g}':>10}" for tau in TAUS))
    for gap in GAPS:
        driver = GapAcceptance(world, gap)
        batch, time_step = reset_batch(world, jax.random.key(7), episodes)
        returns, going = np.zeros((episodes, world.num_agents)), np.ones((episodes, 1), bool)
        for t in range(world.horizon):
            batch, time_step = step(batch, driver(time_step))
            returns += going * GAMMA**t * np.asarray(time_step.rewards)
            going &= ~np.asarray(time_step.done)[:, None]
        worth = [float(Entropic(tau)(Samples(returns.ravel()))) for tau in TAUS]
        print(f"  {gap:6.2f}  " + "".join(f"{value:10.3f}" for value in worth))
