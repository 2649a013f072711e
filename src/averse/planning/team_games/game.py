"""Team games with tables: transition dense or sparse, one reward for each joint action."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, diags_array, issparse

from averse.arguments import finite_numbers, items
from averse.errors import AverseError
from averse.planning.checks import NEGATIVE, ROUNDING, Floats, Integers, distributions
from averse.planning.mdp import deterministic
from averse.planning.team_games.chains import Chain, MatrixChain
from averse.settings import NonNegative, check_value

TIE = 1e-9  # an action is kept unless another is better by more than this, in units of reward, or by rounding
_ROUNDING = 1e-13  # relative

Tables = list[Floats]
"""Per agent probabilities [S, Ai]."""


class Moments(NamedTuple):
    """The reward given the state: mean and variance [S]."""

    mean: Floats
    variance: Floats

    def squared_deviation(self, centre: float) -> Floats:
        """E[(r - centre)^2] in each state [S]."""
        return self.variance + np.square(self.mean - centre)

    def pseudo_reward(self, beta: float, centre: float) -> Floats:
        """E[r - beta (r - centre)^2] in each state [S]."""
        return self.mean - beta * self.squared_deviation(centre)


class Game(Protocol):
    """What the solvers ask of a team game, whatever its form. `values` are relative values [S] of the next state.

    The pseudo-reward at (beta, centre) is f = r - beta (r - centre)^2; `scale` multiplies it (0: values alone count).
    """

    @property
    def available(self) -> Any:
        """Per agent which actions it may take, bool [S, Ai]."""
        ...

    @property
    def num_agents(self) -> int:
        """N."""
        ...

    @property
    def num_states(self) -> int:
        """S, the number of joint states."""
        ...

    @property
    def num_actions(self) -> tuple[int, ...]:
        """A1, ..., AN."""
        ...

    def reward_moments(self, policy: Tables) -> Moments:
        """The reward's mean and variance in each state [S], given the state, under a policy: per agent [S, Ai]."""
        ...

    def chain(self, policy: Tables) -> Chain:
        """The Markov chain over the states S under a policy: per agent [S, Ai]."""
        ...

    def agent_values(
        self, agent: int, policy: Tables, beta: float, centre: float, values: Floats, scale: float = 1.0
    ) -> Floats:
        """E[f + values'] of each action of an agent, the others following the policy: [S, Ai], -inf if unavailable."""
        ...

    def joint_values(self, beta: float, centre: float, values: Floats, scale: float = 1.0) -> Floats:
        """E[f + values'] of each joint action [S, A1, ..., AN]; -inf where unavailable."""
        ...

    def best_joint(
        self, policy: Tables, beta: float, centre: float, values: Floats, scale: float = 1.0
    ) -> tuple[Floats, Tables]:
        """The largest joint value of each state [S], and the policy that attains it; ties keep the given one."""
        ...

    def uniform_policy(self) -> Tables:
        """Every available action of every agent with the same probability."""
        ...


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
        reward = finite_numbers("reward", self.reward)
        if reward.ndim < 2 or 0 in reward.shape:
            raise AverseError(f"reward must have the shape [S, A1, ..., AN], not {list(reward.shape)}")
        states, *sizes = reward.shape
        available = availability(self.available, [(states, size) for size in sizes])
        reward.flags.writeable = False
        object.__setattr__(self, "reward", reward)
        object.__setattr__(self, "available", available)
        object.__setattr__(self, "transition", _rows(self.transition, self.possible))

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

    @cached_property
    def possible(self) -> Any:
        """Which joint actions are available, bool [S, A1, ..., AN]."""
        possible = np.ones(self.reward.shape, bool)
        for agent, mask in enumerate(self.available):
            possible &= np.expand_dims(mask, [k + 1 for k in range(self.num_agents) if k != agent])
        return possible

    def expected_next(self, values: Floats) -> Floats:
        """The mean of values [S] of the next state after each joint action, [S, A1, ..., AN]."""
        return np.reshape(self.transition @ values, self.reward.shape)

    def reward_moments(self, policy: Tables) -> Moments:
        mean = average(self.reward, policy)
        deviation = self.reward - mean.reshape(-1, *[1] * self.num_agents)
        return Moments(mean, average(np.square(deviation), policy))

    def chain(self, policy: Tables) -> MatrixChain:
        joint = joint_policy(policy)
        if not issparse(self.transition):
            rows = self.transition.reshape(*joint.shape, self.num_states)
            return MatrixChain(np.matmul(joint[:, None, :], rows)[:, 0, :])
        state, action = np.nonzero(joint)
        starts = np.searchsorted(state, np.arange(self.num_states + 1))
        shape = (self.num_states, joint.size)
        weights = csr_array((joint[state, action], state * joint.shape[1] + action, starts), shape=shape)
        return MatrixChain(csr_array(weights @ self.transition))

    def _backup(self, beta: float, centre: float, values: Floats, scale: float) -> Floats:
        return scale * (self.reward - beta * np.square(self.reward - centre)) + self.expected_next(values)

    def agent_values(
        self, agent: int, policy: Tables, beta: float, centre: float, values: Floats, scale: float = 1.0
    ) -> Floats:
        others = [None if k == agent else table for k, table in enumerate(policy)]
        joint = average(self._backup(beta, centre, values, scale), others)
        return np.where(self.available[agent], joint, -np.inf)

    def joint_values(self, beta: float, centre: float, values: Floats, scale: float = 1.0) -> Floats:
        return np.where(self.possible, self._backup(beta, centre, values, scale), -np.inf)

    def best_joint(
        self, policy: Tables, beta: float, centre: float, values: Floats, scale: float = 1.0
    ) -> tuple[Floats, Tables]:
        return best_of(self.joint_values(beta, centre, values, scale).reshape(self.num_states, -1), policy)

    def uniform_policy(self) -> Tables:
        """Every available action of every agent with the same probability: a list of [S, Ai]."""
        return [mask / mask.sum(-1, keepdims=True) for mask in self.available]


