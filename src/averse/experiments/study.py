"""`study.json`: what a study has found, as a file that other programs read (`averse report`)."""

import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from averse.evaluation import Summary
from averse.files import write_text
from averse.statistics import Estimate
from averse.version import __version__

FORMAT = 1
FILE = "study.json"


def write_study(out: Path, **fields: Any) -> None:
    """Write `study.json` into a folder, in one step.

    Args:
      fields: what it holds besides its format and versions; estimates become value, low and high, and numbers that are
        not finite null.
    """
    versions = {"averse": __version__, "jax": jax.__version__, "python": platform.python_version()}
    content = {"format": FORMAT, "versions": versions, **fields}
    write_text(out / FILE, json.dumps(as_json(content), indent=2) + "\n")


def as_json(value: Any) -> Any:
    """What JSON can hold of a value: estimates as value, low and high; what is not finite as null."""
    if isinstance(value, Estimate):
        return as_json(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def command_line(verb: str) -> str:
    """The command that is being run, as one would type it; only the verb where it was called from Python."""
    return shlex.join(["averse", *sys.argv[1:]]) if sys.argv[1:2] == [verb] else f"averse {verb}"


def from_folder(path: Path, folder: Path) -> str:
    """A run directory as it is found from a study's folder."""
    return os.path.relpath(path.resolve(), folder.resolve())


def metrics_of(summary: Summary) -> dict[str, Estimate]:
    """The figures of a summary by the names that studies give them."""
    found = {"return": summary.mean, "worst_5": summary.cvar_05, "std": summary.std}
    if summary.collision_rate is not None:
        found["collision_rate"] = summary.collision_rate
    return {**found, **{name: metric.mean for name, metric in summary.metrics.items()}, "length": summary.length}


def verdict(effect: Estimate) -> str:
    """Whether an effect is above 0: "holds", "fails" where it is below, "undecided" where none is certain."""
    if not effect.has_interval:
        return "undecided"
    return "holds" if effect.low > 0 else "fails" if effect.high < 0 else "undecided"
