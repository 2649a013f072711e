"""Runs whose policies play together or are compared in one world: which trials belong together, and where they play."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

from averse.commands import assignments, literal
from averse.environments.protocol import is_average_reward
from averse.errors import AverseError
from averse.evaluation.episodes import label_of
from averse.evaluation.evaluator import moved_run
from averse.evaluation.summary import RELIABLE_EPISODES, Summary
from averse.settings import Count, assigned, settings
from averse.statistics import Estimate
from averse.training.run import Run


@settings
class MeetingArguments:
    """What every play of trained policies together can be told; all play in the world of the first run."""

    _: KW_ONLY  # so that fields without a default may follow in a class that derives from it
    env: str | None = None
    """Where to play, if not where the first run was trained."""
    shift: tuple[str, ...] | None = None
    """Play in a shifted world: human_rate=0.4 reckless_fraction=0.1."""
    greedy: bool = False
    """The most likely actions instead of draws."""
    workers: Count | None = None
    """Simulator processes; 8 where not given. Compiled environments have none."""
    json: bool = False
    """Print JSON for machines."""

    def world_of(self, first: Run, verb: str) -> Run:
        """The first run where all are to play. Raises AverseError where it cannot act there or nothing ever ends."""
        shift = assignments("--shift", "PARAMETER=VALUE ... such as human_rate=0.4", self.shift, literal)
        world, _ = moved_run(first, self.env, shift)
        if is_average_reward(world.environment):
            raise AverseError(f"{world.config.environment} never ends: {verb} plays episodes, and it has none")
        return world


@dataclass(frozen=True)
class Contender:
    """The policies of one method with one setting: a trial for each training seed."""

    label: str
    """What it is called in tables: the run's name, and its swept settings."""
    path: Path
    """The run directory."""
    run: Run
    """The run, in the world where it plays."""
    trials: tuple[int, ...]
    """Its trials, in the order of the run."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seed of each trial."""
        return tuple(int(self.run.trials[i]["seed"]) for i in self.trials)

    @property
    def settings(self) -> dict[str, Any]:
        """What it was trained with, for files: method, swept settings, seeds."""
        swept = {name: value for name, value in self.run.trials[self.trials[0]].items() if name != "seed"}
        return {"method": self.run.config.method, **swept, "seeds": list(self.seeds)}


def contenders(path: Path, run: Run) -> list[Contender]:
    """A run's policies by what was swept over; one where nothing was."""
    by_label: dict[str, list[int]] = {}
    for index, swept in enumerate(run.trials):
        by_label.setdefault(label_of(swept), []).append(index)
    name = path.resolve().name
    return [Contender(f"{name} {label}".strip(), path, run, tuple(group)) for label, group in by_label.items()]


def told_apart(found: Sequence[Contender]) -> list[Contender]:
    """The contenders, those of different run directories with equal labels by their paths."""
    whose: dict[str, set[Path]] = {}
    for each in found:
        whose.setdefault(each.label, set()).add(each.path.resolve())
    return [replace(e, label=f"{e.label} ({e.path})") if len(whose[e.label]) > 1 else e for e in found]


def one_contender(path: Path, run: Run, flag: str, said: Sequence[str] | None) -> Contender:
    """The policies of one setting of a run.

    Args:
      flag: by which it can be said, where the run has several.
      said: what was said, texts SETTING=NUMBER; None for nothing.

    Raises AverseError where not exactly one setting is meant.
    """
    wanted = assignments(flag, "SETTING=NUMBER ... such as tau=3", said, float)
    found = contenders(path, run)
    swept = [name for name in run.trials[0] if name != "seed"]
    for name in wanted:
        if name not in swept:
            there = f"swept over {', '.join(swept)}" if swept else "swept over nothing"
            raise AverseError(f"{flag}: {path} {there}, not over {name!r:.80}")
    chosen = [
        each for each in found if all(run.trials[each.trials[0]][name] == value for name, value in wanted.items())
    ]
    if len(chosen) == 1:
        return chosen[0]
    values = "; ".join(label_of(run.trials[each.trials[0]]) for each in found)
    raise AverseError(f"{path} has policies for {values}; say by {flag} which is meant")


def in_world_of(run: Run, world: Run) -> Run:
    """A run, playing in the world in which another one plays.

    Raises AverseError where its policies cannot act there.
    """
    there = world.config
    here = (run.config.environment, run.config.environment_parameters)
    if here == (there.environment, there.environment_parameters):
        return run
    for what in ("num_agents", "action_space", "observation_size"):
        own, theirs = getattr(run.environment, what), getattr(world.environment, what)
        if own != theirs:
            raise AverseError(
                f"a policy of {run.config.environment} cannot act in {there.environment}: {what} is {theirs}, not {own}"
            )
    return run.moved_to(there.environment, there.environment_parameters)


def unfinished(runs: Mapping[str, Run]) -> str:
    """A sentence on the runs that are not trained to their end; empty where all are."""
    cut = {
        label: f"{min(run.updates)} of {run.config.total_updates}" for label, run in runs.items() if not run.finished
    }
    return f"not trained to the end (updates): {assigned(cut)}" if cut else ""


def reliability(episodes: int, seeds: int, runs: Mapping[str, Run]) -> str:
    """What figures of so many episodes with so many training seeds cannot tell, in sentences that a caption adds.

    Args:
      episodes: of a policy, over all seeds.
      runs: whose policies were played, by their labels.
    """
    warnings = []
    if seeds == 1:
        warnings.append("one training seed: intervals cover the evaluation of these policies, not training them again")
    if episodes < RELIABLE_EPISODES:
        warnings.append(f"only {episodes:,} episodes: tails are unreliable below {RELIABLE_EPISODES:,}")
    if cut := unfinished(runs):
        warnings.append(cut)
    return f" Warning: {'; '.join(warnings)}." if warnings else ""


def metrics_of(summary: Summary) -> dict[str, Estimate]:
    """The figures of a summary by the names that studies give them."""
    found = {"return": summary.mean, "worst_5": summary.cvar_05, "std": summary.std}
    if summary.collision_rate is not None:
        found["collision_rate"] = summary.collision_rate
    return {**found, **{name: metric.mean for name, metric in summary.metrics.items()}, "length": summary.length}


def from_folder(path: Path, folder: Path) -> str:
    """A run directory as it is found from a study's folder."""
    return os.path.relpath(path.resolve(), folder.resolve())
