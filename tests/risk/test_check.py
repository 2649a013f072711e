"""The check that users call: every measure of ours passes it, and each seeded fault is told in one line."""

import pytest
from outside_measures import FAULTS, Named, Power, Semideviation, Tail
from tiers import thorough

from averse.errors import AverseError
from averse.risk import RiskMeasure, check_measure, names

OURS = [
    "mean", "entropic:0.3", "entropic:inf", "entropic:8", "cvar:0.1", "cvar:0.7", "cvar:1", "var:0.25",
    "mean-variance:0.5", "wang:0.75", "wang:-0.75", "cpw:0.71", "evar:0.1", "worst-case", "0.4 of var:0.1",
    "0.5 of cvar:0.1",
]  # fmt: skip


MORE = {"entropic:inf", "entropic:8", "cvar:0.7", "cvar:1", "wang:-0.75", "0.4 of var:0.1"}  # of kinds that are there


@pytest.mark.parametrize("text", [thorough(text) if text in MORE else text for text in OURS])
def test_our_measures_are_what_they_say(text):
    check_measure(text)


def test_none_of_ours_is_left_out():
    assert {text.partition(":")[0] for text in OURS if " of " not in text} == set(names())


@pytest.mark.parametrize("measure", [Semideviation(0.8), Tail(1.5, 0.2), Power(0.6)], ids=str)
def test_measures_from_outside_pass(measure):
    check_measure(measure)


@pytest.mark.parametrize("measure", FAULTS, ids=lambda measure: type(measure).__name__)
def test_each_fault_is_told_in_one_line(measure):
    with pytest.raises(AverseError, match=FAULTS[measure]) as caught:
        check_measure(measure)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_none():
    with pytest.raises(AverseError, match="label of outside_measures:Named must be a number, not 'mine'"):
        Named()


def test_what_cannot_be_read_back_needs_a_name():
    class Local(RiskMeasure):
        def value(self, distribution):
            return distribution.mean()

    with pytest.raises(AverseError, match=r"name it with averse\.risk\.register"):
        check_measure(Local())


def test_a_class_without_a_value_says_what_is_missing():
    class Empty(RiskMeasure):
        pass

    with pytest.raises(AverseError, match=r"NotImplementedError.*def value"):
        check_measure(Empty())
