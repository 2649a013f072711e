"""Whatever `train` is given, in Python or on the command line: one line of what is wrong, never a traceback."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from averse import learners
from averse.cli import main
from averse.errors import AverseError, DivergenceError
from averse.settings import field_names
from averse.training import configure

NUMBERS = st.one_of(
    st.integers(-3, 100),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.sampled_from([0, 1e300, 1e-300, np.float32(2)]),
)
VALUES = st.one_of(
    NUMBERS, st.text(max_size=8), st.binary(max_size=4), st.booleans(), st.none(), st.lists(NUMBERS, max_size=3),
    st.builds(object), st.just(np.zeros((2, 2))), st.just({}), st.sampled_from(["entropic:inf", "cvar:1e-300", "wang"]),
)  # fmt: skip
ARGUMENTS = (
    "steps",
    "seeds",
    "checkpoints",
    "seeds_as",
    "fine_tune",
    "environment_parameters",
    "tau",
    "alpha",
    "length",
)
SETTINGS = [
    (method, name) for method in learners.names() for name in (*field_names(learners.preset(method)), *ARGUMENTS)
]

FLAGS = (
    "--steps", "--seeds", "--seed", "--sweep", "--out", "--resume", "--fine-tune", "--checkpoints",
    "--checkpoint-minutes", "--seeds-as", "--env", "--method", "--num-envs", "--hidden", "--tau", "--alpha",
    "--measure", "--gamma", "--support", "--epochs", "--rollout-steps", "--horizon", "--level", "--num-atoms",
    "--overwrite", "--track", "--nonsense", "--num-env",
)  # fmt: skip
TEXTS = (
    "nan", "inf", "-inf", "0", "-1", "1", "1.5", "1e300", "1e-300", "", "x", " ", "\u00e9", "9" * 20, "True", "a=b",
    "tau=1,2", "tau=1,,2", "tau=nan", "gamma=1,2", "file", "file/sub", "x" * 300, ".", "/proc/x", "--", "-", "None",
)  # fmt: skip
SAID = st.lists(st.tuples(st.sampled_from(FLAGS), st.lists(st.sampled_from(TEXTS), max_size=2)), min_size=1, max_size=3)


def environment_of(method: str) -> str:
    if "static" in method:
        return "budget:corridor"
    if method == "srpo-mappo":
        return "cliff-walk"  # it needs several agents
    return "microgrids" if "mv" in method or method == "matrpo" else "corridor"


@pytest.mark.thorough
@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.sampled_from(SETTINGS), VALUES)
def test_settings(which, value):
    method, name = which
    told = ""
    try:
        configure(environment_of(method), method, **{"steps": 64, name: value})
    except AverseError as error:
        told = str(error)
    assert not told or name in told or name == "measure"
    assert "\n" not in told


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz")
    (path / "file").touch()
    return path


@pytest.mark.thorough
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SAID)
def test_flags(place, monkeypatch, capsys, said):
    def begin(*_):
        raise DivergenceError("what is in order would be trained")

    monkeypatch.chdir(place)
    monkeypatch.setattr("averse.training.loop.begin", begin)
    code = main(["train", "--quiet", *(text for flag, values in said for text in (flag, *values))])
    assert code in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in place.iterdir()] == ["file"]
