"""Equilibria of Markov games learned from play, against backward induction; what is left to gain, by other ways."""

import functools
import itertools

import jax
import numpy as np
import pytest

from averse.games import (
    MarkovGame,
    NormalForm,
    equilibrium_gap,
    learn_actor_critic,
    learn_optimistic,
    regret,
    score,
    simulate,
    solve_markov,
)
from averse.games.actor_critic import _mixed
from averse.games.equilibrium import Settings
from averse.games.optimistic import optimistic_plan
from averse.planning.numerics import entropic

WAYS = {
    "KL, log barrier": {"tau": 0.7, "epsilon": 0.3},
    "another risk over what the world does": {"tau": [0.7, 2.0], "epsilon": [0.3, 0.4], "transition_tau": 0.2},
    "reverse KL, entropy": {"tau": 1.0, "epsilon": 0.4, "penalty": "reverse-kl", "regulariser": "entropy"},
    "action-dependent": {"tau": 0.7, "epsilon": 0.3, "regulariser": "entropy", "form": "action-dependent"},
    "neutral": {"tau": np.inf, "epsilon": 0.3, "regulariser": "entropy"},
}

QUICK = ("KL, log barrier", "action-dependent")  # each has a program to compile


def random_game(sizes=(2, 2), states=3, horizon=3, gamma=0.9, seed=0):
    generator = np.random.default_rng(seed)
    transitions = generator.dirichlet(np.ones(states), (states, *sizes))
    return MarkovGame.from_tables(generator.random((len(sizes), states, *sizes)), transitions, horizon, gamma)


def uniform(game):
    return [np.full((game.horizon, game.num_states, size), 1 / size) for size in game.num_actions]


# --- what is left to gain ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_to_gain_at_the_solution(way):
    game = random_game((2, 3))
    solved = solve_markov(game, **WAYS[way])
    found = equilibrium_gap(game, solved.strategies, **WAYS[way])
    np.testing.assert_allclose(found.state_values, solved.values, atol=1e-9)
    np.testing.assert_allclose(found.values, solved.values[0, :, game.start], atol=1e-9)
    assert (found.gaps < 1e-12).all()
    assert (equilibrium_gap(game, uniform(game), **WAYS[way]).gaps > 1e-3).all()


@pytest.mark.parametrize("way", WAYS)
def test_the_gap_bounds_what_a_best_response_gains(way):
    """One step: the gain of the exact best response, by another solver, in every state."""
    game = random_game((2, 3), horizon=1)
    strategies = [np.random.default_rng(1).dirichlet(np.full(size, 5.0), (1, 3)) for size in (2, 3)]
    found = equilibrium_gap(game, strategies, **WAYS[way])
    settings = {name: value for name, value in WAYS[way].items() if name != "transition_tau"}
    for state in range(3):
        matrices = NormalForm(np.asarray(game.rewards)[:, state, ..., 0])
        exact = regret(matrices, [x[0, state] for x in strategies], **settings)
        assert (found.state_gaps[0, :, state] >= exact - 1e-12).all()
        assert (found.state_gaps[0, :, state] <= 5 * exact + 1e-12).all()
    np.testing.assert_array_equal(found.gaps, found.state_gaps[0, :, game.start])


def test_gains_count_where_play_leads():
    """Weighted with how often simulated play comes by, and discounted."""
    game = random_game(gamma=0.8)
    strategies = [np.random.default_rng(2).dirichlet(np.ones(2), (3, 3)) for _ in range(2)]
    found = equilibrium_gap(game, strategies, 1.0, 0.5)
    returns, states = simulate(game, strategies, 40_000)
    gains = np.stack([found.state_gaps[step][:, states[:, step]] for step in range(3)])
    met = (0.8 ** np.arange(3)[:, None, None] * gains).sum(0)
    assert (abs(met.mean(-1) - found.gaps) < 4 * met.std(-1) / np.sqrt(40_000)).all()
    neutral = equilibrium_gap(game, strategies, np.inf, 0.5)
    assert (abs(returns.mean(0) - neutral.values) < 4 * returns.std(0) / np.sqrt(40_000)).all()
    np.testing.assert_allclose(neutral.values, score(game, strategies).values, atol=1e-12)


