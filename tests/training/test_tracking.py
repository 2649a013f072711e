"""Where else metrics go: what each tracker's own files hold, read back without the code that wrote them."""

import csv
import json
import math
import sqlite3
import struct
import sys
from types import SimpleNamespace

import pytest
from tiers import thorough

import averse
from averse.cli import main
from averse.training.metrics import MetricsLog
from averse.training.tracking import sinks

ROWS = [
    (0, {"seed": 0.0, "tau": 1.0}, 1, 64, {"loss": 0.5, "episodes": 0.0}),
    (1, {"seed": 0.0, "tau": 3.0}, 1, 64, {"loss": math.inf, "episodes": 2.0, "return": -1.25}),
    (0, {"seed": 0.0, "tau": 1.0}, 2, 128, {"loss": 0.25, "episodes": 3.0, "return": 1.5}),
]


def tracked(folder, *track, rows=ROWS, until=None):
    (folder / "config.json").write_text('{"method": "mappo"}')
    log = MetricsLog(folder / "metrics.jsonl", until, sinks(track, folder))
    for row in rows:
        log.write(*row)
    log.close()


def test_a_table_has_every_figure(tmp_path):
    tracked(tmp_path, "csv")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["trial"], row["update"], row["steps"], row["tau"]) for row in found] == [
        ("0", "1", "64", "1.0"), ("1", "1", "64", "3.0"), ("0", "2", "128", "1.0"),
    ]  # fmt: skip
    assert [row["return"] for row in found] == ["", "-1.25", "1.5"]  # a figure that came later has a column too
    assert [row["loss"] for row in found] == ["0.5", "inf", "0.25"]


def test_a_table_of_a_resumed_run_has_no_line_twice(tmp_path):
    tracked(tmp_path, "csv")
    tracked(tmp_path, "csv", rows=ROWS[2:], until={0: 1, 1: 1})
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 4


def test_tensorboard_has_every_figure_by_steps(tmp_path):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    tracked(tmp_path, "tensorboard")
    found = {}
    for trial in (0, 1):
        (file,) = (tmp_path / "tensorboard" / f"trial-{trial}").iterdir()
        content, at = file.read_bytes(), 0
        while at < len(content):  # a TFRecord: length, its checksum, the event, its checksum
            (length,) = struct.unpack_from("<Q", content, at)
            event = event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
            at += length + 16
            found |= {(trial, event.step, each.tag): each.simple_value for each in event.summary.value}
    assert found == {(trial, steps, name): x for trial, _, _, steps, row in ROWS for name, x in row.items()}


