"""`averse interpolate`: policies between two trained ones, and whether that is worth what training anew is."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console

from averse.commands import Command
from averse.environments import HOST_ENVS
from averse.errors import AverseError
from averse.evaluation import Episodes, concatenate, summarise
from averse.evaluation.memory import check_episodes
from averse.evaluation.play import FIRST_SEED
from averse.evaluation.playing import Play, Stage
from averse.evaluation.summary import COLLISION
from averse.experiments.mixing import aligned, chord, difference_from_chord, mixed_estimates
from averse.experiments.pairing import (
    Contender,
    MeetingArguments,
    contenders,
    from_folder,
    in_world_of,
    metrics_of,
    one_contender,
    reliability,
    told_apart,
    unfinished,
)
from averse.experiments.study import Claim, as_json, command_line, judged, write_study
from averse.files import folder_written_whole, write_text
from averse.learners.combined import Mixture, mixture
from averse.progress import progress_bar
from averse.report.interpolation import plot_against_alpha, plot_front
from averse.settings import Count, Fraction, settings
from averse.statistics import Estimate
from averse.tables import Table
from averse.training.run import Run, load

QUICK = 200  # episodes of a quick look
GRID = tuple(k / 10 for k in range(11))
NAMES = {"return": "return", "worst_5": "worst-5% return", "std": "standard deviation"}


@settings
class InterpolateArguments(MeetingArguments):
    """Mix the policies of two runs, alpha A + (1 - alpha) B: return, tail and failures against alpha.

    At every step each agent acts by A with probability alpha, else by B. The ends are A (alpha 1) and B (alpha 0); the
    chord between them is what a straight line would give. All play the same episode seeds.
    """

    a: tyro.conf.Positional[Path]
    """Run directory of A, in whose world all play."""
    b: tyro.conf.Positional[Path]
    """Run directory of B, of any method that sees and chooses the same. Trial i of A is mixed with trial i of B."""
    alphas: tuple[Fraction, ...] | None = None
    """Shares of A, 0 0.1 0.2 ... 1 where not given; the ends 0 and 1 are always played."""
    per_episode: bool = False
    """Mix whole episodes instead of steps: A plays an episode with probability alpha, else B; the mean is then on the
    chord."""
    of_a: tuple[str, ...] | None = None
    """Which swept setting of A, where it has several: tau=3."""
    of_b: tuple[str, ...] | None = None
    """Which swept setting of B."""
    reference: tuple[Path, ...] = ()
    """Run directories of policies that were trained anew, each a point to compare the mixtures with."""
    episodes: Count | None = None
    """Episodes of each policy and alpha, 1000 where not given."""
    out: Path = Path("runs/interpolation")
    """Directory to create, for the tables, the figures, all episodes, and study.json."""
    quick: bool = False
    """A quick look: 200 episodes, and alphas 0, 0.5 and 1, unless others are given."""


class Pair(NamedTuple):
    """Two sides, trial by trial, and how they are played."""

    a: Contender
    b: Contender
    greedy: bool
    episodes: int

    def seeds(self, k: int) -> np.ndarray:
        """Episode seeds of the k-th trials, uint [E], which are those that `averse evaluate` plays."""
        return np.arange(FIRST_SEED + k * self.episodes, FIRST_SEED + (k + 1) * self.episodes)


class Point(NamedTuple):
    """One alpha."""

    alpha: float
    metrics: dict[str, Estimate]
    above: dict[str, Estimate]  # how far above the chord, in the metric's own units


def run(arguments: InterpolateArguments) -> None:
    """The command. Raises AverseError for bad input before anything is played."""
    pair, references = _sides(arguments)
    inner = ((0.5,) if arguments.quick else GRID) if arguments.alphas is None else arguments.alphas
    alphas = sorted({0.0, *inner, 1.0})
    played = [0.0, 1.0] if arguments.per_episode else alphas
    policies = len(pair.a.trials) * len(played) + sum(len(each.trials) for each in references)
    seeds = max(len(each.trials) for each in (pair.a, *references))
    check_episodes(pair.a.run.environment, None, pair.episodes, policies, FIRST_SEED, seeds)
    with folder_written_whole(arguments.out) as out:
        with progress_bar(disable=arguments.json) as bar:
            task = bar.add_task("play", total=policies * pair.episodes)
            workers = arguments.workers or HOST_ENVS
            tables, others = play_all(pair, played, references, workers, lambda n: bar.advance(task, n))
        words = pair.a.run.environment.metrics
        points = points_of(tables, alphas, arguments.per_episode, words)
        rows = {each.label: metrics_of(summarise(others[each.label], words)) for each in references}
        _write(out, arguments, pair, references, tables, others, points, rows)
    _show(arguments, pair, points, rows)


def _sides(arguments: InterpolateArguments) -> tuple[Pair, list[Contender]]:
    """A and B, and the references, all in A's world. Raises AverseError for those that do not go together."""
    world = arguments.world_of(load(arguments.a), "interpolate")
    other = in_world_of(load(arguments.b), world)
    a = one_contender(arguments.a, world, "--of-a", arguments.of_a)
    b = one_contender(arguments.b, other, "--of-b", arguments.of_b)
    if len(a.trials) != len(b.trials):
        raise AverseError(
            f"trial i of A is mixed with trial i of B, and {arguments.a} has {len(a.trials)} training seeds, "
            f"{arguments.b} {len(b.trials)}"
        )
    found: list[Contender] = []
    for path in arguments.reference:
        found += contenders(path, in_world_of(load(path), world))
    a, b, *found = told_apart([a, b, *found])
    episodes = arguments.episodes or (QUICK if arguments.quick else 1000)
    return Pair(a, b, arguments.greedy, episodes), found


