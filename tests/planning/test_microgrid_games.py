"""Exact answers on the microgrids: published figures, MV-MAPI, the certified optimum, larger joint games."""

import numpy as np
import pytest

import averse
from averse.errors import AverseError
from averse.planning import best_joint_policy, classify, mean_variance, mv_mapi, poisson


@pytest.fixture(scope="module")
def game():
    return averse.make("microgrids", scenario=1).model()


def idle_policy(env, game):
    return [np.eye(size)[np.full(game.num_states, action)] for size, action in zip(game.num_actions, env.idle)]


def test_no_management_is_multichain_and_its_figures_need_a_start(game):
    """Batteries that nobody touches stay as they are: 36 recurrent classes, all of the same value."""
    env = averse.make("microgrids", scenario=1)
    policy = idle_policy(env, game)
    with pytest.raises(AverseError, match="36 recurrent classes"):
        mean_variance(game, policy, 0.3)
    with pytest.raises(AverseError, match="36 recurrent classes"):
        poisson(game, policy, 0.3)
    with pytest.raises(AverseError, match="36 recurrent classes"):
        mv_mapi(game, 0.3, initial=policy)
    for start in (np.full(1296, 1 / 1296), np.eye(1296)[700]):
        value = mean_variance(game, policy, 0.3, initial=start)
        assert value[:2] == pytest.approx((-1.515125, 0.567577), abs=1e-6)


@pytest.mark.parametrize(
    ("beta", "eta", "zeta", "objective", "rounds", "best"),
    [(0.3, -1.542834, 0.296783, -1.631869, 9, -1.630651), (1.0, -1.605870, 0.190104, -1.795973, 7, -1.792943)],
)
def test_scenario_1(game, beta, eta, zeta, objective, rounds, best):
    plan = mv_mapi(game, beta, order=[0, 1])
    assert (plan.eta, plan.zeta, plan.objective) == pytest.approx((eta, zeta, objective), abs=1e-6)
    assert plan.rounds == rounds
    assert np.diff(plan.history).min() >= -1e-9
    found = best_joint_policy(game, beta, plan.policy)
    assert found.objective == pytest.approx(best, abs=1e-6)
    assert found.gap <= 1e-6
    assert classify(game, plan.policy, beta).stationary


def test_without_a_price_of_variance_the_batteries_rest(game):
    """They lose power. Every step towards that makes the second battery's chain multichain, which is no obstacle."""
    plan = mv_mapi(game, 0.0)
    assert (plan.eta, plan.zeta) == pytest.approx((-1.515125, 0.567577), abs=1e-6)
    assert best_joint_policy(game, 0.0).objective == pytest.approx(plan.objective, abs=1e-9)
    assert classify(game, plan.policy, 0.0).nash


def test_the_forms_of_scenario_1_agree(game):
    other = averse.make("microgrids", scenario=1).model("sparse")
    plans = [mv_mapi(form, 1.0) for form in (game, other)]
    np.testing.assert_allclose(plans[0].history, plans[1].history, atol=1e-9)
    np.testing.assert_array_equal(plans[0].actions, plans[1].actions)


def test_the_forms_of_a_reduced_game_agree():
    env = averse.make("microgrids", scenario=2, microgrids=2, wind_levels=2, load_levels=2, battery_levels=3)
    plans = [mv_mapi(env.model(form), 0.3) for form in ("factored", "sparse", "dense")]
    for plan in plans[1:]:
        np.testing.assert_allclose(plans[0].history, plan.history, atol=1e-9)
        np.testing.assert_array_equal(plans[0].actions, plan.actions)
    with pytest.raises(AverseError, match="did you mean dense"):
        env.model("dence")
    with pytest.raises(AverseError, match=r"the dense form of 10,077,696 joint states would take .* GB"):
        averse.make("microgrids", scenario=2).model("dense")


def test_alone_each_microgrid_reaches_the_published_figures():
    alone = averse.make("microgrids", scenario=2, microgrids=1).model()
    for beta, objective in ((0.3, -4.94341), (1.0, -5.50446)):
        plan, best = mv_mapi(alone, beta), best_joint_policy(alone, beta)
        assert 3 * plan.objective == pytest.approx(objective, abs=1e-5)
        assert 3 * best.objective == pytest.approx(3 * plan.objective, abs=1e-8)


@pytest.mark.thorough
def test_three_microgrids_with_46656_joint_states():
    """Together they do better than each alone; J never falls; the end is stationary."""
    env = averse.make("microgrids", scenario=2, wind_levels=3, load_levels=3, battery_levels=4)
    game, beta = env.model(), 1.0
    assert game.num_states == 46_656
    plan = mv_mapi(game, beta)
    assert np.diff(plan.history).min() >= -1e-9
    alone = averse.make("microgrids", scenario=2, microgrids=1, wind_levels=3, load_levels=3, battery_levels=4)
    assert plan.objective > 3 * best_joint_policy(alone.model(), beta).objective + 0.1
    solution = poisson(game, plan.policy, beta)
    for agent, actions in enumerate(plan.actions):
        values = solution.values_of(agent)
        chosen = np.take_along_axis(values, actions[:, None], -1)[:, 0]
        assert (chosen >= values.max(-1) - 1e-9).all()
