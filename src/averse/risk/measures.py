"""Our risk measures: what a risk-averse agent maximises instead of the mean.

`averse.risk.base` says what a measure is. Each has an influence function in closed form, except VaR and the worst case,
which have none.

Axes: N atoms, M points; `...` batch axes.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le
from jax import Array
from jax.typing import ArrayLike
from pydantic import AllowInfNan

from averse.risk import numerics
from averse.risk.base import RiskMeasure
from averse.risk.broadcasting import lifted, per_value
from averse.risk.distributions import Categorical, Distribution

TailMass = Annotated[ArrayLike, Gt(0), Le(1)]


class Expectation(RiskMeasure):
    """E[Z]: risk-neutral. It is nan, as are distortions and a CVaR, where both -inf and inf have weight in it."""

    linear_in_quantiles = True

    def value(self, distribution: Distribution) -> Array:
        return distribution.mean()

    def derivative(self, distribution: Distribution, z: Array) -> Array:
        return z - distribution.mean()[..., None]

    def relaxed(self, fraction: ArrayLike) -> "Expectation":
        return self


class Entropic(RiskMeasure):
    """-tau log E[exp(-Z/tau)]: the certainty equivalent of exponential utility (Howard, Matheson 1972).

    Equally min over q of E_q[Z] + tau KL(q || p): nature may distort the probabilities at a price.

    Args:
      tau: risk tolerance in units of reward, in (0, inf]; inf is exactly the mean, 0 would be the worst case.
    """

    tau: Annotated[ArrayLike, Gt(0)]
    example = 1.0

    def value(self, distribution: Distribution) -> Array:
        return numerics.entropic(distribution, self.tau)

    def derivative(self, distribution: Distribution, z: Array) -> Array:
        """tau (1 - exp(-(z - rho)/tau)), [..., M]; exponents are capped at 80 (a factor of 5e34), finite in float32."""
        return numerics.entropic_influence(distribution, self.tau, z)

    def relaxed(self, fraction: ArrayLike) -> "Entropic":
        """tau / fraction: risk aversion, the inverse of tau, grows in proportion to the fraction []."""
        fraction = jnp.asarray(fraction, jnp.result_type(float, fraction))
        positive = fraction > 0
        return Entropic(jnp.where(positive, self.tau / jnp.where(positive, fraction, 1), jnp.inf))


class CVaR(RiskMeasure):
    """Conditional value at risk: the mean of the worst `alpha` of *probability* (Rockafellar, Uryasev 2000).

    On atoms: sum_j z_j min(p_j, max(0, alpha - F_{j-1})) / alpha over ascending z: the last atom counts in part.

    Args:
      alpha: tail mass in (0, 1]; 1 is the mean.
    """

    alpha: TailMass
    example = 0.1
    linear_in_quantiles = True

    def value(self, distribution: Distribution) -> Array:
        # The maximising form of Rockafellar and Uryasev, v - E[(v - Z)^+]/alpha at v = VaR, needs only VaR from the
        # cumulated probabilities. It is stationary in v, so their rounding hardly matters, and it needs the sorting
        # for v alone.
        alpha = jnp.asarray(self.alpha, distribution.probs.dtype)
        v = distribution.quantile(alpha)
        bounded = jnp.where(jnp.isinf(v), 0, v)
        tail = bounded - distribution.expectation(jax.nn.relu(bounded[..., None] - distribution.values)) / alpha
        # A tail that reaches up to inf is worth inf, unless -inf is in it as well.
        tail = jnp.where(jnp.isinf(v), v + numerics.worst_value(distribution), tail)
        return jnp.where(alpha < 1, tail, distribution.mean())

    def derivative(self, distribution: Distribution, z: Array) -> Array:
        """VaR - (VaR - z)^+/alpha - CVaR, [..., M]."""
        alpha = jnp.asarray(self.alpha, distribution.probs.dtype)
        v = distribution.quantile(alpha)
        tail = v[..., None] - jax.nn.relu(v[..., None] - z) / per_value(alpha)
        return jnp.where(per_value(alpha) < 1, tail, z) - self.value(distribution)[..., None]

    def relaxed(self, fraction: ArrayLike) -> "CVaR":
        """alpha moved from 1 (fraction 0) to itself (fraction 1) in a straight line; the fraction is a number []."""
        return CVaR(self.alpha * fraction + (1 - fraction))


class VaR(RiskMeasure):
    """Value at risk: the lower `alpha`-quantile inf{z: P(Z <= z) >= alpha}.

    On atoms it is not differentiable along mixtures (the density at the quantile, by which the influence function
    divides, does not exist), so that `influence` raises. Its derivative with respect to the values is fine.

    Args:
      alpha: level in (0, 1].
    """

    alpha: TailMass
    example = 0.05
    risk_averse = False  # a quantile above the mean, where alpha is large
    has_influence = False
    linear_in_quantiles = True

    def value(self, distribution: Distribution) -> Array:
        return distribution.quantile(self.alpha)


class MeanVariance(RiskMeasure):
    """E[Z] - weight Var[Z] of the *return* (not of the reward per step: that is `averse.planning`). Not monotone.

    Args:
      weight: price of variance, >= 0, in units of 1/reward.
    """

    weight: Annotated[ArrayLike, Ge(0), AllowInfNan(False)]
    example = 0.5
    monotone = False

    def value(self, distribution: Distribution) -> Array:
        mean, variance = distribution.mean(), distribution.variance()
        weight = jnp.asarray(self.weight, mean.dtype)
        # Variance grows with the square of a return, so that it outweighs any mean, were it inf.
        outweighs = jnp.isinf(variance) & (weight > 0)
        return jnp.where(outweighs, -jnp.inf, mean - weight * jnp.where(jnp.isinf(variance), 0, variance))

    def derivative(self, distribution: Distribution, z: Array) -> Array:
        """(z - mean) - weight ((z - mean)^2 - variance), [..., M]."""
        difference = z - distribution.mean()[..., None]
        weight = per_value(jnp.asarray(self.weight, difference.dtype))
        return difference - weight * (jnp.square(difference) - distribution.variance()[..., None])

    def relaxed(self, fraction: ArrayLike) -> "MeanVariance":
        return MeanVariance(self.weight * fraction)


class Distortion(RiskMeasure):
    """Integral of the quantiles against a distorted level: sum_j (g(F_j) - g(F_{j-1})) z_j over ascending z.

    Derive from it with `distort`. Weights that are increments of g sum to one for every g; sampling g' at a few
    quantiles, as is common, does not, and misprices even a constant.
    """

    linear_in_quantiles = True

    def distort(self, level: Array, rest: Array) -> Array:
        """g of the level [..., N] in [0, 1], with g(0) = 0 and g(1) = 1; `rest` is 1 - level, better known near 1."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it distorts: def distort(self, level, rest)")

    def slope(self, level: Array, rest: Array) -> Array:
        """g' of the level, [..., N], by default by automatic differentiation."""
        return jax.jvp(self.distort, (level, rest), (jnp.ones_like(level), -jnp.ones_like(rest)))[1]

    def value(self, distribution: Distribution) -> Array:
        # Summed by parts: z_N - sum_j g(F_j) (z_{j+1} - z_j). Exact under translation, no increments that cancel.
        values, probs = distribution.ordered()
        infinite, levels = jnp.isinf(values), numerics.levels(probs)
        bounded = jnp.where(infinite, jnp.clip(values, *_finite_range(values, infinite)), values)
        value = bounded[..., -1] - jnp.sum(self.distort(*levels) * jnp.diff(bounded, axis=-1), -1)
        if isinstance(distribution, Categorical):  # whose atoms are finite
            return value
        worst, best = (jnp.sum(jnp.where(values == end, probs, 0), -1, keepdims=True) for end in (-jnp.inf, jnp.inf))
        ruinous = (worst > 0) & (self.distort(worst, 1 - worst) > 0)
        blissful = (best > 0) & (self.distort(1 - best, best) < 1)
        value = jnp.where(ruinous[..., 0], -jnp.inf, value)
        return jnp.where(blissful[..., 0], value + jnp.inf, value)

    def derivative(self, distribution: Distribution, z: Array) -> Array:
        """The integral of g'(F(x)) from below up to z, less its mean, [..., M].

        Outside the range of the distribution, where F is 0 or 1 and g' may be infinite, g' is taken at the level eps
        of the floating-point type (1 - eps): a large finite stand-in.
        """
        values, probs = distribution.ordered()
        eps = jnp.finfo(probs.dtype).eps
        ends = jnp.array([eps, 1 - eps], probs.dtype)
        least, most = ends
        level, rest = numerics.levels(probs)
        slopes = self.slope(jnp.clip(level, least, most), jnp.clip(rest, least, most))
        ends = lifted(ends, probs.ndim - 1)
        beyond = self.slope(ends, jnp.flip(ends, -1))
        lowest, highest = beyond[..., :1], beyond[..., 1:]
        gaps = jnp.diff(values, axis=-1)
        # Integrated from the median, not from the lowest atom: steep slopes where F is 0 then cancel exactly instead of
        # drowning the rest in rounding.
        median = distribution.quantile(0.5)[..., None]

        def covered(points):
            return jnp.clip(points[..., :, None] - values[..., None, :-1], 0, gaps[..., None, :])

        def integral(points):
            inside = jnp.sum(slopes[..., None, :] * (covered(points) - covered(median)), -1)
            below = jnp.minimum(points - values[..., :1], 0)
            above = jnp.maximum(points - values[..., -1:], 0)
            return inside + lowest * below + highest * above

        return integral(z) - jnp.sum(probs * integral(values), -1, keepdims=True)


