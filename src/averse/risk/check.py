"""Everything our own risk measures are tested for, as a function that checks anybody's."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from averse.errors import AverseError
from averse.risk.base import RiskMeasure, text_of
from averse.risk.distributions import Categorical, Distribution, Quantiles, Samples
from averse.risk.parsing import parse

_BATCH, _ATOMS = (8, 3), 40
_EXACT, _SINGLE = 1e-8, 2e-4  # relative errors that pass, in float64 and in float32


def check_measure(measure: RiskMeasure | str) -> None:
    """Find out what is wrong with a risk measure.

    Checked on random distributions: it takes batches [..., N] in every representation, plain arrays, numbers that are
    traced or differ over the batch, under `jit`, `vmap` and `grad`, in float32 and float64; a constant more is worth
    that constant more; it is as `monotone`, `risk_averse` and `linear_in_quantiles` as it says; its influence function
    has mean zero and is the derivative along mixtures; `relaxed` leads from the mean to the measure; and its text is
    read back as the same measure.

    Args:
      measure: a measure with ordinary numbers (neither arrays nor extreme ones), or its text.

    Raises:
      AverseError: one line that says what is wrong first.
    """
    measure = parse(measure)
    for what, find in _CHECKS.items():
        try:
            with jax.enable_x64(what not in _IN_SINGLE_PRECISION):
                fault = find(measure)
        except AverseError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines() or [""]
            fault = f"fails where {what}: {type(error).__name__}: {reason[0]}"
        if fault:
            raise AverseError(f"the risk measure {measure} {fault}")


def _shapes(measure: RiskMeasure) -> str | None:
    for lead in ((), (1,), _BATCH):
        for count in (1, _ATOMS):
            found = jax.eval_shape(_worth, measure, Quantiles(jnp.zeros((*lead, count))))
            if found.shape != lead or not jnp.issubdtype(found.dtype, jnp.floating):
                words = f"{found.dtype} {list(found.shape)}"
                return f"makes {words} of distributions {[*lead, count]}, not floating-point numbers {list(lead)}"
    return None


def _single_precision(measure: RiskMeasure) -> str | None:
    for scale in (1.0, 1e3):
        single = _of(measure, scale * _values(), _probs())
        if not np.isfinite(single).all():
            return f"is {_shown(single)} in float32 of returns of size {scale:g}, which is not finite"
        with jax.enable_x64(True):
            double = _of(measure, scale * _values(), _probs())
        if _apart(single, double, _SINGLE, scale):
            return f"is {_shown(single)} in float32 but {_shown(double)} in float64 of returns of size {scale:g}"
    return None


def _representations(measure: RiskMeasure) -> str | None:
    values, probs, order = _values(), _without_first(_probs()), np.random.default_rng(1).permutation(_ATOMS)
    ascending = _of(measure, values, probs)
    shuffled = _worth(measure, Samples(jnp.asarray(values[..., order]), jnp.asarray(probs[..., order])))
    if _apart(shuffled, ascending):
        return f"depends on the order of values: {_shown(shuffled)} and {_shown(ascending)}"
    besides = _of(measure, _with_first(values, -50.0), probs)
    if _apart(besides, ascending):
        return f"counts a value of probability 0: {_shown(besides)} instead of {_shown(ascending)}"
    equal = _worth(measure, Quantiles(jnp.asarray(values[..., order])))
    plain = _worth(measure, values)
    if _apart(plain, equal):
        return f"of a plain array is {_shown(plain)}, of the same numbers as quantiles {_shown(equal)}"
    return None


def _translation(measure: RiskMeasure) -> str | None:
    constant = _of(measure, np.full((*_BATCH, _ATOMS), -3.0), _probs())
    if _apart(constant, np.full(_BATCH, -3.0)):
        return f"says that a certain -3 is worth {_shown(constant)}"
    moved, present = _of(measure, _values() + 20, _probs()), _of(measure, _values(), _probs())
    if _apart(moved, present + 20):
        return f"rises by {_shown(moved - present)} where every return rises by 20"
    return None


def _declared(measure: RiskMeasure) -> str | None:
    values, probs = _values(), _probs()
    rises = np.random.default_rng(2).exponential(0.3, values.shape).cumsum(-1)
    for scale in (1.0, 100.0):
        worth, rounding = _of(measure, scale * values, probs), scale * _EXACT
        if measure.monotone:
            if (_of(measure, scale * (values + rises), probs) < worth - rounding).any():
                return (
                    "is worth less where every return is higher; where that is meant, its class says monotone = False"
                )
            if (worth < scale * values.min(-1) - rounding).any():
                return "is below the worst case; where that is meant, its class says monotone = False"
        if measure.risk_averse and (worth > scale * np.sum(values * probs, -1) + rounding).any():
            return "is above the mean; where that is meant, its class says risk_averse = False"
    if measure.linear_in_quantiles:
        apart = [_worth(measure, Quantiles(jnp.asarray(x))) for x in (values, values[::-1])]
        if _apart(_worth(measure, Quantiles(jnp.asarray(values + values[::-1]))), sum(apart)):
            return "is not linear in the quantiles, though its class says linear_in_quantiles = True"
    return None


def _influence(measure: RiskMeasure) -> str | None:
    if not measure.has_influence:
        return None
    values, probs = _values(), _without_first(_probs())
    low, high = values[..., 1:2], values[..., -1:]
    points = low + (high - low) * np.array([0.05, 0.3, 0.6, 0.95])
    z = np.concatenate([values, points, low - 5], -1)
    found = np.asarray(_influences(measure, _categorical(values, probs), z))
    if found.shape != z.shape:
        return f"has an influence function of shape {list(found.shape)} at points {list(z.shape)}"
    if not found.any():
        return "has an influence function that is 0 everywhere; its class had better say has_influence = False"
    within, at_points = found[..., :_ATOMS], found[..., _ATOMS:-1]
    size = float(np.abs(found[..., 1:-1]).max())
    mean = np.sum(probs * within, -1)
    if _apart(mean, np.zeros(_BATCH), 1e-6, size):
        return f"has an influence function of mean {_shown(mean)}, not 0"
    step = 1e-7
    for k, point in enumerate(np.moveaxis(points, -1, 0)):
        at = jnp.asarray(_with_first(values, point[..., None]))
        present, moved = (
            _worth(measure, Samples(at, jnp.asarray(_with_first((1 - e) * probs, e)))) for e in (0.0, step)
        )
        slope = (moved - present) / step
        if _apart(at_points[..., k], slope, 1e-4, size):
            return f"has an influence of {_shown(at_points[..., k])}, but along mixtures it changes by {_shown(slope)}"
    return None


def _mapped(measure: RiskMeasure) -> str | None:
    values, probs = _values(), _probs()
    plain = _of(measure, values, probs)
    mapped = _over_distributions(measure, _categorical(values, probs))
    return f"is {_shown(mapped)} under vmap, {_shown(plain)} without" if _apart(mapped, plain) else None


def _swept(measure: RiskMeasure) -> str | None:
    if not jax.tree.leaves(measure):
        return None
    distribution = _categorical(_values(), _probs())
    plain = _worth(measure, distribution)
    stacked = jax.tree.map(lambda leaf: jnp.full(2, leaf, float), measure)
    mapped = _over_measures(stacked, distribution)
    if _apart(mapped, np.stack([plain] * 2)):
        return f"is {_shown(mapped)} where vmap sweeps its numbers, {_shown(plain)} without"
    together = _worth(jax.tree.map(lambda leaf: jnp.full(_BATCH, leaf, float), measure), distribution)
    if _apart(together, plain):
        return f"is {_shown(together)} with one number per distribution of a batch, {_shown(plain)} with one for all"
    return None


def _differentiable(measure: RiskMeasure) -> str | None:
    values = jnp.array([[-1.0, -1.0, 0.0, 2.0], [-1.0, 0.0, 0.0, 5.0]])
    probs = jnp.array([[0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0]])
    numbers = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), measure)
    slopes = _gradients(numbers, values, probs)
    for name, slope in zip(("its numbers", "the values", "the probabilities"), slopes):
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope)):
            return f"has no finite gradient with respect to {name}, where probabilities are 0 or values equal"
    return None


def _relaxed(measure: RiskMeasure) -> str | None:
    values, probs = _values(), _probs()
    neutral, full = _relaxed_worths(measure, jnp.array([0.0, 1.0]), _categorical(values, probs))
    mean, itself = np.sum(values * probs, -1), _of(measure, values, probs)
    if _apart(neutral, mean, 1e-6):
        return f"relaxed to fraction 0 is {_shown(neutral)}, not the mean {_shown(mean)}"
    if _apart(full, itself, 1e-6):
        return f"relaxed to fraction 1 is {_shown(full)}, not itself, {_shown(itself)}"
    return None


def _text(measure: RiskMeasure) -> str | None:
    text = text_of(measure)
    again = parse(text)
    return None if again == measure else f"is written {text!r}, which is read back as {again!r}"


_CHECKS: dict[str, Callable[[RiskMeasure], str | None]] = {
    "distributions come in batches": _shapes,
    "returns are single precision": _single_precision,
    "distributions come in every representation": _representations,
    "a constant is added": _translation,
    "its declarations are tried": _declared,
    "its influence function is taken": _influence,
    "vmap runs over distributions": _mapped,
    "its numbers are swept": _swept,
    "gradients are taken": _differentiable,
    "it is relaxed": _relaxed,
    "its text is read back": _text,
}
_IN_SINGLE_PRECISION = ("returns are single precision", "gradients are taken")


# --- the parts ------------------------------------------------------------------------------------------------------


def _values() -> np.ndarray:
    """Returns in ascending order [..., N], with ties among them."""
    values = np.sort(np.random.default_rng(0).normal(size=(*_BATCH, _ATOMS)), -1)
    values[..., 1::5] = values[..., 2::5]
    return values


def _probs() -> np.ndarray:
    """Probabilities of them [..., N], none of them 0."""
    probs = np.random.default_rng(1).dirichlet(np.ones(_ATOMS), _BATCH)
    return 0.9 * probs + 0.1 / _ATOMS


def _without_first(probs: np.ndarray) -> np.ndarray:
    """Probabilities [..., N] of which the first is 0."""
    others = _with_first(probs, 0.0)
    return others / others.sum(-1, keepdims=True)


def _with_first(array: np.ndarray, first: Any) -> np.ndarray:
    """An array [..., N] with other first entries, [..., 1] or a number."""
    return np.concatenate([np.broadcast_to(first, (*array.shape[:-1], 1)), array[..., 1:]], -1)


# Compiled once for all measures of a class.


@jax.jit
def _worth(measure: RiskMeasure, distribution: Distribution) -> jax.Array:
    return measure(distribution)


@jax.jit
def _influences(measure: RiskMeasure, distribution: Distribution, z: jax.Array) -> jax.Array:
    return measure.influence(distribution, z)


@jax.jit
def _relaxed_worths(measure: RiskMeasure, fractions: jax.Array, distribution: Distribution) -> jax.Array:
    return jax.vmap(lambda fraction: measure.relaxed(fraction)(distribution))(fractions)


def _total(measure: RiskMeasure, values: jax.Array, probs: jax.Array) -> jax.Array:
    return jnp.sum(measure(Categorical(values, probs)))


_over_distributions = jax.jit(jax.vmap(jax.vmap(_worth, (None, 0)), (None, 0)))
_over_measures = jax.jit(jax.vmap(_worth, (0, None)))
_gradients = jax.jit(jax.grad(_total, argnums=(0, 1, 2)))


def _categorical(values: np.ndarray, probs: np.ndarray) -> Categorical:
    return Categorical(jnp.asarray(values), jnp.asarray(probs))


def _of(measure: RiskMeasure, values: np.ndarray, probs: np.ndarray) -> np.ndarray:
    return np.asarray(_worth(measure, _categorical(values, probs)))


def _apart(one: Any, other: Any, tolerance: float = _EXACT, scale: float = 1.0) -> bool:
    """Whether two arrays differ in shape or by more than a relative tolerance; nan differs from everything."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape:
        return True
    return not np.allclose(one, other, rtol=tolerance, atol=tolerance * scale)


def _shown(array: Any) -> str:
    """The first numbers of an array, for a line of text."""
    flat = np.ravel(np.asarray(array, np.float64))
    return ", ".join(f"{number:.6g}" for number in flat[:3]) + (", ..." if flat.size > 3 else "")
