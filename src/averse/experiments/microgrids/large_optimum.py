"""The certified optimum of microgrids too many for tables of policies: scenario 2 with its 10 million joint states.

The general solver (`averse.planning.best_joint_policy`) keeps a table of every agent's actions and looks at every joint
action. Microgrids allow much less, without any approximation:

* Wind and load move by themselves, and batteries go where they are sent. So the value of the next state is U(x, b'),
  x being all winds and loads and b' the batteries sent to; and U is V averaged over one wind or load after the other.
* The reward is the total power H alone. What is thrown away in all, v, is any multiple of .6 MW up to the wind there
  is, and H - beta (H - lambda)^2 is concave in it: the best v is the nearest possible to the parabola's vertex.

So the joint step of dynamic programming is V'(x, b) = max over b' of F(x, e(b - b')) + U(x, b'), 125 candidates b' for
three microgrids. For a lambda, modified policy iteration closes the bounds min(TV - V) <= g <= max(TV - V), which hold
for any V (Puterman 1994, theorem 8.5.5); and the scan over lambda is that of `averse.planning.team_games.optimum`.

Axes: X joint states of all winds and loads, B joint states of all batteries.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from averse.environments.microgrids.tables import Floats, LocalModel
from averse.errors import AverseError
from averse.planning.team_games.optimum import largest_possible

_SWEEPS = 25  # of evaluation after each improvement
_IMPROVEMENTS = 400
_BLOCK = 60_000  # values improved in one go, so that they stay in the processor's cache


class Bounds(NamedTuple):
    """One average-reward problem: lower <= g of the policy found <= g(centre) <= upper."""

    centre: float
    lower: float
    upper: float


@dataclass(frozen=True)
class LargeOptimum:
    """The best joint policy's figures, and how far from the best they may be.

    Attributes:
      eta, zeta, objective: of the policy found.
      upper_bound: no joint policy has a larger J.
      scanned: every average-reward problem solved.
    """

    eta: float
    zeta: float
    objective: float
    upper_bound: float
    scanned: tuple[Bounds, ...]

    @property
    def gap(self) -> float:
        """How much better than `objective` anything can be."""
        return self.upper_bound - self.objective


class _Policy(NamedTuple):
    """A deterministic joint policy, as far as it matters."""

    target: NDArray[np.int16]  # [X, B], the number of the batteries' next state
    power: Floats  # [X, B], MW sold


class LargeModel:
    """All microgrids together.

    Args:
      models: of the microgrids; their batteries share actions, and curtailment its step.
    """

    def __init__(self, models: Sequence[LocalModel]):
        self.chains = [chain for model in models for chain in (model.wind.transition, model.load.transition)]
        self.batteries = [len(model.energy) for model in models]
        sizes = [len(chain) for chain in self.chains]
        levels = np.unravel_index(np.arange(math.prod(sizes)), sizes)
        self.net, self.steps = np.zeros((2, math.prod(sizes)))
        self.spacing = _curtailment_step(models)
        for model, wind, load in zip(models, levels[::2], levels[1::2]):
            self.net += model.wind.power[wind] - model.load.power[load]
            self.steps += np.floor(model.wind.power[wind] / self.spacing + 1e-9)
        self.shape = (len(self.net), math.prod(self.batteries))
        # Batteries lose what they move, and thrown away is lost: no policy sells more than one that does nothing.
        self.highest = float(
            sum(m.wind.steady_state @ m.wind.power - m.load.steady_state @ m.load.power for m in models)
        )
        actions = [list(zip(model.battery_steps.tolist(), model.battery_power.tolist())) for model in models]
        self.moves = [
            (tuple(step for step, _ in move), sum(power for _, power in move)) for move in itertools.product(*actions)
        ]

    def best_power(self, discharge: float, beta: float, centre: float) -> Floats:
        """The total power [X], MW, that maximises H - beta (H - centre)^2 by throwing wind away."""
        power = self.net + discharge
        if beta == 0:
            return power
        excess = (power - centre - 1 / (2 * beta)) / self.spacing
        return power - self.spacing * np.clip(np.rint(excess), 0, self.steps)

    def mean_next(self, values: Floats) -> Floats:
        """U [X, B]: values [X, B] averaged over the winds and loads of the next hour."""
        return _along_each(self.chains, values)

    def share_next(self, shares: Floats) -> Floats:
        """The next hour's shares of winds and loads [X, B]; the batteries have moved already."""
        return _along_each([chain.T for chain in self.chains], shares)

    def improved(self, after: Floats, beta: float, centre: float) -> tuple[Floats, _Policy]:
        """T V [X, B] and the policy that attains it, from U [X, B]."""
        best, target, power = np.empty(self.shape), np.empty(self.shape, np.int16), np.empty(self.shape)
        choices = []
        for steps, discharge in self.moves:
            sources = tuple(slice(max(0, d), size + min(0, d)) for d, size in zip(steps, self.batteries))
            targets = tuple(slice(max(0, -d), size + min(0, -d)) for d, size in zip(steps, self.batteries))
            if any(part.start >= part.stop for part in sources):
                continue
            sold = self.best_power(discharge, beta, centre)
            choices.append((sources, targets, sold, sold - beta * np.square(sold - centre)))
        numbers = np.arange(self.shape[1], dtype=np.int16).reshape(self.batteries)
        rows, across = max(1, _BLOCK // self.shape[1]), (slice(None),) + (None,) * len(self.batteries)
        for first in range(0, self.shape[0], rows):
            block = slice(first, min(first + rows, self.shape[0]))
            grid = (block.stop - block.start, *self.batteries)
            there, value = after[block].reshape(grid), np.full(grid, -np.inf)
            into, sells = np.zeros(grid, np.int16), np.zeros(grid)
            for sources, targets, sold, gained in choices:
                here = (slice(None), *sources)
                candidate = there[(slice(None), *targets)] + gained[block][across]
                better = candidate > value[here]
                np.copyto(value[here], candidate, where=better)
                np.copyto(into[here], numbers[targets][None], where=better)
                np.copyto(sells[here], sold[block][across], where=better)
            best[block], target[block], power[block] = (x.reshape(-1, self.shape[1]) for x in (value, into, sells))
        return best, _Policy(target, power)

    def long_run(self, policy: _Policy, share: Floats, tolerance: float) -> tuple[float, float, Floats]:
        """eta, zeta and the steady state [X, B] of a policy, by following it from some shares [X, B].

        In each sweep a tenth stays where it is, so that it converges even if the chain is periodic.
        """
        flat = policy.target + np.arange(self.shape[0])[:, None] * self.shape[1]
        size = share.size
        for _ in range(100_000):
            moved: Any = np.bincount(flat.ravel(), share.ravel(), minlength=size).reshape(self.shape)
            following: Any = 0.1 * share + 0.9 * self.share_next(moved)
            change = float(np.abs(following - share).sum())
            share = following / following.sum()
            if change <= tolerance:
                break
        else:
            raise AverseError("the microgrids' steady state was not found in 100,000 sweeps")
        eta = float(np.sum(share * policy.power))
        return eta, float(np.sum(share * np.square(policy.power - eta))), share


def certified_optimum(
    models: Sequence[LocalModel],
    beta: float,
    *,
    gap: float = 1e-5,
    tell: Callable[[Bounds], None] = lambda bounds: None,
) -> LargeOptimum:
    """The best J of all joint policies of some microgrids, with its certificate.

    Args:
      models: of the microgrids (`Microgrids.local_models`).
      beta: price of variance, > 0, in units of 1/MW.
      gap: largest distance from the best, in MW; 1e-7 or more.
      tell: called after each average-reward problem.

    Raises:
      AverseError: for a price or a gap out of range; if an iteration does not converge.
    """
    if not (beta > 0 and gap >= 1e-7):
        raise AverseError(f"beta must be positive and gap at least 1e-7, not {beta:g} and {gap:g}")
    model = LargeModel(models)
    values, share = np.zeros(model.shape), np.full(model.shape, 1 / math.prod(model.shape))
    found: list[Bounds] = []
    best = (-np.inf, 0.0, 0.0)

    def solve(centre: float) -> float:
        """Solves the problem of one lambda and returns the eta of its policy."""
        nonlocal values, share, best
        lower, upper, values, policy = _average_optimum(model, values, beta, centre, gap / 4)
        eta, zeta, share = model.long_run(policy, share, gap / 1000)
        best = max(best, (eta - beta * zeta, eta, zeta))
        bounds = Bounds(centre, lower, upper)
        found.append(bounds)
        found.sort()
        tell(bounds)
        return eta

    centre = model.highest
    for _ in range(50):  # lambda -> eta of the policy: J rises until it stays
        before = best[0]
        centre = solve(centre)
        if best[0] <= before + gap / 10:
            break
    solve(best[0])
    while True:
        points = [(point.centre, point.upper) for point in found]
        bound, centre = largest_possible(points, beta, best[0], model.highest)
        if bound <= best[0] + gap:
            return LargeOptimum(best[1], best[2], best[0], bound, tuple(found))
        solve(centre)


def _average_optimum(
    model: LargeModel, values: Floats, beta: float, centre: float, tolerance: float
) -> tuple[float, float, Floats, _Policy]:
    """Modified policy iteration: bounds on g(centre) no further apart than the tolerance, V, and the policy."""
    for _ in range(_IMPROVEMENTS):
        best, policy = model.improved(model.mean_next(values), beta, centre)
        lower, upper = float((best - values).min()), float((best - values).max())
        if upper - lower <= tolerance:
            return lower, upper, values, policy
        reward = policy.power - beta * np.square(policy.power - centre)
        values = best
        for _ in range(_SWEEPS):
            values = reward + np.take_along_axis(model.mean_next(values), policy.target.astype(np.int64), 1)
            values -= values[0, 0]
    raise AverseError(f"the average-reward problem of lambda {centre:g} did not converge")


def _curtailment_step(models: Sequence[LocalModel]) -> float:
    """In multiples of which all of them throw wind away, MW. Raises AverseError where they differ."""
    steps = {float(model.curtailment[1]) for model in models if len(model.curtailment) > 1} or {1.0}
    if len(steps) > 1:
        raise AverseError(f"microgrids must throw wind away in steps of one size, not of {sorted(steps)} MW")
    return steps.pop()


def _along_each(tables: Sequence[Floats], values: Floats) -> Floats:
    """Square tables, each applied to its part of the first axis of values [X, B]."""
    shape, after = values.shape, values.size
    for table in tables:
        after //= len(table)
        values = np.matmul(table, values.reshape(-1, len(table), after))
    return values.reshape(shape)
