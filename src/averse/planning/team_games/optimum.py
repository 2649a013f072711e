"""Global optima with a certificate: of the whole team, or of one agent while the others keep their policy.

J = max over lambda of E[r - beta (r - lambda)^2], attained at lambda = eta. For a fixed lambda the right-hand side is
an average-reward problem, whose optimum g(lambda) policy iteration finds. A policy whose eta lies at most h/2 from
lambda has J <= g(lambda) + beta h^2/4; a scan over lambda with spacing h therefore certifies the best J to beta h^2/4.
Since J <= eta, only lambda between the best J known and the largest eta can matter, and only where the bound still
exceeds the best J need the scan be refined.

Policy iteration needs a policy with one recurrent class; where there are several, the one with the highest gain is kept
(`recurrence`), which never lowers the gain.
"""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt
from numpy.typing import ArrayLike, NDArray

from averse.errors import AverseError
from averse.planning.checks import Floats, Integers
from averse.planning.team_games.chains import (
    Chain,
    class_share,
    recurrent_classes,
    relative_values,
    steady_state,
)
from averse.planning.team_games.evaluation import MeanVarianceValue, PoissonSolution, value_of
from averse.planning.team_games.game import (
    Game,
    Tables,
    checked_beta,
    checked_game,
    checked_policy,
    improved,
    replaced,
    tie,
)
from averse.planning.team_games.recurrence import UnreachableError, advanced, certain, single_class
from averse.settings import Whole, check_value

_ITERATIONS = 1000
_SOLVES = 10_000
Gap = Annotated[float, Gt(1e-8)]


@dataclass(frozen=True, eq=False)
class CertifiedOptimum:
    """A policy that no other one betters by more than a certified gap.

    Attributes:
      policy: per agent [S, Ai]; deterministic for those who chose.
      actions: per agent the (likeliest) actions [S].
      eta, zeta, objective: mean, variance of the reward per step, and J.
      upper_bound: no policy of those who chose has a larger J (up to rounding).
      scanned: lambda and g(lambda) of every average-reward problem solved [K, 2], by lambda.
    """

    policy: Tables
    actions: list[Integers]
    eta: float
    zeta: float
    objective: float
    upper_bound: float
    scanned: Floats

    @property
    def gap(self) -> float:
        """How much better than `objective` anything can be."""
        return self.upper_bound - self.objective


def best_joint_policy(
    game: Game, beta: float, initial: Sequence[ArrayLike] | None = None, *, gap: float = 1e-6
) -> CertifiedOptimum:
    """The best policy of the team, by a scan over lambda of average-reward problems (Hu, Xia, arXiv 2503.22779).

    The optimum over all joint policies, correlated ones included, is a deterministic one, which is a product policy.

    Args:
      beta: price of variance, >= 0, in units of 1/reward.
      initial: a policy to begin with, per agent [S, Ai], such as that of `mv_mapi`: a good one makes the scan shorter.
      gap: how far the result may be from the best, in units of reward; more than 1e-8.

    Raises:
      AverseError: for bad input, or a game in which some states cannot reach others, so that its best J depends on the
        start.
    """
    policy = checked_game(game).uniform_policy() if initial is None else checked_policy(game, initial, "initial")
    return _scan(game, policy, None, checked_beta(beta), gap)


def best_response(
    game: Game, policy: Sequence[ArrayLike], agent: int, beta: float, *, gap: float = 1e-7
) -> CertifiedOptimum:
    """The best policy of one agent while the others keep theirs: the same scan, over the agent's actions alone.

    Args:
      policy: per agent [S, Ai]; the agent's own table is where the scan begins.
      agent: its number.
      beta, gap: as for `best_joint_policy`.

    Raises:
      AverseError: as `best_joint_policy` does, and for an agent that there is not.
    """
    if check_value("agent", Whole, agent) >= checked_game(game).num_agents:
        raise AverseError(f"agent must be one of 0 to {game.num_agents - 1}, not {agent}")
    return _scan(game, checked_policy(game, policy), agent, checked_beta(beta), gap)


