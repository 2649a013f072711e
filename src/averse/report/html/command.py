"""`averse report`: one HTML file of runs and studies."""

from pathlib import Path

import tyro

from averse.commands import Command
from averse.report.html.page import FILMS, write_report
from averse.settings import Whole, settings


@settings
class ReportArguments:
    """Write one HTML file about runs and studies: verdicts, warnings, tables, figures, the worst episodes, all data.

    It opens from a disk without a network, on a phone, in the dark, and on paper. Needs the extra `report`.
    """

    paths: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories (averse train, averse evaluate) and study directories (those with a study.json)."""
    out: Path = Path("report.html")
    """The file to write."""
    films: Whole = FILMS
    """Films of the worst episodes of each chapter, at most, where their world can be filmed."""
    overwrite: bool = False
    """Take the place of the file that is there."""
    quiet: bool = False
    """No progress bar and no summary."""


def run(arguments: ReportArguments) -> None:
    """The command. Raises AverseError for bad input before anything is written."""
    done = write_report(
        arguments.paths,
        arguments.out,
        films=arguments.films,
        overwrite=arguments.overwrite,
        progress=not arguments.quiet,
    )
    if arguments.quiet:
        return
    parts = [_counted(done.runs, "run"), _counted(done.studies, "study"), _counted(done.films, "film")]
    told = ", ".join(part for part in parts if part)
    print(
        f"wrote {done.path} ({done.size / 1e6:.1f} MB): {told}; {_counted(done.warnings, 'warning') or 'no warnings'}"
    )
    if done.without_films:
        print(f"films left out: {done.without_films}")


def _counted(number: int, thing: str) -> str:
    """ "1 run", "2 studies"; empty for none."""
    plural = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number:,} {thing if number == 1 else plural}" if number else ""


COMMAND = Command(ReportArguments, run)
