"""MV-TSG: the golden game, the difference and derivative formulas, and policy iteration that never does harm."""

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array

from averse.errors import AverseError
from averse.planning import TeamGame, derivative, difference, mean_variance, mv_mapi, poisson

from . import oracles

BETA = 0.3
# Probability of state 0 next, and reward, by state and the actions of the two agents.
TO_ZERO = np.array([[[0.5, 0.5], [0.7, 0.9]], [[0.1, 0.2], [0.8, 0.9]]])
REWARD = np.array([[[2.0, 3], [9, 4]], [[3, 9], [2, 4]]])
GOLDEN = TeamGame(np.stack([TO_ZERO, 1 - TO_ZERO], -1), REWARD)


def written(*actions):
    """A deterministic policy of two actions from texts such as "10": action 1 in state 0, action 0 in state 1."""
    return [np.eye(2)[[int(letter) for letter in text]] for text in actions]


def random_game(seed, states=3, actions=(2, 3)):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(states), (states, *actions))
    return TeamGame(transition, 3 * rng.normal(size=(states, *actions)))


def random_policy(rng, game):
    return [rng.dirichlet(np.ones(size), game.num_states) for size in game.num_actions]


def by_iteration(game, policy, beta, steps=200):
    """eta, zeta, J from the joint action by joint action, by following the chain for long."""
    steady = np.full(game.num_states, 1 / game.num_states)
    joint = np.zeros(game.reward.shape)
    for index in np.ndindex(*joint.shape):
        joint[index] = np.prod([table[index[0], index[1 + agent]] for agent, table in enumerate(policy)])
    chain = np.array(
        [
            sum(joint[s][a] * game.transition[s][a] for a in np.ndindex(*game.num_actions))
            for s in range(game.num_states)
        ]
    )
    steady = steady @ np.linalg.matrix_power(chain, steps)
    mass = steady.reshape(-1, *[1] * game.num_agents) * joint
    eta = np.sum(mass * game.reward)
    zeta = np.sum(mass * game.reward**2) - eta**2
    return eta, zeta, eta - beta * zeta


@pytest.mark.parametrize(
    ("policy", "eta", "zeta", "objective"),
    [
        (("10", "01"), 9, 0, 9),
        (("00", "11"), 7.285714285714286, 7.3469387755, 5.0816326531),
        (("11", "11"), 4, 0, 4),
        (("11", "01"), None, None, 6.34375),
        (None, 4.5, 7.25, 2.325),
    ],
)
def test_golden_values(policy, eta, zeta, objective):
    tables = GOLDEN.uniform_policy() if policy is None else written(*policy)
    found = mean_variance(GOLDEN, tables, BETA)
    assert found.objective == pytest.approx(objective, abs=1e-9)
    if eta is not None:
        assert found[:2] == pytest.approx((eta, zeta), abs=1e-9)
    assert found == pytest.approx(by_iteration(GOLDEN, tables, BETA), abs=1e-12)


@pytest.mark.parametrize(
    ("start", "end", "before_each_step"),
    [
        (("01", "00"), ("11", "11"), [2, 2.7916667, 3, 3.425, 3.425, 3.6592593, 4, 4]),
        (("11", "00"), ("10", "01"), [4.1752066, 4.1752066, 6.34375, 9]),
    ],
)
def test_golden_runs_of_mv_mapi(start, end, before_each_step):
    plan = mv_mapi(GOLDEN, BETA, order=[0, 1], initial=written(*start))
    for found, expected in zip(plan.policy, written(*end)):
        np.testing.assert_array_equal(found, expected)
    steps = len(before_each_step)
    np.testing.assert_allclose(plan.history[:steps], before_each_step, atol=1e-7)
    np.testing.assert_allclose(plan.history[steps:], before_each_step[-1], atol=1e-12)  # the round that finds no change
    assert len(plan.history) == 2 * plan.rounds + 1
    assert (plan.eta, plan.zeta, plan.objective) == pytest.approx(mean_variance(GOLDEN, plan.policy, BETA))


