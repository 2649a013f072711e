"""A compilation cache that the test processes share: most of the suite's time would be compiling the same programs."""

import os

import jax

from averse.files import cache_folder

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = cache_folder() / "xla"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