def tied_escape(solution: PoissonSolution, agent: int) -> Floats | None:
    """A choice among an agent's equally good actions that moves eta, and so raises J: its table [S, Ai], or None.

    By the difference formula, such a policy has J' = J + beta (eta' - eta)^2. Looks for the largest and the smallest
    eta among the agent's tied actions.
    """
    values = solution.values_of(agent)
    largest = values.max(-1, keepdims=True)
    tied = values >= largest - tie(largest)
    if solution.beta == 0 or (tied.sum(-1) == 1).all():
        return None
    found = []
    for sign in (1.0, -1.0):
        problem = _Problem(solution.game, agent, 0.0, 0.0, sign, tied)
        try:
            best = _average_optimum(problem, solution.policy)
        except UnreachableError:
            continue
        found.append((abs(sign * best.gain - solution.value.eta), best.policy[agent]))
    if not found:
        return None
    change, table = max(found, key=lambda pair: pair[0])
    return table if solution.beta * change**2 > tie(solution.value.objective) else None


@dataclass(frozen=True, eq=False)
class _Problem:
    """An average-reward problem with reward scale (r - beta (r - centre)^2), for one agent, or the team (None)."""

    game: Game
    agent: int | None
    beta: float
    centre: float
    scale: float = 1.0
    allowed: NDArray[np.bool_] | None = None  # of the agent's actions [S, Ai]; None: all that are available

    def reward(self, policy: Tables) -> Floats:
        moments = self.game.reward_moments(policy)
        return self.scale * moments.pseudo_reward(self.beta, self.centre)

    def backup(self, policy: Tables, values: Floats, scale: float) -> tuple[Floats, Tables]:
        """The best E[scale f + values'] of each state [S], and the policy that attains it; ties keep the given one."""
        if self.agent is None:
            return self.game.best_joint(policy, self.beta, self.centre, values, scale)
        table = self.game.agent_values(self.agent, policy, self.beta, self.centre, values, scale)
        if self.allowed is not None:
            table = np.where(self.allowed, table, -np.inf)
        best = improved(table, policy[self.agent])
        return table.max(-1), replaced(policy, self.agent, best)


@dataclass(frozen=True, eq=False)
class _AverageOptimum:
    gain: float  # of the policy
    upper: float  # no policy has a larger gain
    policy: Tables
    steady: Floats


def _average_optimum(problem: _Problem, policy: Tables) -> _AverageOptimum:
    """Policy iteration (Howard 1960), from a policy, with the bound max(T V - V) on every policy's gain.

    Raises:
      AverseError: if the optimum depends on the start.
    """

    def worth(policy: Tables, chain: Chain, members: NDArray[np.bool_]) -> float:
        return float(class_share(chain, members) @ problem.reward(policy))

    def reach(policy: Tables, values: Floats) -> tuple[Floats, Tables]:
        return problem.backup(policy, values, 0.0)

    current, steady, values = single_class(problem.game, policy, worth, reach), None, None
    for _ in range(_ITERATIONS):
        policy, chain, classes = current
        reward, steady = problem.reward(policy), steady_state(chain, classes=classes, guess=steady)
        gain = float(steady @ reward)
        values = relative_values(chain, reward - gain, steady, guess=values)
        best, better = problem.backup(policy, values, problem.scale)
        advantage = best - values - gain
        if all(np.array_equal(one, other) for one, other in zip(better, policy)):
            return _AverageOptimum(gain, gain + max(0.0, float(advantage.max())), policy, steady)
        settled = certain(policy if problem.agent is None else [policy[problem.agent]])
        following = advanced(problem.game, policy, better, advantage, gain, settled, worth, reach)
        if following is None:
            raise UnreachableError(
                "a better recurrent class cannot be reached from all states: the best long-run value of this game "
                "depends on the start; give the game a little noise"
            )
        current = following
    raise AverseError(f"policy iteration did not come to an end in {_ITERATIONS} iterations")


