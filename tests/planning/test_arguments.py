"""Every argument of every public function of `averse.planning` is looked at: right, or one line that names it."""

import inspect

import numpy as np
import pytest
from scipy.sparse import csr_array

from averse import planning
from averse.errors import AverseError
from averse.planning import FactoredTeamGame, FiniteMDP, TeamGame

MDP = FiniteMDP(np.full((2, 2, 2), 0.5), np.arange(4.0).reshape(2, 2), 0.9, 2)
ROWS = np.full((2, 2, 2, 2), 0.5)
GAME = TeamGame(ROWS, np.arange(8.0).reshape(2, 2, 2))
UNIFORM = [np.full((2, 2), 0.5)] * 2
LOCAL = np.full((2, 2, 2), 0.5)

# A good call of each function: what is exchanged, argument by argument, for what can be none.
GOOD = {
    "FiniteMDP": {"transition": LOCAL, "reward": np.zeros((2, 2)), "gamma": 0.9, "horizon": 3, "initial": 0},
    "TeamGame": {"transition": ROWS, "reward": np.zeros((2, 2, 2)), "available": [np.ones((2, 2))] * 2},
    "FactoredTeamGame": {
        "transitions": [LOCAL] * 2, "rewards": [np.zeros((2, 2))] * 2, "local_available": [np.ones((2, 2))] * 2,
    },
    "deterministic": {"actions": [0, 1], "num_actions": 2},
    "entropic_value_iteration": {"mdp": MDP, "tau": 1.0, "kind": "static", "tolerance": 1e-9, "max_iterations": 9},
    "entropic_evaluation": {
        "mdp": MDP, "policy": UNIFORM[0], "tau": 1.0, "kind": "nested", "tolerance": 1e-9, "max_iterations": 9,
    },
    "policy_gradient": {"mdp": MDP, "logits": np.zeros((2, 2)), "tau": 1.0},
    "return_distribution": {"mdp": MDP, "policy": UNIFORM[0], "max_values": 100},
    "evaluate_policy": {"mdp": MDP, "policy": UNIFORM[0], "measure": "cvar:0.1"},
    "cvar_value_iteration": {"mdp": MDP, "alpha": 0.3, "max_pairs": 100},
    "robust_value_iteration": {
        "mdp": MDP, "radius": 0.1, "ball": "kl", "policy": UNIFORM[0], "tolerance": 1e-9, "max_iterations": 9,
    },
    "kl_penalised_value_iteration": {
        "mdp": MDP, "tau": 1.0, "kind": "static", "policy": UNIFORM[0], "tolerance": 1e-9, "max_iterations": 9,
    },
    "mean_variance": {"game": GAME, "policy": UNIFORM, "beta": 0.1, "initial": [1.0, 0.0]},
    "poisson": {"game": GAME, "policy": UNIFORM, "beta": 0.1},
    "difference": {"game": GAME, "policy": UNIFORM, "other": UNIFORM, "beta": 0.1},
    "derivative": {"game": GAME, "policy": UNIFORM, "beta": 0.1},
    "improvement_bound": {"game": GAME, "old": UNIFORM, "new": UNIFORM, "beta": 0.1},
    "classify": {"game": GAME, "policy": UNIFORM, "beta": 0.1, "tolerance": 1e-6},
    "best_response": {"game": GAME, "policy": UNIFORM, "agent": 1, "beta": 0.1, "gap": 1e-6},
    "best_joint_policy": {"game": GAME, "beta": 0.1, "initial": UNIFORM, "gap": 1e-6},
    "mv_mapi": {
        "game": GAME, "beta": 0.1, "order": [0, 1], "initial": UNIFORM, "variant": "sequential", "max_rounds": 50,
    },
    "mv_ipga": {"game": GAME, "beta": 0.1, "initial": "uniform", "step": 1.0, "tolerance": 1e-3, "max_steps": 2},
    "random_policies": {"game": GAME, "count": 2, "seed": 0},
}  # fmt: skip
ALLOWED = {"horizon", "initial", "available", "local_available", "order", "policy", "transition"}  # may be None
NO_ARGUMENT = ("x", None, {"a": 1}, [[1.0], [1.0, 2.0]], np.array([1 + 2j]), object(), float("nan"), -1e9, 0.5j)


def test_the_table_has_every_public_function():
    functions = {name for name in planning.__all__ if inspect.isfunction(getattr(planning, name))}
    assert functions <= GOOD.keys()
    for name, arguments in GOOD.items():
        assert arguments.keys() == inspect.signature(getattr(planning, name)).parameters.keys()


