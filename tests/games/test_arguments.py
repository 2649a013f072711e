"""Every argument of every public function: what is of a wrong type, shape or size is told in one line that names it."""

import inspect
from fractions import Fraction

import numpy as np
import pytest

from averse import games
from averse.errors import AverseError
from averse.games import MarkovGame, NormalForm, published

GAME = NormalForm.symmetric([[3.0, 0.0], [1.0, 2.0]])
BATCH = NormalForm.random(0, (2, 2), 3)
MARKOV = MarkovGame(np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1), int), np.zeros((2, 1, 2, 2, 1)), 2)
EVEN = [[0.5, 0.5], [0.5, 0.5]]
ALWAYS = [np.full((2, 1, 2), 0.5)] * 2

NOTHING = [None, "x", b"x", object(), {}, {"a": 1}, 1j]
NO_GAMES = [*NOTHING, 3, [[1, 2], [3, 4]], published()["selten-chmura-1"], NormalForm]
NO_SINGLE = [*NO_GAMES, BATCH]
NO_TEXTS = [None, 3, b"x", ["kl"], object(), np.ones((3, 3))]
NO_NAMES = [*NO_TEXTS, "lk", ""]
NO_COUNTS = [*NOTHING, 0, -1, 1.5, np.nan, np.inf, True, [1], "3"]
NO_WHOLES = [bad for bad in NO_COUNTS if bad != 0]
NO_SEEDS = [*NO_WHOLES, 2**32, 10**400]
NO_POSITIVES = [*NOTHING, -1.0, np.nan, True, [1.0], "1"]
NO_SETTING = [
    *NOTHING,
    0.0,
    -1.0,
    np.nan,
    True,
    "1",
    [],
    [1.0, None],
    ["1", "2"],
    [1.0, 1j],
    [[1], [1, 2]],
    [1.0, -np.inf],
    [1.0, np.nan],
    10**400,
    {1.0, 2.0},
]
NO_PER_PLAYER = [*NO_SETTING, [1, 2, 3], np.ones((4, 3))]
NO_BATCH = [np.ones((4, 2))]
NO_PROFILES = [*NOTHING, 3, [], [[0.5, 0.5]], [[1.0], [1.0]], [[0.5, 0.6], [0.5, 0.5]], [[-0.5, 1.5], [0.5, 0.5]]]
NO_PROFILES += [[[np.nan, 1], [0.5, 0.5]], [["a", "b"], [0.5, 0.5]], [None, None], [[True, False], [False, True]]]
NO_PLANS = [*NOTHING, 3, [], EVEN, [np.full((2, 1, 2), 0.4)] * 2, [np.full((2, 1, 2), np.nan)] * 2, ALWAYS[:1]]
NO_TABLES = [*NOTHING, 3, [], [[1, 2]], np.full((1, 2, 2, 1), np.nan), np.full((1, 2, 2, 1), "a"), [[1], [1, 2]]]
NO_PAYOFFS = [*NOTHING, 3, [], [[[1, 2], [3, 4]]], [[[1, 2], [3, np.inf]]] * 2, [[["1", "2"], ["3", "4"]]] * 2]
NO_PAYOFFS += [
    [[[True, False]] * 2] * 2,
    [[[1, None], [2, 3]]] * 2,
    [[[1, 10**400], [2, 3]]] * 2,
    [np.ones((0, 2))] * 2,
]
NO_LABELS = [None, "ab", 3, [1, 2], ["a"], ["a", None], ["a", "b", "c"]]

SETTINGS = {
    "tau": NO_PER_PLAYER,
    "epsilon": [*NO_PER_PLAYER, np.inf],
    "penalty": NO_NAMES,
    "regulariser": NO_NAMES,
    "form": NO_NAMES,
}
PER_PLAYER = {**SETTINGS, "tau": NO_PER_PLAYER + NO_BATCH, "epsilon": NO_PER_PLAYER + NO_BATCH}

