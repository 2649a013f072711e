"""`averse risk`: measures of risk of numbers of one's own, from a table in a text file."""

import json
import re
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console

from averse.commands import Command
from averse.errors import AverseError
from averse.evaluation.objective import mean_of_measures
from averse.files import told_if_not_written, writable_folder
from averse.report.risk import plot_risk
from averse.report.style import check_suffix
from averse.risk import CVaR, Expectation, RiskMeasure, VaR, parse
from averse.settings import settings
from averse.sheets import read_sheet
from averse.statistics import Estimate
from averse.tables import Table

TAIL = 0.05  # what is shaded where no measure says how much
_NEXT_MEASURE = re.compile(r",(?=\s*[A-Za-z][\w.-]*\s*(?::|,|$))")  # the comma of "b=2,a=1" is not one


@settings
class RiskArguments:
    """Measure the risk of numbers of your own: a column of a CSV file, each measure with its 95 % interval.

    Larger numbers are better, as returns are; every row counts the same. Intervals are those of a bootstrap over rows.
    """

    file: tyro.conf.Positional[Path]
    """A CSV file whose first row names its columns; commas, semicolons or tabs are between them."""
    column: str | None = None
    """Which column; not needed where there is one."""
    measure: tuple[str, ...] = ("cvar:0.05",)
    """Risk measures (`averse list`), with commas or spaces between them: cvar:0.05,entropic:3."""
    out: Path | None = None
    """A picture to write (.png, .svg or .pdf): the numbers' distribution with its tail, and the measures."""
    json: bool = False
    """Print JSON for machines."""


def run(arguments: RiskArguments) -> None:
    """The command. Raises AverseError for bad input before anything is computed."""
    measures = measures_of(arguments.measure)
    if arguments.out is not None:
        check_suffix(arguments.out)
    column, values = read_column(arguments.file, arguments.column)
    if arguments.out is not None:
        writable_folder(arguments.out.parent)
    found = {name: measured(measure, values) for name, measure in {"mean": Expectation(), **measures}.items()}
    if arguments.json:
        figures = {name: estimate.to_dict() for name, estimate in found.items()}
        print(
            json.dumps(
                {"file": str(arguments.file), "column": column, "rows": len(values), "measures": figures}, indent=2
            )
        )
    else:
        rows = [[name, str(estimate)] for name, estimate in found.items()]
        Console().print(Table(("measure", "value"), rows, title=f"{column}: {len(values):,} rows"))
    if arguments.out is not None:
        with told_if_not_written(arguments.out, "make room and draw it again"):
            plot_risk(values, found, arguments.out, tail=_tail(measures), xlabel=column)


def measured(measure: RiskMeasure, values: np.ndarray) -> Estimate:
    """A measure of values [n] of equal weight, and its interval over them; in double precision."""
    return mean_of_measures(measure, [values[:, None]])


def measures_of(texts: tuple[str, ...]) -> dict[str, RiskMeasure]:
    """Measures by the text that names each. Raises AverseError for none, and for one that nobody knows."""
    found = {}
    for text in (part for given in texts for part in _NEXT_MEASURE.split(given)):
        measure = parse(text.strip())
        found[str(measure)] = measure
    if not found:
        raise AverseError("--measure needs a risk measure such as cvar:0.05")
    return found


def read_column(path: Path, column: str | None) -> tuple[str, np.ndarray]:
    """The name and the numbers [n] of a column of a CSV file.

    Args:
      column: its name; not needed where there is one.

    Raises AverseError, with the line, for a file that cannot be read, a column that is not there (with the nearest
    one), and for a cell that is no finite number.
    """
    sheet = read_sheet(path)
    if column is None and len(sheet.columns) > 1:
        raise AverseError(f"choose one of the columns of {path} with --column: {', '.join(sheet.columns)}")
    name = sheet.columns[0] if column is None else column
    return name, np.array(sheet.numbers(name))


def _tail(measures: dict[str, RiskMeasure]) -> float:
    """The share of the worst numbers that is shaded: that of the first measure which has one."""
    return next((float(each.alpha) for each in measures.values() if isinstance(each, CVaR | VaR)), TAIL)  # type: ignore[arg-type]


COMMAND = Command(RiskArguments, run)