def play_all(
    pair: Pair,
    alphas: Sequence[float],
    references: Sequence[Contender],
    workers: int,
    on_progress: Callable[[int], None],
) -> tuple[dict[float, Episodes], dict[str, Episodes]]:
    """The episodes of the mixtures by alpha, and of the references by label; all on the same episode seeds."""
    world = pair.a.run.environment
    with Stage(world, workers) as stage:
        play = stage.player(mixture(pair.a.run.learner, pair.b.run.learner), pair.greedy)
        tables = {alpha: _mixed(pair, play, alpha, on_progress) for alpha in alphas}
        others = {}
        for each in references:
            learner = each.run.learner
            alone = stage.player(learner, pair.greedy or learner.explores_by_noise)
            parts = []
            for k, (trial, seed) in enumerate(zip(each.trials, each.seeds)):
                result = alone(each.run.state(trial), pair.seeds(k), on_progress)
                parts.append(result.table(world.metrics, {"seed": seed}))
            others[each.label] = concatenate(parts)
    return tables, others


def _mixed(pair: Pair, play: Play, alpha: float, on_progress: Callable[[int], None]) -> Episodes:
    """The episodes of the mixtures of all pairs of trials; `training_seed` is the pair's number."""
    tables = []
    for k, (i, j) in enumerate(zip(pair.a.trials, pair.b.trials)):
        state = Mixture(pair.a.run.state(i), pair.b.run.state(j), jnp.float32(alpha))
        result = play(state, pair.seeds(k), on_progress)
        tables.append(result.table(pair.a.run.environment.metrics, {"seed": k, "alpha": alpha}))
    return concatenate(tables)


def points_of(
    tables: dict[float, Episodes], alphas: Sequence[float], per_episode: bool, words: Mapping[str, str]
) -> list[Point]:
    """The figures of each alpha, and how far they are above the chord; `words` are of the environment's metrics."""
    b, a = tables[0.0], tables[1.0]
    points = []
    for alpha in alphas:
        if per_episode:
            one, other = aligned(a, b)
            metrics = mixed_estimates(one, other, alpha, words)
            above: dict[str, Estimate] = {}
        else:
            metrics = metrics_of(summarise(tables[alpha], words))
            mixed, one, other = aligned(tables[alpha], a, b)
            above = difference_from_chord(mixed, one, other, alpha, words) if 0 < alpha < 1 else {}
        points.append(Point(alpha, metrics, above))
    return points


def failure_metric(metrics: dict[str, Estimate]) -> str | None:
    """The metric that tells of failures: collisions, else what the environment counts first, if anything."""
    if f"{COLLISION}_rate" in metrics:
        return f"{COLLISION}_rate"
    own = [name for name in metrics if name not in (*NAMES, "length", "worker_failed")]
    return next((name for name in ("failure", "falls", "crashes") if name in own), own[0] if own else None)


