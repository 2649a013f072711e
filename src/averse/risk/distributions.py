"""Distributions of returns: finitely many values with probabilities, as pytrees with leading batch axes.

Three representations share one small interface (`Distribution`), which is all that the risk measures see:

* `Categorical`: fixed ascending atoms, learned probabilities (C51, Bellemare et al. 2017);
* `Quantiles`: learned values of equal probability (QR-DQN, Dabney et al. 2018);
* `Samples`: observed values, optionally weighted (episode returns).

Axes: N atoms; `...` any batch axes.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from averse.errors import AverseError
from averse.risk.pytrees import pytree


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
        """Expected return [...]."""
        return jnp.sum(self.probs * self.values, -1)

    def variance(self) -> Array:
        """Variance of the return [...], in squared units of reward."""
        return jnp.sum(self.probs * jnp.square(self.values - self.mean()[..., None]), -1)

    def expectation(self, integrand: Array) -> Array:
        """Expected value [...] of a quantity that is given at each of the `values` [..., N]."""
        return jnp.sum(self.probs * integrand, -1)

    def cdf(self, z: ArrayLike) -> Array:
        """P(Z <= z) for points z [..., M], as [..., M]."""
        below = self.values[..., None, :] <= jnp.asarray(z)[..., :, None]
        return jnp.sum(jnp.where(below, self.probs[..., None, :], 0), -1)

    def quantile(self, level: ArrayLike) -> Array:
        """The lower quantile inf{z: P(Z <= z) >= level} as [...]; `level` in (0, 1] broadcasts against [...]."""
        return lower_quantile(*self.ordered(), level)


def _floating(x: Any) -> Array:
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))


def _safe_log(x: Array) -> Array:
    """log(x), -inf at 0, where the gradient is 0 instead of nan."""
    positive = x > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, x, 1)), -jnp.inf)


def lower_quantile(values: Array, probs: Array, level: ArrayLike) -> Array:
    """The smallest of the ascending `values` [..., N] whose cumulated probability reaches `level` [...].

    A cumulated probability that misses the level by rounding alone counts as reaching it, so that the 0.3-quantile of
    ten equal samples is the third. Differentiable with respect to the values.
    """
    cumulated = jnp.cumsum(probs, -1)
    level = jnp.asarray(level, cumulated.dtype)[..., None]
    rounding = 16 * jnp.finfo(cumulated.dtype).eps
    below = (cumulated < level - rounding) | (cumulated <= 0)
    # The last value always qualifies, even if the probabilities sum to a little less than one. As a minimum over a
    # mask rather than a gather at an index: reductions are several times faster than gathers on a CPU.
    below = below & (jnp.arange(values.shape[-1]) < values.shape[-1] - 1)
    return jnp.min(jnp.where(below, jnp.inf, values), -1)


@pytree
class Categorical(Distribution):
    """Probabilities on fixed atoms.

    Args:
      atoms: [N] or [..., N], ascending (not checked), in units of reward. To `vmap` over a batch that shares [N] atoms,
        map over the probabilities or logits and construct inside.
      probs: [..., N], non-negative, summing to one over the last axis.
      log_probs: [..., N]; by default the logarithm of `probs`. Both are kept, because sums over probabilities must be
        linear in them while log-sum-exp must see logarithms: a probability of exp(-200) is 0 in float32, yet it
        decides the entropic risk of a return a thousand tolerances below the others. `from_logits` keeps it.

    Gradients with respect to `probs` treat a probability of exactly 0 as fixed.

    Raises:
      AverseError: where there are not as many atoms as probabilities.
    """

    atoms: Array
    probs: Array
    log_probs: Array = None  # type: ignore[assignment]

    def __post_init__(self):
        atoms, probs = _floating(self.atoms), _floating(self.probs)
        if atoms.shape[-1:] != probs.shape[-1:]:
            raise AverseError(f"as many atoms as probabilities, please: {atoms.shape[-1:]} and {probs.shape[-1:]}")
        log_probs = _safe_log(probs) if self.log_probs is None else _floating(self.log_probs)
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "probs", probs)
        object.__setattr__(self, "log_probs", log_probs)

    @classmethod
    def from_logits(cls, atoms: ArrayLike, logits: ArrayLike) -> "Categorical":
        """The distribution softmax(logits) on the atoms; logits [..., N]."""
        log_probs = jax.nn.log_softmax(_floating(logits), -1)
        return cls(atoms, jnp.exp(log_probs), log_probs)  # type: ignore[arg-type]

    @property
    def values(self) -> Array:  # type: ignore[override]
        shape = jnp.broadcast_shapes(self.atoms.shape, self.probs.shape)
        return jnp.broadcast_to(self.atoms, shape)

    def ordered(self) -> tuple[Array, Array]:
        return self.values, jnp.broadcast_to(self.probs, self.values.shape)


@pytree
class Quantiles(Distribution):
    """N equally probable values [..., N], in any order (a network does not keep its quantiles sorted)."""

    values: Array

    def __post_init__(self):
        object.__setattr__(self, "values", _floating(self.values))

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
    """Observed values [..., N] with non-negative weights [..., N], equal by default, normalised here to sum to one."""

    values: Array
    weights: Array = None  # type: ignore[assignment]

    def __post_init__(self):
        values = _floating(self.values)
        weights = jnp.ones_like(values) if self.weights is None else _floating(self.weights)
        shape = jnp.broadcast_shapes(values.shape, weights.shape)
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
    allowed = "a risk measure takes a distribution, or an array [..., N] of equally weighted samples"
    traced = isinstance(returns, jax.core.Tracer)
    try:
        array: Any = returns if traced else np.asarray(returns)
        numeric = array.dtype.kind in "fiub" or jnp.issubdtype(array.dtype, jnp.floating)
    except ValueError:
        numeric = False
    if not numeric:
        raise AverseError(f"{allowed}, not {type(returns).__name__}")
    if not array.ndim or not array.shape[-1]:
        raise AverseError(f"{allowed}, not an array of shape {list(array.shape)}")
    if not traced and (missing := int(np.isnan(array).sum())):
        raise AverseError(f"{allowed}, but {missing} of the {array.size} numbers are nan")
    return Samples(jnp.asarray(array))


def uniform_support(low: float, high: float, num_atoms: int) -> Array:
    """`num_atoms` equally spaced atoms from `low` to `high`, as [N].

    Raises:
      AverseError: unless low < high, both finite, and there are at least two atoms.
    """
    if not (-float("inf") < low < high < float("inf")) or num_atoms < 2:
        raise AverseError(f"a support needs finite low < high and 2 atoms or more, not {low}, {high}, {num_atoms}")
    return jnp.linspace(low, high, num_atoms)
