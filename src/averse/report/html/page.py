"""One HTML file of runs and studies: all that is shown is in it."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from rich.progress import Progress

from averse.errors import AverseError
from averse.evaluation import Episodes, Evaluation
from averse.evaluation.worst import Place, worst_episodes
from averse.extras import extra_module, require_extra
from averse.files import as_path, told_if_not_written, writable_folder, written_whole
from averse.progress import progress_bar
from averse.report.html.blocks import Chapter, Films, Section, without_files
from averse.report.html.chapters import own_parameters, runs_chapter
from averse.report.html.embedding import packed_plotly, script_json
from averse.report.html.films import Theatre
from averse.report.html.runs import TrainedRun, episodes_by_setting, read_run
from averse.report.html.studies import FILE, Study, read_study
from averse.report.html.study_chapter import study_chapter
from averse.report.style import DARK, FAINT, GRID, INK, PALETTE, PAPER, WASH
from averse.settings import Whole, check_value
from averse.statistics import Estimate

LARGEST = 8_000_000  # bytes of a page; films are left out where they would make it larger
FILMS = 3
_INTERVAL = re.compile(r"(\S+) (\[[^\[\]]*\])")  # "-1.2 [-1.5, -0.9]"


@dataclass(frozen=True)
class Written:
    """What `write_report` has written."""

    path: Path
    size: int  # bytes
    runs: int
    studies: int
    warnings: int
    films: int
    without_films: str  # why there are fewer films than were asked for; empty where there are not


def write_report(
    paths: Sequence[str | os.PathLike] | str | os.PathLike,
    out: str | os.PathLike,
    *,
    films: int = FILMS,
    overwrite: bool = False,
    progress: bool = False,
) -> Written:
    """Write one HTML file about run directories and study directories, which needs nothing else to be read.

    The same directories give the same file, byte for byte. It needs the extra `report` (plotly, Jinja2).

    Args:
      paths: run directories (`averse train`, evaluated or not) and study directories (those with a study.json).
      out: the file to write, .html.
      films: of the worst episodes of each chapter, at most, where their world can be filmed: they are played again,
        and left out where the file would be larger than 8 MB.
      overwrite: take the place of a file that is there.
      progress: show a bar on standard error.

    Raises AverseError, before anything is written, for paths that are no runs or studies or are damaged, for an `out`
    that is taken or has no folder, and where plotly or Jinja2 is missing; WritingError if the disk is full.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    places, target = [as_path("paths", path) for path in given], _target(as_path("out", out), overwrite)
    films = check_value("films", Whole, films)
    if not places:
        raise AverseError("no path: a report needs at least one run or study directory")
    if twice := [place for k, place in enumerate(places) if place.resolve() in [p.resolve() for p in places[:k]]]:
        raise AverseError(f"{twice[0]} is given twice")
    kinds = [_is_study(place) for place in places]
    for module in ("plotly", "jinja2"):
        require_extra(module, "an HTML report")
    studies = [read_study(place) for place, study in zip(places, kinds) if study]
    names = _names([place for place, study in zip(places, kinds) if not study])
    runs = [read_run(place, name) for place, name in names.items()]
    with progress_bar(disable=not progress) as bar:
        task = bar.add_task("report", total=len(places) + 1, figures="figures")
        chapters, groups = _chapters(studies, runs, bar)
        bar.update(task, figures="films")
        plotly = packed_plotly()
        room = LARGEST - len(_bytes(chapters, plotly))
        if room < 0:
            chapters = without_files(chapters, -room)
            room = LARGEST - len(_bytes(chapters, plotly))
        chapters, shown, why = _with_films(chapters, groups, films, room)
        content = _bytes(chapters, plotly)
        with told_if_not_written(target, "make room and write it again"), written_whole(target) as temporary:
            temporary.write_bytes(content)
    warnings = sum(len(chapter.warnings) for chapter in chapters)
    return Written(target, len(content), len(runs), len(studies), warnings, shown, why)


def _bytes(chapters: Sequence[Chapter], plotly: str) -> bytes:
    """The page as it is written. Texts may hold half a character, which files do not take: "?" is in its place."""
    return render(chapters, plotly).encode("utf-8", "replace")


def render(chapters: Sequence[Chapter], plotly: str) -> str:
    """The page of some chapters. Every text in them appears as it is, whatever it holds."""
    jinja2: Any = extra_module("jinja2", "an HTML report")
    numbers = count(1)
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    markup: Any = extra_module("markupsafe", "an HTML report").Markup
    environment.filters.update(
        interval=_interval, bar=_bar, script_json=lambda value: markup(script_json(value)),
    )  # fmt: skip
    titles = list(dict.fromkeys(chapter.title for chapter in chapters))
    return environment.get_template("page.html.j2").render(
        title=" · ".join(titles),
        chapters=chapters,
        claimed=[chapter for chapter in chapters if chapter.claims],
        warned=[each for chapter in chapters for each in chapter.warnings.items()],
        next_number=lambda: next(numbers),
        plotly=plotly,
        palette=PALETTE,
        light={"ink": INK, "grid": GRID, "wash": WASH, "paper": PAPER},
        night={"ink": DARK[INK], "faint": DARK[FAINT], "grid": DARK[GRID], "wash": DARK[WASH], "paper": DARK[PAPER]},
        dark=DARK,
    )