def test_formulas_on_200_random_games():
    """The difference formula between two policies, and the derivative against differences, to 1e-10."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        game = random_game(seed, states=2 + seed % 3, actions=((2, 3), (2, 2, 2))[seed % 2])
        beta = rng.uniform(0, 2)
        first, second = random_policy(rng, game), random_policy(rng, game)
        change = mean_variance(game, second, beta).objective - mean_variance(game, first, beta).objective
        assert difference(game, first, second, beta) == pytest.approx(change, abs=1e-10)
        inner = [(table + uniform) / 2 for table, uniform in zip(first, game.uniform_policy())]
        slopes = derivative(game, inner, beta)
        agent = seed % game.num_agents
        direction = second[agent] - inner[agent]

        def along(step, inner=inner, direction=direction, agent=agent, game=game, beta=beta):
            moved = [table + step * direction if k == agent else table for k, table in enumerate(inner)]
            return mean_variance(game, moved, beta).objective

        numerical = oracles.differences(along, np.zeros(1), 0.01)[0]
        assert np.sum(slopes[agent] * direction) == pytest.approx(numerical, abs=1e-10)


def test_poisson_equation_and_its_averages():
    for seed in range(20):
        game = random_game(seed, actions=(2, 3, 2))
        policy = random_policy(np.random.default_rng(seed), game)
        solution = poisson(game, policy, 0.7)
        assert solution.value == pytest.approx(by_iteration(game, policy, 0.7), abs=1e-11)
        assert solution.steady_state @ solution.values == pytest.approx(0, abs=1e-12)
        for agent, values in enumerate(solution.agent_values):
            np.testing.assert_allclose(np.sum(policy[agent] * values, -1), solution.values, atol=1e-12)
        middle = np.einsum("sabc,sa,sc->sb", solution.action_values, policy[0], policy[2])
        np.testing.assert_allclose(solution.agent_values[1], middle, atol=1e-12)


def test_sequential_steps_never_lower_the_objective_and_simultaneous_ones_often_do():
    fell = circled = 0
    for seed in range(300):
        game, beta = random_game(seed), (0.3, 1.0, 5.0)[seed % 3]
        order = [[0, 1], [1, 0]][seed % 2]
        plan = mv_mapi(game, beta, order=order)
        assert np.diff(plan.history).min() >= -1e-9
        assert plan.objective == plan.history[-1]
        # First-order stationary: no agent has a better action to the current joint policy.
        solution = poisson(game, plan.policy, beta)
        for actions, values in zip(plan.actions, solution.agent_values):
            chosen = np.take_along_axis(values, actions[:, None], -1)[:, 0]
            assert (chosen >= values.max(-1) - 1e-9).all()
        together = mv_mapi(game, beta, variant="simultaneous")
        fell += np.diff(together.history).min() < -1e-9
        circled += not together.converged
    assert fell > 60
    assert circled > 10


def test_one_agent_without_variance_price_is_average_reward_policy_iteration():
    """beta = 0: the global optimum, by the linear program over occupancy measures."""
    for seed in range(10):
        game = random_game(seed, states=4, actions=(3,))
        flow = np.repeat(np.eye(4), 3, 1) - game.transition.reshape(12, 4).T
        found = linprog(-game.reward.ravel(), A_eq=np.vstack([flow, np.ones(12)]), b_eq=[0, 0, 0, 0, 1])
        assert mv_mapi(game, 0.0).eta == pytest.approx(-found.fun, abs=1e-9)


def test_unavailable_actions_are_never_taken_nor_read():
    rng = np.random.default_rng(0)
    free = random_game(0)
    available = [np.array([[1, 1], [0, 1], [1, 0]], bool), np.array([[1, 0, 1], [1, 1, 1], [0, 1, 0]], bool)]
    transition = free.transition.copy()
    transition[1, 0] = 7  # not a distribution, and not available
    game = TeamGame(transition, np.where(np.indices(free.reward.shape)[0] == 1, free.reward, 0) + 1e-3, available)
    for start in ("uniform", [m * rng.random(m.shape) for m in available]):
        if start != "uniform":
            start = [table / table.sum(-1, keepdims=True) for table in start]
        plan = mv_mapi(game, 0.5, initial=start)
        for table, mask in zip(plan.policy, available):
            assert not table[~mask].any()
    with pytest.raises(AverseError, match=r"policy\[0\] takes an action that is not available"):
        mean_variance(game, [np.full((3, 2), 0.5), game.uniform_policy()[1]], 1)


def test_sparse_transitions_are_the_same_game():
    for seed in range(5):
        dense = random_game(seed, actions=(2, 3, 2))
        available = [np.array([[1, 1], [0, 1], [1, 0]], bool), np.ones((3, 3), bool), np.ones((3, 2), bool)]
        for masks in (None, available):
            games = [
                TeamGame(transition, dense.reward, masks)
                for transition in (dense.transition, csr_array(dense.transition.reshape(-1, 3)))
            ]
            first, second = (mv_mapi(game, 0.8) for game in games)
            np.testing.assert_allclose(first.history, second.history, atol=1e-12)
            for one, other in zip(first.policy, second.policy):
                np.testing.assert_array_equal(one, other)
            policy = games[0].uniform_policy()
            first, second = (poisson(game, policy, 0.8) for game in games)
            allowed = games[0].transition.sum(-1) > 0
            np.testing.assert_allclose(first.action_values[allowed], second.action_values[allowed], atol=1e-12)


def test_multichain_policies_need_a_start_and_have_no_poisson_equation():
    """Two absorbing states, reached from a third with probabilities 1/4 and 3/4; or leave them by action 1."""
    transition = np.zeros((3, 2, 3))
    transition[0, :] = [0, 0.25, 0.75]
    transition[1, 0, 1] = transition[2, 0, 2] = 1
    transition[1:, 1, 0] = 1
    reward = np.array([[0.0, 0], [1, 0], [5, 0]])
    game = TeamGame(transition, reward)
    stay, leave = [np.eye(2)[[0, 0, 0]]], [np.eye(2)[[0, 1, 0]]]
    with pytest.raises(AverseError, match="2 recurrent classes"):
        mean_variance(game, stay, 1)
    with pytest.raises(AverseError, match="2 recurrent classes"):
        poisson(game, stay, 1)
    with pytest.raises(AverseError, match="2 recurrent classes"):
        mv_mapi(game, 1.0, initial=stay)
    assert mean_variance(game, stay, 2, initial=[1, 0, 0]) == pytest.approx((4, 3, -2), abs=1e-12)
    assert mean_variance(game, stay, 2, initial=[0, 1, 0]) == pytest.approx((1, 0, 1), abs=1e-12)
    assert mean_variance(game, leave, 2) == pytest.approx((5, 0, 5), abs=1e-12)  # one class, transient states
    assert mean_variance(game, leave, 2, initial=[0, 1, 0]) == pytest.approx((5, 0, 5), abs=1e-12)
    # A periodic chain has a steady state as well.
    swap = TeamGame(np.array([[[0, 1.0]], [[1, 0]]]), np.array([[0.0], [2]]))
    assert mean_variance(swap, [np.ones((2, 1))], 1) == pytest.approx((1, 1, 0), abs=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TeamGame(np.ones((2, 2)), np.ones(2)), r"reward must have the shape \[S, A1, ..., AN\], not \[2\]"),
        (
            lambda: TeamGame(GOLDEN.transition, REWARD[0]),
            r"transition must have the shape \[2, 2, 2\], not \[2, 2, 2, 2",
        ),
        (
            lambda: TeamGame(csr_array(np.eye(2)), REWARD),
            r"a sparse transition must have the shape \[8, 2\], not \[2, 2\]",
        ),
        (lambda: TeamGame(csr_array(np.ones((8, 2))), REWARD), "row 0 sums to 2"),
        (lambda: TeamGame(csr_array(np.tile([2, -1], (8, 1))), REWARD), "must be finite and not negative"),
        (lambda: TeamGame(GOLDEN.transition * 2, REWARD), "each row of transition must sum to one"),
        (lambda: TeamGame(GOLDEN.transition, REWARD, [np.ones((2, 2))]), "one array for each of the 2 agents"),
        (
            lambda: TeamGame(GOLDEN.transition, REWARD, [np.eye(2), np.eye(2)[[0]]]),
            r"available\[1\] must have the shape",
        ),
        (lambda: TeamGame(GOLDEN.transition, REWARD, [np.eye(2), [[1, 0], [0, 0]]]), "no available action in state 1"),
        (lambda: mean_variance(GOLDEN, written("00"), 1), "2 arrays, one per agent, not 1"),
        (lambda: mean_variance(GOLDEN, [np.ones((2, 2)), np.eye(2)], 1), r"policy\[0\]\[0\] sums to 2"),
        (lambda: mean_variance(GOLDEN, written("00", "000"), 1), r"policy\[1\] must have the shape \[2, 2\]"),
        (lambda: mean_variance(GOLDEN, written("00", "00"), -1), "beta must be a finite number >= 0, not -1"),
        (lambda: mean_variance(GOLDEN, written("00", "00"), 1, initial=[1]), r"initial must have the shape \[2\]"),
        (lambda: mv_mapi(GOLDEN, 1, order=[0, 0]), "order must name each agent from 0 to 1 once"),
        (lambda: mv_mapi(GOLDEN, 1, variant="tie"), "unknown variant 'tie'; did you mean ties?"),
        (lambda: mv_mapi(GOLDEN, 1, initial="random"), 'initial must be "uniform" or a policy'),
        (lambda: mv_mapi(GOLDEN, 1, max_rounds=1), "did not come to an end in 1 rounds"),
    ],
)
def test_bad_input_is_one_clear_line(build, message):
    with pytest.raises(AverseError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)
