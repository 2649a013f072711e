"""Runs are the same wherever they are trained and read: on any device, with JAX_ENABLE_X64 and with JAX_DEBUG_NANS."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from tiers import first_rows_quick

import averse

UPDATE = 2 * 8
PART = {"num_envs": 2, "rollout_steps": 8, "hidden": (4,)}
ON_POLICY = {**PART, "segment_length": 8, "minibatches": 1, "epochs": 1}
REPLAY = {**PART, "batch_size": 2, "gradient_steps": 1, "buffer_size": 4, "num_atoms": 4}
AVERAGE = {**PART, "minibatches": 1, "epochs": 1}
FAMILIES = [
    ("corridor", "rqe-mappo", {**ON_POLICY, "num_atoms": 5}),
    ("corridor", "qmix", {**REPLAY, "hypernet": 4, "mixer_embedding": 4}),
    ("microgrids", "mv-ippo", AVERAGE),
]
MORE = [
    ("intersection", "ppo", ON_POLICY),
    ("car-following", "mappo", {**ON_POLICY, "recurrent": True}),
    ("corridor", "mean-variance-mappo", ON_POLICY),
    ("corridor", "c51-cvar-mappo", {**ON_POLICY, "critic": "quantile", "num_atoms": 4}),
    ("cliff-walk", "rqe-mappo", {**ON_POLICY, "num_atoms": 5, "advantage": "action-value"}),
    ("car-following", "rmix", {**REPLAY, "hypernet": 4, "mixer_embedding": 4, "risk_levels": 2}),
    ("car-following", "c51", REPLAY),
    ("car-following", "riskq", {**REPLAY, "hypernet": 4, "mixer_embedding": 4}),
    ("microgrids", "mv-matrpo", {**AVERAGE, "cg_iterations": 2, "backtracks": 2, "fisher_stride": 1}),
]
MARKED = [*first_rows_quick(FAMILIES), *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)]

ON_THE_SECOND_OF_TWO_DEVICES = """
import sys
import jax
import averse
assert jax.config.jax_enable_x64 and jax.config.jax_debug_nans and len(jax.devices()) == 2
jax.config.update("jax_disable_most_optimizations", True)
there, ours = sys.argv[1:]
with jax.default_device(jax.devices()[1]):
    run = averse.train("corridor", "dqn", steps=2 * 16, out=ours, num_envs=2, rollout_steps=8, batch_size=2,
                       gradient_steps=1, buffer_size=4, hidden=(4,))
    assert {device for x in jax.tree.leaves(run.learner_states) for device in x.devices()} == {jax.devices()[1]}
    read = averse.load(there)
    assert {device for x in jax.tree.leaves(read.learner_states) for device in x.devices()} == {jax.devices()[1]}
    assert averse.resume(there, 3 * 16).updates == (3,)
"""


# With JAX_DEBUG_NANS programs keep their arguments, and XLA's code generator that tests use may add in another order.
ROUNDING = 1e-6


def differing(one, other) -> list[str]:
    """Where two trees of arrays are not of the same types, and the same but for rounding."""

    def data(x):
        return jax.random.key_data(x) if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    pairs = zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True)
    return [
        jax.tree_util.keystr(path)
        for (path, a), b in pairs
        if a.dtype != b.dtype or not np.allclose(data(a), data(b), rtol=ROUNDING, atol=ROUNDING, equal_nan=True)
    ]


@pytest.mark.parametrize(("environment", "method", "settings"), MARKED)
@pytest.mark.thorough
def test_debugging_flags_of_jax_change_nothing(environment, method, settings):
    plain = averse.train(environment, method, steps=2 * UPDATE, **settings)
    with jax.enable_x64(True), jax.debug_nans(True):
        flagged = averse.train(environment, method, steps=2 * UPDATE, **settings)
        policy = flagged.policy()
        space = flagged.environment
        actions = policy(np.ones((space.num_agents, space.observation_size)))
    assert actions.dtype in (np.int32, np.float32)
    assert differing(plain.learner_states, flagged.learner_states) == []


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_run_of_one_device_is_read_on_another(tmp_path):
    """And so is one that was trained under other flags; either is the same run."""
    settings = {name: value for name, value in REPLAY.items() if name != "num_atoms"}
    here = averse.train("corridor", "dqn", steps=2 * UPDATE, out=tmp_path / "here", **settings)
    environment = {
        **os.environ,
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2",
        "JAX_ENABLE_X64": "1",
        "JAX_DEBUG_NANS": "1",
    }
    command = [sys.executable, "-c", ON_THE_SECOND_OF_TWO_DEVICES, str(tmp_path / "here"), str(tmp_path / "there")]
    subprocess.run(command, check=True, env=environment)
    there = averse.load(tmp_path / "there")
    assert there.updates == (2,)
    assert differing(here.learner_states, there.learner_states) == []
    assert averse.load(tmp_path / "here").updates == (3,)