def test_an_action_never_played_costs_a_log_barrier_without_end_only_where_somebody_comes():
    game = random_game(horizon=1)
    always = [np.tile([1.0, 0.0], (1, 3, 1)), uniform(game)[1]]
    assert np.isinf(equilibrium_gap(game, always, 1.0, 0.5).gaps[0])
    elsewhere = [x.copy() for x in uniform(game)]
    elsewhere[0][0, 1] = [1.0, 0.0]
    assert np.isfinite(equilibrium_gap(game, elsewhere, 1.0, 0.5).gaps).all()


# --- the actor-critic -------------------------------------------------------------------------------------------------


def test_the_critic_is_a_running_certainty_equivalent():
    generator = np.random.default_rng(3)
    values = generator.normal(size=20) * 3
    weights = np.full(20, 0.05)
    with jax.enable_x64(True):
        for tau in (0.01, 1.0, 1e9, np.inf):
            held = 0.0
            for count, seen in enumerate(values, 1):
                held = _mixed(*np.array([held, seen, 1 / count, 1 / tau]))
            assert float(held) == pytest.approx(entropic(values, weights, tau), rel=1e-12)


@pytest.mark.parametrize(
    "way", [way if way in QUICK else pytest.param(way, marks=pytest.mark.thorough) for way in WAYS]
)
def test_the_actor_critic_finds_the_solution(way):
    game = random_game()
    solved = solve_markov(game, **WAYS[way])
    lazy = equilibrium_gap(game, uniform(game), **WAYS[way]).gaps.max()
    for seed in range(3):
        learned = learn_actor_critic(game, **WAYS[way], episodes=20_000, critic_rate=0.002, seed=seed)
        met = learned.visits > 1000
        assert met.sum() == 7  # the start, and three states at both later steps
        for x, y in zip(learned.strategies, solved.strategies):
            assert np.abs(x - y)[met].max() < 0.05
        assert np.abs(np.moveaxis(learned.values - solved.values[:-1], 1, -1)[met]).max() < 0.05
        assert learned.history["gap"][-1].max() < lazy / 20
        np.testing.assert_array_equal(learned.visits.sum(-1), 20_000)


@pytest.mark.thorough
def test_three_players():
    game = random_game((2, 2, 3), states=2, horizon=2)
    solved = solve_markov(game, 1.0, 2.0)
    learned = learn_actor_critic(game, 1.0, 2.0, episodes=20_000, critic_rate=0.002)
    for x, y in zip(learned.strategies, solved.strategies):
        assert np.abs(x - y)[learned.visits > 0].max() < 0.02
    assert learned.history["gap"][-1].max() < 1e-4


def test_stationary_play_is_that_of_an_endless_game():
    """Against the first step of a horizon so long that what comes after it does not count."""
    game = random_game(horizon=60, gamma=0.8)
    solved = solve_markov(game, 0.7, 0.3)
    learned = learn_actor_critic(game, 0.7, 0.3, episodes=2_000, critic_rate=0.002, stationary=True)
    assert learned.values.shape == (1, 2, 3)
    np.testing.assert_allclose(learned.values[0], solved.values[0], atol=0.05)
    for x, y in zip(learned.strategies, solved.strategies):
        np.testing.assert_allclose(x[0], y[0], atol=0.03)
        assert x.shape == y.shape


def test_a_smaller_critic_rate_ends_nearer():
    game = random_game()
    learn = functools.partial(learn_actor_critic, game, 0.7, 0.3, episodes=20_000, actor_rate=0.3)
    coarse, fine = (learn(critic_rate=rate).history["gap"][5:].mean() for rate in (0.3, 0.003))
    assert fine < coarse / 10


def test_play_repeats_with_its_seed_however_often_it_is_scored():
    game = random_game()
    learn = functools.partial(learn_actor_critic, game, 0.7, 0.3, episodes=50)
    first, again, other = learn(seed=1), learn(seed=1, snapshots=3), learn(seed=2)
    for x, y, z in zip(first.strategies, again.strategies, other.strategies):
        np.testing.assert_array_equal(x, y)
        assert (x != z).any()
    np.testing.assert_array_equal(first.history["episodes"], np.arange(5, 55, 5))
    np.testing.assert_array_equal(again.history["episodes"], [16, 33, 50])


