"""How programs are compiled: those that run for long with options of their own, and all in single precision."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import jax

from averse.files import cache_folder

P = ParamSpec("P")
T = TypeVar("T")

# XLA holds a processor's vectors to 256 bits, as some older ones slow down with longer ones. Measured where 512 are to
# be had: the intersection is 20 % faster with them. Where they are not, this changes nothing.
_TUNED = {"xla_cpu_prefer_vector_width": 512}

# What is worth its compilation where a program works for seconds only. LLVM's first level makes replay learners as
# quick as its third does, in half of the time; without it they are five times slower. XLA's older code generator for
# fused operations takes nearly half of the newer one's time.
_HASTY = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}

# For a program that is called once: LLVM's levels above none take five times as long to compile how an episode begins.
_ONCE = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}

_DISABLED = "jax_disable_most_optimizations"
_CACHED_FROM = "jax_persistent_cache_min_compile_time_secs"
_in_haste = ContextVar("_in_haste", default=False)


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit`, for programs whose inner loops are worth tuning: training and evaluation."""
    return jax.jit(function, compiler_options=_HASTY if _in_haste.get() else _TUNED, **options)


def jit_beside(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit`, for programs that work beside a simulator, which are not worth tuning."""
    return jax.jit(function, compiler_options=_HASTY if _in_haste.get() else None, **options)


def jit_once(function: Callable[..., Any]) -> Any:
    """`jax.jit`, for large programs that are called once: how training begins."""
    return jax.jit(function, compiler_options=_ONCE if jax.default_backend() == "cpu" else None)


def keep_programs(folder: str = "xla") -> None:
    """Keep compiled programs in the user's cache folder: the second start is 5-15 s faster.

    Args:
      folder: of that folder. Programs for CPUs are those of the processor that they were compiled on.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / folder))
    jax.config.update(_CACHED_FROM, 0.5)


def is_hasty() -> bool:
    """Whether programs are compiled in haste just now, within a block of `hasty_compilation`."""
    return _in_haste.get()


@contextlib.contextmanager
def hasty_compilation(wanted: bool = True) -> Iterator[None]:
    """On a CPU, compile programs with few of XLA's optimisations, for work that takes less time than compiling them.

    That takes about half the time. The programs differ in the last bits from optimised ones, and are not kept in the
    cache of compiled programs: XLA crashed once in writing one. What `jit` was given within the block stays so.

    Args:
      wanted: whether to; else the block is as it would be without.
    """
    if not wanted or jax.default_backend() != "cpu":
        yield
        return
    before = {name: jax.config.values[name] for name in (_DISABLED, _CACHED_FROM)}
    hasty = _in_haste.set(True)
    try:
        jax.config.update(_DISABLED, True)
        jax.config.update(_CACHED_FROM, 1e9)
        yield
    finally:
        _in_haste.reset(hasty)
        for name, value in before.items():
            jax.config.update(name, value)


def single_precision(function: Callable[P, T]) -> Callable[P, T]:
    """A function that computes as without JAX_ENABLE_X64, whether or not that is set.

    Training and policies do: what they learn is then the same with and without it, and checkpoints can be read.
    """

    @functools.wraps(function)
    def computed(*args: P.args, **kwargs: P.kwargs) -> T:
        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return computed
