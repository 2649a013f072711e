"""MAPPO on the risk of whole episodes: what steps are paid, and an optimum that policies without a budget miss."""

import jax
import jax.numpy as jnp
import luck
import numpy as np
import pytest
import scipy.special

import averse
from averse import learners
from averse.errors import AverseError
from averse.learners.policy_gradient.static_risk import Remembered, episode_advantages, worth
from averse.planning import cvar_value_iteration
from averse.risk import Categorical, CVaR, Entropic, MeanVariance, Samples, episode_influence_advantage

SMALL = {"num_envs": 64, "rollout_steps": 32, "segment_length": 8, "hidden": (16, 16), "learning_rate": 5e-3}
SEEDS = 5
PREDICTED = {"critic": "categorical", "advantage": "episode-influence"}
paid = jax.jit(worth)


def test_cvar_pays_up_to_the_cap():
    """With alpha for a factor the influence is min(G - C, 0) and a constant: increments are those of min(G, C)."""
    returns = np.arange(10, dtype=np.float32)
    before, after = np.array([[[3.5], [0.5], [-4.0]], [[2.5], [6.0], [-3.0]]], np.float32)
    found = [np.asarray(paid(CVaR(0.3), Samples(returns[None]), x, 5.0)) for x in (before, after)]
    cap = np.sort(returns)[2]
    np.testing.assert_allclose(found[1] - found[0], np.minimum(after, cap) - np.minimum(before, cap), atol=1e-5)