def records(content):
    """What a .wandb file holds: a LevelDB log (blocks of 32 KiB; checksum, length, kind) after 7 bytes of its own."""
    at, parts = 7, b""
    while at < len(content):
        if (left := -at % 32768) and left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_weights_and_biases_has_every_figure_and_stays_here(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    for variable in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    tracked(tmp_path, "wandb")
    found, trials = {}, {}
    for file in sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb")):
        rows = []
        for data in records(file.read_bytes()):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") == "run":
                trials[file] = (record.run.display_name, record.run.run_group, record.run.project)
            if record.WhichOneof("record_type") == "history":
                rows.append(
                    {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
                )
        found[trials[file][0]] = [(row["_step"], row.get("return"), row["episodes"]) for row in rows]
    name = tmp_path.name
    assert set(trials.values()) == {(f"{name}-trial-{k}", name, "averse") for k in (0, 1)}
    assert found == {f"{name}-trial-0": [(64, None, 0.0), (128, 1.5, 3.0)], f"{name}-trial-1": [(64, -1.25, 2.0)]}


def test_mlflow_has_every_figure_in_its_database(tmp_path, monkeypatch):
    """Read back by SQL, in MLflow's own tables."""
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracked(tmp_path, "mlflow")
    with sqlite3.connect(tmp_path / "mlflow" / "mlflow.db") as database:
        metrics = database.execute("select name, key, step, value from metrics join runs using (run_uuid)").fetchall()
        params = database.execute("select name, key, value from params join runs using (run_uuid)").fetchall()
        kept = database.execute(
            "select e.name, r.status from runs r join experiments e using (experiment_id)"
        ).fetchall()
    name = tmp_path.name
    expected = {
        (f"{name}-trial-{trial}", key, steps, value if math.isfinite(value) else sys.float_info.max)
        for trial, _, _, steps, figures in ROWS
        for key, value in figures.items()
    }
    assert set(metrics) == expected
    assert {(f"{name}-trial-1", "tau", "3.0"), (f"{name}-trial-1", "method", "mappo")} <= set(params)
    assert kept == [(name, "FINISHED")] * 2


class Client:
    """A client of an MLflow server that answers so many calls, and then is gone."""

    def __init__(self, answers):
        self.left = answers

    def __getattr__(self, name):
        def call(*_, **__):
            self.left -= 1
            if self.left < 0:
                try:
                    raise ConnectionRefusedError(111, "Connection refused")
                except OSError as error:  # as what is between them does
                    raise RuntimeError("max retries exceeded\nwith url: /api") from error
            return SimpleNamespace(experiment_id="1", info=SimpleNamespace(run_id="2"))

        return call


TO_A_SERVER = ["train", "--env", "corridor", "--method", "trifling:NEUTRAL", "--steps", "3840", "--checkpoints", "6"]
TO_A_SERVER += ["--quiet", "--track", "mlflow"]


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        (0, 2, "MLFLOW_TRACKING_URI is http://...@host:5, where MLflow cannot keep metrics: [Errno 111] Connection r"),
        (6, 74, "MLflow at http://...@host:5 takes no metrics: [Errno 111] Connection refused; the checkpoint after u"),
        thorough(1, 74, "MLflow at http://...@host:5 takes no metrics: [Errno 111] Connection refused; nothing was s"),
        thorough(10, 74, "MLflow at http://...@host:5 takes no metrics: [Errno 111] Connection refused\n"),
        thorough(11, 0, ""),
    ],
)
def test_an_mlflow_server_that_does_not_answer_is_one_line(answers, code, words, tmp_path, monkeypatch, capsys):
    """The calls are: whether it is there, the experiment, the run, its settings, six updates, its end."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5")
    entities = SimpleNamespace(Param=lambda *_: None, Metric=lambda *_: None)
    client = Client(answers)
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=lambda uri: client, entities=entities))
    path = tmp_path / "run"
    assert main([*TO_A_SERVER, "--out", str(path)]) == code
    error = capsys.readouterr().err
    assert error.startswith(f"averse: {words}" if words else "")
    assert error.count("\n") == (code != 0)
    assert path.exists() == (answers > 1)
    assert answers < 6 or averse.load(path).updates == (min(answers - 4, 6),)


def test_mlflow_itself_is_told_in_one_line_where_nobody_listens(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert main([*TO_A_SERVER, "--out", str(tmp_path / "run")]) == 2
    told = "MLFLOW_TRACKING_URI is http://127.0.0.1:9, where MLflow cannot keep metrics: [Errno 111] Connection refused"
    assert capsys.readouterr().err == f"averse: {told}\n"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("track", "words"),
    [
        ("csv", "track must be"),
        (["cvs"], "track must be"),
        (["csv", "csv"], "track names a tracker twice: csv, csv"),
        (True, "track must be"),
    ],
)
def test_trackers_that_are_none(track, words, tmp_path):
    with pytest.raises(averse.AverseError, match=words):
        averse.train("corridor", "mappo", steps=64, out=tmp_path / "run", track=track)
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_on_the_command_line(tmp_path, capsys):
    assert (
        main(["train", "--env", "corridor", "--method", "mappo", "--track", "aim", "--out", str(tmp_path / "x")]) == 2
    )
    assert "csv" in capsys.readouterr().err
