"""`averse compare`: methods side by side, on common training seeds and evaluation episodes, tuned alike if wished."""

from collections.abc import Mapping

from averse.commands import Command
from averse.experiments.arguments import GOES_ON, StudyArguments
from averse.experiments.arms import read_arms, read_tables
from averse.experiments.comparison import rate_name
from averse.experiments.outcome import Study, World, carried_out, checked, finish
from averse.experiments.study import Claim, judged
from averse.experiments.tuning import Budget, tuned
from averse.settings import Count, settings

METHODS = (
    "mappo",
    "c51-cvar-mappo",
    "rmix",
    "riskq",
    "mean-variance-mappo",
    "reward-shaped-mappo",
    "rqe-mappo",
)
TITLE = "Methods side by side"


@settings
class CompareArguments(StudyArguments):
    """Compare methods: train each with the same seeds and steps, play the same episodes, tell what differs.

    The first method is what the others are compared with. Figures and claims come with intervals over training seeds.
    """

    methods: tuple[str, ...] = METHODS
    """Methods, also with settings and names of their own: mappo rqe-mappo:tau=3 bold=rqe-mappo:tau=10,lam=0.98."""
    tune: Count | None = None
    """First try so many settings of each method on development seeds (100, ...), its own and random ones, and go on
    with the best. They are left in tuned.toml. Needs the extra `tune`."""
    tune_steps: Count | None = None
    """Environment steps of each try; --steps where not given."""
    tune_seeds: Count = 1
    """Development seeds of each try."""


def run(arguments: CompareArguments) -> None:
    """The command. Raises AverseError for bad input before anything is trained."""
    arms = read_arms(arguments.methods, read_tables(arguments.settings))
    if arguments.tune is not None:
        steps = arguments.amount.steps if arguments.tune_steps is None else arguments.tune_steps
        arms = tuned("compare", arguments, arms, Budget(arguments.tune, steps, arguments.tune_seeds))
    study = checked("compare", arguments, arms, TITLE)
    worlds = carried_out(study)
    finish(study, worlds, claims_of(study, worlds))


def claims_of(study: Study, worlds: Mapping[str, World]) -> list[Claim]:
    """What is expected of each method but the first, in every world: fewer failures, and a better tail."""
    first, claims = study.plan.arms[0].label, []
    for name, world in worlds.items():
        where = f" where {name}" if name else ""
        for each in world.differences:
            if study.failure is not None:
                rate = each.metrics[rate_name(study.failure)]
                sentence = f"{each.label} has a lower {study.failure} rate than {first}{where}"
                claims.append(judged(sentence, rate, study.seeds, above=False, words="{:+.3f}".format))
            sentence = f"the worst 5 % of returns of {each.label} are better than those of {first}{where}"
            claims.append(judged(sentence, each.metrics["worst_5"], study.seeds))
    return claims


COMMAND = Command(CompareArguments, run, GOES_ON)
