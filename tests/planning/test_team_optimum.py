"""Certified optima, best responses, Nash equilibria and local optima, against listing all deterministic policies."""

import json
from pathlib import Path

import numpy as np
import pytest

from averse.errors import AverseError
from averse.planning import TeamGame, best_joint_policy, best_response, classify, mean_variance, mv_ipga, mv_mapi

from .team_oracles import agent_policies, class_values, joint_policies, random_game, random_policy, sparse_game
from .test_team_games import GOLDEN, written

BETAS = (0.0, 0.3, 1.0, 5.0)


def test_the_certificate_against_all_joint_deterministic_policies():
    """J is convex in the occupancy measure, so that one of them is best; random games of 2 and 3 agents."""
    for seed in range(60):
        game = random_game(seed, *((3, (2, 2)), (2, (2, 2, 2)), (2, (3, 2)))[seed % 3])
        beta = BETAS[seed % 4]
        best = max(class_values(game, policy, beta).max() for policy in joint_policies(game))
        found = best_joint_policy(game, beta)
        assert found.objective == pytest.approx(best, abs=1e-9)
        assert found.objective <= found.upper_bound <= found.objective + 1e-6
        assert (found.eta, found.zeta, found.objective) == pytest.approx(mean_variance(game, found.policy, beta))
        # Each g(lambda) is the best E[r - beta (r - lambda)^2], an upper bound on J - beta (eta - lambda)^2.
        rng = np.random.default_rng(seed)
        for _ in range(20):
            value = mean_variance(game, random_policy(rng, game), beta)
            assert (value.objective <= found.scanned[:, 1] + beta * (value.eta - found.scanned[:, 0]) ** 2 + 1e-9).all()
            assert value.objective <= found.upper_bound


def test_the_certificate_where_policies_have_several_recurrent_classes():
    several = 0
    for seed in range(60):
        game, beta = sparse_game(seed), BETAS[seed % 4]
        values = [class_values(game, policy, beta) for policy in joint_policies(game)]
        several += any(np.ptp(value) > 1e-6 for value in values)
        found = best_joint_policy(game, beta)
        assert found.objective == pytest.approx(max(value.max() for value in values), abs=1e-9)
        assert found.gap <= 1e-6
        assert mean_variance(game, found.policy, beta).objective == pytest.approx(found.objective)  # has one class
    assert several > 30


def test_best_responses_against_all_policies_of_the_agent():
    for seed in range(40):
        game, beta = random_game(seed, 3, (2, 3)), BETAS[seed % 4]
        rng = np.random.default_rng(seed)
        policy = random_policy(rng, game)
        for agent in range(2):
            found = best_response(game, policy, agent, beta)
            others = [
                mean_variance(game, [table if k == agent else policy[k] for k in range(2)], beta).objective
                for table in agent_policies(game, agent)
            ]
            assert found.objective == pytest.approx(max(others), abs=1e-9)
            assert found.objective <= found.upper_bound <= found.objective + 1e-7
            np.testing.assert_allclose(found.policy[1 - agent], policy[1 - agent], atol=1e-15)


def test_the_golden_game():
    facts = json.loads((Path(__file__).parent / "golden_team_game.json").read_text())
    beta = facts["beta"]
    for check in facts["checks"]:
        if check["policy"] == "uniform":
            continue
        found = classify(GOLDEN, written(*check["policy"]), beta)
        assert found.value.objective == pytest.approx(check["J"], abs=1e-9)
        assert found.nash == ("not Nash" not in check["is"])
        assert found.stationary
        assert found.strict_local_optimum
    trap = classify(GOLDEN, written("11", "11"), beta)  # stationary, but agent 2 does better by the policy 01
    assert trap.deviation.agent == 1
    assert trap.deviation.objective == pytest.approx(6.34375, abs=1e-9)
    np.testing.assert_array_equal(trap.deviation.table, written("01")[0])
    assert best_joint_policy(GOLDEN, beta).objective == pytest.approx(9, abs=1e-9)
    start = written("01", "00")
    assert mv_mapi(GOLDEN, beta, initial=start).objective == pytest.approx(4, abs=1e-9)
    escaped = mv_mapi(GOLDEN, beta, initial=start, variant="nash")
    assert escaped.objective > 5
    assert escaped.escapes >= 1
    assert classify(GOLDEN, escaped.policy, beta).nash


