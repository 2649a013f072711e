"""What every study of trained methods can be told, and the plan that it makes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from averse import environments
from averse.commands import assignments, literal
from averse.engines import Engine
from averse.errors import AverseError
from averse.experiments.arms import Arm, folder_of, read_values
from averse.experiments.engine import Plan
from averse.settings import Count, Positive, settings


class Amount(NamedTuple):
    """How much a study trains and plays where it is not told."""

    seeds: int
    steps: float  # per seed
    episodes: int  # per policy


GOES_ON = "the same command goes on; what is done is not done again"
FULL, QUICK = Amount(5, 2e5, 1000), Amount(2, 2e4, 200)
QUICK_OUTSIDE = QUICK._replace(steps=5e3)  # in worlds outside JAX, a step of which costs up to a millisecond


@settings
class StudyArguments:
    """What every study of trained methods can be told."""

    env: str = "risky-cartpole"
    """Where policies play: a name (`averse list`), module:Attribute, gymnasium:ID, pettingzoo:MODULE, gymnax:ID or
    jaxmarl:ID."""
    train_env: str | None = None
    """Where they are trained, if elsewhere: intersection, the compiled twin of sumo-intersection."""
    parameters: tuple[str, ...] | None = None
    """Parameters of the environment, PARAMETER=VALUE ... such as level=severe corridor=true."""
    seeds: Count | None = None
    """How many training seeds (0, 1, ...) of each method; 5 where not given."""
    steps: Positive | None = None
    """Environment steps per seed; 2e5 where not given."""
    episodes: Count | None = None
    """Evaluation episodes per policy, the same for all methods; 1000 where not given."""
    settings: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """TOML file with a table of settings per method: [rqe-mappo] and below it learning_rate = 3e-4."""
    failure: str | None = None
    """Metric that counts failures, whose rate is told; collision, failure, crash or falls where there is one."""
    shift: tuple[str, ...] | None = None
    """Shifted worlds to play in as well, each PARAMETER=VALUE,...: human_rate=0.4 human_rate=0.1,dropout=0.2."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Directory of the study; runs/VERB-ENV where not given. What is there is not done again; an interrupted study goes
    on with the same command."""
    quick: bool = False
    """A look at everything: 2 seeds, 2e4 steps (5e3 in worlds that are not compiled), 200 episodes, where these are not
    given, and fewer gradient steps of methods that replay."""
    json: bool = False
    """Print JSON for machines."""
    engine: Annotated[Engine, tyro.conf.arg(name="", prefix_name=False)] = Engine()

    @property
    def amount(self) -> Amount:
        """How much is trained and played."""
        default = _quick_amount(self) if self.quick else FULL
        return Amount(
            default.seeds if self.seeds is None else self.seeds,
            default.steps if self.steps is None else self.steps,
            default.episodes if self.episodes is None else self.episodes,
        )


def folder(verb: str, arguments: StudyArguments) -> Path:
    """Where the study is, or is to be."""
    quick = "-quick" if arguments.quick else ""
    return arguments.out or Path("runs") / f"{verb}-{folder_of(arguments.env)}{quick}"


def _quick_amount(arguments: StudyArguments) -> Amount:
    """How much a quick look trains and plays."""
    try:
        world = environments.make(arguments.train_env or arguments.env, **_parameters(arguments))
    except AverseError:  # told where runs are configured
        return QUICK
    return QUICK if environments.is_compiled(world) else QUICK_OUTSIDE


def _parameters(arguments: StudyArguments) -> dict[str, Any]:
    """Of the world of training. Raises AverseError for what is no PARAMETER=VALUE."""
    return assignments("--parameters", "PARAMETER=VALUE ... such as level=severe", arguments.parameters, literal)


def plan_of(verb: str, arguments: StudyArguments, arms: Sequence[Arm]) -> Plan:
    """The plan of a study. Raises AverseError for environments, parameters and shifts that are none."""
    trained_in = arguments.train_env or arguments.env
    for name in (arguments.env, trained_in):
        environments.factory(name)
    amount = arguments.amount
    return Plan(
        arms=arms,
        environment=arguments.env,
        trained_in=trained_in,
        parameters=_parameters(arguments),
        seeds=tuple(range(amount.seeds)),
        steps=amount.steps,
        episodes=amount.episodes,
        out=folder(verb, arguments) / "runs",
        worlds=worlds_of(arguments.shift),
        quick=arguments.quick,
    )


def worlds_of(shifts: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """The world of training, named "", and the shifted ones, each by what was said of it.

    Raises AverseError for a shift that is none, and for one that is there twice.
    """
    if shifts == ():
        raise AverseError("--shift needs a world, PARAMETER=VALUE such as human_rate=0.4")
    worlds: dict[str, dict[str, Any]] = {"": {}}
    for text in shifts or ():
        if text in worlds:
            raise AverseError(
                f"--shift has {text!r:.80} twice; give it once" if text else "--shift needs PARAMETER=VALUE"
            )
        worlds[text] = read_values("--shift", text)
    return worlds
