"""Learning curves of a study's runs, from what they told while they were trained.

Axes: S training seeds, P points of a curve.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from averse.errors import AverseError
from averse.experiments.arms import Arm
from averse.experiments.engine import Job


class Curve(NamedTuple):
    """How the return rose while an arm was trained."""

    steps: np.ndarray  # [P], environment steps of a seed
    seconds: np.ndarray  # [P], of the clock, for one seed: those of all that were trained together, over their number
    returns: np.ndarray  # [S, P], mean of the episodes that ended since the point before; NaN where none did


def learning_curve(job: Job, arm: Arm) -> Curve:
    """The curve of an arm, from the metrics.jsonl of its run.

    Raises AverseError where that file cannot be read, or lacks points of a seed.
    """
    path = job.path / "metrics.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        seeds = [_of_trial(rows, number) for number in job.trials(arm)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AverseError(f"{path} cannot be read ({error}): no learning curves without it") from None
    if len({len(steps) for steps, _, _ in seeds}) != 1 or not len(seeds[0][0]):
        raise AverseError(f"{path} lacks lines of a training seed: no learning curves without them")
    return Curve(seeds[0][0], np.mean([seconds for _, seconds, _ in seeds], 0), np.stack([r for _, _, r in seeds]))


def _of_trial(rows: Sequence[dict], number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, seconds and returns [P] of one trial."""
    own = [row for row in rows if row["trial"] == number]
    steps = np.array([row["steps"] for row in own], float)
    speed = np.array([float(row["steps_per_second"]) for row in own])
    returns = np.array([float(row.get("return", "nan")) for row in own])
    # The speed is that of all trials that advance together: a trial's steps over it are its share of the time.
    return steps, np.cumsum(np.diff(steps, prepend=0.0) / speed), returns
