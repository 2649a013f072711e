"""Risk measures of return distributions: what a risk-averse agent maximises instead of the mean.

A measure is a small frozen object that is called on a distribution: `Entropic(tau=2.0)(Quantiles(values))`. Larger is
better, everywhere: a measure is the certain return that the agent would take in exchange for the random one. Every
measure is a pytree whose leaves are its parameters, so that one `vmap` sweeps over risk levels; parameters may be
traced, and arrays of parameters broadcast against the batch axes of the distribution (one `tau` per agent).

Each has an `influence(distribution, z)`, the Gateaux derivative of the measure at the distribution towards a point
mass at z (Hampel 1974): to first order, how much more of the outcome z would improve the measure. Its mean under the
distribution is zero, which makes it the risk-sensitive counterpart of z - mean, and the stuff of advantages.

Axes: N atoms, M points; `...` batch axes.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from averse.errors import AverseError, unknown_name
from averse.risk import _numerics
from averse.risk._pytrees import pytree
from averse.risk.distributions import Distribution


class RiskMeasure:
    """What all measures share. `str(measure)` is the text that `parse` reads."""

    kind: ClassVar[str]

    def __call__(self, distribution: Distribution) -> Array:
        """The risk-adjusted value [...] of each distribution of a batch, in units of reward."""
        raise NotImplementedError

    def influence(self, distribution: Distribution, z: ArrayLike) -> Array:
        """d/de of the measure at (1 - e) P + e delta_z, at e = 0, for points z [..., M], as [..., M].

        Raises:
          AverseError: if the measure has no such derivative (VaR, worst case).
        """
        raise NotImplementedError

    def relaxed(self, fraction: ArrayLike) -> "RiskMeasure":
        """This measure moved towards neutral: the mean at `fraction` 0, itself at 1; `fraction` may be traced.

        For the risk schedule that avoids blindness to success (Greenberg et al. 2022).
        """
        raise NotImplementedError

    @property
    def name(self) -> str:
        return str(self)

    def __str__(self) -> str:
        parameters = list(vars(self).values())
        return self.kind if not parameters else f"{self.kind}:{_number(parameters[0])}"


@pytree
class Expectation(RiskMeasure):
    """E[Z]: risk-neutral."""

    kind: ClassVar[str] = "mean"

    def __call__(self, distribution: Distribution) -> Array:
        return distribution.mean()

    def influence(self, distribution: Distribution, z: ArrayLike) -> Array:
        return jnp.asarray(z) - distribution.mean()[..., None]

    def relaxed(self, fraction: ArrayLike) -> "Expectation":
        return self


@pytree
class Entropic(RiskMeasure):
    """-tau log E[exp(-Z/tau)]: the certainty equivalent of exponential utility (Howard, Matheson 1972).

    Equally min over q of E_q[Z] + tau KL(q || p): nature may distort the probabilities at a price.

    Args:
      tau: risk tolerance in units of reward, in (0, inf]; inf is exactly the mean, 0 would be the worst case.
    """

    tau: ArrayLike
    kind: ClassVar[str] = "entropic"

    def __post_init__(self):
        _require(self, "tau", self.tau, lambda tau: tau > 0, "in (0, inf]")

    def __call__(self, distribution: Distribution) -> Array:
        return _numerics.entropic(distribution, self.tau)

    def influence(self, distribution: Distribution, z: ArrayLike) -> Array:
        """tau (1 - exp(-(z - rho)/tau)); exponents are capped at 80 (a factor of 5e34) to stay finite in float32."""
        return _numerics.entropic_influence(distribution, self.tau, jnp.asarray(z))

    def relaxed(self, fraction: ArrayLike) -> "Entropic":
        """tau / fraction: risk aversion, the inverse of tau, grows in proportion to the fraction."""
        fraction = jnp.asarray(fraction, jnp.result_type(float, fraction))
        positive = fraction > 0
        return Entropic(jnp.where(positive, self.tau / jnp.where(positive, fraction, 1), jnp.inf))


@pytree
class CVaR(RiskMeasure):
    """Conditional value at risk: the mean of the worst `alpha` of *probability* (Rockafellar, Uryasev 2000).

    On atoms: sum_j z_j min(p_j, max(0, alpha - F_{j-1})) / alpha over ascending z: the last atom counts in part.

    Args:
      alpha: tail mass in (0, 1]; 1 is the mean.
    """

    alpha: ArrayLike
    kind: ClassVar[str] = "cvar"

    def __post_init__(self):
        _require_tail(self, self.alpha)

    def __call__(self, distribution: Distribution) -> Array:
        # The maximising form of Rockafellar and Uryasev, v - E[(v - Z)^+]/alpha at v = VaR, needs only VaR from the
        # cumulated probabilities. It is stationary in v, so their rounding hardly matters, and it needs the sorting
        # for v alone.
        alpha = jnp.asarray(self.alpha)
        v = distribution.quantile(alpha)
        tail = v - distribution.expectation(jax.nn.relu(v[..., None] - distribution.values)) / alpha
        return jnp.where(alpha < 1, tail, distribution.mean())

    def influence(self, distribution: Distribution, z: ArrayLike) -> Array:
        """VaR - (VaR - z)^+/alpha - CVaR."""
        alpha, z = jnp.asarray(self.alpha), jnp.asarray(z)
        v = distribution.quantile(alpha)
        tail = v[..., None] - jax.nn.relu(v[..., None] - z) / alpha[..., None]
        return jnp.where(alpha[..., None] < 1, tail, z) - self(distribution)[..., None]

    def relaxed(self, fraction: ArrayLike) -> "CVaR":
        """alpha moved from 1 (fraction 0) to itself (fraction 1) in a straight line."""
        return CVaR(self.alpha * fraction + (1 - fraction))


@pytree
class VaR(RiskMeasure):
    """Value at risk: the lower `alpha`-quantile inf{z: P(Z <= z) >= alpha}.

    On atoms it is not differentiable along mixtures (the density at the quantile, by which the influence function
    divides, does not exist), so that `influence` raises. Its derivative with respect to the values is fine.

    Args:
      alpha: level in (0, 1].
    """

    alpha: ArrayLike
    kind: ClassVar[str] = "var"

    def __post_init__(self):
        _require_tail(self, self.alpha)

    def __call__(self, distribution: Distribution) -> Array:
        return distribution.quantile(self.alpha)

    def influence(self, distribution: Distribution, z: ArrayLike) -> Array:
        raise _no_influence(self)

    def relaxed(self, fraction: ArrayLike) -> "Blend":
        return Blend(self, fraction)


@pytree
class MeanVariance(RiskMeasure):
    """E[Z] - weight Var[Z] of the *return* (not of the reward per step: that is `averse.planning`). Not monotone.

    Args:
      weight: price of variance, >= 0, in units of 1/reward.
    """

    weight: ArrayLike
    kind: ClassVar[str] = "mean-variance"

    def __post_init__(self):
        _require(self, "weight", self.weight, lambda weight: (weight >= 0) & (weight < jnp.inf), "finite and >= 0")

    def __call__(self, distribution: Distribution) -> Array:
        return distribution.mean() - self.weight * distribution.variance()

    def influence(self, distribution: Distribution, z: ArrayLike) -> Array:
        """(z - mean) - weight ((z - mean)^2 - variance)."""
        difference = jnp.asarray(z) - distribution.mean()[..., None]
        weight = jnp.asarray(self.weight)[..., None]
        return difference - weight * (jnp.square(difference) - distribution.variance()[..., None])

    def relaxed(self, fraction: ArrayLike) -> "MeanVariance":
        return MeanVariance(self.weight * fraction)


class _Distortion(RiskMeasure):
    """Integral of the quantiles against a distorted level: sum_j (g(F_j) - g(F_{j-1})) z_j over ascending z.

    Sub-classes give g with g(0) = 0, g(1) = 1, and its slope g', both as functions of the level and of 1 - level (which
    float32 knows much better near 1). Weights that are increments of g sum to one for every g; sampling g' at a few
    quantiles, as is common, does not, and misprices even a constant.
    """

    def _distort(self, level: Array, rest: Array) -> Array:
        raise NotImplementedError

    def _slope(self, level: Array, rest: Array) -> Array:
        raise NotImplementedError

    def __call__(self, distribution: Distribution) -> Array:
        # Summed by parts: z_N - sum_j g(F_j) (z_{j+1} - z_j). Exact under translation, no increments that cancel.
        values, probs = distribution.ordered()
        gaps, levels = jnp.diff(values, axis=-1), _numerics.levels(probs)
        return values[..., -1] - jnp.sum(self._distort(*levels) * gaps, -1)

    def influence(self, distribution: Distribution, z: ArrayLike) -> Array:
        """The integral of g'(F(x)) from below up to z, less its mean.

        Outside the range of the distribution, where F is 0 or 1 and g' may be infinite, g' is taken at the level eps
        of the floating-point type (1 - eps): a large finite stand-in.
        """
        values, probs = distribution.ordered()
        eps = jnp.finfo(probs.dtype).eps
        ends = jnp.array([eps, 1 - eps], probs.dtype)
        level, rest = _numerics.levels(probs)
        slopes = self._slope(jnp.clip(level, *ends), jnp.clip(rest, *ends))
        beyond = self._slope(ends, ends[::-1])
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

        return integral(jnp.asarray(z)) - jnp.sum(probs * integral(values), -1, keepdims=True)


@pytree
class Wang(_Distortion):
    """Wang's transform (2000): g(u) = Phi(Phi^-1(u) + eta). Of a normal return: mean - eta * standard deviation.

    Args:
      eta: market price of risk. Larger is more risk-averse, 0 the mean, below 0 risk-seeking. (RiskQ's 0.75 is this
        sign; IQN, which distorts sampled levels, writes the same attitude as -0.75.)
    """

    eta: ArrayLike
    kind: ClassVar[str] = "wang"

    def __post_init__(self):
        _require(self, "eta", self.eta, lambda eta: abs(eta) < jnp.inf, "finite")

    def _distort(self, level: Array, rest: Array) -> Array:
        return _numerics.wang(level, rest, jnp.asarray(self.eta)[..., None])

    def _slope(self, level: Array, rest: Array) -> Array:
        return _numerics.wang_slope(level, rest, jnp.asarray(self.eta)[..., None])

    def relaxed(self, fraction: ArrayLike) -> "Wang":
        return Wang(self.eta * fraction)


@pytree
class CPW(_Distortion):
    """Cumulative prospect weighting (Tversky, Kahneman 1992): g(u) = u^eta / (u^eta + (1-u)^eta)^(1/eta).

    People overweight rare outcomes, the worst and the best: a measure of human-like attitude rather than of caution,
    and not always below the mean.

    Args:
      eta: in [0.28, 1] (below, g is not monotone); 1 is the mean, 0.71 fits human play (Wu, Gonzalez 1996).
    """

    eta: ArrayLike
    kind: ClassVar[str] = "cpw"

    def __post_init__(self):
        _require(self, "eta", self.eta, lambda eta: (eta >= 0.28) & (eta <= 1), "in [0.28, 1]")

    def _distort(self, level: Array, rest: Array) -> Array:
        eta = jnp.asarray(self.eta)[..., None]
        return level**eta / (level**eta + rest**eta) ** (1 / eta)

    def _slope(self, level: Array, rest: Array) -> Array:
        eta = jnp.asarray(self.eta)[..., None]
        total = level**eta + rest**eta
        bracket = eta * total - level * (level ** (eta - 1) - rest ** (eta - 1))
        return level ** (eta - 1) * bracket * total ** (-1 / eta - 1)

    def relaxed(self, fraction: ArrayLike) -> "CPW":
        return CPW(self.eta * fraction + (1 - fraction))


@pytree
class EVaR(RiskMeasure):
    """Entropic value at risk (Ahmadi-Javid 2012): sup over tau > 0 of Entropic(tau)(Z) + tau log(alpha).

    The tightest lower bound of CVaR(alpha) that the Chernoff inequality gives; equally the least E_q[Z] over q with
    KL(q || p) <= -log(alpha).

    Args:
      alpha: in (0, 1]; 1 is the mean, and alpha -> 0 the worst case.
    """

    alpha: ArrayLike
    kind: ClassVar[str] = "evar"

    def __post_init__(self):
        _require_tail(self, self.alpha)

    def __call__(self, distribution: Distribution) -> Array:
        # By the envelope theorem the best tau may be held fixed under differentiation.
        alpha = jnp.asarray(self.alpha)
        tau = _numerics.evar_tolerance(distribution, alpha)
        entropic = _numerics.entropic(distribution, tau)
        bound = jnp.maximum(entropic + tau * jnp.log(alpha), _numerics.worst_value(distribution))
        return jnp.where(alpha < 1, bound, distribution.mean())

    def influence(self, distribution: Distribution, z: ArrayLike) -> Array:
        """That of Entropic at the best tau, by the envelope theorem."""
        alpha = jnp.asarray(self.alpha)
        tau = _numerics.evar_tolerance(distribution, alpha)
        return _numerics.entropic_influence(distribution, jnp.where(alpha < 1, tau, jnp.inf), jnp.asarray(z))

    def relaxed(self, fraction: ArrayLike) -> "EVaR":
        return EVaR(self.alpha * fraction + (1 - fraction))


@pytree
class WorstCase(RiskMeasure):
    """The least value of positive probability.

    Under a softmax every atom has positive probability, so that a critic's worst case is its lowest atom: meant for
    samples, quantiles and known models. It has no influence function.
    """

    kind: ClassVar[str] = "worst-case"

    def __call__(self, distribution: Distribution) -> Array:
        return _numerics.worst_value(distribution)

    def influence(self, distribution: Distribution, z: ArrayLike) -> Array:
        raise _no_influence(self)

    def relaxed(self, fraction: ArrayLike) -> "Blend":
        return Blend(self, fraction)


@pytree
class Blend(RiskMeasure):
    """(1 - fraction) E[Z] + fraction measure(Z): how measures without a neutral parameter are relaxed."""

    measure: RiskMeasure
    fraction: ArrayLike
    kind: ClassVar[str] = "blend"

    def __call__(self, distribution: Distribution) -> Array:
        # Written as two products, so that fraction 0 is the mean exactly and 1 the measure exactly.
        fraction = jnp.asarray(self.fraction)
        return (1 - fraction) * distribution.mean() + fraction * self.measure(distribution)

    def influence(self, distribution: Distribution, z: ArrayLike) -> Array:
        fraction = jnp.asarray(self.fraction)[..., None]
        neutral = Expectation().influence(distribution, z)
        return (1 - fraction) * neutral + fraction * self.measure.influence(distribution, z)

    def relaxed(self, fraction: ArrayLike) -> "Blend":
        return Blend(self.measure, self.fraction * fraction)

    def __str__(self) -> str:
        return f"{_number(self.fraction)} of {self.measure}"


_KINDS: dict[str, type[RiskMeasure]] = {
    measure.kind: measure for measure in (Expectation, Entropic, CVaR, VaR, MeanVariance, Wang, CPW, EVaR, WorstCase)
}
_ALIASES = {"expectation": "mean", "neutral": "mean", "worst": "worst-case"}


def names() -> list[str]:
    """The names that `parse` knows."""
    return sorted(_KINDS)


def parse(text: str) -> RiskMeasure:
    """The measure that a text such as "cvar:0.1", "entropic:tau=2", "worst-case" or "mean" names; inverse of `str`.

    Raises:
      AverseError: for an unknown name (with the nearest ones) or a parameter that is missing, superfluous, not a
        number, or out of range.
    """
    kind, colon, argument = (part.strip() for part in text.strip().partition(":"))
    kind = kind.lower().replace("_", "-")
    kind = _ALIASES.get(kind, kind)
    if kind not in _KINDS:
        raise unknown_name("risk measure", kind, _KINDS)
    measure = _KINDS[kind]
    parameters = [name for name in measure.__dataclass_fields__ if name != "kind"]  # type: ignore[attr-defined]
    if not parameters:
        if colon:
            raise AverseError(f"the risk measure {kind} takes no parameter, but {text!r} gives one")
        return measure()
    parameter = parameters[0]
    key, equals, value = (part.strip() for part in argument.rpartition("="))
    if equals and key != parameter:
        raise AverseError(f"the parameter of {kind} is called {parameter}, not {key!r}")
    try:
        number = float(value)
    except ValueError:
        given = repr(value) if value else "nothing"
        raise AverseError(f"{kind} needs a number, as in {kind}:{_EXAMPLES[kind]}, not {given}") from None
    return measure(number)  # type: ignore[call-arg]


_EXAMPLES = {"entropic": 1, "cvar": 0.1, "var": 0.05, "mean-variance": 0.5, "wang": 0.75, "cpw": 0.71, "evar": 0.1}


# --- parameters -----------------------------------------------------------------------------------------------------


def _require(measure: RiskMeasure, name: str, value: Any, accepts: Any, allowed: str) -> None:
    """Refuses a concrete parameter out of range (nan fails every comparison); traced ones cannot be looked at."""
    if isinstance(value, jax.core.Tracer):
        return
    try:
        number = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise AverseError(f"{name} of {measure.kind} must be a number {allowed}, not {value!r}") from None
    if not np.all(accepts(number)):
        raise AverseError(f"{name} of {measure.kind} must be {allowed}, not {_number(value)}")


def _require_tail(measure: RiskMeasure, alpha: Any) -> None:
    _require(measure, "alpha", alpha, lambda alpha: (alpha > 0) & (alpha <= 1), "in (0, 1]")


def _number(value: Any) -> str:
    """The shortest text that reads back as the same number."""
    if isinstance(value, jax.core.Tracer):
        return "traced"
    array: Any = np.asarray(value)
    if array.ndim or not np.issubdtype(array.dtype, np.floating):
        return str(array.tolist())
    return np.format_float_positional(array[()], trim="-")


def _no_influence(measure: RiskMeasure) -> AverseError:
    having = [kind for kind in names() if kind not in (VaR.kind, WorstCase.kind)]
    return AverseError(f"{measure} has no influence function on atoms; these measures have one: {', '.join(having)}")