def _target(out: Path, overwrite: bool) -> Path:
    """The file to write. Raises AverseError where it cannot be written, or is there already."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise AverseError(f"a report's file name must end in .html, not {out.name!r:.80}")
    try:
        if not out.parent.is_dir():
            raise AverseError(f"{out.parent} is no folder; make it first, or choose another --out")
        if out.is_dir():
            raise AverseError(f"{out} is a folder; choose another --out")
        if out.exists() and not overwrite:
            raise AverseError(f"{out} exists already; choose another --out, or --overwrite it")
    except OSError as error:
        raise AverseError(f"{out} cannot be written: {error.strerror or error}") from None
    writable_folder(out.parent)
    return out


def _is_study(place: Path) -> bool:
    """Whether a directory is a study's rather than a run's. Raises AverseError for what is neither."""
    try:
        if not place.is_dir():
            raise AverseError(f"no run or study at {place}: there is no such folder")
        if (place / FILE).is_file():
            return True
        if (place / "config.json").is_file():
            return False
        inside = sorted(
            each.name for each in place.iterdir() if any((each / f).is_file() for f in (FILE, "config.json"))
        )
    except OSError as error:
        raise AverseError(f"no run or study at {place}: {error.strerror or error}") from None
    hint = f"; there are such inside: {', '.join(inside[:5])}" if inside else ""
    raise AverseError(f"{place} is neither a run directory (config.json) nor a study ({FILE}){hint}")


def _names(places: Sequence[Path]) -> dict[Path, str]:
    """What runs are called: by their folders, and by their paths where several folders have the same name."""
    names = [place.resolve().name for place in places]
    return {place: name if names.count(name) == 1 else str(place) for place, name in zip(places, names)}


Group = Mapping[str, TrainedRun]


def _chapters(studies: Sequence[Study], runs: Sequence[TrainedRun], bar: Progress) -> tuple[list[Chapter], list[Group]]:
    """Studies first, then runs by the world that they were trained in; and the runs of each chapter."""
    chapters, groups = [], list[Group]()
    for study in studies:
        chapters.append(study_chapter(study))
        groups.append(study.runs)
        bar.advance(bar.task_ids[0])
    worlds: dict[str, list[TrainedRun]] = {}
    own = own_parameters(runs)
    for run in runs:
        title = ", ".join(filter(None, (run.config.environment, own[run.name])))
        worlds.setdefault(title, []).append(run)
    for title, together in worlds.items():
        chapters.append(runs_chapter(title, together))
        groups.append({run.name: run for run in together})
        bar.advance(bar.task_ids[0], len(together))
    return chapters, groups


def _with_films(
    chapters: Sequence[Chapter], groups: Sequence[Group], films: int, room: int
) -> tuple[list[Chapter], int, str]:
    """The chapters with a section of films, as many as there is room for (bytes); how many, and why no more."""
    theatre, found, total, reasons = Theatre(), [], 0, dict[str, None]()
    for chapter, runs in zip(chapters, groups):
        shown = []
        for run, evaluation, place in _worst(theatre, runs, films, reasons):
            try:
                film = theatre.film(run, evaluation, place)
            except AverseError as error:
                reasons[str(error)] = None
                continue
            if len(film.address) + 1000 > room:
                reasons[f"no room for more films in a page of {LARGEST / 1e6:g} MB"] = None
                break
            room -= len(film.address) + 1000
            shown.append(film)
        total += len(shown)
        section = Section("Films of the worst episodes", [Films(shown)])
        found.append(replace(chapter, sections=_inserted(chapter.sections, section)) if shown else chapter)
    return found, total, "; ".join(reasons)


def _inserted(sections: Sequence[Section], films: Section) -> list[Section]:
    """The films behind the table of the worst episodes."""
    places = [k for k, section in enumerate(sections) if section.title.startswith("Worst episodes")]
    at = places[-1] + 1 if places else len(sections) - 1
    return [*sections[:at], films, *sections[at:]]


def _worst(
    theatre: Theatre, runs: Group, films: int, reasons: dict[str, None]
) -> Iterator[tuple[TrainedRun, Evaluation, Place]]:
    """The worst episodes of some runs among all that can be filmed, with whose they are; why others cannot."""
    whose: dict[str, tuple[TrainedRun, Evaluation]] = {}
    tables: dict[str, Episodes] = {}
    played = [(run, *each) for run in runs.values() for each in run.evaluations if films]
    for run, path, evaluation in played:
        if not isinstance(evaluation, Evaluation):
            continue
        try:
            theatre.check(run, evaluation)
        except AverseError as error:
            reasons[str(error)] = None
            continue
        for label, table in episodes_by_setting(evaluation).items():
            key = f"{run.name} {label}".strip() + f"\0{path.name}"
            whose[key], tables[key] = (run, evaluation), table
    for place in worst_episodes(tables, films):
        yield *whose[place.policy], replace(place, policy=place.policy.partition("\0")[0])


def _interval(text: str) -> tuple[str, str]:
    """A figure's value and its interval, "" where it has none."""
    found = _INTERVAL.fullmatch(text)
    return (text, "") if found is None else (found[1], found[2])


def _bar(effect: Estimate) -> dict[str, float | None] | None:
    """Where an effect and its interval stand in a picture 200 wide whose middle is 0; None for no effect."""
    if not math.isfinite(effect.value):
        return None
    ends = (effect.low, effect.high) if effect.has_interval else ()
    reach = 1.15 * max(map(abs, (effect.value, *ends))) or 1.0
    place = {
        name: round(100 + 94 * getattr(effect, name) / reach, 1)
        for name in ("value", *(("low", "high") if ends else ()))
    }
    return {"low": None, "high": None, **place}
