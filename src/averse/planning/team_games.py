"""Mean-variance team stochastic games: one reward for all, product policies, known model (Hu, Xia, arXiv 2503.22779).

In the long run the team earns eta per step, with variance zeta = E[(r - eta)^2] of the reward *per step in steady
state* (not of the return: that is `averse.risk.MeanVariance`). It maximises J = eta - beta zeta. With the
pseudo-reward f = r - beta (r - eta)^2, whose mean is J, the Poisson equation V = f - J + P V gives action values
Q = f - J + P V and advantages A = Q - V; agent i sees Q_i(s, a_i), the mean of Q over the others' actions. Then, mu
being the steady state:

* difference: J' - J = E_{mu', pi'}[A] + beta (eta' - eta)^2, so that no improvement of A can do harm;
* derivative: dJ/dpi_i(a|s) = mu(s) Q_i(s, a), along directions that keep pi_i(.|s) a distribution.

Steady state must be unique: a policy under which there are several recurrent classes (a *multichain* policy, such as
batteries that nobody ever charges) has as many long-run figures as classes. `mean_variance` then asks for `initial` and
answers for the steady state reached from there on average; everything that needs the Poisson equation refuses.

Axes: S states, A1, ..., AN the actions of N agents. A policy is a list of arrays [S, Ai].
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, diags_array, issparse
from scipy.sparse.csgraph import connected_components

from averse.errors import AverseError
from averse.planning.mdp import Floats, Integers, deterministic, distributions, number, numbers

_TIE = 1e-9  # an agent keeps its action unless another is better by more than this


@dataclass(frozen=True, eq=False)
class TeamGame:
    """A stochastic game of N agents with a common reward.

    Args:
      transition: [S, A1, ..., AN, S'] probabilities of the next state; or, where that would not fit in memory, a scipy
        sparse array [S * A1 * ... * AN, S'] with the same rows in the same order (last agent fastest).
      reward: [S, A1, ..., AN], larger is better.
      available: per agent the actions it may take, bool [S, Ai]; by default all. Where one is not available, the
        transition must be finite but is not read.

    Raises:
      AverseError: for wrong shapes, rows that are not distributions, states without an available action.
    """

    transition: Any
    reward: Floats
    available: Any = None

    def __post_init__(self):
        reward = numbers("reward", self.reward)
        if reward.ndim < 2 or 0 in reward.shape:
            raise AverseError(f"reward must have the shape [S, A1, ..., AN], not {list(reward.shape)}")
        available, possible = _availability(self.available, reward.shape)
        reward.flags.writeable = False
        object.__setattr__(self, "transition", _rows(self.transition, possible))
        object.__setattr__(self, "reward", reward)
        object.__setattr__(self, "available", available)

    @property
    def num_agents(self) -> int:
        return self.reward.ndim - 1

    @property
    def num_states(self) -> int:
        return self.reward.shape[0]

    @property
    def num_actions(self) -> tuple[int, ...]:
        """A1, ..., AN."""
        return self.reward.shape[1:]

    def expected_next(self, values: Floats) -> Floats:
        """The mean of values [S] of the next state after each joint action, [S, A1, ..., AN]."""
        return np.reshape(self.transition @ values, self.reward.shape)

    def chain(self, policy: Sequence[Floats]) -> Floats:
        """Transition probabilities [S, S'] under a policy, a list of [S, Ai]."""
        joint = np.ones((self.num_states, 1))
        for table in policy:
            joint = (joint[:, :, None] * table[:, None, :]).reshape(self.num_states, -1)
        if not issparse(self.transition):
            return np.einsum("sa,sax->sx", joint, self.transition.reshape(*joint.shape, self.num_states))
        rows = np.arange(0, joint.size + 1, joint.shape[1])
        weights = csr_array((joint.ravel(), np.arange(joint.size), rows), shape=(self.num_states, joint.size))
        return (weights @ self.transition).toarray()

    def uniform_policy(self) -> list[Floats]:
        """Every available action of every agent with the same probability: a list of [S, Ai]."""
        return [mask / mask.sum(-1, keepdims=True) for mask in self.available]


class MeanVarianceValue(NamedTuple):
    """eta: mean reward per step. zeta: its variance in steady state. objective: J = eta - beta zeta."""

    eta: float
    zeta: float
    objective: float


@dataclass(frozen=True, eq=False)
class PoissonSolution:
    """The relative values of a policy, in units of reward.

    Attributes:
      value: eta, zeta, J.
      steady_state: mu [S].
      values: V [S], with mean zero in steady state.
      action_values: Q of the joint actions [S, A1, ..., AN]; advantages are Q - V.
      agent_values: per agent Q_i(s, a_i) [S, Ai], the mean of Q over the others' actions; -inf where unavailable.
    """

    value: MeanVarianceValue
    steady_state: Floats
    values: Floats
    action_values: Floats
    agent_values: list[Floats]


@dataclass(frozen=True, eq=False)
class MeanVariancePlan:
    """Where MV-MAPI stopped: no agent improves J to first order by changing alone.

    Attributes:
      policy: per agent [S, Ai], deterministic.
      actions: per agent the actions [S].
      eta, zeta, objective: mean, variance of the reward per step, and J.
      history: J before each agent's step, then J of the result [steps + 1]; it never falls.
      rounds: how often every agent had its turn, the last round without any change included.
    """

    policy: list[Floats]
    actions: list[Integers]
    eta: float
    zeta: float
    objective: float
    history: Floats
    rounds: int


def mean_variance(
    game: TeamGame, policy: Sequence[ArrayLike], beta: float, initial: ArrayLike | None = None
) -> MeanVarianceValue:
    """Long-run mean and variance of the reward per step, and J = eta - beta zeta.

    Args:
      policy: per agent [S, Ai].
      beta: price of variance, >= 0, in units of 1/reward.
      initial: distribution of the first state [S]; read only for a multichain policy, for which the steady state is
        the long-run share of time in each state, on average over where the chain may end up.

    Raises:
      AverseError: for a bad policy or beta, or a multichain policy without `initial`.
    """
    tables, beta = _policy(game, policy), _beta(beta)
    start = None
    if initial is not None:
        start = numbers("initial", initial)
        if start.shape != (game.num_states,):
            raise AverseError(f"initial must have the shape [{game.num_states}], not {list(start.shape)}")
        start = distributions("initial", start)
    return _evaluate(game, tables, beta, _steady_state(game.chain(tables), start))


def poisson(game: TeamGame, policy: Sequence[ArrayLike], beta: float) -> PoissonSolution:
    """Solves V = f - J + P V for f = r - beta (r - eta)^2 by one linear solve (Hu, Xia, section 3).

    Args:
      policy: per agent [S, Ai]; one recurrent class.
      beta: price of variance, >= 0, in units of 1/reward.

    Raises:
      AverseError: for a bad policy or beta, or a multichain policy.
    """
    return _poisson(game, _policy(game, policy), _beta(beta))


def difference(game: TeamGame, policy: Sequence[ArrayLike], other: Sequence[ArrayLike], beta: float) -> float:
    """J(other) - J(policy) by the difference formula: E_{mu', pi'}[A] + beta (eta' - eta)^2.

    Raises:
      AverseError: as `poisson`.
    """
    here, there = poisson(game, policy, beta), _policy(game, other)
    steady = _steady_state(game.chain(there), None)
    advantage = _average(here.action_values, there) - here.values
    eta = float(steady @ _average(game.reward, there))
    return float(steady @ advantage + beta * (eta - here.value.eta) ** 2)


def derivative(game: TeamGame, policy: Sequence[ArrayLike], beta: float) -> list[Floats]:
    """dJ/dpi_i(a|s) = mu(s) Q_i(s, a), per agent [S, Ai]; 0 where an action is not available.

    It is meant along directions whose sum over the actions of a state is zero. For a softmax policy with logits theta,
    dJ/dtheta = pi (mu Q_i - sum_a pi mu Q_i).

    Raises:
      AverseError: as `poisson`.
    """
    solution = poisson(game, policy, beta)
    return [
        solution.steady_state[:, None] * np.where(mask, values, 0)
        for mask, values in zip(game.available, solution.agent_values)
    ]


def mv_mapi(
    game: TeamGame,
    beta: float,
    order: Iterable[int] | None = None,
    initial: str | Sequence[ArrayLike] = "uniform",
    *,
    max_rounds: int = 1000,
) -> MeanVariancePlan:
    """Mean-variance multi-agent policy iteration (Hu, Xia, algorithm 1): agents improve one after the other.

    Each in turn takes argmax_a Q_i(s, a) of the *current* joint policy, keeping its action where none is better by
    more than 1e-9; the end is a round without change. By the difference formula J never falls. (If all moved at once it
    often would.) The result is first-order stationary, not always a Nash equilibrium, let alone the best.

    Args:
      beta: price of variance, >= 0, in units of 1/reward.
      order: the agents in the order of their turns, each exactly once; by default 0, 1, ..., N - 1.
      initial: "uniform" (over available actions) or a policy, per agent [S, Ai]. A state where it mixes is settled on
        the first turn of the agent, on the lowest of the best actions.
      max_rounds: a limit; there are finitely many policies and J rises, so that it is not expected to be met.

    Raises:
      AverseError: for a bad policy, beta or order; for a multichain policy on the way, which has no Poisson equation
        (start from another policy or in another order, or give the game a little noise); if `max_rounds` is not enough.
    """
    beta = _beta(beta)
    turns = list(range(game.num_agents)) if order is None else list(order)
    if sorted(turns) != list(range(game.num_agents)):
        raise AverseError(f"order must name each agent from 0 to {game.num_agents - 1} once, not {turns}")
    if isinstance(initial, str):
        if initial != "uniform":
            raise AverseError(f'initial must be "uniform" or a policy per agent, not {initial!r}')
        tables = game.uniform_policy()
    else:
        tables = _policy(game, initial)
    history: list[float] = []
    for rounds in range(1, max_rounds + 1):
        changed = False
        for agent in turns:
            solution = _poisson(game, tables, beta)
            history.append(solution.value.objective)
            better = _improved(solution.agent_values[agent], tables[agent])
            changed |= not np.array_equal(better, tables[agent])
            tables = [better if k == agent else table for k, table in enumerate(tables)]
        if not changed:
            value = _evaluate(game, tables, beta, _steady_state(game.chain(tables), None))
            history.append(value.objective)
            actions = [table.argmax(-1) for table in tables]
            return MeanVariancePlan(tables, actions, *value, np.array(history), rounds)
    raise AverseError(f"mv_mapi did not come to an end in {max_rounds} rounds; allow more")


def _improved(values: Floats, table: Floats) -> Floats:
    """The deterministic policy [S, A] of the best actions, or of the present one where it is as good."""
    present = table.argmax(-1)
    certain = table.max(-1) == 1
    kept = np.take_along_axis(values, present[:, None], -1)[:, 0] >= values.max(-1) - _TIE
    return deterministic(np.where(certain & kept, present, values.argmax(-1)), table.shape[1])


def _poisson(game: TeamGame, tables: list[Floats], beta: float) -> PoissonSolution:
    chain = game.chain(tables)
    steady = _steady_state(chain, None)
    value = _evaluate(game, tables, beta, steady)
    pseudo = game.reward - beta * np.square(game.reward - value.eta)
    # I - P + 1 mu' is regular with one recurrent class, and fixes the mean of V at zero.
    matrix = np.eye(game.num_states) - chain + steady
    values = np.asarray(np.linalg.solve(matrix, _average(pseudo, tables) - value.objective), np.float64)
    joint = pseudo - value.objective + game.expected_next(values)
    agents = []
    for agent, mask in enumerate(game.available):
        others = [None if k == agent else table for k, table in enumerate(tables)]
        agents.append(np.where(mask, _average(joint, others), -np.inf))
    return PoissonSolution(value, steady, values, joint, agents)


def _evaluate(game: TeamGame, tables: list[Floats], beta: float, steady: Floats) -> MeanVarianceValue:
    eta = float(steady @ _average(game.reward, tables))
    zeta = float(steady @ _average((game.reward - eta) ** 2, tables))
    return MeanVarianceValue(eta, zeta, eta - beta * zeta)


def _average(joint: Floats, tables: Sequence[Floats | None]) -> Floats:
    """The mean of [S, A1, ..., AN, ...] over the actions of all agents that have a policy (None keeps the axis)."""
    for agent in reversed(range(len(tables))):
        table = tables[agent]
        if table is not None:
            moved = np.moveaxis(joint, agent + 1, 1)
            joint = np.einsum("sa,sa...->s...", table, moved)
    return joint


def _steady_state(chain: Floats, initial: Floats | None) -> Floats:
    """The long-run share of time in each state [S] of a Markov chain [S, S']."""
    states = len(chain)
    count, label = connected_components(csr_array(chain > 0), connection="strong")
    leaves = np.zeros(count, bool)
    source, target = np.nonzero(chain)
    leaves[label[source[label[source] != label[target]]]] = True
    recurrent = np.flatnonzero(~leaves)
    if len(recurrent) > 1 and initial is None:
        raise AverseError(
            f"under this policy the chain has {len(recurrent)} recurrent classes (multichain): where it ends depends "
            "on the start, so that its long-run mean and variance are not defined without `initial`"
        )
    steady = np.zeros(states)
    for kind in recurrent:
        members = np.flatnonzero(label == kind)
        inner = chain[np.ix_(members, members)]
        # mu (I - P + 1 1') = 1' has the stationary distribution as its only solution.
        share = np.linalg.solve((np.eye(len(members)) - inner + 1).T, np.ones(len(members)))
        weight = 1.0
        if len(recurrent) > 1 and initial is not None:
            transient = np.flatnonzero(leaves[label])
            weight = float(initial[members].sum())
            if len(transient):
                inflow = chain[np.ix_(transient, members)].sum(-1)
                stay = chain[np.ix_(transient, transient)]
                weight += float(initial[transient] @ np.linalg.solve(np.eye(len(transient)) - stay, inflow))
        steady[members] = weight * share
    return steady / steady.sum()


def _availability(available: Any, shape: tuple[int, ...]) -> tuple[list[Any], Any]:
    """The masks [S, Ai], checked, and which joint actions they allow [S, A1, ..., AN]."""
    states, *sizes = shape
    available = [np.ones((states, size), bool) for size in sizes] if available is None else available
    if len(available) != len(sizes):
        raise AverseError(f"available must have one array for each of the {len(sizes)} agents")
    available = [np.array(mask, dtype=bool) for mask in available]
    possible = np.ones(shape, bool)
    for agent, (mask, size) in enumerate(zip(available, sizes)):
        if mask.shape != (states, size):
            raise AverseError(f"available[{agent}] must have the shape {[states, size]}, not {list(mask.shape)}")
        if not mask.any(-1).all():
            raise AverseError(f"agent {agent} has no available action in state {int(mask.any(-1).argmin())}")
        possible &= mask.reshape([states] + [size if k == agent else 1 for k in range(len(sizes))])
    return available, possible


def _rows(transition: Any, possible: Any) -> Any:
    """The transition, dense or sparse, with a distribution in each row of a possible joint action and else zeros."""
    states = possible.shape[0]
    if not issparse(transition):
        array = numbers("transition", transition)
        if array.shape != (*possible.shape, states):
            raise AverseError(f"transition must have the shape {[*possible.shape, states]}, not {list(array.shape)}")
        array[possible] = distributions("transition", array[possible])
        array[~possible] = 0
        array.flags.writeable = False
        return array
    rows = csr_array(transition, dtype=np.float64, copy=True)
    if rows.shape != (possible.size, states):
        raise AverseError(f"a sparse transition must have the shape {[possible.size, states]}, not {list(rows.shape)}")
    if not np.isfinite(rows.data).all() or (rows.data < 0).any():
        raise AverseError("transition must be finite and not negative")
    totals = np.asarray(rows.sum(1))
    wrong = possible.ravel() & (np.abs(totals - 1) > 1e-8)
    if wrong.any():
        row = int(wrong.argmax())
        raise AverseError(f"each row of transition must sum to one, but row {row} sums to {totals[row]:.10g}")
    scale = np.where(possible.ravel(), 1 / np.where(totals > 0, totals, 1), 0)
    return csr_array(diags_array(scale) @ rows)


def _policy(game: TeamGame, policy: Sequence[ArrayLike]) -> list[Floats]:
    if len(policy) != game.num_agents:
        raise AverseError(f"a policy of this game has {game.num_agents} arrays, one per agent, not {len(policy)}")
    tables = []
    for agent, (table, mask) in enumerate(zip(policy, game.available)):
        array = numbers(f"policy[{agent}]", table)
        if array.shape != mask.shape:
            raise AverseError(f"policy[{agent}] must have the shape {list(mask.shape)}, not {list(array.shape)}")
        if (array[~mask] != 0).any():
            raise AverseError(f"policy[{agent}] takes an action that is not available")
        tables.append(distributions(f"policy[{agent}]", array))
    return tables


def _beta(beta: float) -> float:
    beta = number("beta", beta)
    if not 0 <= beta < np.inf:
        raise AverseError(f"beta must be finite and not negative, not {beta:g}")
    return beta
