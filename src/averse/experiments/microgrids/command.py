"""The command `averse microgrids`: every study computed, stored and drawn; what is there already is not done again."""

import dataclasses
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from averse.commands import Command, trial_said
from averse.environments.microgrids.environment import Microgrids, NumLevels
from averse.environments.microgrids.example import write_example
from averse.errors import AverseError, unknown_name
from averse.experiments.arguments import GOES_ON
from averse.experiments.microgrids import training_curves as learning
from averse.experiments.microgrids.own_studies import OWN_STUDIES, OwnScale, check_solvable, scale_of_run
from averse.experiments.microgrids.studies import BETAS, FULL, QUICK, STUDIES, Data, Study
from averse.files import writable_folder, write_text
from averse.progress import progress_bar
from averse.report.microgrids_architecture import draw_architecture
from averse.settings import NonNegative, settings

ARCHITECTURE, EXAMPLE = "architecture", "example"
TRAINING = {"training-1": 1, "training-2": 2}  # study -> scenario
PRICES = {1: BETAS, 2: BETAS[1:]}  # scenario -> prices of variance that are trained for
NAMES = (ARCHITECTURE, *STUDIES, *TRAINING)
LEVELS = ("wind_levels", "load_levels", "battery_levels", "price_levels")


@settings
class MicrogridsArguments:
    """Multi-microgrids as a mean-variance team: exact optima, MV-MAPI, MV-MATRPO; and microgrids of your own.

    With --data or --run: the fit of hourly measurements (fit), and a week's schedule as picture and CSV (week), under
    the exact optimum or under a trained policy.
    """

    studies: tyro.conf.Positional[tuple[str, ...]] = ()
    """Studies to run, all where none is named: architecture; optimality, convergence, starts, frontier, week (exact,
    scenario 1); optimum-2 (exact, scenario 2, an hour); training-1, training-2 (learning in either). Only by name:
    example, a folder for --data. With --data: fit (where none is named), week. With --run: week."""
    out: Path = Path("runs/microgrids")
    """Directory of the results. What it holds already is not computed again; an interrupted run goes on."""
    quick: bool = False
    """Less of everything: a look at all figures in 3 minutes. Nothing to --data and --run."""
    data: Path | None = None
    """Folder with hourly wind and load of microgrids of your own (docs/own-data.md)."""
    run: Path | None = None
    """Run directory of a policy that was trained in microgrids."""
    trial: tuple[str, ...] | None = None
    """With --run: which trial, by its number or by its seed and swept settings; not needed where there is one."""
    beta: NonNegative = 1.0
    """With --data: price of variance of the week's optimum, per MW (per unit of money, where there are prices)."""
    wind_levels: NumLevels = 6
    """With --data, and so the three below: levels of wind."""
    load_levels: NumLevels = 6
    """Levels of load."""
    battery_levels: NumLevels = 6
    """Levels of the battery."""
    price_levels: NumLevels = 3
    """Levels of the price, where there are prices."""


def run(arguments: MicrogridsArguments) -> None:
    """The command.

    Raises AverseError, before any work, for an unknown study, for flags that do not belong together, for bad data or a
    bad run, and for an `out` that cannot be a folder or holds results of other settings.
    """
    console = Console()
    _check_flags(arguments)
    if arguments.data is not None or arguments.run is not None:
        _run_own(arguments, console)
        return
    for name in arguments.studies:
        if name not in (*NAMES, EXAMPLE):
            raise unknown_name("study", name, (*NAMES, EXAMPLE, "fit"))
    chosen = [name for name in NAMES if not arguments.studies or name in arguments.studies]
    out, scale = writable_folder(arguments.out), QUICK if arguments.quick else FULL
    for name in chosen:
        if name in STUDIES:
            read(name, STUDIES[name], out / f"{name}.json", scale)
        elif name in TRAINING:
            scenario = TRAINING[name]
            writable_folder(out / name)
            learning.configurations(scenario, PRICES[scenario], out / name, _budget(scenario, arguments.quick))
    if EXAMPLE in arguments.studies:
        folder = write_example(out / EXAMPLE)
        print(f"{EXAMPLE}: synthetic measurements of two microgrids for a year", f"  {folder}", sep="\n")
        print(f"next: averse microgrids fit --data {folder} --out RESULTS")
    for name in chosen:
        if name == ARCHITECTURE:
            draw_architecture(out / f"{name}.png")
            console.print(f"{name}: {out / name}.png", highlight=False)
        elif name in TRAINING:
            _train(TRAINING[name], out, arguments.quick, console)
        else:
            _tell(name, STUDIES[name], stored(name, STUDIES[name], out / f"{name}.json", scale, console), out, console)


