"""What a run tells while it trains: metrics.jsonl, TensorBoard as an option, and a progress bar."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from averse.errors import AverseError
from averse.evaluation.statistics import cvar
from averse.files import write_text
from averse.training.compiled import EpisodeRecord

TAIL = 0.05


def episode_figures(record: EpisodeRecord) -> dict[str, float]:
    """Means over the episodes that ended (NaN where none did), and the worst-5 % return where at least 20 ended."""
    ended = ~np.isnan(record.returns)
    returns = record.returns[ended].astype(np.float64)
    figures = {"episodes": float(ended.sum())}
    if not ended.any():
        return figures
    figures |= {"return": float(returns.mean()), "length": float(record.lengths[ended].mean())}
    if len(returns) * TAIL >= 1.0:
        figures["cvar_05"] = cvar(returns, TAIL)
    for name, values in record.info.items():
        defined = values[ended & ~np.isnan(values)]
        if defined.size:
            figures[name] = float(defined.mean())
    return figures


def require_tensorboard(wanted: bool) -> None:
    """Raises AverseError if TensorBoard files are wanted and the package for them is not installed."""
    if wanted and importlib.util.find_spec("tensorboardX") is None:
        raise AverseError("TensorBoard output needs tensorboardX: pip install 'averse[tensorboard]'")


class MetricsLog:
    """One JSON object per line: update, steps, the run's seed and swept settings, learner metrics, episode figures."""

    def __init__(self, path: Path, keep_until: dict[str, int] | None = None, tensorboard: bool = False):
        """`keep_until`: of a resumed run, the updates at each group's checkpoint; later lines are dropped."""
        self.path = path
        kept = []
        if keep_until is not None and path.exists():
            for line in path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:  # the line that the kill cut short
                    continue
                if row["update"] <= keep_until.get(str(row["run"]), 0):
                    kept.append(line + "\n")
            write_text(path, "".join(kept))
        self._file = path.open("a")
        self._writers: dict[int, Any] = {}
        self._tensorboard = tensorboard

    def write(self, run: int, settings: dict[str, float], update: int, steps: int, figures: dict[str, float]) -> None:
        row = {"run": run, "update": update, "steps": steps, **settings, **figures}
        finite = {name: value if math.isfinite(value) else str(value) for name, value in row.items()}
        self._file.write(json.dumps(finite) + "\n")
        self._file.flush()
        if self._tensorboard:
            if run not in self._writers:
                from tensorboardX import SummaryWriter

                self._writers[run] = SummaryWriter(str(self.path.parent / "tensorboard" / f"run-{run}"))
            for name, value in figures.items():
                self._writers[run].add_scalar(name, value, steps)

    def close(self) -> None:
        self._file.close()
        for writer in self._writers.values():
            writer.close()


def progress_bar(disable: bool) -> Progress:
    """A bar with steps/s, return, worst-5 % return and the time left."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=disable,
    )


def progress_text(steps_per_second: float, figures: list[dict[str, float]]) -> str:
    """The figures beside the bar: speed, and return and tail (or J, mean and variance) averaged over the runs."""

    def average(name: str) -> str:
        values = [row[name] for row in figures if name in row]
        return f"{np.mean(values):.2f}" if values else "-"

    speed = f"{steps_per_second:,.0f} steps/s"
    if any("objective" in row for row in figures):  # a learner of the long-run mean and variance
        return f"{speed}  J {average('objective')}  mean {average('eta')}  variance {average('zeta')}"
    return f"{speed}  return {average('return')}  worst-5% {average('cvar_05')}"
