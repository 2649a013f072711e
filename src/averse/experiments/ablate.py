"""`averse ablate`: rqe-mappo without one of its parts at a time, on common training seeds and evaluation episodes."""

import math
from collections.abc import Mapping
from typing import Any

from averse import learners
from averse.commands import Command
from averse.errors import AverseError
from averse.experiments.arguments import GOES_ON, StudyArguments
from averse.experiments.arms import Arm, read_tables
from averse.experiments.outcome import Study, World, carried_out, checked, finish
from averse.experiments.study import Claim, all_hold, judged
from averse.learners.policy_gradient.config import MAPPOConfig
from averse.settings import Positive, settings
from averse.statistics import Estimate

BOTH, RISK, RATIONALITY, NEITHER = "both", "risk only", "rationality only", "neither"
RISK_VALUE, NO_SCHEDULE, SCALAR = "risk-value advantage", "no risk schedule", "scalar critic"
METHOD = "rqe-mappo"
TITLE = "Ablation"


@settings
class AblateArguments(StudyArguments):
    """Take rqe-mappo's parts away one at a time: risk-aversion, bounded rationality, its advantage, its schedule.

    both: as it is; risk only: no entropy weight (epsilon 0); rationality only: risk-neutral (tau inf); neither. Beside
    them: the advantage risk-value, no risk schedule, and a scalar critic, which can only be risk-neutral.
    """

    method: str = METHOD
    """The method: rqe-mappo, or another of its kind."""
    tau: Positive | None = None
    """Risk tolerance of those that are risk-averse; the method's own where not given."""
    epsilon: Positive | None = None
    """Entropy weight of those that are boundedly rational; the method's own where not given."""


def run(arguments: AblateArguments) -> None:
    """The command. Raises AverseError for bad input before anything is trained."""
    arms = arms_of(arguments, read_tables(arguments.settings))
    study = checked("ablate", arguments, arms, TITLE)
    worlds = carried_out(study)
    finish(study, worlds, claims_of(study, worlds))


def arms_of(arguments: AblateArguments, tables: Mapping[str, Mapping[str, Any]]) -> list[Arm]:
    """All variants, the whole method first.

    Raises AverseError for a method whose parts these are not, and for settings that take a part away by themselves.
    """
    method = arguments.method
    preset = learners.preset(method)
    if not isinstance(preset, MAPPOConfig) or preset.advantage != "entropic":
        raise AverseError(f"--method must be rqe-mappo or a method with its advantage (entropic), not {method}")
    own = dict(tables.get(method, {}))
    own |= {name: value for name in ("tau", "epsilon") if (value := getattr(arguments, name)) is not None}
    if "advantage" in own or "critic" in own:
        raise AverseError(f"the settings of {method} must leave advantage and critic as they are: these are compared")
    whole = learners.preset(method, **own)
    if whole.epsilon == 0.0 or whole.measure == "entropic:inf":
        raise AverseError(f"{method} has tau and epsilon to be taken away: neither can be gone in its settings")
    neutral = {name: value for name, value in own.items() if name not in ("measure", "tau")} | {"tau": math.inf}
    scalar = {name: value for name, value in neutral.items() if name not in ("tau", "num_atoms", "support")}
    return [
        Arm(BOTH, method, own),
        Arm(RISK, method, own | {"epsilon": 0.0}),
        Arm(RATIONALITY, method, neutral),
        Arm(NEITHER, method, neutral | {"epsilon": 0.0}),
        Arm(RISK_VALUE, method, own | {"advantage": "risk-value"}),
        *([Arm(NO_SCHEDULE, method, own | {"risk_warmup": 0.0})] if whole.risk_warmup > 0.0 else []),
        Arm(SCALAR, method, scalar | {"critic": "scalar", "advantage": "gae", "measure": "mean"}),
    ]


def claims_of(study: Study, worlds: Mapping[str, World]) -> list[Claim]:
    """What is expected of each part, in the world of training: that the worst-5 % return is better with it."""
    world, seeds = worlds[""], study.seeds

    def better(label: str, sentence: str) -> Claim:
        less = world.difference(label).metrics["worst_5"]  # of the arm without the part, less the whole method
        return judged(sentence, Estimate(-less.value, -less.high, -less.low), seeds)

    risk = better(RATIONALITY, "the worst-5 % return is better with risk-aversion than without")
    rationality = better(RISK, "the worst-5 % return is better with bounded rationality than without")
    claims = [risk, rationality, all_hold("both components are needed", [risk, rationality])]
    claims.append(better(RISK_VALUE, "the worst-5 % return is better with the entropic advantage than with risk-value"))
    if any(arm.label == NO_SCHEDULE for arm in study.plan.arms):
        claims.append(better(NO_SCHEDULE, "the worst-5 % return is better with the risk schedule than without"))
    return claims


COMMAND = Command(AblateArguments, run, GOES_ON)
