"""Each value-based method solves a small task whose answer is known, over 5 seeds, better than a stated baseline."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm, wasserstein_distance
from small_games import CoinChain, Recall, TwoStep, greedy_returns, train
from tiers import thorough

from averse import learners
from averse.environments.corridor import Corridor
from averse.learners.value_based.risk_level import expected_level, level_weights, risk_level_predictor
from averse.training.compiled import CompiledGroup

SLOW = pytest.mark.slow  # 15 to 35 s of compilation each, on one core

FAST = {
    "num_envs": 16, "batch_size": 32, "gradient_steps": 8, "buffer_size": 512, "hidden": (32,), "learning_rate": 3e-3,
    "target_rate": 0.05, "gamma": 1.0, "final_learning_rate": 0.1,
}  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("method", "settings", "returns"),
    [
        thorough("vdn", {"recurrent": False}, 7.0),
        ("qmix", {"recurrent": False}, 8.0),
        pytest.param("rmix", {"fixed_alpha": 1.0, "num_atoms": 32}, 8.0, marks=SLOW),
    ],
    ids=str,
)
def test_the_two_step_game_separates_sums_from_monotone_mixtures(method, settings, returns):
    """Learnt from random play: the optimum 8 is beyond sums of utilities, not beyond monotone mixtures of them.

    RMIX at level 1 does as QMIX does: the regression of its agents' own returns, to which game B is worth 4.5, must not
    outweigh the team's error. (Summed over its quantiles it did: 7 on each of 5 seeds.)
    """
    learner, states, _ = train(TwoStep(), method, 60, **FAST, rollout_steps=2, lam=0.0, exploration_end=1.0, **settings)
    np.testing.assert_array_equal(greedy_returns(TwoStep(), learner, states), np.full(5, returns))


@SLOW
@pytest.mark.timeout(600)
def test_recurrent_agents_remember():
    """What was shown three steps ago: everything with a GRU, no better than a guess without."""
    settings = {**FAST, "rollout_steps": 4, "lam": 0.6, "exploration_fraction": 0.8}
    learner, states, _ = train(Recall(), "qmix", 80, **settings)
    assert (greedy_returns(Recall(), learner, states) > 0.95).all()
    learner, states, _ = train(Recall(), "qmix", 30, **settings, recurrent=False)
    assert (greedy_returns(Recall(), learner, states) < 0.7).all()


RISKY = {"rollout_steps": 10, "support": (-20.0, 15.0)}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("method", "settings", "share"),
    [
        ("dqn", {}, 1.0),
        pytest.param("c51", {}, 1.0, marks=SLOW),
        pytest.param("c51", {"measure": "cvar:0.2"}, 0.0, marks=SLOW),
        pytest.param("qr-dqn", {"measure": "cvar:0.2"}, 0.0, marks=SLOW),
        pytest.param("riskq", {"measure": "mean"}, 1.0, marks=SLOW),
        thorough("riskq", {}, 0.0),
        pytest.param("rmix", {"fixed_alpha": 0.2, "num_atoms": 20, "quantile_weight": 20.0}, 0.0, marks=SLOW),
    ],
    ids=str,
)
def test_the_corridor_separates_neutral_from_cautious(method, settings, share):
    """Ten steps, each safe (+1) or risky (mean 1.15, with a tail): the mean prefers risk, the tail does not.

    The greedy choice at every step, on each of 5 seeds; three steps suffice to tell, so that the corridor is that short
    here. A policy that plays at random would be right at all 15 steps with probability 3e-5.
    """
    environment = Corridor(length=3)
    options = {**FAST, **RISKY, "rollout_steps": 3, "exploration_end": 0.3, **settings}
    learner, states, _ = train(environment, method, 80, **options)
    act = jax.jit(partial(learner.act, greedy=True))
    for seed in range(5):
        state = jax.tree.map(lambda x: x[seed], states)  # noqa: B023
        observations = np.eye(3, dtype=np.float32)[:, None]
        memory = learner.initial_memory(1)
        chosen = []
        for t in range(3):
            action, extras = act(
                state, observations[t][None], np.ones((1, 1, 2), bool), jax.random.key(0), memory=memory
            )
            memory = extras["memory"]
            chosen.append(int(action[0, 0]))
        assert np.mean(chosen) == share, (method, seed, chosen)


@pytest.mark.thorough
@pytest.mark.optimised
def test_the_risk_level_predictor_learns_the_level_it_needs():
    """By the gradient of a squared error alone: level .9 where a return has widened, .2 where it has narrowed.

    The agents' quantiles stay what they are, so that only the level can make utilities meet their targets. From .55 the
    levels move the right way on each of 5 seeds and the error falls by 90 % or more. It need not vanish: the softmax
    may settle on a level near the right one (on one seed of these five on .4 in place of .2).
    """
    narrow, wide = (width * jnp.asarray(norm.ppf((np.arange(20) + 0.5) / 20), jnp.float32) for width in (1.0, 3.0))
    current, past = jnp.stack([wide, narrow]), jnp.stack([narrow, wide])
    weights = level_weights(10, 20)
    targets = jnp.array([weights[8] @ wide, weights[1] @ narrow])
    predictor = risk_level_predictor(20, 10, 16)
    optimiser = optax.adam(5e-4)

    def error(params):
        utilities = ((predictor.probabilities(params, current, past) @ weights) * current).sum(-1)
        return ((utilities - targets) ** 2).sum()

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(error)(params)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to a whole number
            changes, state = optimiser.update(gradient, state)
        return (optax.apply_updates(params, changes), state), value

    @jax.jit
    @jax.vmap
    def learnt(key):
        params = predictor.init(key)
        (params, _), errors = jax.lax.scan(step, (params, optimiser.init(params)), None, length=4000)
        return expected_level(predictor.probabilities(params, current, past)), errors

    levels, errors = learnt(jax.random.split(jax.random.key(0), 5))
    high, low = levels.T
    assert (errors[:, -1] < 0.1 * errors[:, 0]).all()
    assert (high > 0.8).all()
    assert (low < 0.45).all()


@pytest.mark.thorough
@pytest.mark.optimised
@pytest.mark.parametrize("size", [1e-2, 1.0, 1e3])
def test_no_risk_level_is_ever_out_of_reach(size):
    """However large returns are, each level keeps a probability through which a gradient can bring it back."""
    predictor = risk_level_predictor(20, 10, 16)
    params = jax.vmap(predictor.init)(jax.random.split(jax.random.key(0), 20))
    current, past = size * jnp.sort(jax.random.normal(jax.random.key(1), (2, 50, 20)), -1)
    assert jax.vmap(lambda p: predictor.probabilities(p, current, past))(params).min() > 1e-5


@SLOW
@pytest.mark.timeout(600)
def test_rmix_raises_its_level_where_caution_cannot_be_right():
    """One step, safe (+1) or risky (mean 1.15): no monotone mixture of CVaRs below the level .7 ranks them by mean.

    CVaR_a of the risky step is 1.5 - .35/a (a above .1), which reaches the safe 1 at a = .7 only; the temporal
    difference, whose least error is at the means, raises the level. (It may also bend the distributions, and does, at a
    small weight of their regression.)
    """
    settings = {**FAST, "rollout_steps": 1, "quantile_weight": 20.0, "num_atoms": 20, "exploration_end": 1.0}
    environment = Corridor(length=1)
    learner = learners.learner("rmix", environment, **settings)
    group = CompiledGroup(environment, learner, [{"seed": seed} for seed in range(5)])
    group.start()
    history = [[row["risk_level"] for row in group.advance(1)[0]] for _ in range(100)]
    early, late = history[0], history[-1]
    assert all(after > before for before, after in zip(early, late, strict=True)), (early, late)
    assert np.mean(early) < 0.6
    assert np.mean(late) > 0.65


@pytest.mark.thorough
@pytest.mark.optimised
@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", [pytest.param("c51", marks=SLOW), "qr-dqn"])
def test_the_return_distribution_of_a_markov_reward_process(method):
    """Three coins of 0 or 1 at discount .9: eight equally likely returns, from 0 to 2.71.

    Quantiles are learned without Huber's smoothing, which draws them towards the mean (distance .34 at threshold 1).
    The learned distribution at each of the three steps is within .1 of the exact one in the 1-Wasserstein distance (the
    mean's own is .6 and more at the first step), on each of 5 seeds.
    """
    environment = CoinChain(length=3, safe_reward=0.0, good_reward=1.0, bad_reward=0.0, bad_probability=0.5)
    settings = {**FAST, "rollout_steps": 3, "gamma": 0.9, "support": (-0.5, 3.5), "final_learning_rate": 0.02,
        "huber": 0.0, "batch_size": 64}  # fmt: skip
    learner, states, _ = train(environment, method, 400, **settings)
    assert learner.predict_returns is not None
    for seed, step in itertools.product(range(5), range(3)):
        state = jax.tree.map(lambda x: x[seed], states)  # noqa: B023
        observations = np.eye(3, dtype=np.float32)[step][None, None]
        predicted = learner.predict_returns(state, observations, observations[:, 0], np.ones((1, 1, 2), bool))
        exact = [sum(0.9**t * c for t, c in enumerate(coins)) for coins in itertools.product((0, 1), repeat=3 - step)]
        distance = wasserstein_distance(predicted.values[0, 0], exact, predicted.probs[0, 0])
        assert distance < 0.1, (seed, step, distance)
        if step == 0:
            assert wasserstein_distance([np.mean(exact)], exact) > 0.5
