"""The command `averse`: one sub-command per verb, each a dataclass that tyro turns into flags and help."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from averse.errors import AverseError, unknown_name
from averse.files import cache_folder


@dataclass(frozen=True)
class ListArguments:
    """What there is: environments, methods and risk measures."""

    json: bool = False
    """Print JSON for machines."""


@dataclass(frozen=True)
class TrainArguments:
    """Train a method in an environment. With --env and --method given, --help also lists their own settings."""

    env: str = "risky-cartpole"
    """Environment; `averse list` names them. Its parameters are flags too, such as --level severe."""
    method: str = "rqe-mappo"
    """Method; `averse list` names them. Its settings are flags too, such as --tau 3."""
    steps: float = 2e5
    """Environment steps per seed."""
    seeds: int = 1
    """How many training seeds (0, 1, ...)."""
    sweep: tuple[str, ...] = ()
    """Settings to sweep over, each with every seed: tau=0.3,1,10. One program in a compiled environment."""
    out: Path | None = None
    """Run directory to create; runs/ENV-METHOD where not given."""
    resume: Path | None = None
    """Finish the interrupted run in this directory instead; all other settings come from there."""
    fine_tune: Path | None = None
    """Begin with the networks of this run, such as one trained in intersection, to go on in sumo-intersection."""
    checkpoints: int = 10
    """How many checkpoints to write."""
    seeds_as: Literal["vmap", "loop"] = "vmap"
    """Compiled environments: train all runs side by side in one program, or one after another."""
    tensorboard: bool = False
    """Also write TensorBoard files (needs the extra `tensorboard`)."""
    quiet: bool = False
    """No progress bar and no summary."""


@dataclass(frozen=True)
class EvaluateArguments:
    """Play fresh episodes with the policies of a run: mean, tail, collisions, each with a 95 % interval.

    Where an environment never ends: long runs instead, and the mean eta and variance zeta of the reward per step.
    """

    run: tyro.conf.Positional[Path]
    """Run directory."""
    episodes: int | None = None
    """Episodes per policy, 1000 where not given; tails want at least 1,000."""
    env: str | None = None
    """Where to play, if not where it was trained: a policy of intersection also acts in sumo-intersection."""
    steps: float | None = None
    """Where the environment never ends: steps per policy, 1e6 where not given."""
    beta: float | None = None
    """Where the environment never ends: price of variance in J = eta - beta zeta; that of the run where not given."""
    greedy: bool = False
    """The most likely action instead of a draw from the policy."""
    workers: int | None = None
    """Simulator processes; as in training where not given. Compiled environments have none."""
    json: bool = False
    """Print JSON for machines."""


@dataclass(frozen=True)
class DemoArguments:
    """Train mappo and rqe-mappo to cross an intersection, compare both with simple drivers in SUMO, draw both."""

    out: Path = Path("runs/demo")
    """Directory to create."""
    trained_in: Annotated[Literal["twin", "sumo"], tyro.conf.arg(name="in")] = "twin"
    """Train in the intersection's compiled twin, or in the simulator; all figures are measured in SUMO."""
    steps: float | None = None
    """Environment steps (of 4 cars each) that each method is trained for; 1e6 in the twin, 1e5 in sumo."""
    episodes: int = 500
    """Evaluation episodes per policy; tails deserve 1,000, which take a minute longer."""


def list_names(arguments: ListArguments) -> None:
    from averse import environments, learners, risk

    names = {"environments": environments.names(), "methods": learners.names(), "measures": risk.names()}
    if arguments.json:
        print(json.dumps(names, indent=2))
        return
    for kind, members in names.items():
        print(f"{kind}:\n  " + "\n  ".join(members))


def train(arguments: TrainArguments) -> None:
    from averse import learners, training

    if arguments.resume is not None:
        run = training.resume(arguments.resume, progress=not arguments.quiet, tensorboard=arguments.tensorboard)
    else:
        parameters, settings = arguments.parameters, arguments.settings  # type: ignore[attr-defined]
        numbers = dataclasses.asdict(arguments.numbers)  # type: ignore[attr-defined]
        # What is as it would be without a flag is not said, so that --tau may say the measure's number.
        preset = learners.preset(arguments.method, **training.default_settings(parameters, arguments.method))
        chosen = {name: value for name, value in vars(settings).items() if value != getattr(preset, name)}
        swept = dict(_sweep(text) for text in arguments.sweep)
        config = training.configure(
            arguments.env,
            arguments.method,
            arguments.steps,
            arguments.seeds,
            environment_parameters=parameters.parameters(),
            checkpoints=arguments.checkpoints,
            seeds_as=arguments.seeds_as,
            fine_tune=arguments.fine_tune,
            **{**chosen, **numbers, **swept},
        )
        out = arguments.out or Path("runs") / f"{arguments.env}-{arguments.method}"
        if not arguments.quiet:
            print(training.describe(config))
        run = training.run_training(config, out, progress=not arguments.quiet, tensorboard=arguments.tensorboard)
    if not arguments.quiet:
        print(f"run directory: {run.path}")
        print(f"next: averse evaluate {run.path}")


