"""An independent solver of 2x2 games: nested root bracketing in plain Python on the formulas of the paper."""

import math

from scipy.optimize import brentq


def _worst_belief(penalty, costs, y, tau):
    """p_1 of the adversary against costs (c_1, c_2) when the opponent plays (y, 1 - y)."""
    if penalty == "kl":
        top = max(costs)
        weights = [q * math.exp((c - top) / tau) for q, c in zip((y, 1 - y), costs)]
        return weights[0] / sum(weights)

    def excess(mu):
        return tau * y / (mu - costs[0]) + tau * (1 - y) / (mu - costs[1]) - 1

    top = max(costs)
    share = y if costs[0] == top else 1 - y
    mu = brentq(excess, top + 0.5 * tau * share, top + 2 * tau, xtol=1e-15, rtol=1e-15)
    return tau * y / (mu - costs[0])


def _answer(payoffs, y, tau, epsilon, penalty, regulariser):
    """The probability of the own first action that minimises f + epsilon nu: a root of the derivative."""
    (a, b), (c, d) = payoffs

    def slope(x):
        costs = (-(x * a + (1 - x) * c), -(x * b + (1 - x) * d))
        p = _worst_belief(penalty, costs, y, tau)
        gain = p * (a - c) + (1 - p) * (b - d)
        price = math.log(x / (1 - x)) if regulariser == "entropy" else 1 / (1 - x) - 1 / x
        return epsilon * price - gain

    return brentq(slope, 1e-12, 1 - 1e-12, xtol=1e-15, rtol=1e-15)


def solve(row, column, tau, epsilon, penalty, regulariser):
    """(p, q) of an equilibrium; `column` holds the column player's payoffs as [row action, column action]."""
    transposed = [[column[0][0], column[1][0]], [column[0][1], column[1][1]]]

    def back(p):
        return _answer(transposed, p, tau[1], epsilon[1], penalty, regulariser)

    def change(p):
        return _answer(row, back(p), tau[0], epsilon[0], penalty, regulariser) - p

    p = brentq(change, 1e-10, 1 - 1e-10, xtol=1e-14, rtol=1e-14)
    return p, back(p)
