"""Small Markov decision processes whose every trajectory can be listed: exact values, objectives and policy gradients.

Plain numpy in float64, written without the package under test. Axes: T steps, J trajectories, S states, n actions.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FiniteMDP:
    """Rewards and transitions over a finite horizon, from a fixed start state."""

    transitions: np.ndarray  # [S, n, S]
    rewards: np.ndarray  # [S, n, S]
    horizon: int
    discount: float
    start: int = 0


@dataclass(frozen=True)
class Trajectories:
    """All trajectories of an MDP under a policy, with their probabilities."""

    states: np.ndarray  # [T + 1, J]
    actions: np.ndarray  # [T, J]
    rewards: np.ndarray  # [T, J]
    probs: np.ndarray  # [J]

    def to_go(self, discount: float) -> np.ndarray:
        """Discounted returns from each step on, [T + 1, J]."""
        returns = np.zeros((len(self.rewards) + 1, len(self.probs)))
        for t in reversed(range(len(self.rewards))):
            returns[t] = self.rewards[t] + discount * returns[t + 1]
        return returns


def random_mdp(rng, num_states=3, num_actions=2, horizon=4, discount=0.9) -> FiniteMDP:
    transitions = rng.dirichlet(np.ones(num_states), (num_states, num_actions))
    rewards = rng.normal(size=(num_states, num_actions, num_states))
    return FiniteMDP(transitions, rewards, horizon, discount)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def trajectories(mdp: FiniteMDP, policy: np.ndarray) -> Trajectories:
    """Every trajectory under a stationary policy [S, n]."""
    num_states, num_actions = policy.shape
    states, actions, rewards = np.array([[mdp.start]]), np.zeros((0, 1), int), np.zeros((0, 1))
    probs = np.ones(1)
    branches = np.array([(a, s) for a in range(num_actions) for s in range(num_states)])
    for _ in range(mdp.horizon):
        count, width = len(probs), len(branches)
        now = np.repeat(states[-1], width)
        action, following = np.tile(branches, (count, 1)).T
        probs = np.repeat(probs, width) * policy[now, action] * mdp.transitions[now, action, following]
        actions = np.vstack([np.repeat(actions, width, 1), action])
        rewards = np.vstack([np.repeat(rewards, width, 1), mdp.rewards[now, action, following]])
        states = np.vstack([np.repeat(states, width, 1), following])
    return Trajectories(states, actions, rewards, probs)


def policy_gradient(policy: np.ndarray, paths: Trajectories, weights: np.ndarray) -> np.ndarray:
    """E[sum_t weights_t grad log pi(a_t | s_t)] with respect to the logits of a softmax policy, [S, n]."""
    gradient = np.zeros_like(policy)
    for t in range(len(paths.actions)):
        mass = paths.probs * weights[t]
        state, action = paths.states[t], paths.actions[t]
        np.add.at(gradient, (state, action), mass)
        np.add.at(gradient, state, -mass[:, None] * policy[state])
    return gradient


def return_distributions(mdp: FiniteMDP, policy: np.ndarray):
    """Z_t(s) and Z_t(s, a) for every t and s as lists of (values, probs): [T + 1][S] and [T][S][n]."""
    num_states, num_actions = policy.shape
    of_states = [[(np.zeros(1), np.ones(1))] * num_states]
    of_actions = []
    for _ in range(mdp.horizon):
        later = of_states[0]
        rows = []
        for s in range(num_states):
            row = []
            for a in range(num_actions):
                values = [mdp.rewards[s, a, x] + mdp.discount * later[x][0] for x in range(num_states)]
                probs = [mdp.transitions[s, a, x] * later[x][1] for x in range(num_states)]
                row.append((np.concatenate(values), np.concatenate(probs)))
            rows.append(row)
        of_actions.insert(0, rows)
        of_states.insert(
            0,
            [
                (
                    np.concatenate([rows[s][a][0] for a in range(num_actions)]),
                    np.concatenate([policy[s, a] * rows[s][a][1] for a in range(num_actions)]),
                )
                for s in range(num_states)
            ],
        )
    return of_states, of_actions


def entropic(values, probs, tau) -> float:
    shift = values.min()
    return shift - tau * np.log(np.sum(probs * np.exp(-(values - shift) / tau)))


def entropic_objective(mdp: FiniteMDP, logits: np.ndarray, tau: float) -> float:
    """-tau log E[exp(-return/tau)] of the discounted return, by listing all trajectories."""
    paths = trajectories(mdp, softmax(logits))
    return entropic(paths.to_go(mdp.discount)[0], paths.probs, tau)


def exact_entropic_gradient(mdp: FiniteMDP, logits: np.ndarray, tau: float) -> np.ndarray:
    """Its gradient [S, n] by dynamic programming at the levels beta_t = gamma^t / tau.

    grad J = sum_t E[gamma^t (prod_{k<t} exp(-beta_k delta_k)) (1 - exp(-beta_t delta_t)) / beta_t grad log pi].
    """
    policy = softmax(logits)
    num_states = len(policy)
    tolerances = tau / mdp.discount ** np.arange(mdp.horizon)
    values = np.zeros((mdp.horizon + 1, num_states))
    joint = policy[:, :, None] * mdp.transitions
    for t in reversed(range(mdp.horizon)):
        outcomes = mdp.rewards + mdp.discount * values[t + 1]
        for s in range(num_states):
            values[t, s] = entropic(outcomes[s].ravel(), joint[s].ravel(), tolerances[t])
    paths = trajectories(mdp, policy)
    steps = np.arange(mdp.horizon)[:, None]
    deltas = (
        paths.rewards + mdp.discount * values[steps + 1, paths.states[1:]] - values[steps, paths.states[:-1]]
    )  # fmt: skip
    tilts = np.exp(-deltas / tolerances[:, None])
    before = np.vstack([np.ones_like(tilts[:1]), np.cumprod(tilts, 0)[:-1]])
    weights = mdp.discount**steps * before * (1 - tilts) * tolerances[:, None]
    return policy_gradient(policy, paths, weights)


def finite_difference_gradient(objective, logits: np.ndarray, step=1e-5) -> np.ndarray:
    """Central differences of a function of the logits."""
    gradient = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        moved = np.zeros_like(logits)
        moved[index] = step
        gradient[index] = (objective(logits + moved) - objective(logits - moved)) / (2 * step)
    return gradient


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sum(first * second) / (np.linalg.norm(first) * np.linalg.norm(second)))