def _check_flags(arguments: MicrogridsArguments) -> None:
    """Raises AverseError for a flag that says nothing to what is asked for."""
    if arguments.data is not None and arguments.run is not None:
        raise AverseError("--run says itself which data its policy was trained with; leave out --data")
    if arguments.data is None:
        for field in dataclasses.fields(MicrogridsArguments):
            own = field.name in ("beta", *LEVELS)
            if own and getattr(arguments, field.name) != field.default:
                flag = field.name.replace("_", "-")
                raise AverseError(f"--{flag} is for --data FOLDER; without it the studies say their own")
        if "fit" in arguments.studies and arguments.run is None:
            raise AverseError("fit needs --data FOLDER (averse microgrids example writes one to try)")
    if arguments.run is None and arguments.trial is not None:
        raise AverseError("--trial is for --run RUN")


def _run_own(arguments: MicrogridsArguments, console: Console) -> None:
    """The studies of measured microgrids, or of a trained policy."""
    allowed = tuple(OWN_STUDIES) if arguments.data is not None else ("week",)
    for name in arguments.studies:
        if name not in allowed:
            with_flag = "--data" if arguments.data is not None else "--run"
            raise unknown_name(f"study with {with_flag}", name, allowed)
    chosen = [name for name in allowed if name in (arguments.studies or allowed[:1])]
    if arguments.run is not None:
        scale = scale_of_run(arguments.run, *trial_said("--trial", arguments.trial))
    else:
        levels = {name: getattr(arguments, name) for name in LEVELS}
        world = Microgrids(data=str(arguments.data), **levels)
        if "week" in chosen:
            check_solvable(world)
        scale = OwnScale(world.parameters(), arguments.beta)
    # How the chains fit is no matter of the price of variance.
    scales = {name: replace(scale, beta=None) if name == "fit" else scale for name in chosen}
    out = writable_folder(arguments.out)
    for name in chosen:
        read(name, OWN_STUDIES[name], out / f"{name}.json", scales[name])
    for name in chosen:
        study = OWN_STUDIES[name]
        _tell(name, study, stored(name, study, out / f"{name}.json", scales[name], console), out, console)


def _tell(name: str, study: Study, data: Data, out: Path, console: Console) -> None:
    """The study's files and words."""
    study.draw(data, out / f"{name}.png")
    files = [out / f"{name}.png"]
    if study.table is not None:
        files.append(out / f"{name}.csv")
        write_text(files[-1], study.table(data))
    print(f"{name}: {study.words(data)}", *(f"  {file}" for file in files), sep="\n")


def read(name: str, study: Study, path: Path, scale: Any) -> Data | None:
    """The data of a study as `stored` left them; None where there are none yet.

    Raises AverseError if the file is not that of this study and scale.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AverseError(f"{path} cannot be read ({error}); choose another --out or remove it") from error
    if (
        not isinstance(content, dict)
        or content.get("settings") != _settings(name, study, scale)
        or "data" not in content
    ):
        raise AverseError(f"{path} holds results of other settings; choose another --out or remove it")
    return content["data"]


def stored(name: str, study: Study, path: Path, scale: Any, console: Console | None = None) -> Data:
    """The data of a study: read from `path`, or computed with a progress bar and written there whole.

    Args:
      scale: how much work it does, or what it is about; a dataclass.

    Raises AverseError if the file is not that of this study and scale.
    """
    known = read(name, study, path, scale)
    if known is not None:
        return known
    with progress_bar(disable=console is not None and console.quiet) as progress:
        task = progress.add_task(name, total=study.pieces(scale))
        data = study.compute(scale, lambda: progress.advance(task))
    text = json.dumps({"settings": _settings(name, study, scale), "data": data})
    write_text(path, text + "\n")
    return json.loads(text)["data"]


def _settings(name: str, study: Study, scale: Any) -> dict[str, Any]:
    version = {} if study.format == 1 else {"format": study.format}
    return {"study": name, **version, **json.loads(json.dumps(asdict(scale)))}


def _budget(scenario: int, quick: bool) -> learning.Budget:
    return (learning.QUICK if quick else learning.FULL)[scenario]


def _train(scenario: int, out: Path, quick: bool, console: Console) -> None:
    compared = learning.references(scenario, PRICES[scenario])
    known = None if quick or scenario == 1 else read("optimum-2", STUDIES["optimum-2"], out / "optimum-2.json", FULL)
    if known is not None:
        for beta, references in compared.items():
            optimum = known["prices"][f"{beta:g}"]["optimum"]["objective"]
            compared[beta] = {"certified optimum": optimum, **references}
    learning.training_curves(
        scenario, out / f"training-{scenario}", compared, budget=_budget(scenario, quick), console=console
    )


COMMAND = Command(MicrogridsArguments, run, GOES_ON)
