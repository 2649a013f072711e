"""A critic's support is part of the run: it does not follow the environment's bounds when these are corrected later."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from tiers import first_quick

import averse
from averse import learners
from averse.cli import main
from averse.environments.risky_cartpole import RiskyCartPole
from averse.errors import AverseError
from averse.learners.support import with_support
from averse.training import configure
from averse.training.compiled import CompiledGroup
from averse.training.config import TrainingConfig

ACTOR_CRITIC = {"num_envs": 4, "rollout_steps": 16, "minibatches": 1, "epochs": 1, "hidden": (4,)}
VALUE_BASED = {
    "num_envs": 4, "rollout_steps": 16, "buffer_size": 32, "batch_size": 4, "gradient_steps": 1, "hidden": (4,),
}  # fmt: skip
FIXED = ["rqe-mappo", "c51", "mean-variance-mappo"]  # methods whose networks or losses know the bounds
UPDATES = 4


def settings_of(method: str) -> dict:
    return VALUE_BASED if isinstance(learners.preset(method), learners.ValueBasedConfig) else ACTOR_CRITIC


def equal(one, other) -> bool:
    def data(x):
        return jax.random.key_data(x) if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(data(a), data(b)) for a, b in leaves)


def train(method: str, path):
    steps = 4 * 16 * UPDATES
    return averse.train("risky-cartpole", method, steps, out=path, checkpoints=UPDATES, **settings_of(method))


def interrupted(method: str, path, monkeypatch) -> None:
    """A run that ended after half of its updates."""
    advance, calls = CompiledGroup.advance, []

    def stop_half_way(group, count):
        calls.append(count)
        if sum(calls) > UPDATES // 2:
            raise KeyboardInterrupt
        return advance(group, count)

    monkeypatch.setattr(CompiledGroup, "advance", stop_half_way)
    with pytest.raises(KeyboardInterrupt):
        train(method, path)
    monkeypatch.setattr(CompiledGroup, "advance", advance)


def leave_open(path) -> None:
    """Make of a run's configuration what an older version wrote."""
    content = json.loads((path / "config.json").read_text())
    content["learner"]["support"] = None
    (path / "config.json").write_text(json.dumps(content))


def correct_bounds(monkeypatch) -> None:
    monkeypatch.setattr(RiskyCartPole, "return_bounds", lambda self, gamma: (-1.0, 7.0))


@pytest.mark.parametrize(
    ("environment", "method", "given", "support"),
    [
        # Sums of gamma^t times the lowest and the highest reward of a step, by hand.
        ("risky-cartpole", "rqe-mappo", {}, (0, 100)),
        ("risky-cartpole", "rqe-mappo", {"gamma": 0.9}, (0, 10)),
        ("risky-cartpole", "mean-variance-mappo", {}, (0, 100)),
        ("risky-cartpole", "c51", {}, (0, 100)),
        ("car-following", "rqe-mappo", {}, (-800, 20)),
        ("car-following", "rqe-mappo", {"shaping": 7.0}, (-807, 20)),
        ("car-following", "c51", {"support": (-120, 20)}, (-120, 20)),
    ],
)
def test_it_is_written_down(environment, method, given, support):
    config = configure(environment, method, 64, **{**settings_of(method), **given})
    assert config.learner["support"] == pytest.approx(support)
    assert TrainingConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("method", ["mappo", "qr-dqn", "rmix", "mv-matrpo"])
def test_nothing_is_written_where_no_network_depends_on_it(method):
    world = "microgrids" if method == "mv-matrpo" else "risky-cartpole"
    assert configure(world, method, 1e4).learner.get("support") is None


@pytest.mark.parametrize("method", first_quick(FIXED))
def test_a_run_goes_on_with_its_own_support_whatever_the_bounds_are_by_then(tmp_path, monkeypatch, caplog, method):
    """Interrupted, with the environment corrected in between, it ends bit for bit as if neither had happened."""
    whole = train(method, tmp_path / "whole")
    interrupted(method, tmp_path / "half", monkeypatch)
    correct_bounds(monkeypatch)
    assert equal(averse.resume(tmp_path / "half").learner_states, whole.learner_states)
    assert averse.load(tmp_path / "half").config == whole.config
    assert "names no support" not in caplog.text
    assert with_support(learners.preset(method), RiskyCartPole()).support == (-1.0, 7.0)  # as a new run would have it


