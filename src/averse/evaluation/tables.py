"""The table of summaries: one row per policy, one column per figure, every figure with its interval."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from averse.errors import AverseError, unknown_name
from averse.evaluation.arguments import mapping
from averse.evaluation.summary import Summary
from averse.settings import check_value
from averse.statistics import Estimate
from averse.tables import Table

NONE = "–"
UNITS = frozenset(["s", "m", "m/s", "m/s2", "m/s²", "km/h", "N", "rad", "deg", "kW", "kWh", "MW", "MWh", "%", "steps"])


@dataclass(frozen=True)
class Column:
    """A column: its heading, how to find its estimate in a summary, its number format ("" = as precise as known)."""

    heading: str
    estimate: Callable[[Summary], Estimate | None]
    format: str = ""

    def cell(self, summary: Summary) -> str:
        estimate = self.estimate(summary)
        return NONE if estimate is None or estimate.value != estimate.value else format(estimate, self.format)


def columns_of(summaries: Mapping[str, Summary], metrics: Sequence[str] | None = None) -> list[Column]:
    """The columns of a comparison: return, worst-5%, collision rate where there is one, and metrics.

    `metrics` names those to show; by default every metric that some summary has, and the episode length where there is
    no metric at all. The unit in a heading is the part of the environment's words ("mean time to cross, s") after the
    last comma or in parentheses, where it is a known one.
    """
    if not summaries:
        raise AverseError("summaries is empty: no summary to tabulate")
    known = {name: metric.unit for summary in summaries.values() for name, metric in summary.metrics.items()}
    for name in () if metrics is None else metrics:
        if name not in known and name != "length":
            raise unknown_name("metric", name, [*known, "length"])
    shown = list(known) or ["length"] if metrics is None else list(metrics)
    columns = [Column("return", lambda s: s.mean), Column("worst-5% return", lambda s: s.cvar_05)]
    if any(summary.collision_rate is not None for summary in summaries.values()):
        columns.append(Column("collision rate", lambda s: s.collision_rate, ".1%"))
    return columns + [_metric_column(name, known.get(name, "")) for name in shown]


def summary_table(
    summaries: Mapping[str, Summary], metrics: Sequence[str] | None = None, title: str = "", first: str = "policy"
) -> Table:
    """The table of some policies' figures: `print(summary_table({"mappo": summary, ...}))`, or `.markdown()` of it.

    Args:
      metrics: names of those to show; see `columns_of`.
      first: heads the column of the policies' names.

    Raises AverseError without any summary, for other kinds of arguments, and for a metric that none has, with the
    nearest name.
    """
    mapping("summaries", Summary, "summaries (Summary)", summaries)
    for name, kind, value in (
        ("metrics", tuple[str, ...] | None, metrics),
        ("title", str, title),
        ("first", str, first),
    ):
        check_value(name, kind, value)
    columns = columns_of(summaries, metrics)
    return Table(
        headings=[first, *(column.heading for column in columns)],
        rows=[[name, *(column.cell(summary) for column in columns)] for name, summary in summaries.items()],
        title=title,
        caption=caption(summaries),
    )


def caption(summaries: Mapping[str, Summary], warnings: bool = True) -> str:
    """What the figures rest on: episodes, training seeds, failures and (unless told elsewhere) warnings."""
    confidence = {f"{summary.confidence:.0%}" for summary in summaries.values()}
    episodes = _range(summary.episodes for summary in summaries.values())
    text = f"{' / '.join(sorted(confidence))} intervals in brackets; {episodes} episodes"
    each = " each" if len(summaries) > 1 else ""
    learnt = [summary.training_seeds for summary in summaries.values() if summary.training_seeds]
    seeds = f"{_range(learnt)} training seed{'s' if max(learnt) > 1 else ''}" if learnt else ""
    if 0 < len(learnt) < len(summaries):
        text += f"{each}, {seeds} of what was trained."
    else:
        text += f", {seeds}{each}." if learnt else f"{each}."
    failed = {name: summary.failed_episodes for name, summary in summaries.items() if summary.failed_episodes}
    if failed:
        text += " Failed episodes, left out: " + ", ".join(f"{name} {count}" for name, count in failed.items()) + "."
    whose_are: dict[str, list[str]] = {}
    for name, summary in summaries.items():
        if warnings and summary.warning is not None:
            whose_are.setdefault(summary.warning, []).append(name)
    for warning, names in whose_are.items():
        whose = "" if len(names) == len(summaries) else f" ({', '.join(names)})"
        text += f" Warning{whose}: {warning}."
    return text


def _metric_column(name: str, words: str) -> Column:
    if name == "length":
        return Column("length, steps", lambda s: s.length)
    unit = _unit(words)
    heading = name.replace("_", " ") + (f", {unit}" if unit else "")
    return Column(heading, lambda s: s.metrics[name].mean if name in s.metrics else None)


def _unit(words: str) -> str:
    """The unit in an environment's words on a metric: "time to cross (s)" or "time to cross, s" -> "s"; else ""."""
    unit = words.rpartition("(")[2].removesuffix(")") if words.endswith(")") else words.rpartition(",")[2]
    return unit.strip() if unit.strip() in UNITS else ""


def _range(counts) -> str:
    low_high = sorted(set(counts))
    return f"{low_high[0]:,}" if len(low_high) == 1 else f"{low_high[0]:,}-{low_high[-1]:,}"
