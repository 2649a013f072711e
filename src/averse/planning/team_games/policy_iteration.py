"""MV-MAPI: mean-variance multi-agent policy iteration, and its variants (Hu, Xia, arXiv 2503.22779)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from averse.arguments import items
from averse.errors import AverseError
from averse.planning.checks import Floats, Integers
from averse.planning.team_games.chains import Chain, class_share
from averse.planning.team_games.evaluation import PoissonSolution, solved, value_of
from averse.planning.team_games.game import (
    Game,
    Tables,
    checked_beta,
    checked_game,
    first_policy,
    improved,
    replaced,
    tie,
)
from averse.planning.team_games.optimum import best_response, tied_escape
from averse.planning.team_games.recurrence import advanced, certain
from averse.settings import Count, Whole, check_value

Variant = Literal["sequential", "ties", "nash", "simultaneous"]


@dataclass(frozen=True, eq=False)
class MeanVariancePlan:
    """Where MV-MAPI stopped: no agent improves J to first order by changing alone.

    Attributes:
      policy: per agent [S, Ai], deterministic.
      actions: per agent the actions [S].
      eta, zeta, objective: mean, variance of the reward per step, and J.
      history: J before each agent's step, then J of the result [steps + 1]; it never falls, but for simultaneous
        updates, of which each counts as one step.
      rounds: how often every agent had its turn, the last round without any change included.
      escapes: how often a variant went on where plain MV-MAPI would have stopped.
      converged: False only for simultaneous updates that came back to an earlier policy and would go round for ever.
    """

    policy: Tables
    actions: list[Integers]
    eta: float
    zeta: float
    objective: float
    history: Floats
    rounds: int
    escapes: int = 0
    converged: bool = True


def mv_mapi(
    game: Game,
    beta: float,
    order: Iterable[int] | None = None,
    initial: str | Sequence[ArrayLike] = "uniform",
    variant: Variant = "sequential",
    *,
    max_rounds: int = 1000,
) -> MeanVariancePlan:
    """Mean-variance multi-agent policy iteration (Hu, Xia, algorithm 1): agents improve one after the other.

    Each in turn takes argmax_a Q_i(s, a) of the *current* joint policy, keeping its action where none is better by
    more than 1e-9; the end is a round without change. By the difference formula J never falls. The result is
    first-order stationary, not always a Nash equilibrium, let alone the best (`classify` tells).

    Where an agent's step ends in several recurrent classes, J has fallen in none of them: if the best one is better
    than before, it is kept, and in all other states the agent heads for it; if not, only one state changes.

    Args:
      beta: price of variance, >= 0, in units of 1/reward.
      order: the agents in the order of their turns, each exactly once; by default 0, 1, ..., N - 1.
      initial: "uniform" (over available actions) or a policy, per agent [S, Ai]. A state where it mixes is settled on
        the first turn of the agent, on the lowest of the best actions.
      variant: "sequential", as above. "ties": where it stops, an agent may still choose among equally good actions;
        if that can move eta, J rises by beta (eta' - eta)^2, and it goes on from there. "nash": where it stops, each
        agent tries its exact best response (`best_response`), until the policy is a Nash equilibrium. "simultaneous",
        as a caution: all agents move at once on the same values, J often falls, and it may go in circles.
      max_rounds: a limit; there are finitely many policies and J rises, so that it is not expected to be met.

    Raises:
      AverseError: for a bad policy, beta, order or variant; for a multichain initial policy (or, with simultaneous
        updates, one on the way), which has no Poisson equation; if `max_rounds` is not enough.
    """
    beta = checked_beta(beta)
    check_value("variant", Variant, variant)
    max_rounds = check_value("max_rounds", Count, max_rounds)
    turns = list(range(checked_game(game).num_agents))
    if order is not None:
        turns = [check_value("order", Whole, agent) for agent in items("order", "the agents' numbers in a row", order)]
    if sorted(turns) != list(range(game.num_agents)):
        raise AverseError(f"order must name each agent from 0 to {game.num_agents - 1} once, not {turns}")
    policy = first_policy(game, initial)
    if variant == "simultaneous":
        return _simultaneous(game, beta, policy, max_rounds)
    history: list[float] = []
    solution, escapes, rounds = solved(game, policy, beta), 0, 0
    while rounds < max_rounds:
        changed = False
        for agent in turns:
            history.append(solution.value.objective)
            values = solution.values_of(agent)
            better = improved(values, solution.policy[agent])
            if not np.array_equal(better, solution.policy[agent]):
                moved = _moved(solution, agent, better, values.max(-1) - solution.values)
                changed |= moved is not solution
                solution = moved
        rounds += 1
        if changed:
            continue
        escaped = _escaped(solution, turns, variant)
        if escaped is None:
            return _plan(solution, history, rounds, escapes)
        history.append(solution.value.objective)
        solution, escapes = escaped, escapes + 1
    raise AverseError(f"mv_mapi did not come to an end in {max_rounds} rounds; allow more")


def _moved(solution: PoissonSolution, agent: int, table: Floats, advantage: Floats) -> PoissonSolution:
    """After one agent has improved its table [S, Ai], by so much in each state [S], as far as one class remains."""
    game, beta = solution.game, solution.beta

    def worth(policy: Tables, chain: Chain, members: NDArray[np.bool_]) -> float:
        return value_of(game.reward_moments(policy), beta, class_share(chain, members)).objective

    def reach(policy: Tables, values: Floats) -> tuple[Floats, Tables]:
        chance = game.agent_values(agent, policy, beta, 0.0, values, scale=0.0)
        return chance.max(-1), replaced(policy, agent, improved(chance, policy[agent]))

    better, present = replaced(solution.policy, agent, table), solution.value.objective
    settled = certain([solution.policy[agent]])
    found = advanced(game, solution.policy, better, advantage, present, settled, worth, reach)
    return solution if found is None else solved(game, found.policy, beta, found.chain, found.classes, solution)


def _escaped(solution: PoissonSolution, turns: Sequence[int], variant: Variant) -> PoissonSolution | None:
    """The first agent's way out of a stationary policy, if the variant knows one that raises J."""
    if variant == "sequential":
        return None
    for agent in turns:
        if variant == "ties":
            table = tied_escape(solution, agent)
        else:
            table = best_response(solution.game, solution.policy, agent, solution.beta).policy[agent]
        if table is None or np.array_equal(table, solution.policy[agent]):
            continue
        following = _moved(solution, agent, table, np.zeros(solution.game.num_states))
        if following.value.objective > solution.value.objective + tie(solution.value.objective):
            return following
    return None


def _simultaneous(game: Game, beta: float, policy: Tables, max_rounds: int) -> MeanVariancePlan:
    history: list[float] = []
    seen: set[bytes] = set()
    for rounds in range(1, max_rounds + 1):
        solution = solved(game, policy, beta)
        history.append(solution.value.objective)
        better = [improved(values, table) for values, table in zip(solution.agent_values, policy)]
        settled = all(np.array_equal(one, other) for one, other in zip(better, policy))
        key = b"".join(table.argmax(-1).tobytes() for table in better)
        if settled or key in seen:
            return _plan(solution, history, rounds, 0, settled)
        seen.add(key)
        policy = better
    raise AverseError(f"mv_mapi did not come to an end in {max_rounds} rounds; allow more")


def _plan(
    solution: PoissonSolution, history: list[float], rounds: int, escapes: int, converged: bool = True
) -> MeanVariancePlan:
    actions = [table.argmax(-1) for table in solution.policy]
    steps = np.array([*history, solution.value.objective])
    return MeanVariancePlan(solution.policy, actions, *solution.value, steps, rounds, escapes, converged)
