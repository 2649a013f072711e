"""`averse record`: a film of episodes of trained policies, in any world that can be drawn."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from averse.commands import Command, assignments, folded, literal, trial_said
from averse.environments.protocol import is_average_reward
from averse.errors import AverseError
from averse.evaluation import Episodes
from averse.evaluation.basis import suffix
from averse.evaluation.episodes import label_of
from averse.evaluation.evaluator import moved_run
from averse.evaluation.play import FIRST_SEED
from averse.evaluation.recording import RecordedEpisode, Recorder, recorder
from averse.evaluation.worst import worst_episodes
from averse.experiments.pairing import in_world_of
from averse.files import told_if_not_written, writable_folder
from averse.progress import progress_bar
from averse.report.animation import check_film, film_of_rows, write_film
from averse.report.film import drawing_of
from averse.settings import Count, Positive, Seed, settings
from averse.training.run import Run, load

TWO_WEEKS = 14 * 24  # hours
SAME = 1e-3  # of a return, above which an episode is not the one that was evaluated


@settings
class RecordArguments:
    """Film episodes of a trained policy: a GIF, or an MP4 where the name of the file ends in .mp4.

    Every built-in world can be drawn, worlds of Gymnasium and PettingZoo that show themselves (rgb_array), and one's
    own that say what draws them. Episodes are those that averse evaluate plays on the same seeds.
    """

    run: tyro.conf.Positional[Path]
    """Run directory."""
    seed: Seed | None = None
    """Seed of the episode; 1000000, the first of an evaluation, where not given."""
    episodes: Count | None = None
    """How many episodes, on this seed and those after it, one after another in the film; 1 where not given."""
    worst: Count | None = None
    """The so many worst of the episodes that averse evaluate has played here, the worst one first."""
    beside: Path | None = None
    """Another run, whose policy plays the same seeds in the same world, side by side."""
    trial: tuple[str, ...] | None = None
    """Which trial, by its number or by its seed and swept settings: --trial tau=3 seed=1. Not needed where there is
    one; with --worst, whose episodes count: those of all trials where not given."""
    beside_trial: tuple[str, ...] | None = None
    """Which trial of the other run; the one with the same seed and settings where not given."""
    env: str | None = None
    """Where to play, if not where it was trained: a policy of intersection also acts in sumo-intersection."""
    shift: tuple[str, ...] | None = None
    """Play in a shifted world, with other parameters than it was trained with: human_rate=0.4 reckless_fraction=0.1."""
    greedy: bool = False
    """The most likely action instead of a draw from the policy; with --worst, as the evaluation played."""
    steps: Count | None = None
    """Steps of an episode to show at most; all where not given, two weeks where the environment never ends."""
    speed: Positive = 1.0
    """How many times as fast as the world is usually shown, which is real time where it has one."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The film to write; film-SEED.gif or film-worst-K.gif in the run directory where not given."""
    overwrite: bool = False
    """Replace a film that is there already."""
    json: bool = False
    """Print JSON for machines: the file, and how each episode went."""


@dataclass(frozen=True)
class _Shot:
    """An episode that is to be filmed."""

    trial: int
    seed: int
    expected: float | None = None  # its return when it was evaluated
    words: str = ""  # about it


