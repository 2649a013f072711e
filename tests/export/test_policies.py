"""Exported policies answer as the policies do, to 1e-5, whatever networks and decisions they have."""

import io

import pytest
from stirred import REPLAY, SMALL, stirred

from averse.export import PortablePolicy
from averse.export.comparison import exchanges, largest_difference
from averse.export.policy import _about, _numpy_files, _onnx_files
from averse.export.session import Session

ROWS, STEPS = 10_000, 4  # observations of an agent, in so many steps
FEWER = 1_000  # of what a case with all of them has in common with others
WHOLE = ("dense", "continuous", "sets", "recurrent", "values")
CASES = {
    "dense": ("risky-cartpole", "rqe-mappo", {**SMALL, "tau": 3.0}),
    "continuous": ("risky-cartpole", "mappo", {**SMALL, "environment_parameters": {"continuous": True}}),
    "sets": ("intersection", "c51-cvar-mappo", {**SMALL, "network": "sets", "set_units": 8}),
    "sets, one each": ("intersection", "mappo", {**SMALL, "network": "sets", "set_units": 8, "shared": False}),
    "recurrent": ("cliff-walk", "rqe-mappo", {**SMALL, "recurrent": True}),
    "rectified": ("cliff-walk", "c51-cvar-mappo", {**SMALL, "activation": "relu"}),
    "rectified and recurrent": (
        "cliff-walk", "rqe-mappo", {**SMALL, "hidden": (8, 8), "activation": "relu", "recurrent": True},
    ),
    "recurrent, one each": ("cliff-walk", "c51-cvar-mappo", {**SMALL, "recurrent": True, "shared": False}),
    "a critic per action": ("cliff-walk", "rqe-mappo", {**SMALL, "advantage": "action-value", "recurrent": True}),
    "quantiles": (
        "corridor", "rqe-mappo", {**SMALL, "critic": "quantile", "advantage": "influence", "measure": "cvar:0.3"},
    ),
    "mean and variance": (
        "corridor", "c51-cvar-mappo", {**SMALL, "measure": "mean-variance:0.1", "centralised": False},
    ),
    "trust region": ("microgrids", "mv-matrpo", {"num_envs": 4, "hidden": (8,)}),
    "average reward": ("microgrids", "mv-ippo", {"num_envs": 4, "hidden": (8,)}),
    "values": ("cliff-walk", "qmix", REPLAY),
    "values of atoms": ("cliff-walk", "c51", {**REPLAY, "measure": "cvar:0.2", "recurrent": True}),
    "values of quantiles": ("corridor", "qr-dqn", {**REPLAY, "measure": "entropic:2"}),
    "distorted values": ("cliff-walk", "riskq", REPLAY),
    "a held level": ("cliff-walk", "rmix", {**REPLAY, "fixed_alpha": 0.3}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_files_answer_as_the_policy(case, tmp_path):
    """On random observations, with masks that forbid a third, and sets that lack a third of their members."""
    environment, method, settings = CASES[case]
    run = stirred(environment, method, **settings)
    world, learner, state = run.environment, run.learner, run.state(0)
    portable, rows = learner.portable(state), ROWS if case in WHOLE else FEWER
    about = _about(run, 0, portable)
    assert (about["no_value"] == "") == (learner.predict_returns is not None)
    asked = exchanges(learner, state, world, moments=rows // STEPS // world.num_agents, steps=STEPS)
    arrays, _ = _numpy_files(tmp_path / "p.npz", about, portable.arrays).values()
    graphs = _onnx_files(tmp_path / "p.onnx", about, portable.arrays).values()
    for answers in (PortablePolicy(io.BytesIO(arrays), greedy=True), Session(*graphs)):
        found = largest_difference(answers, asked, world.action_space, valued=not about["no_value"])
        assert found < 1e-5
