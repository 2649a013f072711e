"""The display of long work: one bar per task, with its figures and the time left."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

WIDE = 110  # characters from which a bar has room for everything


class _Figures(ProgressColumn):
    """What a task says of itself beside its bar, such as `progress_text`: its field `figures`, if it has one."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("figures", ""))


class _Console(Console):
    """Where bars are drawn. One that nobody sees any more, as behind a pipe that is closed, is no error."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class _Bars(Progress):
    """Bars that end at 100 % where the work does, though there was less of it than could be known."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is None:
            for task in self.tasks:
                self.update(task.id, completed=task.total)
        super().__exit__(kind, error, trace)


def progress_bar(disable: bool) -> Progress:
    """A bar per task, on standard error, with the task's figures (`update(task, figures=...)`) and the time left.

    Where the terminal is narrow, the bar is short and the time passed left out, so that figures stay on one line.
    As a context, whose end without an error is 100 % of every task.
    """
    console = _Console(stderr=True)
    narrow = console.width < WIDE
    columns = [
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=5 if narrow else 24),
        TaskProgressColumn(),
        _Figures(),
        *([] if narrow else [TimeElapsedColumn()]),
        TimeRemainingColumn(),
    ]
    return _Bars(*columns, console=console, disable=disable)


def progress_text(steps_per_second: float | None, figures: list[dict[str, float]]) -> str:
    """The figures beside the bar: speed, and return and tail (or J, mean and variance) averaged over the runs.

    Args:
      steps_per_second: None where nobody measures it.
    """

    def average(name: str) -> str:
        values = [row[name] for row in figures if name in row]
        return f"{np.mean(values):.2f}" if values else "-"

    speed = "" if steps_per_second is None else f"{steps_per_second:,.0f} steps/s  "
    if any("objective" in row for row in figures):  # a learner of the long-run mean and variance
        return f"{speed}J {average('objective')}  mean {average('eta')}  variance {average('zeta')}"
    return f"{speed}return {average('return')}  worst-5% {average('cvar_05')}"
