"""Distributions of returns: finitely many values with probabilities, as pytrees with leading batch axes.

Three representations share one small interface (`Distribution`), which is all that the risk measures see:

* `Categorical`: fixed ascending atoms, learned probabilities (C51, Bellemare et al. 2017);
* `Quantiles`: learned values of equal probability (QR-DQN, Dabney et al. 2018);
* `Samples`: observed values, optionally weighted (episode returns).

Returns may be infinite: the measures have the value that they tend to as such a return tends there. A return of
probability 0 counts for nothing. Numbers are checked where they are at hand; traced ones cannot be looked at.

Axes: N atoms; `...` any batch axes.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge
from jax import Array
from jax.typing import ArrayLike

from averse.errors import AverseError
from averse.risk.broadcasting import lifted, per_value, same_rank
from averse.risk.pytrees import pytree
from averse.settings import Number, check_value

_ROUNDING = 1e-3  # by how much probabilities may miss one: those of single precision, summed over many atoms


class Distribution:
    """What every distribution offers.

    Attributes:
      values: what the return may be [..., N], in units of reward.
      probs: the probabilities of the values [..., N].
      log_probs: their logarithms [..., N]; -inf where a value is impossible.
    """

    values: Array
    probs: Array
    log_probs: Array

    def ordered(self) -> tuple[Array, Array]:
        """Values in ascending order with their probabilities, both [..., N]."""
        raise NotImplementedError

    def mean(self) -> Array:
        """Expected return [...]; nan where both -inf and inf are possible."""
        return self.expectation(self.values)

    def variance(self) -> Array:
        """Variance of the return [...], in squared units of reward; inf where an infinite return is possible only."""
        infinite = jnp.isinf(self.values)
        mean = jnp.sum(self.probs * jnp.where(infinite, 0, self.values), -1, keepdims=True)
        spread = jnp.sum(self.probs * jnp.square(jnp.where(infinite, 0, self.values) - mean), -1)
        possible = self.probs > 0
        certain = jnp.all(
            ~possible | (self.values == jnp.max(self.values, -1, where=possible, initial=-jnp.inf, keepdims=True)), -1
        )
        return jnp.where(jnp.any(possible & infinite, -1), jnp.where(certain, 0, jnp.inf), spread)

    def expectation(self, integrand: Array) -> Array:
        """Expected value [...] of a quantity that is given at each of the `values` [..., N].

        An infinite one counts only where its probability is not 0.
        """
        probs, integrand = same_rank(self.probs, floating("integrand", integrand))
        return jnp.sum(probs * jnp.where((probs > 0) | ~jnp.isinf(integrand), integrand, 0), -1)

    def cdf(self, z: ArrayLike) -> Array:
        """P(Z <= z) for points z [..., M], as [..., M]."""
        values, probs, z = same_rank(self.values, self.probs, floating("z", z))
        below = values[..., None, :] <= z[..., :, None]
        return jnp.sum(jnp.where(below, probs[..., None, :], 0), -1)

    def quantile(self, level: ArrayLike) -> Array:
        """The lower quantile inf{z: P(Z <= z) >= level} as [...]; `level` in (0, 1] broadcasts against [...]."""
        return lower_quantile(*self.ordered(), level)


def floating(name: str, x: Any) -> Array:
    """Numbers of any type as an array of floating-point ones, of single precision at least.

    Raises:
      AverseError: for what are no numbers.
    """
    array = x
    if not isinstance(x, jax.Array):
        try:
            array = np.asarray(x)
        except ValueError:  # ragged
            array = np.asarray(None)
    if not (array.dtype.kind in "fiub" or jnp.issubdtype(array.dtype, jnp.floating)):
        raise AverseError(f"{name} must be numbers, neither ragged nor of anything else, not {type(x).__name__}")
    x = jnp.asarray(array)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(jnp.result_type(float))
    # Half precision cannot even add up ten probabilities.
    return x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)


def _at_hand(x: Array) -> Any:
    """The numbers as numpy's, or None where they are traced."""
    return None if isinstance(x, jax.core.Tracer) else np.asarray(x, np.float64)


def _require_values(name: str, values: Array) -> None:
    """Raise AverseError unless there are numbers [..., N], none of them nan."""
    if not values.ndim or not values.shape[-1]:
        raise AverseError(f"{name} must be numbers [..., N], at least one, not of the shape {list(values.shape)}")
    numbers = _at_hand(values)
    if numbers is not None and (missing := int(np.isnan(numbers).sum())):
        raise AverseError(f"{name} must be numbers, but {missing} of the {numbers.size} are nan")