def _finite_range(values: Array, infinite: Array) -> tuple[Array, Array]:
    """The least and the greatest finite one of values [..., N], as [..., 1]; 0 where all are infinite."""
    none = jnp.all(infinite, -1, keepdims=True)
    least = jnp.min(jnp.where(infinite, jnp.inf, values), -1, keepdims=True)
    greatest = jnp.max(jnp.where(infinite, -jnp.inf, values), -1, keepdims=True)
    return jnp.where(none, 0, least), jnp.where(none, 0, greatest)


class Wang(Distortion):
    """Wang's transform (2000): g(u) = Phi(Phi^-1(u) + eta). Of a normal return: mean - eta * standard deviation.

    Args:
      eta: market price of risk. Larger is more risk-averse, 0 the mean, below 0 risk-seeking. (RiskQ's 0.75 is this
        sign; IQN, which distorts sampled levels, writes the same attitude as -0.75.)
    """

    eta: Annotated[ArrayLike, AllowInfNan(False)]
    example = 0.75

    @property
    def risk_averse(self) -> bool:
        return bool(jnp.all(jnp.asarray(self.eta) >= 0))

    def distort(self, level: Array, rest: Array) -> Array:
        return numerics.wang(level, rest, per_value(jnp.asarray(self.eta, level.dtype)))

    def slope(self, level: Array, rest: Array) -> Array:
        return numerics.wang_slope(level, rest, per_value(jnp.asarray(self.eta, level.dtype)))

    def relaxed(self, fraction: ArrayLike) -> "Wang":
        return Wang(self.eta * fraction)