def test_entropic_and_mean_variance_pay_by_their_utility():
    values = np.array([[0.0, 1.0, 5.0], [2.0, 2.0, 3.0]])
    returns, points = values.astype(np.float32), np.array([[0.5, -1.0], [2.0, 4.0], [-90.0, 3.0]], np.float32)
    ce = -2.0 * np.log(np.exp(-values / 2.0).mean(-1))
    clipped = np.maximum(points, ce - 5.0 * 2.0)
    expected = 2.0 * (1.0 - np.exp(-(clipped - ce) / 2.0))
    np.testing.assert_allclose(paid(Entropic(2.0), Samples(returns), points, 5.0), expected, rtol=1e-4)
    gap = points - values.mean(-1)
    expected = gap - 0.1 * (gap**2 - values.var(-1))
    np.testing.assert_allclose(paid(MeanVariance(0.1), Samples(returns), points, 5.0), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("measure", [CVaR(0.3), Entropic(2.0), MeanVariance(0.1)])
def test_the_mean_of_what_is_paid_has_the_gradient_of_the_measure(measure):
    """Against finite differences: probabilities of three returns, moved a little each."""
    values, logits = np.array([0.0, 1.0, 2.5]), np.array([-1.2, 0.3, 0.1])

    compiled = jax.jit(lambda values, probs: measure(Samples(values, probs)))

    def measured(logits):
        probs = np.exp(logits) / np.exp(logits).sum()
        with jax.enable_x64(True):
            return float(compiled(values, probs))

    probs = np.exp(logits) / np.exp(logits).sum()
    worths = np.asarray(paid(measure, Samples(values[None], probs[None]), values[:, None], 50.0))[:, 0]
    unit = 0.3 if isinstance(measure, CVaR) else 1.0
    gradient = probs * (worths - probs @ worths) / unit
    steps = 1e-5 * np.eye(3)
    differences = [(measured(logits + step) - measured(logits - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient, differences, atol=2e-4)


def test_the_latest_episodes_are_remembered():
    @jax.jit
    def after(ring, returns, ended, weights):
        ring = ring.with_ended(returns, ended, weights)
        return ring, ring.distribution(None)

    ring, expected = Remembered.none(1, 4), []
    rng = np.random.default_rng(0)
    for number in (0, 1, 3, 0, 4, 9, 2):
        ended = np.zeros(12, bool)
        ended[rng.choice(12, number, replace=False)] = True
        returns = rng.normal(size=(12, 1)).astype(np.float32)
        weights = rng.uniform(0.2, 2.0, 12).astype(np.float32)
        ring, found = after(ring, returns, ended, weights)
        expected = [*expected, *zip(returns[ended, 0], weights[ended])][-4:]
        there = np.asarray(found.weights)[0] > 0
        known = sorted(zip(np.asarray(found.values)[0, there], np.asarray(found.weights)[0, there]))
        due = np.array(sorted(expected or [(0.0, 1.0)]))
        np.testing.assert_allclose(known, due / [1.0, due[:, 1].sum()], rtol=1e-6)
    assert float(ring.distribution(0.5).values.min()) >= 0.5


def test_the_world_without_a_budget_defeats_every_policy_without_one():
    """The premise of the learning test, by enumeration against dynamic programming on the return so far."""
    plan = cvar_value_iteration(luck.model(), luck.ALPHA)
    assert plan.value == pytest.approx(luck.BEST)
    assert luck.cvar_of((1.0, 0.0)) == pytest.approx(luck.BEST)
    blind = [luck.cvar_of((q, q)) for q in np.linspace(0, 1, 101)]
    assert max(blind) == pytest.approx(luck.BEST_BLIND)


def gambles(run) -> np.ndarray:
    """Probabilities of gambling after bad and after good luck, of each trial, [trial, 2]."""
    seen = jnp.array([[0.0, 0.5, 0.0, 1.0], [1.0, 0.5, 0.0, 1.0]])[:, None]
    probabilities = jax.vmap(lambda state: run.learner.action_probabilities(state, seen, jnp.ones((2, 1, 2), bool)))
    return np.asarray(probabilities(run.learner_states))[:, :, 0, luck.GAMBLE]


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_the_exact_optimum_is_learned_where_nested_risk_cannot_find_it():
    """CVaR has local optima (to gamble always is one for a policy that does so already): averse from the start on."""
    settings = {**SMALL, "alpha": luck.ALPHA, "risk_warmup": 0.0}
    run = averse.train("budget:luck:Luck", "static-cvar-mappo", 8e4, SEEDS, **settings)
    assert min(luck.cvar_of(tuple(pair)) for pair in gambles(run)) > 0.98 * luck.BEST
    # What happened before is past for a nested measure, though it sees it as well.
    run = averse.train("budget:luck:Luck", "c51-cvar-mappo", 8e4, 1, **settings)
    assert max(luck.cvar_of(tuple(pair)) for pair in gambles(run)) < luck.BEST_BLIND + 0.01


@pytest.mark.parametrize("measure", [CVaR(0.3), Entropic(2.0), MeanVariance(0.1)])
def test_predicted_weights_are_the_exact_estimator(measure):
    """`averse.risk.episode_influence_advantage` is an exact gradient (tests/risk/test_gradient_oracle.py)."""
    rng = np.random.default_rng(0)
    atoms, earned = np.linspace(-2.0, 3.0, 6, dtype=np.float32), rng.normal(size=(4, 3, 2)).astype(np.float32)
    returns, *probs = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 50), (4, 3, 2, 6), (4, 3, 2, 6)))
    before, after = (Categorical(atoms, scipy.special.softmax(logits, -1)) for logits in probs)
    found = np.asarray(jax.jit(episode_advantages)(measure, Samples(returns), before, after, earned, 50.0))
    of_each = Samples(np.broadcast_to(returns, (4, 3, 2, 50)))
    exact = np.asarray(jax.jit(episode_influence_advantage)(measure, of_each, before, after, earned))
    unit = measure.alpha if isinstance(measure, CVaR) else 1.0
    np.testing.assert_allclose(found, unit * exact, atol=1e-5)
    assert abs(found).max() > 0.1


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_the_same_optimum_is_learned_from_predictions():
    settings = {**SMALL, "alpha": luck.ALPHA, "risk_warmup": 0.0, "num_atoms": 21, **PREDICTED}
    run = averse.train("budget:luck:Luck", "static-cvar-mappo", 8e4, SEEDS, **settings)
    assert min(luck.cvar_of(tuple(pair)) for pair in gambles(run)) > 0.98 * luck.BEST


@pytest.mark.parametrize(
    ("method", "environment", "settings", "words"),
    [
        ("static-cvar-mappo", "corridor", {}, "--env budget:corridor"),
        ("static-cvar-mappo", "budget:corridor", {"critic": "categorical"}, "critic 'scalar' and advantage 'gae'"),
        ("rqe-mappo", "corridor", {"advantage": "episode-influence"}, "give it to static-cvar-mappo or such"),
        ("static-cvar-mappo", "budget:corridor", {"advantage": "episode-influence"}, "needs critic 'categorical' or"),
        ("static-cvar-mappo", "budget:corridor", {**PREDICTED, "gamma": 0.9}, "gamma must be 1, not 0.9"),
        ("static-cvar-mappo", "budget:corridor", {"measure": "var:0.1"}, "needs an influence function"),
        ("static-cvar-mappo", "budget:corridor", {"remembered_episodes": 0}, "remembered_episodes must be"),
        ("static-cvar-mappo", "budget:corridor", {"tau": 1.0}, "its number is called alpha"),
    ],
)
def test_bad_settings_get_one_clear_line(method, environment, settings, words):
    with pytest.raises(AverseError, match=words) as caught:
        learners.learner(method, averse.environments.make(environment), **settings)
    assert "\n" not in str(caught.value)
