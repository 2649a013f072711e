"""What a run tells while it trains: metrics.jsonl, and what else is to have it."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from averse.errors import AverseError
from averse.files import write_text
from averse.statistics import worst
from averse.training.tracking import Sink
from averse.training.trainee import EpisodeRecord

TAIL = 0.05


def episode_figures(record: EpisodeRecord) -> dict[str, float]:
    """Means over the episodes that ended (NaN where none did), and the worst-5 % return where at least 20 ended.

    Episodes count by their importance weights, if they have any.
    """
    ended = ~np.isnan(record.returns)
    returns = record.returns[ended].astype(np.float64)
    figures = {"episodes": float(ended.sum())}
    if not ended.any():
        return figures
    weights = np.ones_like(record.returns) if record.weights is None else record.weights

    def mean(values: np.ndarray, which: np.ndarray) -> float:
        return float(np.average(values[which], weights=weights[which]))

    figures |= {"return": mean(record.returns.astype(np.float64), ended), "length": mean(record.lengths, ended)}
    if len(returns) * TAIL >= 1.0:
        figures["cvar_05"] = float(worst(TAIL).weighted(returns, weights[ended][None])[0])
    for name, values in record.info.items():
        defined = ended & ~np.isnan(values)
        if defined.any():
            figures[name] = mean(values, defined)
    return figures


def kept_lines(path: Path, until: dict[int, int] | None = None) -> Iterator[str]:
    """The lines of a metrics file, all or up to some update of each trial.

    Raises AverseError for what is no such file. Its last line may be cut short, as by a kill.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AverseError(f"{path} cannot be read ({error}); move it away to go on without it") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            update, trial = int(row["update"]), int(row["trial"])
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            if number == len(lines):
                continue
            raise AverseError(f"line {number} of {path} is damaged; move the file away to go on without it") from error
        if until is None or update <= until.get(trial, 0):
            yield line + "\n"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file, in order; what is not finite is a float again, and a last line cut short is left out.

    Raises AverseError for what is no such file.
    """
    rows = [json.loads(line) for line in kept_lines(path)]
    try:
        return [{name: float(value) for name, value in row.items()} for row in rows]
    except (TypeError, ValueError, AttributeError) as error:
        raise AverseError(f"{path} holds what is no number ({error}); move it away to go on without it") from error


class MetricsLog:
    """One JSON object per line: trial, update, steps, its seed and swept settings, learner metrics, episode figures."""

    def __init__(self, path: Path, keep_until: dict[int, int] | None = None, sinks: Sequence[Sink] = ()):
        """`keep_until`: of a resumed run, the updates at each trial's checkpoint; later lines are dropped.

        `sinks` are handed the same. Raises AverseError for what is no such file.
        """
        self.path = path
        if keep_until is not None and path.exists():
            write_text(path, "".join(kept_lines(path, keep_until)))
        self._file = path.open("a")
        self._sinks = sinks

    def write(self, trial: int, settings: dict[str, float], update: int, steps: int, figures: dict[str, float]) -> None:
        row = {"trial": trial, "update": update, "steps": steps, **settings, **figures}
        finite = {name: value if math.isfinite(value) else str(value) for name, value in row.items()}
        self._file.write(json.dumps(finite) + "\n")
        self._file.flush()
        for sink in self._sinks:
            sink.write(trial, settings, steps, figures)

    def close(self) -> None:
        self._file.close()
        for sink in self._sinks:
            sink.close()
