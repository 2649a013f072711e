"""Settings: what is allowed passes unchanged, everything else is one line that says what is."""

import math
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
import tyro

from averse.errors import AverseError
from averse.settings import (
    Count,
    Fraction,
    NonNegative,
    Number,
    Positive,
    Seed,
    Share,
    Whole,
    check_value,
    is_sequence,
    settings,
    words,
)


@settings
class Example:
    """An example."""

    gamma: Fraction = 0.99
    """Discount per step."""
    alpha: Share = 1.0
    count: Count = 3
    whole: Whole = 0
    scale: Positive | None = None
    price: NonNegative = 0.0
    offset: Number = 0.0
    limit: float = math.inf
    kind: Literal["gae", "entropic"] = "gae"
    hidden: tuple[Count, ...] = (64,)
    support: tuple[Number, Number] | None = None
    flag: bool = False
    seed: Seed = 0
    path: Path | None = None
    text: str = ""
    name: ClassVar[str] = "example"

    def __post_init__(self) -> None:
        if self.count == 7:
            raise AverseError("count must not be 7")


@settings
class Derived(Example):
    more: Count = 1


def test_allowed_values_become_pythons_own():
    example = Example(
        gamma=np.float32(0.5), count=np.int64(4), hidden=[8, 9], support=np.array([0, 1]), scale=2, whole=0
    )
    assert (example.gamma, example.count, example.hidden) == (0.5, 4, (8, 9))
    assert example.support == (0.0, 1.0)
    assert type(example.count) is int
    assert type(example.scale) is float
    assert replace(example, gamma=1.0).hidden == (8, 9)
    assert Example(limit=math.inf).limit == math.inf


def test_it_is_a_frozen_dataclass():
    assert Example() == Example()
    with pytest.raises(FrozenInstanceError):
        Example().gamma = 0.5


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"gamma": 1.5}, "gamma must be a number in [0, 1], not 1.5"),
        ({"gamma": math.nan}, "gamma must be a number in [0, 1], not nan"),
        ({"gamma": "x"}, "gamma must be a number in [0, 1], not 'x'"),
        ({"alpha": 0.0}, "alpha must be a number in (0, 1], not 0.0"),
        ({"count": 0}, "count must be a whole number >= 1, not 0"),
        ({"count": 1.5}, "count must be a whole number >= 1, not 1.5"),
        ({"count": True}, "count must be a whole number >= 1, not True"),
        ({"whole": -1}, "whole must be a whole number >= 0, not -1"),
        ({"scale": math.inf}, "scale must be a finite number > 0 or nothing, not inf"),
        ({"price": -1e-9}, "price must be a finite number >= 0, not -1e-09"),
        ({"offset": -math.inf}, "offset must be a finite number, not -inf"),
        ({"kind": "entropc"}, "unknown kind 'entropc'; did you mean entropic?"),
        ({"kind": 3}, "kind must be one of gae, entropic, not 3"),
        ({"hidden": [64, 0]}, "hidden must be a sequence, each of it a whole number >= 1, not [64, 0]"),
        ({"hidden": 64}, "hidden must be a sequence, each of it a whole number >= 1, not 64"),
        ({"support": (1.0,)}, "support must be 2 values (a finite number, a finite number) or nothing, not (1.0,)"),
        ({"flag": 1}, "flag must be true or false, not 1"),
        ({"text": b"x"}, "text must be a text, not b'x'"),
        ({"count": 7}, "count must not be 7"),
        (
            {"scale": 1e-300},
            "scale must be a finite number > 0 or nothing (of a size between 1e-30 and 1e+30), not 1e-300",
        ),
        ({"price": 1e300}, "price must be a finite number >= 0 (of a size between 1e-30 and 1e+30), not 1e+300"),
        ({"offset": -1e31}, "offset must be a finite number (of a size between 1e-30 and 1e+30), not -1e+31"),
        (
            {"support": (0.0, 1e-40)},
            "support must be 2 values (a finite number, a finite number) or nothing "
            "(of a size between 1e-30 and 1e+30), not (0.0, 1e-40)",
        ),
        ({"seed": 2**32}, "seed must be a whole number >= 0 (below 2^32), not 4294967296"),
    ],
)
@pytest.mark.parametrize("cls", [Example, Derived])
def test_everything_else_is_one_line(cls, given, line):
    with pytest.raises(AverseError) as caught:
        cls(**given)
    assert str(caught.value) == line


def test_own_fields_of_a_derived_class_are_checked_too():
    with pytest.raises(AverseError, match="more must be a whole number >= 1"):
        Derived(more=0)


def test_a_single_value():
    assert check_value("steps", Count, np.int32(3)) == 3
    with pytest.raises(AverseError, match="steps must be a whole number >= 1, not 'many'"):
        check_value("steps", Count, "many")


def test_a_long_value_is_cut():
    with pytest.raises(AverseError) as caught:
        Example(gamma=list(range(1000)))
    assert len(str(caught.value)) < 200


def test_words_and_sequences():
    assert words(Positive | None) == "a finite number > 0 or nothing"
    assert is_sequence(tuple[int, ...])
    assert is_sequence(tuple[float, float] | None)
    assert not is_sequence(Fraction)


def test_the_command_line_shows_ranges(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(Derived, args=["--help"])
    shown = capsys.readouterr().out
    assert "--gamma FLOAT in [0, 1]" in shown
    assert "--alpha FLOAT in (0, 1]" in shown
    assert "--count INT >= 1" in shown
    assert "Discount per step." in shown
