"""Factored games are dense games, to rounding; and chains without a matrix are chains."""

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import block_diag, csr_array, random_array

import averse
from averse.errors import AverseError
from averse.planning import (
    FactoredTeamGame,
    best_joint_policy,
    best_response,
    classify,
    derivative,
    difference,
    mean_variance,
    mv_ipga,
    mv_mapi,
    poisson,
    random_policies,
)
from averse.planning.team_games.chains import MatrixChain, recurrent_classes, relative_values, steady_state
from averse.planning.team_games.factored import FactoredChain

from .team_oracles import as_dense, random_factored_game, random_policy

SHAPES = [((3, 2, 2), (2, 3, 2)), ((4,), (3,)), ((5, 4), (4, 2)), ((2, 2, 2, 2), (2, 2, 2, 2))]


def test_every_function_agrees_with_the_dense_form():
    for seed in range(12):  # each shape at each price
        game = random_factored_game(seed, *SHAPES[seed % 4], masks=seed % 3 > 0)
        dense, beta = as_dense(game), (0.0, 0.3, 2.0)[seed % 3]
        rng = np.random.default_rng(seed)
        policies = [random_policy(rng, dense), next(random_policies(game, 1, seed)), game.uniform_policy()]
        policies.append([policies[k % 2][agent] for k, agent in enumerate(range(game.num_agents))])
        values = rng.normal(size=game.num_states)
        for policy in policies:
            one, other = poisson(game, policy, beta), poisson(dense, policy, beta)
            assert one.value == pytest.approx(other.value, abs=1e-11)
            np.testing.assert_allclose(one.steady_state, other.steady_state, atol=1e-12)
            np.testing.assert_allclose(one.values, other.values, atol=1e-10)
            for mine, theirs in zip(one.agent_values, other.agent_values):
                np.testing.assert_allclose(mine, theirs, atol=1e-10)
            np.testing.assert_allclose(one.action_values, other.action_values, atol=1e-10)
            for mine, theirs in zip(derivative(game, policy, beta), derivative(dense, policy, beta)):
                np.testing.assert_allclose(mine, theirs, atol=1e-10)
            chains = game.chain(policy), dense.chain(policy)
            np.testing.assert_allclose(chains[0].forward(values), chains[1].forward(values), atol=1e-13)
            np.testing.assert_allclose(chains[0].backward(values), chains[1].backward(values), atol=1e-13)
        assert difference(game, *policies[:2], beta) == pytest.approx(difference(dense, *policies[:2], beta), abs=1e-9)
        for variant in ("sequential", "ties", "nash"):
            one, other = (mv_mapi(form, beta, variant=variant) for form in (game, dense))
            np.testing.assert_allclose(one.history, other.history, atol=1e-9)
        assert best_joint_policy(game, beta).objective == pytest.approx(best_joint_policy(dense, beta).objective)
        one, other = (best_response(form, policies[0], 0, beta) for form in (game, dense))
        assert one.objective == pytest.approx(other.objective, abs=1e-9)
        one, other = (classify(form, policies[1], beta) for form in (game, dense))
        assert (one.nash, one.stationary, one.strict_local_optimum) == (
            other.nash,
            other.stationary,
            other.strict_local_optimum,
        )
        one, other = (mv_ipga(form, beta, max_steps=20) for form in (game, dense))
        np.testing.assert_allclose(one.history, other.history, atol=1e-9)


def test_joint_choices_are_the_same_when_made_piece_by_piece(monkeypatch):
    game = random_factored_game(2)
    values = np.random.default_rng(0).normal(size=game.num_states)
    policy = next(random_policies(game, 1))
    whole = game.best_joint(policy, 0.5, 0.1, values)
    monkeypatch.setattr("averse.planning.team_games.factored._CHUNK", 5 * int(np.prod(game.num_actions)))
    pieces = game.best_joint(policy, 0.5, 0.1, values)
    np.testing.assert_array_equal(whole[0], pieces[0])
    for one, other in zip(whole[1], pieces[1]):
        np.testing.assert_array_equal(one, other)


def test_recurrent_classes_without_a_matrix():
    """The graph that leads through half-moved states says the same as the joint matrix."""
    found = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sizes, actions = (3, 3), (2, 2)
        transitions = []
        for states, count in zip(sizes, actions):
            table = np.zeros((states, count, states))
            for index in np.ndindex(states, count):
                targets = rng.choice(states, rng.integers(1, 3), replace=False)
                table[(*index, targets)] = 1 / len(targets)
            transitions.append(table)
        game = FactoredTeamGame(transitions, [rng.normal(size=shape) for shape in zip(sizes, actions)])
        policy, dense = next(random_policies(game, 1, seed)), as_dense(game)
        one, other = (recurrent_classes(form.chain(policy)) for form in (game, dense))
        assert one.number == other.number
        np.testing.assert_array_equal(one.label < 0, other.label < 0)
        pairs = {(int(a), int(b)) for a, b in zip(one.label, other.label)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})  # the same but for the numbering
        found.add(one.number)
        initial = rng.dirichlet(np.ones(9))
        values = [mean_variance(form, policy, 0.5, initial=initial) for form in (game, dense)]
        assert values[0] == pytest.approx(values[1], abs=1e-10)
    assert len(found) > 2


