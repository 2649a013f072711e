"""Paired timing: alternate the candidates, so that a machine that speeds up or slows down does so for all of them."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def paired(
    candidates: dict[str, Callable[[], Any]], rounds: int = 7, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each round of each candidate, after one warm-up round that is not counted (compilation).

    `clock` says of what: with `time.process_time` of processors, however busy they are with other things.
    """
    for run in candidates.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            began = clock()
            run()
            seconds[name].append(clock() - began)
    return seconds


def ratio(above: list[float], below: list[float]) -> str:
    """Median of the pairwise ratios, with the smallest and the largest."""
    ratios = [a / b for a, b in zip(above, below)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