def _require_weights(name: str, weights: Array) -> Any:
    """The sums over the last axis, or None where traced; raises AverseError unless finite, >= 0 and not all 0."""
    if not weights.ndim or not weights.shape[-1]:
        raise AverseError(f"{name} must be numbers [..., N], at least one, not of the shape {list(weights.shape)}")
    numbers = _at_hand(weights)
    if numbers is None:
        return None
    wrong = ~(np.isfinite(numbers) & (numbers >= 0))
    if wrong.any():
        where = tuple(int(k) for k in np.argwhere(wrong)[0])
        raise AverseError(f"{name} must be finite and not negative, but {name}{list(where)} is {numbers[where]:g}")
    totals = numbers.sum(-1)
    if (totals == 0).any():
        row = np.argwhere(totals == 0)[0].tolist()
        raise AverseError(f"{name} must not all be 0{f', as those of {name}{row} are' if row else ''}")
    return totals


def _broadcast(names: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return jnp.broadcast_shapes(*shapes)
    except ValueError:
        raise AverseError(
            f"{names} must have shapes that fit, not {' and '.join(str(list(s)) for s in shapes)}"
        ) from None


def _safe_log(x: Array) -> Array:
    """log(x), -inf at 0, where the gradient is 0 instead of nan."""
    positive = x > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, x, 1)), -jnp.inf)


def lower_quantile(values: Array, probs: Array, level: ArrayLike) -> Array:
    """The smallest of the ascending `values` [..., N] whose cumulated probability reaches `level` [...].

    A cumulated probability that misses the level by rounding alone counts as reaching it, so that the 0.3-quantile of
    ten equal samples is the third. Differentiable with respect to the values.
    """
    level = per_value(jnp.asarray(level, probs.dtype))
    values, probs, level, index = same_rank(values, probs, level, jnp.arange(values.shape[-1]))
    cumulated = jnp.cumsum(probs, -1)
    rounding = 16 * jnp.finfo(cumulated.dtype).eps
    below = (cumulated < level - rounding) | (cumulated <= 0)
    # The last value always qualifies, even if the probabilities sum to a little less than one. As a minimum over a
    # mask rather than a gather at an index: reductions are several times faster than gathers on a CPU.
    below = below & (index < values.shape[-1] - 1)
    reached = jnp.min(jnp.where(below, jnp.inf, values), -1)
    # Where they do, nothing beyond the last possible value is a quantile.
    return jnp.minimum(reached, jnp.max(jnp.where(probs > 0, values, -jnp.inf), -1))


@pytree
class Categorical(Distribution):
    """Probabilities on fixed atoms.

    Args:
      atoms: [N] or [..., N], finite, ascending (not checked), in units of reward. To `vmap` over a batch that shares
        [N] atoms, map over the probabilities or logits and construct inside.
      probs: [..., N], non-negative, summing to one over the last axis.
      log_probs: [..., N]; by default the logarithm of `probs`. Both are kept, because sums over probabilities must be
        linear in them while log-sum-exp must see logarithms: a probability of exp(-200) is 0 in float32, yet it
        decides the entropic risk of a return a thousand tolerances below the others. `from_logits` keeps it.

    Gradients with respect to `probs` treat a probability of exactly 0 as fixed.

    Raises:
      AverseError: where there are not as many atoms as probabilities, an atom is not finite, or probabilities are none.
    """

    atoms: Array
    probs: Array
    log_probs: Array = None  # type: ignore[assignment]

    def __post_init__(self):
        atoms, probs = floating("atoms", self.atoms), floating("probs", self.probs)
        if atoms.shape[-1:] != probs.shape[-1:]:
            raise AverseError(f"as many atoms as probabilities, please: {atoms.shape[-1:]} and {probs.shape[-1:]}")
        _broadcast("atoms and probs", atoms.shape, probs.shape)
        _require_values("atoms", atoms)
        at_hand = _at_hand(atoms)
        if at_hand is not None and np.isinf(at_hand).any():
            raise AverseError("atoms must be finite; of returns that may be infinite make Samples(values, weights)")
        totals = _require_weights("probs", probs)
        if totals is not None and (np.abs(totals - 1) > _ROUNDING).any():
            wrong = totals[np.abs(totals - 1) > _ROUNDING].flat[0]
            raise AverseError(
                f"probs must sum to one over the last axis, not to {wrong:.6g}; Samples(values, weights) are normalised"
            )
        log_probs = _safe_log(probs) if self.log_probs is None else floating("log_probs", self.log_probs)
        # The atoms may lack batch axes, which `values` adds; the probabilities, which measures see, do not.
        missing = max(0, atoms.ndim - probs.ndim)
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "probs", lifted(probs, missing))
        object.__setattr__(self, "log_probs", lifted(log_probs, missing))

    @classmethod
    def from_logits(cls, atoms: ArrayLike, logits: ArrayLike) -> "Categorical":
        """The distribution softmax(logits) on the atoms; logits [..., N]."""
        log_probs = jax.nn.log_softmax(floating("logits", logits), -1)
        return cls(atoms, jnp.exp(log_probs), log_probs)  # type: ignore[arg-type]

    @property
    def values(self) -> Array:  # type: ignore[override]
        shape = jnp.broadcast_shapes(self.atoms.shape, self.probs.shape)
        return jnp.broadcast_to(self.atoms, shape)

    def ordered(self) -> tuple[Array, Array]:
        return self.values, jnp.broadcast_to(self.probs, self.values.shape)


