"""An experiment of your own, a verb of the command line: how much of the return does each risk tolerance give up?

python examples/own_experiment.py
cd examples && averse own_experiment:COMMAND --tau 1 8 --steps 5e4 --out ../runs/price
"""

from pathlib import Path

import averse
from averse.commands import Command
from averse.files import write_text
from averse.settings import Count, Positive, settings


@settings
class PriceArguments:
    """What caution costs in an environment: mean return and worst 5 %, by risk tolerance."""

    env: str = "corridor"
    """Environment: a name or module:Attribute."""
    tau: tuple[Positive, ...] = (1.0, 3.0, 8.0)
    """Risk tolerances, in units of reward."""
    steps: Positive = 1e5
    """Environment steps per trial."""
    seeds: Count = 2
    """Training seeds."""
    episodes: Count = 1000
    """Evaluation episodes per policy."""
    out: Path = Path("runs/price")
    """Directory of the run and the table; a run that is there already is finished, not trained again."""


def run(arguments: PriceArguments) -> None:
    folder = arguments.out / "run"
    if (folder / "config.json").exists():
        trained = averse.resume(folder, progress=True)
    else:
        trained = averse.train(
            arguments.env, "rqe-mappo", arguments.steps, arguments.seeds, tau=arguments.tau, out=folder, progress=True
        )
    evaluation = averse.evaluate(trained, arguments.episodes)
    rows = [f"| {name} | {summary.mean} | {summary.cvar_05} |" for name, summary in evaluation.summaries.items()]
    table = "\n".join(["| | return | worst 5 % |", "|---|---:|---:|", *rows]) + "\n"
    write_text(arguments.out / "table.md", table)
    print(table)


COMMAND = Command(PriceArguments, run)

if __name__ == "__main__":
    run(PriceArguments())
