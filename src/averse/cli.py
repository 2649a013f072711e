"""The command `averse`: one sub-command per verb, each a dataclass that becomes flags and help."""

import argparse
import contextlib
import dataclasses
import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from averse.commands import Command, assignments, folded, hanging, literal, parse
from averse.engines import Engine, opened, require, require_simulators
from averse.errors import (
    AverseError,
    DivergenceError,
    NotConvergedError,
    WorkerLostError,
    WritingError,
    one_line,
    unknown_name,
)
from averse.plugins import Registry
from averse.settings import Count, NonNegative, Part, Positive, Seed, field_names, settings
from averse.stopping import Unread, discard


@settings
class TrainArguments:
    """Train a method in an environment. With --env and --method given, --help also lists their own settings."""

    env: str = "risky-cartpole"
    """Environment: a name (`averse list`), module:Attribute, gymnasium:ID, pettingzoo:MODULE, gymnax:ID or jaxmarl:ID.
    Its parameters are flags too, such as --level severe."""
    method: str = "rqe-mappo"
    """Method: a name (`averse list`) or module:Attribute. Its settings are flags too, such as --tau 3."""
    steps: Positive = 2e5
    """Environment steps per trial."""
    seeds: Count = 1
    """How many training seeds (0, 1, ...)."""
    seed: tuple[Seed, ...] | None = None
    """Which training seeds, in place of --seeds."""
    sweep: tuple[str, ...] | None = None
    """Settings to sweep over, each with every seed: tau=0.3,1,10. One program in a compiled environment."""
    out: Path | None = None
    """Run directory to create; runs/ENV-METHOD where not given."""
    resume: Path | None = None
    """Finish the interrupted run in this directory instead, with its settings; more --steps extend it."""
    overwrite: bool = False
    """Throw away the run that --out holds, if any, once the new one has its first checkpoint."""
    fine_tune: Path | None = None
    """Begin with the networks of this run, such as one trained in intersection, to go on in sumo-intersection."""
    tail_starts: Part = 0.0
    """Share of the training episodes whose conditions are drawn from a proposal that moves towards those of the worst
    episodes; importance weights make up for it. 0 is off. For compiled environments that say what episodes begin with
    (intersection, risky-cartpole), and mappo with its presets."""
    checkpoints: Count = 10
    """How many checkpoints to write."""
    checkpoint_minutes: Positive | None = None
    """Write one also whenever so many minutes have gone by, as seen at each hundredth of the training."""
    seeds_as: Literal["vmap", "loop"] = "vmap"
    """Compiled environments: all trials advance together, by one program, or one after another."""
    track: tuple[Literal["csv", "tensorboard", "wandb", "mlflow"], ...] = ()
    """Where else metrics go than to metrics.jsonl: csv (metrics.csv), tensorboard, wandb, mlflow (need the extras of
    these names). All of it is files in the run directory; nothing is sent unless WANDB_MODE=online or
    MLFLOW_TRACKING_URI says so."""
    quiet: bool = False
    """No progress bar and no summary."""
    engine: Annotated[Engine, tyro.conf.arg(name="", prefix_name=False)] = Engine()


@settings
class EvaluateArguments:
    """Play fresh episodes with the policies of a run: mean, tail, collisions, each with a 95 % interval.

    Where an environment never ends: long runs instead, and the mean eta and variance zeta of the reward per step. What
    the run directory holds is not lost: an evaluation takes the place of one of as many or fewer episodes.
    """

    run: tyro.conf.Positional[Path]
    """Run directory."""
    episodes: Count | None = None
    """Episodes per policy, 1000 where not given; tails want at least 1,000."""
    env: str | None = None
    """Where to play, if not where it was trained: a policy of intersection also acts in sumo-intersection."""
    shift: tuple[str, ...] | None = None
    """Play in a shifted world, with other parameters than it was trained with: human_rate=0.4 reckless_fraction=0.1."""
    steps: Positive | None = None
    """Where the environment never ends: steps per policy, 1e6 where not given."""
    beta: NonNegative | None = None
    """Where the environment never ends: price of variance in J = eta - beta zeta; that of the run where not given."""
    greedy: bool = False
    """The most likely action instead of a draw from the policy."""
    workers: Count | None = None
    """Simulator processes; as in training where not given. Compiled environments have none."""
    save: bool = True
    """Keep the episodes and figures in the run directory; --no-save only shows them."""
    overwrite: bool = False
    """Throw away the evaluation that is there, even if it has more episodes or was played otherwise."""
    json: bool = False
    """Print JSON for machines."""
    engine: Annotated[Engine, tyro.conf.arg(name="", prefix_name=False)] = Engine()