class _Scan:
    """The average-reward problems solved so far, by lambda, and the best policy met on the way."""

    def __init__(self, game: Game, agent: int | None, beta: float, policy: Tables):
        self.game, self.agent, self.beta = game, agent, beta
        self.best: tuple[MeanVarianceValue, Tables] | None = None
        self.points: list[tuple[float, float, Tables]] = []  # lambda, bound on g(lambda), policy
        if certain(policy if agent is None else [policy[agent]]):
            chain = game.chain(policy)
            classes = recurrent_classes(chain)
            if classes.number == 1:
                self._offer(policy, steady_state(chain, classes=classes))
        # The largest eta: no lambda beyond it matters.
        highest = _average_optimum(_Problem(game, agent, 0.0, 0.0), policy)
        self._offer(highest.policy, highest.steady)
        self.highest, self.start = highest.upper, highest.policy

    @property
    def objective(self) -> float:
        assert self.best is not None
        return self.best[0].objective

    def _offer(self, policy: Tables, steady: Floats) -> None:
        value = value_of(self.game.reward_moments(policy), self.beta, steady)
        if self.best is None or value.objective > self.objective + 1e-12:
            self.best = (value, policy)

    def solve(self, centre: float) -> None:
        """Solve the problem of one lambda, warm from the nearest one; then from the eta of each better policy found."""
        while True:
            nearest = min(self.points, key=lambda point: abs(point[0] - centre), default=(0.0, 0.0, self.start))
            found = _average_optimum(_Problem(self.game, self.agent, self.beta, centre), nearest[2])
            bisect.insort(self.points, (centre, found.upper, found.policy), key=lambda point: point[0])
            before = self.objective
            self._offer(found.policy, found.steady)
            if self.best is None or self.objective <= before + tie(before):
                return
            centre = self.best[0].eta

    def worst(self) -> tuple[float, float]:
        """The largest J that is not ruled out, and a lambda that would tell more about it."""
        points = [(centre, upper) for centre, upper, _ in self.points]
        return largest_possible(points, self.beta, self.objective, self.highest)


def largest_possible(
    points: Sequence[tuple[float, float]], beta: float, known: float, highest: float
) -> tuple[float, float]:
    """The largest J that average-reward problems do not rule out, and a lambda that would tell more about it.

    Args:
      points: lambda and an upper bound on g(lambda), by lambda; from at most `known` to at least `highest`.
      beta: price of variance, > 0.
      known: the J of some policy. highest: the largest eta, or more.
    """
    result = (known, known)
    for (left, low), (right, high) in itertools.pairwise(points):
        width = right - left
        if right <= known or left >= highest or width == 0:
            continue
        # Where the parabolas low + beta (eta - left)^2 and high + beta (right - eta)^2 cross, if within the cell.
        eta = (left + right) / 2 + (high - low) / (2 * beta * width)
        eta = min(max(eta, left, known), right, highest)
        bound = min(low + beta * (eta - left) ** 2, high + beta * (right - eta) ** 2)
        if bound > result[0]:
            inside = min(eta - left, right - eta) > 0.05 * width
            result = (bound, eta if inside else (left + right) / 2)
    return result


def _scan(game: Game, policy: Tables, agent: int | None, beta: float, gap: float) -> CertifiedOptimum:
    check_value("gap", Gap, gap)
    scan = _Scan(game, agent, beta, policy)
    bound = scan.highest
    if beta > 0:
        scan.solve(scan.highest)
        scan.solve(scan.objective)
        bound, centre = scan.worst()
        while bound > scan.objective + gap:
            if len(scan.points) >= _SOLVES:
                raise AverseError(f"no certificate of {gap:g} after {_SOLVES} values of lambda; allow a larger gap")
            scan.solve(centre)
            bound, centre = scan.worst()
    assert scan.best is not None
    value, best = scan.best
    scanned = np.array([point[:2] for point in scan.points]).reshape(-1, 2)
    actions = [table.argmax(-1) for table in best]
    return CertifiedOptimum(best, actions, *value, max(bound, value.objective), scanned)
