"""`averse crossplay`: agents of different seeds, risk tolerances and methods act together."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement
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
from averse.evaluation.accounts import Played
from averse.evaluation.memory import check_episodes
from averse.evaluation.play import FIRST_SEED
from averse.evaluation.playing import Play, Stage
from averse.experiments.pairing import (
    Contender,
    MeetingArguments,
    contenders,
    from_folder,
    in_world_of,
    metrics_of,
    reliability,
    told_apart,
    unfinished,
)
from averse.experiments.study import as_json, command_line, write_study
from averse.files import folder_written_whole, write_text
from averse.learners.combined import Cast, cast
from averse.progress import progress_bar
from averse.report.crossplay import plot_matrix
from averse.settings import Count, settings
from averse.statistics import Estimate
from averse.tables import Table
from averse.training.run import load

QUICK = 100  # episodes of a quick look
SHOWN = {"return": "ego return", "worst_5": "ego worst-5% return", "collision_rate": "collision rate"}


@settings
class CrossplayArguments(MeetingArguments):
    """Let agents of several runs act together: ego return, tail and collisions for every policy among every other.

    One agent, the ego, acts by the policy of the row; all others, its partners, by that of the column. The ego's seat
    is each agent's in turn, equally often. The diagonal is own play, and all play the same episode seeds.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, of any methods that see and choose the same; all play in the world of the first. Each swept
    setting is a row and a column."""
    episodes: Count | None = None
    """Episodes of each pair of policies, 1000 where not given; rounded up to a multiple of the seats."""
    out: Path = Path("runs/crossplay")
    """Directory to create, for the tables, the figure, all episodes, and study.json."""
    quick: bool = False
    """A quick look: 100 episodes of each pair."""


class Meeting(NamedTuple):
    """A policy among others: trials of two contenders, by their numbers."""

    ego: int  # of the contender
    ego_trial: int  # of the run
    partner: int
    partner_trial: int
    place: int  # of the ego's trial among those of its contender; whose episode seeds are played


def run(arguments: CrossplayArguments) -> None:
    """The command. Raises AverseError for bad input before anything is played."""
    players = _players(arguments)
    world = players[0].run.environment
    wanted = arguments.episodes or (QUICK if arguments.quick else 1000)
    episodes = -(-wanted // world.num_agents) * world.num_agents
    plan = meetings(players)
    most = max(len(each.trials) for each in players)
    check_episodes(world, None, episodes, len(plan), FIRST_SEED, most)
    with folder_written_whole(arguments.out) as out:
        with progress_bar(disable=arguments.json) as bar:
            task = bar.add_task("play", total=episodes * len(plan))
            workers = arguments.workers or HOST_ENVS
            tables = play_all(players, plan, episodes, arguments.greedy, workers, lambda n: bar.advance(task, n))
        cells = cells_of(players, tables)
        _write(out, arguments, players, tables, cells, episodes)
    if arguments.json:
        print((arguments.out / "study.json").read_text(), end="")
        return
    console = Console()
    for name in _names(cells):
        console.print(matrix_table(players, cells, name, episodes))
    console.print(f"written to {arguments.out}: table.md, crossplay.png, study.json", highlight=False)


def _players(arguments: CrossplayArguments) -> list[Contender]:
    """Who plays, all in the world of the first run. Raises AverseError for those that cannot play together."""
    if not arguments.runs:
        raise AverseError("crossplay needs one run directory or more")
    places = [path.resolve() for path in arguments.runs]
    if twice := [str(path) for path, place in zip(arguments.runs, places) if places.count(place) > 1]:
        raise AverseError(f"{twice[-1]} is given twice; its seeds meet each other anyway")
    world = arguments.world_of(load(arguments.runs[0]), "crossplay")
    if world.environment.num_agents < 2:
        raise AverseError(f"{world.config.environment} has a single agent, and crossplay needs several that meet")
    players: list[Contender] = []
    for path in arguments.runs:
        players += contenders(path, in_world_of(load(path), world))
    players = told_apart(players)
    if len(players) < 2 and len(players[0].trials) < 2:
        raise AverseError(f"crossplay needs two policies or more, and {arguments.runs[0]} has one")
    return players


def meetings(players: Sequence[Contender]) -> list[Meeting]:
    """Who meets whom.

    The k-th training seed of the row meets the k-th of the column (from the first on again, where it has fewer). Of
    each contender with several seeds, every seed also meets every other one.
    """
    found = []
    for i, ego in enumerate(players):
        for j, partner in enumerate(players):
            for k, trial in enumerate(ego.trials):
                found.append(Meeting(i, trial, j, partner.trials[k % len(partner.trials)], k))
        for k, trial in enumerate(ego.trials):
            found += [Meeting(i, trial, i, other, k) for other in ego.trials if other != trial]
    return found


def play_all(
    players: Sequence[Contender],
    plan: Sequence[Meeting],
    episodes: int,
    greedy: bool,
    workers: int,
    on_progress: Callable[[int], None],
) -> list[tuple[Meeting, Episodes]]:
    """The episodes of every meeting; `agent_returns` are the ego's.

    Two methods are one compiled program, whoever of them is the ego, and whatever their seeds and seats.
    """
    tables: dict[Meeting, Episodes] = {}
    with Stage(players[0].run.environment, workers) as stage:
        for i, j in combinations_with_replacement(range(len(players)), 2):
            here = [meeting for meeting in plan if {meeting.ego, meeting.partner} == {i, j}]
            play = stage.player(cast(players[i].run.learner, players[j].run.learner), greedy)
            for meeting in here:
                tables[meeting] = _meet(players, meeting, meeting.ego == i, play, episodes, on_progress)
    return [(meeting, tables[meeting]) for meeting in plan]


def _meet(
    players: Sequence[Contender],
    meeting: Meeting,
    ego_first: bool,
    play: Play,
    episodes: int,
    on_progress: Callable[[int], None],
) -> Episodes:
    """The episodes of one meeting: as many for each seat of the ego; the episode's seed modulo A is the seat."""
    ego, partner = players[meeting.ego], players[meeting.partner]
    world = ego.run.environment
    states = ego.run.state(meeting.ego_trial), partner.run.state(meeting.partner_trial)
    seeds = np.arange(FIRST_SEED + meeting.place * episodes, FIRST_SEED + (meeting.place + 1) * episodes)
    parts = []
    for seat in range(world.num_agents):
        is_ego = np.arange(world.num_agents) == seat
        mine = seeds[seeds % world.num_agents == seat]
        by_first = jnp.asarray(is_ego if ego_first else ~is_ego)
        state = Cast(*(states if ego_first else states[::-1]), by_first)
        parts.append(_table(players, meeting, play(state, mine, on_progress), seat))
    return concatenate(parts)


