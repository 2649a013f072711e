"""Which cases of a parametrized test run at each change, and which in `make thorough` only."""

from collections.abc import Sequence
from typing import Any

import pytest


def thorough(*values: Any) -> Any:
    """A case of a parametrized test that `make thorough` runs."""
    return pytest.param(*values, marks=pytest.mark.thorough)


def first_quick(cases: Sequence[Any], quick: int = 1) -> list[Any]:
    """Cases of one argument each, of which only the first `quick` run in `make test`."""
    return [*cases[:quick], *map(thorough, cases[quick:])]


def first_rows_quick(cases: Sequence[Sequence[Any]], quick: int = 1) -> list[Any]:
    """Cases of several arguments each, of which only the first `quick` run in `make test`."""
    return [*cases[:quick], *(thorough(*case) for case in cases[quick:])]
