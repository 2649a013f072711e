"""Run directories as a report reads them: configuration, metrics, and every evaluation in them."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from averse.errors import AverseError
from averse.evaluation import Episodes, Evaluation, LongRunEvaluation
from averse.evaluation.episodes import label_of
from averse.evaluation.stored import evaluation_files, read_evaluation, read_object
from averse.training.config import TrainingConfig
from averse.training.metrics import read_metrics
from averse.training.run import read_config

KEYS = ("trial", "update", "steps", "seed")  # of a row of metrics.jsonl: whose it is, no figure


@dataclass(frozen=True)
class Curves:
    """The metrics of the trials of one setting, over training. Axes: S training seeds, P reports.

    NaN where a seed has no such report.
    """

    seeds: tuple[int, ...]
    steps: np.ndarray  # [P], environment steps
    seconds: np.ndarray  # [S, P], of training so far; NaN where not known
    figures: Mapping[str, np.ndarray]  # [S, P] each


@dataclass(frozen=True)
class TrainedRun:
    """A run directory, read."""

    name: str  # what the report calls it
    path: Path
    config: TrainingConfig
    metrics: Sequence[Mapping[str, float]]  # rows of metrics.jsonl
    evaluations: tuple[tuple[Path, Evaluation | LongRunEvaluation], ...]
    written_by: str = ""  # version of averse

    @cached_property
    def curves(self) -> dict[str, Curves]:
        """Metrics by swept setting, "tau=1"; one entry "" where nothing is swept."""
        seconds = seconds_of(self.metrics)
        trials: dict[str, dict[int, list[int]]] = {}
        for place, row in enumerate(self.metrics):
            label = label_of({name: row[name] for name in self.config.sweep})
            trials.setdefault(label, {}).setdefault(int(row["seed"]), []).append(place)
        known = {*KEYS, *self.config.sweep}
        return {label: _curves(self.metrics, seconds, by_seed, known) for label, by_seed in trials.items()}

    @property
    def last(self) -> list[Mapping[str, float]]:
        """The last row of metrics of each trial."""
        return list({row["trial"]: row for row in self.metrics}.values())

    @property
    def wall_seconds(self) -> float:
        """Seconds that the training took, as far as its metrics know; NaN without any."""
        first: dict[float, tuple[float, float]] = {}  # trials that tell the same at first advance together
        last: dict[tuple[float, float], float] = {}
        for row, seconds in zip(self.metrics, seconds_of(self.metrics)):
            group = first.setdefault(row["trial"], (row["update"], row.get("steps_per_second", math.nan)))
            last[group] = max(last.get(group, 0.0), seconds)
        return sum(last.values()) if last else math.nan


def read_run(path: Path, name: str = "") -> TrainedRun:
    """A run directory. What is not there yet, metrics or evaluations, is empty.

    Raises AverseError, which names the file, for one that is damaged.
    """
    config = read_config(path)
    try:
        config.total_updates  # noqa: B018  the method must be known
    except AverseError as error:
        raise AverseError(f"the run at {path} cannot be read: {error}") from None
    file = path / "metrics.jsonl"
    metrics = read_metrics(file) if file.is_file() else []
    for number, row in enumerate(metrics, 1):
        if missing := [key for key in (*KEYS, *config.sweep) if not math.isfinite(row.get(key, math.nan))]:
            raise AverseError(f"line {number} of {file} lacks {', '.join(missing)}; move it away to go on without it")
    evaluations = tuple((each, read_evaluation(each)) for each in evaluation_files(path))
    written_by = str(read_object(path / "config.json").get("averse", ""))
    return TrainedRun(name or path.resolve().name, path, config, metrics, evaluations, written_by)


def seconds_of(metrics: Sequence[Mapping[str, float]]) -> list[float]:
    """The seconds of training before each row of metrics, as its speeds tell; what came between chunks is left out.

    A speed is that of all trials that advance together, which are those that tell the same one after the same update.
    NaN where a row tells none.
    """
    together: dict[tuple[float, float], int] = {}
    for row in metrics:
        key = (row["update"], row.get("steps_per_second", math.nan))
        together[key] = together.get(key, 0) + 1
    before: dict[float, tuple[float, float]] = {}
    found = []
    for row in metrics:
        steps, seconds = before.get(row["trial"], (0.0, 0.0))
        speed = row.get("steps_per_second", math.nan)
        members = together[row["update"], speed]
        seconds += (row["steps"] - steps) * members / speed if speed > 0 else math.nan
        before[row["trial"]] = row["steps"], seconds
        found.append(seconds)
    return found


def _curves(
    metrics: Sequence[Mapping[str, float]],
    seconds: Sequence[float],
    by_seed: Mapping[int, Sequence[int]],
    known: Set[str],
) -> Curves:
    """The rows of some trials, told by their places, on common steps; what is `known` is no figure."""
    steps = np.unique([metrics[place]["steps"] for places in by_seed.values() for place in places])
    names = dict.fromkeys(name for places in by_seed.values() for place in places for name in metrics[place])
    figures = {name: np.full((len(by_seed), steps.size), np.nan) for name in names if name not in known}
    clock = np.full((len(by_seed), steps.size), np.nan)
    for number, places in enumerate(by_seed.values()):
        for place in places:
            column = int(np.searchsorted(steps, metrics[place]["steps"]))
            clock[number, column] = seconds[place]
            for name, values in figures.items():
                values[number, column] = metrics[place].get(name, np.nan)
    return Curves(tuple(by_seed), steps, clock, figures)


def by_settings(table: Episodes) -> list[tuple[dict[str, Any], Episodes]]:
    """The episodes of each combination of settings that a table has, in the order in which they appear in it."""
    codes = np.zeros(len(table), np.int64)
    for column in table.settings.values():
        _, own = np.unique(column, return_inverse=True)
        _, codes = np.unique(codes * (own.max(initial=0) + 1) + own, return_inverse=True)
    _, firsts = np.unique(codes, return_index=True)
    return [
        ({name: column[first] for name, column in table.settings.items()}, table.select(codes == codes[first]))
        for first in sorted(firsts)
    ]


def episodes_by_setting(evaluation: Evaluation) -> dict[str, Episodes]:
    """The completed episodes of each setting that has any."""
    found = {label_of(settings): table for settings, table in by_settings(evaluation.episodes.completed())}
    return {label: found[label] for label in evaluation.summaries if label in found}
