"""Learning to manage microgrids: references, curves from a log, the study on a tiny budget, and the commands."""

import json

import numpy as np
import pytest
from rich.console import Console

from averse import AverseError
from averse.cli import main
from averse.experiments.microgrids.training_curves import (
    Budget,
    configurations,
    curve,
    references,
    trained,
    training_curves,
)


def test_references_are_the_published_levels():
    """Scenario 1: the optimum found by the scan over lambda; scenario 2: three times a microgrid on its own."""
    first, second = references(1, (0.3, 1.0)), references(2, (0.3, 1.0))
    assert first[0.3]["certified optimum"] == pytest.approx(-1.630651, abs=1e-5)
    assert first[1.0]["certified optimum"] == pytest.approx(-1.792943, abs=1e-5)
    assert first[1.0]["no management"] == pytest.approx(-1.515125 - 0.567577, abs=2e-6)
    for beta, idle, alone in ((0.3, -5.05619, -4.94341), (1.0, -6.24811, -5.50446)):
        assert second[beta] == pytest.approx({"no management": idle, "each alone": alone}, abs=1e-5)
        assert first[beta]["certified optimum"] > first[beta]["each alone"] > first[beta]["no management"]


def test_curves_come_from_the_moments_in_the_log(tmp_path):
    rng = np.random.default_rng(0)
    rows, wanted = [], np.empty((2, 3))
    for point in range(3):
        for run in (4, 1):
            rewards = rng.normal(run, 2.0, 1000)
            rows.append(
                {"trial": run, "steps": 10 * point, "batch_mean": rewards.mean(), "batch_square": (rewards**2).mean()}
            )
            wanted[int(run == 4), point] = rewards.mean() - 0.3 * rewards.var()
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps, objective = curve(tmp_path, [1, 4], 0.3)
    np.testing.assert_array_equal(steps, [0, 10, 20])
    np.testing.assert_allclose(objective, wanted, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_study_writes_its_figures_and_does_not_train_twice(tmp_path):
    compared = {0.3: {"certified optimum": -1.63}, 1.0: {"certified optimum": -1.79}}
    budget = Budget(steps=1280, seeds=2, evaluation_steps=2000, bound_updates=1, num_envs=8)
    settings = {"num_envs": 8, "rollout_steps": 16, "hidden": (8,)}
    found = training_curves(1, tmp_path, compared, budget=budget, settings=settings)
    for beta in compared:
        assert (tmp_path / f"training-curves-{beta:g}.png").stat().st_size > 10_000
        assert found[beta]["mv-matrpo"].objective.shape == (2, 10)
        final = found[beta]["matrpo"].final  # trained once, judged at both prices
        assert final.beta == beta
        for seed, exact in final.exact.items():
            assert exact.objective == pytest.approx(exact.eta - beta * exact.zeta, abs=1e-12)
            assert final.by_seed[seed].value == pytest.approx(exact.objective, abs=0.2)
    assert found[0.3]["matrpo"].final.eta == found[1.0]["matrpo"].final.eta
    assert found[0.3]["mv-matrpo"].final.eta != found[1.0]["mv-matrpo"].final.eta
    written = json.loads((tmp_path / "training-curves.json").read_text())
    assert set(written["betas"]["1"]["methods"]) == {"mv-matrpo", "mv-ippo", "matrpo"}
    assert "certified optimum" in (tmp_path / "training-curves.md").read_text()
    bounds = json.loads((tmp_path / "improvement-bounds.json").read_text())
    assert all(step["bound"] <= step["change"] for steps in bounds.values() for step in steps)
    log = (tmp_path / "mv-matrpo" / "metrics.jsonl").read_bytes()
    configs = configurations(1, list(compared), tmp_path, budget, settings)
    run = trained(configs["mv-matrpo"], tmp_path / "mv-matrpo", Console())
    assert run.finished
    assert (tmp_path / "mv-matrpo" / "metrics.jsonl").read_bytes() == log
    with pytest.raises(AverseError, match="other settings"):
        training_curves(1, tmp_path, compared, budget=Budget(2560, 2, 2000, 0, 8), settings=settings)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_commands_train_and_evaluate_a_sweep_over_beta(tmp_path, capsys):
    out = tmp_path / "run"
    command = "train --env microgrids --scenario 1 --method mv-matrpo --sweep beta=0.3,1 --steps 512 --seeds 2"
    assert main([*command.split(), "--num-envs", "8", "--rollout-steps", "16", "--out", str(out)]) == 0
    summary = capsys.readouterr().out
    assert "J = eta - beta zeta" in summary
    assert "random order" in summary
    assert main(["evaluate", str(out), "--steps", "2000", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    for beta in (0.3, 1.0):
        found = figures["settings"][f"beta={beta:g}"]
        assert found["beta"] == beta
        assert found["training_seeds"] == 2
        assert {row["training_seed"] for row in found["exact"]} == {0, 1}
    assert main(["evaluate", str(out), "--steps", "2000"]) == 0
    assert "exact J" in capsys.readouterr().out
    assert main(["evaluate", str(out), "--episodes", "10"]) == 2
    assert "never ends" in capsys.readouterr().err
