"""Tables of text: for a terminal, in which nothing is cut however narrow it is, and as GitHub's markdown."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.text import Text

from averse.errors import AverseError
from averse.settings import Count, check_value

_INTERVAL = re.compile(r"(\S+) (\[[^\[\]]*\])")  # "-1.2 [-1.5, -0.9]"
_GAP = "  "  # between columns
_UNBROKEN = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Table:
    """Headings, rows of cells, and what stands above and below them. `rich` prints it in the terminal's width.

    Args:
      headings: [columns]; the first heads the names of the rows.
      rows: [rows, columns]; all cells but the first are set to the right. An interval ("-1.2 [-1.5, -0.9]") stands
        below its value in a terminal.
      title: above the table.
      caption: below it.

    Raises AverseError for no heading, for what is no text, and for a row that has more or fewer cells than there are
    headings.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    caption: str = ""

    def __post_init__(self) -> None:
        for name, kind in (("headings", tuple[str, ...]), ("title", str), ("caption", str)):
            check_value(name, kind, getattr(self, name))
        if not self.headings:
            raise AverseError("headings is empty: a table needs at least a column")
        if not isinstance(self.rows, list | tuple):
            raise AverseError(f"rows must be a list of rows, not {self.rows!r:.80}")
        for number, row in enumerate(self.rows):
            check_value(f"rows[{number}]", tuple[str, ...], row)
            if len(row) != len(self.headings):
                raise AverseError(f"a table of {len(self.headings)} columns has a row of {len(row)} cells: {row}")

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int | None = None) -> str:
        """The table in lines of at most `width` characters (the terminal's, 80 where there is none).

        Headings and cells are broken at spaces; columns that do not fit side by side come in blocks one below the
        other. Only a single word that is longer than the width makes a line longer.

        Raises AverseError for a width below 1.
        """
        check_value("width", Count | None, width)
        width = shutil.get_terminal_size((80, 24)).columns if width is None else width
        return "\n".join(line.plain for line in self._lines(width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield from self._lines(options.max_width)

    def markdown(self) -> str:
        """The table for GitHub, with the title in bold above and the caption beneath."""
        rows = [self.headings, ["---", *["---:"] * (len(self.headings) - 1)], *self.rows]
        lines = [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows]
        above = [f"**{self.title}**", ""] if self.title else []
        below = ["", self.caption] if self.caption else []
        return "\n".join([*above, *lines, *below]) + "\n"

    def _lines(self, width: int) -> Iterator[Text]:
        for line in textwrap.wrap(self.title, width):
            yield Text(line, "bold", no_wrap=True)
        for number, block in enumerate(self._blocks(width)):
            if number:
                yield Text()
            yield from self._block(block, self._widths(block, width))
        for line in textwrap.wrap(self.caption, width, break_on_hyphens=False):
            yield Text(line, no_wrap=True)

    def _blocks(self, width: int) -> list[list[int]]:
        """Which columns stand side by side: the first in every block, the others as many as fit."""
        blocks: list[list[int]] = [[0]]
        for column in range(1, len(self.headings)):
            least = [self._least(k) for k in (*blocks[-1], column)]
            if sum(least) + len(_GAP) * (len(least) - 1) > width and blocks[-1] != [0]:
                blocks.append([0])
            blocks[-1].append(column)
        return blocks

    def _least(self, column: int) -> int:
        """The narrowest that a column can be without breaking a word or an interval."""
        pieces = [
            *_unbroken(self.headings[column]).split(" "),
            *(piece for row in self.rows for piece in _pieces(row[column])),
        ]
        return max(map(len, pieces), default=1)

    def _ideal(self, column: int) -> int:
        """The width at which no cell is broken, and the heading at most once."""
        cells = max((len(line) for row in self.rows for line in _two_lines(row[column], column)), default=1)
        heading, width = _unbroken(self.headings[column]), max(cells, self._least(column))
        while len(_wrapped([heading], width)) > 2:
            width += 1
        return width

    def _widths(self, block: list[int], width: int) -> list[int]:
        """The columns' widths: as wide as they should be, or narrower where that is too wide, the widest first."""
        least, widths = [self._least(k) for k in block], [self._ideal(k) for k in block]
        while sum(widths) + len(_GAP) * (len(block) - 1) > width and widths != least:
            spare = [have - need for have, need in zip(widths, least)]
            widths[spare.index(max(spare))] -= 1
        return widths

    def _block(self, block: list[int], widths: list[int]) -> Iterator[Text]:
        headings = [_wrapped([_unbroken(self.headings[k])], width) for k, width in zip(block, widths)]
        yield from _row(headings, widths, ["bold"] * len(block), last=True)
        yield Text("─" * (sum(widths) + len(_GAP) * (len(block) - 1)), no_wrap=True)
        for row in self.rows:
            cells = [_wrapped(_two_lines(row[k], k), width) for k, width in zip(block, widths)]
            yield from _row(cells, widths, ["bold", *[""] * (len(block) - 1)])


def _row(cells: list[list[str]], widths: list[int], styles: list[str], last: bool = False) -> Iterator[Text]:
    """Cells of one or several lines side by side; headings end on the same line, others begin on it (not `last`)."""
    height = max(map(len, cells))
    blank = [[""] * (height - len(cell)) for cell in cells]
    for lines in zip(*(empty + cell if last else cell + empty for cell, empty in zip(cells, blank))):
        text = Text(no_wrap=True)
        for column, (line, width, style) in enumerate(zip(lines, widths, styles)):
            if column:
                text.append(_GAP)
                text.append(line.rjust(width), "dim" if line.startswith("[") else style)
            else:
                text.append(line.ljust(width), style)
        text.rstrip()
        yield text


def _two_lines(cell: str, column: int) -> list[str]:
    """An interval below its value, so that columns stay narrow; names of rows as they are."""
    found = _INTERVAL.fullmatch(cell)
    return [cell] if column == 0 or found is None else list(found.groups())


def _pieces(cell: str) -> list[str]:
    """What a cell can be broken into."""
    found = _INTERVAL.fullmatch(cell)
    return cell.split() if found is None else list(found.groups())


def _wrapped(lines: Sequence[str], width: int) -> list[str]:
    wrapped = [
        part
        for line in lines
        for part in (
            [line] if len(line) <= width else textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        )
    ]
    return [line.replace(_UNBROKEN, " ") for line in wrapped] or [""]


def _unbroken(heading: str) -> str:
    """A heading in which a unit ("time to cross, s") cannot be parted from the word before it."""
    return heading.replace(", ", f",{_UNBROKEN}")


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
