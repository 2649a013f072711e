"""The lower bound of a change of policy: never more than the truth, exact to first order."""

import numpy as np
import pytest

from averse.planning import TeamGame, difference, mv_mapi, poisson
from averse.planning.improvement import deviation_matrix, ergodicity_coefficient, improvement_bound


def random_game(seed, states=4, actions=(2, 3)):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(states, 0.5), (states, *actions))
    return TeamGame(transition, 3 * rng.normal(size=(states, *actions)))


def random_policy(rng, game):
    return [rng.dirichlet(np.ones(size), game.num_states) for size in game.num_actions]


def mixed(one, other, share):
    return [(1 - share) * a + share * b for a, b in zip(one, other)]


def test_the_bound_is_never_above_the_true_change_of_j():
    positive = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        game = random_game(seed, actions=((2, 3), (2, 2, 2))[seed % 2])
        beta, old = rng.uniform(0, 2), random_policy(rng, game)
        new = mixed(old, random_policy(rng, game), rng.choice([0.01, 0.1, 1.0]))
        found = improvement_bound(game, old, new, beta)
        assert found.change == pytest.approx(difference(game, old, new, beta), abs=1e-10)
        assert found.bound <= found.change + 1e-12
        assert 0 <= found.total_variation <= 1
        positive += found.bound > 0
    assert positive > 20  # small steps are sometimes known to gain, large ones hardly ever


def test_the_bound_is_exact_to_first_order():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        game, beta = random_game(seed), 0.7
        old, other = random_policy(rng, game), random_policy(rng, game)
        gaps = []
        for share in (1e-2, 1e-3):
            found = improvement_bound(game, old, mixed(old, other, share), beta)
            gaps.append((found.change - found.bound) / share)
        assert gaps[1] < 0.2 * gaps[0]  # the gap falls with the square of the step


def test_small_steps_towards_the_next_policy_of_mv_mapi_are_sure_to_gain():
    for seed in range(10):
        game, beta = random_game(seed), 1.0
        old = random_policy(np.random.default_rng(seed), game)
        best = poisson(game, old, beta).agent_values[0].argmax(-1)
        towards = [np.eye(game.num_actions[0])[best], old[1]]
        assert improvement_bound(game, old, mixed(old, towards, 1e-3), beta).bound > 0
        assert mv_mapi(game, beta, initial=old).objective > poisson(game, old, beta).value.objective


def test_deviation_matrix_is_the_sum_over_time():
    game = random_game(5)
    policy = random_policy(np.random.default_rng(5), game)
    chain = np.einsum("sabx,sa,sb->sx", game.transition, *policy)
    steady = poisson(game, policy, 0).steady_state
    total = sum(np.linalg.matrix_power(chain, t) - steady for t in range(300))
    np.testing.assert_allclose(deviation_matrix(chain, steady), total, atol=1e-10)


def test_ergodicity_coefficient_is_the_worst_growth_and_at_most_kemenys_constant_less_one():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        game = random_game(seed, states=3 + seed % 3)
        policy = random_policy(rng, game)
        chain = np.einsum("sabx,sa,sb->sx", game.transition, *policy)
        deviation = deviation_matrix(chain, poisson(game, policy, 0).steady_state)
        coefficient = ergodicity_coefficient(deviation)
        rows = rng.normal(size=(500, len(chain)))
        rows -= rows.mean(-1, keepdims=True)
        growth = np.abs(rows @ deviation).sum(-1) / np.abs(rows).sum(-1)
        assert growth.max() <= coefficient + 1e-12
        pairs = [np.abs(deviation[i] - deviation[j]).sum() / 2 for i in range(len(chain)) for j in range(i)]
        assert coefficient == pytest.approx(max(pairs))
        assert coefficient <= np.trace(deviation) + 1e-9  # Kemeny's constant less one, of Zhang and Ross


def test_no_change_is_worth_nothing():
    game = random_game(0)
    policy = random_policy(np.random.default_rng(0), game)
    found = improvement_bound(game, policy, policy, 1.0)
    assert found.bound == pytest.approx(0, abs=1e-12)
    assert found.change == pytest.approx(0, abs=1e-12)
