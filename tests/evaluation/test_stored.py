"""What an evaluation writes comes back as it was, and what is damaged is told in one line."""

import json
import math

import numpy as np
import pytest

from averse import AverseError
from averse.evaluation import (
    Basis,
    Batches,
    Calibration,
    LongRunSummary,
    TrainedObjective,
    calibrate_categorical,
    read_evaluation,
    summarise_long_run,
)
from averse.evaluation.stored import evaluation_files
from averse.planning import MeanVarianceValue
from averse.statistics import Estimate


def basis(unit="episodes", **changes):
    fields = {"greedy": True, "first_seed": 7, "updates": (3, 5), "total_updates": 5, "shift": {"human_rate": 0.4}}
    return Basis(100, unit, **{**fields, **changes})


def calibration():
    generator = np.random.default_rng(0)
    return calibrate_categorical(np.arange(5.0), generator.dirichlet(np.ones(5), 200), generator.uniform(-1, 5, 200))


def long_run():
    generator = np.random.default_rng(1)
    exact = MeanVarianceValue(1.0, 0.5, 0.75)
    policies = [
        Batches(seed, {}, 0.5, 10, mean := generator.normal(size=(4, 20)), mean**2 + 1, {"cost": np.ones(4)}, exact)
        for seed in range(3)
    ]
    return summarise_long_run(policies)


OBJECTIVE = TrainedObjective(Estimate(1.0, 0.5, 1.5), "entropic:3", "team", 0.99, 0.25, 0.5)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Basis, basis()),
        (Basis, basis("steps", shift={})),
        (Calibration, calibration()),
        (TrainedObjective, OBJECTIVE),
        (TrainedObjective, TrainedObjective(Estimate(math.nan), "expectation", "agent", 1.0, 0.0, 0.0)),
        (LongRunSummary, long_run()),
    ],
    ids=["basis", "steps", "calibration", "objective", "undefined", "long run"],
)
def test_round_trips(kind, value):
    written = json.loads(json.dumps(value.to_dict()))
    found = kind.from_dict(written)
    assert found.to_dict() == value.to_dict()
    assert str(found) == str(value) or kind is LongRunSummary
    for missing in written:
        if kind is Basis and missing in ("finished", "episodes_per_policy", "steps_per_policy"):
            continue
        if missing in ("value", "low", "high", "training_seeds", "confidence", "warning"):
            continue
        with pytest.raises(AverseError, match=missing):
            kind.from_dict({name: each for name, each in written.items() if name != missing})


def test_older_files_tell_no_basis():
    assert Basis.from_dict({"environment": "corridor"}) is None


def test_words_are_those_of_before():
    assert "; the time limit cut 25% of the returns, with 0.5 of the discount left" in str(OBJECTIVE)
    assert OBJECTIVE.warning.startswith("the time limit cut 25%")
    assert basis().warning == "Warning: the run is unfinished: its policies are those after 3 to 5 of 5 updates."


def test_a_long_run_from_its_file(tmp_path):
    file = tmp_path / "evaluation.json"
    head = {"environment": "microgrids", "method": "mv-matrpo", **basis("steps").to_dict()}
    content = {**head, "settings": {"beta=0.5": long_run().to_dict()}}
    file.write_text(json.dumps(content))
    found = read_evaluation(file)
    assert json.loads(json.dumps(found.to_dict())) == json.loads(json.dumps(content))
    assert found.summaries["beta=0.5"].objective == long_run().objective
    assert found.batches == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "must hold a JSON object"),
        ("{}", "environment is missing"),
        ('{"environment": 1, "method": "x"}', "environment must be"),
        ('{"environment": "x", "method": "x", "settings": {}}', "settings must be figures by setting"),
        ('{"environment": "x", "method": "x", "settings": [1]}', "settings must be figures by setting"),
        ('{"environment": "x", "method": "x"}', "collision_rate"),
        ('{"environment": "x", "method": "x", "episodes_per_policy": 0}', "amount"),
    ],
)
def test_damaged(text, words, tmp_path):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(AverseError, match=words) as caught:
        read_evaluation(tmp_path / "evaluation.json")
    assert "evaluation.json" in str(caught.value)


def test_files_of_a_run(tmp_path):
    for name in ("evaluation-b.json", "evaluation.json", "evaluation-a.json", "evaluations.json", "evaluation.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in evaluation_files(tmp_path)] == [
        "evaluation.json", "evaluation-a.json", "evaluation-b.json",
    ]  # fmt: skip
