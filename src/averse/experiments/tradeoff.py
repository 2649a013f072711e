"""`averse tradeoff`: risk tolerances from averse to neutral, the front that they trace, and whether one serves all.

Axes: S training seeds, L levels of tau.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

from averse.commands import Command
from averse.errors import AverseError
from averse.evaluation import Episodes
from averse.evaluation.summary import TAIL
from averse.experiments.arguments import GOES_ON, StudyArguments
from averse.experiments.arms import Arm, read_tables
from averse.experiments.comparison import difference, slopes
from averse.experiments.outcome import Study, World, carried_out, checked, finish
from averse.experiments.study import ORDER, Claim, all_hold, judged
from averse.settings import Positive, settings
from averse.statistics import Estimate, bootstrap_interval, mean, worst

TAUS = (0.3, 0.5, 1.0, 2.0, 10.0)
NEUTRAL, AVERSE = "mappo", "rqe-mappo"
TITLE = "Risk tolerance"


@settings
class TradeoffArguments(StudyArguments):
    """Train rqe-mappo at several risk tolerances tau beside a risk-neutral method: what does safety cost, and where?

    With --shift all policies also play in shifted worlds: does one tau keep its margin over the neutral one there?
    """

    taus: tuple[Positive, ...] = TAUS
    """Risk tolerances in units of --scale."""
    scale: Positive = 1.0
    """Reward units that the taus are multiples of. A loss L matters as in a mean of the worst fraction alpha where tau
    is L / ln(1 / alpha): a third of L for the worst 5 %."""
    method: str = AVERSE
    """The method with a tau."""
    neutral: str = NEUTRAL
    """The risk-neutral method to compare with."""


def run(arguments: TradeoffArguments) -> None:
    """The command. Raises AverseError for bad input before anything is trained."""
    arms = arms_of(arguments, read_tables(arguments.settings))
    study = checked("tradeoff", arguments, arms, TITLE)
    if not arguments.json:
        Console().print(hint(arguments), highlight=False)
    worlds = carried_out(study)
    levels = {arm.label: arm.swept["tau"] for arm in arms[1:]}
    finish(study, worlds, claims_of(study, worlds, levels), connect=list(levels))


def arms_of(arguments: TradeoffArguments, tables: Mapping[str, Mapping[str, Any]]) -> list[Arm]:
    """The neutral method and every tau, in ascending order.

    Raises AverseError for fewer than two different taus, for two methods of the same name, and for settings that say
    a tau.
    """
    if len(set(arguments.taus)) < max(2, len(arguments.taus)):
        raise AverseError(f"--taus must be two or more different numbers, not {list(arguments.taus)}")
    if arguments.method == arguments.neutral:
        raise AverseError(f"--neutral must be another method than {arguments.method}, which has a tau")
    own = dict(tables.get(arguments.method, {}))
    if "tau" in own or "measure" in own:
        raise AverseError(f"the settings of {arguments.method} must leave tau open, which --taus and --scale say")
    neutral = Arm(arguments.neutral, arguments.neutral, dict(tables.get(arguments.neutral, {})))
    taus = [tau * arguments.scale for tau in sorted(arguments.taus)]
    labels = [f"tau={tau:g}" for tau in taus]
    if len(set(labels)) < len(labels):
        raise AverseError(f"--taus must differ in their first six digits, not {list(arguments.taus)}")
    return [neutral, *(Arm(label, arguments.method, own, {"tau": tau}) for label, tau in zip(labels, taus))]


def hint(arguments: TradeoffArguments) -> str:
    """A line on what the taus mean."""
    taus = ", ".join(f"{tau * arguments.scale:g}" for tau in sorted(arguments.taus))
    weight = math.log(1 / TAIL)
    least, most = (tau * arguments.scale * weight for tau in (min(arguments.taus), max(arguments.taus)))
    return (
        f"tau {taus} reward units. For the worst 5 % a loss L matters at tau = L/ln(1/alpha) = L/{weight:.2g}: "
        f"these suit losses of about {least:.3g} to {most:.3g} (--scale)"
    )


def claims_of(study: Study, worlds: Mapping[str, World], levels: Mapping[str, float]) -> list[Claim]:
    """What is expected along tau: fewer failures, a front, and one tau that keeps its margin in every world."""
    tables, seeds = worlds[""].tables, study.seeds
    claims = []
    if study.failure is not None:
        rate = _slope(tables, levels, lambda table: failures(table, study.failure or ""))
        sentence = f"the {study.failure} rate falls with risk-aversion"
        claims.append(judged(sentence, rate, seeds, words=lambda effect: f"{effect:+.3f} per e-fold of tau"))
    safer = _slope(tables, levels, lambda table: [worst(TAIL)(values) for values in table.by_training_seed()])
    dearer = _slope(tables, levels, lambda table: [float(values.mean()) for values in table.by_training_seed()])
    parts = [
        judged("the worst-5 % return rises as tau falls", safer, seeds, above=False, words=_per_fold),
        judged("the mean return falls as tau falls", dearer, seeds, words=_per_fold),
    ]
    claims += [*parts, all_hold("tau traces a curve of safety against return", parts)]
    claims.append(one_tau(study, worlds, list(levels)))
    return claims


def failures(table: Episodes, failure: str) -> list[float]:
    """The failure rate of each training seed, [S]."""
    flags = np.where(np.isnan(table.metrics[failure]), np.nan, table.metrics[failure] > 0)
    return [float(np.nanmean(each)) if np.isfinite(each).any() else math.nan for each in table.by_training_seed(flags)]


def one_tau(study: Study, worlds: Mapping[str, World], labels: Sequence[str]) -> Claim:
    """The claim that one tau has a better worst-5 % return than the neutral method in every world.

    For a given tau it holds only if the margin's interval is above 0 in each world (an intersection-union test needs no
    correction for the number of worlds). The tau is chosen among several, so that each interval is at 1 - 5 % / L. The
    claim fails if every tau fails in some world. The effect is the smallest margin of the best tau.
    """
    sentence = f"one tau keeps a better worst-5 % return than {study.plan.arms[0].label} in every world"
    if len(worlds) == 1:
        return Claim(sentence, "undecided", Estimate(math.nan), "no shifted world was played: --shift PARAMETER=VALUE")
    reference, confidence = study.plan.arms[0].label, 1 - 0.05 / len(labels)
    smallest: dict[str, Claim] = {}
    for label in labels:
        margins = []
        for name, world in worlds.items():
            less = difference(label, world.tables[label], reference, world.tables[reference], None, confidence)
            words = partial(_margin, label, name, confidence)
            margins.append(judged(sentence, less.metrics["worst_5"], study.seeds, words=words))
        smallest[label] = min(margins, key=_strength)
    return max(smallest.values(), key=_strength)


def _strength(claim: Claim) -> tuple[int, float]:
    """How well a claim of something above 0 stands: by its verdict, then by its effect."""
    return ORDER.index(claim.verdict), claim.effect.value


def _margin(label: str, world: str, confidence: float, margin: Estimate) -> str:
    where = world or "the world of training"
    return f"{label} has its smallest margin in {where}: {margin}, at {confidence:.2%}"


def _slope(tables: Mapping[str, Episodes], levels: Mapping[str, float], figure: Any) -> Estimate:
    """How a figure changes per e-fold of tau: the mean over training seeds of each seed's slope."""
    rows = [figure(tables[label].completed()) for label in levels]
    if len({len(row) for row in rows}) > 1:  # a seed without any completed episode
        return Estimate(math.nan)
    values = np.array(rows).T  # [S, L]
    found = slopes(list(levels.values()), values)
    return bootstrap_interval(found, mean) if np.isfinite(found).all() else Estimate(math.nan)


def _per_fold(effect: Estimate) -> str:
    return f"{effect} per e-fold of tau"


COMMAND = Command(TradeoffArguments, run, GOES_ON)
