"""Path following for many small systems of equations at once, in one compiled loop.

Each lane traces the curve F(z, t) = 0 from the known solution z = 0 at t = 0 to t = 1, by pseudo-arclength
continuation (Allgower, Georg 1990, chapter 6): predict along the tangent, correct by Newton's method, stretch the step
where corrections are small and halve it where they are not. Folds of the curve are no obstacle. At t = 1 Newton's method
ends the work at full precision.

Lanes need very different numbers of steps. The loop therefore works on the first `chunk` unfinished lanes, a burst of
iterations at a time, and refills: a hard game never keeps thousands of finished ones busy.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

_FIRST_STEP = 4.0
_SMALL = 0.1  # a correction this much shorter than the step accepts the point; near-collinear, so the step may grow
_LARGE = 0.6  # a correction this large, relative to the step, rejects it
_SHORTEST = 1e-11

Residual = Callable[[Any, Array, Array], tuple[Array, Array]]  # (parameters, z [D], t) -> (F [D], error)


class Lane(NamedTuple):
    """One curve: where it is, and the last accepted point to fall back to."""

    point: Array  # [D + 1], z then t
    base: Array  # [D + 1]
    tangent: Array  # [D + 1]
    step: Array
    corrections: Array
    previous: Array  # length of the previous correction
    last: Array  # bool: now at t = 1
    done: Array  # bool
    iterations: Array


def start(size: int) -> Lane:
    """The lane at z = 0, t = 0."""
    zero = jnp.zeros(size + 1)
    up = zero.at[-1].set(1.0)
    integer, no = jnp.array(0, jnp.int32), jnp.array(False)
    return Lane(zero, zero, up, jnp.array(0.0), integer, jnp.array(jnp.inf), no, no, integer)


def advance(residual: Residual, parameters: Any, lane: Lane, tolerance: Array) -> tuple[Lane, Array]:
    """One evaluation of F and its Jacobian, and what follows from it; also the error of the point that was looked at."""
    size = lane.point.shape[-1] - 1
    error_free = lane.iterations == 0
    up = jnp.zeros(size + 1).at[-1].set(1.0)

    def equations(point):
        value, error = residual(parameters, point[:-1], point[-1])
        return value, (value, error)

    jacobian, (value, error) = jax.jacfwd(equations, has_aux=True)(lane.point)
    row = jnp.where(lane.last | error_free, up, lane.tangent)
    matrix = jnp.concatenate([jacobian, row[None]])
    right = jnp.stack([jnp.append(-value, 0.0), up], -1)
    solution = _solve(matrix, right)
    correction, direction = solution[:, 0], solution[:, 1]
    length = jnp.linalg.norm(correction)
    point = lane.point + correction
    finite = jnp.isfinite(length)

    shrinking = (lane.corrections == 0) | (length < _LARGE * lane.previous)
    bad = ~finite | ~(length <= _LARGE * lane.step) | ~shrinking | (lane.corrections > 6)
    floor = length <= 1e-15 * (1 + jnp.linalg.norm(lane.point))
    finished = lane.last & finite & ((error <= tolerance) | floor)
    accepted = (error_free | (~lane.last & ~bad & (length <= _SMALL * lane.step))) & finite
    rejected = ~finished & ~accepted & bad & ~error_free

    tangent = direction / jnp.linalg.norm(direction)
    easy = length < 0.25 * _SMALL * lane.step
    grown = jnp.where(error_free, _FIRST_STEP, lane.step * jnp.where(easy, 2.0, 1.2) * 0.8**lane.corrections)
    step = jnp.where(accepted, grown, jnp.where(rejected, lane.step / 2.5, lane.step))
    base = jnp.where(accepted, point, lane.base)
    tangent = jnp.where(accepted, tangent, lane.tangent)

    # The step that meets t = 1 is cut there.
    reach = jnp.where(tangent[-1] > 0, (1 - base[-1]) / jnp.where(tangent[-1] > 0, tangent[-1], 1.0), jnp.inf)
    crossing = step >= reach
    predicted = base + jnp.minimum(step, reach) * tangent
    predicted = predicted.at[-1].set(jnp.where(crossing, 1.0, predicted[-1]))
    moves = accepted | rejected
    lost = rejected & (lane.step < _SHORTEST)

    new = Lane(
        point=jnp.where(moves, predicted, jnp.where(finite, point, lane.point)),
        base=base,
        tangent=tangent,
        step=jnp.where(moves, jnp.minimum(step, reach), lane.step),
        corrections=jnp.where(moves, 0, lane.corrections + 1),
        previous=jnp.where(moves, jnp.inf, length),
        last=jnp.where(moves, crossing, lane.last),
        done=finished | lost,
        iterations=lane.iterations + 1,
    )
    return new, error


def follow(
    residual: Residual,
    parameters: Any,
    size: int,
    lanes: int,
    tolerance: float,
    most: int,
    chunk: int = 1024,
    burst: int = 8,
) -> Lane:
    """Follows `lanes` curves, each with its slice of `parameters` (leading axis [lanes]), to t = 1.

    Args:
      residual: F and the error of a point that `tolerance` is compared with.
      size: D, the number of unknowns of each lane.
      most: iterations after which a lane is given up.
      chunk, burst: how many lanes are worked on together, and for how many iterations.

    Returns:
      The lanes; `point[:, :-1]` is z. A lane that was given up has an error above the tolerance: evaluate it.
    """
    limit = jnp.asarray(tolerance)

    def one(parameters, lane):
        moved, _ = advance(residual, parameters, lane, limit)
        stop = moved._replace(done=moved.done | (moved.iterations >= most))
        return jax.tree.map(lambda new, old: jnp.where(lane.done, old, new), stop, lane)

    def work(parameters, states):
        def iterate(carry):
            states, count = carry
            return jax.vmap(one)(parameters, states), count + 1

        unfinished = lambda carry: ~carry[0].done.all() & (carry[1] < burst)  # noqa: E731
        return lax.while_loop(unfinished, iterate, (states, 0))[0]

    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (lanes, *leaf.shape)), start(size))
    if size == 0:
        return states._replace(done=jnp.ones(lanes, bool))
    if lanes <= chunk:
        return lax.while_loop(lambda states: ~states.done.all(), lambda states: work(parameters, states), states)

    def refill(states):
        index = jnp.nonzero(~states.done, size=chunk, fill_value=lanes)[0]
        taken = jnp.minimum(index, lanes - 1)
        chosen = jax.tree.map(lambda leaf: leaf[taken], states)
        chosen = chosen._replace(done=chosen.done | (index >= lanes))
        moved = work(jax.tree.map(lambda leaf: leaf[taken], parameters), chosen)
        return jax.tree.map(lambda leaf, new: leaf.at[index].set(new, mode="drop"), states, moved)

    return lax.while_loop(lambda states: ~states.done.all(), refill, states)


def _solve(matrix: Array, right: Array) -> Array:
    return jnp.linalg.solve(matrix, right)
