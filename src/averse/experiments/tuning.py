"""`averse compare --tune N`: the same random search for every method, on development seeds, before the study itself.

Development seeds of training are those from 100 on, and development episodes have seeds of their own, so that nothing
that is told in the end has been looked at before.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from averse import environments, learners
from averse.engines import opened, require, require_simulators
from averse.errors import AverseError
from averse.evaluation.play import FIRST_SEED
from averse.experiments.arguments import StudyArguments, folder, plan_of
from averse.experiments.arms import Arm, folder_of
from averse.experiments.comparison import seed_means
from averse.experiments.engine import Plan, carry_out, check_places, jobs_of
from averse.experiments.study import GOING_ON, check_folder, command_line, write_study
from averse.extras import extra_module
from averse.files import write_text
from averse.progress import progress_bar
from averse.settings import field_names

DEVELOPMENT_SEED = 100  # the first; training seeds of a study that tunes are below
DEVELOPMENT_EPISODES = FIRST_SEED // 2  # the first seed of development episodes
WIDER = 4.0  # step sizes are drawn between a fourth of a method's own and four times it
CHOICES: dict[str, tuple[float, ...]] = {"lam": (0.8, 0.9, 0.95, 0.98), "final_learning_rate": (0.02, 0.1, 1.0)}
FILE = "tuned.toml"


@dataclass(frozen=True)
class Budget:
    """What every method may spend on its settings."""

    tries: int  # settings that are tried, its own among them
    steps: float  # of each try and seed
    seeds: int  # development seeds of each try


def tuned(verb: str, arguments: StudyArguments, arms: Sequence[Arm], budget: Budget) -> list[Arm]:
    """The arms with the settings that were best in development; tuned.toml in the study's folder holds them.

    What was given for an arm stays as it is. The best is the one with the highest mean return over development seeds
    and episodes. The same command draws the same settings, and does nothing again that is there.

    Raises AverseError, before anything is trained, where Optuna is missing, where the study's own seeds would reach the
    development seeds, and for all that `jobs_of` and `check_places` refuse.
    """
    optuna = extra_module("optuna", "--tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    require(arguments.engine)
    plan = plan_of(verb, arguments, arms)
    if len(plan.seeds) > DEVELOPMENT_SEED:
        raise AverseError(f"--tune develops on the seeds from {DEVELOPMENT_SEED} on: --seeds must be at most that many")
    if DEVELOPMENT_EPISODES + plan.episodes * budget.seeds > FIRST_SEED:
        raise AverseError(f"--tune has {DEVELOPMENT_EPISODES:,} development episodes at most: fewer --episodes")
    out = folder(verb, arguments)
    check_folder(out, verb, plan.environment)
    _check_earlier(out, plan, _header(budget))
    require_simulators(arguments.engine, *(job.config for job in jobs_of(plan)[:1]))
    drawn = {arm.label: _draws(optuna, plan, arm, budget.tries) for arm in arms}
    plans = {label: _development(plan, out, tries, label, budget) for label, tries in drawn.items()}
    prepared = {label: (each, jobs_of(each)) for label, each in plans.items()}
    for each, jobs in prepared.values():
        check_places(each, jobs, in_parts=arguments.engine.deals_out)
    head = {"verb": verb, "environment": plan.environment, "command": command_line(verb, arguments)}
    write_study(out, **head, unfinished=GOING_ON, claims=[], runs={}, rows=[])
    best, scores = [], {}
    with opened(arguments.engine) as cluster, progress_bar(disable=arguments.json) as bar:
        for arm in arms:
            each, jobs = prepared[arm.label]
            tables = carry_out(each, jobs, bar, cluster)[""]
            scores[arm.label] = [float(seed_means(tables[one.label]).mean()) for one in each.arms]
            winner = max(range(len(each.arms)), key=scores[arm.label].__getitem__)
            best.append(replace(arm, settings=each.arms[winner].settings))
    write_text(out / FILE, as_toml(best, scores, budget))
    if not arguments.json:
        Console().print(f"tuned settings: {out / FILE}", highlight=False)
    return best


def space_of(plan: Plan, arm: Arm) -> dict[str, tuple[float, ...]]:
    """What is tried of an arm: a setting's own value first, then its range (two ends) or its choices.

    Only settings that its method has and that were not given.
    """
    environment = environments.make(plan.trained_in, **plan.parameters)
    suggested = environments.suggested_settings(environment, arm.method)
    own = learners.with_settings(learners.preset(arm.method), **{**suggested, **arm.settings})
    known = field_names(own)
    space: dict[str, tuple[float, ...]] = {}
    if "learning_rate" in known and "learning_rate" not in arm.settings:
        space["learning_rate"] = (own.learning_rate, own.learning_rate / WIDER, own.learning_rate * WIDER)
    for name, choices in CHOICES.items():
        if name in known and name not in arm.settings:
            value = getattr(own, name)
            space[name] = (value, *sorted({value, *choices}))
    return space


def _draws(optuna: Any, plan: Plan, arm: Arm, tries: int) -> list[Arm]:
    """An arm's tries: with its own settings, then with random ones; the same whenever they are drawn."""
    space = space_of(plan, arm)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    found = [Arm("try-0", arm.method, dict(arm.settings))]
    for number in range(1, tries if space else 1):
        trial = study.ask()
        values = {
            name: trial.suggest_float(name, *ends, log=True)
            if name == "learning_rate"
            else trial.suggest_categorical(name, list(ends))
            for name, (_, *ends) in space.items()
        }
        found.append(Arm(f"try-{number}", arm.method, {**arm.settings, **values}))
    return found