def evaluate(arguments: EvaluateArguments) -> None:
    import averse

    evaluation = averse.evaluate(
        arguments.run,
        arguments.episodes,
        environment=arguments.env,
        steps=arguments.steps,
        beta=arguments.beta,
        greedy=arguments.greedy,
        num_envs=arguments.workers,
        progress=not arguments.json,
    )
    print(json.dumps(evaluation.to_dict(), indent=2) if arguments.json else str(evaluation))


def demo(arguments: DemoArguments) -> None:
    from averse.experiments.demo import run_demo

    run_demo(arguments.out, arguments.steps, arguments.episodes, arguments.trained_in)


def _equilibrium() -> tuple[type, Callable[[Any], None]]:
    from averse.experiments.equilibrium import EquilibriumArguments, run

    return EquilibriumArguments, run


def _drivers() -> tuple[type, Callable[[Any], None]]:
    from averse.experiments.drivers import DriversArguments, run

    return DriversArguments, run


def _microgrids() -> tuple[type, Callable[[Any], None]]:
    from averse.experiments.microgrids.command import MicrogridsArguments, run

    return MicrogridsArguments, run


# name -> what it takes and what it does, behind a function, so that a command imports only what it needs
COMMANDS: dict[str, Callable[[], tuple[type, Callable[[Any], None]]]] = {
    "list": lambda: (ListArguments, list_names),
    "train": lambda: (TrainArguments, train),
    "evaluate": lambda: (EvaluateArguments, evaluate),
    "demo": lambda: (DemoArguments, demo),
    "drivers": _drivers,
    "equilibrium": _equilibrium,
    "microgrids": _microgrids,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 1 training diverged, 2 bad input, 130 interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(arguments)
    except AverseError as error:
        print(f"averse: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("averse: interrupted; a run goes on with averse train --resume", file=sys.stderr)
        return 130
    except Exception as error:
        from averse.training.train import DivergenceError

        if isinstance(error, DivergenceError):
            print(f"averse: {error}", file=sys.stderr)
            return 1
        raise


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from averse.version import __version__

        print(__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    # XLA warns at each load from its cache that two of its own tuning flags are no features of the processor.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    cls, command = COMMANDS[name]()
    if cls is TrainArguments:
        cls = _with_own_settings(rest)
    if name != "list":
        _use_compilation_cache()
    command(tyro.cli(cls, prog=f"averse {name}", args=rest))
    return 0


def _overview() -> str:
    lines = ["averse: risk-averse multi-agent reinforcement learning", "", "usage: averse COMMAND [--help] ...", ""]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:12} {(command()[0].__doc__ or '').splitlines()[0]}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _NoNumbers:
    """In place of a measure's numbers, for methods without a measure."""


def _with_own_settings(arguments: list[str]) -> type:
    """The train command's dataclass with the flags of the chosen environment and method."""
    from averse import environments, learners, training

    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--env", default=TrainArguments.env)
    peek.add_argument("--method", default=TrainArguments.method)
    chosen, _ = peek.parse_known_args(arguments)
    environment = environments.environment_class(chosen.env)
    settings = learners.preset(chosen.method, **training.default_settings(environment(), chosen.method))
    numbers = learners.MeasureNumbers if hasattr(settings, "measure") else _NoNumbers
    flat = tyro.conf.arg(name="", prefix_name=False)
    return dataclasses.make_dataclass(
        "TrainArguments",
        [
            ("parameters", Annotated[environment, flat], dataclasses.field(default_factory=environment)),
            ("settings", Annotated[type(settings), flat], dataclasses.field(default_factory=lambda: settings)),
            ("numbers", Annotated[numbers, flat], dataclasses.field(default_factory=numbers)),
        ],
        bases=(TrainArguments,),
        frozen=True,
        namespace={"__doc__": TrainArguments.__doc__},
    )


def _sweep(text: str) -> tuple[str, list[float]]:
    name, equals, values = text.partition("=")
    try:
        numbers = [float(value) for value in values.split(",")]
    except ValueError:
        numbers = []
    if not equals or not numbers:
        raise AverseError(f"--sweep takes SETTING=NUMBER,NUMBER,... such as tau=0.3,1,10, not {text!r}")
    return name.replace("-", "_"), numbers


def _use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder: the second start is 5-15 s faster."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


if __name__ == "__main__":
    sys.exit(main())
