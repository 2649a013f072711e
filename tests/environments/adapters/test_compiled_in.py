"""Worlds with the interfaces of gymnax and JaxMARL as compiled environments, against what they do by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled_stand_ins import stand_in

import averse
from averse import AverseError
from averse.cli import main
from averse.environments import Box, Discrete, check_environment, is_compiled, make

KEY = jax.random.key(0)
WIDE = {"reward_bounds": (-9.0, 9.0)}


@pytest.fixture(autouse=True)
def libraries(monkeypatch):
    stand_in(monkeypatch)


def play(environment, actions):
    """What is answered to joint actions, [A] or [A, size] each, from the start on."""
    state, observations = environment.reset(KEY)
    results = []
    for row in actions:
        results.append(environment.step(KEY, state, jnp.asarray(row)))
        state = results[-1].state
    return observations, results


def ends(results):
    return [(result.terminated.tolist(), bool(result.truncated)) for result in results]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gymnax:Walker-v0", {}),
        ("gymnax:Walker-v0", {"env_arg": ("boxed=true", "stride=0.5"), "horizon": 9, "report": ("place",)}),
        ("jaxmarl:Walkers", {"report": ("left",)}),
        ("jaxmarl:Wrapped", {"team": True, "state": "own"}),
        ("jaxmarl:Plain", {"horizon": 5}),
    ],
)
def test_they_are_in_order(name, parameters):
    environment = make(name, **WIDE, **parameters)
    assert is_compiled(environment)
    assert environment.name == name
    check_environment(environment, episodes=4)


@pytest.mark.parametrize(
    ("parameters", "outcome"),
    [
        ({}, [([False], False), ([False], False), ([True], False)]),
        ({"horizon": 2}, [([False], False), ([False], True)]),
        ({"horizon": 3}, [([False], False), ([False], False), ([True], False)]),  # both at once: it has ended
        ({"env_arg": ("goal=99",)}, [([False], False)] * 5 + [([False], True)]),
        ({"env_arg": ("max_steps_in_episode=2",)}, [([False], False), ([False], True)]),
    ],
)
def test_gymnax_ends_and_cuts_are_kept_apart(parameters, outcome):
    environment = make("gymnax:Walker-v0", **parameters)
    assert ends(play(environment, [[1]] * len(outcome))[1]) == outcome


@pytest.mark.parametrize("name", ["Walkers", "Wrapped"])
@pytest.mark.parametrize(
    ("horizon", "moves", "outcome"),
    [
        # JaxMARL's dones say the same of both; the world itself would go on for a fifth step
        (None, [[0, 0]] * 4, [([False, False], False)] * 3 + [([False, False], True)]),
        (None, [[1, 0]] * 4, [([False] * 2, False)] * 2 + [([True, False], False), ([True, False], True)]),
        (2, [[2, 1], [2, 0]], [([False, False], False), ([True, False], True)]),
        (3, [[1, 1]] * 3, [([False, False], False)] * 2 + [([True, True], False)]),  # both at once: it has ended
        (9, [[0, 0]] * 9, [([False, False], False)] * 8 + [([False, False], True)]),
    ],
)
def test_jaxmarl_ends_and_cuts_are_kept_apart(name, horizon, moves, outcome):
    environment = make(f"jaxmarl:{name}", horizon=horizon)
    assert environment.horizon == (horizon or 4)
    assert ends(play(environment, moves)[1]) == outcome


def test_a_world_whose_limit_is_not_known_is_taken_at_its_word():
    environment = make("jaxmarl:Plain", env_arg=("length=3",), horizon=10)
    assert ends(play(environment, [[0, 0]] * 3)[1]) == [([False] * 2, False)] * 2 + [([True] * 2, False)]


def test_observations_masks_and_what_one_who_has_ended_sees():
    environment = make("jaxmarl:Walkers", horizon=20)
    assert environment.agents == ("long", "short")
    assert environment.action_space == Discrete(3)
    assert (environment.observation_size, environment.global_state_size) == (6, 12)
    first, results = play(environment, [[0, 1], [2, 1], [1, 1]])
    np.testing.assert_array_equal(first, [[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 1, 0]])
    seen = [[[0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 1]], [[2, 2, 2, 0, 0, 0], [0, 0, 1, 0, 1, 0]], np.zeros((2, 6))]
    for result, expected in zip(results, seen, strict=True):
        np.testing.assert_array_equal(result.observations, expected)
        np.testing.assert_array_equal(environment.global_state(result.state), np.ravel(expected))
    allowed = [environment.available_actions(result.state).tolist() for result in results]
    # "short" has 2 actions; where it has ended its own mask allows nothing, and then it is free
    assert allowed[:2] == [[[True, True, False], [True, True, False]]] * 2
    assert allowed[2] == [[True, True, False], [True, True, True]]
    own = make("jaxmarl:Walkers", state="own")
    assert own.global_state(play(own, [[2, 1]])[1][-1].state).tolist() == [2.0, 1.0]


@pytest.mark.parametrize(("team", "last"), [(False, [0.0, 4.0]), (True, [3.0, 3.0])])
def test_who_has_ended_earns_nothing_unless_the_team_earns(team, last):
    environment = make("jaxmarl:Walkers", team=team, report=("left",))
    _, results = play(environment, [[2, 0], [1, 0], [0, 0]])
    expected = [3.0, 3.0] if team else [2.0, 4.0]
    assert [result.rewards.tolist() for result in results] == [expected, expected, last]
    assert results[1].terminated.tolist() == ([False, False] if team else [True, False])
    assert float(results[2].info["left"]) == 0.5
    assert results[0].rewards.dtype == jnp.float32


def test_bounds_of_their_own_are_stretched():
    environment = make("gymnax:Walker-v0", env_arg=("boxed=true", "goal=99"))
    assert environment.action_space == Box(2, -1.0, 1.0)
    _, results = play(environment, np.float32([[[-1.0, -1.0]], [[1.0, 1.0]], [[0.0, 0.5]], [[5.0, -5.0]]]))
    assert [float(result.rewards[0]) for result in results] == [-2.0, 6.0, 3.0, 2.0]


@pytest.mark.parametrize(
    ("name", "parameters", "line"),
    [
        ("gymnax:Walkr-v0", {}, r"unknown gymnax id 'Walkr-v0'; did you mean .*Walker-v0.*\?"),
        ("jaxmarl:Walker", {}, r"unknown JaxMARL id 'Walker'; did you mean Walkers\?"),
        ("gymnax:Walker-v0", {"env_arg": ("gol=3",)}, "gymnax:Walker-v0 cannot be built: TypeError: .*'gol'"),
        ("gymnax:Walker-v0", {"report": ("plac",)}, r"number in the info of gymnax:Walker-v0 'plac'; did you mean pl"),
        ("gymnax:Walker-v0", {"report": ("odd",)}, "info of gymnax:Walker-v0 has no number 'odd'"),
        ("gymnax:Walker-v0", {"env_arg": ("stride=far",)}, "gymnax:Walker-v0 cannot be compiled: TypeError"),
        ("gymnax:Late-v0", {}, r"does not tell what is over from what is late; pip install 'gymnax>=1.0'"),
        ("gymnax:nowhere:Walker-v0", {}, "the module nowhere cannot be imported"),
        ("jaxmarl:Plain", {}, "jaxmarl:Plain does not say after how many steps an episode ends; give --horizon"),
        ("jaxmarl:Plain", {"horizon": 3, "state": "own"}, "jaxmarl:Plain has no state of its own"),
        ("jaxmarl:Mixed", {}, "jaxmarl:Mixed: the action of short must be of a Discrete space"),
        ("jaxmarl:Unbounded", {}, "the action of long must be of a space Discrete or Box .floats with finite bounds"),
        ("jaxmarl:Blind", {}, "jaxmarl:Blind must answer with the observations of long, short by these names"),
        ("jaxmarl:Broken", {"state": "own"}, "jaxmarl:Broken cannot be compiled: KeyError: 'nowhere'"),
        ("jaxmarl:Unpaid", {}, "jaxmarl:Unpaid cannot be compiled: KeyError: 'short'"),
        ("jaxmarl:Changing", {}, "jaxmarl:Changing must have states of the same shapes and types after a step"),
        ("jaxmarl:Counted", {}, r"must name its agents by texts and answer by these names, not \[0, 1\]"),
        ("jaxmarl:compiled_stand_ins:same_walkers", {}, "must be built anew whenever it is asked for"),
        ("jaxmarl:compiled_stand_ins:Nobody", {}, "the module compiled_stand_ins has no function Nobody"),
    ],
)
def test_what_is_refused(name, parameters, line):
    with pytest.raises(AverseError, match=line) as caught:
        make(name, **parameters)
    assert "\n" not in str(caught.value)


def test_a_function_of_ones_own_builds_a_world():
    environment = make("jaxmarl:compiled_stand_ins:Walkers", env_arg=("goal=2",))
    assert ends(play(environment, [[2, 1]])[1]) == [([True, False], False)]


def test_a_critic_with_a_support_must_be_told_how_large_rewards_are():
    with pytest.raises(AverseError, match="gymnax:Walker-v0 does not say how large rewards are"):
        make("gymnax:Walker-v0").return_bounds(0.9)


def test_trained_evaluated_resumed_and_exported(tmp_path, capsys):
    out = str(tmp_path / "run")
    short = ["--num-envs", "4", "--rollout-steps", "16", "--minibatches", "1", "--epochs", "1"]
    world = ["--env", "jaxmarl:Walkers", "--env-arg", "goal=2", "--method", "mappo"]
    assert not main(["train", *world, "--steps", "128", "--out", out, *short])
    assert not main(["evaluate", out, "--episodes", "8"])
    assert averse.load(out).environment.env_arg == ("goal=2",)
    assert not main(["train", "--resume", out])
    assert averse.load(out).finished
    assert not main(["export", out, "--out", str(tmp_path / "policy.npz")])
    assert main(["record", out]) == 2
    assert "jaxmarl:Walkers cannot be drawn" in capsys.readouterr().err
