"""The chapter of a report on one study: claims, tables, trade-off, interpolation, cross-play, and its runs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from averse.report.html.blocks import Block, Chapter, Facts, Files, Folded, Grid, Section
from averse.report.html.chapters import (
    episode_charts,
    episodes_of,
    evaluation_blocks,
    rows_files,
    study_table,
    training_sections,
    worlds_of,
    worst_blocks,
)
from averse.report.html.charts import matrix, tradeoff
from averse.report.html.interpolation import interpolation
from averse.report.html.studies import Crossplay, Row, Study, World
from averse.report.html.warnings import Warnings, gathered, run_warnings, study_warnings
from averse.report.html.words import cell, format_of, name_of, names_of
from averse.settings import assigned
from averse.statistics import Estimate
from averse.tables import Table

TOLD = frozenset(["format", "title", "claims", "runs", "rows", "differences", "interpolation", "chord", "reference",
                  "crossplay", "unfinished", "worlds"])  # fmt: skip
"""Fields of study.json that stand elsewhere in the chapter."""
BAD = ("collision", "failure", "crash", "std", "variance", "cost")  # names of figures of which less is better


def study_chapter(study: Study) -> Chapter:
    """All that a study directory tells."""
    runs = list(study.runs.values())
    sections = [_figures(study), Section("In other worlds", [_world(world) for world in study.worlds])]
    if study.interpolation:
        sections.append(Section("Interpolation", _interpolation(study)))
    if study.crossplay is not None:
        sections.append(Section("With whom they act", _crossplay(study.crossplay)))
    episodes: list[Block] = []
    for file, tables in study.episodes.items():
        blocks = [*episode_charts(tables), *worst_blocks(tables)]
        episodes += [Folded(f"Those of {file}", blocks)] if file else blocks
    sections.append(Section("Episodes", episodes))
    evaluated: list[Block] = []
    for where, policies in worlds_of(runs).items():
        blocks = [*evaluation_blocks(policies), *([] if study.episodes else worst_blocks(episodes_of(policies)))]
        evaluated.append(Folded(f"In {where}", blocks))
    sections.append(Section("Evaluations of the runs", evaluated))
    trained = training_sections(runs) if runs else []
    sections += [*trained[:-1], Section("Where this comes from", [_origin(study), *_blocks_of(trained[-1:])])]
    return Chapter(
        title=study.title or study.verb or "a study",
        subtitle=_subtitle(study),
        sections=[section for section in sections if section.blocks],
        claims=study.claims,
        warnings=_warnings(study),
    )


def _blocks_of(sections: list[Section]) -> list[Block]:
    return [block for section in sections for block in section.blocks]


def _subtitle(study: Study) -> str:
    episodes = study.content.get("episodes")
    parts = [f"averse {study.verb}" if study.verb else "", study.environment]
    parts.append(f"{len(study.seeds)} training seed{'s' * (len(study.seeds) > 1)}" if study.seeds else "")
    parts.append(f"{episodes:,} episodes" if isinstance(episodes, int) else "")
    return ", ".join(part for part in parts if part)


def _warnings(study: Study) -> Warnings:
    return gathered({"": study_warnings(study), **{name: run_warnings(run) for name, run in study.runs.items()}})


def _figures(study: Study) -> Section:
    """Rows, differences, and what safety costs."""
    blocks: list[Block] = []
    if study.rows:
        blocks.append(Grid(study_table(study.rows, "policy")))
        rows = {label: row.metrics for label, row in zip(_labels(study.rows), study.rows)}
        if (chart := tradeoff(rows, "return", names_of(m for row in rows.values() for m in row))) is not None:
            blocks.append(chart)
    if study.differences:
        table = study_table(study.differences, "difference")
        words = "Differences on the same evaluation seeds; an interval without 0 is one that chance does not explain."
        blocks.append(Grid(Table(table.headings, table.rows, caption=words)))
    blocks.append(Files(rows_files("figures", [*study.rows, *study.differences], study.content)))
    return Section("Figures", blocks)


def _world(world: World) -> Folded:
    """The tables of another world."""
    tables = [(world.rows, "policy"), (world.differences, "difference")]
    return Folded(world.name, [Grid(study_table(rows, first)) for rows, first in tables if rows])


def _labels(rows: Sequence[Row]) -> list[str]:
    """What rows are called: by their labels, with their settings where several have the same label."""
    labels = [row.label for row in rows]
    return [
        label if labels.count(label) == 1 else f"{label} ({assigned(row.settings) or number})"
        for number, (label, row) in enumerate(zip(labels, rows), 1)
    ]


def _interpolation(study: Study) -> list[Block]:
    names = names_of(metric for _, figures in study.interpolation for metric in figures)
    points = [Row(f"alpha {alpha:g}", figures, {}) for alpha, figures in study.interpolation]
    tables: list[Block] = [Grid(study_table(points, "mixture"))]
    if study.reference:
        tables.append(Grid(study_table(study.reference, "trained for itself")))
    table = Folded("The figures at every alpha", tables)
    if not any(math.isfinite(value.value) for _, figures in study.interpolation for value in figures.values()):
        return [table]
    return [interpolation(study.interpolation, study.chord, study.reference, names), table]


def _crossplay(crossplay: Crossplay) -> list[Block]:
    blocks: list[Block] = []
    tables: list[Block] = []
    for metric, cells in crossplay.metrics.items():
        bad = any(word in metric for word in BAD)
        blocks.append(matrix(name_of(metric), crossplay.labels, cells, bad, format_of(metric)))
        rows = [[label, *_cells(metric, row)] for label, row in zip(crossplay.labels, cells)]
        tables.append(Grid(Table([name_of(metric), *(f"with {label}" for label in crossplay.labels)], rows)))
    return [*blocks, Folded("The matrices as tables", tables)]


def _cells(metric: str, row: list[Estimate]) -> list[str]:
    return [cell(metric, each) for each in row]


def _origin(study: Study) -> Facts:
    """The command, versions, seeds, and whatever else the study says of how it was made."""
    facts: dict[str, str] = {}
    for name, value in study.content.items():
        if name not in TOLD and value not in (None, "", [], {}) and not _is_nested(value):
            facts[name.replace("_", " ")] = _said(value)
    return Facts(facts)


def _is_nested(value: Any) -> bool:
    """Whether there is more in a value than a line says; study.json itself is in the page."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return any(isinstance(each, dict | list) for each in inner)


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