def _table(players: Sequence[Contender], meeting: Meeting, played: Played, seat: int) -> Episodes:
    """Episodes with the ego in a seat: its returns, and the mean of its partners'."""
    ego, partner = players[meeting.ego], players[meeting.partner]
    whole = played.table(ego.run.environment.metrics)
    count = len(whole)

    def seed_of(player: Contender, trial: int) -> float:
        return player.run.trials[trial]["seed"]

    return replace(
        whole,
        training_seed=np.full(count, int(seed_of(ego, meeting.ego_trial))),
        agent_returns=whole.agent_returns[:, seat : seat + 1],
        metrics={**whole.metrics, "partners_return": np.delete(whole.agent_returns, seat, axis=1).mean(1)},
        settings={
            "ego": np.full(count, ego.label, object),
            "partner": np.full(count, partner.label, object),
            "partner_seed": np.full(count, float(seed_of(partner, meeting.partner_trial))),
            "seat": np.full(count, float(seat)),
        },
    )


class Cells(NamedTuple):
    """The figures of a crossplay."""

    matrix: list[list[dict[str, Estimate]]]  # [row][column]
    across: list[dict[str, Estimate]]  # of each contender, its seeds among its other seeds; empty where it has one


def cells_of(players: Sequence[Contender], tables: Sequence[tuple[Meeting, Episodes]]) -> Cells:
    """The figures of each pair. Intervals are over the ego's training seeds, then its episodes."""

    words = {**players[0].run.environment.metrics, "partners_return": ""}

    def figures(chosen: list[Episodes]) -> dict[str, Estimate]:
        return metrics_of(summarise(concatenate(chosen), words)) if chosen else {}

    numbers = range(len(players))
    own = [(m, table) for m, table in tables if m.ego != m.partner or m.ego_trial == m.partner_trial]
    others = [(m, table) for m, table in tables if m.ego == m.partner and m.ego_trial != m.partner_trial]
    matrix = [[figures([t for m, t in own if (m.ego, m.partner) == (i, j)]) for j in numbers] for i in numbers]
    return Cells(matrix, [figures([t for m, t in others if m.ego == i]) for i in numbers])


