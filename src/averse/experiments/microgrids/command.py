"""The command `averse microgrids`: every study computed, stored and drawn; what is there already is not done again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from averse.errors import AverseError, unknown_name
from averse.experiments.microgrids.studies import BETAS, FULL, QUICK, STUDIES, Data, Scale
from averse.files import write_text
from averse.report.microgrids_architecture import draw_architecture

ARCHITECTURE = "architecture"
TRAINING = {"training-1": 1, "training-2": 2}  # study -> scenario
NAMES = (ARCHITECTURE, *STUDIES, *TRAINING)


@dataclass(frozen=True)
class MicrogridsArguments:
    """Multi-microgrids as a mean-variance team: exact optima, MV-MAPI, MV-MATRPO, each study with its figure."""

    studies: tyro.conf.Positional[tuple[str, ...]] = ()
    """Studies to run, all where none is named: architecture; optimality, convergence, starts, frontier, week (exact,
    scenario 1); optimum-2 (exact, scenario 2, an hour); training-1, training-2 (learning in either)."""
    out: Path = Path("runs/microgrids")
    """Directory of the results. What it holds already is not computed again; an interrupted run goes on."""
    quick: bool = False
    """Less of everything: a look at all figures in 3 minutes."""


def run(arguments: MicrogridsArguments) -> None:
    """Do what the arguments say.

    Raises AverseError for an unknown study, or an `out` that holds results of other settings.
    """
    for name in arguments.studies:
        if name not in NAMES:
            raise unknown_name("study", name, NAMES)
    console = Console()
    chosen = [name for name in NAMES if not arguments.studies or name in arguments.studies]
    for name in chosen:
        if name == ARCHITECTURE:
            draw_architecture(arguments.out / f"{name}.png")
            console.print(f"{name}: {arguments.out / name}.png", highlight=False)
        elif name in TRAINING:
            _train(TRAINING[name], arguments, console)
        else:
            _study(name, arguments.out, QUICK if arguments.quick else FULL, console)


def _study(name: str, out: Path, scale: Scale, console: Console) -> None:
    data = stored(name, out / f"{name}.json", scale, console)
    STUDIES[name].draw(data, out / f"{name}.png")
    console.print(f"{name}: {STUDIES[name].words(data)}\n  {out / name}.png", highlight=False)


def stored(name: str, path: Path, scale: Scale, console: Console | None = None) -> Data:
    """The data of a study: read from `path`, or computed with a progress bar and written there whole.

    Raises AverseError if the file is not that of this study and scale.
    """
    settings = {"study": name, **json.loads(json.dumps(asdict(scale)))}
    if path.exists():
        try:
            content = json.loads(path.read_text())
        except json.JSONDecodeError:
            content = {}
        if content.get("settings") != settings:
            raise AverseError(f"{path} holds results of other settings; choose another --out or remove it")
        return content["data"]
    study = STUDIES[name]
    with _progress(console or Console()) as progress:
        task = progress.add_task(name, total=study.pieces(scale))
        data = study.compute(scale, lambda: progress.advance(task))
    text = json.dumps({"settings": settings, "data": data})
    write_text(path, text + "\n")
    return json.loads(text)["data"]


def _train(scenario: int, arguments: MicrogridsArguments, console: Console) -> None:
    from averse.experiments.microgrids import training_curves as learning

    budget = (learning.QUICK if arguments.quick else learning.FULL)[scenario]
    compared = learning.references(scenario, BETAS if scenario == 1 else BETAS[1:])
    known = arguments.out / "optimum-2.json"
    if scenario == 2 and not arguments.quick and known.exists():
        for beta, references in compared.items():
            found = stored("optimum-2", known, FULL)["prices"][f"{beta:g}"]
            compared[beta] = {"certified optimum": found["optimum"]["objective"], **references}
    out = arguments.out / f"training-{scenario}"
    learning.training_curves(scenario, out, compared, budget=budget, console=console)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
