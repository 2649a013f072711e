"""Trials of one program: every trial is the one it says and what it is alone, whether one by one or side by side."""

import jax
import numpy as np
import pytest

from averse import environments, learners
from averse.training import compiled
from averse.training.compiled import CompiledGroup


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


SMALL = {"num_envs": 4, "rollout_steps": 16, "segment_length": 8, "minibatches": 2, "hidden": (8,)}


def same_leaves(tree, other, equal) -> None:
    for a, b in zip(jax.tree.leaves(jax.device_get(tree)), jax.tree.leaves(jax.device_get(other)), strict=True):
        equal(a, b)


@pytest.mark.parametrize(
    ("backend", "count", "cores"),
    [("cpu", 3, 2), ("gpu", 3, 2), slow("cpu", 1, 2), slow("cpu", 5, 4), slow("cpu", 2, 8)],
)
def test_trials_are_what_each_is_alone(backend, count, cores, monkeypatch):
    """To the last bit on a CPU, where all go through the program of one; on a GPU they are one program of their own."""
    monkeypatch.setattr(compiled.os, "cpu_count", lambda: cores)
    environment = environments.make("corridor")
    learner = learners.learner("ppo", environment, **SMALL)
    trials = [{"seed": 7 + k, "learning_rate": 1e-3 * (k + 1)} for k in range(count)]
    alone = CompiledGroup(environment, learner, trials[-1:])
    with monkeypatch.context() as patch:
        patch.setattr(compiled.jax, "default_backend", lambda: backend)
        group = CompiledGroup(environment, learner, trials)
    for each in (group, alone):
        each.start()
    metrics, records = group.advance(2)
    [own], [own_record] = alone.advance(2)
    assert len(metrics) == len(records) == count
    states = group.learner_states()
    np.testing.assert_allclose(states.learning_rate, [trial["learning_rate"] for trial in trials])
    last = jax.tree.map(lambda x: x[-1:], states.networks)
    if backend == "cpu":
        assert own == metrics[-1]
        same_leaves(last, alone.learner_states().networks, np.testing.assert_array_equal)
        same_leaves(records[-1], own_record, np.testing.assert_array_equal)
    else:
        assert own["value"] == pytest.approx(metrics[-1]["value"], abs=1e-3)
        same_leaves(last, alone.learner_states().networks, lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3))
    snapshot = jax.tree.map(lambda x: x.copy(), group.snapshot())  # `advance` takes the memory of what it begins with
    group.advance(2)
    after = jax.device_get(group.learner_states())
    group.restore(snapshot)
    group.advance(2)
    same_leaves(after.networks, group.learner_states().networks, np.testing.assert_array_equal)
