"""From a trained run to honest figures: play fresh episodes, keep them, summarise them, check the critic."""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.progress import Progress

from averse.arguments import function, instance
from averse.environments import HOST_ENVS
from averse.environments.protocol import Environment, is_average_reward
from averse.errors import AverseError, shown
from averse.evaluation.accounts import Played
from averse.evaluation.basis import Basis, moved, refuse_loss, suffix
from averse.evaluation.calibration import Calibration
from averse.evaluation.critic import calibrated
from averse.evaluation.episodes import Episodes, concatenate, label_of
from averse.evaluation.long_run import STEPS, LongRunEvaluation, evaluate_long_run, steps_played
from averse.evaluation.memory import check_episodes
from averse.evaluation.objective import TrainedObjective, trained_objective
from averse.evaluation.play import FIRST_SEED, compiled_player
from averse.evaluation.playing import Stage
from averse.evaluation.summary import Summary, summarise
from averse.evaluation.tables import summary_table
from averse.files import told_if_not_written, writable_folder, write_text
from averse.learners.fixed import fixed
from averse.progress import progress_bar
from averse.settings import Count, NonNegative, Positive, Whole, assigned, check_value
from averse.training.run import Run, load

logger = logging.getLogger(__name__)

EPISODES = 1000  # per policy, by default


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Figures of one run: one summary (and calibration, where the critic is distributional) per swept setting."""

    environment: str  # where they were played
    method: str  # that of the run
    episodes: Episodes  # of all policies
    summaries: Mapping[str, Summary]  # "tau=1" and so on; one entry "" where nothing is swept
    calibrations: Mapping[str, Calibration]  # none for a setting where the time limit cut every return short
    left_out: Mapping[str, float] = field(default_factory=dict)
    """Of the returns that the critic was asked for, the fraction that the time limit cut short; calibration leaves them
    out, which favours episodes that end early. Empty where the critic predicts no distribution."""
    basis: Basis | None = None
    """How far the policies were trained, and how they were played; `basis.finished`."""
    objectives: Mapping[str, TrainedObjective] = field(default_factory=dict)
    """What the policies of each setting were trained for, as their episodes have it. Empty where that is no measure of
    these rewards' discounted return: reward shaping, methods that are not ours."""

    def __repr__(self) -> str:
        means = ", ".join(f"{label and f'{label}: '}{summary.mean}" for label, summary in self.summaries.items())
        shift = f", {self.basis.world}" if self.basis is not None and self.basis.world else ""
        where = f"env={self.environment}{shift}, method={self.method}, episodes={len(self.episodes)}"
        cut = "" if self.basis is None or self.basis.finished else f", unfinished run: {self.basis.progress}"
        return f"Evaluation({where}, mean={means}{cut})"

    def __str__(self) -> str:
        title = "" if self.basis is None else self.basis.world
        table = summary_table({label or self.method: summary for label, summary in self.summaries.items()}, title=title)
        if self.basis is not None and not self.basis.finished:
            table = replace(table, caption=f"{table.caption} {self.basis.warning}")
        trained = [f"trained{label and f' ({label})'} for {found}" for label, found in self.objectives.items()]
        return "\n".join([str(table), *trained, *(self.calibration_words(label) for label in self.left_out)])

    def calibration_words(self, label: str) -> str:
        """A line on the critic of a setting, with the returns that it was not compared with.

        Raises KeyError for a setting whose critic predicts no distribution.
        """
        whose, cut = f"critic calibration{f' ({label})' if label else ''}", self.left_out[label]
        if label not in self.calibrations:
            return f"{whose}: none; the time limit cut short every return that the critic was asked for"
        words = f"; left out: {cut:.1%} of the returns, which the time limit cut short" if cut else ""
        return f"{whose}: {self.calibrations[label]}{words}"

    def write_parquet(self, path: str | os.PathLike) -> None:
        """Write the table of episodes. Raises AverseError for what is no path."""
        self.episodes.write_parquet(path)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. The summary's keys stand at the top where nothing is swept, else under `settings`."""
        basis = {} if self.basis is None else self.basis.to_dict()
        head = {"environment": self.environment, "method": self.method, **basis}
        entries = {}
        for label, summary in self.summaries.items():
            calibration, objective = self.calibrations.get(label), self.objectives.get(label)
            entries[label] = {
                **summary.to_dict(),
                "objective": objective.to_dict() if objective else None,
                "calibration": calibration.to_dict() if calibration else None,
                "calibration_left_out": self.left_out.get(label),
            }
        return {**head, **entries[""]} if set(entries) == {""} else {**head, "settings": entries}


class _Plan(NamedTuple):
    """How the policies of a run are to be played, checked."""

    greedy: bool
    first_seed: int
    num_envs: int | None
    progress: bool | Progress
    basis: Basis
    player: "Player"


