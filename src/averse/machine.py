"""What this machine has: how much memory there is for arrays, how many cores."""

import os
from pathlib import Path

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container; "max" where there is none
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB", "ZB")


def memory() -> int:
    """Bytes of memory for arrays: of the accelerator, of this machine, or of the container around this process."""
    import jax  # only here: who asks for cores may have to do so before JAX looks at them

    if jax.default_backend() != "cpu":
        known = jax.local_devices()[0].memory_stats() or {}
        if "bytes_limit" in known:
            return int(known["bytes_limit"])
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(_LIMIT.read_text()))
    except (OSError, ValueError):
        return there


def cores() -> int:
    """How many cores this process may use, by its affinity where the system has such a thing."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_words(size: float) -> str:
    """A number of bytes as people say it: "1.2 TB"."""
    for unit in _UNITS[:-1]:
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} {_UNITS[-1]}"
