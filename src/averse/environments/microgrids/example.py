"""A folder of the kind that users bring, to look at: two microgrids and a price for a year, all of it synthetic.

y, of which there is one for each series, is an autoregression of order 1 with the standard normal as its steady state:
y' = r y + sqrt(1 - r^2) N(0, 1). h is the hour of the day.

* wind: r = .97; v = 8 sqrt(-log(1 - Phi(y))) m/s, which is Weibull-distributed with shape 2; the turbine gives
  P (v^3 - 27) / (1728 - 27) MW between 3 and 12 m/s, nothing below, and P above;
* load: r = .9; L (1 + .25 cos(2 pi (h - 18) / 24) + .1 y) MW, at least .1 L;
* price: r = .95; 60 + 15 cos(2 pi (h - 19) / 24) + 12 y per MWh.

P and L are 3 and 2 MW in the north, 2 and 1.5 MW in the south. Random numbers are those of numpy's default generator
with seed 0.
"""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import log_ndtr

from averse.environments.microgrids.own_data import (
    BATTERY_COLUMNS,
    HOURLY_COLUMNS,
    MICROGRIDS,
    PRICE_COLUMNS,
    PRICES,
)
from averse.files import new_folder, write_text

Floats = NDArray[np.float64]

START = datetime(2023, 1, 1)
HOURS = 365 * 24
SITES = {"north": (3.0, 2.0), "south": (2.0, 1.5)}  # P and L, MW
BATTERIES = {"north": (2.0, 1.0, 0.95, 1.0), "south": (1.0, 0.5, 0.9, 1.0)}


def write_example(folder: Path, *, prices: bool = True, hours: int = HOURS, seed: int = 0) -> Path:
    """Write the example: `microgrids.csv`, `north.csv`, `south.csv`, and `prices.csv` unless told otherwise.

    Raises AverseError if the folder has something in it already, or cannot be written to.
    """
    folder, rng = new_folder(folder), np.random.default_rng(seed)
    clock = np.arange(hours) % 24
    times = [(START + timedelta(hours=hour)).isoformat(timespec="minutes") for hour in range(hours)]
    _write(folder / f"{MICROGRIDS}.csv", BATTERY_COLUMNS, [(name, *battery) for name, battery in BATTERIES.items()])
    for name, (turbine, mean_load) in SITES.items():
        wind = turbine * _turbine(8.0 * np.sqrt(-log_ndtr(-_autoregression(0.97, hours, rng))))
        daily = 1 + 0.25 * np.cos(2 * np.pi * (clock - 18) / 24)
        load = mean_load * np.maximum(daily + 0.1 * _autoregression(0.9, hours, rng), 0.1)
        _write(folder / f"{name}.csv", HOURLY_COLUMNS, zip(times, wind.round(3), load.round(3)))
    if prices:
        price = 60 + 15 * np.cos(2 * np.pi * (clock - 19) / 24) + 12 * _autoregression(0.95, hours, rng)
        _write(folder / f"{PRICES}.csv", PRICE_COLUMNS, zip(times, price.round(2)))
    return folder


def _autoregression(memory: float, hours: int, rng: np.random.Generator) -> Floats:
    """y [hours], from its steady state on."""
    shocks = np.sqrt(1 - memory**2) * rng.standard_normal(hours)
    shocks[0] /= np.sqrt(1 - memory**2)
    return lfilter([1.0], [1.0, -memory], shocks)


def _turbine(speed: Floats) -> Floats:
    """The share of its power that a turbine gives at a wind's speed, m/s."""
    return np.clip((speed**3 - 27) / (12**3 - 27), 0.0, 1.0)


def _write(path: Path, columns, rows) -> None:
    write_text(path, "\n".join(",".join(map(str, row)) for row in (columns, *rows)) + "\n")
