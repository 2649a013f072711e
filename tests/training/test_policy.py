"""Policies in one's own code: chosen by settings, and every question that they cannot answer is refused."""

import numpy as np
import pytest
from stirred import stirred

import averse
from averse.errors import AverseError

SMALL = {"num_envs": 4, "rollout_steps": 16, "minibatches": 1, "epochs": 1, "hidden": (8,)}
TEAM = np.zeros((2, 73), np.float32)


@pytest.fixture(scope="module")
def alone():
    return stirred("risky-cartpole", "rqe-mappo", seeds=2, tau=[1.0, 3.0], **SMALL)


@pytest.fixture(scope="module")
def team():
    return stirred("cliff-walk", "rqe-mappo", recurrent=True, **SMALL)


def test_trials_are_chosen_by_number_or_by_settings(alone):
    assert alone.trials[3] == {"seed": 1, "tau": 3.0}
    assert alone.trial(tau=3, seed=1) == alone.trial(3) == 3
    assert "4 trials" in repr(alone)
    observation = np.array([0.01, 0.2, 0.05, 0.1])
    by_number, by_settings = alone.policy(2, greedy=True), alone.policy(tau=3.0, seed=0, greedy=True)
    np.testing.assert_array_equal(by_number.probabilities(observation), by_settings.probabilities(observation))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (((), {}), "choose one of 4 trials .seed 0, 1; tau 1, 3.; nothing chosen leaves 4"),
        (((), {"tau": 3}), "tau=3 leaves 2"),
        (((), {"tau": 2, "seed": 0}), "leaves 0"),
        (((), {"gamma": 1}), "told apart by seed, tau, not by 'gamma'"),
        (((57,), {}), "numbered 0 to 3; there is no 57"),
        (((-1,), {}), "numbered 0 to 3"),
        (((True,), {}), "numbered 0 to 3"),
        (((0,), {"tau": 1}), "not by both"),
    ],
)
def test_anything_but_one_trial_is_refused(alone, choice, words):
    with pytest.raises(AverseError, match=words):
        alone.policy(*choice[0], **choice[1])


def test_actions_have_the_axes_of_the_observations(alone, team):
    policy = alone.policy(0)
    assert policy(np.zeros(4)).shape == ()
    assert policy(np.zeros((1, 4))).shape == (1,)
    assert policy(np.zeros((7, 1, 4))).shape == (7, 1)
    pair = team.policy()
    assert pair(TEAM).shape == (2,)
    pair.reset()
    assert pair(np.stack([TEAM] * 3)).shape == (3, 2)


@pytest.mark.parametrize(
    ("observations", "words"),
    [
        (np.zeros(3), r"must have the shape \[4\], \[1, 4\] or \[batch, 1, 4\], not \[3\]"),
        (np.zeros((4, 1)), "must have the shape"),
        (np.zeros((1, 5)), "must have the shape"),
        (np.zeros((2, 2, 1, 4)), "must have the shape"),
        (np.float32(0), "must have the shape"),
        ("abc", "must be numbers"),
        ([0.0, np.nan, 0.0, 0.0], "must be finite; 1 numbers are not"),
        ([0.0, np.inf, -np.inf, 0.0], "must be finite; 2 numbers are not"),
    ],
)
def test_observations_that_are_none(alone, observations, words):
    with pytest.raises(AverseError, match=words):
        alone.policy(0)(observations)


@pytest.mark.parametrize("observations", [TEAM[0], TEAM[:1], TEAM[:0], np.concatenate([TEAM, TEAM]), TEAM[None, :1]])
def test_what_some_agents_see_is_not_what_the_team_sees(team, observations):
    shape = ", ".join(map(str, observations.shape))
    for ask in (team.policy(), team.policy().probabilities):
        with pytest.raises(AverseError, match=rf"must have the shape \[2, 73\] or \[batch, 2, 73\], not \[{shape}\]"):
            ask(observations)


