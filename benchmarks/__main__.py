"""Run the benchmarks by name, or all of them."""

import sys

from benchmarks.games import games
from benchmarks.sumo_training import sumo
from benchmarks.training_speed import methods, seeds

BENCHMARKS = {"methods": methods, "seeds": seeds, "sumo": sumo, "games": games}

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(BENCHMARKS)
    for name in chosen:
        if name not in BENCHMARKS:
            sys.exit(f"unknown benchmark {name!r}; allowed: {', '.join(BENCHMARKS)}")
    for name in chosen:
        BENCHMARKS[name]()