def evaluate(
    run: Run | str | Path,
    episodes: int | None = None,
    *,
    environment: str | None = None,
    shift: dict[str, Any] | None = None,
    steps: float | None = None,
    beta: float | None = None,
    first_seed: int = FIRST_SEED,
    greedy: bool = False,
    num_envs: int | None = None,
    progress: bool | Progress = False,
    save: bool = True,
    overwrite: bool = False,
    player: "Player | None" = None,
) -> Evaluation | LongRunEvaluation:
    """Play fresh episodes (where an environment never ends: long runs) with each policy of a run and summarise them.

    The policies of the k-th training seed play the episode seeds from `first_seed + k * episodes` on, whatever the
    method and the swept settings: common random numbers where policies are compared, independent ones where seeds are
    pooled. What a run holds already is not lost: an evaluation takes the place of one of as many or fewer episodes that
    was played in the same way, and is refused otherwise.

    Args:
      run: a run, or its directory. One that is not finished is evaluated as far as it came, and every figure says so.
      episodes: per policy, 1,000 where not given.
      environment: where to play instead of in the training environment, such as sumo-intersection for policies trained
        in its compiled twin; its name then also stands in the names of the files.
      shift: parameters of the environment that the policies are to meet with another value than in training:
        `{"human_rate": 0.4}`. It stands in the names of the files too. One that changes nothing is told and left out.
      steps: of an environment that never ends, steps per policy, a million where not given; the figures are then eta,
        zeta and J (`averse.evaluation.long_run`).
      beta: price of variance in J, in 1/reward; that of the run where not given.
      first_seed: of the episodes.
      greedy: the most likely action instead of a draw from the policy; always so where exploration is mere noise.
      num_envs: worker processes of a host environment; as in training where not given.
      progress: show a bar on standard error, or the display to add one to.
      save: write episodes.parquet (long_run.parquet) and evaluation.json to the run's directory, if it has one.
      overwrite: take the place of whatever evaluation is there.
      player: who plays the episodes in place of this process, such as workers of a cluster.

    Raises AverseError, before anything is played, for bad input, for a run that cannot be read, for a world whose
    observations, actions or agents are not those that the policies know, for an evaluation there that would be lost,
    and for more episodes than fit in memory; WritingError if the disk is full.
    """
    _check_arguments(locals())
    trained = run if isinstance(run, Run) else load(run)
    run, changed = moved_run(trained, environment, shift or {})
    ending = suffix(trained.config, run.config.environment, changed)
    greedy = greedy or run.learner.explores_by_noise
    endless = is_average_reward(run.environment)
    if endless:
        _refuse_episodes(run, episodes, player)
        amount = steps_played(STEPS if steps is None else steps)
        basis = Basis.of(run, amount, "steps", greedy=greedy, first_seed=first_seed, shift=changed)
    else:
        if steps is not None or beta is not None:
            where = run.config.environment
            raise AverseError(f"{where} has episodes: steps and beta are for environments that never end")
        amount = EPISODES if episodes is None else episodes
        check_episodes(run.environment, run.learner, amount, len(run.trials), first_seed, len(run.config.seeds))
        basis = Basis.of(run, amount, "episodes", greedy=greedy, first_seed=first_seed, shift=changed)
    folder = None if run.path is None or not save else writable_folder(run.path)
    if folder is not None:
        table = folder / f"{'long_run' if endless else 'episodes'}{ending}.parquet"
        figures = folder / f"evaluation{ending}.json"
        if not overwrite:
            refuse_loss(figures, table, basis, len(run.trials))
    evaluation: Evaluation | LongRunEvaluation
    if endless:
        evaluation = evaluate_long_run(
            run, amount, beta=beta, first_seed=first_seed, greedy=greedy, progress=bool(progress), basis=basis
        )
    else:
        evaluation = _evaluate_episodes(run, _Plan(greedy, first_seed, num_envs, progress, basis, player or play_all))
    if folder is not None:
        with told_if_not_written(f"the evaluation in {folder}", "make room and evaluate again"):
            evaluation.write_parquet(table)
            write_text(figures, json.dumps(evaluation.to_dict(), indent=2) + "\n")
    return evaluation


def _refuse_episodes(run: Run, episodes: int | None, player: "Player | None") -> None:
    """Raises AverseError for what only makes sense of episodes, where an environment never ends."""
    if episodes is not None:
        raise AverseError(f"{run.config.environment} never ends: it is evaluated over steps, not episodes")
    if player is not None:
        raise AverseError(f"{run.config.environment} never ends: --engine ray plays episodes only")


def moved_run(run: Run, environment: str | None, shift: Mapping[str, Any]) -> tuple[Run, dict[str, Any]]:
    """The run where its policies are to play, and what of the shift is other than it would be without.

    Raises AverseError for a world that they cannot act in.
    """
    config, changed = moved(run.config, environment, shift)
    if same := {name: config.environment_parameters[name] for name in shift if name not in changed}:
        logger.warning("no shift: %s is so without it; it is left out", assigned(same))
    return (run if config is run.config else replace(run, config=config)), changed


