"""From the plan of a study to its outcome: trained, played, compared, written down and told."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from averse.engines import opened, require, require_simulators
from averse.environments.protocol import Description
from averse.evaluation import Episodes, concatenate
from averse.evaluation.basis import moved
from averse.evaluation.tables import NONE, caption
from averse.experiments.arguments import StudyArguments, folder, plan_of
from averse.experiments.arms import Arm
from averse.experiments.comparison import Difference, Row, difference, rate_name, rows_of
from averse.experiments.curves import learning_curve
from averse.experiments.engine import Job, Plan, carry_out, check_places, failure_metric, jobs_of
from averse.experiments.study import GOING_ON, Claim, as_json, check_folder, command_line, write_study
from averse.files import write_text
from averse.progress import progress_bar
from averse.report.plots import plot_learning_curves, plot_returns, plot_tradeoff
from averse.statistics import Estimate
from averse.tables import Table


@dataclass(frozen=True)
class Study:
    """A study that was checked and can begin."""

    verb: str
    title: str
    arguments: StudyArguments
    plan: Plan
    jobs: tuple[Job, ...]
    environment: Description  # where policies play
    failure: str | None  # the metric that counts failures

    @property
    def out(self) -> Path:
        """Its directory."""
        return self.plan.out.parent

    @property
    def seeds(self) -> int:
        """Training seeds of each arm."""
        return len(self.plan.seeds)

    def head(self) -> dict[str, Any]:
        """What study.json says whatever the outcome."""
        return {
            "verb": self.verb,
            "title": self.title,
            "environment": self.plan.environment,
            "trained_in": self.plan.trained_in,
            "parameters": dict(self.plan.parameters),
            "command": command_line(self.verb, self.arguments),
            "seeds": list(self.plan.seeds),
            "steps": self.plan.steps,
            "episodes": self.plan.episodes,
            "quick": self.arguments.quick,
        }


@dataclass(frozen=True)
class World:
    """The figures in one world."""

    tables: Mapping[str, Episodes]
    rows: Sequence[Row]
    differences: Sequence[Difference]  # of all arms but the first, to the first

    def row(self, label: str) -> Row:
        """That of an arm."""
        return next(row for row in self.rows if row.label == label)

    def difference(self, label: str) -> Difference:
        """That of an arm to the first."""
        return next(each for each in self.differences if each.label == label)


def checked(verb: str, arguments: StudyArguments, arms: Sequence[Arm], title: str) -> Study:
    """The study, all of which was checked, its folder too. Raises AverseError for what is wrong, before any work."""
    require(arguments.engine)
    plan = plan_of(verb, arguments, arms)
    check_folder(folder(verb, arguments), verb, plan.environment)
    jobs = jobs_of(plan)
    there, _ = moved(jobs[0].config, plan.environment)
    environment = there.build_environment()
    require_simulators(arguments.engine, there, jobs[0].config)
    failure = failure_metric(environment, arguments.failure)
    check_places(plan, jobs, in_parts=arguments.engine.deals_out)
    study = Study(verb, title, arguments, plan, tuple(jobs), environment, failure)
    write_study(study.out, **study.head(), unfinished=GOING_ON, claims=[], runs={}, rows=[], differences=[])
    return study


def carried_out(study: Study) -> dict[str, World]:
    """Train and play what is not there yet, and compare: the figures of each world, that of training first."""
    quiet = study.arguments.json
    if not quiet:
        Console().print(told_before(study), highlight=False)
    with opened(study.arguments.engine) as cluster, progress_bar(disable=quiet) as bar:
        tables = carry_out(study.plan, study.jobs, bar, cluster)
    return {world: _compared(study, found) for world, found in tables.items()}


def told_before(study: Study) -> str:
    """What is about to be done, in a line or two."""
    plan, worlds = study.plan, len(study.plan.worlds)
    where = (
        plan.environment
        if plan.environment == plan.trained_in
        else f"{plan.environment} (trained in {plan.trained_in})"
    )
    within = f" in each of {worlds} worlds" if worlds > 1 else ""
    return (
        f"{study.title}, {where}: {len(plan.arms)} policies x {study.seeds} training seeds x {plan.steps:,.0f} steps, "
        f"{plan.episodes:,} episodes each{within}; {study.out}"
    )


def finish(study: Study, worlds: Mapping[str, World], claims: Sequence[Claim], connect: Sequence[str] = ()) -> None:
    """Write the tables, episodes, figures and study.json of a study, and print what it came to.

    Args:
      connect: arms to be joined by a line in the trade-off, in this order; those on the front where none are named.
    """
    out, first = study.out, worlds[""]
    text = as_markdown(study, worlds, claims)
    write_text(out / "table.md", text)
    figures = {"rows": first.rows, "differences": first.differences, "worlds": _shifted(study, worlds)}
    write_text(out / "table.json", as_json(figures))
    for number, played in enumerate(worlds.values()):
        file = "episodes.parquet" if number == 0 else f"episodes-shift-{number}.parquet"
        concatenate(list(played.tables.values())).write_parquet(out / file)
    draw(study, first, connect)
    runs = {arm.label: str(job.path.relative_to(out)) for job in study.jobs for arm in job.arms}
    told = [claim.to_dict() for claim in claims]
    write_study(study.out, **study.head(), unfinished="", claims=told, runs=runs, **figures)
    if study.arguments.json:
        print((out / "study.json").read_text(), end="")
        return
    console = Console()
    for name, world in worlds.items():
        console.print(*tables_of(study, name, world), sep="\n\n", end="\n\n")
    for claim in claims:
        console.print(str(claim), highlight=False)
    console.print(f"study: {out}", highlight=False)


def draw(study: Study, world: World, connect: Sequence[str]) -> None:
    """The pictures: returns, safety against efficiency, learning curves against steps and against seconds."""
    out, title = study.out, study.title
    names = short_names([arm.label for arm in study.plan.arms])
    plot_returns(
        {names[label]: table for label, table in world.tables.items()}, out / "returns.png", f"{title}: returns"
    )
    summaries = {names[row.label]: row.summary for row in world.rows}
    front = [row.label for row in sorted(world.rows, key=lambda row: row.metrics["return"].value) if row.front]
    lines = [[names[label] for label in connect or front]]
    plot_tradeoff(summaries, out / "tradeoff.png", f"{title}: safety against efficiency", lines)
    if study.failure is not None and all(summary.collision_rate is not None for summary in summaries.values()):
        words = f"{study.failure} rate"
        plot_tradeoff(
            summaries,
            out / "failures.png",
            f"{title}: failures against efficiency",
            lines,
            y="collision_rate",
            ylabel=words,
        )
    found = {arm.label: learning_curve(job, arm) for job in study.jobs for arm in job.arms}
    curves = {names[arm.label]: found[arm.label] for arm in study.plan.arms}
    by_steps = {label: (curve.steps, curve.returns) for label, curve in curves.items()}
    plot_learning_curves(by_steps, out / "learning-steps.png", f"{title}: while learning")
    by_seconds = {label: (curve.seconds, curve.returns) for label, curve in curves.items()}
    plot_learning_curves(
        by_seconds, out / "learning-seconds.png", f"{title}: while learning", xlabel="seconds of training, per seed"
    )


def short_names(labels: Sequence[str], longest: int = 36) -> dict[str, str]:
    """The labels as pictures have room for them: what is too long is cut, and numbered."""
    return {
        label: label if len(label) <= longest else f"{number}: {label[: longest - 6]}..."
        for number, label in enumerate(labels, 1)
    }


def tables_of(study: Study, name: str, world: World) -> list[Table]:
    """The rows and the differences of a world as tables."""
    failure = study.failure
    headings = {"return": "return", "iqm": "IQM of seeds", "std": "standard deviation", "worst_5": "worst-5% return"}
    headings |= {} if failure is None else {rate_name(failure): f"{failure} rate"}
    below = caption({row.label: row.summary for row in world.rows})
    where = (
        f"{study.plan.environment}, {name or 'the world of training'}"
        if len(study.plan.worlds) > 1
        else study.plan.environment
    )
    rows = Table(
        ["policy", *headings.values(), "front"],
        [
            [row.label, *(_cell(row.metrics.get(key), key) for key in headings), "yes" if row.front else ""]
            for row in world.rows
        ],
        title=f"{study.title}: {where}",
        caption=f"{below} front: no other policy has at least this return and is at least as safe "
        f"({'worst-5% return' if failure is None else f'{failure} rate'}), and better in one.",
    )
    if not world.differences:
        return [rows]
    differences = Table(
        [f"less {world.differences[0].to}", *headings.values(), "probability of improvement"],
        [
            [
                each.label,
                *(_cell(each.metrics.get(key), key) for key in headings),
                _cell(each.probability_of_improvement, "probability"),
            ]
            for each in world.differences
        ],
        caption="Paired by training seed and episode seed; 95 % intervals, each by itself and not all at once.",
    )
    return [rows, differences]


def as_markdown(study: Study, worlds: Mapping[str, World], claims: Sequence[Claim]) -> str:
    """What table.md holds."""
    parts = [table.markdown() for name, world in worlds.items() for table in tables_of(study, name, world)]
    return "\n".join([*parts, *(f"- **{claim.verdict}**: {claim.claim} ({claim.words})" for claim in claims), ""])


def _compared(study: Study, tables: Mapping[str, Episodes]) -> World:
    settings = {arm.label: {"method": arm.method, **arm.all_settings} for arm in study.plan.arms}
    rows = rows_of(tables, settings, study.failure, study.environment.metrics)
    (first, reference), *others = tables.items()
    return World(tables, rows, [difference(label, table, first, reference, study.failure) for label, table in others])


def _shifted(study: Study, worlds: Mapping[str, World]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shift": dict(study.plan.worlds[name]), "rows": world.rows, "differences": world.differences}
        for name, world in worlds.items()
        if name
    ]


def _cell(estimate: Estimate | None, name: str) -> str:
    if estimate is None or math.isnan(estimate.value):
        return NONE
    return format(estimate, ".3f" if name.endswith("_rate") or name == "probability" else "")