def run(arguments: RecordArguments) -> None:
    """The command. Raises AverseError for bad input before anything is played."""
    shift = assignments("--shift", "PARAMETER=VALUE ... such as human_rate=0.4", arguments.shift, literal)
    original = load(arguments.run)
    world, changed = moved_run(original, arguments.env, shift)
    drawing_of(world.environment)
    ending = suffix(original.config, world.config.environment, changed)
    shots, greedy = _shots(arguments, original, ending)
    names, runs = [str(arguments.run)], [world]
    trials = [[shot.trial] for shot in shots]
    if arguments.beside is not None:
        names.append(str(arguments.beside))
        runs.append(in_world_of(load(arguments.beside), world))
        for own in trials:
            own.append(trial_beside(names[1], runs[1], world.trials[own[0]], arguments.beside_trial))
    path = _place(arguments)
    parts = [_Part(name, each, greedy) for name, each in zip(names, runs)]
    steps = arguments.steps or (TWO_WEEKS if is_average_reward(world.environment) else None)
    with progress_bar(disable=arguments.json) as bar:
        task = bar.add_task("play", total=len(shots) * len(parts))
        rows: list[list[RecordedEpisode]] = []
        for shot, own in zip(shots, trials):
            rows.append([])
            for part, trial in zip(parts, own):
                rows[-1].append(part.record(trial, shot, steps))
                bar.advance(task)
        film, fps = film_of_rows(rows, arguments.speed)
        drawn = bar.add_task("draw", total=film.length)
        with told_if_not_written(path, "make room and record again"):
            write_film(film, path, fps, lambda frames: bar.advance(drawn, frames))
    notes = _notes(shots, rows)
    if arguments.json:
        print(json.dumps(_told(path, film, fps, rows, parts, notes), indent=2))
    else:
        width, height = film.size
        print(folded(f"wrote {path}: {film.length} frames of {width} x {height}, {fps:.3g} a second"))
        for row in rows:
            print(folded("  " + " | ".join(_in_words(episode) for episode in row)))
        for note in notes:
            print(folded(f"note: {note}"))


class _Part:
    """One run, whose policies are filmed."""

    def __init__(self, name: str, run: Run, greedy: bool):
        self.name, self.run = name, run
        self._record: Recorder = recorder(run.environment, run.learner, greedy)

    def record(self, trial: int, shot: _Shot, steps: int | None) -> RecordedEpisode:
        """The episode of a trial."""
        label = label_of(self.run.trials[trial])
        several = f" seed={self.run.trials[trial]['seed']:g}" if len(self.run.trials) > 1 else ""
        title = f"{Path(self.name).name} {label}".strip() + f"{several}, episode {shot.seed}{shot.words}"
        return self._record(self.run.state(trial), shot.seed, title, steps)


def trial_beside(name: str, run: Run, wanted: dict[str, float], said: Sequence[str] | None) -> int:
    """The trial of a run to show beside one of another.

    Args:
      name: of the run, in messages.
      wanted: seed and swept settings of the other run's trial.
      said: which trial was asked for, as `--trial` has it; None where nothing was said.

    Raises AverseError where it is not clear which.
    """
    if said is not None:
        index, chosen = trial_said("--beside-trial", said)
        return run.trial(index, **chosen)
    if len(run.trials) == 1:
        return 0
    if wanted in run.trials:
        return run.trials.index(wanted)
    same_seed = [i for i, own in enumerate(run.trials) if own["seed"] == wanted["seed"]]
    if len(same_seed) == 1:
        return same_seed[0]
    raise AverseError(f"{name} has {len(run.trials)} trials; say which by --beside-trial")


def _shots(arguments: RecordArguments, original: Run, ending: str) -> tuple[list[_Shot], bool]:
    """What is to be filmed, and whether greedily. Raises AverseError for what contradicts itself."""
    index, chosen = trial_said("--trial", arguments.trial)
    if arguments.worst is None:
        trial = original.trial(index, **chosen)
        first = FIRST_SEED if arguments.seed is None else arguments.seed
        return [_Shot(trial, first + k) for k in range(arguments.episodes or 1)], arguments.greedy
    if arguments.seed is not None or arguments.episodes is not None:
        raise AverseError("--worst chooses the episodes; give --seed and --episodes without it")
    file = original.path / f"episodes{ending}.parquet"  # type: ignore[operator]
    if not file.is_file():
        there = "" if arguments.env is None else f" --env {arguments.env}"
        there += "" if arguments.shift is None else f" --shift {' '.join(arguments.shift)}"
        raise AverseError(f"--worst needs the evaluated episodes, and there are none ({file}); make them: "
                          f"averse evaluate {original.path}{there}")  # fmt: skip
    greedy = _was_greedy(original.path / f"evaluation{ending}.json")  # type: ignore[operator]
    if arguments.greedy and not greedy:
        raise AverseError(f"--greedy would play other episodes than those of {file}, which were drawn")
    only = None if arguments.trial is None else original.trial(index, **chosen)
    return worst_shots(Episodes.read_parquet(file), original.trials, arguments.worst, only), greedy


