"""Evaluations as they lie in a run directory: `evaluation.json`, and the episodes beside it, read back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from averse.errors import AverseError
from averse.evaluation.basis import Basis
from averse.evaluation.calibration import Calibration
from averse.evaluation.episodes import Episodes
from averse.evaluation.evaluator import Evaluation
from averse.evaluation.long_run import LongRunEvaluation, LongRunSummary
from averse.evaluation.objective import TrainedObjective
from averse.evaluation.summary import Summary
from averse.files import as_path
from averse.settings import check_value

FIGURES = "evaluation"  # .json, of the world of training; "evaluation-WORLD.json" of others


def evaluation_files(run: Path) -> list[Path]:
    """The `evaluation*.json` of a run directory: that of the world of training first, then by name."""
    found = [path for path in run.glob(f"{FIGURES}*.json") if path.stem == FIGURES or path.stem[len(FIGURES)] == "-"]
    return sorted(found, key=lambda path: (path.stem != FIGURES, path.name))


def read_evaluation(path: str | Path) -> Evaluation | LongRunEvaluation:
    """An evaluation from its figures, `RUN/evaluation.json`, and the episodes beside them.

    What files do not hold is empty: PIT values, a long run's batches, and the episodes where their file is gone.

    Raises AverseError, which names the file, for one that is missing, damaged or no evaluation.
    """
    path = as_path("path", path)
    content = read_object(path)
    try:
        head = {name: check_value(name, str, content[name]) for name in ("environment", "method")}
        basis = Basis.from_dict(content)
        entries = content.get("settings", {"": content})
        if not isinstance(entries, dict) or not entries or not all(isinstance(e, dict) for e in entries.values()):
            raise AverseError(f"settings must be figures by setting, not {entries!r:.60}")
        if all("eta" in entry for entry in entries.values()):
            runs = {label: LongRunSummary.from_dict(entry) for label, entry in entries.items()}
            return LongRunEvaluation(**head, batches=(), summaries=runs, basis=basis)
        fields = {label: _parts(entry) for label, entry in entries.items()}
        summaries = {label: Summary.from_dict(entry) for label, entry in entries.items()}
    except KeyError as error:
        raise AverseError(f"{path} is no evaluation: {error.args[0]} is missing") from None
    except AverseError as error:
        raise AverseError(f"{path} is no evaluation: {error}") from None
    table = path.with_name(f"episodes{path.stem[len(FIGURES) :]}.parquet")
    return Evaluation(
        **head,
        episodes=Episodes.read_parquet(table) if table.is_file() else _none(),
        summaries=summaries,
        calibrations={label: found[0] for label, found in fields.items() if found[0] is not None},
        left_out={label: found[1] for label, found in fields.items() if found[1] is not None},
        basis=basis,
        objectives={label: found[2] for label, found in fields.items() if found[2] is not None},
    )


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises AverseError for a file that is missing, damaged, or holds no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AverseError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(content, dict):
        raise AverseError(f"{path} must hold a JSON object, not {content!r:.60}")
    return content


def _parts(entry: Mapping[str, Any]) -> tuple[Calibration | None, float | None, TrainedObjective | None]:
    """The calibration of a setting, the returns it left out, and the objective; None where there is none."""
    calibration, cut, objective = (entry.get(name) for name in ("calibration", "calibration_left_out", "objective"))
    return (
        None if calibration is None else Calibration.from_dict(calibration),
        check_value("calibration_left_out", float | None, cut),
        None if objective is None else TrainedObjective.from_dict(objective),
    )


def _none() -> Episodes:
    nothing = np.zeros(0, np.int64)
    return Episodes(nothing, nothing, np.zeros((0, 1)), nothing, np.zeros(0, bool))
