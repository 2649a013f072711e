"""Whatever is said to `averse`: an exit code that is documented, and one line of what is wrong, never a traceback."""

import contextlib
import io
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import averse
from averse.cli import COMMANDS, EXIT_CODES, main
from averse.commands import flags
from averse.environments.corridor import Corridor
from averse.learners import MAPPOConfig
from averse.settings import hints_of

LONGEST = 700  # characters of a line; paths of 300 are among what is said

TEXTS = (
    "nan", "inf", "-inf", "0", "-1", "1", "2", "1.5", "1e300", "1e-300", "9" * 20, "1e400", "", " ", "x", "\u00e9",
    "\U0001f697", "a\nb", "\r", "a\u2028b", "\x1b[2J", "True", "None", "--", "-", "-h2", "a=b", "x" * 300, "x" * 3000,
    "tau=1,2", "tau=1,,2", "gamma=nan", "1,2", "1,nan", "1,2,3", "os:path", "os:nothing", "nowhere:Thing", "json:loads",
    "averse.cli:COMMANDS", "length=3", "bad_probability=nan",
)  # fmt: skip
NAMES = (
    "corridor", "intersection", "microgrids", "risky-cartpole", "sumo-intersection", "car-following", "mappo", "matrpo",
    "rqe-mappo", "qmix", "mv-ippo", "constant-speed", "reservation:x", "reservation:1", "sumo-drivers", "rush",
    "architecture", "optimality", "training-1", "selten-chmura-1", "kl", "entropy", "reverse-kl", "no-regret", "twin",
    "sumo", "loop", "entropic:3", "cvar:0", "adam", "high", "12.5,0.5",
)  # fmt: skip
PLACES = (
    "file", "file/sub", "folder", "missing/sub", "run", "damaged", "emptied", "halved", ".", "/", "/proc/x",
    "/dev/null", "new", "new/figure.png", "figure.xyz", "folder/figure.svg", "game.nfg", "binary.nfg", "game.json", 
    "list.json", "deep.json", "game.efg", "numbers.csv", "words.csv", "new.npz", "new.onnx",
    "new.html", "study", "file.html",
)  # fmt: skip
MORE_FLAGS = (
    "--nonsense",
    "--no-nonsense",
    "--num-env",
    "--tau",
    "--level",
    "--hidden",
    "--measure",
    "--help-me",
    "-q",
)