@pytest.mark.parametrize(
    ("available", "words"),
    [
        (np.zeros(2, bool), "must allow every agent at least one action"),
        (np.ones(3, bool), r"bool array of the shape \[2\]"),
        (np.ones(2), "bool array"),
        (np.ones((1, 2), bool), "bool array"),
    ],
)
def test_masks_that_are_none(alone, available, words):
    with pytest.raises(AverseError, match=words):
        alone.policy(0)(np.zeros(4), available)


def test_masks_are_respected(alone):
    policy = alone.policy(0)
    assert {int(policy(np.zeros(4), np.array([False, True]))) for _ in range(20)} == {1}
    np.testing.assert_allclose(policy.probabilities(np.zeros(4), np.array([False, True])), [0.0, 1.0], atol=1e-6)


def test_memory_is_of_one_batch_and_can_be_forgotten(team):
    policy = team.policy()
    before = policy.probabilities(TEAM)
    policy(TEAM)
    assert not np.array_equal(policy.probabilities(TEAM), before)
    with pytest.raises(AverseError, match="remembers a batch of 1 and was given one of 3"):
        policy(np.stack([TEAM] * 3))
    policy.reset()
    np.testing.assert_array_equal(policy.probabilities(TEAM), before)


def test_values_are_the_measure_of_what_the_critic_predicts(alone):
    cautious, bold = (alone.policy(tau=tau, seed=0) for tau in (1.0, 3.0))
    assert cautious.value(np.zeros(4), np.zeros(4)).shape == ()
    # As yet untrained: the same initial critic, seen with another tolerance.
    assert cautious.value(np.zeros(4), np.zeros(4)) < bold.value(np.zeros(4), np.zeros(4))
    with pytest.raises(AverseError, match="global_state must have the shape"):
        cautious.value(np.zeros(4), np.zeros(5))


def test_what_a_method_does_not_tell():
    run = averse.train("risky-cartpole", "ppo", steps=64, continuous=True, **SMALL)
    with pytest.raises(AverseError, match="tells no probabilities"):
        run.policy().probabilities(np.zeros(4))
    with pytest.raises(AverseError, match="predicts no distribution"):
        run.policy().value(np.zeros(4), np.zeros(4))
    assert run.policy()(np.zeros(4)).shape == (1,)


@pytest.mark.parametrize("observations", [None, object(), {}, ["1", "2", "3", "4"], [1j] * 4, [[1], [1, 2]], b"abc"])
def test_what_are_no_numbers(alone, observations):
    with pytest.raises(AverseError, match=r"observations must (be numbers|have the shape)"):
        alone.policy(0)(observations)
    with pytest.raises(AverseError, match=r"global_state must (be numbers|have the shape)"):
        alone.policy(0).value(np.zeros(4), observations)


def test_a_global_state_that_is_not_finite(alone):
    with pytest.raises(AverseError, match="global_state must be finite"):
        alone.policy(0).value(np.zeros(4), np.array([0.0, np.nan, 0.0, 0.0]))


@pytest.mark.parametrize("available", ["yes", 3, [[True], [True, False]], {}])
def test_what_are_no_masks(alone, available):
    with pytest.raises(AverseError, match="available must be a bool array"):
        alone.policy(0)(np.zeros(4), available)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"random_seed": "x"}, "random_seed must be a whole number >= 0, not 'x'"),
        ({"random_seed": -1}, "random_seed must be a whole number >= 0, not -1"),
        ({"random_seed": 2**32}, "random_seed must be a whole number >= 0 .below 2.32."),
        ({"random_seed": None}, "random_seed must be"),
        ({"greedy": "yes"}, "greedy must be true or false, not 'yes'"),
        ({"greedy": 1}, "greedy must be true or false, not 1"),
        ({"index": "first"}, "there is no 'first'"),
        ({"index": 0.0}, "there is no 0.0"),
        ({"tau": "x"}, "tau must be a number, not 'x'"),
        ({"tau": None, "seed": 0}, "tau must be a number, not None"),
        ({"seed": np.arange(2)}, "seed must be a number, not array"),
    ],
)
def test_arguments_of_a_policy(alone, given, words):
    with pytest.raises(AverseError, match=words):
        alone.policy(**({} if "index" in given or "tau" in given or "seed" in given else {"index": 0}) | given)
