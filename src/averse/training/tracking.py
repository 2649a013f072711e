"""Where else the metrics of a run go, beside `metrics.jsonl`: a table, TensorBoard, Weights & Biases.

Nothing is sent anywhere unless the user has told the tracker to, in its own way: Weights & Biases writes its files into
the run directory, and sends them only where the variable WANDB_MODE of the environment says "online".
"""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from averse.errors import AverseError
from averse.extras import extra_module
from averse.files import write_text

Tracker = Literal["csv", "tensorboard", "wandb"]
EXTRAS: Mapping[str, tuple[str, str]] = {
    "tensorboard": ("tensorboardX", "TensorBoard output"),
    "wandb": ("wandb", "Weights & Biases output"),
}
METRICS, TABLE = "metrics.jsonl", "metrics.csv"


class Sink(Protocol):
    """What metrics are handed to."""

    def write(self, trial: int, settings: Mapping[str, float], steps: int, figures: Mapping[str, float]) -> None:
        """The figures of a trial after so many of its environment steps; `settings` are its seed and swept ones."""
        ...

    def close(self) -> None:
        """No more will come, or the training was interrupted."""
        ...


def require_trackers(track: Sequence[Tracker]) -> None:
    """Raises AverseError for a tracker that is named twice, or whose package is not installed."""
    if len(set(track)) < len(track):
        raise AverseError(f"track names a tracker twice: {', '.join(track)}")
    for tracker in track:
        if tracker in EXTRAS:
            extra_module(*EXTRAS[tracker])


def sinks(track: Sequence[Tracker], folder: Path) -> list[Sink]:
    """The sinks of a run directory; nothing is opened before there is something to write."""
    kinds: dict[str, type] = {"csv": CSV, "tensorboard": TensorBoard, "wandb": WandB}
    return [kinds[tracker](folder) for tracker in track]


class CSV:
    """`metrics.csv`, made of all of `metrics.jsonl` where training ends or is interrupted.

    Not row by row: some figures come later than others, and a table needs all of its columns from the beginning.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def write(self, trial: int, settings: Mapping[str, float], steps: int, figures: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        rows = [json.loads(line) for line in (self._folder / METRICS).read_text().splitlines()]
        columns = dict.fromkeys(name for row in rows for name in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._folder / TABLE, text.getvalue())


class _PerTrial:
    """A sink with something open for each trial."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._open: dict[int, Any] = {}

    def opened(self, trial: int, settings: Mapping[str, float]) -> Any:
        raise NotImplementedError

    def of(self, trial: int, settings: Mapping[str, float]) -> Any:
        """What is open for a trial."""
        if trial not in self._open:
            self._open[trial] = self.opened(trial, settings)
        return self._open[trial]


class TensorBoard(_PerTrial):
    """Event files in `tensorboard/trial-K`."""

    def opened(self, trial: int, settings: Mapping[str, float]) -> Any:
        writer = extra_module(*EXTRAS["tensorboard"]).SummaryWriter
        return writer(str(self._folder / "tensorboard" / f"trial-{trial}"))

    def write(self, trial: int, settings: Mapping[str, float], steps: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.of(trial, settings).add_scalar(name, value, steps)

    def close(self) -> None:
        for writer in self._open.values():
            writer.close()


class WandB(_PerTrial):
    """A run of Weights & Biases for each trial, in the group of the run directory's name; files are in `wandb/`.

    They can be sent later, by `wandb sync`.
    """

    def opened(self, trial: int, settings: Mapping[str, float]) -> Any:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read at import; crashes would be reported
        wandb = extra_module(*EXTRAS["wandb"])
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "averse"),
            name=f"{self._folder.name}-trial-{trial}",
            group=self._folder.name,
            dir=str(self._folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            config={**self._configuration(), **settings},
            reinit="create_new",  # one beside another
            settings=wandb.Settings(silent=True, console="off"),
        )

    def _configuration(self) -> dict[str, Any]:
        return json.loads((self._folder / "config.json").read_text())

    def write(self, trial: int, settings: Mapping[str, float], steps: int, figures: Mapping[str, float]) -> None:
        self.of(trial, settings).log(dict(figures), step=steps)

    def close(self) -> None:
        for run in self._open.values():
            run.finish()
