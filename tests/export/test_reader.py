"""The reader on its own: numpy alone, draws that follow the policy, memory, and every question that it refuses."""

import ast
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from stirred import SMALL, stirred

from averse.export import PortablePolicy, export_policy, reader
from averse.export.policy import READER

TEAM = np.random.default_rng(0).standard_normal((2, 73))


@pytest.fixture(scope="module", autouse=True)
def unasked():
    """No policy is asked, which takes longer than all else; `test_policies` asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("averse.export.policy.exchanges", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A policy of one agent, one of a team that remembers, and the reader that is written beside them."""
    path = tmp_path_factory.mktemp("exported")
    export_policy(stirred("risky-cartpole", "rqe-mappo", **SMALL, tau=3.0), path / "alone.npz")
    export_policy(stirred("cliff-walk", "rqe-mappo", **SMALL, recurrent=True), path / "team.npz")
    export_policy(stirred("risky-cartpole", "ppo", {"continuous": True}, **SMALL), path / "box.npz")
    return path


@pytest.fixture
def alone(folder):
    return PortablePolicy(folder / "alone.npz")


@pytest.fixture
def team(folder):
    return PortablePolicy(folder / "team.npz")


def test_it_needs_numpy_alone(folder):
    copy = folder / READER
    assert copy.read_bytes() == Path(reader.__file__).read_bytes()
    tree = ast.parse(copy.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported - set(sys.stdlib_module_names) == {"numpy"}


def test_what_it_says_of_itself(team):
    about = team.about
    assert (about["agents"], about["observation"], about["action"]) == (
        2, {"size": 73, "set": None}, {"kind": "discrete", "number": 4},
    )  # fmt: skip
    assert about["trained"]["environment"] == "cliff-walk"
    assert about["trained"]["learner"]["recurrent"] is True
    assert {"averse", "jax", "format"} <= about.keys()


def test_draws_follow_the_probabilities(alone):
    observation = np.array([0.4, -0.8, 0.1, 0.9])
    expected = alone.distribution(observation)["probabilities"]
    draws = alone(np.broadcast_to(observation, (20_000, 1, 4)))
    found = np.bincount(draws[:, 0], minlength=2) / len(draws)
    assert 0.1 < expected[0] < 0.9
    # Five standard deviations of a proportion.
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / len(draws)))


def test_draws_of_a_box_are_normal_and_within(folder):
    policy = PortablePolicy(folder / "box.npz")
    told = policy.distribution(np.zeros(4))
    low, high = policy.about["action"]["low"], policy.about["action"]["high"]
    draws = policy(np.zeros((20_000, 1, 4)))[:, 0, 0]
    assert draws.min() == low or draws.max() == high
    inside = draws[(draws > low) & (draws < high)]
    from scipy.stats import kstest, truncnorm

    ends = [(end - told["mean"][0]) / told["std"][0] for end in (low, high)]
    assert kstest(inside, truncnorm(*ends, told["mean"][0], told["std"][0]).cdf).pvalue > 0.001


def test_masks_are_respected(alone, team):
    only = np.array([False, True])
    assert {int(alone(np.zeros(4), only)) for _ in range(20)} == {1}
    assert alone.distribution(np.zeros(4), only)["probabilities"].tolist() == [0.0, 1.0]


def test_axes_are_those_of_the_question(alone, team):
    assert alone(np.zeros(4)).shape == ()
    assert alone(np.zeros((1, 4))).shape == (1,)
    assert alone(np.zeros((7, 1, 4))).shape == (7, 1)
    assert alone.value(np.zeros(4), np.zeros(4)).shape == ()
    assert alone.value(np.zeros((3, 1, 4)), np.zeros((3, 4))).shape == (3, 1)
    assert team(TEAM).shape == (2,)


def test_memory_is_of_one_batch_and_can_be_forgotten(team):
    before = team.distribution(TEAM)["probabilities"]
    team(TEAM)
    assert not np.array_equal(team.distribution(TEAM)["probabilities"], before)
    with pytest.raises(ValueError, match="remembers 1 moments, not 3"):
        team(np.stack([TEAM] * 3))
    team.reset()
    np.testing.assert_array_equal(team.distribution(TEAM)["probabilities"], before)


@pytest.mark.parametrize(
    ("observations", "words"),
    [
        (np.zeros(3), r"observations must be \[1, 4\] or \[batch, 1, 4\], not \(3,\)"),
        (np.zeros((2, 2, 1, 4)), "observations must be"),
        (["1", "2", "3", "4"], "must be numbers"),
        ([0, np.nan, 0, np.inf], "must be finite; 2 numbers are not"),
        ([1e300, 0, 0, 0], "must be finite; 1 numbers are not"),
    ],
)
def test_observations_that_are_none(alone, observations, words):
    for ask in (alone, alone.distribution, lambda seen: alone.value(seen, np.zeros(4))):
        with pytest.raises(ValueError, match=words):
            ask(observations)


@pytest.mark.parametrize(
    ("available", "words"),
    [
        (np.zeros(2, bool), "must allow every agent at least one action"),
        (np.ones(3, bool), r"must be bool \[2\], not bool \[3\]"),
        (np.ones(2), "must be bool"),
    ],
)
def test_masks_that_are_none(alone, available, words):
    with pytest.raises(ValueError, match=words):
        alone(np.zeros(4), available)


def test_values_that_cannot_be_told(alone, folder):
    with pytest.raises(ValueError, match=r"global_state must have the shape \[1, 4\], not \[5\]"):
        alone.value(np.zeros(4), np.zeros(5))
    with pytest.raises(ValueError, match="global_state must be numbers"):
        alone.value(np.zeros(4))
    with pytest.raises(ValueError, match="tells no value: its critic predicts no distribution"):
        PortablePolicy(folder / "box.npz").value(np.zeros(4))


def test_other_files_are_refused():
    file = io.BytesIO()
    np.savez(file, weights=np.zeros(3))
    file.seek(0)
    with pytest.raises(ValueError, match="no policy that averse exported"):
        PortablePolicy(file)
    file = io.BytesIO()
    np.savez(file, about=np.array('{"format": 99}'))
    file.seek(0)
    with pytest.raises(ValueError, match="has format 99; this reader knows 1"):
        PortablePolicy(file)


def test_nothing_is_unpickled():
    file = io.BytesIO()
    np.savez(file, about=np.array([{"format": 1}], dtype=object))
    file.seek(0)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        PortablePolicy(file)
