"""From a trained run to honest figures: play fresh episodes, keep them, summarise them, check the critic."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from averse.environments.protocol import Environment, HostEnvironment, is_average_reward
from averse.errors import AverseError
from averse.evaluation.calibration import Calibration, calibrate_categorical, calibrate_quantiles
from averse.evaluation.episodes import Episodes, concatenate
from averse.evaluation.host_play import learned, play_host
from averse.evaluation.long_run import STEPS, LongRunEvaluation, evaluate_long_run
from averse.evaluation.play import Played, Probe, compiled_player
from averse.evaluation.summary import Summary, summarise
from averse.evaluation.tables import summary_table
from averse.files import write_text
from averse.learners.fixed import fixed
from averse.progress import progress_bar
from averse.risk import Categorical, Distribution
from averse.training.defaults import HOST_ENVS
from averse.training.run import Run, load

EPISODES = 1000  # per policy, by default
FIRST_SEED = 1_000_000  # evaluation seeds; tuning that looks at episodes should use others
TRUNCATION_WEIGHT = (
    0.05  # a realised return is used for calibration if less than this discount was left when it was cut
)


@dataclass(frozen=True)
class Evaluation:
    """Figures of one run: one summary (and calibration, where the critic is distributional) per swept setting."""

    environment: str
    method: str
    episodes: Episodes
    summaries: Mapping[str, Summary]  # "tau=1" and so on; one entry "" where nothing is swept
    calibrations: Mapping[str, Calibration]  # none for a setting where the time limit cut every return short

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. The summary's keys stand at the top where nothing is swept, else under `settings`."""
        head = {"environment": self.environment, "method": self.method}
        entries = {}
        for label, summary in self.summaries.items():
            calibration = self.calibrations.get(label)
            entries[label] = {**summary.to_dict(), "calibration": calibration.to_dict() if calibration else None}
        return {**head, **entries[""]} if set(entries) == {""} else {**head, "settings": entries}

    def __str__(self) -> str:
        table = summary_table({label or self.method: summary for label, summary in self.summaries.items()})
        words = [
            f"critic calibration{f' ({label})' if label else ''}: {calibration}"
            for label, calibration in self.calibrations.items()
        ]
        return "\n".join([str(table), *words])


def label_of(settings: Mapping[str, float]) -> str:
    """`tau=1` for a run's swept settings; the empty string where there are none."""
    return ", ".join(f"{name}={value:g}" for name, value in settings.items() if name != "seed")


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
    pooled. With `save` (and a run directory) episodes.parquet and evaluation.json are written there.

    Args:
      episodes: per policy, 1,000 where not given.
      environment: where to play instead of in the training environment, such as sumo-intersection for policies trained
        in its compiled twin; its name then also stands in the names of the files.
      steps: of an environment that never ends, steps per policy, a million where not given; the figures are then eta,
        zeta and J (`averse.evaluation.long_run`).
      beta: price of variance in J, in 1/reward; that of the run where not given.
      greedy: the most likely action instead of a draw from the policy; always so where exploration is mere noise.
      num_envs: worker processes of a host environment; as in training where not given.

    Raises AverseError for bad input or a run that cannot be read.
    """
    run = run if isinstance(run, Run) else load(run)
    suffix = ""
    if environment is not None and environment != run.config.environment:
        run, suffix = run.moved_to(environment), f"-{environment}"
    if is_average_reward(run.environment):
        if episodes is not None:
            raise AverseError(f"{run.config.environment} never ends: it is evaluated over steps, not episodes")
        return evaluate_long_run(
            run, label_of, STEPS if steps is None else steps, beta=beta, first_seed=first_seed, greedy=greedy,
            progress=progress, save=save,
        )  # fmt: skip
    if steps is not None or beta is not None:
        raise AverseError(f"{run.config.environment} has episodes: steps and beta are for environments that never end")
    episodes = EPISODES if episodes is None else episodes
    if episodes < 1:
        raise AverseError(f"episodes must be at least 1, not {episodes}")
    tables, probes = [], []

    def seeds_of(settings: Mapping[str, float]) -> np.ndarray:
        start = first_seed + run.config.seeds.index(int(settings["seed"])) * episodes
        return np.arange(start, start + episodes)

    greedy = greedy or run.learner.explores_by_noise
    with progress_bar(disable=not progress) as bar:
        task = bar.add_task(f"evaluate {run.config.method}", total=episodes * len(run.config.trials))
        for settings, played in zip(
            run.config.trials, _play_all(run, seeds_of, greedy, num_envs, lambda n: bar.advance(task, n))
        ):
            tables.append(episode_table(played, settings, run.environment.metrics))
            probes.append((played.probe, played.truncated))
    table = concatenate(tables)
    by_label: dict[str, list[int]] = {}
    for index, settings in enumerate(run.config.trials):
        by_label.setdefault(label_of(settings), []).append(index)
    evaluation = Evaluation(
        environment=run.config.environment,
        method=run.config.method,
        episodes=table,
        summaries={
            label: summarise(concatenate([tables[i] for i in indices]), run.environment.metrics)
            for label, indices in by_label.items()
        },
        calibrations={
            label: calibration
            for label, indices in by_label.items()
            if run.learner.predict_returns is not None
            and (calibration := _calibrate(run, indices, [probes[i] for i in indices])) is not None
        },
    )
    if save and run.path is not None:
        table.write_parquet(run.path / f"episodes{suffix}.parquet")
        write_text(run.path / f"evaluation{suffix}.json", json.dumps(evaluation.to_dict(), indent=2) + "\n")
    return evaluation


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

    Raises AverseError for an environment that is not compiled.
    """
    if not isinstance(environment, Environment):
        raise AverseError(f"{environment.name} is not compiled; drive its baselines with play_host")
    played = compiled_player(environment, fixed(policy), greedy=True)((), np.arange(first_seed, first_seed + episodes))
    return episode_table(played, {}, environment.metrics)


