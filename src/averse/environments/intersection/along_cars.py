"""Reductions along a short axis, such as that of the cars, of arrays whose last axis is a long batch.

Each takes the parts of the axis one by one: XLA's CPU compiler makes vector instructions along the batch of that, but
neither of its own reductions nor of its sort. (Measured: seven times as fast as `min` for the human drivers.)
"""

from functools import reduce
from itertools import accumulate
from operator import add, or_
from typing import Any

import numpy


def kept(xp: Any, values: Any) -> Any:
    """`values`; JAX works them out once, see `batch_last.kept`."""
    if xp is numpy:
        return values
    from averse.environments.batch_last import kept  # here, as the simulator's processes must do without JAX

    return kept(values)


def _parts(values: Any, axis: int) -> list[Any]:
    before = (slice(None),) * axis
    return [values[*before, i] for i in range(values.shape[axis])]


def least(xp: Any, values: Any, axis: int = 0) -> Any:
    """The least value."""
    return reduce(xp.minimum, _parts(values, axis))


def most(xp: Any, values: Any, axis: int = 0) -> Any:
    """The greatest value."""
    return reduce(xp.maximum, _parts(values, axis))


def any_of(values: Any, axis: int = 0) -> Any:
    """Whether any is true."""
    return reduce(or_, _parts(values, axis), False)


def counted(xp: Any, which: Any) -> Any:
    """How many are true along the first axis up to and including each, int32."""
    sums = list(accumulate(part.astype("int32") for part in _parts(which, 0)))
    return xp.stack(sums) if sums else which.astype("int32")


def ranks(xp: Any, keys: Any) -> Any:
    """Each key's place in the order along the second axis, int32; of equal keys the first comes first."""
    index = xp.arange(keys.shape[1]).reshape(1, -1, *(1,) * (keys.ndim - 2))
    keys, places = kept(xp, keys), xp.zeros(keys.shape, "int32")
    for j in range(keys.shape[1]):
        other = keys[:, j : j + 1]
        places = places + ((other < keys) | ((other == keys) & (j < index))).astype("int32")
    return kept(xp, places)


def one_of(xp: Any, which: Any, values: Any, axis: int) -> Any:
    """The one value for which `which` is true, 0 where there is none."""
    return reduce(add, [xp.where(w, v, 0) for w, v in zip(_parts(which, axis), _parts(values, axis), strict=True)])