def _names(cells: Cells) -> list[str]:
    """The figures that are shown."""
    return [name for name in SHOWN if name in cells.matrix[0][0]]


def matrix_table(players: Sequence[Contender], cells: Cells, name: str, episodes: int) -> Table:
    """One figure of every pair, and of every contender's seeds among each other."""
    spec = ".1%" if name.endswith("_rate") else ""
    across = any(cells.across)
    rows = []
    for i, player in enumerate(players):
        row = [format(cell[name], spec) for cell in cells.matrix[i]]
        beside = cells.across[i]
        rows.append([player.label, *row, *([format(beside[name], spec) if beside else "–"] if across else [])])
    headings = ["ego", *(f"among {player.label}" for player in players), *(["among its other seeds"] if across else [])]
    seeds = sorted({len(player.trials) for player in players})
    return Table(
        headings,
        rows,
        title=f"{SHOWN[name]}, in {players[0].run.environment.name}",
        caption=f"95% intervals in brackets, over the ego's training seeds and episodes; {episodes:,} episodes of each "
        f"pair of policies, {' to '.join(map(str, seeds[:: max(1, len(seeds) - 1)]))} training seeds."
        + reliability(episodes * seeds[0], seeds[0], {player.label: player.run for player in players}),
    )


def _write(
    out: Path,
    arguments: CrossplayArguments,
    players: Sequence[Contender],
    tables: Sequence[tuple[Meeting, Episodes]],
    cells: Cells,
    episodes: int,
) -> None:
    """All files of the study."""
    concatenate([table for _, table in tables]).write_parquet(out / "episodes.parquet")
    names, labels = _names(cells), [player.label for player in players]
    shown = [matrix_table(players, cells, name, episodes) for name in names]
    write_text(out / "table.md", "\n".join(table.markdown() for table in shown))
    figures = {name: [[cell[name] for cell in row] for row in cells.matrix] for name in cells.matrix[0][0]}
    content = {
        "labels": labels,
        "metrics": figures,
        "across_seeds": {label: found or None for label, found in zip(labels, cells.across)},
    }
    write_text(out / "table.json", as_json(content))
    title = f"Crossplay in {players[0].run.environment.name}"
    plot_matrix(labels, {SHOWN[name]: figures[name] for name in names}, out / "crossplay.png", title=title)
    write_study(
        out,
        verb="crossplay",
        title=title,
        environment=players[0].run.config.environment,
        command=command_line("crossplay", arguments),
        seeds=sorted({seed for player in players for seed in player.seeds}),
        episodes=episodes,
        quick=arguments.quick,
        unfinished=unfinished({player.label: player.run for player in players}),
        claims=[],
        runs={player.label: from_folder(player.path, arguments.out) for player in players},
        rows=[
            {"label": player.label, "settings": player.settings, "metrics": cells.matrix[i][i]}
            for i, player in enumerate(players)
        ],
        crossplay=content,
    )


COMMAND = Command(CrossplayArguments, run)