@pytest.mark.thorough
def test_classification_against_brute_force():
    """Stationary by differences along every feasible direction; strict by random nearby policies; Nash by listing."""
    counts = np.zeros(3, int)
    for seed in range(15):
        game, beta = random_game(seed, 2, (2, 2)), (0.3, 1.0, 5.0)[seed % 3]
        rng = np.random.default_rng(seed)
        for policy in joint_policies(game):
            found = classify(game, policy, beta)
            here = mean_variance(game, policy, beta).objective
            deviations = [
                mean_variance(game, [table if k == agent else policy[k] for k in range(2)], beta).objective - here
                for agent in range(2)
                for table in agent_policies(game, agent)
            ]
            assert found.nash == (max(deviations) <= 1e-7)
            if not found.nash:
                assert found.deviation.gain == pytest.approx(max(deviations), abs=1e-9)
            step, slopes = 1e-4, []
            for agent in range(2):
                for state in range(2):
                    table = policy[agent].copy()
                    table[state] = (1 - step) * table[state] + step * (1 - table[state])
                    moved = [table if k == agent else policy[k] for k in range(2)]
                    slopes.append((mean_variance(game, moved, beta).objective - here) / step)
            assert found.stationary == (max(slopes) < 1e-3)
            assert found.strict_local_optimum == (max(slopes) < -1e-3)
            if found.strict_local_optimum:
                for _ in range(10):
                    other = random_policy(rng, game)
                    near = [table + 1e-3 * (new - table) for table, new in zip(policy, other)]
                    assert mean_variance(game, near, beta).objective < here
            counts += [found.stationary, found.strict_local_optimum, found.nash]
    assert counts[0] > counts[2] > 0  # some stationary policies are no equilibria


def test_stationary_policies_are_often_no_equilibria_and_the_nash_variant_escapes():
    traps = 0
    for seed in range(60):
        game, beta = random_game(seed), 5.0
        plain, nash = mv_mapi(game, beta), mv_mapi(game, beta, variant="nash")
        verdict = classify(game, plain.policy, beta)
        assert verdict.stationary
        traps += not verdict.nash
        assert verdict.nash == (nash.escapes == 0)
        assert classify(game, nash.policy, beta).nash
        assert np.diff(nash.history).min() >= -1e-9
        assert nash.objective >= plain.objective - 1e-9
    assert traps > 10


def test_ties_that_move_the_mean_are_a_way_up():
    """One state, rewards 0 and 1/beta: f is 0 for both at eta = 0, but J of the second is 1/beta."""
    beta = 0.5
    game = TeamGame(np.ones((1, 2, 1)), np.array([[0.0, 2.0]]))
    start = [np.array([[1.0, 0.0]])]
    assert mv_mapi(game, beta, initial=start).objective == 0
    escaped = mv_mapi(game, beta, initial=start, variant="ties")
    assert (escaped.objective, escaped.escapes) == (2, 1)
    np.testing.assert_allclose(escaped.history, [0, 0, 2, 2], atol=1e-12)
    verdict = classify(game, start, beta)
    assert verdict.stationary
    assert not verdict.strict_local_optimum
    assert not verdict.nash
    # Two agents, the tie at the second; in a corner that no tie helps out of, it stays.
    reward = np.zeros((1, 2, 2))
    reward[0, :, 1] = 2.0
    reward[0, 1] -= 5
    pair = TeamGame(np.ones((1, 2, 2, 1)), reward)
    start = [np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])]
    assert mv_mapi(pair, beta, initial=start).objective == 0
    assert mv_mapi(pair, beta, initial=start, variant="ties").objective == 2
    assert mv_mapi(GOLDEN, 0.3, initial=written("01", "00"), variant="ties").objective == pytest.approx(4)


