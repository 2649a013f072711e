"""A policy of a run as files for machines without averse, compared with the policy itself before they are written."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from averse.arguments import instance
from averse.compilation import single_precision
from averse.environments.protocol import Box, num_available
from averse.environments.sets import observation_layout
from averse.errors import AverseError
from averse.export import reader
from averse.export.comparison import exchanges, largest_difference
from averse.export.graph import actor_model, critic_model
from averse.export.reader import FORMAT, PortablePolicy
from averse.export.session import Session
from averse.extras import require_extra
from averse.files import as_path, told_if_not_written, writable_folder, written_whole
from averse.learners.contract import Portable
from averse.settings import check_value
from averse.training.run import Run
from averse.version import __version__

Format = Literal["numpy", "onnx"]
SUFFIXES: Mapping[str, str] = {"numpy": ".npz", "onnx": ".onnx"}
READER = "averse_policy.py"  # what the reader is called beside the arrays
VALUE = ".value.onnx"  # in place of the suffix: the critic's graph
TOLERANCE = 1e-4  # of the files' answers; beyond rounding, what a learner says of its policies is wrong


class Exported(NamedTuple):
    """What was written."""

    files: tuple[Path, ...]
    """The policy first, then what belongs to it."""
    about: dict[str, Any]
    """What the files say of themselves."""
    difference: float
    """The largest one between answers of the files and of the policy, of those that were compared."""


@single_precision
def export_policy(
    run: Run,
    out: str | Path | None = None,
    index: int | None = None,
    *,
    format: Format = "numpy",
    overwrite: bool = False,
    **settings: float,
) -> Exported:
    """Write the policy of one trial for machines without averse.

    `numpy` is a `.npz` file and, beside it, `averse_policy.py`, which reads it and needs numpy alone. `onnx` is a graph
    of the actor and, where the critic predicts a distribution, one of its risk value, `NAME.value.onnx`. What is to be
    written is first compared with the policy, on random observations.

    Args:
      out: the file; where not given, it is in the folder `export` of the run directory.
      index: number of the trial, if it is not chosen by its settings; a run of one trial needs neither.
      overwrite: whether files that are there already may be replaced.
      settings: `seed` (the training seed) and swept settings of the trial.

    Raises AverseError unless exactly one trial is meant, for a method whose policies have no such form or another one
    than they say, for a file that is there already or ends otherwise, and if an extra is missing; WritingError if the
    files cannot be written.
    """
    run = instance("run", Run, run)
    check_value("format", Format, format)
    check_value("overwrite", bool, overwrite)
    trial = run.trial(index, **settings)
    path = _place(run, trial, format, out)
    if format == "onnx":
        for package in ("onnx", "onnxruntime"):
            require_extra(package, "ONNX output")
    state, learner = run.state(trial), run.learner
    if learner.portable is None:
        raise AverseError(
            f"policies of {run.config.method} cannot be exported: its Learner has no portable(state), which says what "
            "they compute"
        )
    portable = learner.portable(state)
    about = _about(run, trial, portable)
    files = (_onnx_files if format == "onnx" else _numpy_files)(path, about, portable.arrays)
    for file in files:
        if file.exists() and not overwrite and not (file.name == READER and _is_reader(file)):
            raise AverseError(f"{file} exists already; choose another --out, or --overwrite it")
    answers = Session(*files.values()) if format == "onnx" else PortablePolicy(io.BytesIO(files[path]))
    asked = exchanges(learner, state, run.environment)
    difference = largest_difference(answers, asked, run.environment.action_space, valued=not about["no_value"])
    if not difference <= TOLERANCE:
        raise AverseError(
            f"the exported policy would answer otherwise than that of {run.config.method}, by {difference:.3g}: its "
            "portable(state) does not say what the policy computes"
        )
    writable_folder(path.parent)
    for file, content in files.items():
        with told_if_not_written(file, "make room and export again"), written_whole(file) as temporary:
            temporary.write_bytes(content)
    return Exported(tuple(files), about, difference)


def _numpy_files(path: Path, about: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[Path, bytes]:
    file = io.BytesIO()
    np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
    return {path: file.getvalue(), path.parent / READER: Path(reader.__file__).read_bytes()}


def _onnx_files(path: Path, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[Path, bytes]:
    files = {path: actor_model(about, arrays)}
    if about["critic"] is not None:
        files[path.with_suffix(VALUE)] = critic_model(about, arrays)
    return files


def _place(run: Run, trial: int, format: str, out: Any) -> Path:
    """The file. Raises AverseError for one that ends otherwise, and where a run that is not stored names none."""
    suffix = SUFFIXES[format]
    if out is None:
        if run.path is None:
            raise AverseError("out must be given for a run that is not stored")
        chosen = "".join(f"-{name}-{value:g}" for name, value in run.trials[trial].items())
        return run.path / "export" / f"policy{chosen if len(run.trials) > 1 else ''}{suffix}"
    path = as_path("out", out)
    if path.suffix != suffix:
        raise AverseError(f"the file of format {format} must end in {suffix}, not {path.name!r}")
    if path.is_dir():
        raise AverseError(f"{path} is a folder, not a file")
    return path


def _is_reader(file: Path) -> bool:
    """Whether a file is a reader of this or another version, which is replaced, and not somebody else's."""
    first = Path(reader.__file__).read_bytes().partition(b"\n")[0]
    return file.is_file() and file.read_bytes().partition(b"\n")[0] == first


def _about(run: Run, trial: int, portable: Portable) -> dict[str, Any]:
    """What the files say of themselves: what `reader` and `graph` compute by, and where it comes from."""
    environment, config = run.environment, json.loads(run.config.to_json())
    space, layout = environment.action_space, observation_layout(environment)
    if isinstance(space, Box):
        action = {"kind": "continuous", "size": space.size, "low": float(space.low), "high": float(space.high)}
    else:
        action = {"kind": "discrete", "number": space.num_actions}
    kept = ("environment", "environment_parameters", "method", "learner")
    return {
        "format": FORMAT,
        "averse": __version__,
        "jax": jax.__version__,
        "trained": {
            **{name: config[name] for name in kept},
            "trial": {name: value if np.isfinite(value) else str(value) for name, value in run.trials[trial].items()},
            "updates": run.updates[trial],
            "total_updates": run.config.total_updates,
        },
        "agents": environment.num_agents,
        "observation": {
            "size": environment.observation_size,
            "set": layout and {"own": layout.own, "count": layout.count, "size": layout.size},
        },
        "action": action,
        "mask_size": num_available(space),
        "global_state_size": environment.global_state_size,
        **portable.description,
    }
