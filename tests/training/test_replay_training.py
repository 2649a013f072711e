"""Replay learners in the training loop: exact resume with the buffer in the checkpoint, seeds, divergence."""

import jax
import numpy as np
import pytest

import averse
from averse import DivergenceError
from averse.environments import is_compiled
from averse.training import configure, describe, resume
from averse.training.compiled import CompiledGroup
from averse.training.host import HostGroup

SMALL = {
    "num_envs": 2, "rollout_steps": 16, "batch_size": 4, "gradient_steps": 2, "buffer_size": 20, "hidden": (16,),
    "num_atoms": 8, "hypernet": 16, "mixer_embedding": 8,
}  # fmt: skip


def differing(one, other) -> list[str]:
    """Where two trees of arrays are not the same, bit for bit."""

    def data(x):
        return jax.random.key_data(x) if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    pairs = zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True)
    return [jax.tree_util.keystr(path) for (path, a), b in pairs if not np.array_equal(data(a), data(b))]


@pytest.mark.thorough
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("environment", "method"),
    [
        ("corridor", "qmix"),
        pytest.param("car-following", "riskq", marks=pytest.mark.slow),
        pytest.param("sumo-intersection", "qmix", marks=pytest.mark.slow),
        pytest.param("sumo-intersection", "rmix", marks=pytest.mark.slow),
    ],
)
def test_resume_is_bit_exact_buffer_included(tmp_path, monkeypatch, environment, method):
    """Stopped between checkpoints and resumed, a run ends with the parameters, optimiser, keys and replay buffer of one
    that never stopped; in SUMO too, where episodes begin afresh at every checkpoint of either run."""
    compiled = is_compiled(averse.make(environment))
    arguments = {"steps": 32 * 12, "checkpoints": 4, "seeds": 2 if compiled else 1, **SMALL}
    whole = averse.train(environment, method, out=tmp_path / "whole", **arguments)
    assert int(whole.state(0).gradient_steps) == 24

    group = CompiledGroup if compiled else HostGroup
    advance, calls = group.advance, []

    def interrupted(self, count):
        calls.append(count)
        if sum(calls) > 7:
            raise KeyboardInterrupt
        return advance(self, count)

    monkeypatch.setattr(group, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        averse.train(environment, method, out=tmp_path / "killed", **arguments)
    monkeypatch.setattr(group, "advance", advance)
    finished = resume(tmp_path / "killed")
    assert differing(finished.learner_states, whole.learner_states) == []
    assert differing(averse.load(tmp_path / "killed").learner_states, whole.learner_states) == []
    evaluation = averse.evaluate(finished, episodes=4)
    assert np.isfinite(evaluation.episodes.agent_returns).all()


@pytest.mark.slow
def test_one_program_for_all_seeds_is_each_seed_by_itself():
    settings = {**SMALL, "num_envs": 4, "steps": 4 * 16 * 4}
    together = averse.train("car-following", "qmix", seeds=3, **settings)
    alone = averse.train("car-following", "qmix", seeds=[2], **settings)
    for a, b in zip(jax.tree.leaves(together.state(2).params), jax.tree.leaves(alone.state(0).params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
    np.testing.assert_array_equal(together.state(2).replay.experience.actions, alone.state(0).replay.experience.actions)


@pytest.mark.slow
def test_divergence_stops_the_run():
    with pytest.raises(DivergenceError, match="diverged by update"):
        averse.train("corridor", "qmix", steps=32 * 200, learning_rate=1e30, **SMALL)


@pytest.mark.slow
def test_evaluation_is_greedy():
    """Epsilon is for training: evaluated, and as a function, the policy is the same with and without --greedy."""
    run = averse.train("car-following", "vdn", steps=32, **SMALL)
    one, other = (averse.evaluate(run, episodes=3, greedy=greedy) for greedy in (True, False))
    np.testing.assert_array_equal(one.episodes.agent_returns, other.episodes.agent_returns)
    policy = run.policy()
    actions = []
    for _ in range(5):
        policy.reset()
        actions.append(policy(np.ones((2, 5), np.float32)))
    assert all(np.array_equal(a, actions[0]) for a in actions)


def test_the_summary_tells_the_memory():
    text = describe(configure("car-following", "riskq", steps=1e4, seeds=2, buffer_size=1000))
    per_sequence = 51 * 2 * 5 * 4 + 51 * 4 * 4 + 51 * 2 * 21 + 50 * (2 + 2 * 4 + 2 + 1 + 2 + 1) + 2 * 64 * 4
    assert f"{1000 * per_sequence * 2 / 1e6:.1f} MB" in text
    assert "wang:0.75" in text