# function, arguments that are right, wrong values of each argument
CASES = [
    (
        NormalForm,
        {"payoffs": GAME.arrays()},
        {
            "payoffs": NO_PAYOFFS,
            "name": NO_TEXTS,
            "players": NO_LABELS,
            "actions": [
                None,
                "ab",
                3,
                [None, None],
                [["a", "b"]],
                [["a", "b"], [1, 2]],
                [["a", "b"], ["a"]],
                ["ab", "ab"],
            ],
            "batched": [None, "x", 1, 0],
        },
    ),
    (
        NormalForm.zero_sum,
        {"payoffs": [[1, 2], [3, 4]]},
        {"payoffs": [*NOTHING, 3, [1, 2], [[np.nan]]], "name": NO_TEXTS, "players": NO_LABELS, "actions": [None, "ab"]},
    ),
    (
        NormalForm.symmetric,
        {"payoffs": [[1, 2], [3, 4]]},
        {"payoffs": [*NOTHING, 3, [1, 2], [[1, 2]]], "name": NO_TEXTS, "players": NO_LABELS, "actions": [None, "ab"]},
    ),
    (
        NormalForm.random,
        {"key": 0, "num_actions": (2, 2)},
        {
            "key": NO_SEEDS,
            "num_actions": [*NOTHING, 3, (), (2,), (0, 2), (2, -1), (2.0, 2), ("2", "2"), (10**9, 10**9), (10**400, 2)],
            "games": [bad for bad in NO_COUNTS if bad is not None],
        },
    ),
    (NormalForm.stack, {"games": [GAME]}, {"games": [*NOTHING, 3, GAME, [], [GAME, None], [GAME, BATCH], [GAME, 3]]}),
    (BATCH.__getitem__, {"index": 0}, {"index": [*NOTHING, 3, -4, 1.0, slice(2), True]}),
    (
        games.Settings,
        {"tau": 1.0, "epsilon": 1.0},
        {**SETTINGS, "tau": NO_SETTING, "epsilon": [*NO_SETTING, np.inf]},
    ),
    (
        games.rqe,
        {"game": GAME, "tau": 1.0, "epsilon": 1.0},
        {
            "game": NO_GAMES,
            **SETTINGS,
            "method": NO_NAMES,
            "tolerance": [*NO_POSITIVES, np.inf],
            "max_iterations": [*(bad for bad in NO_COUNTS if bad is not None), 10**12],
        },
    ),
    (
        games.best_response,
        {"game": GAME, "strategies": EVEN, "player": 0, "tau": 1.0, "epsilon": 1.0},
        {"game": NO_SINGLE, "strategies": NO_PROFILES, "player": [*NO_WHOLES, 2], **PER_PLAYER},
    ),
    (
        games.regret,
        {"game": GAME, "strategies": EVEN, "tau": 1.0, "epsilon": 1.0},
        {"game": NO_SINGLE, "strategies": NO_PROFILES, **PER_PLAYER},
    ),
    (
        games.all_equilibria,
        {"game": GAME, "tau": 1.0, "epsilon": 1.0},
        {"game": [*NO_SINGLE, NormalForm.random(0, (2, 3))], **PER_PLAYER},
    ),
    (
        games.bifurcation,
        {"game": GAME, "epsilon": 1.0, "averse": 1.0, "neutral": 0.5},
        {
            "game": NO_SINGLE,
            "averse": [*NO_POSITIVES, 0.0, 0.5, np.inf],
            "neutral": [*NO_POSITIVES, np.inf],
            "precision": [*NO_POSITIVES, 0.0],
            **{key: wrong for key, wrong in PER_PLAYER.items() if key != "tau"},
        },
    ),
    (
        games.qre,
        {"game": GAME, "epsilon": 1.0},
        {"game": NO_GAMES, "epsilon": SETTINGS["epsilon"], "tolerance": NO_POSITIVES},
    ),
    (games.nash, {"game": GAME}, {"game": [*NO_SINGLE, NormalForm.random(0, (2, 2, 2))]}),
    (games.security, {"game": GAME}, {"game": NO_SINGLE}),
    (games.to_nfg, {"game": GAME}, {"game": NO_SINGLE}),
    (
        games.fit,
        {"game": GAME, "observed": EVEN},
        {
            "game": NO_SINGLE,
            "observed": NO_PROFILES,
            "penalty": NO_NAMES,
            "regulariser": NO_NAMES,
            "form": NO_NAMES,
            "seed": NO_SEEDS,
        },
    ),
    (
        games.tractability,
        {"tau": 1.0, "epsilon": 1.0},
        {
            "tau": NO_PER_PLAYER + NO_BATCH,
            "epsilon": [-1.0, "x", None, np.nan, np.inf, [], [1.0, None], [1, 2, 3], *NO_BATCH],
            "penalty": NO_NAMES,
            "regulariser": NO_NAMES,
            "players": [*NO_COUNTS, 1],
        },
    ),
    (
        games.tractability_margin,
        {"tau": 1.0, "epsilon": 1.0, "players": 2},
        {"tau": NO_PER_PLAYER, "epsilon": [-1.0, "x", None, np.nan, np.inf], "players": [*NO_COUNTS, 1]},
    ),
    (
        MarkovGame,
        {
            "probabilities": MARKOV.probabilities,
            "next_states": MARKOV.next_states,
            "rewards": MARKOV.rewards,
            "horizon": 1,
        },
        {
            "probabilities": [*NO_TABLES, np.ones((0, 2, 2, 1)), np.full((1, 2, 2, 1), 0.5)],
            "next_states": [
                *NO_TABLES,
                np.zeros((1, 2, 2, 1)),
                np.ones((1, 2, 2, 1), int),
                np.zeros((1, 2, 2, 1), bool),
            ],
            "rewards": [*NO_TABLES, np.zeros((3, 1, 2, 2, 1))],
            "horizon": NO_COUNTS,
            "gamma": [*NO_POSITIVES, 1.5],
            "start": [*NO_WHOLES, 1],
        },
    ),
    (
        MarkovGame.from_tables,
        {"rewards": np.zeros((2, 1, 2, 2)), "transitions": np.ones((1, 2, 2, 1)), "horizon": 1},
        {
            "rewards": [*NO_TABLES, np.zeros((1, 1, 2, 2))],
            "transitions": [*NO_TABLES, np.ones((1, 2, 2, 2)) / 2],
            "horizon": NO_COUNTS,
        },
    ),
    (
        games.solve_markov,
        {"game": MARKOV, "tau": 1.0, "epsilon": 1.0},
        {
            "game": [*NO_GAMES, GAME],
            **PER_PLAYER,
            "transition_tau": [bad for bad in NO_PER_PLAYER if bad is not None],
            "tolerance": NO_POSITIVES,
        },
    ),
    (
        games.simulate,
        {"game": MARKOV, "strategies": ALWAYS, "episodes": 3},
        {
            "game": [*NO_GAMES, GAME],
            "strategies": NO_PLANS,
            "episodes": [*NO_COUNTS, 10**400, 10**17],
            "seed": NO_SEEDS,
        },
    ),
    (
        games.score,
        {"game": MARKOV, "strategies": ALWAYS},
        {"game": [*NO_GAMES, GAME], "strategies": NO_PLANS, "tau": NO_PER_PLAYER + NO_BATCH},
    ),
    (
        games.equilibrium_gap,
        {"game": MARKOV, "strategies": ALWAYS, "tau": 1.0, "epsilon": 1.0},
        {
            "game": [*NO_GAMES, GAME],
            "strategies": NO_PLANS,
            **PER_PLAYER,
            "transition_tau": [bad for bad in NO_PER_PLAYER if bad is not None],
        },
    ),
    (
        games.learn_actor_critic,
        {"game": MARKOV, "tau": 1.0, "epsilon": 1.0, "episodes": 10},
        {
            "game": [*NO_GAMES, GAME],
            **PER_PLAYER,
            "transition_tau": [bad for bad in NO_PER_PLAYER if bad is not None],
            "episodes": [*NO_COUNTS, 10**400, 10**17],
            "critic_rate": [*NO_POSITIVES, 0.0, 1.5],
            "actor_rate": [*NO_POSITIVES, 0.0, 1.5, 0.001],
            "initial": [None, "1", np.nan, np.inf, [1.0]],
            "stationary": [None, "yes", 2, True],
            "snapshots": [*NO_COUNTS, 11],
            "seed": NO_SEEDS,
        },
    ),
    (
        games.learn_optimistic,
        {"game": MARKOV, "tau": 1.0, "epsilon": 1.0, "episodes": 10},
        {
            "game": [*NO_GAMES, GAME],
            **PER_PLAYER,
            "transition_tau": [bad for bad in NO_PER_PLAYER if bad is not None],
            "episodes": [*NO_COUNTS, 10**400, 10**17],
            "bonus": [None, "1", np.nan, np.inf, -1.0, [1.0]],
            "seed": NO_SEEDS,
        },
    ),
    (
        games.from_environment,
        {"environment": None},
        {"environment": [*NOTHING, 3, GAME]},
    ),
    (games.read_game, {"path": "game.json"}, {"path": [None, 3, b"game.json", ["game.json"], object()]}),
    (games.from_gambit, {"text": "NFG"}, {"text": [None, 3, b"NFG", object()], "kind": NO_NAMES, "name": NO_TEXTS}),
    (games.from_openspiel, {"name": "matrix_pd"}, {"name": [None, 3, b"matrix_pd", object()]}),
]
ARGUMENTS = [
    pytest.param(function, right, name, wrong, id=f"{function.__qualname__}-{name}")
    for function, right, each in CASES
    for name, wrong in each.items()
]


