"""What a hand-written controller earns in the corridor of Risky CartPole, by where on the track it stands."""

import jax
import jax.numpy as jnp
import numpy as np

from averse.environments.batch import reset_batch, step_batch
from averse.environments.risky_cartpole import RiskyCartPole
from averse.risk import CVaR, Samples, VaR

GAINS = (0.2, 0.5, 6.0, 1.0)  # of position, velocity, angle and angular velocity
SET_POINTS = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8)  # m


def set_points(episodes: int = 4_000) -> None:
    """Return, its worst 5 %, its 5 % quantile and failures of a linear controller that pushes towards a set point."""
    world = RiskyCartPole(corridor=True)
    step = jax.jit(lambda batch, actions: step_batch(world, batch, actions))
    print(f"risky-cartpole --corridor, a linear controller, {episodes:,} episodes")
    print("  set point, m   return  worst-5%  5% quantile  failure")
    for place in SET_POINTS:
        batch, time_step = reset_batch(world, jax.random.key(7), episodes)
        returns, going, failed = np.zeros(episodes), np.ones(episodes, bool), np.zeros(episodes, bool)
        for _ in range(world.horizon):
            off = time_step.observations - jnp.array([place, 0.0, 0.0, 0.0])
            batch, time_step = step(batch, (off @ jnp.array(GAINS) > 0).astype(jnp.int32))
            returns += going * np.asarray(time_step.rewards)[:, 0]
            failed |= going & np.asarray(time_step.terminated)[:, 0]
            going &= ~np.asarray(time_step.done)
        worst, quantile = (float(measure(Samples(returns))) for measure in (CVaR(0.05), VaR(0.05)))
        print(f"  {place:12.1f} {returns.mean():8.1f} {worst:9.1f} {quantile:12.1f} {failed.mean():8.3f}")