def train(arguments: Any) -> None:
    """The command `averse train`, with arguments of the class that `_with_own_settings` makes."""
    from averse import training
    from averse.training.directory import how_to_go_on
    from averse.training.extension import extended
    from averse.training.run import read_config

    if {"seeds", "seed"} <= arguments.flags:
        raise AverseError("--seeds says how many training seeds and --seed which; give one of the two")
    if arguments.engine.deals_out and arguments.track:
        raise AverseError("--track goes with --engine local or --actors; metrics.jsonl is there with each")
    require(arguments.engine)
    options: dict[str, Any] = {
        "progress": not arguments.quiet,
        "checkpoint_minutes": arguments.checkpoint_minutes,
    }
    if arguments.resume is not None:
        path, said = arguments.resume, _said(arguments)
        config = extended(read_config(path), said.pop("steps", None), **said)
        require_simulators(arguments.engine, config)
        options["resuming"] = True
    else:
        config = training.configure(
            arguments.env,
            arguments.method,
            arguments.steps,
            arguments.seeds if arguments.seed is None else arguments.seed,
            environment_parameters=_environment_parameters(arguments),
            checkpoints=arguments.checkpoints,
            seeds_as=arguments.seeds_as,
            fine_tune=arguments.fine_tune,
            tail_starts=arguments.tail_starts,
            **_learner_settings(arguments),
            **_sweeps(arguments.sweep),
        )
        require_simulators(arguments.engine, config)
        path = arguments.out or Path("runs") / f"{arguments.env}-{arguments.method}".replace(":", ".").replace("/", ".")
        options["overwrite"] = arguments.overwrite
        if not arguments.quiet:
            print(folded(training.describe(config)), flush=True)
    unread = None if arguments.quiet else Unread(sys.stdout)
    try:
        run = _carried_out(arguments, config, path, stop=unread, **options)
    except (KeyboardInterrupt, _Terminated) as stopped:
        ended = BrokenPipeError() if unread is not None and unread.is_set() else stopped
        ended.add_note(how_to_go_on(path, None if arguments.resume is not None else config))
        raise ended from None
    if not arguments.quiet:
        print(f"run directory: {run.path}")
        print(f"next: averse evaluate {run.path}")


def _carried_out(arguments: Any, config: Any, path: Path, **options: Any) -> Any:
    """The run, trained by the engine that is wished."""
    from averse import training
    from averse.engines.trials import Work, train_run

    work = Work(config, path, options.get("resuming", False), options.get("overwrite", False))
    if arguments.engine.engine == "ray":
        work.check()
    with opened(arguments.engine) as cluster:
        if cluster is None:
            return training.run_training(config, path, track=arguments.track, **options)
        return train_run(cluster, work, **{name: options[name] for name in ("progress", "stop", "checkpoint_minutes")})


def evaluate(arguments: EvaluateArguments) -> None:
    """The command `averse evaluate`."""
    import averse
    from averse.engines import trials
    from averse.evaluation.basis import moved
    from averse.training.run import read_config

    require(arguments.engine)
    require_simulators(arguments.engine, moved(read_config(arguments.run), arguments.env)[0])
    with opened(arguments.engine) as cluster:
        player = None
        if cluster is not None:
            player = trials.player(cluster, progress=not arguments.json)
        evaluation = averse.evaluate(
            arguments.run,
            arguments.episodes,
            environment=arguments.env,
            shift=assignments("--shift", "PARAMETER=VALUE ... such as human_rate=0.4", arguments.shift, literal),
            steps=arguments.steps,
            beta=arguments.beta,
            greedy=arguments.greedy,
            num_envs=arguments.workers,
            progress=not arguments.json and player is None,
            save=arguments.save,
            overwrite=arguments.overwrite,
            player=player,
        )
    print(json.dumps(evaluation.to_dict(), indent=2) if arguments.json else folded(str(evaluation)))


EXIT_CODES = {
    0: "done",
    1: "training diverged, or a solver did not converge",
    2: "bad input",
    74: "results could not be written, as on a full disk",
    75: "workers of a cluster were lost too often",
    130: "interrupted from the keyboard",
    141: "nobody reads the output any more, as behind a pipe to head",
    143: "terminated (SIGTERM)",
}

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what the system says where there is no room for a file

