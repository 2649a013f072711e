"""Expected policy gradients of the advantages on finite MDPs, by listing all trajectories, against the exact ones.

Critics are exact, so that what is judged is the estimator alone. Cosines are averages over random MDPs (3 states,
2 actions, horizon 4, gamma 0.9) with the exact gradient of -tau log E[exp(-return/tau)].
"""

import jax
import numpy as np
import pytest

from averse.risk import (
    Categorical,
    CVaR,
    MeanVariance,
    Wang,
    action_value,
    entropic,
    entropic_weights,
    episode_influence_advantage,
    gae,
    influence_advantage,
    mean_variance_advantage,
)

from . import finite_mdp as mdps
from . import references

pytestmark = pytest.mark.usefixtures("float64")
jit_gae, jit_entropic, jit_weights = jax.jit(gae), jax.jit(entropic), jax.jit(entropic_weights)
jit_mean_variance, jit_action_value = jax.jit(mean_variance_advantage), jax.jit(action_value)
jit_influence, jit_episode_influence = jax.jit(influence_advantage), jax.jit(episode_influence_advantage)
NEUTRAL = float("inf")


class Problem:
    """A random MDP with a random policy and all that its exact critics say along each trajectory."""

    def __init__(self, seed, discount=0.9, horizon=4, reward_scale=3.0):
        rng = np.random.default_rng(seed)
        mdp = mdps.random_mdp(rng, discount=discount, horizon=horizon)
        self.mdp = mdps.FiniteMDP(mdp.transitions, reward_scale * mdp.rewards, horizon, discount)
        self.logits = rng.normal(size=(3, 2))
        self.policy = mdps.softmax(self.logits)
        self.paths = mdps.trajectories(self.mdp, self.policy)
        self.of_states, self.of_actions = mdps.return_distributions(self.mdp, self.policy)
        self.steps = np.arange(horizon)[:, None]
        self.discounts = np.full(self.paths.rewards.shape, discount)
        self.discounts[-1] = 0
        self.continues = (self.discounts > 0).astype(float)

    def critics(self, measure):
        """measure(values, probs) of Z_t(s_t) and Z_{t+1}(s_{t+1}) along the trajectories, [T, J] each."""
        table = np.array([[measure(*distribution) for distribution in row] for row in self.of_states])
        return table[self.steps, self.paths.states[:-1]], table[self.steps + 1, self.paths.states[1:]]

    def arrays(self, tau):
        values = self.critics(lambda z, p: references.entropic(z, p, tau))
        return *values, self.paths.rewards, self.discounts, self.continues

    def action_values(self, tau):
        table = [[[references.entropic(*z, tau) for z in row] for row in rows] for rows in self.of_actions]
        at = self.paths.states[:-1]
        return jit_action_value(np.array(table)[self.steps, at], self.policy[at], self.paths.actions)

    def gradient(self, weights):
        return mdps.policy_gradient(self.policy, self.paths, np.asarray(weights))


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_the_oracle_itself(discount):
    problem = Problem(0, discount, reward_scale=1.0)
    for tau in (2.0, 0.5):
        exact = mdps.exact_entropic_gradient(problem.mdp, problem.logits, tau)
        objective = lambda logits, tau=tau: mdps.entropic_objective(problem.mdp, logits, tau)  # noqa: E731
        differences = mdps.finite_difference_gradient(objective, problem.logits)
        np.testing.assert_allclose(exact, differences, atol=1e-6)


@pytest.fixture(scope="module")
def cosines():
    """Mean cosine per estimator at 1/tau = 0.5, 1.3, 3."""
    with jax.enable_x64(True):
        table = []
        for inverse in (0.5, 1.3, 3.0):
            rows = []
            for seed in range(20):
                problem, tau = Problem(seed), 1 / inverse
                arrays = problem.arrays(tau)
                averse, _ = jit_entropic(*arrays, 0.0, tau, 200.0)
                estimates = {
                    "neutral": jit_gae(*problem.arrays(NEUTRAL), 0.95),
                    "risk-value": jit_gae(*arrays, 0.95),
                    "action-value": problem.action_values(tau),
                    "entropic": averse,
                    "entropic, weighted": averse * jit_weights(*arrays, tau, 200.0),
                }
                exact = mdps.exact_entropic_gradient(problem.mdp, problem.logits, tau)
                rows.append([mdps.cosine(exact, problem.gradient(weights)) for weights in estimates.values()])
            table.append(dict(zip(estimates, np.mean(rows, 0))))
        for inverse, row in zip((0.5, 1.3, 3.0), table):
            print(inverse, {name: round(float(value), 3) for name, value in row.items()})
        return table


