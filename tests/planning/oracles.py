"""What the planners should say, found by listing every trajectory or policy; written without the package under test."""

import decimal
import itertools
from decimal import Decimal

import numpy as np

from averse.planning import FiniteMDP


def random_mdp(seed, states=3, actions=2, horizon=3, gamma=0.9, sparse=False, reward_axes=3, scale=1.0, **more):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(states), (states, actions))
    if sparse:
        transition = transition * (rng.random(transition.shape) < 0.6)
        transition[..., 0] += transition.sum(-1) == 0
        transition /= transition.sum(-1, keepdims=True)
    reward = scale * rng.normal(size=transition.shape[:reward_axes])
    return FiniteMDP(transition, reward, gamma, horizon, **more)


def random_policy(seed, *shape):
    return np.random.default_rng(1000 + seed).dirichlet(np.ones(shape[-1]), shape[:-1])


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def trajectories(mdp, table):
    """(probability, discounted return) of every trajectory under a policy table [T, S, A], as two arrays."""
    found = []

    def walk(t, state, prob, total):
        if t == mdp.horizon:
            found.append((prob, total))
            return
        for action, following in itertools.product(range(mdp.num_actions), range(mdp.num_states)):
            p = prob * table[t][state, action] * mdp.transition[state, action, following]
            if p > 0:
                reward = mdp.reward[state, action] if mdp.reward.ndim == 2 else mdp.reward[state, action, following]
                walk(t + 1, following, p, total + mdp.gamma**t * reward)

    for state in np.flatnonzero(mdp.initial):
        walk(0, state, mdp.initial[state], 0.0)
    return np.array(found).T


def entropic(probs, returns, tau):
    """-tau log E[exp(-Z/tau)] in extended precision."""
    probs, returns = np.asarray(probs, np.longdouble), np.asarray(returns, np.longdouble)
    worst = returns.min()
    return float(worst - np.longdouble(tau) * np.log(np.sum(probs * np.exp(-(returns - worst) / np.longdouble(tau)))))


def entropic_to_40_digits(probs, returns, tau):
    """The same with decimal numbers and probabilities that sum to one exactly; slow."""
    with decimal.localcontext(prec=40):
        probs, returns = ([Decimal(float(number)) for number in numbers] for numbers in (probs, returns))
        tau, worst = Decimal(float(tau)), min(returns)
        moment = sum(p * (-(z - worst) / tau).exp() for p, z in zip(probs, returns)) / sum(probs)
        return float(worst - tau * moment.ln())


def cvar(probs, returns, alpha):
    """The mean of the worst alpha of probability, atom by atom."""
    left, total = alpha, 0.0
    for value, prob in sorted(zip(returns, probs)):
        taken = min(prob, left)
        total, left = total + taken * value, left - taken
    return total / (alpha - left)


def markov_policies(mdp):
    """Every deterministic policy that may depend on time, as tables [T, S, A]."""
    for choice in itertools.product(range(mdp.num_actions), repeat=mdp.horizon * mdp.num_states):
        yield np.eye(mdp.num_actions)[np.reshape(choice, (mdp.horizon, mdp.num_states))]


def stationary_policies(mdp):
    for choice in itertools.product(range(mdp.num_actions), repeat=mdp.num_states):
        yield np.eye(mdp.num_actions)[list(choice)]


def history_policies(mdp, start):
    """(probabilities, returns) of every deterministic policy that may depend on the whole history, from one state."""

    def plans(t, state):
        """Every sub-policy from here, as a list of trajectories (probability, return to go)."""
        if t == mdp.horizon:
            return [[(1.0, 0.0)]]
        found = []
        for action in range(mdp.num_actions):
            successors = np.flatnonzero(mdp.transition[state, action])
            for combination in itertools.product(*(plans(t + 1, following) for following in successors)):
                found.append(
                    [
                        (
                            mdp.transition[state, action, following] * prob,
                            mdp.rewards[state, action, following] + mdp.gamma * to_go,
                        )
                        for following, branch in zip(successors, combination)
                        for prob, to_go in branch
                    ]
                )
        return found

    for plan in plans(0, start):
        yield np.array(plan).T


def differences(objective, point, step=1e-3):
    """Central differences of fourth and sixth order combined (error of order step^6)."""
    gradient = np.zeros_like(point)
    for index in np.ndindex(*point.shape):
        unit = np.zeros_like(point)
        unit[index] = step
        slopes = [(objective(point + k * unit) - objective(point - k * unit)) / (2 * k * step) for k in (1, 2, 3)]
        gradient[index] = 1.5 * slopes[0] - 0.6 * slopes[1] + 0.1 * slopes[2]
    return gradient
