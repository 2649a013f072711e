"""Team games whose agents move independently, each in a chain of its own: nothing of joint size but a few vectors.

Agent i has a local state s_i, which its own action alone moves; the joint state is s = (s_1, ..., s_N), and the team
earns the sum of the agents' rewards r_i(s_i, a_i). A policy may still look at the whole joint state, so that the joint
chain is no product of chains. But it falls into two parts, P = G T: in each state the actions choose, for each agent,
one row of its transition table (G, sparse: as few entries per state as there are choices), and the rows move the agents
independently (T = T_1 x ... x T_N, a Kronecker product, applied one agent at a time). Many actions share a row, such as
all those that leave a battery equally full; T_i holds each row once.

Axes: S = S_1 ... S_N joint states, numbered with the first agent's slowest; D_i rows of agent i, K_i rows that it can
choose from in one state.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from averse.arguments import finite_numbers, items
from averse.errors import AverseError
from averse.planning.checks import Floats, Integers
from averse.planning.team_games.game import Moments, Tables, availability, best_of, checked_rows, sure_actions

Mask = NDArray[np.bool_]
_CHUNK = 4_000_000  # joint state-action pairs looked at in one go
_LARGEST = 50_000_000  # entries of a table of joint actions


@dataclass(frozen=True, eq=False)
class FactoredTeamGame:
    """A team game of agents with independent local chains and a reward that is the sum of local ones.

    Args:
      transitions: per agent the probabilities of its next local state [Si, Ai, Si'].
      rewards: per agent [Si, Ai]; the team earns their sum.
      local_available: per agent which actions it may take in each of its local states, bool [Si, Ai]; by default all.

    Raises:
      AverseError: for wrong shapes, rows that are not distributions, states without an available action.
    """

    transitions: Any
    rewards: Any
    local_available: Any = None

    def __post_init__(self):
        given = items("transitions", "one array [Si, Ai, Si'] per agent", self.transitions)
        rewards = items("rewards", "one array [Si, Ai] per agent", self.rewards)
        if len(given) != len(rewards) or not rewards:
            raise AverseError(
                f"there must be as many transitions as rewards, one per agent, not {len(given)} and {len(rewards)}"
            )
        rewards = [finite_numbers(f"rewards[{agent}]", reward) for agent, reward in enumerate(rewards)]
        for agent, reward in enumerate(rewards):
            if reward.ndim != 2 or 0 in reward.shape:
                raise AverseError(f"rewards[{agent}] must have the shape [Si, Ai], not {list(reward.shape)}")
        masks = availability(self.local_available, [reward.shape for reward in rewards])
        names = [f"transitions[{agent}]" for agent in range(len(masks))]
        transitions = [
            checked_rows(name, finite_numbers(name, table), mask, len(mask))
            for name, table, mask in zip(names, given, masks)
        ]
        for array in (*transitions, *rewards):
            array.flags.writeable = False
        object.__setattr__(self, "transitions", transitions)
        object.__setattr__(self, "rewards", rewards)
        object.__setattr__(self, "local_available", masks)

    @cached_property
    def available(self) -> list[Mask]:
        """Per agent which actions it may take in each joint state, bool [S, Ai]."""
        return [mask[states] for mask, states in zip(self.local_available, self.local_states)]

    @property
    def num_agents(self) -> int:
        return len(self.rewards)

    @property
    def local_sizes(self) -> tuple[int, ...]:
        """S1, ..., SN."""
        return tuple(len(reward) for reward in self.rewards)

    @property
    def num_states(self) -> int:
        """S, the product of S1, ..., SN."""
        return math.prod(self.local_sizes)

    @property
    def num_actions(self) -> tuple[int, ...]:
        """A1, ..., AN."""
        return tuple(reward.shape[1] for reward in self.rewards)

    @cached_property
    def local_states(self) -> tuple[Integers, ...]:
        """Per agent its local state in each joint state [S]."""
        return np.unravel_index(np.arange(self.num_states), self.local_sizes)

    @cached_property
    def _rows(self) -> list["_Rows"]:
        return [_distinct_rows(t, mask) for t, mask in zip(self.transitions, self.local_available)]

    @cached_property
    def _row_counts(self) -> list[int]:
        """D1, ..., DN."""
        return [rows.table.shape[0] for rows in self._rows]

    @cached_property
    def _strides(self) -> list[int]:
        """By how much the number of a joint row grows with the number of each agent's row."""
        return [math.prod(self._row_counts[agent + 1 :]) for agent in range(self.num_agents)]

    @cached_property
    def row_graph(self) -> csr_array:
        """The possible moves of T, agent by agent: nodes S and up are joint rows, then half-moved ones, then states."""
        shape = list(self._row_counts)
        first, layers = self.num_states, []
        for agent, rows in enumerate(self._rows):
            before, after = math.prod(shape[:agent]), math.prod(shape[agent + 1 :])
            size, last = math.prod(shape), agent == self.num_agents - 1
            row, state = rows.table.nonzero()
            outer, inner = np.arange(before)[:, None, None], np.arange(after)
            source = (outer * shape[agent] + row[:, None]) * after + inner
            shape[agent] = self.local_sizes[agent]
            target = (outer * shape[agent] + state[:, None]) * after + inner + (0 if last else first + size)
            layers.append((source.ravel(), target.ravel(), size))
            first += size
        blocks = [
            csr_array((np.ones(len(source), np.int8), (source, target)), shape=(size, first))
            for source, target, size in layers
        ]
        return csr_array(vstack(blocks, format="csr"))

    def after_rows(self, values: Floats) -> Floats:
        """T v: the mean of values [S] of the next state after each joint row [D1 ... DN]."""
        return _along_each([rows.table for rows in self._rows], values)

    def into_states(self, shares: Floats) -> Floats:
        """x T: the distribution of the next state [S] from that of the joint row [D1 ... DN]."""
        return _along_each([rows.transposed for rows in self._rows], shares)

    def reward_moments(self, policy: Tables) -> Moments:
        parts = [self._own_moments(agent, table) for agent, table in enumerate(policy)]
        return Moments(np.sum([part.mean for part in parts], 0), np.sum([part.variance for part in parts], 0))

    def _own_moments(self, agent: int, table: Floats) -> Moments:
        """Mean and variance of one agent's reward; given the joint state, agents draw independently."""
        local, actions = self.local_states[agent], sure_actions(table)
        if actions is not None:
            return Moments(self.rewards[agent][local, actions], np.zeros(self.num_states))
        reward = self.rewards[agent][local]
        mean = np.einsum("sa,sa->s", table, reward)
        return Moments(mean, np.einsum("sa,sa->s", table, np.square(reward - mean[:, None])))

    def chain(self, policy: Tables) -> "FactoredChain":
        row, weight = self._drawn_rows(policy, range(self.num_agents))
        kept = weight > 0
        starts = np.concatenate([[0], np.cumsum(kept.sum(-1))])
        shape = (self.num_states, math.prod(self._row_counts))
        return FactoredChain(csr_array((weight[kept], row[kept], starts), shape=shape), self)

    def _drawn_rows(self, policy: Tables, agents: Iterable[int]) -> tuple[Integers, Floats]:
        """Which rows these agents choose together under a policy, as part of a joint row's number, and how likely.

        Both [S, K], K being the product of the numbers of rows that they can choose from.
        """
        row: Any = np.zeros((self.num_states, 1), np.int64)
        weight: Any = np.ones((self.num_states, 1))
        for agent in agents:
            rows, local, actions = self._rows[agent], self.local_states[agent], sure_actions(policy[agent])
            chance: Any = np.ones((self.num_states, 1))
            if actions is not None:
                choices: Any = rows.of_action[local, actions][:, None]
            else:
                choices, width = rows.choices[local], rows.choices.shape[1]
                cell = np.arange(self.num_states)[:, None] * width + rows.slot[local]
                chance = np.bincount(cell.ravel(), policy[agent].ravel(), minlength=choices.size)
                chance = chance.reshape(choices.shape)
            row = _outer(np.add, row, choices * self._strides[agent])
            weight = _outer(np.multiply, weight, chance)
        return row, weight

    def agent_values(
        self, agent: int, policy: Tables, beta: float, centre: float, values: Floats, scale: float = 1.0
    ) -> Floats:
        rows, local = self._rows[agent], self.local_states[agent]
        others = [k for k in range(self.num_agents) if k != agent]
        mean, variance = np.zeros((2, self.num_states))
        for k in others:
            part = self._own_moments(k, policy[k])
            mean, variance = mean + part.mean, variance + part.variance
        reward = self.rewards[agent][local] + mean[:, None]
        pseudo = scale * (reward - beta * (np.square(reward - centre) + variance[:, None]))
        row, weight = self._drawn_rows(policy, others)
        after, own = self.after_rows(values), rows.choices[local] * self._strides[agent]
        by_choice = np.stack([np.sum(weight * after[row + choice[:, None]], -1) for choice in own.T], -1)
        following = np.take_along_axis(by_choice, rows.slot[local], -1)
        return np.where(self.available[agent], pseudo + following, -np.inf)

    def joint_values(self, beta: float, centre: float, values: Floats, scale: float = 1.0) -> Floats:
        """E[f + values'] of each joint action [S, A1, ..., AN], from relative values [S] of the next state.

        Raises:
          AverseError: for more than 50 million joint state-action pairs; ask for `agent_values` then.
        """
        size = self.num_states * math.prod(self.num_actions)
        if size > _LARGEST:
            raise AverseError(f"a table of {size:,} joint state-action pairs is too large; ask for agent_values")
        joint = self._joint_values(np.arange(self.num_states), beta, centre, self.after_rows(values), scale)
        return joint.reshape(self.num_states, *self.num_actions)

    def best_joint(
        self, policy: Tables, beta: float, centre: float, values: Floats, scale: float = 1.0
    ) -> tuple[Floats, Tables]:
        after, chunk = self.after_rows(values), max(1, _CHUNK // math.prod(self.num_actions))
        best, tables = [], []
        for states in np.split(np.arange(self.num_states), range(chunk, self.num_states, chunk)):
            joint = self._joint_values(states, beta, centre, after, scale)
            value, table = best_of(joint, [own[states] for own in policy])
            best.append(value)
            tables.append(table)
        return np.concatenate(best), [np.concatenate(parts) for parts in zip(*tables)]

    def _joint_values(self, states: Integers, beta: float, centre: float, after: Floats, scale: float) -> Floats:
        """E[f + values'] of each joint action [len(states), A1 ... AN], from the values after each joint row."""
        reward, row = np.zeros((len(states), 1)), np.zeros((len(states), 1), np.int64)
        possible = np.ones((len(states), 1), bool)
        for agent, rows in enumerate(self._rows):
            local = self.local_states[agent][states]
            reward = _outer(np.add, reward, self.rewards[agent][local])
            row = _outer(np.add, row, rows.of_action[local] * self._strides[agent])
            possible = _outer(np.logical_and, possible, self.local_available[agent][local])
        pseudo = scale * (reward - beta * np.square(reward - centre))
        return np.where(possible, pseudo + after[row], -np.inf)

    def uniform_policy(self) -> Tables:
        """Every available action of every agent with the same probability: a list of [S, Ai]."""
        return [mask / mask.sum(-1, keepdims=True) for mask in self.available]


@dataclass(frozen=True, eq=False)
class FactoredChain:
    """P = G T under a policy: `choose` is G [S, D1 ... DN]."""

    choose: csr_array
    game: FactoredTeamGame

    @property
    def size(self) -> int:
        return self.game.num_states

    def forward(self, values: Floats) -> Floats:
        return self.choose @ self.game.after_rows(values)

    @cached_property
    def _chosen(self) -> csr_array:
        return csr_array(self.choose.T)

    def backward(self, shares: Floats) -> Floats:
        return self.game.into_states(self._chosen @ shares)

    def dense(self) -> Floats:
        return np.stack([self.forward(unit) for unit in np.eye(self.size)], -1)

    def graph(self) -> csr_array:
        moves = self.game.row_graph
        parts = (self.choose.data, self.choose.indices + self.size, self.choose.indptr)
        first = csr_array(parts, shape=(self.size, moves.shape[1]))
        return csr_array(vstack([first, moves], format="csr"))


class _Rows(NamedTuple):
    """The distinct rows of a transition table [Si, Ai, Si']."""

    table: csr_array  # [D, Si'], each row once
    transposed: csr_array  # [Si', D]
    of_action: Integers  # [Si, Ai], the row of each action (0 where unavailable)
    choices: Integers  # [Si, K], the rows that can be chosen in each state, the first one repeated to fill up
    slot: Integers  # [Si, Ai], the place of each action's row among the choices (0 where unavailable)


def _distinct_rows(transition: Floats, available: Mask) -> _Rows:
    table, inverse = np.unique(transition[available], axis=0, return_inverse=True)
    of_action = np.zeros(available.shape, np.int64)
    of_action[available] = inverse.ravel()
    sets = [np.unique(of_action[state, mask], return_inverse=True) for state, mask in enumerate(available)]
    width = max(len(rows) for rows, _ in sets)
    choices = np.stack([np.pad(rows, (0, width - len(rows)), constant_values=rows[0]) for rows, _ in sets])
    slot = np.zeros(available.shape, np.int64)
    for state, (_, place) in enumerate(sets):
        slot[state, available[state]] = place
    return _Rows(csr_array(table), csr_array(table.T), of_action, choices, slot)


def _along_each(tables: Sequence[csr_array], values: Floats) -> Floats:
    """Tables [D_i, K_i], each applied to its axis of flattened values [K_1 ... K_N] -> [D_1 ... D_N].

    The axis whose turn it is comes first; once it is done, it goes to the end.
    """
    for table in tables:
        values = (table @ values.reshape(table.shape[1], -1)).T
    return values.reshape(-1)


def _outer(operation: Any, one: Any, other: Any) -> Any:
    """An operation between each pair of columns of [S, I] and [S, J], [S, I J]."""
    return operation(one[:, :, None], other[:, None, :]).reshape(len(one), -1)
