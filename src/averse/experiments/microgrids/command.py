"""The command `averse microgrids`: every study computed, stored and drawn; what is there already is not done again."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from averse.commands import Command
from averse.errors import AverseError, unknown_name
from averse.experiments.microgrids import training_curves as learning
from averse.experiments.microgrids.studies import BETAS, FULL, QUICK, STUDIES, Data, Scale
from averse.files import writable_folder, write_text
from averse.progress import progress_bar
from averse.report.microgrids_architecture import draw_architecture
from averse.settings import settings

ARCHITECTURE = "architecture"
TRAINING = {"training-1": 1, "training-2": 2}  # study -> scenario
PRICES = {1: BETAS, 2: BETAS[1:]}  # scenario -> prices of variance that are trained for
NAMES = (ARCHITECTURE, *STUDIES, *TRAINING)


@settings
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
    """The command.

    Raises AverseError, before any work, for an unknown study, and for an `out` that cannot be a folder or holds results
    of other settings.
    """
    for name in arguments.studies:
        if name not in NAMES:
            raise unknown_name("study", name, NAMES)
    chosen = [name for name in NAMES if not arguments.studies or name in arguments.studies]
    out, scale, console = writable_folder(arguments.out), QUICK if arguments.quick else FULL, Console()
    for name in chosen:
        if name in STUDIES:
            read(name, out / f"{name}.json", scale)
        elif name in TRAINING:
            scenario = TRAINING[name]
            writable_folder(out / name)
            learning.configurations(scenario, PRICES[scenario], out / name, _budget(scenario, arguments.quick))
    for name in chosen:
        if name == ARCHITECTURE:
            draw_architecture(out / f"{name}.png")
            console.print(f"{name}: {out / name}.png", highlight=False)
        elif name in TRAINING:
            _train(TRAINING[name], out, arguments.quick, console)
        else:
            data = stored(name, out / f"{name}.json", scale, console)
            STUDIES[name].draw(data, out / f"{name}.png")
            console.print(f"{name}: {STUDIES[name].words(data)}\n  {out / name}.png", highlight=False)


def read(name: str, path: Path, scale: Scale) -> Data | None:
    """The data of a study as `stored` left them; None where there are none yet.

    Raises AverseError if the file is not that of this study and scale.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AverseError(f"{path} cannot be read ({error}); choose another --out or remove it") from error
    if not isinstance(content, dict) or content.get("settings") != _settings(name, scale) or "data" not in content:
        raise AverseError(f"{path} holds results of other settings; choose another --out or remove it")
    return content["data"]


def stored(name: str, path: Path, scale: Scale, console: Console | None = None) -> Data:
    """The data of a study: read from `path`, or computed with a progress bar and written there whole.

    Raises AverseError if the file is not that of this study and scale.
    """
    known = read(name, path, scale)
    if known is not None:
        return known
    study = STUDIES[name]
    with progress_bar(disable=console is not None and console.quiet) as progress:
        task = progress.add_task(name, total=study.pieces(scale))
        data = study.compute(scale, lambda: progress.advance(task))
    text = json.dumps({"settings": _settings(name, scale), "data": data})
    write_text(path, text + "\n")
    return json.loads(text)["data"]


def _settings(name: str, scale: Scale) -> dict[str, Any]:
    return {"study": name, **json.loads(json.dumps(asdict(scale)))}


def _budget(scenario: int, quick: bool) -> learning.Budget:
    return (learning.QUICK if quick else learning.FULL)[scenario]


def _train(scenario: int, out: Path, quick: bool, console: Console) -> None:
    compared = learning.references(scenario, PRICES[scenario])
    known = None if quick or scenario == 1 else read("optimum-2", out / "optimum-2.json", FULL)
    if known is not None:
        for beta, references in compared.items():
            optimum = known["prices"][f"{beta:g}"]["optimum"]["objective"]
            compared[beta] = {"certified optimum": optimum, **references}
    learning.training_curves(
        scenario, out / f"training-{scenario}", compared, budget=_budget(scenario, quick), console=console
    )


COMMAND = Command(MicrogridsArguments, run)