def _development(plan: Plan, out: Path, tries: Sequence[Arm], label: str, budget: Budget) -> Plan:
    """The plan of an arm's tries."""
    return replace(
        plan,
        arms=tries,
        seeds=tuple(range(DEVELOPMENT_SEED, DEVELOPMENT_SEED + budget.seeds)),
        steps=budget.steps,
        out=out / "tuning" / folder_of(label),
        worlds={"": {}},
        first_seed=DEVELOPMENT_EPISODES,
    )


def as_toml(best: Sequence[Arm], scores: Mapping[str, Sequence[float]], budget: Budget) -> str:
    """What tuned.toml holds: the budget and the scores as comments, a table of settings per arm."""
    lines = [
        _header(budget),
        "# learning_rate: log-uniform within a factor of 4 of the method's own; lam and final_learning_rate: own, or",
        f"# one of {', '.join(map(str, CHOICES['lam']))} and of {', '.join(map(str, CHOICES['final_learning_rate']))}",
    ]
    for arm in best:
        told = ", ".join(f"{score:.4g}" for score in scores[arm.label])
        lines += ["", f"# mean return of each try: {told}", f"[{json.dumps(arm.label)}]"]
        lines += [f"{name} = {_toml_value(value)}" for name, value in arm.settings.items()]
    return "\n".join(lines) + "\n"


def _header(budget: Budget) -> str:
    """The first line of tuned.toml."""
    last = DEVELOPMENT_SEED + budget.seeds - 1
    return (
        f"# {budget.tries} tries per method, its own settings first: {budget.steps:,.0f} steps, development seeds "
        f"{DEVELOPMENT_SEED} to {last}"
    )


def _check_earlier(out: Path, plan: Plan, header: str) -> None:
    """Raises AverseError if the study's folder holds what was tuned otherwise, or runs that were not tuned."""
    if (out / FILE).is_file():
        first = (out / FILE).read_text().partition("\n")[0]
        if first != header:
            raise AverseError(f"{out / FILE} was tuned otherwise ({first.removeprefix('# ')}); choose another --out")
    elif begun := next((each for each in plan.out.glob("*/config.json")), None):
        raise AverseError(f"{begun.parent} holds a run that was not tuned; choose another --out or remove it")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    return str(value) if isinstance(value, int) else json.dumps(str(value))
