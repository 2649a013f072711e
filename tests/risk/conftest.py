"""Both precisions for tests that ask for them."""

import jax
import pytest
from tiers import first_quick


@pytest.fixture(params=first_quick(["float32", "float64"]))
def precision(request):
    """Runs a test in each precision; the value is the relative error that is acceptable there."""
    with jax.enable_x64(request.param == "float64"):
        yield 1e-5 if request.param == "float32" else 1e-11


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield
