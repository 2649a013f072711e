"""A package that is missing or half installed: one line with the import that failed and a command that mends it."""

import sys
import tomllib
from pathlib import Path

import pytest

from averse import extras
from averse.engines import Engine, require
from averse.environments import make, to_gymnasium, to_pettingzoo
from averse.environments.sumo.environment import require_simulator
from averse.environments.sumo.simulation import import_libsumo
from averse.errors import AverseError
from averse.games.reading import from_gambit, from_openspiel
from averse.report.html.embedding import packed_plotly
from averse.report.html.page import render
from averse.training.tracking import require_trackers

USES = {
    "gymnasium": (lambda: make("gymnasium:CartPole-v1"), lambda: to_gymnasium("corridor")),
    "pettingzoo": (lambda: make("pettingzoo:sisl.pursuit_v5"), lambda: to_pettingzoo("cliff-walk")),
    "mpe2": (lambda: make("pettingzoo:mpe2.simple_v3"),),
    "gymnax": (lambda: make("gymnax:CartPole-v1"),),
    "jaxmarl": (lambda: make("jaxmarl:MPE_simple_spread_v3"),),
    "libsumo": (import_libsumo, require_simulator),
    "tensorboardX": (lambda: require_trackers(("tensorboard",)),),
    "wandb": (lambda: require_trackers(("wandb",)),),
    "mlflow": (lambda: require_trackers(("mlflow",)),),
    "psutil": (lambda: require(Engine("ray")),),
    "pygambit": (lambda: from_gambit("NFG 1 R"),),
    "plotly": (packed_plotly,),
    "jinja2": (lambda: render([], ""),),
    "ray": (lambda: require(Engine("ray")),),
    "pyspiel": (lambda: from_openspiel("matrix_pd"),),
}
CALLS = [(module, use) for module, uses in USES.items() for use in uses]
HALVES = {
    "a library of the system": (
        "raise ImportError('libGL.so.1: cannot open shared object file')",
        "libGL.so.1: cannot open shared object file",
    ),
    "a package that it needs": ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
    "a damaged file": ("x = (", r"'\(' was never closed .*"),
    "an error of several lines": ("raise OSError('wrong ELF class\\nand more')", "wrong ELF class"),
}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put a module of this name and text in front of all others."""

    def install(module: str, text: str | None) -> None:
        package = tmp_path / module
        package.mkdir()
        if text is not None:
            (package / "__init__.py").write_text(text)
        # Set before it is deleted, so that what the test imports does not stay where there was nothing before.
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(sys, "path", [str(tmp_path)] if text is None else [str(tmp_path), *sys.path])

    return install


@pytest.mark.parametrize(("module", "use"), CALLS)
def test_missing(module, use, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(AverseError) as caught:
        use()
    line = str(caught.value)
    assert "\n" not in line
    assert f"import {module} failed: " in line
    assert line.endswith(f"; pip install '{extras.PACKAGES[module]}'")


@pytest.mark.parametrize(("module", "use"), CALLS)
@pytest.mark.parametrize("half", HALVES)
def test_half_installed(module, use, half, installed):
    text, reason = HALVES[half]
    installed(module, text)
    words = rf"^[^\n]* import {module} failed: {reason}; pip install --force-reinstall '{extras.PACKAGES[module]}'$"
    with pytest.raises(AverseError, match=words):
        use()


def test_a_package_that_it_needs_and_does_not_bring(installed, monkeypatch):
    """gymnax imports six, and its wheel does not say so: to install gymnax again would mend nothing."""
    installed("gymnax", "import six")
    monkeypatch.setitem(sys.modules, "six", None)
    with pytest.raises(AverseError) as caught:
        make("gymnax:CartPole-v1")
    line = str(caught.value)
    assert line.startswith("gymnax, and so gymnax:CartPole-v1, needs six, and import six failed: ")
    assert line.endswith(f"; pip install '{extras.PACKAGES['six']}'")


@pytest.mark.parametrize("module", USES)
def test_an_empty_folder_is_no_package(module, installed):
    """What an interrupted or careless removal leaves; Python takes it for a package without contents."""
    installed(module, None)
    with pytest.raises(AverseError, match=f"import {module} failed: it is an empty folder; pip install --force"):
        extras.extra_module(module, "this")


def test_what_is_installed_is_given():
    assert extras.extra_module("json", "this").dumps([1]) == "[1]"
    extras.require_extra("json", "this")


def test_the_packages_are_those_of_the_extras():
    """All but open_spiel, whose wheels are not for every system, are extras; both say the same versions."""
    content = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    offered = [package for packages in content["project"]["optional-dependencies"].values() for package in packages]
    assert set(extras.PACKAGES.values()) - {"open_spiel"} <= set(offered)
