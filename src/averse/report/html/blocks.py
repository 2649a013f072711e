"""What a page is made of, beside charts: tables, films, words, files, and what is folded away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