def test_estimators_stand_in_the_order_that_theory_gives(cosines):
    for mild, row in zip((True, False, False), cosines):
        assert abs(row["risk-value"] - row["neutral"]) < 0.01
        assert row["action-value"] > row["risk-value"] + (0.03 if mild else 0.1)
        assert row["entropic"] > row["risk-value"] + (0.05 if mild else 0.15)
        assert row["entropic"] > row["action-value"] - 0.03
        assert row["entropic, weighted"] > row["entropic"] - 0.01
    for name in ("risk-value", "action-value", "entropic"):
        falling = [row[name] for row in cosines]
        assert falling[0] > falling[1] > falling[2]


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_entropic_with_its_weights_is_the_exact_gradient_without_discount(lam):
    """At gamma = 1 and with an exact critic, for every lam, and in length as well as direction."""
    for seed in range(3):
        problem, tau = Problem(seed, discount=1.0), 1.5
        arrays = problem.arrays(tau)
        averse, _ = jit_entropic(*arrays, lam, tau, 500.0)
        exact = mdps.exact_entropic_gradient(problem.mdp, problem.logits, tau)
        found = problem.gradient(averse * jit_weights(*arrays, tau, 500.0))
        np.testing.assert_allclose(found, exact, atol=1e-8)
        assert mdps.cosine(found, exact) > 1 - 1e-9
        # Without them, states are visited in the wrong proportions: close, not exact.
        assert 0.5 < mdps.cosine(problem.gradient(averse), exact) < 1 - 1e-6


def test_entropic_advantage_is_exact_in_each_state():
    """E[A | s, a] = tau (1 - E[exp(-(Z(s, a) - V(s))/tau)]) at gamma = 1, hence exact for a single decision."""
    problem, tau = Problem(0, discount=1.0), 1.5
    for lam in (0.0, 0.7, 1.0):
        advantages = np.asarray(jit_entropic(*problem.arrays(tau), lam, tau, 500.0)[0])
        values = problem.arrays(tau)[0]
        for t in range(4):
            for s in range(3):
                for a in range(2):
                    here = (problem.paths.states[t] == s) & (problem.paths.actions[t] == a)
                    mass = problem.paths.probs[here]
                    if not mass.size:
                        continue
                    z, p = problem.of_actions[t][s][a]
                    expected = tau * (1 - np.sum(p * np.exp(-(z - values[t][here][0]) / tau)))
                    assert np.sum(mass * advantages[t][here]) / mass.sum() == pytest.approx(expected, rel=1e-6)
    single = Problem(1, horizon=1)
    exact = mdps.exact_entropic_gradient(single.mdp, single.logits, tau)
    np.testing.assert_allclose(single.gradient(jit_entropic(*single.arrays(tau), 0.9, tau, 500.0)[0]), exact, atol=1e-9)


@pytest.mark.parametrize("tau", [0.2, 1.0, 5.0])
def test_risk_value_at_full_credit_is_the_risk_neutral_gradient(tau):
    for seed in range(3):
        problem = Problem(seed)
        averse = problem.gradient(jit_gae(*problem.arrays(tau), 1.0))
        neutral = problem.gradient(jit_gae(*problem.arrays(NEUTRAL), 1.0))
        np.testing.assert_allclose(averse, neutral, atol=1e-10)


@pytest.mark.parametrize("lam", [0.0, 0.95])
def test_risk_value_in_a_bandit_is_the_risk_neutral_gradient_for_every_lam(lam):
    problem = Problem(2, horizon=1)
    averse = problem.gradient(jit_gae(*problem.arrays(0.3), lam))
    neutral = problem.gradient(jit_gae(*problem.arrays(NEUTRAL), lam))
    np.testing.assert_allclose(averse, neutral, atol=1e-12)


def measure_of_return(problem, measure):
    """The measure of the return from the start state as a function of the logits."""

    def objective(logits):
        paths = mdps.trajectories(problem.mdp, mdps.softmax(logits))
        returns = paths.to_go(problem.mdp.discount)[0]
        order = np.argsort(returns)
        return float(measure(Categorical(returns[order], paths.probs[order])))

    return objective


@pytest.mark.parametrize("measure", [CVaR(0.3), MeanVariance(0.2)], ids=str)
@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_influence_of_the_whole_return_is_the_exact_gradient(measure, discount):
    """E[influence(Z(s_0), G_0) sum_t grad log pi]: what the influence function is for."""
    problem = Problem(0, discount, horizon=3)
    exact = mdps.finite_difference_gradient(measure_of_return(problem, measure), problem.logits, 1e-6)
    returns = problem.paths.to_go(discount)[0]
    order = np.argsort(returns)
    at_start = Categorical(returns[order], problem.paths.probs[order])
    influences = np.asarray(measure.influence(at_start, returns))
    np.testing.assert_allclose(problem.gradient(np.tile(influences, (3, 1))), exact, atol=2e-5)


