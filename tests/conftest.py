"""A compilation cache that the test processes share: most of the suite's time would be compiling the same programs."""

import gc
import os

import jax
import pytest

from averse.files import cache_folder

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = cache_folder() / "xla"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(scope="module", autouse=True)
def unload_programs():
    """Programs of earlier modules leave the process: each holds memory mappings, of which Linux allows 65,530.

    A worker with more crashes wherever it happens to compile next.
    """
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def quick_compilation():
    """XLA without its optimisations: for tests that compile much and compute little, up to half of the time.

    Such programs are not written to the cache: XLA crashed once in serialising one.
    """
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1e9)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
