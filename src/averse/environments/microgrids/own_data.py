"""Measurements of microgrids that users bring: a folder of CSV files, read and checked (docs/own-data.md).

`microgrids.csv` names the microgrids and tells of their batteries; for each there is NAME.csv with hourly wind and
load; `prices.csv`, where there is one, has the hourly price of a MWh. All cover the same hours, every hour once.
"""

import hashlib
import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from averse.errors import AverseError
from averse.files import as_path
from averse.sheets import Sheet, read_sheet

Floats = NDArray[np.float64]

MICROGRIDS, PRICES = "microgrids", "prices"  # names of files that are no microgrid's
BATTERY_COLUMNS = ("microgrid", "battery_mwh", "battery_mw", "efficiency", "curtailment_step_mw")
HOURLY_COLUMNS = ("time", "wind_mw", "load_mw")
PRICE_COLUMNS = ("time", "price")
LEAST_HOURS = 336  # two weeks: below, there is too little to fit and to hold out
MOST_MICROGRIDS = 100
LEAST, MOST = 1e-6, 1e6  # sizes of powers, energies and prices: what is computed with them is in single precision
HOUR = timedelta(hours=1)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_PIN = re.compile(r"(.*)@sha256:([0-9a-f]{16})", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Site:
    """One microgrid as it was measured.

    Attributes:
      name: as its file is called.
      wind, load: mean power of each hour [T], MW.
      battery_mwh: what the battery holds between empty and full.
      battery_mw: most that it takes or gives in an hour.
      efficiency: share of the power that is left, each way.
      curtailment_step_mw: in multiples of which wind is thrown away.
    """

    name: str
    wind: Floats
    load: Floats
    battery_mwh: float
    battery_mw: float
    efficiency: float
    curtailment_step_mw: float


@dataclass(frozen=True, eq=False)
class Recording:
    """A folder of measurements.

    Attributes:
      folder: where it is.
      start: of the first hour.
      sites: the microgrids [N].
      prices: of a MWh in each hour [T], money; None where the folder has none.
    """

    folder: Path
    start: datetime
    sites: tuple[Site, ...]
    prices: Floats | None

    @property
    def hours(self) -> int:
        """T."""
        return len(self.sites[0].wind)

    @property
    def hour_of_day(self) -> NDArray[np.int64]:
        """0 to 23, of each hour [T]; as the clock of the files has it."""
        return (self.start.hour + np.arange(self.hours)) % 24


def pinned(data: str) -> str:
    """A folder's absolute path with a digest of its files, "PATH@sha256:DIGEST", as a run's config.json keeps it.

    Args:
      data: a folder, or what this function returned for it.

    Raises AverseError for no folder, files that cannot be read, and for a digest that is no longer that of the files.
    """
    found = _PIN.fullmatch(data)
    folder = as_path("data", found[1] if found else data).expanduser()
    try:
        if not folder.is_dir():
            wanted = "put it back where it was" if found else f"it must be one with {MICROGRIDS}.csv (docs/own-data.md)"
            raise AverseError(f"data {folder} is no folder; {wanted}")
        digest = hashlib.sha256()
        for path in sorted(folder.glob("*.csv")):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    except OSError as error:
        raise AverseError(f"data {folder} cannot be read: {error.strerror or error}") from None
    now = digest.hexdigest()[:16]
    if found and found[2] != now:
        raise AverseError(
            f"the files in {folder} have changed since they were fitted (sha256 {now}, not {found[2]}); put them back, "
            "or train anew with the folder as it is"
        )
    return f"{folder.resolve()}@sha256:{now}"


def read_pinned(data: str) -> Recording:
    """The measurements of what `pinned` returned. Raises AverseError as `read_folder` does."""
    found = _PIN.fullmatch(data)
    assert found is not None
    return read_folder(found[1])


def read_folder(folder: str | Path) -> Recording:
    """Read and check a folder of measurements.

    Raises AverseError, with the file and the line: for what is no such folder; files and columns that are missing or
    that nothing reads; cells that are no finite numbers, or out of range; hours that are missing, double or not the
    same in all files; and for less than two weeks.
    """
    folder = as_path("data", folder)
    listed = folder / f"{MICROGRIDS}.csv"
    if not folder.is_dir() or not listed.is_file():
        raise AverseError(f"data {folder} must be a folder with {MICROGRIDS}.csv, which names its microgrids")
    table = read_sheet(listed)
    table.require_columns(BATTERY_COLUMNS)
    names = _names(table)
    for path in sorted(folder.glob("*.csv")):
        if path.stem not in (*names, MICROGRIDS, PRICES):
            raise AverseError(f"{path} is not read: {listed} names no microgrid {path.stem!r}, only {', '.join(names)}")
    batteries = {column: table.numbers(column) for column in BATTERY_COLUMNS[1:]}
    for column, values in batteries.items():
        low, high = (0.1, 1.0) if column == "efficiency" else (LEAST, MOST)
        _require_range(table, column, values, low, high)
    sheets = {name: _hourly(folder / f"{name}.csv", HOURLY_COLUMNS) for name in names}
    priced = _hourly(folder / f"{PRICES}.csv", PRICE_COLUMNS) if (folder / f"{PRICES}.csv").exists() else None
    start = _same_hours([*sheets.values(), *([] if priced is None else [priced])])
    sites = tuple(
        Site(
            name,
            _numbers(sheets[name], "wind_mw", 0.0),
            _numbers(sheets[name], "load_mw", 0.0),
            *(values[row] for values in batteries.values()),
        )
        for row, name in enumerate(names)
    )
    return Recording(folder, start, sites, None if priced is None else _numbers(priced, "price", -MOST))


def _names(table: Sheet) -> list[str]:
    names = table.texts("microgrid")
    for row, name in enumerate(names):
        if not _NAME.fullmatch(name) or name in (MICROGRIDS, PRICES):
            raise AverseError(
                f"{table.where(row)}: a microgrid's name must be letters, digits, '.', '_' and '-', and neither "
                f"{MICROGRIDS} nor {PRICES}, not {name!r:.60}"
            )
        if name in names[:row]:
            raise AverseError(f"{table.where(row)} names the microgrid {name} again")
    if len(names) > MOST_MICROGRIDS:
        raise AverseError(f"{table.path} names {len(names)} microgrids; at most {MOST_MICROGRIDS} are allowed")
    return names


def _hourly(path: Path, columns: tuple[str, ...]) -> Sheet:
    """A file with a row for each hour. Raises AverseError where an hour is missing, double or out of order."""
    sheet = read_sheet(path)
    sheet.require_columns(columns)
    before: datetime | None = None
    for row, text in enumerate(sheet.texts("time")):
        now = _time(sheet, row, text)
        if before is not None and (now.tzinfo is None) != (before.tzinfo is None):
            raise AverseError(
                f"{sheet.where(row)}: either all times have an offset from UTC or none has, unlike {text}"
            )
        if before is not None and now - before != HOUR:
            what = "is missing" if now - before > HOUR else "comes twice or too late"
            raise AverseError(
                f"{sheet.where(row)}: {text} follows {before.isoformat(timespec='minutes')}, so that an hour {what}; "
                "every hour must be there once, in order (in a clock without summer time)"
            )
        before = now
    if len(sheet.rows) < LEAST_HOURS:
        raise AverseError(
            f"{path} has {len(sheet.rows)} hours; {LEAST_HOURS} (two weeks) are the least, a year is better"
        )
    return sheet


def _time(sheet: Sheet, row: int, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise AverseError(
            f"{sheet.where(row)}: time must be a date and an hour such as 2024-01-31T23:00, not {text!r:.60}"
        ) from None


def _same_hours(sheets: list[Sheet]) -> datetime:
    """The first hour. Raises AverseError unless all files have the same hours."""
    first = sheets[0]
    start = _time(first, 0, first.texts("time")[0])
    for sheet in sheets[1:]:
        begins = _time(sheet, 0, sheet.texts("time")[0])
        zones = (start.tzinfo is None) == (begins.tzinfo is None)
        if not zones or begins != start or len(sheet.rows) != len(first.rows):
            spans = [f"{s.path.name} has {len(s.rows)} hours from {s.texts('time')[0]} on" for s in (first, sheet)]
            raise AverseError(f"all files of {first.path.parent} must have the same hours: {', '.join(spans)}")
    return start


def _numbers(sheet: Sheet, column: str, low: float) -> Floats:
    values = sheet.numbers(column)
    _require_range(sheet, column, values, low, MOST)
    return np.array(values)


def _require_range(sheet: Sheet, column: str, values: list[float], low: float, high: float) -> None:
    for row, value in enumerate(values):
        if not low <= value <= high:
            raise AverseError(f"{sheet.where(row)}: {column} must be in [{low:g}, {high:g}], not {value:g}")


def battery_levels_needed(site: Site) -> int:
    """The fewest battery levels whose spacing the battery can move in an hour."""
    return math.ceil(site.battery_mwh / site.battery_mw - 1e-9) + 1
