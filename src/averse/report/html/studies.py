"""Study directories as a report reads them: `study.json`, the episodes beside it, and the runs that it names."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from averse.errors import AverseError
from averse.evaluation import Episodes
from averse.evaluation.stored import read_object
from averse.files import as_path
from averse.report.html.runs import TrainedRun, by_settings, read_run
from averse.settings import Number, check_value
from averse.statistics import Estimate

FILE = "study.json"
FORMAT = 1
REPEATED = (
    "seat",
    "partner_seed",
)  # settings of cross-play that make no other policy: its episodes are pooled over them
Verdict = Literal["holds", "fails", "undecided"]
Figures = Mapping[str, Estimate]  # by metric


@dataclass(frozen=True)
class Claim:
    """A sentence that a study was to decide."""

    claim: str
    verdict: Verdict
    effect: Estimate  # NaN where there is none
    words: str  # a sentence with figures and seeds


@dataclass(frozen=True)
class Row:
    """The figures of one of a study's policies, or of a difference between two."""

    label: str
    metrics: Figures
    settings: Mapping[str, Any]
    improvement: Estimate | None = None  # of a difference: the probability of improvement


@dataclass(frozen=True)
class World:
    """What a study's policies do in a world that is not the first one, such as a shifted one."""

    name: str
    rows: tuple[Row, ...]
    differences: tuple[Row, ...]


@dataclass(frozen=True)
class Crossplay:
    """Metrics of agents acting with others: metric -> [row: whose figures][column: with whom]."""

    labels: tuple[str, ...]
    metrics: Mapping[str, list[list[Estimate]]]


@dataclass(frozen=True)
class Study:
    """A study directory, read."""

    path: Path
    content: Mapping[str, Any]  # study.json as it is
    verb: str
    title: str
    environment: str
    unfinished: str  # what it lacks, in a sentence; empty where it is whole
    quick: bool
    seeds: tuple[int, ...]
    claims: tuple[Claim, ...]
    rows: tuple[Row, ...]
    differences: tuple[Row, ...]
    interpolation: tuple[tuple[float, Figures], ...]  # alpha -> figures
    chord: tuple[tuple[float, Figures], ...]
    reference: tuple[Row, ...]
    crossplay: Crossplay | None
    worlds: tuple[World, ...]
    runs: Mapping[str, TrainedRun]  # each directory once, by its label, or by its name where it has several labels
    missing: Mapping[str, str]  # runs that are not there: label -> why
    episodes: Mapping[str, Mapping[str, Episodes]]  # completed ones, by file ("" is episodes.parquet) and label


def read_study(path: Path) -> Study:
    """A study directory. Runs that it names and that are not there are told in `missing`.

    Raises AverseError, which names the file and the field, for one that is damaged or of another format.
    """
    file = path / FILE
    content = read_object(file)
    if content.get("format") != FORMAT:
        raise AverseError(f"{file} has format {content.get('format')!r:.40}; this averse reads {FORMAT}")
    try:
        crossplay = content.get("crossplay")
        fields: dict[str, Any] = {
            **{name: _text(content, name) for name in ("verb", "title", "environment", "unfinished")},
            "quick": check_value("quick", bool, content.get("quick", False)),
            "seeds": check_value("seeds", tuple[int, ...], content.get("seeds") or ()),
            "claims": tuple(_claim(each) for each in _objects(content, "claims")),
            **{name: _rows(content, name) for name in ("rows", "differences", "reference")},
            **{
                name: tuple(_point(name, each) for each in _objects(content, name))
                for name in ("interpolation", "chord")
            },
            "crossplay": None if crossplay is None else _crossplay(crossplay),
            "worlds": tuple(_world(each) for each in _objects(content, "worlds")),
        }
        places = check_value("runs", dict[str, str], content.get("runs") or {})
    except KeyError as error:
        raise AverseError(f"{file} is no study: {error.args[0]} is missing") from None
    except AverseError as error:
        raise AverseError(f"{file} is no study: {error}") from None
    runs, missing = _runs(path, places)
    return Study(path, content, **fields, runs=runs, missing=missing, episodes=_episodes(path))