COMMANDS = Registry(
    "command",
    "averse.commands",
    {
        "list": "averse.listing:COMMAND",
        "train": Command(TrainArguments, train),
        "evaluate": Command(EvaluateArguments, evaluate),
        "record": "averse.experiments.record:COMMAND",
        "interpolate": "averse.experiments.interpolation:COMMAND",
        "crossplay": "averse.experiments.crossplay:COMMAND",
        "export": "averse.export.command:COMMAND",
        "compare": "averse.experiments.compare:COMMAND",
        "tradeoff": "averse.experiments.tradeoff:COMMAND",
        "ablate": "averse.experiments.ablate:COMMAND",
        "demo": "averse.experiments.demo:COMMAND",
        "drivers": "averse.experiments.drivers:COMMAND",
        "equilibrium": "averse.experiments.equilibrium:COMMAND",
        "microgrids": "averse.experiments.microgrids.command:COMMAND",
        "risk": "averse.experiments.own_risk:COMMAND",
        "report": "averse.report.html.command:COMMAND",
    },
)


class _Terminated(BaseException):
    """SIGTERM, such as a cluster sends when a job's time is over."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the block by an exception, so that files are closed and locks are released."""

    def end(*_: Any) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # the only one that may handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns one of EXIT_CODES."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    stopped: BaseException | None = None  # what came from outside; its notes say how the work goes on
    try:
        with _terminable():
            code = _dispatch(arguments)
            sys.stdout.flush()
            return code
    except AverseError as error:
        code, words = 2, str(error)
    except (DivergenceError, NotConvergedError) as error:
        code, words = 1, str(error)
    except WritingError as error:
        code, words = 74, str(error)
    except WorkerLostError as error:
        code, words = 75, str(error)
    except BrokenPipeError as error:
        stopped = error
        if not Unread(sys.stdout).is_set():  # some other pipe
            raise
        discard(sys.stdout)
        code, words = 141, "nobody reads the output any more"
    except OSError as error:
        if error.errno not in _FULL:
            raise
        code, words = 74, f"{error.filename or 'a file'} could not be written: {error.strerror}"
    except KeyboardInterrupt as error:
        stopped, code, words = error, 130, "interrupted"
    except _Terminated as error:
        stopped, code, words = error, 143, "terminated"
    try:
        print(
            f"averse: {one_line('; '.join([words, *getattr(stopped, '__notes__', ())]))}", file=sys.stderr, flush=True
        )
    except BrokenPipeError:
        discard(sys.stderr)
    return code


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(folded(_overview()))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from averse.version import __version__

        print(__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name.startswith("-"):
        raise unknown_name("flag", name, ("--help", "--version"))
    _find_own_modules()
    # XLA warns at each load from its cache that two of its own tuning flags are no features of the processor. "1" is
    # what JAX leaves to the processes that its own starts, a notebook's for example.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    command = COMMANDS.find(name)
    if not isinstance(command, Command):
        raise AverseError(f"{name} is no command: it is a {type(command).__name__}, not an averse.commands.Command")
    cls = _with_own_settings(rest) if command.arguments is TrainArguments else command.arguments
    if name != "list":
        from averse.compilation import keep_programs

        keep_programs()
    chosen: Any = parse(cls, rest, f"averse {name}")
    try:
        command.run(chosen)
    except (KeyboardInterrupt, _Terminated, BrokenPipeError) as stopped:
        if command.goes_on:
            stopped.add_note(command.goes_on)
        raise
    return 0


def _overview() -> str:
    lines = ["averse: risk-averse multi-agent reinforcement learning", "", "usage: averse COMMAND [--help] ...", ""]
    for name in COMMANDS.names():
        words = (COMMANDS.find(name).arguments.__doc__ or "").partition("\n")[0]
        lines.append(hanging(f"  {name:12} ", words))
    lines += ["", "A command of your own: averse my_module:COMMAND (averse.commands.Command)."]
    lines += ["exit codes: " + "; ".join(f"{code} {words}" for code, words in EXIT_CODES.items())]
    return "\n".join(lines)


def _find_own_modules() -> None:
    """`module:Attribute` is looked up where the user is, as Python does for scripts and `python -m`."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _with_own_settings(arguments: list[str]) -> type:
    """The train command's dataclass with the flags of the chosen environment and method, or of those of a run."""
    from averse import environments, learners
    from averse.learners.parts.measure import MeasureNumbers
    from averse.training.run import read_config

    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # A flag without its value is told of when all are parsed.
    peek.add_argument("--env", nargs="?", default=TrainArguments.env, const=TrainArguments.env)
    peek.add_argument("--method", nargs="?", default=TrainArguments.method, const=TrainArguments.method)
    peek.add_argument("--resume", nargs="?", type=Path)
    chosen, _ = peek.parse_known_args(arguments)
    if chosen.resume is not None and os.path.isdir(chosen.resume):  # where there is none, `resume` says so
        config = read_config(chosen.resume)
        peek.set_defaults(env=config.environment, method=config.method)
        chosen, _ = peek.parse_known_args(arguments)
    parameters = environments.parameters_class(chosen.env)
    try:
        defaults = parameters()
    except TypeError:  # it has parameters without a default
        defaults = None
    except AverseError:  # another library's world that is not built without arguments, or says no time limit
        if not environments.is_foreign(chosen.env):
            raise
        defaults = None
    if defaults is not None:
        suggested = environments.suggested_settings(environments.make(chosen.env), chosen.method)
    else:
        suggested = environments.HOST_SETTINGS if hasattr(parameters, "vector") else {}
    groups: dict[str, Any] = {"settings": learners.preset(chosen.method, **suggested), "parameters": defaults}
    if hasattr(groups["settings"], "measure"):
        groups["numbers"] = MeasureNumbers()
    flat = tyro.conf.arg(name="", prefix_name=False)

    def field(name: str, default: Any) -> tuple[str, Any, Any]:
        if default is None:
            return name, Annotated[parameters, flat], dataclasses.field(kw_only=True)
        return name, Annotated[type(default), flat], dataclasses.field(default_factory=lambda: default)

    return dataclasses.make_dataclass(
        "TrainArguments",
        [field(name, default) for name, default in groups.items()],
        bases=(TrainArguments,),
        frozen=True,
        namespace={"__doc__": TrainArguments.__doc__, "defaults": groups, "flags": _flags(arguments)},
    )


def _learner_settings(arguments: Any) -> dict[str, Any]:
    """The method's settings where they are not what they would be without a flag."""
    given = _changed(arguments.settings, arguments.defaults["settings"])
    if "numbers" in arguments.defaults:
        given |= _changed(arguments.numbers, arguments.defaults["numbers"])
    return given


def _environment_parameters(arguments: Any) -> dict[str, Any]:
    """The environment's parameters where they are not their defaults."""
    return _changed(arguments.parameters, arguments.defaults["parameters"])


def _changed(given: Any, default: Any) -> dict[str, Any]:
    """The fields that are not the default's; all where there is no default."""
    values = {name: getattr(given, name) for name in field_names(given)}
    return {name: value for name, value in values.items() if default is None or value != getattr(default, name)}


def _flags(arguments: Sequence[str]) -> set[str]:
    """The names of the settings for which there are flags."""
    names = {text.partition("=")[0].removeprefix("--").replace("-", "_") for text in arguments if text.startswith("--")}
    return names | {name.removeprefix("no_") for name in names}


def _said(arguments: Any) -> dict[str, Any]:
    """What is said beside --resume, as keywords of `averse.resume`, whether or not it is the default."""
    parts = [arguments, *(getattr(arguments, name) for name in arguments.defaults)]
    said = {name: getattr(part, name) for part in parts for name in field_names(part) if name in arguments.flags}
    for name in ("out", "overwrite"):
        if said.pop(name, None):
            raise AverseError(f"--{name} goes with a new run; --resume {arguments.resume} goes on in its own directory")
    for name in ("resume", "quiet", "track", "checkpoint_minutes", "engine"):
        said.pop(name, None)
    sweeps = _sweeps(said.pop("sweep", None))
    renamed = {"env": "environment", "seed": "seeds"}
    return {**{renamed.get(name, name): value for name, value in said.items()}, **sweeps}


def _sweeps(texts: tuple[str, ...] | None) -> dict[str, list[float]]:
    """The swept settings. Raises AverseError for what is no sweep, and for a setting that is swept twice."""
    form = "SETTING=NUMBER,NUMBER,... such as tau=0.3,1,10"
    return assignments("--sweep", form, texts, lambda values: [float(value) for value in values.split(",")])


if __name__ == "__main__":
    sys.exit(main())