def _check_arguments(given: Mapping[str, Any]) -> None:
    """Raises AverseError for the first argument of `evaluate` that is not of the kind that it must be."""
    instance("run", Run | str | os.PathLike, given["run"], "a run or the path of its directory")
    for name, kind in _ARGUMENTS.items():
        if not isinstance(given[name], Progress):
            check_value(name, kind, given[name])
    if given["player"] is not None:
        function("player", "of a run, seeds, greedy, num_envs and a progress callback", given["player"])


_ARGUMENTS: dict[str, Any] = {
    "episodes": Count | None,
    "environment": str | None,
    "shift": dict[str, Any] | None,
    "steps": Positive | None,
    "beta": NonNegative | None,
    "first_seed": Whole,
    "greedy": bool,
    "num_envs": Count | None,
    "progress": bool,
    "save": bool,
    "overwrite": bool,
}


def _evaluate_episodes(run: Run, plan: _Plan) -> Evaluation:
    """Play so many episodes with each policy and summarise those of equal swept settings."""
    trials, metrics, episodes = run.config.trials, run.environment.metrics, plan.basis.amount
    starts = [plan.first_seed + run.config.seeds.index(int(settings["seed"])) * episodes for settings in trials]
    shown = plan.progress
    with contextlib.nullcontext(shown) if isinstance(shown, Progress) else progress_bar(disable=not shown) as bar:
        task = bar.add_task(f"evaluate {run.config.method}", total=episodes * len(trials))
        seeds = {trial: np.arange(start, start + episodes) for trial, start in enumerate(starts)}
        played = list(plan.player(run, seeds, plan.greedy, plan.num_envs, lambda n: bar.advance(task, n)))
    tables = [each.table(metrics, settings) for each, settings in zip(played, trials)]
    by_label: dict[str, list[int]] = {}
    for index, settings in enumerate(trials):
        by_label.setdefault(label_of(settings), []).append(index)
    together = {label: {i: played[i] for i in group} for label, group in by_label.items()}
    compared = {label: calibrated(run, group) for label, group in together.items()}
    trained = {label: trained_objective(run, group) for label, group in together.items()}
    return Evaluation(
        environment=run.config.environment,
        method=run.config.method,
        episodes=concatenate(tables),
        summaries={
            label: summarise(concatenate([tables[i] for i in group]), metrics) for label, group in by_label.items()
        },
        calibrations={label: found for label, (found, _) in compared.items() if found is not None},
        left_out={label: cut for label, (_, cut) in compared.items() if cut is not None},
        basis=plan.basis,
        objectives={label: found for label, found in trained.items() if found is not None},
    )


def play_all(
    run: Run,
    seeds: Mapping[int, np.ndarray],
    greedy: bool,
    num_envs: int | None,
    advance: Callable[[int], None],
) -> Iterator[Played]:
    """The episodes of some policies of a run in turn: trial -> seeds [E]; `advance` as `on_progress` of `Play`."""
    with Stage(run.environment, num_envs or min(run.learner.num_envs, HOST_ENVS)) as stage:
        play = stage.player(run.learner, greedy)
        for index, own in seeds.items():
            yield play(run.state(index), own, advance)


Player = Callable[[Run, Mapping[int, np.ndarray], bool, int | None, Callable[[int], None]], Iterable[Played]]
"""Who plays: as `play_all`."""


def play_scripted(
    environment: Environment,
    policy: Callable[[jax.Array], jax.Array],
    episodes: int = EPISODES,
    first_seed: int = FIRST_SEED,
) -> Episodes:
    """Episodes of a policy that has learnt nothing, on the seeds that `evaluate` gives the first training seed.

    Args:
      environment: a compiled one.
      policy: a function from observations [B, A, O] to actions [B, A, ...], such as `speed_limited(1.0)`.
      episodes: how many.
      first_seed: of the episodes.

    Raises AverseError for an environment that is not compiled, for what is no function, for numbers out of range, and
    for more episodes than fit in memory.
    """
    if not isinstance(environment, Environment):
        what = getattr(environment, "name", None) or shown(environment)
        raise AverseError(f"environment must be compiled, and {what} is not; play_host drives baselines of host ones")
    function("policy", "from observations [B, A, O] to actions [B, A, ...]", policy)
    check_value("episodes", Count, episodes)
    check_value("first_seed", Whole, first_seed)
    check_episodes(environment, None, episodes, 1, first_seed)
    play = compiled_player(environment, fixed(policy), greedy=True)
    return play((), np.arange(first_seed, first_seed + episodes)).table(environment.metrics)
