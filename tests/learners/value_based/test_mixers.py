"""Mixers against brute force: what is best for each agent by itself is best for the team."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import first_quick

from averse.learners.value_based.mixers import monotone_mixer, quantile_mixer, sum_mixer
from averse.risk import CPW, CVaR, Expectation, MeanVariance, Quantiles, VaR, Wang

AGENTS, ACTIONS, QUANTILES, STATE, CASES = 3, 4, 16, 5, 40
JOINT = np.array(list(itertools.product(range(ACTIONS), repeat=AGENTS)))


def random_params(mixer, key):
    """Parameters far from the initial ones, of order one."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(mixer.init, key))
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(tree, [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)])


def joint_values(own):
    """Each agent's value of its part of every joint action: [A, n, N] -> [n^A, A, N]."""
    return jnp.stack([own[i][JOINT[:, i]] for i in range(AGENTS)], axis=1)


def regrets(mixer, measure, cases=CASES):
    """How much better the best joint action is than the agents' own choices, on random mixers, states and returns."""

    def regret(case):
        keys = jax.random.split(jax.random.key(case), 4)
        params = random_params(mixer, keys[0])
        state = jax.random.normal(keys[1], (STATE,))
        # Skewed returns of different spread, so that measures disagree with the mean.
        spread = jnp.exp(jax.random.normal(keys[2], (AGENTS, ACTIONS, 1)))
        own = jnp.sort(spread * jax.random.gumbel(keys[3], (AGENTS, ACTIONS, QUANTILES)), -1)
        choices = measure(Quantiles(own)).argmax(-1)
        totals = mixer.apply(params, joint_values(own), jnp.broadcast_to(state, (len(JOINT), STATE)))
        return choices, measure(Quantiles(totals))

    choices, values = map(np.asarray, jax.jit(jax.vmap(regret))(np.arange(cases)))
    chosen = (choices[:, None] == JOINT).all(-1)
    assert (chosen.sum(-1) == 1).all()
    return (values.max(-1) - values[chosen]) / (np.ptp(values, -1) + 1e-6)


MEASURES = [VaR(0.3), CVaR(0.1), VaR(0.05), CVaR(0.5), Wang(0.75), CPW(0.71), Expectation()]


@pytest.mark.parametrize("measure", first_quick(MEASURES, 2))
@pytest.mark.thorough
def test_own_risk_greedy_choices_are_the_joint_risk_greedy_action(measure):
    """RIGM (Shen et al. 2023) for VaR and three distortion measures, by brute force over all joint actions."""
    assert regrets(quantile_mixer(AGENTS, STATE, 8), measure).max() < 1e-5


def test_rigm_does_not_hold_for_every_measure():
    """A weighted variance is no weighted sum of variances: the property above is not an empty one."""
    assert regrets(quantile_mixer(AGENTS, STATE, 8), MeanVariance(0.3)).max() > 0.01


def test_the_monotone_mixer_never_falls_in_an_agents_value():
    mixer = monotone_mixer(AGENTS, STATE, 16, 16)

    def slopes(case):
        keys = jax.random.split(jax.random.key(case), 3)
        params = random_params(mixer, keys[0])
        state = jax.random.normal(keys[1], (STATE,))
        slope = jax.grad(lambda q: mixer.apply(params, q[:, None], state)[0])
        return jax.vmap(slope)(5.0 * jax.random.normal(keys[2], (50, AGENTS)))

    found = np.asarray(jax.jit(jax.vmap(slopes))(np.arange(CASES)))
    assert (found >= 0).all()
    assert (found > 0).any(axis=(1, 2)).all()


def test_own_greedy_choices_are_the_joint_greedy_action_of_qmix():
    """IGM by brute force over all joint actions."""
    mixer = monotone_mixer(AGENTS, STATE, 16, 16)

    def totals(case):
        keys = jax.random.split(jax.random.key(case), 3)
        params = random_params(mixer, keys[0])
        state = jnp.broadcast_to(jax.random.normal(keys[1], (STATE,)), (len(JOINT), STATE))
        own = 3.0 * jax.random.normal(keys[2], (AGENTS, ACTIONS, 1))
        return own[..., 0].argmax(-1), mixer.apply(params, joint_values(own), state)[:, 0]

    choices, found = map(np.asarray, jax.jit(jax.vmap(totals))(np.arange(CASES)))
    chosen = (choices[:, None] == JOINT).all(-1)
    assert (chosen.sum(-1) == 1).all()
    np.testing.assert_allclose(found[chosen], found.max(-1), rtol=1e-6, atol=1e-6)


def test_vdn_adds():
    values = jax.random.normal(jax.random.key(0), (7, AGENTS, 1))
    np.testing.assert_allclose(sum_mixer().apply({}, values, ()), np.asarray(values).sum(1), rtol=1e-6)


def test_mixers_treat_each_moment_by_itself():
    """Leading axes are batch axes: one call is as many calls."""
    for mixer, size in ((monotone_mixer(AGENTS, STATE, 8, 8), 1), (quantile_mixer(AGENTS, STATE, 8), QUANTILES)):
        draws = np.random.default_rng(1)
        params = jax.jit(partial(random_params, mixer))(jax.random.key(1))
        values = draws.normal(size=(4, 2, AGENTS, size)).astype(np.float32)
        states = draws.normal(size=(4, 2, STATE)).astype(np.float32)
        apply = jax.jit(mixer.apply)
        together = np.asarray(apply(params, values, states))
        assert together.shape == (4, 2, size)
        for t, b in itertools.product(range(4), range(2)):
            np.testing.assert_allclose(together[t, b], apply(params, values[t, b], states[t, b]), rtol=1e-5, atol=1e-5)
