"""Exported policies answer as the policies do, to 1e-5, whatever networks and decisions they have."""


import pytest
from stirred import REPLAY, SMALL, stirred

from averse.export import PortablePolicy, export_policy
from averse.export.comparison import largest_difference
from averse.export.session import Session

ROWS = 10_000
CASES = {
    "dense": ("risky-cartpole", "rqe-mappo", {**SMALL, "tau": 3.0}),
    "sets": ("intersection", "c51-cvar-mappo", {**SMALL, "network": "sets", "set_units": 8}),
    "recurrent": ("cliff-walk", "rqe-mappo", {**SMALL, "recurrent": True}),
    "recurrent, one each": ("cliff-walk", "c51-cvar-mappo", {**SMALL, "recurrent": True, "shared": False}),
    "sets, one each": ("intersection", "mappo", {**SMALL, "network": "sets", "set_units": 8, "shared": False}),
    "a critic per action": ("cliff-walk", "rqe-mappo", {**SMALL, "advantage": "action-value", "recurrent": True}),
    "quantiles": (
        "corridor", "rqe-mappo", {**SMALL, "critic": "quantile", "advantage": "influence", "measure": "wang:0.75"},
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


@pytest.fixture(scope="module", params=CASES)
def run(request):
    environment, method, settings = CASES[request.param]
    return stirred(environment, method, **settings)


def test_files_answer_as_the_policy(run, tmp_path):
    """In memory here, each as its files would: through `averse_policy.py` and through onnxruntime."""
    steps = 4
    moments = ROWS // steps // run.environment.num_agents
    arrays = export_policy(run, tmp_path / "p.npz")
    graph = export_policy(run, tmp_path / "p.onnx", format="onnx")
    valued = not arrays.about["no_value"]
    assert valued == (run.learner.predict_returns is not None)
    for answers in (
        PortablePolicy(tmp_path / "p.npz", greedy=True),
        Session(*(file.read_bytes() for file in graph.files)),
    ):
        found = largest_difference(
            answers, run.learner, run.state(0), run.environment, valued=valued, moments=moments, steps=steps, seed=1
        )
        assert found < 1e-5
