"""Tables that users bring, as CSV files; what is wrong with one is told in one line, with its place."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from averse.errors import AverseError, unknown_name

DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Sheet:
    """A CSV file: commas, semicolons or tabs between cells, its first row names the columns, empty lines are skipped.

    Attributes:
      path: of the file.
      columns: their names.
      rows: the cells of each row, all as long as `columns`.
      lines: the number of each row's line in the file, from 1 on.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def texts(self, column: str) -> list[str]:
        """The cells of a column. Raises AverseError for a column that is not there or twice, and for an empty cell."""
        place = self._place(column)
        cells = [row[place].strip() for row in self.rows]
        if "" in cells:
            missing = self.where(cells.index(""))
            raise AverseError(f"{missing}: {column} is missing; leave the row out, or say what it was")
        return cells

    def numbers(self, column: str) -> list[float]:
        """The finite numbers of a column. Raises AverseError as `texts` does, and for a cell that is none."""
        numbers = []
        for row, text in enumerate(self.texts(column)):
            try:
                numbers.append(float(text))
            except ValueError:
                raise AverseError(f"{self.where(row)}: {column} must be a number, not {text!r:.60}") from None
            if not math.isfinite(numbers[-1]):
                raise AverseError(f"{self.where(row)}: {column} must be finite, not {text}")
        return numbers

    def where(self, row: int) -> str:
        """The place of a row, for a message."""
        return f"line {self.lines[row]} of {self.path}"

    def require_columns(self, names: Sequence[str]) -> None:
        """Raises AverseError unless the columns are exactly these, in any order."""
        for name in names:
            if name not in self.columns:
                raise AverseError(f"{self.path} has no column {name!r}; it has {', '.join(self.columns)}")
            self._place(name)
        for name in self.columns:
            if name not in names:
                raise AverseError(
                    f"{self.path} has a column {name!r:.60}, which is not read; allowed: {', '.join(names)}"
                )

    def _place(self, column: str) -> int:
        if column not in self.columns:
            raise unknown_name(f"column of {self.path}", column, self.columns)
        if self.columns.count(column) > 1:
            raise AverseError(f"{self.path} has {self.columns.count(column)} columns of the name {column!r}")
        return self.columns.index(column)


def read_sheet(path: Path) -> Sheet:
    """Read a CSV file.

    Raises AverseError for a file that cannot be read, that names no columns or has no rows below their names, and for a
    row of more or fewer cells.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            heading = file.readline()
            delimiter = next((mark for mark in DELIMITERS if mark in heading), ",")
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            columns = tuple(name.strip() for name in next(reader, []))
            found = [(reader.line_num, tuple(row)) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AverseError(f"{path} cannot be read as CSV: {getattr(error, 'strerror', None) or error}") from error
    if not any(columns):
        raise AverseError(f"{path} is empty: its first row must name its columns")
    if not found:
        raise AverseError(f"{path} has no rows below the names of its columns")
    sheet = Sheet(path, columns, tuple(row for _, row in found), tuple(line for line, _ in found))
    for number, row in enumerate(sheet.rows):
        if len(row) != len(columns):
            raise AverseError(
                f"{sheet.where(number)} has {len(row)} cells, and its first row names {len(columns)} columns"
            )
    return sheet
