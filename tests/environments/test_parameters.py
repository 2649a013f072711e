"""Parameters of environments, by name in Python and as flags: wrong ones are refused in one line that names them."""

import dataclasses
import math

import pytest

import averse
from averse import AverseError, environments
from averse.cli import main
from averse.settings import hints_of, words

NAMES = environments.names()
NUMBERS = (math.nan, math.inf, -math.inf, 1e300, -1e300)
FIELDS = [(name, field.name) for name in NAMES for field in dataclasses.fields(environments.parameters_class(name))]


def kind_of(name: str, field: str) -> str:
    """Whether a parameter is a "whole" number, a "number", a truth or a choice, by its default or its type."""
    cls = environments.parameters_class(name)
    default = {row.name: row.default for row in dataclasses.fields(cls)}[field]
    if isinstance(default, bool):
        return "truth"
    if isinstance(default, str):
        return "choice"
    told = words(hints_of(cls)[field])
    return "choice" if told.startswith("one of") else "whole" if told.startswith("a whole number") else "number"


def wrong_values(kind: str) -> list:
    texts = ["", "low and behold", b"3", [1], {}, (1, 2), object(), 1j]
    if kind == "truth":
        return [*texts, 0, 1, 1.0, math.nan, "True"]
    if kind == "choice":
        return [*texts, *NUMBERS, True, False, 3, 1.0]
    whole = [0.5, 1.5, 3.0, -1, 10**30, 2**31] if kind == "whole" else []
    return [*texts, *NUMBERS, *whole, "3", True, False, 10**30]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_wrong_value_is_refused_in_one_line(name, field):
    for value in wrong_values(kind_of(name, field)):
        with pytest.raises(AverseError) as caught:
            environments.make(name, **{field: value})
        line = str(caught.value)
        assert field in line, value
        assert "\n" not in line
        assert len(line) < 250


@pytest.mark.parametrize(("name", "field"), [row for row in FIELDS if row[0] != "sumo-intersection"])
def test_and_on_the_command_line(name, field, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("averse.training.run_training", lambda *_, **__: pytest.fail("it was accepted"))
    kind = kind_of(name, field)
    if kind == "truth":
        wrong = [f"--{field}s"]
    elif kind == "choice":
        wrong = [f"--{field}=perhaps"]
    else:
        flag = f"--{field.replace('_', '-')}"
        wrong = [f"{flag}=1.5", f"{flag}=-1"] if kind == "whole" else [f"{flag}=nan", f"{flag}=-1e300"]
    for text in wrong:
        assert main(["train", "--env", name, text]) == 2, text
        error = capsys.readouterr().err
        assert error.startswith("averse: ")
        assert error.count("\n") == 1
        assert "Error parsing" not in error
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("risky-cartpole", {"levle": "low"}, "'levle'; did you mean level?"),
        ("intersection", {"humanrate": 0.1}, "'humanrate'; did you mean human_rate"),
        ("microgrids", {"wind_level": 2}, "'wind_level'; did you mean wind_levels"),
        ("risky-cartpole", {"level": "lwo"}, "unknown level 'lwo'; did you mean low?"),
        ("microgrids", {"scenario": True}, "scenario must be one of 1, 2, not True"),
        ("microgrids", {"microgrids": 10**6}, "microgrids must be a whole number in [1, 100] or nothing, not 1000000"),
        ("corridor", {"length": 1.5}, "length must be a whole number in [1, 10000], not 1.5"),
        ("cliff-walk", {"horizon": 2**31}, "horizon must be a whole number in [1, 1e+09], not 2147483648"),
    ],
)
def test_the_line(name, given, told):
    with pytest.raises(AverseError) as caught:
        averse.make(name, **given)
    assert told in str(caught.value)
    with pytest.raises(AverseError) as caught:
        averse.configure(name, "ppo", 1000, **given)
    assert told in str(caught.value)


def test_parameters_stand_among_the_settings():
    config = averse.configure("risky-cartpole", "rqe-mappo", 1000, level="low", tau=3.0, wind_std=0.5)
    environment = config.build_environment()
    assert (environment.level, environment.wind_std) == ("low", 0.5)
    assert environment == averse.make("risky-cartpole", level="low", wind_std=0.5)


@pytest.mark.parametrize("name", [3, None, 1.5, ["corridor"], b"corridor", averse.make("corridor")])
def test_a_name_is_a_text(name):
    for use in (averse.make, environments.describe, environments.parameters_class, environments.factory):
        if use is environments.describe:
            assert "must be a text" in use(name)
            continue
        with pytest.raises(AverseError, match="a name of environments must be a text, not "):
            use(name)


@pytest.mark.parametrize("given", [{"episodes": 0}, {"episodes": 1.5}, {"episodes": "x"}, {"seed": -1}, {"seed": None}])
def test_arguments_of_the_check(given):
    with pytest.raises(AverseError, match=rf"^{next(iter(given))} must be a whole number >= [01], not "):
        environments.check_environment("corridor", **given)
