"""MV-MAPI on microgrids of growing size: seconds and memory of the dense, sparse and factored forms."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

FORMS = ("dense", "sparse", "factored")
# microgrids, levels of wind, load and battery of each
SIZES = ((2, 2, 2, 3), (2, 2, 3, 4), (2, 3, 3, 4), (2, 4, 4, 4), (3, 2, 2, 4), (3, 2, 3, 4), (3, 3, 3, 4), (3, 4, 4, 4))
BETA = 1.0
LIMIT = 3600  # seconds


def team_games() -> None:
    """Prints a line per number of states; each form in a process of its own, so that its peak of memory is its own.

    All use one thread. Seconds are those of building the game and running `mv_mapi`; memory is the peak above that of
    the loaded libraries.
    """
    print(f"MV-MAPI, beta {BETA:g}, scenario 2 with fewer levels; seconds, peak MB above the libraries'")
    print(f"{'states':>9} {'actions':>9}" + "".join(f"{form:>18}" for form in FORMS))
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    for size in SIZES:
        states, cells, found, objectives = 0, "", {}, []
        for form in FORMS:
            command = [sys.executable, "-m", "benchmarks.team_games", form, *map(str, size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT, env=one_thread)
            found = json.loads(done.stdout)
            states = found["states"]
            if "seconds" in found:
                objectives.append(found["objective"])
                cells += f"{found['seconds']:>10.2f} {found['megabytes']:>7,.0f}"
            else:
                cells += f"{'too large':>18}"
        assert max(objectives) - min(objectives) < 1e-8
        print(f"{states:>9,} {found['actions']:>9,}{cells}", flush=True)


def measure(form: str, microgrids: int, wind: int, load: int, battery: int) -> dict:
    """One run in this process."""
    import averse
    from averse.errors import AverseError
    from averse.planning import mv_mapi

    levels = {"wind_levels": wind, "load_levels": load, "battery_levels": battery}
    env = averse.make("microgrids", scenario=2, microgrids=microgrids, **levels)
    model = env.local_models()[0]
    result = {"states": model.num_states**microgrids, "actions": model.num_actions**microgrids}
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    before = _memory("VmRSS")
    began = time.perf_counter()
    try:
        game = env.model(form)
    except AverseError:  # it would take more than 16 GB
        return result
    plan = mv_mapi(game, BETA)
    seconds = time.perf_counter() - began
    return {**result, "seconds": seconds, "megabytes": _memory("VmHWM") - before, "objective": plan.objective}


def _memory(field: str) -> float:
    """A line of the kernel's account of this process, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    print(json.dumps(measure(name, *map(int, numbers))))
