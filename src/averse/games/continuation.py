"""Path following for many small systems of equations at once, in one compiled loop.

Each lane traces the curve F(z, t) = 0 from the known solution z = 0 at t = 0 to t = 1, by pseudo-arclength
continuation (Allgower, Georg 1990): predict along the tangent, correct by Newton's method, stretch the step
where corrections are small and halve it where they are not. Folds of the curve are no obstacle. At t = 1 Newton's
method ends the work at full precision.

Lanes need very different numbers of steps. The loop therefore works on the first `chunk` unfinished lanes, a burst of
iterations at a time, and refills: a hard game never keeps thousands of finished ones busy.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import lu_factor, lu_solve

_FIRST_STEP = 2.5
_SMALL = 0.2  # a correction this much shorter than the step accepts the point; near-collinear, so the step may grow
_COARSEST = 3.0  # ... and shorter than that part of this length: no point is accepted far from the curve
_LARGE = 0.6  # a correction this large, relative to the step, rejects it
_SHORTEST = 1e-11
_MOST_CORRECTIONS = 6
_SMALL_SYSTEM = 8
_LONGEST = 16.0  # steps after a restart, times the care
_TRUSTING = 0.1
_LEAST_CARE = 1e-3  # five restarts, then the lane is given up
_SHARPEST = 2.0  # 1 / cosine of the largest turn of the tangent in one step, 60 degrees ...
_SMOOTH = 1e-3  # ... unless the step is shorter than this: kinks of nearly worst-case players are genuine

# (parameters, z [D], t) -> (F [D], error, about how much of the error is rounding)
Residual = Callable[[Any, Array, Array], tuple[Array, Array, Array]]


class Lane(NamedTuple):
    """One curve: where it is, and the last accepted point to fall back to."""

    point: Array  # [D + 1], z then t
    base: Array  # [D + 1]
    tangent: Array  # [D + 1]
    step: Array
    corrections: Array
    previous: Array  # length of the previous correction
    polish: Array  # bool: back at `base` after a rejected step, to correct it once more before a shorter one
    last: Array  # bool: now at t = 1
    care: Array  # 1, and a quarter of it after every restart
    done: Array  # bool
    iterations: Array


def start(size: int) -> Lane:
    """The lane at z = 0, t = 0."""
    zero = jnp.zeros(size + 1)
    up = zero.at[-1].set(1.0)
    none, no, yes = jnp.array(0, jnp.int32), jnp.array(False), jnp.array(True)
    return Lane(zero, zero, up, jnp.array(_FIRST_STEP), none, jnp.array(jnp.inf), yes, no, jnp.array(1.0), no, none)


def advance(residual: Residual, parameters: Any, lane: Lane, tolerance: Array) -> tuple[Lane, Array]:
    """One evaluation of F and its Jacobian, and what follows from it; also the error of the point looked at."""
    size = lane.point.shape[-1] - 1
    up = jnp.zeros(size + 1).at[-1].set(1.0)

    def equations(point):
        value, *errors = residual(parameters, point[:-1], point[-1])
        return value, (value, *errors)

    jacobian, (value, error, rounding) = jax.jacfwd(equations, has_aux=True)(lane.point)
    row = jnp.where(lane.last, up, lane.tangent)
    matrix = jnp.concatenate([jacobian, row[None]])
    solution, negative = _solve(matrix, jnp.stack([jnp.append(-value, 0.0), up], -1))
    correction, direction = solution[:, 0], solution[:, 1]
    length = jnp.linalg.norm(correction)
    finite = jnp.isfinite(solution).all()
    point = jnp.where(finite, lane.point + correction, lane.point)

    # Along a smooth curve, the determinant of (Jacobian, tangent) keeps the sign it has at t = 0: where it changed, the
    # corrector has found another branch. Only a symmetric game's own branch may pass a fork, where the sign changes
    # rightly: after two restarts, short steps and a steady tangent are the only guard.
    switched = negative & (lane.care > _TRUSTING)
    floor = length <= 1e-15 * (1 + jnp.linalg.norm(lane.point))
    # Newton's method squares the error: from the last two corrections, this one will leave about so much of it.
    coming = jnp.where(lane.corrections > 0, error * (length / lane.previous) ** 2, jnp.inf)
    sure = (error < 1e3 * tolerance) & (coming < 0.1 * tolerance)
    arrived = (length < 1e-3) & ((error <= tolerance) | sure)
    # Corrections that no longer shrink are rounding, if the error is no larger than that.
    still = (lane.corrections > 0) & (length >= 0.5 * lane.previous) & (length < 1e-3) & (error <= tolerance + rounding)
    finished = lane.last & finite & ~switched & (arrived | floor | still)
    shrinking = (lane.corrections == 0) | (length < _LARGE * lane.previous) | floor
    swung = ~lane.last & ~lane.polish & (jnp.linalg.norm(direction) > _SHARPEST) & (lane.step > _SMOOTH)
    astray = switched | swung
    near = lane.polish | (length <= _LARGE * lane.step)
    good = finite & near & shrinking & (lane.corrections <= _MOST_CORRECTIONS) & ~astray
    accepted = ~lane.last & good & (length <= _SMALL * jnp.minimum(lane.step, _COARSEST * lane.care))
    rejected = ~finished & ~accepted & ~good

    # A corrector that slid past t = 1 starts the last phase from there; the fallback stays where it was.
    tangent = direction / jnp.linalg.norm(direction)
    beyond = accepted & (point[-1] > 1)
    accepted = accepted & ~beyond
    point = jnp.where(beyond, (point + (1 - point[-1]) / tangent[-1] * tangent).at[-1].set(1.0), point)
    base = jnp.where(accepted, point, lane.base)
    tangent = jnp.where(accepted, tangent, lane.tangent)

    easy = length < 0.25 * _SMALL * lane.step
    growth = jnp.where(lane.polish, 1.0, jnp.where(easy, 2.0, 1.5) * 0.8 ** lane.corrections.astype(lane.step.dtype))
    step = lane.step * jnp.where(accepted, growth, jnp.where(rejected, 0.4, 1.0))
    step = jnp.where(lane.care < 1, jnp.minimum(step, _LONGEST * lane.care), step)
    # The step that meets t = 1 is cut there.
    reach = jnp.where(tangent[-1] > 0, (1 - base[-1]) / jnp.where(tangent[-1] > 0, tangent[-1], 1.0), jnp.inf)
    crossing = accepted & (step >= reach)
    step = jnp.where(crossing, reach, step)
    predicted = base + step * tangent
    predicted = predicted.at[-1].set(jnp.where(crossing, 1.0, predicted[-1]))
    fresh = accepted | rejected | beyond
    new = Lane(
        point=jnp.where(accepted, predicted, jnp.where(rejected, lane.base, point)),
        base=base,
        tangent=tangent,
        step=step,
        corrections=jnp.where(fresh, 0, lane.corrections + 1),
        previous=jnp.where(fresh, jnp.inf, length),
        polish=rejected,
        last=(lane.last & ~rejected) | crossing | beyond,
        care=lane.care,
        done=finished,
        iterations=lane.iterations + 1,
    )
    # A base that cannot be corrected was never on the curve: begin again, with shorter steps and a closer watch.
    lost = rejected & (lane.polish | (step < _SHORTEST))
    again = start(size)._replace(care=lane.care / 4, iterations=new.iterations, done=lane.care < _LEAST_CARE)
    again = again._replace(step=jnp.array(_FIRST_STEP) * again.care)
    keep = lost & (lane.care < _LEAST_CARE)
    again = again._replace(point=jnp.where(keep, lane.point, again.point))
    new = jax.tree.map(lambda restarted, going: jnp.where(lost, restarted, going), again, new)
    return new, error


def follow_one(residual: Residual, parameters: Any, size: int, tolerance: float, most: int) -> tuple[Lane, Array]:
    """Follows one curve; also the error of every iterate at t = 1, [most], 0 after the last."""
    limit = jnp.asarray(tolerance)

    def iterate(carry):
        lane, trace = carry
        _, error, _ = residual(parameters, lane.point[:-1], jnp.array(1.0))
        return advance(residual, parameters, lane, limit)[0], trace.at[lane.iterations].set(error)

    def going(carry):
        return ~carry[0].done & (carry[0].iterations < most)

    return lax.while_loop(going, iterate, (start(size), jnp.zeros(most)))


def follow(
    residual: Residual,
    parameters: Any,
    size: int,
    lanes: int,
    tolerance: float,
    most: int,
    chunk: int = 512,
    burst: int = 4,
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


def _solve(matrix: Array, right: Array) -> tuple[Array, Array]:
    """The solution of a linear system, and whether the determinant is negative."""
    size = matrix.shape[0]
    if size > _SMALL_SYSTEM:
        factors, pivots = lu_factor(matrix)
        swaps = jnp.sum(pivots != jnp.arange(size, dtype=pivots.dtype))
        return lu_solve((factors, pivots), right), (jnp.sum(jnp.diagonal(factors) < 0) + swaps) % 2 == 1
    # Gauss-Jordan with partial pivoting: in a batch, half the time of as many calls of LAPACK.
    rows = jnp.concatenate([matrix, right], 1)
    negative = jnp.array(False)
    for k in range(size):
        pivot = k + jnp.argmax(jnp.abs(rows[k:, k]))
        chosen = (jnp.arange(size) == pivot)[:, None]
        taken = jnp.sum(jnp.where(chosen, rows, 0.0), 0)
        rows = jnp.where(chosen, rows[k], rows)
        negative ^= (pivot != k) ^ (taken[k] < 0)
        row = taken / taken[k]
        rows = (rows - rows[:, k, None] * row[None]).at[k].set(row)
    return rows[:, size:], negative
