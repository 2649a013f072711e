"""A configuration says its measure once: numbers by name are resolved into its text, contradictions are refused."""

from dataclasses import dataclass

import jax.numpy as jnp
import pytest

from averse import AverseError
from averse.learners.parts.measure import (
    MeasureNumbers,
    measure_fields,
    risk_measure,
    with_measure_numbers,
    with_numbers,
)
from averse.risk import CVaR, Entropic, Expectation


@pytest.mark.parametrize(
    ("settings", "default", "text"),
    [
        ({"tau": 3.0}, "entropic:1", "entropic:3"),
        ({"tau": float("inf")}, "entropic:1", "entropic:inf"),
        ({"tau": 3, "alpha": None}, "entropic:1", "entropic:3"),
        ({"measure": "cvar:0.2"}, "entropic:1", "cvar:0.2"),
        ({"measure": "cvar", "alpha": 0.05}, "entropic:1", "cvar:0.05"),
        ({"measure": "cvar:0.05", "alpha": 0.05}, "entropic:1", "cvar:0.05"),
        ({"measure": CVaR(0.3)}, "mean", "cvar:0.3"),
        ({"measure": Expectation()}, "cvar:0.1", "mean"),
        ({"eta": -0.5}, "wang:0.75", "wang:-0.5"),
        ({"weight": 0.0}, "mean-variance:0.05", "mean-variance:0"),
    ],
    ids=str,
)
def test_numbers_and_objects_become_one_text(settings, default, text):
    found = with_measure_numbers({**settings, "gamma": 0.9}, default)
    assert found == {"measure": text, "gamma": 0.9}


def test_without_a_measure_nothing_is_said():
    assert with_measure_numbers({"gamma": 0.9, "tau": None}, "entropic:1") == {"gamma": 0.9}


def test_a_setting_of_ones_own_is_no_number_of_the_measure():
    assert with_measure_numbers({"alpha": 7}, "cvar:0.1", own=["alpha"]) == {"alpha": 7}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"tau": 3.0, "measure": "cvar:0.1"},
            "tau does not belong to the measure 'cvar:0.1'; its number is called alpha",
        ),
        ({"alpha": 0.1}, "alpha does not belong to the measure 'entropic:1'; its number is called tau"),
        ({"tau": 3.0, "measure": "mean"}, "tau does not belong to the measure 'mean'; it has no number"),
        ({"tau": 3.0, "measure": "entropic:2"}, "the measure 'entropic:2' and tau 3 contradict each other; give one"),
        ({"tau": 3.0, "measure": Entropic(2.0)}, "the measure 'entropic:2' and tau 3 contradict each other; give one"),
        ({"tau": 0.0}, "tau must be a number > 0 or nothing, not 0.0"),
        ({"tau": "3"}, "tau must be a number > 0 or nothing, not '3'"),
        ({"alpha": 1.5, "measure": "cvar:0.1"}, r"alpha must be a number in \(0, 1\] or nothing, not 1.5"),
        ({"weight": -1.0, "measure": "mean-variance:1"}, "weight must be a finite number >= 0 or nothing, not -1.0"),
        ({"eta": 0.1, "measure": "cpw"}, r"eta of cpw must be a number in \[0.28, 1\], not 0.1"),
        ({"tau": 3.0, "measure": "cvar"}, "the parameter of cvar is called alpha, not 'tau'"),
        ({"measure": "entropc:1"}, "did you mean entropic"),
        ({"measure": "entropic"}, "entropic needs a number for tau, as in entropic:1"),
        ({"measure": 3}, "measure must be a text such as entropic:1, or a risk measure, not 3"),
    ],
    ids=str,
)
def test_contradictions_get_one_clear_line(settings, words):
    with pytest.raises(AverseError, match=words) as caught:
        with_measure_numbers(settings, "entropic:1")
    assert "\n" not in str(caught.value)


def test_numbers_for_the_command_line():
    assert MeasureNumbers() == MeasureNumbers(None, None, None, None)
    with pytest.raises(AverseError, match="alpha"):
        MeasureNumbers(alpha=0.0)


def test_the_measure_of_a_configuration():
    @dataclass
    class Config:
        measure: str = "entropic:2"

    measure = risk_measure(Config())
    assert measure == Entropic(2.0)
    assert measure_fields(measure) == {"tau"}
    assert measure_fields(Expectation()) == set()
    assert float(with_numbers(measure, {"tau": jnp.float32(5.0)}).tau) == 5.0
