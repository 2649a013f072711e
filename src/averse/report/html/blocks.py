"""What a page is made of, beside charts: tables, films, words, files, and what is folded away."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import ClassVar

from averse.report.html.charts import Chart
from averse.report.html.embedding import Download
from averse.report.html.studies import Claim
from averse.report.html.warnings import Warnings
from averse.tables import Table


@dataclass(frozen=True)
class Grid:
    """A table."""

    kind: ClassVar[str] = "table"
    table: Table


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    kind: ClassVar[str] = "words"
    text: str


@dataclass(frozen=True)
class Code:
    """A text as it is, such as a configuration."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


@dataclass(frozen=True)
class Facts:
    """Names and what is to be known of them."""

    kind: ClassVar[str] = "facts"
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Film:
    """An episode as a moving picture."""

    caption: str
    address: str  # data:image/gif;...


@dataclass(frozen=True)
class Films:
    """Films side by side."""

    kind: ClassVar[str] = "films"
    films: Sequence[Film]


@dataclass(frozen=True)
class Files:
    """Data to take away."""

    kind: ClassVar[str] = "files"
    downloads: Sequence[Download]


@dataclass(frozen=True)
class Folded:
    """What opens on a click."""

    kind: ClassVar[str] = "folded"
    title: str
    blocks: Sequence["Block"]
    small: bool = False  # charts side by side


Block = Chart | Grid | Words | Code | Facts | Films | Files | Folded


@dataclass(frozen=True)
class Card:
    """A policy's figures at the top of the page: name -> figure with its interval."""

    title: str
    where: str  # the world that it was evaluated in
    figures: Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """A heading and what is below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Chapter:
    """All of one study, or of the runs of one environment."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    claims: Sequence[Claim] = ()
    cards: Sequence[Card] = ()
    warnings: Warnings = field(default_factory=dict)


def without_files(chapters: Sequence[Chapter], excess: int) -> list[Chapter]:
    """The chapters without so many of their largest files that so many bytes are saved; the page tells which."""
    files = [file for chapter in chapters for section in chapter.sections for file in _files(section.blocks)]
    lost: set[int] = set()
    for file in sorted(files, key=lambda file: -len(file.address)):
        if excess <= 0:
            break
        lost.add(id(file))
        excess -= len(file.address)
    return [
        replace(chapter, sections=[replace(each, blocks=_without(each.blocks, lost)) for each in chapter.sections])
        for chapter in chapters
    ]


def _files(blocks: Sequence[Block]) -> Iterator[Download]:
    for block in blocks:
        if isinstance(block, Files):
            yield from block.downloads
        if isinstance(block, Folded):
            yield from _files(block.blocks)


def _without(blocks: Sequence[Block], lost: Set[int]) -> list[Block]:
    found: list[Block] = []
    for block in blocks:
        if isinstance(block, Files):
            kept = [replace(file, address="") if id(file) in lost else file for file in block.downloads]
            found.append(Files(kept))
        elif isinstance(block, Folded):
            found.append(replace(block, blocks=_without(block.blocks, lost)))
        else:
            found.append(block)
    return found