def table_of(points: Sequence[Point], rows: dict[str, dict[str, Estimate]], pair: Pair) -> Table:
    """Every alpha, then every reference: return, tail, spread, failures."""
    failure = failure_metric(points[0].metrics)
    names = [*NAMES, *([failure] if failure else [])]
    ends = {0.0: f"0: {pair.b.label}", 1.0: f"1: {pair.a.label}"}
    lines = {ends.get(point.alpha, f"{point.alpha:g}"): point.metrics for point in points} | rows
    pairs = len(pair.a.trials)
    whole = f"{pair.episodes:,} episodes each, {pairs} pair{'s' * (pairs > 1)} of training seeds"
    return Table(
        ["alpha", *(NAMES.get(name, name.replace("_", " ")) for name in names)],
        [[name, *(_cell(metrics.get(column), column) for column in names)] for name, metrics in lines.items()],
        title=f"alpha {pair.a.label} + (1 - alpha) {pair.b.label}, in {pair.a.run.environment.name}",
        caption=f"95% intervals in brackets; {whole}."
        + reliability(pair.episodes * pairs, pairs, {each.label: each.run for each in (pair.a, pair.b)}),
    )


def _cell(estimate: Estimate | None, name: str) -> str:
    if estimate is None or estimate.value != estimate.value:
        return "–"
    return format(estimate, ".1%" if name.endswith("_rate") else "")


def claims_of(points: Sequence[Point], seeds: int) -> list[Claim]:
    """Whether the mixture in the middle is better than the chord: in the mean, and in the worst 5 %.

    Args:
      seeds: how many pairs of training seeds the figures rest on.
    """
    inner = [point for point in points if point.above]
    if not inner:
        return []
    middle = min(inner, key=lambda point: (abs(point.alpha - 0.5), point.alpha))
    words = {"return": "mean return", "worst_5": "worst 5 % of the returns"}
    return [
        judged(
            f"At alpha {middle.alpha:g} the {what} of the mixture is above the chord between both policies.",
            middle.above[name],
            seeds,
            words=lambda effect: f"{effect} above it",
        )
        for name, what in words.items()
    ]


def _write(
    out: Path,
    arguments: InterpolateArguments,
    pair: Pair,
    references: Sequence[Contender],
    tables: dict[float, Episodes],
    others: dict[str, Episodes],
    points: Sequence[Point],
    rows: dict[str, dict[str, Estimate]],
) -> None:
    """All files of the study."""
    concatenate(list(tables.values())).write_parquet(out / "episodes.parquet")
    for k, each in enumerate(references):
        others[each.label].write_parquet(out / f"episodes-reference-{k + 1}.parquet")
    table = table_of(points, rows, pair)
    write_text(out / "table.md", table.markdown())
    failure = failure_metric(points[0].metrics)
    metrics = {**NAMES, **({failure: failure.replace("_", " ")} if failure else {})}
    ends = (pair.b.label, pair.a.label)
    figures = {point.alpha: point.metrics for point in points}
    plot_against_alpha(figures, rows, ends, metrics, out / "interpolation.png", title=table.title)
    plot_front(figures, rows, ends, out / "front.png", title=table.title)
    chords = [{"alpha": p.alpha, "metrics": chord(points[0].metrics, points[-1].metrics, p.alpha)} for p in points]
    mixed = [{"alpha": p.alpha, "metrics": p.metrics, "above_chord": p.above} for p in points]
    named = [{"label": each.label, "settings": each.settings, "metrics": rows[each.label]} for each in references]
    write_text(
        out / "table.json",
        as_json({"interpolation": mixed, "chord": chords, "reference": named}),
    )
    runs: dict[str, Run] = {each.label: each.run for each in (pair.a, pair.b, *references)}
    write_study(
        out,
        verb="interpolate",
        title=table.title,
        environment=pair.a.run.config.environment,
        command=command_line("interpolate", arguments),
        seeds=list(pair.a.seeds),
        episodes=pair.episodes,
        quick=arguments.quick,
        mixed="episodes" if arguments.per_episode else "steps",
        unfinished=unfinished(runs),
        claims=claims_of(points, len(pair.a.trials)),
        runs={each.label: from_folder(each.path, arguments.out) for each in (pair.a, pair.b, *references)},
        rows=[
            {"label": each.label, "settings": each.settings, "metrics": point.metrics}
            for each, point in ((pair.a, points[-1]), (pair.b, points[0]))
        ]
        + named,
        interpolation=mixed,
        chord=chords,
        reference=named,
    )


def _show(
    arguments: InterpolateArguments, pair: Pair, points: Sequence[Point], rows: dict[str, dict[str, Estimate]]
) -> None:
    if arguments.json:
        print((arguments.out / "study.json").read_text(), end="")
        return
    console = Console()
    console.print(table_of(points, rows, pair))
    for claim in claims_of(points, len(pair.a.trials)):
        console.print(str(claim), highlight=False)
    console.print(f"written to {arguments.out}: table.md, interpolation.png, front.png, study.json", highlight=False)


COMMAND = Command(InterpolateArguments, run)
