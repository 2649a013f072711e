"""Every verb in every kind of world, as the command line runs it: a quick look within minutes, and killed by -9."""

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

EXAMPLES = Path(__file__).parents[2] / "examples"
WORLDS = ("corridor", "risky-cartpole", "intersection", "sumo-intersection", "own_environment:Ferry")
OF_SEVERAL = ("intersection", "sumo-intersection")  # agents, who can meet others
NOT_DRAWN = ("own_environment:Ferry",)
LIMIT = 180  # seconds of processor time, of which a machine with a free core needs no more to be done
CORES = {"sumo-intersection": 2}  # its simulators keep a second one busy
PR_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h
SMALL = """
num_envs = 4
rollout_steps = 16
segment_length = 16
minibatches = 1
epochs = 1
hidden = [8]
"""


def surroundings(cache: Path) -> dict[str, str]:
    """The environment of a user's process: examples are found, and nothing is as tests want it or compiled yet."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    path = os.pathsep.join(filter(None, [str(EXAMPLES), os.environ.get("PYTHONPATH")]))
    return {**own, "PYTHONPATH": path, "XDG_CACHE_HOME": str(cache)}


@contextlib.contextmanager
def orphans_adopted():
    """Processes that a command leaves behind, such as the parent of its workers, are waited for and so counted."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def averse(cache: Path, *arguments: object, code: int = 0) -> tuple[float, str]:
    """Seconds of processor time that a command takes, with its workers, and what it says of what is wrong."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    before, command = used(), [sys.executable, "-m", "averse.cli", *map(str, arguments)]
    with orphans_adopted():
        done = subprocess.run(command, env=surroundings(cache), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return used() - before, done.stderr


@pytest.mark.parametrize("world", WORLDS)
def test_a_quick_look_by_every_verb(world, tmp_path):
    """Each with an empty cache of programs; what a world has no agents or pictures for is refused in a line."""
    studies = {verb: tmp_path / verb for verb in ("compare", "tradeoff", "ablate")}
    seconds = {}
    for verb, out in studies.items():
        seconds[verb], _ = averse(tmp_path / f"cache-{verb}", verb, "--env", world, "--quick", "--json", "--out", out)
        told = json.loads((out / "study.json").read_text())
        assert (told["verb"], told["quick"], told["unfinished"], told["episodes"]) == (verb, True, "", 200)
        assert len(told["rows"]) >= 6
    a, b = (studies["compare"] / "runs" / name for name in ("rqe-mappo", "mappo"))

    def quick(verb: str, *arguments: object, refused: str = "") -> None:
        seconds[verb], told = averse(tmp_path / f"cache-{verb}", verb, *arguments, code=2 if refused else 0)
        assert refused in told
        assert not refused or told.count("\n") == 1

    quick("interpolate", a, b, "--quick", "--json", "--out", tmp_path / "interpolate")
    alone = "" if world in OF_SEVERAL else "has a single agent"
    quick("crossplay", a, b, "--quick", "--json", "--out", tmp_path / "crossplay", refused=alone)
    undrawn = "cannot be drawn" if world in NOT_DRAWN else ""
    quick("record", a, "--trial", "seed=1", "--out", tmp_path / "film.gif", refused=undrawn)
    quick("report", *studies.values(), "--quiet", "--out", tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 1e5
    print(world, {verb: round(value) for verb, value in seconds.items()})
    assert max(seconds.values()) < LIMIT * CORES.get(world, 1), seconds


# As `averse`, but slow where the run of a name trains, so that there is time to be killed there.
KILLABLE = """
import sys, time
from averse.cli import main
from averse.training.metrics import MetricsLog
write = MetricsLog.write
def slowly(log, *row):
    write(log, *row)
    time.sleep(0.2 if log.path.parent.name == sys.argv[1] else 0)
MetricsLog.write = slowly
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("verb", "world", "last"),
    [*(("compare", world, "rqe-mappo") for world in WORLDS), ("ablate", "corridor", "neither")],
)
def test_a_study_that_is_killed_ends_with_the_same_tables(verb, world, last, tmp_path):
    """Killed while a run trains that is not its first, and after its first checkpoint."""
    (tmp_path / "settings.toml").write_text("".join(f"[{name}]{SMALL}" for name in ("mappo", "rqe-mappo")))
    command = [verb, "--env", world, "--quick", "--steps", "2560", "--episodes", "20", "--json"]
    command += ["--settings", str(tmp_path / "settings.toml")]
    command += ["--methods", "mappo", "rqe-mappo"] if verb == "compare" else ["--tau", "3"]
    whole, killed, cache = (tmp_path / name for name in ("whole", "killed", "cache"))
    averse(cache, *command, "--out", whole)
    checkpoints = killed / "runs" / last / "checkpoints"
    program = [sys.executable, "-c", KILLABLE, last, *command, "--out", str(killed)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(program, env=surroundings(cache), **quiet) as process:
        while process.poll() is None and not any(path.name.isdigit() for path in checkpoints.glob("*/*")):
            time.sleep(0.05)
        assert process.poll() is None, process.stderr.read().decode()
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert json.loads((killed / "study.json").read_text())["unfinished"]
    assert not (killed / "table.md").exists()
    averse(cache, *command, "--out", killed)
    for name in ("table.md", "table.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("verb", ["interpolate", "crossplay"])
def test_a_meeting_that_is_killed_can_be_begun_again(verb, tmp_path):
    """It leaves nothing where its outcome is to be."""
    cache, runs = tmp_path / "cache", [tmp_path / "a", tmp_path / "b"]
    small = ["--num-envs", "4", "--rollout-steps", "8", "--segment-length", "8", "--minibatches", "1", "--hidden", "8"]
    for path, method in zip(runs, ("mappo", "rqe-mappo")):
        averse(cache, "train", "--env", "cliff-walk", "--method", method, "--steps", "64", *small, "--out", path)
    command = [verb, *map(str, runs), "--quick", "--json"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    averse(cache, *command, "--out", whole)
    program = [sys.executable, "-m", "averse.cli", *command, "--out", str(killed)]
    with subprocess.Popen(program, env=surroundings(cache), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not any(tmp_path.glob(".killed.*")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not killed.exists()
    averse(cache, *command, "--out", killed)
    for name in ("table.md", "table.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