@pytest.mark.parametrize("name", GOOD)
def test_a_wrong_argument_is_one_line_that_names_it(name):
    function, good = getattr(planning, name), GOOD[name]
    function(**good)
    for argument in good:
        for bad in NO_ARGUMENT:
            if bad is None and argument in ALLOWED:
                continue
            with pytest.raises(AverseError) as caught:
                function(**{**good, argument: bad})
            text = str(caught.value)
            word = argument if argument != "local_available" else "available"
            assert word in text, (argument, bad, text)
            assert "\n" not in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: planning.deterministic([0, -1], 2), "actions must be whole numbers from 0 to 1, not -1"),
        (lambda: planning.deterministic([0.5], 2), "actions must be whole numbers from 0 to 1, not 0.5"),
        (lambda: planning.best_response(GAME, UNIFORM, 2, 0.1), "agent must be one of 0 to 1, not 2"),
        (lambda: planning.best_response(GAME, UNIFORM, 1.0, 0.1), "agent must be a whole number >= 0, not 1.0"),
        (lambda: planning.mv_mapi(GAME, 0.1, order="01"), "order must be the agents' numbers in a row, not '01'"),
        (lambda: planning.mv_mapi(GAME, 0.1, order=[0, True]), "order must be a whole number >= 0, not True"),
        (lambda: planning.poisson(TeamGame, UNIFORM, 0.1), "game must be a TeamGame or a FactoredTeamGame, not type"),
        (lambda: planning.evaluate_policy(GAME, UNIFORM), "mdp must be a FiniteMDP, not a TeamGame"),
        (lambda: TeamGame(ROWS, np.zeros((2, 2, 2)), [np.full((2, 2), 0.3)] * 2), r"available\[0\] must be true or f"),
        (lambda: planning.cvar_value_iteration(MDP, 0.3).act(-1, 0, 0.0), "step must be a whole number >= 0, not -1"),
        (lambda: planning.cvar_value_iteration(MDP, 0.3).act(0, "x", 0.0), "state must be a whole number"),
        (
            lambda: FiniteMDP(LOCAL, [["1", "2"], ["3", "4"]]),
            "reward must be numbers, .* not .*'1'",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(AverseError, match=message):
        call()


@pytest.mark.parametrize(("negative", "off"), [(-1e-17, 0.0), (-9e-13, 9e-7), (0.0, -9e-7)])
def test_rounding_is_made_good(negative, off):
    """Rows that miss one, and zeros that are not quite: in models, dense and sparse, and in policies."""
    row = np.array([negative, 1.0 - negative + off])
    mdp = FiniteMDP(np.broadcast_to(row, (2, 2, 2)), np.zeros((2, 2)), initial=row)
    dense = TeamGame(np.broadcast_to(row, (2, 2, 2, 2)), np.zeros((2, 2, 2)))
    sparse = TeamGame(csr_array(np.broadcast_to(row, (8, 2))), np.zeros((2, 2, 2)))
    factored = FactoredTeamGame([np.broadcast_to(row, (2, 2, 2))], [np.zeros((2, 2))])
    tables = [mdp.transition, mdp.initial, dense.transition, sparse.transition.toarray(), factored.transitions[0]]
    tables += planning.poisson(GAME, [np.broadcast_to(row, (2, 2)), UNIFORM[1]], 0.1).policy[:1]
    for table in tables:
        assert (table >= 0).all()
        np.testing.assert_allclose(table.sum(-1), 1, atol=1e-15)
        assert (table[..., 0] == 0).all()


def test_single_precision_models_are_accepted_and_mean_what_they_say():
    """Rows of 1,000 states, normalised in float32 as a simulator's counts would be, miss one by more than 1e-8."""
    counts = np.random.default_rng(0).gamma(0.3, size=(1000, 1, 1000)).astype(np.float32)
    rows = counts / counts.sum(-1, keepdims=True)
    reward = np.arange(1000.0)[:, None]
    assert np.abs(rows.astype(np.float64).sum(-1) - 1).max() > 1e-8
    single = FiniteMDP(rows, reward, 0.9)
    exact = FiniteMDP(counts.astype(np.float64) / counts.sum(-1, keepdims=True, dtype=np.float64), reward, 0.9)
    np.testing.assert_allclose(single.transition, exact.transition, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("row", [[-1.1e-12, 1.0], [0.5, 0.5 + 1.1e-6], [0.5, 0.5 - 1.1e-6]])
def test_more_than_rounding_is_refused(row):
    with pytest.raises(AverseError, match=r"transition.* (sums to|is -)"):
        FiniteMDP(np.broadcast_to(row, (2, 2, 2)), np.zeros((2, 2)))
    with pytest.raises(AverseError, match="transition"):
        TeamGame(csr_array(np.broadcast_to(row, (8, 2))), np.zeros((2, 2, 2)))
