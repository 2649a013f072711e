"""Training and evaluation in worker processes: exact resume, figures, episodes that depend on their seed alone."""

import jax
import numpy as np
import pytest
from stirred import stirred

import averse
from averse.evaluation.host_play import learned, play_host
from averse.training import resume
from averse.training.host import HostGroup

SMALL = {"num_envs": 2, "rollout_steps": 16, "segment_length": 8, "minibatches": 2, "hidden": (16,)}


def same(one, other) -> bool:
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


@pytest.mark.thorough
@pytest.mark.timeout(240)
def test_interrupt_resume_and_evaluate(tmp_path, monkeypatch):
    """A run interrupted between checkpoints ends like one that was not; its evaluation reports every figure."""
    arguments = {"steps": 32 * 12, "checkpoints": 4, **SMALL}
    whole = averse.train("sumo-intersection", "rqe-mappo", out=tmp_path / "whole", **arguments)

    advance, calls = HostGroup.advance, []

    def interrupted(group, count):
        calls.append(count)
        if sum(calls) > 7:
            raise KeyboardInterrupt
        return advance(group, count)

    monkeypatch.setattr(HostGroup, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        averse.train("sumo-intersection", "rqe-mappo", out=tmp_path / "killed", **arguments)
    monkeypatch.setattr(HostGroup, "advance", advance)
    finished = resume(tmp_path / "killed")
    assert same(finished.learner_states.networks["actor"], whole.learner_states.networks["actor"])
    assert same(finished.learner_states.networks["critic"], whole.learner_states.networks["critic"])

    evaluation = averse.evaluate(finished, episodes=6)
    figures = evaluation.to_dict()
    assert 0.0 <= figures["collision_rate"]["value"] <= 1.0
    assert {"arrival", "crossing_time", "near_miss", "worker_failed"} <= set(figures["metrics"])
    assert figures["failed_episodes"] == 0
    assert figures["calibration"]["states"] > 0


@pytest.mark.timeout(240)
def test_episodes_do_not_depend_on_the_number_of_workers():
    """The same policy and seeds give the same episodes, in whatever company they are played."""
    run = stirred("sumo-intersection", "mappo", network="dense", **SMALL)
    actor = learned(run.learner, greedy=False)(run.state(0))
    seeds = np.arange(7)
    played = []
    for num_envs in (1, 3):
        with run.environment.vector(num_envs) as vector:
            played.append(play_host(vector, actor, seeds, horizon=run.environment.horizon, gamma=0.99))
    one, other = played
    np.testing.assert_array_equal(one.seeds, seeds)
    np.testing.assert_array_equal(one.length, other.length)
    np.testing.assert_array_equal(one.returns, other.returns)
    np.testing.assert_array_equal(one.probe.discounted_return, other.probe.discounted_return)