def influence_weights(problem, measure, whole_episode):
    """The advantage at each step of each trajectory, [T, J], with the returns as targets (lam = 1)."""
    steps, gamma = problem.mdp.horizon, problem.mdp.discount
    to_go = problem.paths.to_go(gamma)
    scales = gamma ** np.arange(steps)
    earned = np.cumsum(scales[:, None] * problem.paths.rewards, 0) - scales[:, None] * problem.paths.rewards
    at_start = sorted_categorical(*problem.of_states[0][problem.mdp.start])
    weights = np.zeros_like(problem.paths.rewards)
    for t in range(steps):
        for s in np.unique(problem.paths.states[t]):
            here = problem.paths.states[t] == s
            predicted = sorted_categorical(*problem.of_states[t][s])
            targets = Categorical(to_go[t][here][:, None], np.ones((here.sum(), 1)))
            if whole_episode:
                weights[t, here] = jit_episode_influence(
                    measure, at_start, predicted, targets, earned[t][here], scales[t]
                )
            else:
                weights[t, here] = jit_influence(measure, predicted, targets)
    return weights


def sorted_categorical(values, probs):
    order = np.argsort(values)
    return Categorical(values[order], probs[order])


@pytest.mark.parametrize("measure", [CVaR(0.1), CVaR(0.5), MeanVariance(0.5), Wang(0.75)], ids=str)
def test_episode_influence_is_the_exact_gradient_of_the_measure_of_the_return(measure):
    problem = Problem(0, discount=0.9, horizon=3)
    exact = mdps.finite_difference_gradient(measure_of_return(problem, measure), problem.logits, 1e-6)
    found = problem.gradient(influence_weights(problem, measure, whole_episode=True))
    np.testing.assert_allclose(found, exact, atol=3e-5)


@pytest.mark.parametrize("measure", [CVaR(0.3), MeanVariance(0.2)], ids=str)
def test_influence_in_each_state_is_exact_for_one_decision_only(measure):
    bandit = Problem(0, horizon=1)
    exact = mdps.finite_difference_gradient(measure_of_return(bandit, measure), bandit.logits, 1e-6)
    found = bandit.gradient(influence_weights(bandit, measure, whole_episode=False))
    np.testing.assert_allclose(found, exact, atol=2e-5)
    longer = Problem(0, horizon=3)
    exact = mdps.finite_difference_gradient(measure_of_return(longer, measure), longer.logits, 1e-6)
    found = longer.gradient(influence_weights(longer, measure, whole_episode=False))
    assert 0.5 < mdps.cosine(found, exact) < 1 - 1e-6


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_mean_variance_with_the_episode_centre_is_the_exact_gradient(lam):
    weight = 0.2
    for seed in range(2):
        problem = Problem(seed, discount=1.0)
        means = problem.critics(lambda z, p: np.sum(z * p))
        moments = problem.critics(lambda z, p: np.sum(z**2 * p))
        earned = np.cumsum(problem.paths.rewards, 0) - problem.paths.rewards
        arrays = (*means, *moments, problem.paths.rewards, problem.discounts, problem.continues)
        objective = measure_of_return(problem, MeanVariance(weight))
        exact = mdps.finite_difference_gradient(objective, problem.logits, 1e-6)
        found = problem.gradient(jit_mean_variance(*arrays, lam, weight, means[0][0] - earned))
        np.testing.assert_allclose(found, exact, atol=2e-6 * np.abs(exact).max())


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_mean_variance_around_the_current_value_is_the_advantage_of_each_decision(discount):
    """E[A | s, a] = mean + w var of Z(s), less the same about the same centre for Z(s, a)."""
    problem, weight = Problem(0, discount), 0.2
    means = problem.critics(lambda z, p: np.sum(z * p))
    moments = problem.critics(lambda z, p: np.sum(z**2 * p))
    arrays = (*means, *moments, problem.paths.rewards, problem.discounts, problem.continues)
    for lam in (0.0, 1.0):
        advantages = np.asarray(jit_mean_variance(*arrays, lam, weight))
        for t, a in ((0, 0), (0, 1), (2, 0)):
            s = problem.mdp.start if t == 0 else 1
            here = (problem.paths.states[t] == s) & (problem.paths.actions[t] == a)
            mass = problem.paths.probs[here]
            z, p = problem.of_states[t][s]
            mean = np.sum(z * p)
            variance = np.sum(p * (z - mean) ** 2)
            z, p = problem.of_actions[t][s][a]
            expected = np.sum(p * ((z - mean) - weight * ((z - mean) ** 2 - variance)))
            assert np.sum(mass * advantages[t][here]) / mass.sum() == pytest.approx(expected, rel=1e-6)
