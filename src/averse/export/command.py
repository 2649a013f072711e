"""`averse export`: the policy of a run as files for machines without averse."""

import json
from pathlib import Path

import tyro

from averse.commands import Command, trial_said
from averse.export.policy import Exported, Format, export_policy
from averse.settings import settings
from averse.training.run import load


@settings
class ExportArguments:
    """Write a trained policy as an ONNX graph, or as arrays that numpy alone reads, for machines without averse.

    The files are compared with the policy before they are written. They say themselves what they are: agents, sizes,
    actions, what the policy was trained in, versions.
    """

    run: tyro.conf.Positional[Path]
    """Run directory."""
    format: Format = "numpy"
    """numpy: a .npz file, and averse_policy.py that reads it. onnx: a graph of the actor, and one of the critic's risk
    value where it predicts a distribution (needs the extra `onnx`)."""
    trial: tuple[str, ...] | None = None
    """Which trial, by its number or by its seed and swept settings: --trial tau=3 seed=1. Not needed where there is
    one."""
    out: Path | None = None
    """The file to write; export/policy.npz (.onnx) in the run directory where not given."""
    overwrite: bool = False
    """Replace files that are there already."""
    json: bool = False
    """Print JSON for machines: the files, and what they say of themselves."""


def run(arguments: ExportArguments) -> None:
    """The command. Raises AverseError for bad input before anything is written."""
    index, chosen = trial_said("--trial", arguments.trial)
    done = export_policy(
        load(arguments.run),
        arguments.out,
        index,
        format=arguments.format,
        overwrite=arguments.overwrite,
        **chosen,
    )
    if arguments.json:
        files = [str(file) for file in done.files]
        print(json.dumps({"files": files, "difference": done.difference, "about": done.about}, indent=2))
    else:
        print(_told(done))


def _told(done: Exported) -> str:
    """What was written, and what it takes and gives."""
    about = done.about
    space = about["action"]
    actions = f"{space['number']} actions" if space["kind"] == "discrete" else f"{space['size']} action numbers"
    memory = f", which remember {about['memory']} numbers each" if about["memory"] else ""
    value = f"no value: {about['no_value']}" if about["no_value"] else "its critic's risk value is told too"
    return "\n".join(
        [
            *(f"wrote {file}" for file in done.files),
            f"  {about['agents']} agents{memory}; observations of {about['observation']['size']} numbers; {actions}",
            f"  {value}",
            f"  largest difference from the policy, on random observations: {done.difference:.2g}",
        ]
    )


COMMAND = Command(ExportArguments, run)
