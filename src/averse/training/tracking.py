"""Where else the metrics of a run go, beside `metrics.jsonl`: a table, TensorBoard, Weights & Biases, MLflow.

Nothing is sent anywhere unless the user has told the tracker to, in its own way: Weights & Biases writes its files into
the run directory, and sends them only where the variable WANDB_MODE of the environment says "online"; MLflow has a
database there, unless MLFLOW_TRACKING_URI names another place.
"""

import csv
import io
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from averse.errors import AverseError
from averse.extras import extra_module
from averse.files import write_text

Tracker = Literal["csv", "tensorboard", "wandb", "mlflow"]
EXTRAS: Mapping[str, tuple[str, str]] = {
    "tensorboard": ("tensorboardX", "TensorBoard output"),
    "wandb": ("wandb", "Weights & Biases output"),
    "mlflow": ("mlflow", "MLflow output"),
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
        if tracker == "mlflow" and "MLFLOW_TRACKING_URI" not in os.environ:
            for module in ("sqlalchemy", "alembic"):  # its small package does not bring what its database needs
                extra_module(module, EXTRAS[tracker][1])


def sinks(track: Sequence[Tracker], folder: Path) -> list[Sink]:
    """The sinks of a run directory; nothing is opened before there is something to write."""
    kinds: dict[str, type] = {"csv": CSV, "tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
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
            config={**_configuration(self._folder), **settings},
            reinit="create_new",  # one beside another
            settings=wandb.Settings(silent=True, console="off"),
        )

    def write(self, trial: int, settings: Mapping[str, float], steps: int, figures: Mapping[str, float]) -> None:
        self.of(trial, settings).log(dict(figures), step=steps)

    def close(self) -> None:
        for run in self._open.values():
            run.finish()


class MLflow(_PerTrial):
    """An MLflow run for each trial, in an experiment of the run directory's name, in `mlflow/mlflow.db`."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._kept: Any = None

    @property
    def _client(self) -> Any:
        if self._kept is None:
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at import
            mlflow = extra_module(*EXTRAS["mlflow"])
            logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table that it makes
            self._store.mkdir(exist_ok=True)
            self._kept = mlflow.MlflowClient(
                os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{self._store}/mlflow.db")
            )
        return self._kept

    @property
    def _store(self) -> Path:
        return self._folder.absolute() / "mlflow"

    def opened(self, trial: int, settings: Mapping[str, float]) -> Any:
        client, name = self._client, self._folder.name
        found = client.get_experiment_by_name(name)
        at = (self._store / "artifacts").as_uri()
        experiment = found.experiment_id if found else client.create_experiment(name, artifact_location=at)
        run = client.create_run(experiment, run_name=f"{name}-trial-{trial}").info.run_id
        param = extra_module(*EXTRAS["mlflow"]).entities.Param
        told = {**_configuration(self._folder), **settings}.items()
        rows = [param(key, value if isinstance(value, str) else json.dumps(value)) for key, value in told]
        client.log_batch(run, params=rows)
        return run

    def write(self, trial: int, settings: Mapping[str, float], steps: int, figures: Mapping[str, float]) -> None:
        metric = extra_module(*EXTRAS["mlflow"]).entities.Metric
        now = int(1000 * time.time())
        rows = [metric(name, float(value), now, steps) for name, value in figures.items()]
        self._client.log_batch(self.of(trial, settings), metrics=rows)

    def close(self) -> None:
        for run in self._open.values():
            self._client.set_terminated(run)


def _configuration(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())
