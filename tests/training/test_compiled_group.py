"""Runs dealt out to threads: every run is the run it says, whether or not they come out even."""

import jax
import numpy as np
import pytest

from averse import environments, learners
from averse.training import compiled
from averse.training.compiled import CompiledGroup

SMALL = {"num_envs": 4, "rollout_steps": 16, "segment_length": 8, "minibatches": 2, "hidden": (8,)}


@pytest.mark.slow
@pytest.mark.parametrize(("count", "cores"), [(1, 2), (2, 2), (3, 2), (5, 2), (5, 4), (2, 8)])
def test_runs_come_back_in_order_and_are_the_same_however_they_are_dealt_out(count, cores, monkeypatch):
    monkeypatch.setattr(compiled.os, "cpu_count", lambda: cores)
    environment = environments.make("corridor")
    learner = learners.learner("ppo", environment, **SMALL)
    runs = [{"seed": 7 + k, "learning_rate": 1e-3 * (k + 1)} for k in range(count)]
    group = CompiledGroup(environment, learner, runs)
    group.start()
    metrics, records = group.advance(2)
    states = group.learner_states()
    actor, rates = jax.device_get(
        (states.networks["actor"], states.learning_rate)
    )  # before `advance` takes the memory back
    assert len(metrics) == len(records) == count
    np.testing.assert_allclose(rates, [run["learning_rate"] for run in runs])
    snapshot = jax.tree.map(lambda x: x.copy(), group.snapshot())
    group.advance(1)
    after = jax.device_get(group.learner_states().networks["actor"])
    group.restore(snapshot)
    group.advance(1)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(group.learner_states().networks["actor"])):
        np.testing.assert_array_equal(a, b)
    for k in {0, count - 1}:
        alone = CompiledGroup(environment, learner, [runs[k]])
        alone.start()
        own, _ = alone.advance(2)
        assert own[0]["value"] == pytest.approx(metrics[k]["value"], abs=1e-3)
        for a, b in zip(jax.tree.leaves(alone.learner_states().networks["actor"]), jax.tree.leaves(actor)):
            np.testing.assert_allclose(a[0], b[k], atol=1e-3)