def _runs(path: Path, places: Mapping[str, str]) -> tuple[dict[str, TrainedRun], dict[str, str]]:
    labels: dict[Path, list[str]] = {}
    for label, place in places.items():
        labels.setdefault(_shortest(path / as_path(f"the run {label!r:.80}", place)), []).append(label)
    runs: dict[str, TrainedRun] = {}
    missing: dict[str, str] = {}
    for folder, own in labels.items():
        name = own[0] if len(own) == 1 or folder.name in runs else folder.name
        try:
            runs[name] = read_run(folder, name)
        except AverseError as error:
            missing[", ".join(own)] = str(error)
    return runs, missing


def _shortest(path: Path) -> Path:
    """A path without "..", where that leads to the same place, which symbolic links may prevent."""
    short = Path(os.path.normpath(path))
    return short if short.resolve() == path.resolve() else path


def _episodes(path: Path) -> dict[str, dict[str, Episodes]]:
    """The episodes of all of a study's tables, which may be of different worlds, and in each by settings and label."""
    found: dict[str, dict[str, Episodes]] = {}
    for file in sorted(path.glob("episodes*.parquet"), key=lambda file: file.stem):
        table = Episodes.read_parquet(file).completed()
        stem = file.stem.removeprefix("episodes").strip("-_ ")
        policies = [name for name in table.settings if name not in REPEATED]
        if len(table):
            pooled = replace(table, settings={name: table.settings[name] for name in policies})
            found[stem] = {" ".join(_in_words(own)) or "episodes": rows for own, rows in by_settings(pooled)}
    return found


def _in_words(settings: Mapping[str, Any]) -> list[str]:
    """Texts as they are, numbers with their names, none that is not known."""
    words = []
    for name, value in settings.items():
        if isinstance(value, str):
            words.append(value)
        elif not math.isnan(value):
            words.append(f"{name}={value:g}")
    return words


def _text(content: Mapping[str, Any], name: str) -> str:
    return check_value(name, str, content.get(name) or "")


def _objects(content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return list(check_value(name, tuple[dict[str, Any], ...], content.get(name) or ()))


def _claim(fields: Mapping[str, Any]) -> Claim:
    ends = {"value": fields.get("effect"), "low": fields.get("low"), "high": fields.get("high")}
    return Claim(
        check_value("claim", str, fields["claim"]),
        check_value("verdict", Verdict, fields["verdict"]),
        Estimate.from_dict(ends),
        _text(fields, "words"),
    )


def _rows(content: Mapping[str, Any], name: str) -> tuple[Row, ...]:
    return tuple(_row(name, each) for each in _objects(content, name))


def _world(fields: Mapping[str, Any]) -> World:
    return World(check_value("name", str, fields["name"]), _rows(fields, "rows"), _rows(fields, "differences"))


def _row(name: str, fields: Mapping[str, Any]) -> Row:
    label = check_value("label", str, fields["label"])
    improvement = fields.get("probability_of_improvement")
    return Row(
        f"{label} - {check_value('to', str, fields['to'])}" if name == "differences" else label,
        _figures(fields["metrics"]),
        check_value("settings", dict[str, Any], fields.get("settings") or {}),
        None if improvement is None else Estimate.from_dict(improvement),
    )


def _figures(metrics: Any) -> dict[str, Estimate]:
    return {name: Estimate.from_dict(value) for name, value in check_value("metrics", dict[str, Any], metrics).items()}


def _point(name: str, fields: Mapping[str, Any]) -> tuple[float, Figures]:
    return check_value(f"alpha of {name}", Number, fields["alpha"]), _figures(fields["metrics"])


def _crossplay(fields: Any) -> Crossplay:
    fields = check_value("crossplay", dict[str, Any], fields)
    labels = check_value("labels", tuple[str, ...], fields["labels"])
    metrics = {}
    size = len(labels)
    for name, rows in check_value("metrics", dict[str, Any], fields["metrics"]).items():
        lists = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
        if not lists or len(rows) != size or any(len(row) != size for row in rows):
            raise AverseError(f"crossplay {name} must have {size} rows of {size} figures, one per label")
        metrics[name] = [[Estimate.from_dict(cell) for cell in row] for row in rows]
    return Crossplay(labels, metrics)