@pytest.mark.thorough
@pytest.mark.parametrize("method", FIXED)
def test_an_older_run_that_left_it_open_says_so_once_and_goes_on_bit_for_bit(tmp_path, monkeypatch, caplog, method):
    whole = train(method, tmp_path / "whole")
    interrupted(method, tmp_path / "half", monkeypatch)
    leave_open(tmp_path / "half")
    assert equal(averse.resume(tmp_path / "half").learner_states, whole.learner_states)
    [said] = [message for message in caplog.messages if "names no support" in message]
    assert str(tmp_path / "half") in said
    assert "0 to 100" in said
    assert "\n" not in said
    # What is said beside --resume is compared with what holds, and the file still tells that nobody wrote it down.
    averse.resume(tmp_path / "half", gamma=0.99, method=method)
    with pytest.raises(AverseError, match=r"the run has gamma 0\.99, not 0\.5"):
        averse.resume(tmp_path / "half", gamma=0.5)
    with pytest.raises(AverseError, match=r"the run has support \[0\.0, .*\], not \[0\.0, 50\.0\]"):
        averse.resume(tmp_path / "half", support=(0, 50))
    assert averse.load(tmp_path / "half").config.learner["support"] is None


@pytest.mark.thorough
def test_the_policy_of_an_older_run_is_evaluated_with_one_line(tmp_path, monkeypatch, caplog):
    train("rqe-mappo", tmp_path / "run")
    before = averse.evaluate(averse.load(tmp_path / "run"), episodes=4).episodes.agent_returns
    leave_open(tmp_path / "run")
    correct_bounds(monkeypatch)
    after = averse.evaluate(averse.load(tmp_path / "run"), episodes=4).episodes.agent_returns
    np.testing.assert_array_equal(before, after)
    caplog.clear()
    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "4", "--no-save"]) == 0
    assert sum("names no support" in message for message in caplog.messages) == 1


@pytest.mark.parametrize("method", first_quick(["mappo", "qr-dqn"]))
def test_an_older_run_whose_critic_has_none_is_loaded_without_a_word(tmp_path, monkeypatch, caplog, method):
    run = train(method, tmp_path / "run")
    correct_bounds(monkeypatch)
    assert averse.load(tmp_path / "run").config == run.config
    assert caplog.text == ""


@pytest.mark.thorough
def test_a_critic_of_other_atoms_begins_anew(tmp_path, monkeypatch, caplog):
    """A fine-tuned run whose environment has other bounds by now cannot take the critic over."""
    train("rqe-mappo", tmp_path / "run")
    again = {"fine_tune": tmp_path / "run", **ACTOR_CRITIC}
    averse.train("risky-cartpole", "rqe-mappo", 64, **again)
    assert "a new one begins" not in caplog.text
    correct_bounds(monkeypatch)
    averse.train("risky-cartpole", "rqe-mappo", 64, **again)
    assert "a new one begins" in caplog.text


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (3.0, -1.0), (-np.inf, 0.0), (0.0, np.nan), (0.0, 1e-40)])
@pytest.mark.parametrize("method", FIXED)
def test_bounds_that_can_be_no_support_are_one_line(monkeypatch, bounds, method):
    monkeypatch.setattr(RiskyCartPole, "return_bounds", lambda self, gamma: bounds)
    with pytest.raises(AverseError, match="the return bounds of risky-cartpole cannot be the critic's support") as told:
        configure("risky-cartpole", method, 64)
    assert "\n" not in str(told.value)
    assert configure("risky-cartpole", method, 64, support=(0, 1)).learner["support"] == (0.0, 1.0)


def test_a_run_in_another_environment_keeps_its_support(tmp_path, monkeypatch):
    run = train("rqe-mappo", tmp_path / "run")
    open_one = dataclasses.replace(
        run, config=dataclasses.replace(run.config, learner={**run.config.learner, "support": None})
    )
    correct_bounds(monkeypatch)
    assert run.moved_to("risky-cartpole").config.learner["support"] == pytest.approx((0, 100))
    assert open_one.moved_to("risky-cartpole").config.learner["support"] == (-1.0, 7.0)
