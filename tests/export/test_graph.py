"""Graphs by themselves: what they say, and that they refuse in the one way that a graph can."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from stirred import SMALL, stirred

from averse.export import export_policy


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    run = stirred("cliff-walk", "rqe-mappo", **SMALL, recurrent=True)
    with pytest.MonkeyPatch.context() as patch:  # no policy is asked, which takes longer; `test_policies` asks
        patch.setattr("averse.export.policy.exchanges", lambda *_: [])
        return export_policy(run, tmp_path_factory.mktemp("graph") / "policy.onnx", format="onnx")


def fed(count=3, agents=2):
    random = np.random.default_rng(0)
    return {
        "observations": random.standard_normal((count, agents, 73), np.float32),
        "available": np.ones((count, agents, 4), bool),
        "memory": random.standard_normal((count, agents, 8), np.float32),
    }


def test_files_and_what_they_say(exported):
    actor, critic = exported.files
    assert critic.name == "policy.value.onnx"
    for file in exported.files:
        model = onnx.load(file)
        assert json.loads({each.key: each.value for each in model.metadata_props}["about"]) == exported.about
    session = onnxruntime.InferenceSession(actor)
    assert [(each.name, each.shape) for each in session.get_inputs()] == [
        ("observations", ["batch", 2, 73]), ("available", ["batch", 2, 4]), ("memory", ["batch", 2, 8]),
    ]  # fmt: skip
    assert [each.name for each in session.get_outputs()] == ["probabilities", "actions", "next_memory"]
    assert {each.name for each in onnxruntime.InferenceSession(critic).get_inputs()} == {
        "observations", "global_state", "memory",
    }  # fmt: skip


@pytest.mark.parametrize("wrong", ["nan", "inf", "nothing allowed"])
def test_who_cannot_be_answered_is_poison_and_nobody_else(exported, wrong):
    session, given = onnxruntime.InferenceSession(exported.files[0]), fed()
    right = session.run(None, given)
    if wrong == "nothing allowed":
        given["available"][1, 0] = False
    else:
        given["observations"][1, 0, 5] = float(wrong)
    probabilities, actions, memory = session.run(None, given)
    assert np.isnan(probabilities[1, 0]).all()
    assert actions[1, 0] == -1
    np.testing.assert_array_equal(memory[1, 0], given["memory"][1, 0])
    others = np.ones((3, 2), bool)
    others[1, 0] = False
    for found, expected in zip((probabilities, actions, memory), right):
        np.testing.assert_array_equal(found[others], expected[others])


def test_values_of_what_is_not_finite_are_nan(exported):
    session = onnxruntime.InferenceSession(exported.files[1])
    size = exported.about["global_state_size"]
    given = {key: values for key, values in fed().items() if key != "available"}
    given["global_state"] = np.zeros((3, size), np.float32)
    given["global_state"][1, 0] = np.inf
    (value,) = session.run(None, given)
    np.testing.assert_array_equal(np.isnan(value), [[False] * 2, [True] * 2, [False] * 2])


def test_other_shapes_are_refused(exported):
    session = onnxruntime.InferenceSession(exported.files[0])
    for name, values in (("observations", np.zeros((3, 2, 72), np.float32)), ("available", np.ones((3, 1, 4), bool))):
        with pytest.raises(Exception, match="invalid dimensions"):
            session.run(None, {**fed(), name: values})