def joint_policy(policy: Sequence[Floats]) -> Floats:
    """Probabilities of the joint actions [S, A1 ... AN], the last agent fastest."""
    joint = np.ones((len(policy[0]), 1))
    for table in policy:
        joint = (joint[:, :, None] * table[:, None, :]).reshape(len(joint), -1)
    return joint


def replaced(policy: Tables, agent: int, table: Floats) -> Tables:
    """The policy with one agent's table [S, Ai] exchanged."""
    return [table if k == agent else own for k, own in enumerate(policy)]


def average(joint: Floats, tables: Sequence[Floats | None]) -> Floats:
    """The mean of [S, A1, ..., AN, ...] over the actions of all agents that have a policy (None keeps the axis)."""
    for agent in reversed(range(len(tables))):
        table = tables[agent]
        if table is not None:
            moved = np.moveaxis(joint, agent + 1, 1)
            joint = np.einsum("sa,sa...->s...", table, moved)
    return joint


def sure_actions(table: Floats) -> Integers | None:
    """The actions [S] of a table [S, A] that never draws lots; None if it does."""
    actions = table.argmax(-1)
    return actions if bool((_entry(table, actions) == 1).all()) else None


def _entry(table: Floats, actions: Integers) -> Floats:
    return np.take_along_axis(table, actions[:, None], -1)[:, 0]


def tie(values: Floats | float) -> float:
    """By how much one value must exceed another to count as better, among values of such a size."""
    return max(TIE, _ROUNDING * float(np.abs(values).max()))


def improved(values: Floats, table: Floats) -> Floats:
    """The deterministic policy [S, A] of the best actions, or of the present one where it is as good up to `tie`."""
    present, best = table.argmax(-1), values.argmax(-1)
    certain = _entry(table, present) == 1
    largest = _entry(values, best)
    kept = _entry(values, present) >= largest - tie(largest)
    return deterministic(np.where(certain & kept, present, best), table.shape[1])


def best_of(joint: Floats, policy: Tables) -> tuple[Floats, Tables]:
    """The largest of the joint values [S, A1 ... AN] in each state, and its actions; ties keep a certain policy."""
    sizes = [table.shape[1] for table in policy]
    present = np.ravel_multi_index([table.argmax(-1) for table in policy], sizes)
    certain = np.all([table.max(-1) == 1 for table in policy], axis=0)
    best = joint.argmax(-1)
    largest = _entry(joint, best)
    kept = _entry(joint, present) >= largest - tie(largest)
    actions = np.unravel_index(np.where(certain & kept, present, best), sizes)
    return largest, [deterministic(chosen, size) for chosen, size in zip(actions, sizes)]


