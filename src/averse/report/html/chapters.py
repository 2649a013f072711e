"""The chapters of a report: what is told of the runs of one environment, and of one study."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from averse.evaluation import Episodes, Evaluation, LongRunEvaluation, Summary, summary_table
from averse.evaluation.tables import caption
from averse.evaluation.worst import worst_episodes
from averse.report.html import learning, returns
from averse.report.html.blocks import Block, Card, Chapter, Code, Facts, Files, Folded, Grid, Section, Words
from averse.report.html.charts import Chart, calibration, tradeoff
from averse.report.html.embedding import Download, csv_download, json_download
from averse.report.html.films import WORST, worst_table
from averse.report.html.runs import Curves, TrainedRun, episodes_by_setting
from averse.report.html.warnings import gathered, run_warnings
from averse.report.html.words import cell, duration, figures_of, names_of
from averse.settings import assigned
from averse.tables import Table
from averse.training.config import TrainingConfig

CARDS = 4  # policies that have one, at most; more are a table
MANY_METRICS = 50_000  # rows of metrics from which on they are not embedded
Policies = dict[str, tuple[Evaluation | LongRunEvaluation, str]]
"""Policy -> its evaluation, and its setting in that."""


def runs_chapter(title: str, runs: Sequence[TrainedRun]) -> Chapter:
    """The chapter on runs that were trained in the same world."""
    worlds = worlds_of(runs)
    home = next(iter(worlds.values()), {})
    where = next(iter(worlds), "")
    cards = [card(name, evaluation, label, where) for name, (evaluation, label) in home.items()]
    sections: list[Section] = []
    for where, policies in worlds.items():
        sections.append(Section(f"Evaluated in {where}", evaluation_blocks(policies)))
        if worst := worst_blocks(episodes_of(policies)):
            sections.append(Section(f"Worst episodes in {where}", worst))
    sections += training_sections(runs)
    return Chapter(
        title=title,
        subtitle=f"{len(runs)} run{'s' * (len(runs) > 1)}: {', '.join(run.name for run in runs)}",
        sections=sections,
        cards=cards if len(cards) <= CARDS else (),
        warnings=gathered({run.name: run_warnings(run) for run in runs}),
    )


def worlds_of(runs: Sequence[TrainedRun]) -> dict[str, Policies]:
    """Evaluations by the world they were played in, and how: only what was played alike is compared.

    Where runs were trained with different parameters of their world, these are part of the name.
    """
    trained = own_parameters(runs)
    worlds: dict[str, Policies] = {}
    for run in runs:
        for _, evaluation in run.evaluations:
            words = [evaluation.environment, trained[run.name]]
            if evaluation.basis is not None:
                words += [evaluation.basis.world, "the likeliest actions" if evaluation.basis.greedy else ""]
            where = ", ".join(word for word in words if word)
            for label in evaluation.summaries:
                worlds.setdefault(where, {})[f"{run.name} {label}".strip()] = evaluation, label
    return worlds


def own_parameters(runs: Sequence[TrainedRun]) -> dict[str, str]:
    """What tells the worlds of training of some runs of one environment apart, in words, by the run's name."""
    found = {}
    for run in runs:
        others = [each.config for each in runs if each.config.environment == run.config.environment]
        mine = run.config.environment_parameters
        differ = {n: v for n, v in mine.items() if any(other.environment_parameters.get(n) != v for other in others)}
        found[run.name] = assigned(differ)
    return found


def card(name: str, evaluation: Evaluation | LongRunEvaluation, label: str, where: str) -> Card:
    """A policy's most important figures."""
    if isinstance(evaluation, LongRunEvaluation):
        run = evaluation.summaries[label]
        return Card(name, where, {"J": str(run.objective), "mean eta": str(run.eta), "variance zeta": str(run.zeta)})
    figures = figures_of(evaluation.summaries[label])
    shown = [metric for metric in ("return", "worst_5", "collision_rate", "failure") if metric in figures]
    return Card(name, where, {word: cell(metric, figures[metric]) for metric, word in names_of(shown).items()})


