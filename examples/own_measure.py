"""A risk measure of your own: the mean less a price of falling short of it.

    python examples/own_measure.py
    cd examples && averse train --env corridor --method c51-cvar-mappo --measure own_measure:Semideviation:0.9 \\
        --out ../runs/semideviation
    averse evaluate ../runs/semideviation

`averse.risk.register("semideviation", Semideviation)` would give it a name of its own.
"""

import jax
import numpy as np
from jax import Array

import averse
from averse.risk import Distribution, RiskMeasure, check_measure
from averse.settings import Fraction


class Semideviation(RiskMeasure):
    """E[Z] - weight E[(E[Z] - Z)^+]: upper semideviation is no risk (Ogryczak, Ruszczynski 1999)."""

    weight: Fraction = 0.5
    """Price of falling short of the mean."""

    def value(self, distribution: Distribution) -> Array:
        mean = distribution.mean()
        shortfall = jax.nn.relu(mean[..., None] - distribution.values)
        return mean - self.weight * distribution.expectation(shortfall)


if __name__ == "__main__":
    measure = Semideviation(0.9)
    check_measure(measure)
    print(f"{measure} of -2, 0 and 5: {float(measure(np.array([-2.0, 0.0, 5.0]))):.3f}")
    # `influence` needs nothing but the measure: its derivative is taken automatically.
    run = averse.train("corridor", "c51-cvar-mappo", steps=1e5, seeds=2, measure=measure)
    print(averse.evaluate(run, episodes=1000))
