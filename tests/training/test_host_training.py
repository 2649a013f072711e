"""Training and evaluation in worker processes: exact resume, figures, episodes that depend on their seed alone."""

import jax
import numpy as np
import pytest
from stirred import stirred

import averse
from averse.compilation import hasty_compilation
from averse.evaluation.host_play import learned, play_host
from averse.training import resume
from averse.training.host import HostGroup
from averse.training.host_rollouts import StepwiseRollouts

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


@pytest.mark.thorough
@pytest.mark.timeout(240)
def test_in_haste_a_simulator_is_stepped_from_python():
    """The same figures as in one program with what states its answers; trials of a run share their programs."""
    world = averse.make("sumo-intersection")
    learner = averse.learner("mappo", world, **{**SMALL, "hidden": (8,), "epochs": 1})
    told, played, state = [], [], None
    with world.vector(2) as vector:
        for hasty in (False, True):
            with hasty_compilation(hasty):
                groups = [HostGroup(world, learner, [{"seed": seed}], vector) for seed in (5, 5)]
                assert groups[0]._update is groups[1]._update
                groups[0].start()
                told.append(groups[0].advance(1))
                state = groups[0].state if state is None else state
                actor = learned(learner, greedy=False)(state)
                played.append(play_host(vector, actor, np.arange(3), horizon=world.horizon, gamma=0.99))
    assert isinstance(groups[0]._rollouts, StepwiseRollouts)
    (one, _), (other, _) = told
    assert one[0] == pytest.approx(other[0], rel=1e-3, abs=1e-4)
    for a, b in zip(jax.tree.leaves(played[0]), jax.tree.leaves(played[1]), strict=True):
        np.testing.assert_allclose(np.float64(a), np.float64(b), rtol=1e-4, atol=1e-4)