def worst_shots(
    table: Episodes, trials: Sequence[dict[str, float]], count: int, only: int | None = None
) -> list[_Shot]:
    """What to film of the episodes with the lowest returns: `worst_episodes` with their trials.

    Args:
      table: of episodes of these trials.
      only: the trial whose episodes count; those of all where not given.

    Raises AverseError where there are fewer, and for episodes of a trial that there is not.
    """
    places: dict[tuple[tuple[str, float], ...], int] = {tuple(sorted(t.items())): i for i, t in enumerate(trials)}
    columns = {"seed": table.training_seed, **table.settings}
    which = []
    for i in range(len(table)):
        key = tuple(sorted((name, float(column[i])) for name, column in columns.items()))
        if key not in places:
            raise AverseError(f"the evaluated episodes are of a trial that the run has not ({dict(key)}); evaluate it")
        which.append(places[key])
    rows = np.flatnonzero(~table.failed & (True if only is None else np.array(which) == only))
    if count > len(rows):
        raise AverseError(f"--worst must be at most the {len(rows)} episodes that were evaluated, not {count}")
    found = worst_episodes({"": table.select(rows)}, count)
    return [
        _Shot(
            which[rows[place.row]], int(place.table.seed[place.row]), place.value, f", {_place_of(k)} of {len(rows):,}"
        )
        for k, place in enumerate(found)
    ]


def _place_of(k: int) -> str:
    return "worst" if k == 0 else f"{k + 1}. worst"


def _was_greedy(file: Path) -> bool:
    """Whether an evaluation played the likeliest actions. Raises AverseError where it cannot be read."""
    try:
        return bool(json.loads(file.read_text())["greedy"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AverseError(f"{file} cannot be read ({error}); evaluate again with --overwrite") from None


def _place(arguments: RecordArguments) -> Path:
    """Where the film goes. Raises AverseError for a place that is taken or cannot be written to, and other suffixes."""
    seed = FIRST_SEED if arguments.seed is None else arguments.seed
    name = f"film-{seed}.gif" if arguments.worst is None else f"film-worst-{arguments.worst}.gif"
    path = arguments.run / name if arguments.out is None else arguments.out
    check_film(path)
    if path.is_dir() or (path.exists() and not arguments.overwrite):
        raise AverseError(f"{path} exists already; choose another --out" + ("" if path.is_dir() else " or --overwrite"))
    writable_folder(path.parent)
    return path


def _notes(shots: Sequence[_Shot], rows: Sequence[Sequence[RecordedEpisode]]) -> list[str]:
    """What somebody who sees the film should know."""
    notes = []
    for shot, row in zip(shots, rows):
        earned = row[0].earned(len(row[0]))
        if shot.expected is not None and row[0].over and abs(earned - shot.expected) > SAME * max(1, abs(earned)):
            notes.append(
                f"episode {shot.seed} returned {shot.expected:.4g} when it was evaluated and {earned:.4g} here: it was "
                "evaluated with another training, or on another machine or version, where rounding differs"
            )
    endless = is_average_reward(rows[0][0].environment)
    if not endless and any(not episode.over for row in rows for episode in row):
        notes.append("not every episode is shown to its end")
    return notes


def _in_words(episode: RecordedEpisode) -> str:
    return f"{episode.title}: return {episode.earned(len(episode)):.2f} in {len(episode)} steps"


def _told(
    path: Path,
    film: Any,
    fps: float,
    rows: Sequence[Sequence[RecordedEpisode]],
    parts: Sequence[_Part],
    notes: Sequence[str],
) -> dict[str, Any]:
    """JSON-ready: the film, and how each episode went."""
    return {
        "file": str(path),
        "frames": film.length,
        "frames_per_second": fps,
        "size": list(film.size),
        "notes": list(notes),
        "episodes": [
            {
                "run": part.name,
                "seed": episode.seed,
                "return": episode.earned(len(episode)),
                "steps": len(episode),
                "whole": episode.over,
                "metrics": {name: None if v != v else v for name, v in episode.told(len(episode)).items()},
            }
            for row in rows
            for part, episode in zip(parts, row)
        ],
    }


COMMAND = Command(RecordArguments, run)
