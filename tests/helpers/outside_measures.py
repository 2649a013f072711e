"""Risk measures as somebody would bring them who has never seen the package's insides: right ones and faulty ones."""

import jax
import jax.numpy as jnp
import numpy as np

from averse.risk import CVaR, Distortion, RiskMeasure
from averse.settings import Fraction, NonNegative, Positive, Share


class Semideviation(RiskMeasure):
    """The mean less a share of the mean shortfall below it."""

    weight: Fraction = 0.5

    def value(self, distribution):
        mean = distribution.mean()
        shortfall = jax.nn.relu(mean[..., None] - distribution.values)
        return mean - self.weight * distribution.expectation(shortfall)


class Tail(RiskMeasure):
    """The mean less the mean excess of CVaR, with two numbers."""

    weight: NonNegative
    alpha: Share

    def value(self, distribution):
        return distribution.mean() - self.weight * (distribution.mean() - CVaR(self.alpha)(distribution))

    monotone = False  # where the weight is above one


class Power(Distortion):
    """The proportional hazards transform."""

    power: Share = 0.5

    def distort(self, level, rest):
        return level ** jnp.broadcast_to(self.power, level.shape[:-1])[..., None]


# --- each with one fault --------------------------------------------------------------------------------------------


class Stretched(Semideviation):
    def value(self, distribution):
        return 1.1 * distribution.mean()


class Absolute(RiskMeasure):
    def value(self, distribution):
        return distribution.mean() - distribution.variance() / 9


class Seeking(RiskMeasure):
    weight: float = 0.5

    def value(self, distribution):
        return 2 * distribution.mean() - Semideviation(self.weight).value(distribution)

    monotone = False


class FirstComesFirst(RiskMeasure):
    def value(self, distribution):
        return distribution.values[..., 0]

    has_influence = False


class Impossible(RiskMeasure):
    def value(self, distribution):
        return distribution.values.min(-1)

    has_influence = False


class Branching(RiskMeasure):
    alpha: Share = 0.5

    def value(self, distribution):
        return CVaR(self.alpha)(distribution) if self.alpha < 1 else distribution.mean()


class Concrete(RiskMeasure):
    def value(self, distribution):
        return np.asarray(distribution.values).mean(-1)


class Overflowing(RiskMeasure):
    tau: Positive = 1.0

    def value(self, distribution):
        tau = jnp.broadcast_to(self.tau, distribution.values.shape[:-1])
        exponentials = jnp.exp(-distribution.values / tau[..., None])
        return -tau * jnp.log(distribution.expectation(exponentials))


class OneForAll(RiskMeasure):
    def value(self, distribution):
        return jnp.sum(distribution.probs * distribution.values)


class Offset(RiskMeasure):
    def value(self, distribution):
        return distribution.mean()

    def derivative(self, distribution, z):
        return z


class Slanted(Semideviation):
    def derivative(self, distribution, z):
        return z - distribution.mean()[..., None]


class Misaligned(Semideviation):
    def value(self, distribution):
        mean = distribution.mean()
        return mean - distribution.expectation(self.weight * jax.nn.relu(mean[..., None] - distribution.values))


class Rigid(Semideviation):
    def relaxed(self, fraction):
        return self


class Percent(RiskMeasure):
    alpha: float = 10.0

    def __post_init__(self):
        object.__setattr__(self, "alpha", self.alpha / 100)

    def value(self, distribution):
        return CVaR(self.alpha)(distribution)


class Step(RiskMeasure):
    alpha: Share = 0.2

    def value(self, distribution):
        return distribution.quantile(self.alpha)

    risk_averse = False


class Deviation(RiskMeasure):
    weight: NonNegative = 0.1

    def value(self, distribution):
        return distribution.mean() - self.weight * jnp.sqrt(distribution.variance())

    monotone = False


class Named(RiskMeasure):
    label: str = "mine"

    def value(self, distribution):
        return distribution.mean()


class Straight(Semideviation):
    linear_in_quantiles = True


FAULTS = {
    Stretched(): "certain -3 is worth -3.3",
    Absolute(): "monotone = False",
    Seeking(): "risk_averse = False",
    FirstComesFirst(): "depends on the order",
    Impossible(): "probability 0",
    Branching(): "TracerBoolConversionError",
    Concrete(): "TracerArrayConversionError",
    Overflowing(): "float32",
    OneForAll(): r"makes float64 \[\] of distributions \[1, 1\]",
    Offset(): "mean",
    Slanted(): "along mixtures",
    Misaligned(): "numbers are swept",
    Rigid(): "fraction 0",
    Percent(): "read back",
    Step(): "has_influence = False",
    Deviation(): "no finite gradient with respect to the values",
    Straight(): "not linear in the quantiles",
}
