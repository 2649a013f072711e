"""Where else the metrics of a run go, beside `metrics.jsonl`: a table, TensorBoard, Weights & Biases, MLflow.

Nothing is sent anywhere unless the user has told the tracker to, in its own way: Weights & Biases writes its files into
the run directory, and sends them only where the variable WANDB_MODE of the environment says "online"; MLflow has a
database there, unless MLFLOW_TRACKING_URI names another place.
"""

import contextlib
import csv
import io
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from averse.errors import AverseError, WritingError
from averse.extras import extra_module
from averse.files import write_text

Tracker = Literal["csv", "tensorboard", "wandb", "mlflow"]
EXTRAS: Mapping[str, tuple[str, str]] = {
    "tensorboard": ("tensorboardX", "TensorBoard output"),
    "wandb": ("wandb", "Weights & Biases output"),
    "mlflow": ("mlflow", "MLflow output"),
}
MLFLOW_PLACE = "MLFLOW_TRACKING_URI"  # of the environment
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
    """Raises AverseError for a tracker named twice, one whose package is missing, or whose server does not answer."""
    if len(set(track)) < len(track):
        raise AverseError(f"track names a tracker twice: {', '.join(track)}")
    for tracker in track:
        if tracker in EXTRAS:
            extra_module(*EXTRAS[tracker])
        if tracker == "mlflow":
            _require_mlflow()


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
    """An MLflow run for each trial, in an experiment of the run directory's name, in `mlflow/mlflow.db`.

    Raises WritingError where a server or database takes no more; it is then left alone.
    """

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._store = folder.absolute() / "mlflow"
        self._uri = os.environ.get(MLFLOW_PLACE, f"sqlite:///{self._store}/mlflow.db")
        self._kept: Any = None
        self._lost = False

    @property
    def _client(self) -> Any:
        if self._kept is None:
            self._store.mkdir(exist_ok=True)
            self._kept = _mlflow_client(self._uri)
        return self._kept

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of its own, of a database, of a connection
            self._lost = True
            told = f"MLflow at {_without_password(self._uri)} takes no metrics: {_reason(error)}"
            raise WritingError(told) from error

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
        with self._told():
            self._client.log_batch(self.of(trial, settings), metrics=rows)

    def close(self) -> None:
        for run in () if self._lost else self._open.values():
            with self._told():
                self._client.set_terminated(run)


def _mlflow_client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at import
    mlflow = extra_module(*EXTRAS["mlflow"])
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table that it makes
    return mlflow.MlflowClient(uri)


def _require_mlflow() -> None:
    """Raises AverseError where what its database needs is missing, or what the user has named does not answer."""
    uri = os.environ.get(MLFLOW_PLACE)
    if uri is None:
        for module in ("sqlalchemy", "alembic"):  # its small package does not bring what its database needs
            extra_module(module, EXTRAS["mlflow"][1])
        return
    # It asks eight times within minutes unless it is told otherwise, and waits two minutes for each answer.
    hasty = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    mine = {name: value for name, value in hasty.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        _mlflow_client(uri).search_experiments(max_results=1)
    except AverseError:  # it is not installed
        raise
    except Exception as error:  # of its own, of a database, of a connection
        raise AverseError(
            f"{MLFLOW_PLACE} is {_without_password(uri)}, where MLflow cannot keep metrics: {_reason(error)}"
        ) from error
    finally:
        for name in mine:
            del os.environ[name]


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//...@", uri)


def _reason(error: BaseException) -> str:
    """The first line of what was wrong in the first place: what libraries say around it is long."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def _configuration(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())
