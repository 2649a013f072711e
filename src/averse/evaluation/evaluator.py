"""From a trained run to honest figures: play fresh episodes, keep them, summarise them, check the critic."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from averse.environments import HOST_ENVS
from averse.environments.protocol import Environment, HostEnvironment, is_average_reward
from averse.errors import AverseError
from averse.evaluation.calibration import Calibration, calibrate_categorical, calibrate_quantiles
from averse.evaluation.episodes import Episodes, concatenate, label_of
from averse.evaluation.host_play import learned, play_host
from averse.evaluation.long_run import STEPS, LongRunEvaluation, evaluate_long_run
from averse.evaluation.play import FIRST_SEED, Played, compiled_player
from averse.evaluation.summary import Summary, summarise
from averse.evaluation.tables import summary_table
from averse.files import writable_folder, write_text
from averse.learners.fixed import fixed
from averse.progress import progress_bar
from averse.risk import Categorical, Distribution
from averse.settings import Count, NonNegative, Positive, Whole, check_value
from averse.training.run import Run, load

EPISODES = 1000  # per policy, by default
TRUNCATION_WEIGHT = 0.05  # discount left when a return was cut, from which on it is not used for calibration


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Figures of one run: one summary (and calibration, where the critic is distributional) per swept setting."""

    environment: str  # where they were played
    method: str  # that of the run
    episodes: Episodes  # of all policies
    summaries: Mapping[str, Summary]  # "tau=1" and so on; one entry "" where nothing is swept
    calibrations: Mapping[str, Calibration]  # none for a setting where the time limit cut every return short

    def __repr__(self) -> str:
        means = ", ".join(f"{label and f'{label}: '}{summary.mean}" for label, summary in self.summaries.items())
        return f"Evaluation(env={self.environment}, method={self.method}, episodes={len(self.episodes)}, mean={means})"

    def __str__(self) -> str:
        table = summary_table({label or self.method: summary for label, summary in self.summaries.items()})
        words = [
            f"critic calibration{f' ({label})' if label else ''}: {calibration}"
            for label, calibration in self.calibrations.items()
        ]
        return "\n".join([str(table), *words])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. The summary's keys stand at the top where nothing is swept, else under `settings`."""
        head = {"environment": self.environment, "method": self.method}
        entries = {}
        for label, summary in self.summaries.items():
            calibration = self.calibrations.get(label)
            entries[label] = {**summary.to_dict(), "calibration": calibration.to_dict() if calibration else None}
        return {**head, **entries[""]} if set(entries) == {""} else {**head, "settings": entries}


def evaluate(
    run: Run | str | Path,
    episodes: int | None = None,
    *,
    environment: str | None = None,
    steps: float | None = None,
    beta: float | None = None,
    first_seed: int = FIRST_SEED,
    greedy: bool = False,
    num_envs: int | None = None,
    progress: bool = False,
    save: bool = True,
) -> Evaluation | LongRunEvaluation:
    """Play fresh episodes (where an environment never ends: long runs) with each policy of a run and summarise them.

    The policies of the k-th training seed play the episode seeds from `first_seed + k * episodes` on, whatever the
    method and the swept settings: common random numbers where policies are compared, independent ones where seeds are
    pooled.

    Args:
      run: a run, or its directory.
      episodes: per policy, 1,000 where not given.
      environment: where to play instead of in the training environment, such as sumo-intersection for policies trained
        in its compiled twin; its name then also stands in the names of the files.
      steps: of an environment that never ends, steps per policy, a million where not given; the figures are then eta,
        zeta and J (`averse.evaluation.long_run`).
      beta: price of variance in J, in 1/reward; that of the run where not given.
      first_seed: of the episodes.
      greedy: the most likely action instead of a draw from the policy; always so where exploration is mere noise.
      num_envs: worker processes of a host environment; as in training where not given.
      progress: show a bar on standard error.
      save: write episodes.parquet (long_run.parquet) and evaluation.json to the run's directory, if it has one.

    Raises AverseError for bad input or a run that cannot be read.
    """
    for name, kind, value in (
        ("episodes", Count, episodes),
        ("steps", Positive, steps),
        ("beta", NonNegative, beta),
        ("num_envs", Count, num_envs),
        ("first_seed", Whole, first_seed),
    ):
        if value is not None:
            check_value(name, kind, value)
    run = run if isinstance(run, Run) else load(run)
    suffix = ""
    if environment is not None and environment != run.config.environment:
        run, suffix = run.moved_to(environment), f"-{environment}"
    folder = None if run.path is None or not save else writable_folder(run.path)
    greedy = greedy or run.learner.explores_by_noise
    evaluation: Evaluation | LongRunEvaluation
    if is_average_reward(run.environment):
        if episodes is not None:
            raise AverseError(f"{run.config.environment} never ends: it is evaluated over steps, not episodes")
        evaluation = evaluate_long_run(
            run, STEPS if steps is None else steps, beta=beta, first_seed=first_seed, greedy=greedy, progress=progress
        )
    else:
        if steps is not None or beta is not None:
            where = run.config.environment
            raise AverseError(f"{where} has episodes: steps and beta are for environments that never end")
        count = EPISODES if episodes is None else episodes
        evaluation = _evaluate_episodes(run, count, first_seed, greedy, num_envs, progress)
    if folder is not None:
        if isinstance(evaluation, Evaluation):
            evaluation.episodes.write_parquet(folder / f"episodes{suffix}.parquet")
        else:
            evaluation.write_parquet(folder / f"long_run{suffix}.parquet")
        write_text(folder / f"evaluation{suffix}.json", json.dumps(evaluation.to_dict(), indent=2) + "\n")
    return evaluation


