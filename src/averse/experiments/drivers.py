"""`averse drivers`: hand-written drivers at the intersection, in SUMO or in its compiled twin."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from math import inf, isnan
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from averse.commands import Command
from averse.environments import HOST_ENVS
from averse.environments.adapters.hosted import HostedVector
from averse.environments.intersection.description import IntersectionEnvironment
from averse.environments.intersection.drivers import (
    Driver,
    GapAcceptance,
    Reservation,
    Rush,
    constant_speed,
    full_speed,
)
from averse.environments.intersection.observations import GAP_SECONDS
from averse.environments.intersection.task import IntersectionTask
from averse.environments.protocol import Environment
from averse.environments.registry import make
from averse.environments.sumo.environment import require_simulator
from averse.errors import AverseError, unknown_name
from averse.evaluation import Episodes, summarise
from averse.evaluation.basis import shift_of, suffix
from averse.evaluation.episodes import label_of
from averse.evaluation.host_play import play_host, scripted
from averse.evaluation.memory import check_episodes
from averse.evaluation.play import FIRST_SEED
from averse.evaluation.tables import summary_table
from averse.files import new_folder, write_text
from averse.progress import progress_bar
from averse.report.plots import plot_tradeoff
from averse.settings import Count, Fraction, NonNegative, assigned, settings
from averse.training.config import TrainingConfig
from averse.training.run import read_config

NAMES = ("constant-speed", "full-speed", "rush", "reservation", "gap-acceptance", "sumo-drivers")
RULES = ("reservation", "gap-acceptance")  # each with a gap
COMPILED_ENVS = 250
COLUMNS = ("arrival", "crossing_time", "near_miss", "hard_braking")
CHOSEN = ("num_agents", "human_rate", "reckless_fraction")  # parameters of the environment for which there are flags


@settings
class DriversArguments:
    """Play the intersection's hand-written drivers on the evaluation seeds: what safety costs without learning.

    constant-speed and full-speed ignore everybody, rush all but the car ahead; reservation is first come, first served
    with an accepted gap in seconds (reservation:1.5; 0 where not given; -inf for none) and sees everybody;
    gap-acceptance (:1.5, -5 to 5) is the same rule with what an agent observes; sumo-drivers are SUMO's own.
    """

    drivers: tyro.conf.Positional[tuple[str, ...]] = ("constant-speed", "rush", "reservation")
    """Which; a whole trade-off: rush reservation:-inf reservation:-2 reservation:-1 reservation:0 reservation:1."""
    env: str = "sumo-intersection"
    """sumo-intersection or its compiled twin, intersection."""
    episodes: Count = 1000
    """Episodes per driver."""
    num_agents: Count = 4
    """Cars driven, 1 to 16."""
    human_rate: NonNegative = 0.2
    """Other drivers arriving per second."""
    reckless_fraction: Fraction = 0.2
    """Fraction of those who ignore the right of way."""
    beside: tuple[Path, ...] = ()
    """Run directories of learned policies to show beside them, evaluated already by averse evaluate RUN --env ENV, with
    --shift human_rate=... reckless_fraction=... where they were trained among other drivers."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Directory to create, for the table, a picture of collision rate against crossing time, and all episodes."""
    json: bool = False
    """Print JSON for machines."""


def run(arguments: DriversArguments) -> None:
    """The command. Raises AverseError for bad input before anything is played."""
    if not isinstance(make(arguments.env), IntersectionEnvironment):
        raise AverseError(f"drivers drive in sumo-intersection or intersection, not in {arguments.env}")
    given = {name: getattr(arguments, name) for name in CHOSEN}
    environment = make(arguments.env, **given)
    assert isinstance(environment, IntersectionEnvironment)
    if not isinstance(environment, Environment):
        require_simulator()
    chosen = {name: driver(name, environment) for name in arguments.drivers}
    learned: dict[str, Episodes] = {}
    sweeps: list[list[str]] = []
    warnings: dict[str, str] = {}
    for path in arguments.beside:
        found = evaluated(path, environment)
        learned |= found
        sweeps.append(list(found))
        warnings |= dict.fromkeys(found, words) if (words := unfinished(path, environment)) else {}
    check_episodes(environment, None, arguments.episodes, len(chosen), FIRST_SEED)
    out = None if arguments.out is None else new_folder(arguments.out)
    seeds = np.arange(FIRST_SEED, FIRST_SEED + arguments.episodes)
    tables = {}
    with progress_bar(disable=arguments.json) as bar:
        task = bar.add_task("drive", total=arguments.episodes * len(chosen))
        for name, (world, policy) in chosen.items():
            bar.update(task, figures=name)
            tables[name] = drive(world, policy, seeds, lambda n: bar.advance(task, n))
    shown = {**tables, **learned}
    summaries = {name: summarise(table, environment.metrics, learnt=name in learned) for name, table in shown.items()}
    for name, words in warnings.items():
        both = "; ".join(filter(None, (words, summaries[name].warning)))
        summaries[name] = replace(summaries[name], warning=both)
    figures = json.dumps({name: summary.to_dict() for name, summary in summaries.items()}, indent=2)
    table = summary_table(summaries, COLUMNS, title=f"{arguments.env}, {arguments.num_agents} agents", first="driver")
    if arguments.json:
        print(figures)
    else:
        Console().print(table)
    if out is None:
        return
    for name, episodes in tables.items():
        episodes.write_parquet(out / f"{name.replace(':', '-')}.parquet")
    plot_tradeoff(
        summaries,
        out / "tradeoff.png",
        title=f"What safety costs: {arguments.num_agents} cars, {arguments.env}",
        connect=[*([name for name in tables if name.startswith(rule)] for rule in RULES), *sweeps],
        x="crossing_time",
        y="collision_rate",
    )
    write_text(out / "table.md", summary_table(summaries, COLUMNS).markdown())
    write_text(out / "table.json", figures + "\n")