def begun(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what a path may lead to: runs, damaged ones, games, files of other kinds."""
    path = tmp_path_factory.mktemp("fuzz")
    (path / "folder").mkdir()
    (path / "folder" / "thing").touch()
    (path / "file").write_bytes(b"\xff\xfe\x00")
    config = MAPPOConfig(num_envs=2, rollout_steps=2, minibatches=1, segment_length=2, hidden=(4,))
    averse.train(Corridor(length=2), config, 4, out=path / "run")
    text = (path / "run" / "config.json").read_text()
    for name, content in (
        ("damaged", text.replace('"learner"', '"learnt"')),
        ("emptied", ""),
        ("halved", text.replace('"gamma": 0.99', '"gamma": "x"')),
    ):
        (path / name).mkdir()
        (path / name / "config.json").write_text(content)
    (path / "good.nfg").write_text('NFG 1 R "t" { "a" "b" } { 2 2 }\n1 2 3 4 5 6 7 8\n')
    (path / "game.nfg").write_text('NFG 1 R "t" { "a" "b" } { 2 2 }\n1 2 3 4 5 6 7\n')
    (path / "game.efg").write_text('EFG 2 R "t" { "a" }\np "" 1')
    (path / "binary.nfg").write_bytes(bytes(range(256)))
    (path / "game.json").write_text('{"players": null}')
    (path / "list.json").write_text("[1, 2")
    (path / "deep.json").write_text("[" * 100_000)
    (path / "study").mkdir()
    (path / "study" / "study.json").write_text('{"format": 1}')
    (path / "file.html").touch()
    (path / "numbers.csv").write_text("x\n1\n2\n")
    (path / "words.csv").write_text("x,y\n1,a\n2\n")
    return path


@pytest.fixture
def no_work(monkeypatch, place):
    """No training, playing, solving, drawing or simulator: what is in order ends as from the keyboard."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(place.parent / "cache"))
    for name in (
        "engines.cluster._connected",
        "training.loop.begin", "evaluation.evaluator._evaluate_episodes", "evaluation.evaluator.evaluate_long_run",
        "experiments.demo.train_all", "experiments.drivers.drive", "experiments.equilibrium.rqe",
        "experiments.equilibrium.all_equilibria", "experiments.equilibrium.draw_map",
        "experiments.equilibrium.compare_with_people", "experiments.microgrids.command._train",
        "experiments.microgrids.command.stored", "experiments.microgrids.command.draw_architecture",
        "export.policy.exchanges", "export.policy.actor_model", "experiments.own_risk.measured",
        "experiments.record.recorder", "experiments.interpolation.play_all", "experiments.crossplay.play_all",
        "report.html.page.packed_plotly",
        "experiments.outcome.jobs_of", "experiments.tuning.jobs_of",
    ):  # fmt: skip
        monkeypatch.setattr(f"averse.{name}", begun)
    for name in ("drivers", "demo"):
        monkeypatch.setattr(f"averse.experiments.{name}.require_simulator", lambda: None)
    monkeypatch.setattr("averse.environments.sumo.environment.SumoIntersection.vector", begun)


VALUES = st.one_of(st.sampled_from(TEXTS), st.sampled_from(NAMES), st.sampled_from(PLACES), st.text(max_size=6))


# What is in order, to which flags are added.
RIGHT = {
    "train": (
        "--env corridor --method mappo --steps 64", "--resume run", "--out run --overwrite", "--fine-tune run",
        "--env corridor --sweep tau=1,2", "--env microgrids --method matrpo", "--env sumo-intersection --method qmix",
    ),
    "evaluate": ("run", "run --no-save", "run --episodes 2 --overwrite", "run --shift bad_probability=0.5"),
    "drivers": ("rush --env intersection", "sumo-drivers --episodes 2", "rush --env intersection --beside run"),
    "equilibrium": ("selten-chmura-1", "selten-chmura-1 --all", "good.nfg --tau 1 --epsilon 1", "--people"),
    "export": ("run", "run --format onnx --out new.onnx", "run --trial seed=0", "run --trial 0 --overwrite"),
    "risk": ("numbers.csv", "numbers.csv --measure cvar:0.1,entropic:3 --json", "numbers.csv --out new/figure.png"),
    "record": ("run", "run --worst 1", "run --beside run --out new.gif", "run --seed 3 --episodes 2"),
    "interpolate": ("run run", "run run --per-episode --out new", "run run --quick --reference run"),
    "crossplay": ("run", "run --quick --out new", "run run"),
    "microgrids": ("optimality", "training-1 --quick", "week frontier --out new", "week --run run"),
    "report": ("run", "run study --out new.html", "study --films 0", "run --out file.html --overwrite"),
    "compare": ("--quick", "--env corridor --methods mappo rqe-mappo:tau=3", "--methods mappo --tune 2", "--json"),
    "tradeoff": ("--quick", "--env corridor --taus 1 3 --scale 2", "--env corridor --shift bad_probability=0.3"),
    "ablate": ("--quick", "--env corridor --tau 3", "--env intersection --epsilon 0.1 --out new"),
}  # fmt: skip
MOSTLY = st.sampled_from([True, True, True, False])


def fitting(hint):
    """Values of about the kind that a flag takes, so that many commands get beyond their parsing."""
    text = str(hint)
    if hint is bool:
        return st.just([])
    if "Literal" in text:
        return st.sampled_from([[name] for name in re.findall(r"'([\w-]+)'", text)])
    kinds = PLACES if "Path" in text else ("1", "2", "3") if "int" in text or "float" in text else (*NAMES, *PLACES)
    return st.sampled_from(kinds).map(lambda value: [value])


@st.composite
def commands(draw):
    """A verb of `averse`, and flags of it in any order, with no, one or several values of any kind."""
    verb = draw(st.sampled_from(COMMANDS.names()))
    arguments = COMMANDS.find(verb).arguments
    known = {**flags(arguments), **dict.fromkeys(MORE_FLAGS if verb == "train" else ("--nonsense",), str)}
    said = draw(st.sampled_from(RIGHT[verb])).split() if verb in RIGHT and draw(st.booleans()) else []
    for hint in hints_of(arguments).values():
        if "Positional" in str(hint) and not said:
            said += draw(fitting(hint) if draw(MOSTLY) else st.lists(VALUES, max_size=2))
    for flag in draw(st.lists(st.sampled_from(sorted(known)), max_size=4)):
        values = draw(fitting(known[flag]) if draw(MOSTLY) else st.lists(VALUES, max_size=2))
        glued = values and draw(st.booleans())
        said += [f"{flag}={values[0]}", *values[1:]] if glued else [flag, *values]
    return [verb, *said]


def check_command(command):
    out, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        try:
            code = main(command)
        except SystemExit as end:  # of --help
            code = end.code
    assert code in EXIT_CODES
    lines = [line for line in told.getvalue().splitlines() if not line.startswith(("\r", "\x1b"))]
    if code:
        assert lines[-1].startswith("averse: ")
        assert len(lines[-1]) < LONGEST
    assert sum(line.startswith("averse: ") for line in lines) == bool(code)
    assert "Traceback" not in told.getvalue()
    return code


def fuzzed(examples):
    """The test with so many commands, always the same."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(commands())
    def test(no_work, command):
        check_command(command)

    return test


test_commands = fuzzed(30)
test_more_commands = pytest.mark.thorough(fuzzed(150))
test_many_commands = pytest.mark.slow(fuzzed(2000))
