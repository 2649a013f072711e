"""The engine of all studies: arms become run directories, are trained, and play the same evaluation episodes.

Everything is checked before anything is trained. What is there already, complete and of the same configuration, is not
trained or played again; what was interrupted goes on. So a study that was killed and is begun again ends with the same
tables.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress, TaskID

from averse import environments
from averse.compilation import hasty_compilation
from averse.engines import Cluster
from averse.engines.trials import Work, player, train_runs
from averse.environments.protocol import Description, is_average_reward
from averse.environments.sumo.environment import SumoIntersection, require_simulator
from averse.errors import AverseError, DivergenceError, shown, unknown_name
from averse.evaluation.basis import ADVICE, Basis, moved, refuse_loss, suffix
from averse.evaluation.episodes import Episodes
from averse.evaluation.evaluator import evaluate
from averse.evaluation.memory import check_episodes
from averse.evaluation.play import FIRST_SEED
from averse.experiments.arms import Arm, folder_of
from averse.files import writable_folder
from averse.learners.contract import Learner
from averse.learners.value_based.config import ValueBasedConfig
from averse.training import configure, load, run_training
from averse.training.config import TrainingConfig
from averse.training.directory import LOCK, PARTS, check_place, refuse_parts
from averse.training.run import Run, build, groups_of, read_config, trainee_of
from averse.training.sizes import require_memory

FAILURES = ("collision", "failure", "crash", "falls")
"""Metrics that count failures, by which one is chosen where none is named."""
QUICK_CHECKPOINTS = 4  # of each trial of a quick look
QUICK_GRADIENT_STEPS = 2  # per update, of methods that replay, in a quick look


@dataclass(frozen=True)
class Plan:
    """What a study trains and plays."""

    arms: Sequence[Arm]
    environment: str  # where policies play
    trained_in: str  # where they are trained; mostly the same
    parameters: Mapping[str, Any]  # of the environment that they are trained in
    seeds: tuple[int, ...]  # of training
    steps: float  # of training, per seed
    episodes: int  # per policy and world
    out: Path  # the run directories are below
    worlds: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
    """Where policies play, by name: parameters that have another value there than in training."""
    first_seed: int = FIRST_SEED  # of the episodes
    quick: bool = False  # compile in haste where that takes longer than the work itself


@dataclass(frozen=True)
class Job:
    """A run directory of a study: one method, its seeds, and what is swept over."""

    arms: tuple[Arm, ...]
    config: TrainingConfig
    path: Path
    environment: Description
    learner: Learner

    @property
    def name(self) -> str:
        """The label of its arm, or the method of several."""
        return self.arms[0].label if len(self.arms) == 1 else self.arms[0].method

    def trials(self, arm: Arm) -> list[int]:
        """The numbers of an arm's trials, in the order of the seeds."""
        return [
            number
            for number, trial in enumerate(self.config.trials)
            if all(trial[name] == value for name, value in arm.swept.items())
        ]


def jobs_of(plan: Plan) -> list[Job]:
    """The runs of a plan, checked as far as that needs no place: settings, worlds, memory.

    Raises AverseError, in one line that names the arms, for methods that cannot be trained in the environment, for
    environments that never end, for worlds that policies cannot act in, and for what does not fit in memory.
    """
    configs = _configurations(plan)
    first = configs[0][1]
    if is_average_reward(first.build_environment()):
        raise AverseError(
            f"{plan.trained_in} never ends; studies are of episodes (averse microgrids studies the long run)"
        )
    for name in {plan.environment, plan.trained_in}:
        if environments.factory(name) is SumoIntersection:
            require_simulator()
    jobs = []
    for arms, config in configs:
        environment, learner = build(config)
        trials = trainee_of(config, environment, learner, groups_of(config, environments.is_compiled(environment))[0])
        require_memory(trials, environment)
        for name, shift in plan.worlds.items():
            there, changed = moved(config, plan.environment, shift)
            if name and changed.keys() != shift.keys():
                same = ", ".join(sorted(shift.keys() - changed.keys()))
                raise AverseError(f"the shift {name} changes nothing: {same} is so without it")
            check_episodes(
                there.build_environment(), learner, plan.episodes, len(config.trials), plan.first_seed, len(plan.seeds)
            )
        jobs.append(Job(arms, config, plan.out / folder_of(_name(arms)), environment, learner))
    if len({job.path for job in jobs}) < len(jobs):
        raise AverseError("two methods would be trained in the same folder; give them other settings or names")
    return jobs