class CPW(Distortion):
    """Cumulative prospect weighting (Tversky, Kahneman 1992): g(u) = u^eta / (u^eta + (1-u)^eta)^(1/eta).

    People overweight rare outcomes, the worst and the best: a measure of human-like attitude rather than of caution,
    and not always below the mean.

    Args:
      eta: in [0.28, 1] (below, g is not monotone); 1 is the mean, 0.71 fits human play (Wu, Gonzalez 1996).
    """

    eta: Annotated[ArrayLike, Ge(0.28), Le(1)]
    example = 0.71
    risk_averse = False

    def distort(self, level: Array, rest: Array) -> Array:
        eta = per_value(jnp.asarray(self.eta, level.dtype))
        return level**eta / (level**eta + rest**eta) ** (1 / eta)

    def slope(self, level: Array, rest: Array) -> Array:
        eta = per_value(jnp.asarray(self.eta, level.dtype))
        total = level**eta + rest**eta
        bracket = eta * total - level * (level ** (eta - 1) - rest ** (eta - 1))
        return level ** (eta - 1) * bracket * total ** (-1 / eta - 1)

    def relaxed(self, fraction: ArrayLike) -> "CPW":
        return CPW(self.eta * fraction + (1 - fraction))


class EVaR(RiskMeasure):
    """Entropic value at risk (Ahmadi-Javid 2012): sup over tau > 0 of Entropic(tau)(Z) + tau log(alpha).

    The tightest lower bound of CVaR(alpha) that the Chernoff inequality gives; equally the least E_q[Z] over q with
    KL(q || p) <= -log(alpha).

    Args:
      alpha: in (0, 1]; 1 is the mean, and alpha -> 0 the worst case.
    """

    alpha: TailMass
    example = 0.1

    def value(self, distribution: Distribution) -> Array:
        return numerics.evar(distribution, jnp.asarray(self.alpha, distribution.probs.dtype))

    def derivative(self, distribution: Distribution, z: Array) -> Array:
        """That of Entropic at the best tau, [..., M], by the envelope theorem."""
        alpha = jnp.asarray(self.alpha, distribution.probs.dtype)
        tau = numerics.evar_tolerance(distribution, alpha)
        return numerics.entropic_influence(distribution, jnp.where(alpha < 1, tau, jnp.inf), z)

    def relaxed(self, fraction: ArrayLike) -> "EVaR":
        return EVaR(self.alpha * fraction + (1 - fraction))


class WorstCase(RiskMeasure):
    """The least value of positive probability.

    Under a softmax every atom has positive probability, so that a critic's worst case is its lowest atom: meant for
    samples, quantiles and known models. It has no influence function.
    """

    has_influence = False
    linear_in_quantiles = True

    def value(self, distribution: Distribution) -> Array:
        return numerics.worst_value(distribution)