@pytest.mark.parametrize(("function", "right", "name", "wrong"), ARGUMENTS)
def test_wrong_values(function, right, name, wrong):
    for value in wrong:
        with pytest.raises(AverseError) as caught:
            function(**{**right, name: value})
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 300
        assert name.rstrip("s").split("_")[-1] in message, (value, message)


def test_every_public_function_and_argument_is_tried():
    tried = {(function.__qualname__, name) for function, _, each in CASES for name in each}
    # Results, which solvers make; and what takes nothing.
    results = {
        "Equilibrium",
        "EquilibriumGap",
        "Fit",
        "MarkovPlay",
        "MarkovSolution",
        "Model",
        "PublishedGame",
        "Score",
    }
    results.add("Tractability")
    public = [getattr(games, name) for name in games.__all__ if name not in results]
    public += [NormalForm.zero_sum, NormalForm.symmetric, NormalForm.random, NormalForm.stack, MarkovGame.from_tables]
    missing = {
        (function.__qualname__, name)
        for function in public
        for name in inspect.signature(function).parameters
        if (function.__qualname__, name) not in tried
    }
    same_checks = {("MarkovGame.from_tables", "gamma"), ("MarkovGame.from_tables", "start")}
    conversion = {("from_environment", name) for name in ("samples", "seed", "most_states", "gamma")}
    assert missing == same_checks | conversion


