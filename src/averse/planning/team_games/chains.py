"""Markov chains as operators: recurrent classes, steady state and relative values, with or without a matrix.

A chain of 50,000 states has no matrix that fits in memory, but P v and mu P are cheap wherever the chain has structure.
Everything here asks a chain for these two products and for its graph; small chains are solved directly, larger ones by
Krylov iterations, whose residual is checked.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, bicgstab, gmres
from threadpoolctl import ThreadpoolController

from averse.errors import AverseError
from averse.planning.checks import Floats, Integers

_LONE = 64  # states up to which BLAS solves a dense system by one thread of itself
_DIRECT = 400  # states up to which every chain is solved as a dense matrix
_DENSE = 4000  # states up to which one is where the iteration fails
_RESIDUAL = 1e-13  # of iterative solves, relative to the largest entry of the right-hand side and of the solution
_ACCEPTED = 1e-10
_CYCLES, _RESTART = 40, 60


class Chain(Protocol):
    """S states and the probabilities P [S, S'] of moving between them."""

    @property
    def size(self) -> int:
        """S."""
        ...

    def forward(self, values: Floats) -> Floats:
        """P v [S]: the mean of values [S] one step later."""
        ...

    def backward(self, shares: Floats) -> Floats:
        """mu P [S]: the distribution mu [S] one step later."""
        ...

    def dense(self) -> Floats:
        """P as a matrix [S, S']."""
        ...

    def graph(self) -> csr_array:
        """Possible moves. Nodes 0 to S - 1 are the states; a move may lead through further nodes."""
        ...


@dataclass(frozen=True, eq=False)
class MatrixChain:
    """A chain with a matrix, numpy or scipy sparse [S, S']."""

    transition: Any

    @property
    def size(self) -> int:
        return self.transition.shape[0]

    def forward(self, values: Floats) -> Floats:
        return self.transition @ values

    def backward(self, shares: Floats) -> Floats:
        return self.transition.T @ shares

    def dense(self) -> Floats:
        return self.transition.toarray() if issparse(self.transition) else self.transition

    def graph(self) -> csr_array:
        return csr_array(self.transition)


class Classes(NamedTuple):
    """The recurrent classes of a chain: how many, and which one each state [S] belongs to, -1 where it is transient."""

    number: int
    label: Integers


def recurrent_classes(chain: Chain) -> Classes:
    """The sets of states that the chain never leaves and visits all over again."""
    graph = chain.graph()
    count, component = connected_components(graph, connection="strong")
    source = np.repeat(component, np.diff(graph.indptr))
    target = component[graph.indices]
    leaves = np.zeros(count, bool)
    leaves[source[(source != target) & (graph.data > 0)]] = True
    names = np.where(leaves, -1, np.cumsum(~leaves) - 1)
    return Classes(int((~leaves).sum()), names[component[: chain.size]])


def steady_state(
    chain: Chain, initial: Floats | None = None, classes: Classes | None = None, guess: Floats | None = None
) -> Floats:
    """The long-run share of time in each state [S].

    Args:
      initial: distribution of the first state [S]; read only where there are several recurrent classes.
      classes: `recurrent_classes(chain)` if already known.
      guess: where to begin, if solved iteratively [S].

    Raises:
      AverseError: for several recurrent classes without `initial`; if the iteration does not converge.
    """
    classes = classes or recurrent_classes(chain)
    if classes.number == 1:
        return class_share(chain, classes.label == 0, guess)
    if initial is None:
        raise AverseError(
            f"under this policy the chain has {classes.number} recurrent classes (multichain): where it ends depends "
            "on the start, so that its long-run mean and variance are not defined without `initial`"
        )
    weights = np.zeros(classes.number)
    transient = classes.label < 0
    visits = _solve(chain, np.where(transient, initial, 0), transposed=True, within=transient)
    arrived = np.where(transient, 0, initial) + np.where(transient, 0, chain.backward(visits))
    np.add.at(weights, classes.label[~transient], arrived[~transient])
    shares = [w * class_share(chain, classes.label == k) for k, w in enumerate(weights) if w > 0]
    steady = np.sum(shares, 0)
    return steady / steady.sum()


def class_share(chain: Chain, members: NDArray[np.bool_], guess: Floats | None = None) -> Floats:
    """The long-run share of time in each state [S] of a chain that starts in one recurrent class, bool [S]."""
    # mu (I - P) + (mu 1) u = u has the stationary distribution of the class as its only solution.
    uniform = members / members.sum()
    rank_one = (uniform, members.astype(float))
    guess = None if guess is None else np.where(members, guess, 0)
    share = _solve(chain, uniform, transposed=True, within=members, rank_one=rank_one, guess=guess)
    share = np.where(members, np.maximum(share, 0), 0)  # what is below zero is rounding
    return share / share.sum()


def relative_values(chain: Chain, excess: Floats, steady: Floats, guess: Floats | None = None) -> Floats:
    """V [S] with V = excess + P V and mean zero in steady state; excess [S] has mean zero, and there is one class."""
    return _solve(chain, excess, transposed=False, rank_one=(np.ones(chain.size), steady), guess=guess)


def _solve(
    chain: Chain,
    right: Floats,
    *,
    transposed: bool,
    within: NDArray[np.bool_] | None = None,
    rank_one: tuple[Floats, Floats] | None = None,
    guess: Floats | None = None,
) -> Floats:
    """Solves (I - D B + a b') x = right, B being P or its transpose, D the projection on some states, a b' rank one."""
    dense = isinstance(chain, MatrixChain) and not issparse(chain.transition)
    if not dense and chain.size > _DIRECT:
        product = chain.backward if transposed else chain.forward

        def apply(x: Floats) -> Floats:
            moved = product(x)
            result = x - (moved if within is None else np.where(within, moved, 0))
            return result if rank_one is None else result + rank_one[0] * (rank_one[1] @ x)

        solution, residual = _iterate(apply, right, guess)
        # Values are in units of the right-hand side, the reward; shares of time in their own.
        error = residual / float(np.abs(solution if transposed else right).max() or 1.0)
        if error <= _ACCEPTED:
            return solution
        if chain.size > _DENSE:
            raise AverseError(
                f"a chain of {chain.size:,} states mixes too slowly for the iterative solver (relative residual "
                f"{error:.1g}); give the game a little noise, or fewer states"
            )
    matrix = chain.dense().T if transposed else chain.dense()
    matrix = np.eye(chain.size) - (matrix if within is None else matrix * within[:, None])
    if rank_one is not None:
        matrix += np.outer(*rank_one)
    # 100 states take one thread 0.06 ms, and two of them 2 to 5 ms on a busy machine, where they wait for each other.
    with _one_thread() if _LONE < chain.size <= _DIRECT else nullcontext():
        return np.asarray(np.linalg.solve(matrix, right), np.float64)


def _iterate(apply: Any, right: Floats, guess: Floats | None) -> tuple[Floats, float]:
    """Krylov iteration, started again from its own residual until nothing is left to gain (iterative refinement).

    BiCGSTAB is the cheapest by far where it converges; a cycle in which it does not is done again by GMRES.

    Returns:
      The solution, and the largest entry of its residual.
    """
    with _one_thread():  # their products are small; on a busy machine threads only wait
        return _refined(apply, right, guess)


def _refined(apply: Any, right: Floats, guess: Floats | None) -> tuple[Floats, float]:
    operator = LinearOperator((len(right), len(right)), matvec=apply, dtype=np.float64)
    solution = np.zeros_like(right) if guess is None else guess
    residual = right if guess is None else right - apply(guess)
    size, asked = float(np.abs(residual).max()), float(np.abs(right).max())
    for _ in range(_CYCLES):
        if size <= _RESIDUAL * max(asked, float(np.abs(solution).max())):
            break
        for method in (_bicgstab, _gmres):
            moved = solution + method(operator, residual)
            following = right - apply(moved)
            left = float(np.abs(following).max())
            if left <= 0.1 * size:
                break
        if not left < 0.9 * size:  # rounding is all that is left, or it is stuck
            break
        solution, residual, size = moved, following, left
    return solution, size


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


def _one_thread() -> AbstractContextManager:
    return _threads().limit(limits=1, user_api="blas")


def _bicgstab(operator: LinearOperator, right: Floats) -> Floats:
    with np.errstate(all="ignore"):  # it may break down, which its residual shows
        return np.nan_to_num(bicgstab(operator, right, rtol=1e-7, maxiter=200)[0])


def _gmres(operator: LinearOperator, right: Floats) -> Floats:
    return gmres(operator, right, rtol=1e-8, restart=_RESTART, maxiter=5)[0]
