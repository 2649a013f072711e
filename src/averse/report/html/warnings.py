"""What a reader must know before the figures: warnings of training and evaluation, in their own words."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from averse.evaluation import Calibration, Evaluation, LongRunEvaluation
from averse.report.html.runs import TrainedRun
from averse.report.html.studies import Study
from averse.training.critic_support import CLAMPED_MASS, support_warnings

UNCALIBRATED = 0.1  # distance of the PIT from uniform: a stated probability is off by as much somewhere

Warnings = dict[str, str]
"""Sentences -> whose they are: names with commas between, empty where they are everybody's."""


def run_warnings(run: TrainedRun) -> list[str]:
    """Of a run: not finished, not evaluated, a support that does not suit, and what its evaluations say."""
    found = []
    done = [int(row["update"]) for row in run.last]
    told = dict(run.evaluations)
    total = run.config.total_updates
    if len(done) < len(run.config.trials) or min(done, default=0) < total:
        begun = f"{len(done)} of {len(run.config.trials)} trials begun, the least trained after {min(done, default=0)}"
        found.append(f"unfinished run: {begun} of {total} updates; averse train --resume {run.path} finishes it")
    else:
        found += support_warnings(run.last)
    if not told:
        found.append(f"not evaluated: no figure of its policies is known; averse evaluate {run.path} makes them")
    for path, evaluation in told.items():
        found += evaluation_warnings(evaluation, path)
    return list(dict.fromkeys(found))


def evaluation_warnings(evaluation: Evaluation | LongRunEvaluation, path: Path) -> list[str]:
    """Of an evaluation: its summaries' own, failed episodes, policies not trained to their end, returns cut, critics.

    Args:
      path: of its figures; the world that is not that of training stands in its name.
    """
    where = path.stem.removeprefix("evaluation").removeprefix("-")
    found = []
    if evaluation.basis is not None and evaluation.basis.warning:
        found.append(evaluation.basis.warning.removeprefix("Warning: ").rstrip("."))
    for label, summary in evaluation.summaries.items():
        words = (summary.warning or "").split("; ")
        if isinstance(evaluation, Evaluation):
            words += _of_episodes(evaluation, label)
        found += [f"{label}: {each}" if label else each for each in words if each]
    return [f"in {where}: {each}" if where else each for each in found]


def _of_episodes(evaluation: Evaluation, label: str) -> list[str]:
    found = []
    if failed := evaluation.summaries[label].failed_episodes:
        found.append(f"failed episodes, left out: {failed:,}")
    if label in evaluation.objectives:
        found.append(evaluation.objectives[label].warning)
    calibration = evaluation.calibrations.get(label)
    if label in evaluation.left_out and (calibration is None or is_uncalibrated(calibration)):
        found.append(f"uncalibrated critic: {evaluation.calibration_words(label).partition(': ')[2]}")
    if not len(evaluation.episodes):
        found.append("the table of episodes is gone: distributions and worst episodes are missing")
    return found


def is_uncalibrated(calibration: Calibration) -> bool:
    """Whether a critic's predictions are so far from what followed that its risk should not be believed."""
    return calibration.kolmogorov_smirnov > UNCALIBRATED or calibration.clamped_fraction > CLAMPED_MASS


def study_warnings(study: Study) -> list[str]:
    """Of a study: not finished, quick, one seed, runs that are not there."""
    found = [study.unfinished.rstrip(".")] if study.unfinished else []
    if study.quick:
        found.append("a quick study: its budget is for trying the command, not for conclusions")
    if len(study.seeds) == 1:
        found.append("one training seed: intervals cover the evaluation of these policies, not training them again")
    found += [f"the run {label} is missing: {why}" for label, why in study.missing.items()]
    return found


def gathered(warnings: Mapping[str, Iterable[str]]) -> Warnings:
    """Warnings by whose they are -> each sentence once, with all whose it is."""
    names: dict[str, list[str]] = {}
    for name, sentences in warnings.items():
        for sentence in sentences:
            names.setdefault(sentence, []).append(name)
    return {sentence: "" if "" in whose else ", ".join(dict.fromkeys(whose)) for sentence, whose in names.items()}
