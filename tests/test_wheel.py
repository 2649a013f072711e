"""The wheel, as strangers install it: in a clean environment, without the source, without a compiler."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "src")
TRAIN = "--env gymnasium:CartPole-v1 --method ppo --steps 1024 --num-envs 4 --rollout-steps 64 --quiet --out run"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # all that it depends on is installed anew


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, as a build leaves files beside the source."""
    place = tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, place / part)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, str(place / "dist"), str(place)], check=True)
    (found,) = (place / "dist").iterdir()
    return found


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """A new environment with the wheel and what it depends on, all of it as wheels; commands see nothing else."""
    place = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
    install = [str(place / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
    install += ["--disable-pip-version-check", "--constraint", str(ROOT / "requirements.txt")]
    subprocess.run([*install, f"{wheel}[gymnasium]"], check=True)
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "CC", "CXX")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PATH": str(place / "venv" / "bin"), "XDG_CACHE_HOME": str(place / "cache")}

    def run(*command: str) -> str:
        """What it prints."""
        done = subprocess.run(
            [str(place / "venv" / "bin" / command[0]), *command[1:]],
            cwd=place, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_all_of_the_package_is_in_the_wheel(wheel):
    source = ROOT / "src"
    files = {
        str(path.relative_to(source))
        for path in (source / "averse").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as content:
        packed = {name for name in content.namelist() if name.startswith("averse/")}
    assert packed == files
    assert {
        "averse/export/reader.py", "averse/environments/intersection/data/intersection.net.xml",
        "averse/environments/microgrids/data/microgrids.json", "averse/environments/microgrids/example.py",
        "averse/games/data/matrix_games.csv", "averse/py.typed",
    } <= packed  # fmt: skip


def test_it_trains_evaluates_and_exports_where_nothing_else_is(clean):
    assert "venv" in clean("python", "-c", "import averse; print(averse.__file__)")
    clean("averse", "train", *TRAIN.split())
    figures = json.loads(clean("averse", "evaluate", "run", "--episodes", "20", "--json"))
    assert figures["episodes"] == 20
    assert "averse_policy.py" in clean("averse", "export", "run")
    reader = "import averse_policy; print(averse_policy.__doc__)"
    assert clean("python", "-c", f"import sys; sys.path.insert(0, 'run/export'); {reader}").strip()


def test_its_data_are_found(clean):
    """Those of games, of the example of measurements, of the published microgrids, and of the junction."""
    assert "Up 0.206" in clean("averse", "equilibrium", "selten-chmura-2", "--tau", "12.5", "--epsilon", "0.68")
    clean("averse", "microgrids", "example", "--out", "farm")
    fit = clean("averse", "microgrids", "fit", "--data", "farm/example", "--out", "farm")
    assert "wind of north" in fit
    worlds = "averse.make('intersection').name, averse.make('microgrids').num_states"
    assert clean("python", "-c", f"import averse; print({worlds})") == "intersection 10077696\n"
