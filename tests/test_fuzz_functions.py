"""Whatever a public function is given: an answer, or one line of what is wrong; never an error of Python's own."""

import contextlib
import importlib
import inspect
from dataclasses import fields
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import averse
from averse import learners, report, risk
from averse.environments.adapters.hosted import HostedVector
from averse.environments.corridor import Corridor
from averse.environments.intersection.recording import Recording
from averse.environments.protocol import Box, Discrete
from averse.environments.registry import _REGISTRY
from averse.errors import LONGEST_LINE, AverseError, DivergenceError, NotConvergedError, WritingError
from averse.evaluation import Batches, Episodes, calibrate_quantiles, summarise
from averse.evaluation.host_play import scripted
from averse.games import Equilibrium, Model, NormalForm
from averse.learners import MAPPOConfig
from averse.learners.registry import _METHODS
from averse.statistics import mean

PACKAGES = ("environments", "learners", "risk", "evaluation", "training", "statistics", "report")
TOLD = (AverseError, DivergenceError, NotConvergedError, WritingError)
LONGEST = 400  # characters of a line that tells what is wrong, unless it lists all that is allowed

# Not called, and why.
PROTOCOLS = {"Description", "Environment", "HostEnvironment", "HostVector", "KnownModel", "Statistic"}  # only described
BASES = {"CompiledEnvironment", "Described", "Distortion", "Distribution", "RiskMeasure"}  # to derive from
ALIASES = {"ActionSpace", "Metrics", "Returns"}  # of types
ERRORS = {"AverseError", "DivergenceError", "WritingError"}  # take any message
# Named tuples and plain records that the library makes, or that hold functions; who takes one checks it.
RECORDS = {
    "Actor", "Basis", "Calibration", "Chains", "Evaluation", "Learner", "LongRunEvaluation", "LongRunSummary", "Method",
    "MetricSummary", "Moment", "Played", "Probe", "QuantileRow", "Run", "Specification", "StepResult", "Summary",
    "TimeStep", "TrainedObjective", "Trajectory",
}  # fmt: skip
EXCLUDED = PROTOCOLS | BASES | ALIASES | ERRORS | RECORDS


def doors():
    """Every public function and class, by its full name."""
    found = {}
    for package in ("", *PACKAGES):
        module = importlib.import_module(f"averse.{package}".rstrip("."))
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and name not in EXCLUDED:
                found.setdefault(thing, f"{module.__name__}.{name}")
    return {name: thing for thing, name in found.items()}


DOORS = doors()

WORLD = Corridor(length=2)
LEARNER = learners.learner("mappo", WORLD, num_envs=2, rollout_steps=2, minibatches=1, segment_length=2, hidden=(4,))
CONFIG = averse.configure(WORLD, "mappo", 4, num_envs=2, rollout_steps=2, minibatches=1, segment_length=2, hidden=(4,))
TABLE = Episodes(
    training_seed=[0, 0, 1, 1], seed=[1, 2, 1, 2], agent_returns=[1.0, 2.0, 3.0, 4.0], length=[2] * 4, failed=[0] * 4
)
BATCHES = Batches(0, {}, 1.0, 10, [[1.0, 2.0]], [[1.0, 4.0]])
CALIBRATION = calibrate_quantiles([[0.0, 1.0]] * 3, [0.5, 0.5, 2.0])
STEPS, ATOMS = np.ones((3, 2), np.float32), np.array([-1.0, 0.0, 1.0], np.float32)
PROBS = np.full((3, 2, 3), 1 / 3, np.float32)

RECORDING = Recording(0.1, [np.zeros((2, 2))], 3.2, [[]], "an empty road")
HISTORY = {"iteration": np.arange(2), "regret": np.ones((2, 2)), "residual": np.ones(2)}
LEARNED = Equilibrium(**{each.name: None for each in fields(Equilibrium)} | {"history": HISTORY})