def check_places(plan: Plan, jobs: Sequence[Job], in_parts: bool = False) -> None:
    """Make sure that every run directory is free or holds that very run, and that no evaluation would be lost.

    Args:
      in_parts: whether the engine can go on with a run that is being trained in parts.

    Raises AverseError for what is there and other.
    """
    for job in jobs:
        job.config.require_storable()
        if not (job.path / "config.json").is_file():
            _tidy(job.path)
            check_place(job.path, job.config, resuming=False, overwrite=False)
            continue
        _require_same(job)
        if not in_parts:
            refuse_parts(job.path)
        for shift in plan.worlds.values():
            figures, table, changed = _files(plan, job, shift)
            if stored(plan, job, shift) is not None:
                continue
            try:
                refuse_loss(figures, table, _basis(plan, job, changed), len(job.config.trials))
            except AverseError as error:
                told = str(error).removesuffix(f": {ADVICE}")
                raise AverseError(
                    f"{told}: give the same, choose another --out, or remove {figures.name} there"
                ) from None
    writable_folder(plan.out)


def carry_out(
    plan: Plan, jobs: Sequence[Job], bar: Progress, cluster: Cluster | None = None
) -> dict[str, dict[str, Episodes]]:
    """Train what is not trained and play what is not played: the episodes by world and label.

    Args:
      cluster: does the work in place of this process.

    Raises DivergenceError, which names the arm, where a training's numbers stop being finite.
    """
    if cluster is not None:
        _train_at_once(plan, jobs, bar, cluster)
    task = bar.add_task("study", total=len(jobs) * (1 + len(plan.worlds)))
    found: dict[str, dict[str, Episodes]] = {world: {} for world in plan.worlds}
    for job in jobs:
        with hasty_compilation(plan.quick):
            for world, table in _tables(plan, job, bar, task, cluster):
                for arm in job.arms:
                    found[world][arm.label] = _of_arm(arm, table)
        for each in bar.tasks:  # one line of the display is the study's, the others are of the present run
            bar.update(each.id, visible=each.id == task)
    return {world: {arm.label: tables[arm.label] for arm in plan.arms} for world, tables in found.items()}


def _train_at_once(plan: Plan, jobs: Sequence[Job], bar: Progress, cluster: Cluster) -> None:
    """Train, by a cluster, all runs that have something left to play."""
    works = [
        Work(job.config, job.path, (job.path / "config.json").is_file(), hasty=plan.quick)
        for job in jobs
        if any(stored(plan, job, shift) is None for shift in plan.worlds.values()) and _finished(job) is None
    ]
    if works:
        train_runs(cluster, works, bar)


def _tables(
    plan: Plan, job: Job, bar: Progress, task: TaskID, cluster: Cluster | None
) -> Iterator[tuple[str, Episodes]]:
    """Each world and the episodes of a run there; it is trained if one of them is not there yet."""
    run = None
    for number, (world, shift) in enumerate(plan.worlds.items()):
        table = stored(plan, job, shift)
        if table is None and run is None:
            bar.update(task, figures=f"training {job.name}")
            run = _trained(job, bar)
        if number == 0:
            bar.advance(task)
        if table is None:
            assert run is not None
            bar.update(task, figures=f"playing {job.name}")
            table = _played(plan, job, run, shift, bar, cluster)
        bar.advance(task)
        yield world, table