@pytree
class Quantiles(Distribution):
    """N equally probable values [..., N], in any order (a network does not keep its quantiles sorted).

    Raises:
      AverseError: for what are no numbers, or nan.
    """

    values: Array

    def __post_init__(self):
        values = floating("values", self.values)
        _require_values("values", values)
        object.__setattr__(self, "values", values)

    @property
    def probs(self) -> Array:  # type: ignore[override]
        return jnp.full(self.values.shape, 1 / self.values.shape[-1], self.values.dtype)

    @property
    def log_probs(self) -> Array:  # type: ignore[override]
        return jnp.full(self.values.shape, -jnp.log(self.values.shape[-1]), self.values.dtype)

    def ordered(self) -> tuple[Array, Array]:
        return jnp.sort(self.values, -1), self.probs


@pytree
class Samples(Distribution):
    """Observed values [..., N] with non-negative weights [..., N], equal by default, normalised here to sum to one.

    Values may be infinite.

    Raises:
      AverseError: for what are no numbers, values that are nan, and weights that are negative, not finite or all 0.
    """

    values: Array
    weights: Array = None  # type: ignore[assignment]

    def __post_init__(self):
        values = floating("values", self.values)
        _require_values("values", values)
        weights = jnp.ones_like(values) if self.weights is None else floating("weights", self.weights)
        if self.weights is not None:
            _require_weights("weights", weights)
        shape = _broadcast("values and weights", values.shape, weights.shape)
        weights = weights / jnp.sum(weights, -1, keepdims=True)
        object.__setattr__(self, "values", jnp.broadcast_to(values, shape))
        object.__setattr__(self, "weights", jnp.broadcast_to(weights, shape))

    @property
    def probs(self) -> Array:  # type: ignore[override]
        return self.weights

    @property
    def log_probs(self) -> Array:  # type: ignore[override]
        return _safe_log(self.weights)

    def ordered(self) -> tuple[Array, Array]:
        order = jnp.argsort(self.values, -1)
        return jnp.take_along_axis(self.values, order, -1), jnp.take_along_axis(self.weights, order, -1)


Returns = Distribution | ArrayLike | Sequence[float]
"""A distribution, or plain numbers [..., N] that stand for equally weighted samples."""


def as_distribution(returns: Returns) -> Distribution:
    """A distribution as it is; numbers [..., N], such as the returns of N episodes, as equally weighted `Samples`.

    Raises:
      AverseError: for anything that is neither, for a single number, no numbers, or numbers among which there is a nan.
    """
    if isinstance(returns, Distribution):
        return returns
    allowed = "distribution must be a Distribution, or an array [..., N] of equally weighted samples"
    array: Any = returns
    if not isinstance(returns, jax.Array):
        try:
            array = np.asarray(returns)
        except ValueError:  # ragged
            array = np.asarray(None)
    if not (array.dtype.kind in "fiub" or jnp.issubdtype(array.dtype, jnp.floating)):
        raise AverseError(f"{allowed}, not {type(returns).__name__}")
    if not array.ndim or not array.shape[-1]:
        raise AverseError(f"{allowed}, not an array of shape {list(array.shape)}")
    if not isinstance(array, jax.core.Tracer) and (missing := int(np.isnan(array).sum())):
        raise AverseError(f"{allowed}, but {missing} of the {array.size} numbers are nan")
    return Samples(jnp.asarray(array))


def uniform_support(low: float, high: float, num_atoms: int) -> Array:
    """`num_atoms` equally spaced atoms from `low` to `high`, as [N].

    Raises:
      AverseError: unless low < high, both finite, and there are at least two atoms.
    """
    low, high = check_value("low of a support", Number, low), check_value("high of a support", Number, high)
    num_atoms = check_value("num_atoms of a support", Annotated[int, Ge(2)], num_atoms)
    if not low < high:
        raise AverseError(f"a support needs low < high, not {low:g} and {high:g}")
    return jnp.linspace(low, high, num_atoms)