def sparse_chain(size, seed=0):
    rng = np.random.default_rng(seed)
    table = random_array((size, size), density=6 / size, rng=rng, format="csr") + csr_array(
        np.roll(np.eye(size), 1, -1)
    )
    return csr_array(table / np.asarray(table.sum(1))[:, None])


def test_chains_solved_iteratively_agree_with_direct_solves():
    """Above 400 states a sparse chain is never made dense."""
    one, two = sparse_chain(500), sparse_chain(450, 1)
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(steady_state(MatrixChain(one)), steady_state(MatrixChain(one.toarray())), atol=1e-13)
    # Two classes and a few transient states that lead to either.
    size = 960
    both = block_diag([one, two, csr_array((10, 10))], format="lil")
    for state in range(950, 960):
        both[state, [3, 700, 950 + (state + 1) % 10]] = rng.dirichlet(np.ones(3))
    chain = csr_array(both)
    initial = rng.dirichlet(np.ones(size))
    found = [steady_state(MatrixChain(matrix), initial) for matrix in (chain, chain.toarray())]
    np.testing.assert_allclose(*found, atol=1e-13)
    np.testing.assert_allclose(found[0] @ chain, found[0], atol=1e-14)
    excess = rng.normal(size=500)
    steady = steady_state(MatrixChain(one))
    excess -= steady @ excess
    values = relative_values(MatrixChain(one), excess, steady)
    np.testing.assert_allclose(values, excess + one @ values, atol=1e-11)
    assert steady @ values == pytest.approx(0, abs=1e-12)


def walk(size, move):
    line = (1 - 2 * move) * np.eye(size) + move * (np.eye(size, k=1) + np.eye(size, k=-1))
    line[0, 0] = line[-1, -1] = 1 - move
    return line


def test_chains_that_mix_too_slowly_are_solved_directly_or_refused_but_never_answered_wrongly(monkeypatch):
    """A walk on a line of 1,000 states takes a million steps from end to end."""
    line, steady, excess = walk(1000, 0.3), np.full(1000, 1e-3), np.linspace(-1, 1, 1000)
    values = relative_values(MatrixChain(csr_array(line)), excess, steady)
    np.testing.assert_allclose(values - line @ values, excess, atol=1e-8)
    monkeypatch.setattr("averse.planning.team_games.chains._DENSE", 500)
    with pytest.raises(AverseError, match="1,000 states mixes too slowly"):
        relative_values(MatrixChain(csr_array(line)), excess, steady)


def test_a_factored_game_never_holds_anything_of_the_size_of_its_joint_matrix():
    """7,776 states: a dense chain alone would take 484 MB."""
    env = averse.make("microgrids", scenario=2, microgrids=3, wind_levels=2, load_levels=3, battery_levels=3)
    game = env.model()
    assert game.num_states == 18**3
    tracemalloc.start()
    try:
        plan = mv_mapi(game, 1.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.diff(plan.history).min() >= -1e-9
    assert peak < 100e6 < 8 * game.num_states**2
    assert isinstance(game.chain(plan.policy), FactoredChain)


LOCAL = [np.full((2, 2, 2), 0.5), np.ones((1, 1, 1))]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FactoredTeamGame(LOCAL, [np.zeros((2, 2))]), "as many transitions as rewards, one per agent, not 2"),
        (
            lambda: FactoredTeamGame(LOCAL, [np.zeros((2, 2)), np.zeros(1)]),
            r"rewards\[1\] must have the shape \[Si, Ai",
        ),
        (
            lambda: FactoredTeamGame(LOCAL, [np.zeros((2, 3)), np.zeros((1, 1))]),
            r"transitions\[0\] must have the shape",
        ),
        (lambda: FactoredTeamGame([2 * LOCAL[0]], [np.zeros((2, 2))]), r"transitions\[0\] must sum to one"),
        (lambda: FactoredTeamGame(LOCAL[:1], [np.zeros((2, 2))], [[[0, 0], [1, 1]]]), "no available action in state 0"),
    ],
)
def test_bad_input_is_one_clear_line(build, message):
    with pytest.raises(AverseError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)
