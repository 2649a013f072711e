"""What the functions under test should say: float64 numpy, loops, no cleverness."""

import numpy as np
from scipy.special import logsumexp


def random_distributions(seed, batch=8, atoms=9, scale=1.0, offset=0.0):
    """Values and probabilities [batch, atoms] in float64, with ties and impossible values among them."""
    rng = np.random.default_rng(seed)
    values = np.sort(rng.normal(size=(batch, atoms)), -1)
    values[: batch // 2] = np.round(values[: batch // 2], 1)
    probs = rng.dirichlet(np.full(atoms, 0.5), batch)
    probs[::3, rng.integers(atoms)] = 0
    probs[1::4, 0] = 0
    return offset + scale * values, probs / probs.sum(-1, keepdims=True)


def entropic(values, probs, tau):
    """For one tau in float64; accurate enough for range/tau >= 1e-6."""
    if np.isinf(tau):
        return np.sum(probs * values, -1)
    mean = np.sum(probs * values, -1, keepdims=True)
    exponents = (mean - values) / tau
    if np.abs(exponents).max() < 1:
        return mean[..., 0] - tau * np.log1p(np.sum(probs * np.expm1(exponents), -1))
    return mean[..., 0] - tau * logsumexp(exponents, b=probs, axis=-1)


def cvar(values, probs, alpha):
    """Takes probability from the worst values until alpha is full."""
    results = []
    for row, masses in zip(
        np.reshape(values, (-1, np.shape(values)[-1])), np.reshape(probs, (-1, np.shape(probs)[-1]))
    ):
        left, total = alpha, 0.0
        for j in np.argsort(row):
            taken = min(masses[j], left)
            total += taken * row[j]
            left -= taken
        results.append(total / (alpha - left))
    return np.reshape(results, np.shape(values)[:-1])


def project(target_atoms, probs, support):
    """One target distribution [M] onto a support [N]."""
    result = np.zeros(len(support))
    for target, mass in zip(target_atoms, probs):
        target = min(max(target, support[0]), support[-1])
        upper = int(np.searchsorted(support, target))
        if support[upper] == target:
            result[upper] += mass
        else:
            share = (target - support[upper - 1]) / (support[upper] - support[upper - 1])
            result[upper] += mass * share
            result[upper - 1] += mass * (1 - share)
    return result


def quantile_huber(values, targets, weights, kappa):
    total = 0.0
    for i, value in enumerate(values):
        level = (2 * i + 1) / (2 * len(values))
        for target, weight in zip(targets, weights):
            u = target - value
            huber = abs(u) if kappa == 0 else 0.5 * u**2 if abs(u) <= kappa else kappa * (abs(u) - 0.5 * kappa)
            total += weight * abs(level - (u < 0)) * huber
    return total


def forward_view(next_values, rewards, discounts, continues, lam):
    """Lambda-returns [T] of one trajectory as weighted sums of n-step returns."""
    horizon = len(rewards)
    returns = []
    for t in range(horizon):
        total, weight, so_far, scale = 0.0, 1.0, 0.0, 1.0
        for k in range(t, horizon):
            so_far += scale * rewards[k]
            scale *= discounts[k]
            goes_on = lam if continues[k] and k < horizon - 1 else 0.0
            total += weight * (1 - goes_on) * (so_far + scale * next_values[k])
            weight *= goes_on
        returns.append(total)
    return np.array(returns)


def forward_view_distribution(values_next, probs_next, rewards, discounts, continues, lam, t):
    """The distributional lambda-return at t without any projection: values and probabilities."""
    values, masses = [], []
    weight, so_far, scale = 1.0, 0.0, 1.0
    for k in range(t, len(rewards)):
        so_far += scale * rewards[k]
        scale *= discounts[k]
        goes_on = lam if continues[k] and k < len(rewards) - 1 else 0.0
        values.append(so_far + scale * values_next[k])
        masses.append(weight * (1 - goes_on) * probs_next[k])
        weight *= goes_on
    return np.concatenate(values), np.concatenate(masses)
