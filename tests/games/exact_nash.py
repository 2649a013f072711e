"""Nash equilibria of bimatrix games by brute force: every pair of supports, in exact rational arithmetic."""

import itertools
from fractions import Fraction

import numpy as np


def equilibria(a, b):
    """The equilibria of a nondegenerate game with payoffs [rows, columns], as pairs of lists of fractions."""
    a, b = ([[Fraction(value) for value in row] for row in np.asarray(m).tolist()] for m in (a, b))
    b = [list(column) for column in zip(*b)]
    rows, columns = len(a), len(b)
    found = []
    for size in range(1, min(rows, columns) + 1):
        for own in itertools.combinations(range(rows), size):
            for other in itertools.combinations(range(columns), size):
                y, x = _mix(a, own, other), _mix(b, other, own)
                if y is not None and x is not None and _best(a, own, y) and _best(b, other, x):
                    found.append((x, y))
    return found


def supports(pairs):
    """Which actions each pair of strategies uses, sorted."""
    return sorted(tuple(tuple(k for k, p in enumerate(x) if p > 0) for x in pair) for pair in pairs)


def _mix(payoffs, own, others):
    """The mix over `others`, all used, that makes `own` equally good; None if there is none."""
    size = len(own)
    rows = [[payoffs[i][j] for j in others] + [Fraction(-1), Fraction(0)] for i in own]
    solution = _solve([*rows, [Fraction(1)] * size + [Fraction(0), Fraction(1)]])
    if solution is None or min(solution[:size]) <= 0:
        return None
    mix = [Fraction(0)] * len(payoffs[0])
    for j, probability in zip(others, solution):
        mix[j] = probability
    return mix


def _best(payoffs, own, mix):
    worth = [sum(value * p for value, p in zip(row, mix)) for row in payoffs]
    return max(worth) == worth[own[0]]


def _solve(system):
    """Gauss-Jordan elimination of an augmented matrix; None if it is singular."""
    size = len(system)
    for k in range(size):
        pivot = next((i for i in range(k, size) if system[i][k] != 0), None)
        if pivot is None:
            return None
        system[k], system[pivot] = system[pivot], system[k]
        for i in range(size):
            if i != k and system[i][k] != 0:
                factor = system[i][k] / system[k][k]
                system[i] = [value - factor * other for value, other in zip(system[i], system[k])]
    return [row[-1] / row[k] for k, row in enumerate(system)]
