"""How tests compile: without XLA's optimisations, but where much is computed; and a cache that test processes share."""

import ctypes
import gc
import inspect
import os
import platform
import threading
from pathlib import Path

import jax
import psutil
import pytest
from jax._src import cache_key, compiler
from jax._src.interpreters import mlir
from threadpoolctl import threadpool_limits

from averse.files import cache_folder

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = cache_folder() / "xla"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    jax.config.update("jax_compilation_cache_dir", str(cache))

CACHED_FROM = 0.3  # s of compilation
MOST_MAPPINGS = 8_000  # of 65,530 that Linux allows a process
MOST_MEMORY = 2e9  # bytes; small machines run two workers, too

# What is traced is many small objects, few of which are garbage. Python's collector takes a tenth of the time to trace
# and lower a large program where it looks for garbage as often as it does by default, which is after 700 new objects.
gc.set_threshold(50_000, 20, 20)

# XLA's newer code generator for fused operations takes nearly twice as long to compile as its older one, which computes
# the same. And where a program is not split to be compiled on several cores, compiling takes a quarter less of one.
# Read when the first program is compiled, and by the processes that tests start.
QUICKLY = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICKLY}".strip()

# Processes that tests start compile quickly too, as `compile_for` says.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "1e9"

# Test processes share the cores, and more threads than cores wait for each other: small dense solves take tens of times
# as long.
threadpool_limits(1, "blas")

# No float meets a truth or an integer, and no axis is added, without being asked for: either is a mistake too often.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


LIBC = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None

COMPILED: dict = {}  # programs of this process, by what they were compiled of


def compiled_once(compile_program):
    """JAX's own function that compiles, but the same program is compiled once.

    Tests train the same few updates over and over: as another run, resumed, from the command line.
    """
    signature = inspect.signature(compile_program)

    def compiled(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        if given["host_callbacks"]:  # these belong to one call
            return compile_program(*args, **kwargs)
        what = (given["computation"], given["devices"], given["compile_options"], given["backend"])
        key = (cache_key.get(*what), *(device.id for device in given["devices"].flat))
        if key not in COMPILED:
            COMPILED[key] = compile_program(*args, **kwargs)
        return COMPILED[key]

    return compiled


compiler.compile_or_get_cached = compiled_once(compiler.compile_or_get_cached)


CONTEXTS = threading.local()  # where each thread's programs are stated before they are compiled


def context_once():
    """JAX's own function that makes such a context, but for each thread it is made once.

    JAX makes one for every program. Of most programs of tests, single operations on small arrays, it takes a quarter of
    the time that they take to compile.
    """
    if not hasattr(CONTEXTS, "kept"):
        CONTEXTS.kept = make_context()
    return CONTEXTS.kept


make_context, mlir.make_ir_context = mlir.make_ir_context, context_once


def pytest_collection_finish():
    """What has been imported stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()


def is_optimised(node) -> bool:
    """Whether a test or its module is marked `optimised`."""
    return node.get_closest_marker("optimised") is not None


def compile_for(node) -> None:
    """Quick compilation, or the optimised one where a test or its module is marked `optimised`.

    Without its optimisations XLA takes about half of the time to compile. Such programs are not written to the cache:
    XLA crashed once in serialising one.
    """
    jax.config.update("jax_disable_most_optimizations", not is_optimised(node))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", CACHED_FROM if is_optimised(node) else 1e9)


def forget_programs() -> None:
    """All programs leave the process, and what they took in memory goes back to the system.

    glibc keeps nearly all of it otherwise, so that a process that has once grown would forget its programs after every
    module.
    """
    COMPILED.clear()
    vars(CONTEXTS).clear()
    jax.clear_caches()
    gc.collect()
    if LIBC is not None:
        LIBC.malloc_trim(0)


def mappings() -> int:
    """How many memory mappings this process has; 0 where the system does not say so."""
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else 0


def memory() -> int:
    """Bytes that this process has in memory."""
    return psutil.Process().memory_info().rss


@pytest.fixture(scope="module", autouse=True)
def programs(request):
    """Programs of earlier modules leave the process once they are many: each holds memory mappings.

    Linux allows 65,530. A worker with more crashes wherever it happens to compile next. And programs that JAX keeps for
    later calls are as slow as they were compiled: they leave it around modules with optimised ones.
    """
    compile_for(request.node)
    if is_optimised(request.node):
        forget_programs()
    yield
    if is_optimised(request.node) or mappings() > MOST_MAPPINGS or memory() > MOST_MEMORY:
        forget_programs()


@pytest.fixture(autouse=True)
def compilation(request, programs):
    """How this test compiles; see `compile_for`."""
    compile_for(request.node)
    yield
    compile_for(request.node.parent)