class Pair:
    """The face of an environment of two agents."""

    num_agents, horizon = 2, 1
    action_space = reset = step = available_actions = None


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("samples", NO_COUNTS), ("most_states", NO_COUNTS), ("seed", NO_SEEDS), ("gamma", [*NO_POSITIVES, 2.0])],
)
def test_conversion_checks_its_numbers(name, wrong):
    for value in wrong:
        with pytest.raises(AverseError, match=name):
            games.from_environment(Pair(), **{name: value})


def test_what_is_right_in_other_types_is_taken():
    halves = [[Fraction(1, 2), 0], [0, Fraction(1, 3)]]
    np.testing.assert_allclose(NormalForm([halves, halves]).arrays()[0], [[0.5, 0], [0, 1 / 3]])
    assert NormalForm(np.ones((2, 2, 2), np.float32), players=["a", "b"]).players == ("a", "b")
    assert NormalForm(iter([[[1]], [[2]]])).num_actions == (1, 1)
    assert NormalForm.random(np.int64(3), [2, 2]).num_actions == (2, 2)
    assert len(list(BATCH)) == 3
    assert games.tractability([np.float32(1), Fraction(1)], np.ones(2)).unique
    assert MarkovGame(MARKOV.probabilities, MARKOV.next_states, MARKOV.rewards, np.int64(2)).horizon == 2
