"""`averse export`: which trial, which file, what is refused before anything is written."""

import json
from dataclasses import replace

import numpy as np
import pytest
from stirred import REPLAY, SMALL, stirred

from averse.cli import main
from averse.errors import AverseError
from averse.export import PortablePolicy, export_policy
from averse.learners.contract import Portable


@pytest.fixture(scope="module")
def trained():
    return stirred("corridor", "rqe-mappo", **SMALL, seeds=2, tau=[1.0, 3.0])


@pytest.fixture
def run(trained, tmp_path_factory, monkeypatch):
    """A run directory; what would be read from it is at hand already. `tests/test_examples.py` reads real ones."""
    path = tmp_path_factory.mktemp("run")
    monkeypatch.setattr("averse.export.command.load", {path: replace(trained, path=path)}.__getitem__)
    return path


@pytest.fixture
def unasked(monkeypatch):
    """No policy is asked, which takes longer than all else."""
    monkeypatch.setattr("averse.export.policy.exchanges", lambda *_: [])


def test_a_trial_is_exported(run, trained, capsys):
    assert main(["export", str(run), "--trial", "tau=3", "seed=1"]) == 0
    told = capsys.readouterr().out
    assert "policy-seed-1-tau-3.npz" in told
    policy = PortablePolicy(run / "export" / "policy-seed-1-tau-3.npz")
    own = trained.policy(tau=3, seed=1)
    seen = np.random.default_rng(0).random((50, own.num_agents, own.observation_size))
    np.testing.assert_allclose(policy.distribution(seen)["probabilities"], own.probabilities(seen), atol=1e-6)
    states = np.random.default_rng(1).random((50, own.global_state_size))
    np.testing.assert_allclose(policy.value(seen, states), own.value(seen, states), rtol=1e-5, atol=1e-5)
    assert policy.about["trained"]["trial"] == {"seed": 1, "tau": 3.0}


def test_json_tells_the_files_and_what_they_are(run, capsys, tmp_path, unasked):
    out = tmp_path / "deep" / "policy.onnx"
    assert main(["export", str(run), "--trial", "0", "--format", "onnx", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == [str(out), str(out.with_name("policy.value.onnx"))]
    assert told["about"]["trained"]["method"] == "rqe-mappo"
    assert told["difference"] == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "choose one of 4 trials"),
        (("--trial", "9"), "numbered 0 to 3; there is no 9"),
        (("--trial", "tau=x"), "--trial takes a number, or SETTING=NUMBER"),
        (("--trial", "out=3"), "told apart by seed and swept settings, not by 'out'"),
        (("--trial", "gamma=1"), "told apart by seed, tau, not by 'gamma'"),
        (("--trial", "0", "--format", "torch"), "invalid choice 'torch' for argument '--format'"),
        (("--trial", "0", "--out", "policy.onnx"), "the file of format numpy must end in .npz, not 'policy.onnx'"),
        (("--trial", "0", "--out", "{folder}"), "is a folder, not a file"),
    ],
)
def test_one_line_for_what_is_wrong(run, capsys, tmp_path, flags, words):
    folder = tmp_path / "folder.npz"
    folder.mkdir()
    assert main(["export", str(run), *(flag.format(folder=folder) for flag in flags)]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [folder]


def test_files_that_are_there_stay(trained, tmp_path, unasked):
    file = tmp_path / "policy.npz"
    file.write_text("mine")
    with pytest.raises(AverseError, match=r"policy.npz exists already; choose another --out, or --overwrite"):
        export_policy(trained, file, 0)
    assert file.read_text() == "mine"
    export_policy(trained, file, 0, overwrite=True)
    export_policy(trained, tmp_path / "other.npz", 1)  # the reader is ours: the same one serves both
    (tmp_path / "averse_policy.py").write_text("mine = 1")
    with pytest.raises(AverseError, match=r"averse_policy.py exists already"):
        export_policy(trained, tmp_path / "third.npz", 1)
    assert not (tmp_path / "third.npz").exists()


def test_what_has_no_such_form(tmp_path):
    with pytest.raises(AverseError, match="rmix chooses its CVaR level anew at each step, which cannot be exported"):
        export_policy(stirred("cliff-walk", "rmix", **REPLAY), tmp_path / "p.npz")
    atoms = stirred("corridor", "c51", **REPLAY, measure="wang:0.75")
    with pytest.raises(AverseError, match=r"the measure wang:0.75 of a categorical prediction cannot be exported"):
        export_policy(atoms, tmp_path / "p.npz")
    silent = stirred("corridor", "mappo", **SMALL)
    vars(silent)["learner"] = silent.learner._replace(portable=None)
    with pytest.raises(
        AverseError, match=r"policies of mappo cannot be exported: its Learner has no portable\(state\)"
    ):
        export_policy(silent, tmp_path / "p.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_learner_that_tells_no_probabilities_is_asked_for_its_choices(tmp_path):
    run = stirred("corridor", "mappo", **SMALL)
    learner = vars(run)["learner"] = run.learner._replace(action_probabilities=None)
    assert export_policy(run, tmp_path / "p.npz").difference < 1e-5

    def turned(state):
        right = learner.portable(state)
        return Portable(right.description, {**right.arrays, "actor.2.kernel": -right.arrays["actor.2.kernel"]})

    vars(run)["learner"] = learner._replace(portable=turned)
    with pytest.raises(AverseError, match="would answer otherwise"):
        export_policy(run, tmp_path / "q.npz")


@pytest.mark.parametrize("part", ["actor.1.bias", "critic.0.kernel"])
def test_a_learner_that_says_something_else_is_found_out(tmp_path, part):
    run = stirred("corridor", "rqe-mappo", **SMALL)

    def mistaken(state):
        right = learner.portable(state)
        return Portable(right.description, {**right.arrays, part: right.arrays[part] + np.float32(0.01)})

    learner = run.learner
    vars(run)["learner"] = learner._replace(portable=mistaken)
    with pytest.raises(AverseError, match="would answer otherwise than that of rqe-mappo, by"):
        export_policy(run, tmp_path / "p.npz")
    assert list(tmp_path.iterdir()) == []