def stored(plan: Plan, job: Job, shift: Mapping[str, Any]) -> Episodes | None:
    """The episodes of a run that were played already, all of them, by finished policies; None where they were not."""
    figures, table, changed = _files(plan, job, shift)
    basis = _basis(plan, job, changed)
    try:
        said = json.loads(figures.read_text())
        if {name: said.get(name) for name in basis.to_dict()} != json.loads(json.dumps(basis.to_dict())):
            return None
        episodes = Episodes.read_parquet(table)
    except (OSError, ValueError, AttributeError):  # AverseError is a ValueError
        return None
    return episodes if len(episodes) == plan.episodes * len(job.config.trials) else None


def failure_metric(environment: Description, named: str | None) -> str | None:
    """The metric of an environment that counts failures: the one that is named, else the first that is known.

    None where the environment reports none. Raises AverseError for a name that is none of its metrics.
    """
    if named is not None and named not in environment.metrics:
        if not environment.metrics:
            raise AverseError(f"--failure {named}: {environment.name} reports no metric")
        raise unknown_name(f"metric of {environment.name}", named, environment.metrics)
    return named or next((name for name in FAILURES if name in environment.metrics), None)


def _name(arms: Sequence[Arm]) -> str:
    return arms[0].label if len(arms) == 1 else arms[0].method


def _grouped(arms: Sequence[Arm]) -> list[tuple[Arm, ...]]:
    """The arms of each run: those that differ in swept numbers only are together."""
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        key = f"{arm.method} {sorted(arm.settings.items())} {sorted(arm.swept)}" if arm.swept else f"label {arm.label}"
        groups.setdefault(key, []).append(arm)
    return [tuple(group) for group in groups.values()]


def _configurations(plan: Plan) -> list[tuple[tuple[Arm, ...], TrainingConfig]]:
    """Every run's arms and configuration. Raises AverseError in one line for all that cannot be trained."""
    built, faults = [], {}
    for arms in _grouped(plan.arms):
        try:
            built.append((arms, _configuration(plan, arms)))
        except AverseError as error:
            faults[_name(arms)] = str(error)
    if not faults:
        return built
    reasons = list(dict.fromkeys(faults.values()))
    if not built and len(reasons) == 1:  # it is no fault of a method's
        raise AverseError(reasons[0])
    told = "; ".join(f"{', '.join(n for n, why in faults.items() if why == reason)}: {reason}" for reason in reasons)
    raise AverseError(f"cannot be trained in {plan.trained_in}, so leave out or change {told}")


def _configuration(plan: Plan, arms: tuple[Arm, ...]) -> TrainingConfig:
    settings = dict(arms[0].settings)
    for name in arms[0].swept:
        settings[name] = list(dict.fromkeys(arm.swept[name] for arm in arms))
    config = configure(
        plan.trained_in,
        arms[0].method,
        plan.steps,
        plan.seeds,
        environment_parameters=dict(plan.parameters),
        **settings,
    )
    if extra := config.sweep.keys() - arms[0].swept.keys():
        name = min(extra)
        raise AverseError(f"{name} must be one number, not {shown(settings[name])}: give each as a method of its own")
    known = {*config.learner, *config.sweep}
    if moved_to := [name for name in arms[0].settings if name in config.environment_parameters and name not in known]:
        raise AverseError(f"{moved_to[0]} is a parameter of {plan.trained_in}, which all methods share: --parameters")
    return _in_brief(config, settings) if plan.quick else config


def _in_brief(config: TrainingConfig, given: Mapping[str, Any]) -> TrainingConfig:
    """The configuration for a quick look, with what is not given made small.

    A learner that replays takes fewer gradient steps. Its buffer holds what the run collects and no more, of which it
    learns the same: one for long runs is a gigabyte at the junction, which each checkpoint would write.
    """
    learner = config.learner_config()
    brief = replace(config, checkpoints=config.checkpoints if "checkpoints" in given else QUICK_CHECKPOINTS)
    if not isinstance(learner, ValueBasedConfig):
        return brief
    collected = max(config.total_updates * learner.num_envs, learner.batch_size)
    small = {
        "gradient_steps": min(learner.gradient_steps, QUICK_GRADIENT_STEPS),
        "buffer_size": min(learner.buffer_size, collected),
    }
    return replace(brief, learner={**config.learner, **{k: v for k, v in small.items() if k not in given}})