def _evaluate_episodes(
    run: Run, episodes: int, first_seed: int, greedy: bool, num_envs: int | None, progress: bool
) -> Evaluation:
    """Play so many episodes with each policy and summarise those of equal swept settings."""
    trials, metrics = run.config.trials, run.environment.metrics
    starts = [first_seed + run.config.seeds.index(int(settings["seed"])) * episodes for settings in trials]
    with progress_bar(disable=not progress) as bar:
        task = bar.add_task(f"evaluate {run.config.method}", total=episodes * len(trials))
        seeds = [np.arange(start, start + episodes) for start in starts]
        played = list(_play_all(run, seeds, greedy, num_envs, lambda n: bar.advance(task, n)))
    tables = [each.table(metrics, settings) for each, settings in zip(played, trials)]
    by_label: dict[str, list[int]] = {}
    for index, settings in enumerate(trials):
        by_label.setdefault(label_of(settings), []).append(index)
    calibrations = {label: _calibrated(run, {i: played[i] for i in group}) for label, group in by_label.items()}
    return Evaluation(
        environment=run.config.environment,
        method=run.config.method,
        episodes=concatenate(tables),
        summaries={
            label: summarise(concatenate([tables[i] for i in group]), metrics) for label, group in by_label.items()
        },
        calibrations={label: found for label, found in calibrations.items() if found is not None},
    )


def _play_all(
    run: Run,
    seeds: Sequence[np.ndarray],
    greedy: bool,
    num_envs: int | None,
    advance: Callable[[int], None],
) -> Iterator[Played]:
    """The episodes of each policy of a run in turn, on its seeds."""
    environment, learner = run.environment, run.learner
    if isinstance(environment, Environment):
        play = compiled_player(environment, learner, greedy)
        for index, own in enumerate(seeds):
            yield play(run.state(index), own)
            advance(len(own))
        return
    actor = learned(learner, greedy)
    assert isinstance(environment, HostEnvironment)
    with environment.vector(num_envs or min(learner.num_envs, HOST_ENVS)) as vector:
        for index, own in enumerate(seeds):
            yield play_host(
                vector,
                actor(run.state(index)),
                own,
                horizon=environment.horizon,
                gamma=learner.gamma,
                on_progress=advance,
            )


class _Predicted(NamedTuple):
    """What a critic said of the probed moments of a trial's episodes, and what followed."""

    distribution: Distribution  # [E, A]
    known: np.ndarray  # bool [E, A]; the return was neither over nor cut short
    realised: np.ndarray  # [E, A]


def _calibrated(run: Run, played: Mapping[int, Played]) -> Calibration | None:
    """Predicted against realised discounted returns at the probed moments of all agents of some trials.

    None where the critic predicts no distribution, or the time limit cut every probed return short.
    """
    if run.learner.predict_returns is None:
        return None
    predict = jax.jit(run.learner.predict_returns)
    parts = []
    for index, each in played.items():
        seen = each.probe
        said = predict(run.state(index), seen.observations, seen.global_state, seen.available, memory=seen.memory)
        # A return that a time limit cut short is not what the critic predicts.
        complete = ~each.truncated | (seen.weight_left < TRUNCATION_WEIGHT)
        known = np.asarray(seen.active) & complete[:, None]
        parts.append(_Predicted(jax.device_get(said), known, seen.discounted_return))
    known = np.concatenate([part.known for part in parts])
    if not known.any():
        return None
    returns = np.concatenate([part.realised for part in parts])[known]
    first = parts[0].distribution
    if isinstance(first, Categorical):
        probs = np.concatenate([part.distribution.probs for part in parts])[known]
        return calibrate_categorical(np.asarray(first.atoms), probs, returns)
    return calibrate_quantiles(np.concatenate([part.distribution.values for part in parts])[known], returns)


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

    Raises AverseError for an environment that is not compiled, and for numbers out of range.
    """
    if not isinstance(environment, Environment):
        raise AverseError(f"{environment.name} is not compiled; drive its baselines with play_host")
    check_value("episodes", Count, episodes)
    check_value("first_seed", Whole, first_seed)
    play = compiled_player(environment, fixed(policy), greedy=True)
    return play((), np.arange(first_seed, first_seed + episodes)).table(environment.metrics)