# Arguments that are right, by name and, where a name means several things, by function.
RIGHT = {
    "environment": WORLD, "env": "corridor", "method": "mappo", "name": "corridor", "text": "cvar:0.1",
    "learner": LEARNER, "state": None, "path": "new", "run": "missing", "steps": 64, "seeds": 1, "config": CONFIG,
    "environment_parameters": {}, "seed": 0, "sweep": {}, "space": Discrete(2), "actions": [0, 1], "lead": (2,),
    "factory": Corridor, "step": Corridor.step, "size": 2, "count": 2, "own": 1,
    "num_actions": 2, "policy": lambda x: x[..., 0],
    "total_updates": 4, "measure": risk.CVaR(0.1), "measure_class": risk.CVaR, "kind": "cvar", "cls": risk.CVaR,
    "fraction": 0.5, "eta": 0.5, "alpha": 0.1, "tau": 2.0, "weight": 0.5, "atoms": ATOMS, "probs": PROBS,
    "values": STEPS, "next_values": STEPS, "rewards": STEPS, "discounts": STEPS, "continues": STEPS, "lam": 0.9,
    "second_moments": STEPS, "next_second_moments": STEPS, "distribution": risk.Samples(PROBS), "target": STEPS,
    "start": risk.Samples(PROBS), "earned": STEPS, "risk_values": PROBS, "probs_next": PROBS, "support": ATOMS,
    "logits": PROBS, "target_atoms": PROBS, "values_next": PROBS, "targets": PROBS, "spacing": 0.1, "gamma": 0.9,
    "low": 0.0, "high": 1.0, "num_atoms": 3, "returns": [1.0, 2.0, 3.0], "training_seed": 0, "settings": {},
    "beta": 1.0, "mean": [[1.0]], "square": [[1.0]], "agent_returns": [1.0], "length": 2, "failed": [False],
    "realised": [0.5, 0.5], "quantiles": [[0.0, 1.0]] * 2, "greedy": False, "batches": 2, "tables": [TABLE],
    "vector": HostedVector(WORLD, 2), "horizon": 2, "script": lambda step: np.zeros((2, 1), int), "episodes": TABLE,
    "policies": [BATCHES], "summaries": {"a": summarise(TABLE, resamples=10)}, "value": 1.0, "statistic": mean,
    "alphas": [0.1, 1.0], "weights": [1.0, 1.0, 1.0], "levels": [0.5], "first": [1.0, 2.0], "second": [1.0, 3.0],
    "values_by_seed": [[1.0, 2.0], [3.0]], "replicates": np.arange(20.0), "units": 5, "successes": 1, "n": 2,
    "sizes": [3, 2], "recordings": [], "fps": 10, "game": NormalForm.symmetric([[3.0, 0.0], [1.0, 2.0]]), "models": [],
    "runs": {}, "calibrations": {"a": CALIBRATION}, "curves": {"a": ([1, 2], [[1.0, 2.0]])},
}  # fmt: skip

OWN = {
    "averse.load": {"path": "run"},
    "averse.resume": {"path": "run"},
    "averse.evaluate": {"run": "run", "episodes": 2, "environment": None, "steps": None, "beta": None},
    "averse.TrainingConfig": {"environment": "corridor", "learner": CONFIG.learner, "seeds": (0,)},
    
    "averse.environments.register": {"name": "mine"},
    "averse.learners.MAPPOConfig": {"measure": "mean"},
    "averse.learners.RMIXConfig": {"measure": "mean", "tau": None},
    "averse.learners.SRPOConfig": {"measure": "entropic:1"},
    "averse.learners.ValueBasedConfig": {"measure": "mean"},
    "averse.learners.build": {"name": "mappo", "config": MAPPOConfig()},
    "averse.learners.method": {"name": "mappo"},
    "averse.learners.named_configuration": {"config": MAPPOConfig()},
    "averse.learners.preset": {"name": "mappo"},
    "averse.learners.register": {"name": "mine", "preset": MAPPOConfig(), "build": lambda *_: LEARNER},
    "averse.learners.with_settings": {"config": MAPPOConfig()},
    "averse.risk.action_value": {"actions": np.zeros((3, 2), int)},
    "averse.risk.episode_influence_advantage": {"target": risk.Samples(PROBS), "distribution": risk.Samples(PROBS)},
    "averse.risk.influence_advantage": {"target": risk.Samples(PROBS), "distribution": risk.Samples(PROBS)},
    "averse.risk.project": {"probs": PROBS},
    "averse.risk.pytree": {"cls": st.builds(lambda: type("Fresh", (), {}))},
    "averse.risk.quantile_huber_loss": {"values": PROBS, "weights": None},
    "averse.risk.register": {"kind": "mine"},
    "averse.risk.Samples": {"values": [1.0, 2.0], "weights": [1.0, 2.0]},
    "averse.evaluation.calibrate_categorical": {"probs": PROBS[0]},
    "averse.evaluation.Episodes": {"training_seed": [0], "seed": [0], "length": [2]},
    "averse.evaluation.play_host": {"actor": scripted(lambda step: np.zeros((2, 1), int)), "seeds": [1, 2]},
    "averse.evaluation.play_scripted": {"episodes": 2},
    "averse.evaluation.summary_table": {"first": "policy"},
    **{
        f"averse.statistics.{name}": {"values": [1.0, 2.0, 3.0], "name": "a sample", "weights": [[1.0, 1.0, 1.0]]}
        for name in (
            "bootstrap_interval", "integrated_quantile", "interquartile_mean", "mean", "sample", "standard_deviation"
        )
    },
    **{f"averse.report.{name}": {"path": "figure.png", "returns": {"a": [1.0]}} for name in report.__all__},
    "averse.report.animate": {"path": "film.gif", "recordings": [RECORDING]},
    "averse.report.draw_people": {"path": "figure.png", "models": [Model("a", 0, 0.1, {})]},
    "averse.report.draw_regret": {"path": "figure.png", "runs": {"a": LEARNED}},
}  # fmt: skip


class Empty:
    """A class of nothing."""