def _require_same(job: Job) -> None:
    """Raises AverseError where the run directory holds another run; the line names the first setting that differs."""
    there, here = (_flat(json.loads(config.to_json())) for config in (read_config(job.path), job.config))
    for name in {**here, **there}:
        if there.get(name) != here.get(name):
            raise AverseError(
                f"{job.path} holds a run with {name} {shown(there.get(name))}, not {shown(here.get(name))}; "
                "choose another --out or remove it"
            )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run by name, but for who wrote it down."""
    inner = ("environment_parameters", "learner")
    outer = {name: value for name, value in config.items() if name not in (*inner, "averse", "format")}
    return {**outer, **config["environment_parameters"], **config["learner"]}


def _files(plan: Plan, job: Job, shift: Mapping[str, Any]) -> tuple[Path, Path, dict[str, Any]]:
    """Where the figures and the episodes of a world are, and what of the shift differs from training."""
    there, changed = moved(job.config, plan.environment, shift)
    ending = suffix(job.config, there.environment, changed)
    return job.path / f"evaluation{ending}.json", job.path / f"episodes{ending}.parquet", changed


def _basis(plan: Plan, job: Job, changed: Mapping[str, Any]) -> Basis:
    """What the evaluation of the finished run rests on."""
    return Basis(
        plan.episodes,
        "episodes",
        greedy=job.learner.explores_by_noise,
        first_seed=plan.first_seed,
        updates=(job.config.total_updates,) * len(job.config.trials),
        total_updates=job.config.total_updates,
        shift=changed,
    )


def _trained(job: Job, bar: Progress) -> Run:
    """The finished run: loaded, gone on with, or trained."""
    if not (job.path / "config.json").is_file():
        return _named(job, resuming=False, progress=bar)
    return _finished(job) or _named(job, resuming=True, progress=bar)


def _finished(job: Job) -> Run | None:
    """The run, if it is there and finished."""
    with contextlib.suppress(AverseError):  # no checkpoint yet; what is wrong beside that is told by going on
        run = load(job.path)
        if run.finished and not (job.path / PARTS).exists():
            return run
    return None


def _named(job: Job, **options: Any) -> Run:
    try:
        return run_training(job.config, job.path, **options)
    except DivergenceError as error:
        raise DivergenceError(f"{job.name}: {error}") from error


def _played(
    plan: Plan, job: Job, run: Run, shift: Mapping[str, Any], bar: Progress, cluster: Cluster | None
) -> Episodes:
    evaluate(
        run,
        plan.episodes,
        environment=plan.environment,
        shift=dict(shift),
        first_seed=plan.first_seed,
        progress=bar,
        player=None if cluster is None else player(cluster),
    )
    table = stored(plan, job, shift)
    if table is None:
        raise AverseError(f"the evaluation in {job.path} is not what was just played: does another process use it?")
    return table


def _of_arm(arm: Arm, table: Episodes) -> Episodes:
    """The episodes of one arm, named by its label in place of what was swept over."""
    rows = np.ones(len(table), bool)
    for name, value in arm.swept.items():
        rows &= table.settings[name] == value
    own = table.select(rows)
    return replace(own, settings={"policy": np.full(len(own), arm.label, object)})


def _tidy(path: Path) -> None:
    """Take away what a start that was killed may have left before it had a configuration: a file half written."""
    with contextlib.suppress(OSError):
        held = list(path.iterdir())
        if all(each.name == LOCK or each.name.startswith(".config.") for each in held):
            for each in held:
                if each.name != LOCK:
                    each.unlink()
