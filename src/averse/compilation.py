"""How programs are compiled: those that run for long with options of their own, and all in single precision."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax

from averse.files import cache_folder

P = ParamSpec("P")
T = TypeVar("T")

# XLA holds a processor's vectors to 256 bits, as some older ones slow down with longer ones. Measured where 512 are to
# be had: the intersection is 20 % faster with them. Where they are not, this changes nothing.
_OPTIONS = {"xla_cpu_prefer_vector_width": 512}


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit`, for programs whose inner loops are worth tuning: training and evaluation."""
    return jax.jit(function, compiler_options=_OPTIONS, **options)


def keep_programs(folder: str = "xla") -> None:
    """Keep compiled programs in the user's cache folder: the second start is 5-15 s faster.

    Args:
      folder: of that folder. Programs for CPUs are those of the processor that they were compiled on.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def is_hasty() -> bool:
    """Whether programs are compiled without XLA's optimisations just now."""
    return bool(jax.config.values["jax_disable_most_optimizations"])


@contextlib.contextmanager
def hasty_compilation(wanted: bool = True) -> Iterator[None]:
    """On a CPU, compile programs without XLA's optimisations, for work that takes less time than compiling them.

    That takes about half the time; the programs run slower, differ in the last bits from optimised ones, and are not
    kept in the cache of compiled programs: XLA crashed once in writing one.

    Args:
      wanted: whether to; else the block is as it would be without.
    """
    if not wanted or jax.default_backend() != "cpu":
        yield
        return
    names = ("jax_disable_most_optimizations", "jax_persistent_cache_min_compile_time_secs")
    before = {name: jax.config.values[name] for name in names}
    try:
        for name, value in zip(names, (True, 1e9)):
            jax.config.update(name, value)
        yield
    finally:
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
