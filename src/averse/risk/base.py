"""What a risk measure is: the class that ours and everybody else's derive from, and the text that names one.

Axes: N atoms, M points; `...` batch axes.
"""

import functools
from collections.abc import Hashable, Mapping
from typing import Annotated, Any, ClassVar, TypeVar, cast, dataclass_transform, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from averse.errors import AverseError
from averse.risk.broadcasting import lifted, per_value
from averse.risk.distributions import Distribution, Returns, Samples, as_distribution, floating
from averse.risk.pytrees import pytree
from averse.risk.registry import OURS, REGISTRY
from averse.settings import Fraction, check_value, hints_of, words

M = TypeVar("M", bound="RiskMeasure")


@dataclass_transform(frozen_default=True)
class RiskMeasure:
    """A risk measure of the return. Derive from it to bring your own:

        class Semideviation(RiskMeasure):
            weight: Fraction = 0.5  # a range of `averse.settings`, which is checked

            def value(self, distribution):
                mean = distribution.mean()
                shortfall = jax.nn.relu(mean[..., None] - distribution.values)
                return mean - self.weight * distribution.expectation(shortfall)

    That is all. A derived class becomes a frozen dataclass and a pytree whose leaves are its fields, all of them
    numbers. `averse.risk.register("semideviation", Semideviation)` gives it a name, `averse.risk.check_measure` says
    what is wrong with it, and `str(measure)` is the text that `averse.risk.parse` reads. A `__post_init__` of its own
    begins with `super().__post_init__()`, which checks the ranges.

    What is not true of a measure, its class says (`risk_averse = False`): `risk_averse`, `monotone`, `has_influence`,
    `linear_in_quantiles`. `example` is a number that may stand behind its name, for error messages.
    """

    example: ClassVar[float] = 0.5

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        pytree(cls)

    def __post_init__(self) -> None:
        _check_numbers(self)

    # --- what a derived class says ----------------------------------------------------------------------------------

    def value(self, distribution: Distribution) -> Array:
        """What each distribution of a batch is worth [...], in units of reward. Every derived class says it.

        A function of jax, of what every `Distribution` offers: `values` [..., N] in any order, their `probs` and
        `log_probs`, `mean()`, `variance()`, `expectation(at_values)`, `quantile(level)`, `ordered()`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not say what a distribution is worth: def value(self, d)"
        )

    def derivative(self, distribution: Distribution, z: Array) -> Array:
        """The influence function at points z [..., M], as [..., M]. A derived class may know it in closed form.

        By default by automatic differentiation: every z joins the distribution with next to no weight, and the
        derivative of the measure with respect to that weight, all weights being normalised to sum to one, is the
        influence of z. It costs one gradient on N + M values. A probability that underflows counts as none.
        """
        probs, z = jnp.broadcast_arrays(distribution.probs, distribution.values)[0], jnp.asarray(z)
        lead = jnp.broadcast_shapes(probs.shape[:-1], z.shape[:-1])
        values = _joined(distribution.values, z.astype(probs.dtype), lead)
        # The weight is not 0, where logarithms have no usable gradient, but too small to be seen.
        weights = _joined(probs, jnp.full(z.shape, jnp.finfo(probs.dtype).eps ** 2, probs.dtype), lead)
        slopes = jax.grad(lambda weights: jnp.sum(self.value(Samples(values, weights))))(weights)
        return slopes[..., probs.shape[-1] :]

    def relaxed(self, fraction: ArrayLike) -> "RiskMeasure":
        """This measure moved towards neutral: the mean at `fraction` 0, itself at 1; `fraction` [] may be traced.

        For the risk schedule that avoids blindness to success (Greenberg et al. 2022). By default a `Blend` with the
        mean; a derived class may move its number instead.
        """
        return Blend(self, fraction)

    @property
    def risk_averse(self) -> bool:
        """Whether it is never above the mean."""
        return True

    @property
    def monotone(self) -> bool:
        """Whether what is better in every case is never worth less; the measure is then never below the worst case."""
        return True

    @property
    def has_influence(self) -> bool:
        """Whether it is differentiable along mixtures, so that it has an influence function."""
        return True

    @property
    def linear_in_quantiles(self) -> bool:
        """Whether it is a sum of the quantiles with weights that do not depend on them; not unless a class says so."""
        return False

    # --- what everybody calls ---------------------------------------------------------------------------------------

    def __call__(self, distribution: Returns) -> Array:
        """The risk-adjusted value [...] of each distribution of a batch, in units of reward.

        Args:
          distribution: a `Distribution` [..., N], or plain numbers [..., N] that stand for equally weighted samples.

        Raises:
          AverseError: for anything else.
        """
        measure, distribution = _side_by_side(self, as_distribution(distribution))
        return measure.value(distribution)

    def influence(self, distribution: Returns, z: ArrayLike) -> Array:
        """d/de of the measure at (1 - e) P + e delta_z, at e = 0, for points z [..., M], as [..., M].

        The influence function (Hampel 1974): to first order, how much more of the outcome z would improve the measure.
        Its mean under P is zero, which makes it the risk-sensitive counterpart of z - mean, the stuff of advantages.

        Args:
          distribution: P, as above.
          z: in units of reward; its batch axes broadcast against those of the distribution, whose values are finite.

        Raises:
          AverseError: if the measure has no such derivative (VaR, worst case), and for what are no numbers.
        """
        if not self.has_influence:
            raise AverseError(
                f"{self} has no influence function on atoms; these measures have one: {', '.join(_with_influence())}"
            )
        z = floating("z", z)
        measure, distribution = _side_by_side(self, as_distribution(distribution), z.ndim)
        return measure.derivative(distribution, lifted(z, distribution.values.ndim - z.ndim))

    @property
    def kind(self) -> str:
        """The name under which `averse.risk.parse` knows the class: registered, or `module:Class`."""
        return REGISTRY.name_of(type(self)) or type(self).__qualname__

    def __str__(self) -> str:
        return _written(self.kind, {name: getattr(self, name) for name in numbers_of(type(self))})


class Blend(RiskMeasure):
    """(1 - fraction) E[Z] + fraction measure(Z): how measures without a neutral number are relaxed.

    `averse.risk.parse` reads it as "0.5 of cvar:0.1".

    Args:
      measure: any risk measure.
      fraction: in [0, 1]; 0 is the mean.
    """

    measure: RiskMeasure
    fraction: Annotated[ArrayLike, *get_args(Fraction)[1:]]

    def value(self, distribution: Distribution) -> Array:
        # Written as two products, so that fraction 0 is the mean exactly and 1 the measure exactly.
        fraction = jnp.asarray(self.fraction, distribution.probs.dtype)
        mean, worth = distribution.mean(), self.measure.value(distribution)
        # What is not to count does not, were it infinite; and of a measure that is -inf where the mean is inf (that of
        # mean and variance), it is the measure that goes there faster.
        mean = jnp.where(
            (fraction == 1) & ~jnp.isfinite(mean) | jnp.isposinf(mean) & jnp.isneginf(worth) & (fraction > 0), 0, mean
        )
        worth = jnp.where((fraction == 0) & jnp.isinf(worth), 0, worth)
        return (1 - fraction) * mean + fraction * worth

    def derivative(self, distribution: Distribution, z: Array) -> Array:
        fraction = per_value(jnp.asarray(self.fraction, distribution.probs.dtype))
        neutral = z - distribution.mean()[..., None]
        return (1 - fraction) * neutral + fraction * self.measure.derivative(distribution, z)

    def relaxed(self, fraction: ArrayLike) -> "Blend":
        return Blend(self.measure, self.fraction * fraction)

    @property
    def risk_averse(self) -> bool:
        return self.measure.risk_averse

    @property
    def monotone(self) -> bool:
        return self.measure.monotone

    @property
    def has_influence(self) -> bool:
        return self.measure.has_influence

    @property
    def linear_in_quantiles(self) -> bool:
        return self.measure.linear_in_quantiles

    @property
    def kind(self) -> str:
        return "blend"

    def __str__(self) -> str:
        return f"{_shown(self.fraction)} of {self.measure}"


def text_of(measure: RiskMeasure, importable: bool = False) -> str:
    """The text that `averse.risk.parse` reads back as this measure: `str(measure)`, once it is sure to be read back.

    Args:
      importable: name a class that was registered by `averse.risk.register` by its import path instead, so that another
        process can read the text, in which nobody has registered anything.

    Raises:
      AverseError: for a class that cannot be imported (defined in a function or in a script that is being run) and has
        no name, and for numbers that are arrays or traced.
    """
    if not isinstance(measure, RiskMeasure):
        raise AverseError(f"measure must be an averse.risk.RiskMeasure, not {measure!r:.80}")
    if isinstance(measure, Blend):
        _refuse_arrays(measure, {"fraction": measure.fraction})
        return f"{_shown(measure.fraction)} of {text_of(measure.measure, importable)}"
    cls = type(measure)
    kind = REGISTRY.name_of(cls, lasting=importable)
    if kind is None:
        where = "name it with averse.risk.register" if not importable else "move it to a module"
        raise AverseError(f"the risk measure {cls.__qualname__} cannot be imported from anywhere: {where}")
    numbers = {name: getattr(measure, name) for name in numbers_of(cls)}
    _refuse_arrays(measure, numbers)
    return _written(kind, numbers)


def numbers_of(cls: type[RiskMeasure]) -> list[str]:
    """The names of the numbers of a class of measures, in their order."""
    return list(hints_of(cls))


# --- the parts ------------------------------------------------------------------------------------------------------


def _side_by_side(measure: M, distribution: Distribution, ndim: int = 1) -> tuple[M, Distribution]:
    """Both with as many batch axes as the longer has, `ndim` axes with that of the values at least.

    So a measure need not broadcast implicitly, which those may have forbidden who set `jax_numpy_rank_promotion`.
    """
    present = distribution.values.ndim
    numbers = max((getattr(leaf, "ndim", 0) for leaf in jax.tree.leaves(measure)), default=0)
    ndim = max(ndim, present, numbers + 1)
    if present < ndim:
        distribution = jax.tree.map(lambda leaf: lifted(leaf, ndim - present), distribution)
    if numbers > 0:
        measure = jax.tree.map(lambda leaf: _with_axes(leaf, ndim - 1), measure)
    return measure, distribution


def _with_axes(number: ArrayLike, ndim: int) -> ArrayLike:
    missing = ndim - getattr(number, "ndim", 0)
    return number if missing in (0, ndim) else lifted(jnp.asarray(number), missing)


def _joined(left: Array, right: Array, lead: tuple[int, ...]) -> Array:
    """Two arrays [..., N] and [..., M] side by side, [*lead, N + M]."""
    return jnp.concatenate([jnp.broadcast_to(x, (*lead, x.shape[-1])) for x in (left, right)], -1)


@functools.cache
def _ranges(cls: Hashable) -> Mapping[str, Any]:
    """The range of each number of a class, as a type that `averse.settings` checks: that of a single float."""
    return {
        name: Annotated[float, *get_args(hint)[1:]] if get_origin(hint) is Annotated else float
        for name, hint in hints_of(cast(type, cls)).items()
        if hint is not RiskMeasure
    }


def _check_numbers(measure: RiskMeasure) -> None:
    """Refuse a concrete number out of range (nan fails every comparison); traced ones cannot be looked at."""
    if isinstance(measure, Blend) and not isinstance(measure.measure, RiskMeasure):
        raise AverseError(f"measure of blend must be an averse.risk.RiskMeasure, not {measure.measure!r:.80}")
    for name, hint in _ranges(cast(Hashable, type(measure))).items():
        given = getattr(measure, name)
        if isinstance(given, jax.core.Tracer):
            continue
        try:
            array: Any = np.asarray(given)
        except ValueError:  # ragged
            array = np.asarray(None)
        numeric = array.size and (array.dtype.kind in "fiu" or jnp.issubdtype(array.dtype, jnp.floating))
        if not numeric:
            raise AverseError(
                f"{name} of {measure.kind} must be {words(hint)}, not {' '.join(repr(given).split())[:80]}"
            )
        for number in np.unique(array.astype(np.float64)).tolist():
            check_value(f"{name} of {measure.kind}", hint, number)


def _refuse_arrays(measure: RiskMeasure, numbers: Mapping[str, Any]) -> None:
    for name, number in numbers.items():
        if isinstance(number, jax.core.Tracer) or np.ndim(number):
            raise AverseError(f"{name} of {measure.kind} must be one number to be written down, not {_shown(number)}")


def _written(kind: str, numbers: Mapping[str, Any]) -> str:
    shown = {name: _shown(number) for name, number in numbers.items()}
    if len(shown) > 1:
        return f"{kind}:{','.join(f'{name}={text}' for name, text in shown.items())}"
    return ":".join([kind, *shown.values()])


def _shown(value: Any) -> str:
    """The shortest text that reads back as the same number."""
    if isinstance(value, jax.core.Tracer):
        return "traced"
    array: Any = np.asarray(value)
    if array.ndim or not np.issubdtype(array.dtype, np.floating):
        return str(array.tolist())
    return np.format_float_positional(array[()], trim="-")


def _with_influence() -> list[str]:
    """Our own measures that have an influence function."""
    return [kind for kind in sorted(OURS) if REGISTRY.find(kind).has_influence]
