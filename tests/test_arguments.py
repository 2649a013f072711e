"""What arguments are taken for, the same in every part of the package: objects, items in a row, arrays of numbers."""

import itertools
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from averse.arguments import finite_numbers, function, instance, items, numbers
from averse.errors import AverseError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 2], [1.0, 2.0]),
        (3, 3.0),
        (np.float16([[0.5]]), [[0.5]]),
        (jnp.arange(3), [0.0, 1.0, 2.0]),
        ([Fraction(1, 4), Decimal("0.5")], [0.25, 0.5]),
        ([1, 10**30], [1.0, 1e30]),
        ([], []),
    ],
)
def test_numbers(given, expected):
    for read in (numbers, finite_numbers):
        for truths in (True, False):
            found = read("x", given, truths)
            assert found.dtype == np.float64
            np.testing.assert_array_equal(found, expected)


def test_truths_are_numbers_where_they_may_be():
    for given in ([True, False], np.array([True, False]), np.array([True, False], object)):
        np.testing.assert_array_equal(numbers("x", given), [1.0, 0.0])
        with pytest.raises(AverseError, match=r"^x must be numbers, neither ragged nor of anything else, not "):
            numbers("x", given, truths=False)


class Refuses:
    """It can be no array."""

    def __array__(self, *_, **__):
        raise RuntimeError("no")


NONE = [
    "1", b"1", ["1"], None, [None, 1], 1j, [1j], [[1], [1, 2]], {}, {1}, object(), np.array(["2020"], "M8[Y]"),
    np.array([3], "m8[s]"), [[1, "2"]], Refuses(),
]  # fmt: skip


@pytest.mark.parametrize("given", NONE)
def test_what_are_no_numbers(given):
    for read, truths in itertools.product((numbers, finite_numbers), (True, False)):
        with pytest.raises(AverseError, match=r"^x must be numbers, neither ragged nor of anything else, not "):
            read("x", given, truths)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([[1, 2], [3, np.nan]], r"x must be finite, but entry \(1, 1\) is nan"),
        ([-np.inf], r"x must be finite, but entry \(0,\) is -inf"),
        (np.inf, "x must be finite, but it is inf"),
        ([Decimal("NaN")], r"x must be finite, but entry \(0,\) is nan"),
        ([10**400], "x must be at most 1.8e308 in size"),
        ([Fraction(10**400)], "x must be at most 1.8e308 in size"),
    ],
)
def test_numbers_that_are_not_finite(given, words):
    with pytest.raises(AverseError, match=f"^{words}"):
        finite_numbers("x", given)


def test_finite_numbers_are_a_copy():
    given = np.ones(3)
    found = finite_numbers("x", given)
    given[:] = 7
    np.testing.assert_array_equal(found, 1.0)


def test_an_instance_or_where_it_is():
    assert instance("x", int, 3) == 3
    assert instance("x", int | str, "a") == "a"
    for kind, value, words, told in (
        (dict, [1], "", "x must be a dict, not [1]"),
        (int | str, 1.5, "a name or its number", "x must be a name or its number, not 1.5"),
        (dict, SimpleNamespace(a=1, b={}), "", "x must be a dict, not a SimpleNamespace: give its .b"),
        (dict, dict, "", "x must be a dict, not the class dict"),
    ):
        with pytest.raises(AverseError) as caught:
            instance("x", kind, value, words)
        assert str(caught.value) == told


def test_items_in_a_row():
    for given in ([1, 2], (1, 2), np.array([1, 2]), iter([1, 2]), range(1, 3)):
        assert items("x", "numbers", given) == [1, 2]
    for given in ("12", b"12", {1: 2}, {1, 2}, 3, None, np.array(3), object()):
        with pytest.raises(AverseError, match=r"^x must be numbers in a row, not "):
            items("x", "numbers in a row", given)


def test_a_function():
    assert function("x", "of one number", abs) is abs
    with pytest.raises(AverseError, match=r"^x must be a function of one number, not 3$"):
        function("x", "of one number", 3)