# --- optimistic plans -------------------------------------------------------------------------------------------------


def test_the_plan_on_exact_shares_is_the_solution():
    shares = np.random.default_rng(4).multinomial(64, np.full(3, 1 / 3), (3, 2, 2))
    rewards = np.random.default_rng(5).random((2, 3, 2, 2))
    game = MarkovGame.from_tables(rewards, shares / 64, horizon=3, gamma=0.9)
    for settings in ({"tau": 0.7, "epsilon": 0.3}, {"tau": np.inf, "epsilon": 0.3, "regulariser": "entropy"}):
        solved = solve_markov(game, **settings)
        plan = optimistic_plan(game, shares, Settings(**settings), np.full(2, settings["tau"]), bonus=0.0)
        np.testing.assert_allclose(plan.values, solved.values[:-1], atol=1e-9)
        for x, y in zip(plan.strategies, solved.strategies):
            np.testing.assert_allclose(x, y, atol=1e-7)


def test_what_was_not_seen_is_held_for_the_best_possible():
    """By plain loops: the payoffs of the last step, and the strategies of one who believes them."""
    game = random_game(horizon=2)
    seen = np.zeros((3, 2, 2, 3), int)
    seen[0, 0, 1] = [2, 0, 2]
    plan = optimistic_plan(game, seen, Settings(np.inf, 0.1, regulariser="entropy"), np.full(2, np.inf), bonus=0.5)
    rewards = np.asarray(game.rewards)[..., 0]
    believed = np.broadcast_to(rewards.max((1, 2, 3))[:, None, None], (2, 2, 2)).copy()
    for i in range(2):
        span = rewards[i].max() - rewards[i].min()
        believed[i, 0, 1] = min(rewards[i, 0, 0, 1] + 0.5 * span / 2, rewards[i].max())
    game_of_start = NormalForm(believed)
    assert (regret(game_of_start, [x[1, 0] for x in plan.strategies], np.inf, 0.1, regulariser="entropy") < 1e-9).all()


def test_regret_flattens():
    """Of every seed's 3,000 episodes the last 2,000 cost less than the first 100, where even play costs the same."""
    game = random_game(states=4, horizon=3, gamma=1.0)
    even = equilibrium_gap(game, uniform(game), 1.0, 0.1).gaps.sum()
    for seed in range(3):
        history = learn_optimistic(game, 1.0, 0.1, episodes=3_000, seed=seed).history
        total = functools.partial(np.interp, xp=history["episodes"], fp=history["regret"].sum(-1))
        assert total(3_000) - total(1_000) < total(100) < 100 * even
        assert history["gap"][-1].sum() < even / 100
        assert (np.diff(history["regret"], axis=0) >= 0).all()
        assert history["episodes"][-1] == 3_000


def lock():
    """Both are paid alike: .25 if nobody dares; if both do, 1 with probability .4, which greed gives up too soon."""
    pays = np.zeros((2, 1, 2, 2, 2))
    pays[:, 0, 0, 0] = 0.25
    pays[:, 0, 1, 1] = [1.0, 0.0]
    chance = np.full((1, 2, 2, 2), 0.5)
    chance[0, 1, 1] = [0.4, 0.6]
    return MarkovGame(chance, np.zeros((1, 2, 2, 2), int), pays, horizon=1)


def test_optimism_finds_what_greed_gives_up():
    """Over seeds: whoever sees a bad outcome first never dares again without a bonus, and always does with one."""
    ways = {"tau": np.inf, "epsilon": 0.01, "regulariser": "entropy"}
    daring = {}
    for bonus, seed in itertools.product((0.0, 0.5), range(12)):
        learned = learn_optimistic(lock(), **ways, episodes=2_000, bonus=bonus, seed=seed)
        daring.setdefault(bonus, []).append(learned.strategies[0][0, 0, 1] > 0.9)
    assert 3 <= sum(daring[0.0]) <= 9
    assert all(daring[0.5])