def _play_all(
    run: Run,
    seeds_of: Callable[[Mapping[str, float]], np.ndarray],
    greedy: bool,
    num_envs: int | None,
    advance: Callable[[int], None],
) -> Iterator[Played]:
    """The episodes of each policy of a run in turn."""
    environment, learner = run.environment, run.learner
    if isinstance(environment, Environment):
        play = compiled_player(environment, learner, greedy)
        for index, settings in enumerate(run.config.trials):
            seeds = seeds_of(settings)
            yield play(run.state(index), seeds)
            advance(len(seeds))
        return
    actor = learned(learner, greedy)
    assert isinstance(environment, HostEnvironment)
    with environment.vector(num_envs or min(learner.num_envs, HOST_ENVS)) as vector:
        for index, settings in enumerate(run.config.trials):
            yield play_host(
                vector,
                actor(run.state(index)),
                seeds_of(settings),
                horizon=environment.horizon,
                gamma=learner.gamma,
                on_progress=advance,
            )


def episode_table(played: Played, settings: Mapping[str, float], metrics: Mapping[str, str]) -> Episodes:
    """The episodes of one policy as a table; `settings` are its training seed and swept settings."""
    count = len(played.seeds)
    return Episodes(
        training_seed=np.full(count, int(settings.get("seed", 0))),
        seed=played.seeds,
        agent_returns=played.returns,
        length=played.length,
        failed=played.failed,
        metrics={name: played.info[name] for name in metrics},
        settings={name: np.full(count, value) for name, value in settings.items() if name != "seed"},
    )


def _calibrate(run: Run, indices: list[int], probes: list[tuple[Probe, np.ndarray]]) -> Calibration | None:
    """Predicted against realised discounted returns at the probed moments of all agents of some policies.

    None where the time limit cut every probed return short.
    """
    assert run.learner.predict_returns is not None
    predict = jax.jit(run.learner.predict_returns)
    predictions: list[Distribution] = []
    masks, realised = [], []
    for index, (probe, truncated) in zip(indices, probes):
        predictions.append(
            jax.device_get(
                predict(run.state(index), probe.observations, probe.global_state, probe.available, memory=probe.memory)
            )
        )
        # A return that a time limit cut short is not what the critic predicts.
        complete = ~truncated | (probe.weight_left < TRUNCATION_WEIGHT)
        masks.append(np.asarray(probe.active) & complete[:, None])
        realised.append(probe.discounted_return)
    mask = np.concatenate(masks)
    if not mask.any():
        return None
    returns = np.concatenate(realised)[mask]
    first = predictions[0]
    if isinstance(first, Categorical):
        probs = np.concatenate([p.probs for p in predictions])[mask]
        return calibrate_categorical(np.asarray(first.atoms), probs, returns)
    return calibrate_quantiles(np.concatenate([p.values for p in predictions])[mask], returns)
