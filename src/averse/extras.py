"""Packages that only some of the work needs: imported where it is done, and told in one line where they are missing."""

import functools
import importlib
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

from averse.errors import AverseError

PACKAGES = {
    "alembic": "alembic>=1.13",
    "gymnasium": "gymnasium>=1.0",
    "gymnax": "gymnax>=1.0",
    "imageio_ffmpeg": "imageio-ffmpeg>=0.5",
    "jaxmarl": "jaxmarl>=0.2",
    "jinja2": "jinja2>=3.1",
    "libsumo": "libsumo==1.28.0",
    "mlflow": "mlflow-skinny>=3.17",
    "mpe2": "mpe2>=1.0",
    "onnx": "onnx>=1.17",
    "onnxruntime": "onnxruntime>=1.20",
    "optuna": "optuna>=4.2",
    "pettingzoo": "pettingzoo>=1.25",
    "plotly": "plotly>=6",
    "psutil": "psutil>=7.0",
    "pygambit": "pygambit>=17.0.0b1",
    "pyspiel": "open_spiel",
    "ray": "ray>=2.50",
    "six": "six>=1.16",
    "sqlalchemy": "sqlalchemy>=2",
    "tensorboardX": "tensorboardX>=2.6",
    "wandb": "wandb>=0.19.10",
}
"""What is imported -> what pip installs for it: the requirement itself, which is the same for a checkout of averse and
for an installed one, unlike `averse[extra]`."""


def extra_module(module: str, purpose: str) -> ModuleType:
    """Import one of `PACKAGES`.

    Args:
      purpose: what needs it, for the message: "the SUMO simulator".

    Raises AverseError where it cannot be imported: the line says which import failed, why, and how to install it.
    """
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name in PACKAGES and error.name != module:  # gymnax imports six and does not say that it needs it
            raise _missing(error.name, f"{module}, and so {purpose},", str(error), there=False) from error
        raise _missing(module, purpose, str(error), there=error.name != module) from error
    except Exception as error:  # whatever a package that is half there does
        raise _missing(module, purpose, str(error) or type(error).__name__, there=True) from error
    spec = getattr(imported, "__spec__", None)
    if spec is not None and spec.origin is None and spec.submodule_search_locations is not None:
        raise _missing(module, purpose, "it is an empty folder", there=True)
    return imported


def require_extra(module: str, purpose: str) -> None:
    """Whether one of `PACKAGES` can be imported, tried in a process of its own: nothing is imported here.

    Raises AverseError as `extra_module` does.
    """
    if find_spec(module) is None:
        raise _missing(module, purpose, f"No module named '{module}'", there=False)
    if (fault := _tried(module, tuple(sys.path))) is not None:
        raise _missing(module, purpose, fault, there=True)


@functools.cache
def _tried(module: str, path: tuple[str, ...]) -> str | None:
    """The last line of what an import says; None where it works."""
    code = f"import sys; sys.path[:] = {list(path)!r}; import averse.extras; averse.extras.extra_module({module!r}, '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return last.partition(f"import {module} failed: ")[2].rpartition("; pip install")[0] or last


def _missing(module: str, purpose: str, reason: str, there: bool) -> AverseError:
    """The line; what is `there` and does not work is installed anew."""
    anew = "--force-reinstall " if there else ""
    reason = reason.partition("\n")[0]
    return AverseError(
        f"{purpose} needs {module}, and import {module} failed: {reason}; pip install {anew}'{PACKAGES[module]}'"
    )