def evaluated(path: Path, environment: IntersectionEnvironment) -> dict[str, Episodes]:
    """The episodes that the policies of a run were evaluated on, by the directory's name and what was swept over.

    Where it was trained with other numbers of those that have flags here, they are those of the evaluation that was
    played in the world so shifted.

    Raises AverseError where the run was not evaluated in this world, was trained with other parameters than these, or
    cannot act here.
    """
    config = read_config(path)
    if not isinstance(make(config.environment), IntersectionEnvironment):
        raise AverseError(f"{path} was trained in {config.environment}, not at the intersection")
    shift = _shift(config, environment)
    if differ := [name for name in shift if name not in CHOSEN]:
        raise AverseError(f"{path} was trained with another {', '.join(differ)} than the drivers are to drive with")
    config.moved_to(environment.name, shift)
    file = path / f"episodes{_suffix(config, environment)}.parquet"
    if not file.is_file():
        raise AverseError(f"no {file}; make it with: {_command(path, config, environment)}")
    table = Episodes.read_parquet(file)
    labels = np.array([label_of({k: v[i] for k, v in table.settings.items()}) for i in range(len(table))])
    return {f"{path.name} {label}".strip(): table.select(labels == label) for label in dict.fromkeys(labels)}


def unfinished(path: Path, environment: IntersectionEnvironment) -> str:
    """A line on a run that was evaluated in this environment before it was finished; empty where it was.

    Raises AverseError where what the evaluation says of itself cannot be read.
    """
    config = read_config(path)
    file = path / f"evaluation{_suffix(config, environment)}.json"
    try:
        said = json.loads(file.read_text()) if file.is_file() else {}
        updates, total = said.get("updates", ()), said.get("total_updates", 0)
        return "" if said.get("finished", True) else f"unfinished run, after {min(updates)} of {total} updates"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        command = _command(path, config, environment)
        raise AverseError(f"{file} cannot be read ({error}); make it again: {command} --overwrite") from error


def _shift(config: TrainingConfig, environment: IntersectionEnvironment) -> dict[str, Any]:
    """The task's parameters that are others than those with which policies of a run play in this environment."""
    parameters = environment.parameters()
    task = {field.name: parameters[field.name] for field in fields(IntersectionTask)}
    return shift_of(config, environment.name, task)


def _suffix(config: TrainingConfig, environment: IntersectionEnvironment) -> str:
    return suffix(config, environment.name, _shift(config, environment))


def _command(path: Path, config: TrainingConfig, environment: IntersectionEnvironment) -> str:
    """What plays the policies of a run in this world."""
    shift = _shift(config, environment)
    return f"averse evaluate {path} --env {environment.name}" + (f" --shift {assigned(shift, ' ')}" if shift else "")


def driver(name: str, environment: IntersectionEnvironment) -> tuple[IntersectionEnvironment, Driver]:
    """The environment to drive in and the policy to drive with.

    `sumo-drivers` changes who drives, and those that know no manoeuvres what is controlled.

    Raises AverseError for a name that is not known, with the nearest one, and for a gap that is no number.
    """
    if name == "sumo-drivers":
        if isinstance(environment, Environment):
            raise AverseError("sumo-drivers drive in sumo-intersection only")
        changed: Any = environment
        return replace(changed, drivers="sumo"), constant_speed
    kind, _, number = name.partition(":")
    if kind == "reservation":
        return environment, Reservation(environment, _gap(name, number or "0"))
    if kind == "gap-acceptance":
        gap = _gap(name, number or "0")
        if not -GAP_SECONDS <= gap < GAP_SECONDS:
            raise AverseError(f"{name}: agents see gaps of -{GAP_SECONDS:g} to {GAP_SECONDS:g} s, not {gap:g}")
        return environment, GapAcceptance(environment, gap)
    if name == "rush":
        return environment, Rush(environment)
    blind: dict[str, Driver] = {"constant-speed": constant_speed, "full-speed": full_speed}
    if name not in blind:
        raise unknown_name("driver", name, NAMES)
    by_acceleration: Any = environment
    return replace(by_acceleration, control="acceleration"), blind[name]


def _gap(name: str, number: str) -> float:
    try:
        gap = float(number)
    except ValueError:
        gap = float("nan")
    if isnan(gap) or gap == inf:
        raise AverseError(f"{name}: the gap must be a number of seconds or -inf, not {number!r:.80}")
    return gap


def drive(
    environment: IntersectionEnvironment,
    policy: Driver,
    seeds: np.ndarray,
    on_progress: Callable[[int], None] = lambda episodes: None,
) -> Episodes:
    """Episodes of a driver that has learnt nothing, in SUMO or in the twin."""
    world: Any = environment
    if isinstance(environment, Environment):
        vector = HostedVector(environment, min(COMPILED_ENVS, len(seeds)))
    else:
        vector = world.vector(min(HOST_ENVS, len(seeds)))
    with vector:
        played = play_host(
            vector, scripted(policy), seeds, horizon=environment.horizon, gamma=1.0, on_progress=on_progress
        )
    return played.table(environment.metrics)


COMMAND = Command(DriversArguments, run)
