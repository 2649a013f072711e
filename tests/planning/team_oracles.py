"""Slow and plain: team games by listing policies, and random games of every kind."""

import itertools

import numpy as np

from averse.planning import FactoredTeamGame, TeamGame


def random_game(seed, states=3, actions=(2, 3), spread=3.0):
    """All transitions possible."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(states), (states, *actions))
    return TeamGame(transition, spread * rng.normal(size=(states, *actions)))


def sparse_game(seed, states=4, actions=(2, 2)):
    """Few transitions possible, some certain, rewards of few values (ties); action 0 of all leads round all states."""
    rng = np.random.default_rng(seed)
    transition = np.zeros((states, *actions, states))
    for index in np.ndindex(states, *actions):
        targets = rng.choice(states, rng.integers(1, 3), replace=False)
        transition[(*index, targets)] = rng.dirichlet(np.ones(len(targets)))
    first = (slice(None), *[0] * len(actions))
    transition[first] = np.roll(np.eye(states), 1, -1)
    return TeamGame(transition, rng.integers(-1, 3, size=(states, *actions)).astype(float))


def random_factored_game(seed, sizes=(3, 2, 2), actions=(2, 3, 2), masks=True):
    """Local chains with repeated rows, as where several actions have the same effect, and some actions unavailable."""
    rng = np.random.default_rng(seed)
    transitions, rewards, available = [], [], []
    for states, count in zip(sizes, actions):
        rows = rng.dirichlet(np.ones(states), states + 1)
        transitions.append(rows[rng.integers(len(rows), size=(states, count))])
        rewards.append(rng.normal(size=(states, count)))
        mask = rng.random((states, count)) < 0.7
        mask[np.arange(states), rng.integers(count, size=states)] = True
        available.append(mask if masks else np.ones_like(mask))
    return FactoredTeamGame(transitions, rewards, available)


def as_dense(game):
    """The same factored game, joint action by joint action."""
    states, agents = game.num_states, game.num_agents
    local = np.stack(game.local_states, -1)
    transition = np.zeros((states, *game.num_actions, states))
    reward = np.zeros((states, *game.num_actions))
    for index in np.ndindex(*reward.shape):
        s, a = local[index[0]], index[1:]
        reward[index] = sum(game.rewards[i][s[i], a[i]] for i in range(agents))
        row = np.ones(1)
        for i in range(agents):
            row = np.kron(row, game.transitions[i][s[i], a[i]])
        transition[index] = row
    return TeamGame(transition, reward, game.available)


def random_policy(rng, game):
    tables = [rng.random(mask.shape) * mask for mask in game.available]
    return [table / table.sum(-1, keepdims=True) for table in tables]


def agent_policies(game, agent):
    """All deterministic policies of an agent, as tables [S, Ai]."""
    for actions in itertools.product(*[np.flatnonzero(row) for row in game.available[agent]]):
        yield np.eye(game.num_actions[agent])[list(actions)]


def joint_policies(game):
    """All deterministic product policies."""
    return map(list, itertools.product(*[list(agent_policies(game, i)) for i in range(game.num_agents)]))


def class_values(game, policy, beta):
    """J in each recurrent class of the chain of a deterministic policy, by following it for long."""
    actions = [table.argmax(-1) for table in policy]
    states = np.arange(game.num_states)
    chain = np.asarray(game.transition[(states, *actions)])
    reward = game.reward[(states, *actions)]
    # Powers of the lazy chain converge; equal rows are equal ends.
    steady = np.linalg.matrix_power((chain + np.eye(len(chain))) / 2, 2**14)
    values = []
    for k in states:
        if steady[k, k] > 1e-9:  # recurrent
            eta = steady[k] @ reward
            values.append(eta - beta * (steady[k] @ (reward - eta) ** 2))
    return np.array(values)