def test_steps_that_end_in_several_classes_keep_the_best_one():
    """Games with ties and few transitions: J never falls, and every result has one recurrent class."""
    gathered = 0
    for seed in range(100):
        game, beta = sparse_game(seed, 3, (2, 3)), BETAS[seed % 4]
        for variant in ("sequential", "ties", "nash"):
            plan = mv_mapi(game, beta, variant=variant)
            assert np.diff(plan.history).min() >= -1e-9
            assert mean_variance(game, plan.policy, beta).objective == pytest.approx(plan.objective, abs=1e-9)
        reached = [class_values(game, policy, beta) for policy in joint_policies(game)]
        gathered += any(len(np.unique(values.round(9))) > 1 for values in reached)
    assert gathered > 50


def test_gradient_ascent_ends_in_a_stationary_policy_and_never_falls():
    for seed in range(30):
        game, beta = random_game(seed, 3, ((2, 3), (2, 2, 2))[seed % 2]), (0.0, 0.3, 1.0)[seed % 3]
        found = mv_ipga(game, beta, tolerance=1e-8, max_steps=5000)
        assert found.converged
        assert found.slope <= 1e-8
        assert (np.diff(found.history) > 0).all()
        assert (found.eta, found.zeta, found.objective) == pytest.approx(mean_variance(game, found.policy, beta))
        assert classify(game, found.policy, beta).stationary
        assert found.objective <= best_joint_policy(game, beta).upper_bound
    cut = mv_ipga(random_game(0), 1.0, max_steps=1, tolerance=1e-12)
    assert not cut.converged
    assert cut.slope > 1e-12


def test_gradient_ascent_never_takes_what_is_not_available():
    rng = np.random.default_rng(0)
    game = random_game(3, 3, (3, 3))
    masks = [rng.random((3, 3)) < 0.6 for _ in range(2)]
    for mask in masks:
        mask[:, 0] = True
    game = TeamGame(game.transition, game.reward, masks)
    found = mv_ipga(game, 0.3)
    for table, mask in zip(found.policy, masks):
        assert not table[~mask].any()
        np.testing.assert_allclose(table.sum(-1), 1, atol=1e-12)
    assert found.converged


def test_nothing_depends_on_the_unit_of_reward():
    """Rewards of a million: rounding must not be taken for improvement."""
    for seed in range(20):
        game, scale = random_game(seed), 1e6
        large = TeamGame(game.transition, scale * game.reward)
        plans = mv_mapi(game, 1.0, variant="nash"), mv_mapi(large, 1.0 / scale, variant="nash")
        np.testing.assert_allclose(scale * plans[0].history, plans[1].history, rtol=1e-9)
        best = best_joint_policy(game, 1.0).objective, best_joint_policy(large, 1.0 / scale, gap=1.0).objective
        assert scale * best[0] == pytest.approx(best[1], rel=1e-9)
        assert mv_mapi(large, 1.0).objective < 0  # a price of a million million, found without going round in circles


def two_islands():
    transition = np.zeros((2, 1, 2))
    transition[[0, 1], 0, [0, 1]] = 1
    return TeamGame(transition, np.array([[0.0], [1]]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: best_joint_policy(two_islands(), 1),
            "no one of the 2 recurrent classes can be reached from all states",
        ),
        (lambda: best_joint_policy(GOLDEN, 1, gap=0), "gap must be a number > 1e-08, not 0"),
        (lambda: best_response(GOLDEN, written("00", "00"), 2, 1), "agent must be one of 0 to 1, not 2"),
        (lambda: classify(two_islands(), [np.ones((2, 1))], 1), "2 recurrent classes"),
        (lambda: mv_ipga(GOLDEN, 1, step=0), "step must be a finite number > 0, not 0"),
        (lambda: mv_ipga(GOLDEN, 1, "zero"), 'initial must be "uniform"'),
    ],
)
def test_bad_input_is_one_clear_line(build, message):
    with pytest.raises(AverseError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)