NUMBERS = st.one_of(
    st.integers(-3, 20), st.sampled_from([-(10**30), 10**400, 0.5, 1e300, 1e-300, np.float32(2), np.int8(3)]),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1j, True]),
)  # fmt: skip
ARRAYS = [
    np.zeros(0), np.zeros((2, 0)), np.ones(3), np.ones((2, 3)), np.ones((3, 2, 3)), np.ones(3, int), np.ones(3, bool),
    np.ones(3, complex), np.array(["a", "b"]), np.array([None, 1]), np.full(3, np.nan), np.full((3, 2), np.inf),
    jnp.ones(3), jnp.ones((3, 2)), np.array(2.0), np.ones(3, np.float16), np.array(["2020-01-01"], "M8[D]"),
]  # fmt: skip
THINGS = [
    None, object(), Empty, Empty(), len, lambda *_, **__: None, {}, {"a": 1}, {1: 2}, {"tau": [1, 2]}, {1, 2}, (), [],
    [None], [[1.0], [1.0, 2.0]], [["a"]], range(3), iter([1, 2]), Path("."), Path("file"), b"x", bytearray(b"x"),
    "x" * 5000, "a\nb", "\0", "\u00e9", "", "file", "missing/run", "mappo", "corridor", "corridr", "cvar:0.1",
    "os:path", "os:nothing", "nowhere:Thing", NotImplemented, ..., Exception("x"), type, np.float64,
    np.random.default_rng(0), WORLD, LEARNER, CONFIG, TABLE, Box(2), Discrete(3), risk.CVaR(0.1),
    risk.Samples([1.0, 2.0]),
]  # fmt: skip
JUNK = st.one_of(NUMBERS, st.sampled_from(ARRAYS), st.sampled_from(THINGS), st.lists(NUMBERS, max_size=3))


class _Begun(BaseException):
    """In place of work: all arguments were taken."""


def begun(*_, **__):
    raise _Begun


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz")
    (path / "file").touch()
    averse.train(WORLD, CONFIG.learner_config(), 4, out=path / "run")
    return path


def without_work(monkeypatch):
    """Nothing is trained, played, checked at length or drawn, and names that are registered are forgotten."""
    monkeypatch.setattr("averse.training.loop.begin", begun)
    monkeypatch.setattr("averse.environments.check.description_faults", begun)
    monkeypatch.setattr("averse.evaluation.evaluator.compiled_player", begun)
    monkeypatch.setattr(HostedVector, "reset", begun)
    monkeypatch.setattr("averse.report.games.rqe", begun)
    monkeypatch.setattr("averse.evaluation.stored.read_object", begun)
    monkeypatch.setattr("averse.risk.check._CHECKS", {})
    for registry in (_REGISTRY, _METHODS, risk.registry.REGISTRY):
        monkeypatch.setattr(registry, "_registered", {})
    for name in ("plots.panels", "games.panels", "animation.Painter"):
        monkeypatch.setattr(f"averse.report.{name}", begun)


@pytest.fixture
def no_work(monkeypatch, place):
    monkeypatch.chdir(place)
    without_work(monkeypatch)


def right(door, parameter):
    """What is right for an argument: as told for the function, its default, as told for the name; else anything."""
    name, default = parameter.name, parameter.default
    if name in OWN.get(door, {}):
        value = OWN[door][name]
    elif default is not parameter.empty:
        value = default
    else:
        value = RIGHT.get(name, JUNK)
    return value if isinstance(value, st.SearchStrategy) else st.just(value)


@st.composite
def calls(draw):
    """A public function, and its arguments: one or more of them anything, the others right."""
    door = draw(st.sampled_from(sorted(DOORS)))
    parameters = inspect.signature(DOORS[door]).parameters
    named = {name: p for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    odd = draw(st.sets(st.sampled_from(sorted(named)), min_size=1, max_size=2)) if named else set()
    arguments = {name: draw(JUNK if name in odd else right(door, p)) for name, p in named.items()}
    if len(named) < len(parameters) and draw(st.booleans()):
        extra = st.sampled_from(["tau", "length", "gamma", "measure", "hidden", "level", "nonsense"])
        arguments |= draw(st.dictionaries(extra.filter(lambda name: name not in named), JUNK, max_size=2))
    return door, arguments, [name for name, p in named.items() if p.kind is p.POSITIONAL_ONLY]


def check_call(call):
    door, arguments, first = call
    rest = {name: value for name, value in arguments.items() if name not in first}
    told = ""
    try:
        DOORS[door](*(arguments[name] for name in first), **rest)
    except _Begun:
        pass
    except TOLD as error:
        told = str(error)
    assert "\n" not in told
    assert len(told) < (LONGEST_LINE if "; allowed: " in told else LONGEST)


@pytest.mark.parametrize("door", sorted(DOORS))
@settings(max_examples=1, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_right_arguments_are_taken(no_work, door, data):
    """So that of a drawn call it is what is odd that is refused, not the rest."""
    parameters = inspect.signature(DOORS[door]).parameters
    named = {name: p for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    first = [name for name, p in named.items() if p.kind is p.POSITIONAL_ONLY]
    arguments = {name: data.draw(right(door, p)) for name, p in named.items()}
    ordered = [arguments.pop(name) for name in first]
    with contextlib.suppress(_Begun):
        DOORS[door](*ordered, **arguments)


@pytest.mark.thorough
@settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(calls())
def test_functions(no_work, call):
    check_call(call)
