"""Markov chains fitted to hourly series, and what tells whether they fit.

*Levels* are K groups of neighbouring values, such that the squared distance of the hours to their group's mean is
least (Fisher 1958; boundaries lie on a grid of a thousandth of the range). A level's power is the mean of its group, so
that the mean of the series is kept. Where a series has at most K different values, these are the levels.

*Transitions* are counted. Each row is smoothed by one further hour, spread as all hours are:
P_ij = (n_ij + w_j) / (n_i + 1) with n_i the sum of row i and w_j the share of hours at level j. So every transition is
possible, and no probability of a row seen n times moves by more than 1 / (n + 1).

*Held out*: levels and chain of the first four fifths of the hours judge the last fifth, by the mean log-likelihood of
an hour given the one before it. The chain without memory, an independent draw by the shares w, judges the same hours.

*Stationarity*: a chain has neither clock nor calendar. Whether transitions differ between the halves of the series, or
between the quarters of the day, is tested by the likelihood ratio of separate chains against one (Anderson and Goodman
1957), whose statistic is about chi-square where one chain is enough.

Axes: T hours, K levels, G groups of hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.special import xlogy
from scipy.stats import chi2

from averse.environments.microgrids.own_data import Recording, Site, battery_levels_needed
from averse.environments.microgrids.tables import Levels, LocalModel, System, microgrid
from averse.errors import AverseError
from averse.statistics import Estimate, bootstrap_interval, mean

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GRID = 1000  # places for boundaries between levels
SMOOTHING = 1.0  # hours added to each row
TRAINED = 0.8  # share of the hours that the held-out chain is fitted to
DAY = 24
QUARTERS = 4  # of the day
MOST_CURTAILMENTS = 50


@dataclass(frozen=True, eq=False)
class Fit:
    """A series as a chain over levels.

    Attributes:
      name: what the series is, for messages.
      levels: their power and (smoothed) transitions.
      boundaries: between levels, ascending [K - 1].
      path: the level of each hour [T].
      counts: transitions from level to level [K, K].
    """

    name: str
    levels: Levels
    boundaries: Floats
    path: Integers
    counts: Integers


class HeldOut(NamedTuple):
    """Log-likelihoods of the last fifth of the hours, nats per hour."""

    chain: float
    independent: float
    difference: Estimate  # chain - independent, 95 % over days


class Homogeneity(NamedTuple):
    """The test of one chain against one for each group of hours."""

    statistic: float
    freedom: int
    p_value: float  # 1 where there is nothing to tell apart


def fit(name: str, values: Floats, count: int) -> Fit:
    """Levels and transitions of a series [T].

    Args:
      count: how many levels; fewer where the series has fewer different values.

    Raises AverseError where the series does not go back and forth between its levels: once it is at some of them, it
    never reaches the others again.
    """
    boundaries = level_boundaries(values, count)
    path = np.searchsorted(boundaries, values, side="right")
    size = len(boundaries) + 1
    counts, hours = transition_counts(path, size), np.bincount(path, minlength=size)
    power = np.bincount(path, values, minlength=size) / hours
    _require_return(name, counts, power)
    return Fit(name, Levels(power, smoothed(counts, hours / hours.sum())), boundaries, path, counts)


def level_boundaries(values: Floats, count: int) -> Floats:
    """Between the levels of a series [T]: ascending [K - 1], K at most `count`; each belongs to the level above it."""
    distinct = np.unique(values)
    if len(distinct) > GRID:
        place = np.floor((values - distinct[0]) / (distinct[-1] - distinct[0]) * GRID).clip(0, GRID - 1)
        cell = np.unique(place, return_inverse=True)[1]
    else:
        cell = np.searchsorted(distinct, values)
    centred = values - values.mean()  # whose squares cancel less
    weight, total, square = (np.bincount(cell, x) for x in (np.ones(len(values)), centred, np.square(centred)))
    lowest = np.full(len(weight), np.inf)
    np.minimum.at(lowest, cell, values)
    highest = np.full(len(weight), -np.inf)
    np.maximum.at(highest, cell, values)
    starts = _least_squares([weight, total, square], min(count, len(weight)))[1:]
    below, above = highest[starts - 1], lowest[starts]
    return np.maximum((below + above) / 2, np.nextafter(below, np.inf))  # also where no number lies between


def _least_squares(cells: Sequence[NDArray], count: int) -> Integers:
    """The first cell of each of `count` runs of neighbouring cells whose squared error about their means is least.

    Dynamic programming over how many runs cover the first cells.

    Args:
      cells: number, sum and sum of squares of the values in each cell.
    """
    sums = [np.concatenate([[0.0], np.cumsum(x)]) for x in cells]
    w, t, q = (np.subtract.outer(x, x).T for x in sums)  # of cells i to j - 1, at [i, j]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(w > 0, q - np.square(t) / w, np.inf)
    best, choices = error[0], []
    for _ in range(1, count):
        through = best[:, None] + error
        choices.append(through.argmin(0))
        best = through.min(0)
    starts, end = [], len(best) - 1
    for choice in reversed(choices):
        end = int(choice[end])
        starts.append(end)
    return np.array([0, *reversed(starts)])


def transition_counts(path: Integers, size: int) -> Integers:
    """How often each level follows each [K, K], of a path [T]."""
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (path[:-1], path[1:]), 1)
    return counts


def smoothed(counts: Integers, shares: Floats) -> Floats:
    """Transition probabilities [K, K] of counts, each row with `SMOOTHING` further hours spread as `shares` [K]."""
    return (counts + SMOOTHING * shares) / (counts.sum(-1, keepdims=True) + SMOOTHING)


def _require_return(name: str, counts: Integers, power: Floats) -> None:
    """Raises AverseError unless every level is reached from every other one."""
    number, part = connected_components(counts > 0, directed=True, connection="strong")
    if number == 1:
        return
    closed = next(k for k in range(number) if not counts[np.ix_(part == k, part != k)].any())  # there always is one
    stuck = ", ".join(f"{value:.4g}" for value in power[part == closed])
    raise AverseError(
        f"{name} never comes back from its level{'s' if np.sum(part == closed) > 1 else ''} {stuck} to the others, so "
        "that a chain would stay there for good; choose fewer levels, or hours in which it does"
    )


def held_out(values: Floats, count: int) -> HeldOut:
    """How well a chain that is fitted to the first four fifths of a series [T] foretells the rest."""
    split = int(TRAINED * len(values))
    boundaries = level_boundaries(values[:split], count)
    path = np.searchsorted(boundaries, values, side="right")
    size = len(boundaries) + 1
    shares = np.bincount(path[:split], minlength=size) / split
    chain = smoothed(transition_counts(path[:split], size), shares)
    before, after = path[split - 1 : -1], path[split:]
    with_memory, without = np.log(chain[before, after]), np.log(shares[after])
    days = len(after) // DAY
    gains = (with_memory - without)[: days * DAY].reshape(days, DAY).mean(-1)
    return HeldOut(float(with_memory.mean()), float(without.mean()), bootstrap_interval(gains, mean))


def homogeneity(path: Integers, groups: Integers, size: int) -> Homogeneity:
    """Whether transitions are the same in all groups of hours.

    Args:
      path: levels [T].
      groups: the group of each transition, by its first hour [T - 1], from 0 on.
    """
    counts = np.stack(
        [
            np.bincount(path[:-1][groups == g] * size + path[1:][groups == g], minlength=size**2).reshape(size, size)
            for g in range(groups.max() + 1)
        ]
    )
    rows, pooled = counts.sum(-1, keepdims=True), counts.sum(0)
    own = xlogy(counts, counts / np.maximum(rows, 1)).sum()
    one = xlogy(pooled, pooled / np.maximum(pooled.sum(-1, keepdims=True), 1)).sum()
    ways = np.maximum((pooled > 0).sum(-1) - 1, 0)  # what is free in each row
    freedom = int(((np.sum(rows[..., 0] > 0, 0) - 1).clip(0) * ways).sum())
    statistic = max(0.0, 2 * float(own - one))
    return Homogeneity(statistic, freedom, float(chi2.sf(statistic, freedom)) if freedom else 1.0)


def between_halves(path: Integers, size: int) -> Homogeneity:
    """`homogeneity` of the first and the second half of a path."""
    return homogeneity(path, (np.arange(len(path) - 1) >= len(path) // 2).astype(np.int64), size)


def between_quarters_of_the_day(path: Integers, hour_of_day: Integers, size: int) -> Homogeneity:
    """`homogeneity` of the hours from 0, 6, 12 and 18 o'clock on."""
    return homogeneity(path, hour_of_day[:-1] * QUARTERS // DAY, size)


def fit_site(site: Site, wind_levels: int, load_levels: int) -> tuple[Fit, Fit]:
    """Wind and load of a microgrid. Raises AverseError as `fit` does."""
    return (
        fit(f"wind of {site.name}", site.wind, wind_levels),
        fit(f"load of {site.name}", site.load, load_levels),
    )


def site_model(site: Site, wind: Levels, load: Levels, battery_levels: int) -> LocalModel:
    """A microgrid's exact model from fitted chains and its battery.

    Raises AverseError where the battery cannot move by a level in an hour, and for too many curtailment actions.
    """
    if battery_levels < 2 or battery_levels < (needed := battery_levels_needed(site)):
        needed = max(2, battery_levels_needed(site))
        raise AverseError(
            f"the battery of {site.name} ({site.battery_mwh:g} MWh, {site.battery_mw:g} MW) needs at least {needed} "
            f"battery_levels to move by a level in an hour, not {battery_levels}"
        )
    if wind.power.max() >= site.curtailment_step_mw * MOST_CURTAILMENTS:
        raise AverseError(
            f"curtailment_step_mw of {site.name} must be above {wind.power.max() / MOST_CURTAILMENTS:.3g}, as its wind "
            f"reaches {wind.power.max():.3g} MW and {MOST_CURTAILMENTS} curtailment actions are the most, not "
            f"{site.curtailment_step_mw:g}"
        )
    spacing = site.battery_mwh / (battery_levels - 1)
    most = min(int(site.battery_mw / spacing + 1e-9), battery_levels - 1)
    return microgrid(
        wind,
        load,
        spacing * np.arange(battery_levels, dtype=np.float64),
        spacing * np.arange(-most, most + 1, dtype=np.float64),
        spacing=spacing,
        efficiency=site.efficiency,
        curtailment_step=site.curtailment_step_mw,
    )


def fitted_system(recording: Recording, sizes: tuple[int, int, int], price_levels: int) -> System:
    """The microgrids of a folder of measurements, wind, load and price each a chain of its own.

    Args:
      sizes: levels of wind, load and battery, at most.
      price_levels: at most.

    Raises AverseError as `fit` and `site_model` do.
    """
    wind_levels, load_levels, battery_levels = sizes
    models = []
    for site in recording.sites:
        wind, load = fit_site(site, wind_levels, load_levels)
        models.append(site_model(site, wind.levels, load.levels, battery_levels))
    price = None if recording.prices is None else fit("price", recording.prices, price_levels).levels
    return System(tuple(site.name for site in recording.sites), tuple(models), price)
