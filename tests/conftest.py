"""How tests compile: without XLA's optimisations, but where much is computed; and a cache that test processes share."""

import gc
import os

import jax
import pytest
from threadpoolctl import threadpool_limits

from averse.files import cache_folder

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = cache_folder() / "xla"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    jax.config.update("jax_compilation_cache_dir", str(cache))

CACHED_FROM = 0.3  # s of compilation

# XLA's newer code generator for fused operations takes nearly twice as long to compile as its older one, which computes
# the same. Read when the first program is compiled, and by the processes that tests start.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()


# Test processes share the cores, and more threads than cores wait for each other: small dense solves take tens of times
# as long.
threadpool_limits(1, "blas")

# No float meets a truth or an integer, and no axis is added, without being asked for: either is a mistake too often.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def compile_for(node) -> None:
    """Quick compilation, or the optimised one where a test or its module is marked `optimised`.

    Without its optimisations XLA takes about half of the time to compile. Such programs are not written to the cache:
    XLA crashed once in serialising one.
    """
    optimised = node.get_closest_marker("optimised") is not None
    jax.config.update("jax_disable_most_optimizations", not optimised)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", CACHED_FROM if optimised else 1e9)


@pytest.fixture(scope="module", autouse=True)
def programs(request):
    """Programs of earlier modules leave the process: each holds memory mappings, of which Linux allows 65,530.

    A worker with more crashes wherever it happens to compile next.
    """
    compile_for(request.node)
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True)
def compilation(request, programs):
    """How this test compiles; see `compile_for`."""
    compile_for(request.node)
    yield
    compile_for(request.node.parent)