def evaluation_blocks(policies: Policies) -> list[Block]:
    """Tables and figures of policies that were played in the same world."""
    long = {n: e.summaries[label] for n, (e, label) in policies.items() if isinstance(e, LongRunEvaluation)}
    short = {n: (e, label) for n, (e, label) in policies.items() if isinstance(e, Evaluation)}
    blocks: list[Block] = [Grid(long_run_table(long))] if long else []
    if not short:
        return blocks
    summaries = {name: evaluation.summaries[label] for name, (evaluation, label) in short.items()}
    table = summary_table(summaries)
    blocks.append(Grid(Table(table.headings, table.rows, caption=caption(summaries, warnings=False))))
    trained = {n: str(e.objectives[label]) for n, (e, label) in short.items() if label in e.objectives}
    if trained:
        blocks.append(Folded("What the policies were trained for", [Facts(trained)]))
    blocks += episode_charts(episodes_of(policies))
    blocks.append(Folded("The worst shares as a table", [Grid(tail_table(summaries))]))
    rows = {name: figures_of(summary) for name, summary in summaries.items()}
    if (chart := tradeoff(rows, "return", names_of(m for row in rows.values() for m in row))) is not None:
        blocks.append(chart)
    known = {n: e.calibrations[label] for n, (e, label) in short.items() if label in e.calibrations}
    if known:
        blocks.append(calibration({name: each.histogram for name, each in known.items()}))
        said = {n: e.calibration_words(label) for n, (e, label) in short.items() if label in e.left_out}
        blocks.append(Facts({name: words.partition(": ")[2] for name, words in said.items()}))
    return blocks


def tail_table(summaries: Mapping[str, Summary]) -> Table:
    """The mean of the worst share of the returns, by policy and share."""
    alphas = list(dict.fromkeys(alpha for summary in summaries.values() for alpha in summary.cvar_curve))
    rows = [
        [name, *(cell("return", summary.cvar_curve.get(alpha)) for alpha in alphas)]
        for name, summary in summaries.items()
    ]
    headings = ["mean of the worst", *(f"{100 * alpha:g}%" for alpha in alphas)]
    return Table(headings, rows, caption="100% is the mean return.")


def long_run_table(summaries: Mapping[str, Any]) -> Table:
    """Mean, variance and objective per step, by policy."""
    rows = [
        [name, f"{each.beta:g}", *map(str, (each.eta, each.zeta, each.objective)), f"{each.steps:,}"]
        for name, each in summaries.items()
    ]
    headings = ["policy", "beta", "mean eta", "variance zeta", "J", "steps per policy"]
    return Table(headings, rows, caption="J = eta - beta zeta; 95% intervals in brackets.")


def episodes_of(policies: Policies) -> dict[str, Episodes]:
    """The completed episodes of policies that have any."""
    tables: dict[int, dict[str, Episodes]] = {}
    found: dict[str, Episodes] = {}
    for name, (evaluation, label) in policies.items():
        if isinstance(evaluation, Evaluation):
            own = tables.setdefault(id(evaluation), {}) or episodes_by_setting(evaluation)
            tables[id(evaluation)] = own
            found |= {name: own[label]} if label in own else {}
    return found


def episode_charts(tables: Mapping[str, Episodes]) -> list[Chart]:
    """Distributions of the returns of some policies, and their tails."""
    return [returns.histogram(tables), returns.cvar_curves(tables)] if tables else []


def worst_blocks(tables: Mapping[str, Episodes]) -> list[Block]:
    """The table of the worst episodes, and all of them to take away."""
    if not tables:
        return []
    words = f"The {WORST} least returns among all of these policies; equal seeds are the same episode for each of them."
    return [Words(words), Grid(worst_table(worst_episodes(tables, WORST))), Files(episode_files(tables))]


def episode_files(tables: Mapping[str, Episodes]) -> list[Download]:
    """Every episode as a packed CSV file; quantiles of the returns where they are too many for a page."""
    count = sum(map(len, tables.values()))
    if count > returns.MANY:
        levels = {name: returns.quantile_table(table.episode_return) for name, table in tables.items()}
        rows = [(name, f"{level:.6g}", f"{value:.6g}") for name, pair in levels.items() for level, value in zip(*pair)]
        words = f"quantiles of the returns of {count:,} episodes, which are too many for a page"
        return [csv_download("quantiles.csv.gz", words, ("policy", "level", "return"), rows)]
    names = list(dict.fromkeys(name for table in tables.values() for name in table.columns()))
    lines: list[Any] = []
    for policy, table in tables.items():
        columns = table.columns()
        lines += [
            [policy, *(_csv(columns[name][i]) if name in columns else "" for name in names)] for i in range(len(table))
        ]
    return [csv_download("episodes.csv.gz", f"all {count:,} episodes", ("policy", *names), lines)]


def _csv(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:.10g}"


def training_sections(runs: Sequence[TrainedRun]) -> list[Section]:
    """Learning curves, diagnostics, where the runs come from, and their configurations."""
    curves: dict[str, Curves] = {
        f"{run.name} {label}".strip(): each for run in runs for label, each in run.curves.items()
    }
    points = learning.points_for(curves)
    charts = [learning.learning_curves(curves, metric, points) for metric in learning.CURVES]
    learned: list[Block] = [chart for chart in charts if chart is not None]
    if more := learning.diagnostics(curves):
        names = ", ".join(curves)
        words = f"The mean over training seeds, against environment steps; colours in this order: {names}."
        learned.append(Folded("Diagnostics", [Words(words), *more], small=True))
    rows = [row for run in runs for row in run.metrics]
    if rows and len(rows) <= MANY_METRICS:
        learned.append(Files([metrics_file(runs)]))
    sections = [Section("Learning", learned)] if learned else []
    return [*sections, Section("Where this comes from", origin_blocks(runs))]


def metrics_file(runs: Sequence[TrainedRun]) -> Download:
    """All rows of `metrics.jsonl` of some runs as a packed CSV file."""
    names = list(dict.fromkeys(name for run in runs for row in run.metrics for name in row))
    rows = [[run.name, *(f"{row[n]:.6g}" if n in row else "" for n in names)] for run in runs for row in run.metrics]
    return csv_download("metrics.csv.gz", f"{len(rows):,} reports of the trainings", ("run", *names), rows)


def origin_blocks(runs: Sequence[TrainedRun]) -> list[Block]:
    """Versions, seeds and times of runs, as far as their directories know, and their configurations."""
    rows = [_origin(run) for run in runs]
    headings = ["run", "environment", "method", "training seeds", "steps per trial", "updates done", "training took",
                "averse"]  # fmt: skip
    words = (
        "The time is that of the reports in metrics.jsonl: advancing and compiling, without checkpoints. Run "
        "directories do not hold commands, hardware or processor time."
    )
    configurations = [Code(run.name, json.dumps(_configuration(run.config), indent=2)) for run in runs]
    table = Grid(Table(headings, rows, caption=words))
    return [table, Folded("Configuration", configurations), Files(summaries_files(runs))]


def _origin(run: TrainedRun) -> list[str]:
    config = run.config
    done = [int(row["update"]) for row in run.last]
    least = min(done) if len(done) == len(config.trials) else 0
    seeds = ", ".join(map(str, config.seeds[:10])) + ("…" if len(config.seeds) > 10 else "")
    sweep = "".join(f"; {name} {', '.join(f'{v:g}' for v in values)}" for name, values in config.sweep.items())
    return [
        run.name, config.environment, config.method + sweep, seeds, f"{config.steps:,}",
        f"{least:,} of {config.total_updates:,}", duration(run.wall_seconds), run.written_by or "–",
    ]  # fmt: skip


def _configuration(config: TrainingConfig) -> Any:
    return json.loads(config.to_json())


def study_table(rows: Sequence[Any], first: str) -> Table:
    """Rows of a study: a policy (or a difference) and its figures, those in which settings differ beside the label."""
    names = names_of(metric for row in rows for metric in row.metrics)
    improved = any(row.improvement is not None for row in rows)
    settings = [name for name in dict.fromkeys(n for row in rows for n in row.settings) if _differs(rows, name)]
    headings = [first, *(["settings"] if settings else []), *names.values()]
    headings += ["probability of improvement"] if improved else []
    table = []
    for row in rows:
        chosen = {name: row.settings[name] for name in settings if name in row.settings}
        line = [row.label, *([_settings_text(chosen)] if settings else [])]
        line += [cell(metric, row.metrics.get(metric)) for metric in names]
        table.append([*line, *([cell("", row.improvement)] if improved else [])])
    return Table(headings, table)


def _settings_text(chosen: Mapping[str, Any]) -> str:
    return assigned(chosen) if chosen else "–"


def _differs(rows: Sequence[Any], name: str) -> bool:
    return len({json.dumps(row.settings.get(name), sort_keys=True, default=str) for row in rows}) > 1


def rows_files(name: str, rows: Sequence[Any], content: Mapping[str, Any]) -> list[Download]:
    """The figures of a study as a CSV file, one figure per line, and study.json as it is."""
    lines = [
        (row.label, metric, *("" if math.isnan(x) else repr(x) for x in (each.value, each.low, each.high)))
        for row in rows
        for metric, each in row.metrics.items()
    ]
    table = csv_download(f"{name}.csv", "figures and intervals", ("label", "metric", "value", "low", "high"), lines)
    return [*([table] if lines else []), json_download("study.json", "all that the study says", content)]


def summaries_files(runs: Sequence[TrainedRun]) -> list[Download]:
    """The evaluations of runs as JSON."""
    told = {run.name: {path.name: e.to_dict() for path, e in run.evaluations} for run in runs if run.evaluations}
    return [json_download("evaluations.json.gz", "every evaluation of these runs", told)] if told else []