def availability(available: Any, shapes: Sequence[tuple[int, int]]) -> list[Any]:
    """The masks [S, Ai], checked: each of its shape, and an available action in each row."""
    if available is None:
        return [np.ones(shape, bool) for shape in shapes]
    given = items("available", f"one array for each of the {len(shapes)} agents", available)
    if len(given) != len(shapes):
        raise AverseError(f"available must have one array for each of the {len(shapes)} agents, not {len(given)}")
    masks = []
    for agent, (mask, shape) in enumerate(zip(given, shapes)):
        truths = finite_numbers(f"available[{agent}]", mask)
        if not np.isin(truths, (0, 1)).all():
            raise AverseError(f"available[{agent}] must be true or false everywhere")
        mask = truths.astype(bool)
        if mask.shape != shape:
            raise AverseError(f"available[{agent}] must have the shape {list(shape)}, not {list(mask.shape)}")
        if not mask.any(-1).all():
            raise AverseError(f"agent {agent} has no available action in state {int(mask.any(-1).argmin())}")
        masks.append(mask)
    return masks


def checked_game(game: Any) -> Game:
    """A team game as it is.

    Raises:
      AverseError: if it lacks what solvers ask of one.
    """
    asked = ("available", "num_agents", "num_states", "num_actions", "reward_moments", "chain", "agent_values")
    if isinstance(game, type) or not all(hasattr(type(game), name) for name in asked):
        raise AverseError(f"game must be a TeamGame or a FactoredTeamGame, not {type(game).__name__}")
    return game


def checked_policy(game: Game, policy: Sequence[ArrayLike], name: str = "policy") -> Tables:
    """A policy as float64 arrays; `name` is that of the argument.

    Raises:
      AverseError: for what is no game, if shapes or rows are wrong, or an action is taken that is not available.
    """
    given = items(name, f"one array [S, Ai] for each of the {checked_game(game).num_agents} agents", policy)
    if len(given) != game.num_agents:
        raise AverseError(f"{name} of this game has {game.num_agents} arrays, one per agent, not {len(given)}")
    tables = []
    for agent, (table, mask) in enumerate(zip(given, game.available)):
        array = finite_numbers(f"{name}[{agent}]", table)
        if array.shape != mask.shape:
            raise AverseError(f"{name}[{agent}] must have the shape {list(mask.shape)}, not {list(array.shape)}")
        if (array[~mask] != 0).any():
            raise AverseError(f"{name}[{agent}] takes an action that is not available")
        tables.append(distributions(f"{name}[{agent}]", array))
    return tables


def first_policy(game: Game, initial: str | Sequence[ArrayLike]) -> Tables:
    """Where a search begins: "uniform", or a policy of one's own.

    Raises:
      AverseError: for another word, and as `checked_policy`.
    """
    if not isinstance(initial, str):
        return checked_policy(game, initial, "initial")
    if initial != "uniform":
        raise AverseError(f'initial must be "uniform" or a policy per agent, not {initial!r:.80}')
    return checked_game(game).uniform_policy()


def checked_beta(beta: float) -> float:
    """The price of variance.

    Raises:
      AverseError: unless finite and not negative.
    """
    return check_value("beta", NonNegative, beta)


def checked_rows(name: str, array: Floats, possible: Any, states: int) -> Floats:
    """Transition probabilities [..., S'] in which a row that is not possible, bool [...], is 0.

    Raises:
      AverseError: for a wrong shape, or a possible row that is no distribution.
    """
    shape = [*possible.shape, states]
    if list(array.shape) != shape:
        raise AverseError(f"{name} must have the shape {shape}, not {list(array.shape)}")
    array[possible] = distributions(name, array[possible])
    array[~possible] = 0
    return array


def _rows(transition: Any, possible: Any) -> Any:
    """The transition, dense or sparse, with a distribution in each row of a possible joint action and else zeros."""
    states = possible.shape[0]
    if not issparse(transition):
        array = finite_numbers("transition", transition)
        array = checked_rows("transition", array, possible, states)
        array.flags.writeable = False
        return array
    rows = csr_array(transition, dtype=np.float64, copy=True)
    if rows.shape != (possible.size, states):
        raise AverseError(f"a sparse transition must have the shape {[possible.size, states]}, not {list(rows.shape)}")
    if not np.isfinite(rows.data).all() or (rows.data < -NEGATIVE).any():
        raise AverseError("transition must be finite and not negative")
    rows.data = np.maximum(rows.data, 0.0)
    totals = np.asarray(rows.sum(1))
    wrong = possible.ravel() & (np.abs(totals - 1) > ROUNDING)
    if wrong.any():
        row = int(wrong.argmax())
        raise AverseError(
            f"each row of transition must sum to one within {ROUNDING:g}, but row {row} sums to {totals[row]:.10g}"
        )
    scale = np.where(possible.ravel(), 1 / np.where(totals > 0, totals, 1), 0)
    return csr_array(diags_array(scale) @ rows)
