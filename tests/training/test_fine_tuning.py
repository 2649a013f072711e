"""Training that begins with the networks of an earlier run."""

import jax
import numpy as np
import pytest

import averse
from averse.errors import AverseError
from averse.training import configure, run_training
from averse.training.run import load

SMALL = {"num_envs": 4, "rollout_steps": 16, "minibatches": 1, "epochs": 1, "hidden": (8,)}
STEPS = 2 * 4 * 16


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "trained"
    averse.train("risky-cartpole", "mappo", steps=STEPS, seeds=2, out=path, **SMALL)
    return path


def begin(path, method="mappo", seeds=2, **settings):
    """The networks after one update with a step size of nothing, so as they began."""
    settings = {**SMALL, "learning_rate": 1e-30, **settings}
    config = configure("risky-cartpole", method, STEPS // 2, seeds, fine_tune=path, **settings)
    return run_training(config, None)


def same(one, other) -> bool:
    return all(np.allclose(a, b, atol=1e-6) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_each_run_begins_with_its_policy_and_fresh_optimisers(trained):
    source, run = load(trained), begin(trained)
    for index in range(2):
        assert same(run.state(index).networks["actor"], source.state(index).networks["actor"])
        assert same(run.state(index).networks["critic"], source.state(index).networks["critic"])
    assert not same(run.state(0).networks["actor"], run.state(1).networks["actor"])
    assert run.updates == (1, 1)


@pytest.mark.thorough
def test_a_critic_of_another_kind_begins_anew(trained):
    run = begin(trained, "rqe-mappo", tau=3.0)
    assert same(run.state(1).networks["actor"], load(trained).state(1).networks["actor"])


def test_a_critic_in_other_units_begins_anew(trained, caplog):
    run = begin(trained, value_scale=5.0)
    assert "a new one begins" in caplog.text
    assert same(run.state(1).networks["actor"], load(trained).state(1).networks["actor"])
    assert not same(run.state(1).networks["critic"], load(trained).state(1).networks["critic"])


def test_what_does_not_fit_is_one_clear_line(trained):
    with pytest.raises(AverseError, match="another network"):
        begin(trained, hidden=(16,))
    with pytest.raises(AverseError, match=r"another network.* --hidden and --activation"):
        begin(trained, activation="relu")
    with pytest.raises(AverseError, match="too few for 3 trials"):
        begin(trained, seeds=3)
    with pytest.raises(AverseError, match="no run at"):
        begin(trained / "nowhere")


@pytest.mark.thorough
def test_it_resumes_and_remembers_where_it_began(trained, tmp_path):
    config = configure("risky-cartpole", "mappo", STEPS, 2, fine_tune=trained, **SMALL)
    whole = run_training(config, tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "config.json").write_text(config.to_json())  # killed before its first checkpoint
    resumed = averse.resume(tmp_path / "killed")
    assert same(resumed.learner_states.networks["actor"], whole.learner_states.networks["actor"])
