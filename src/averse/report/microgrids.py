"""Figures of the exact studies of microgrids, drawn from their stored data (`averse.experiments.microgrids`)."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from averse.report.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    MARKERS,
    ORANGE,
    PALETTE,
    PAPER,
    PINK,
    legend_within,
    panels,
    save,
)

SHOWN_HOURS = 336  # of each series in the figure of a fit
SHOWN_SERIES = 9  # in that figure
Data = Mapping[str, Any]  # what a study found; each function says which


def draw_optimality(data: Data, path: str | os.PathLike) -> None:
    """Left: J of random policies and, far right of them, the optimum. Right: MV-MAPI's end points close to it."""
    prices, random = data["prices"], np.array(data["random"])
    figure, rows = panels(len(prices), 2, (9.2, 2.9 * len(prices)), "MV-MAPI against random policies, scenario 1")
    for (wide, near), (price, found) in zip(rows, prices.items()):
        beta, best = float(price), found["optimum"]["objective"]
        values = random[:, 0] - beta * random[:, 1]
        idle = data["no_management"][0] - beta * data["no_management"][1]
        wide.hist(values, bins=40, color=BLUE, alpha=0.75, label=f"{len(values):,} random deterministic policies")
        wide.axvline(idle, color=FAINT, linestyle=":", label=f"no management: {idle:.4f}")
        wide.axvline(best, color=ORANGE, label=f"certified optimum: {best:.6f}")
        wide.set(title=f"beta = {price}", xlabel="J, MW", ylabel="policies", ylim=(0, 1.45 * wide.get_ylim()[1]))
        legend_within(wide, "upper left")
        ends, uniform = np.array(found["ends"]), found["from_uniform"]
        near.hist(ends, bins=min(40, max(8, len(ends) // 4)), color=GREEN, alpha=0.75,
                  label=f"MV-MAPI from {len(ends)} random policies")  # fmt: skip
        near.axvline(uniform, color=PINK, linestyle="--", label=f"MV-MAPI from the uniform policy: {uniform:.6f}")
        near.axvline(best, color=ORANGE, label=f"certified optimum: {best:.6f}")
        worst = min(ends.min(), uniform)
        near.set(title=f"beta = {price}, the right end of it", xlabel="J, MW", ylabel="end points")
        near.set(xlim=(worst - 0.05 * (best - worst), best + 0.08 * (best - worst)), ylim=(0, 1.5 * near.get_ylim()[1]))
        near.yaxis.set_major_locator(MaxNLocator(integer=True))
        near.xaxis.set_major_locator(MaxNLocator(5))
        legend_within(near, "upper left")
    save(figure, path)


def draw_convergence(data: Data, path: str | os.PathLike) -> None:
    """J before each agent's step, one panel per price of variance, with the certified optimum."""
    prices = data["prices"]
    figure, (row,) = panels(1, len(prices), (3.9 * len(prices), 3.6), "MV-MAPI from the uniform policy, scenario 1")
    for axes, (price, found) in zip(row, prices.items()):
        history, best = np.array(found["history"]), found["optimum"]["objective"]
        idle = data["no_management"][0] - float(price) * data["no_management"][1]
        _steps(axes, history, [0, 1], BLUE)
        axes.axhline(best, color=ORANGE, label=f"certified optimum: {best:.6f}")
        if abs(idle - best) > 1e-6:
            axes.axhline(idle, color=FAINT, linestyle=":", label=f"no management: {idle:.6f}")
        axes.plot([], [], color=BLUE, label=f"MV-MAPI: {history[-1]:.6f}, {found['rounds']} rounds")
        axes.set(title=f"beta = {price}", xlabel="agents' steps")
        span = max(best, history.max()) - history.min()
        axes.set_ylim(history.min() - 0.06 * span, best + 0.1 * span)
        legend_within(axes, "lower right")
    row[0].set_ylabel("J, MW")
    _turns(row[0])
    legend_within(row[0], "lower right")
    save(figure, path)


def draw_starts(data: Data, path: str | os.PathLike) -> None:
    """Runs of MV-MAPI from different policies; colour is the start, dashes the order."""
    figure, (row,) = panels(1, 2, (9.6, 3.9), f"MV-MAPI at beta = {data['beta']:g} from different starts, scenario 1")
    best = data["optimum"]["objective"]
    for axes, title in zip(row, ("all of it", "the end of it")):
        for run in data["runs"]:
            color, dashes = PALETTE[run["start"] % len(PALETTE)], "-" if run["order"][0] == 0 else "--"
            _steps(axes, np.array(run["history"]), run["order"], color, dashes)
        axes.axhline(best, color=INK, linewidth=1, linestyle=":")
        axes.set(title=title, xlabel="agents' steps")
    row[0].set_ylabel("J, MW")
    worst = min(run["history"][-1] for run in data["runs"])
    row[1].set_ylim(worst - 1.5 * (best - worst), best + 0.3 * (best - worst))
    starts = sorted({run["start"] for run in data["runs"]})
    for start in starts:
        name = "uniform policy" if start == 0 else f"random policy {start}"
        row[1].plot([], [], color=PALETTE[start % len(PALETTE)], label=name)
    row[1].plot([], [], color=FAINT, label="microgrid 1 first")
    row[1].plot([], [], color=FAINT, linestyle="--", label="microgrid 2 first")
    _turns(row[1])
    row[1].plot([], [], color=INK, linewidth=1, linestyle=":", label=f"certified optimum: {best:.6f}")
    figure.legend(*row[1].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    save(figure, path)


def draw_frontier(data: Data, path: str | os.PathLike) -> None:
    """Mean against variance, and how far MV-MAPI stays below the certified optimum."""
    figure, (row,) = panels(1, 2, (9.6, 4.0), "The price of variance, scenario 1")
    points = data["points"]
    betas = np.array([point["beta"] for point in points])
    optimum = np.array([[point["optimum"]["zeta"], point["optimum"]["eta"]] for point in points])
    mapi = np.array([[point["zeta"], point["eta"]] for point in points])
    row[0].plot(*optimum.T, "-o", color=ORANGE, markersize=5, label="certified optimum")
    row[0].plot(*mapi.T, "s", color=BLUE, markersize=6, markerfacecolor="none", label="MV-MAPI from uniform")
    row[0].plot(*data["no_management"][::-1], "x", color=INK, markersize=7, label="no management")
    for k in _spread(optimum):
        row[0].annotate(f"{betas[k]:g}", optimum[k], textcoords="offset points", xytext=(-4, 7), fontsize=8,
                        color=ORANGE, ha="right")  # fmt: skip
    row[0].set(xlabel="variance of the power sold per hour, MW²", ylabel="mean power sold, MW")
    row[0].set_title("numbers: beta, 1/MW", fontsize=10)
    row[0].margins(0.09)
    legend_within(row[0], "lower right")
    best = np.array([point["optimum"]["objective"] for point in points])
    short = best - np.array([point["history"][-1] for point in points])
    row[1].plot(betas, 100 * np.maximum(short, 0) / np.abs(best), "-s", color=BLUE, markersize=5)
    row[1].set_xscale("symlog", linthresh=0.1)
    row[1].set_xlim(0, 1.1 * betas.max())
    row[1].set_xticks([b for b in (0, 0.1, 0.3, 1, 3, 10) if b <= betas.max()], minor=False)
    row[1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    row[1].set(xlabel="beta, 1/MW", ylabel="% of the optimum's |J|", ylim=(0, None))
    row[1].set_title("J of MV-MAPI below the optimum", fontsize=10)
    save(figure, path)


def draw_week(data: Data, path: str | os.PathLike) -> None:
    """Power sold, energy stored, the weather and, where there is one, the price over a week."""
    priced = data["price"] is not None
    figure, rows = panels(
        3 + priced, 1, (10.5, 7.2 + 1.6 * priced), data["title"], heights=(2.2, 1, 1.2, 0.8)[: 3 + priced],
        sharex=True,
    )  # fmt: skip
    power, stored, weather = (row[0] for row in rows[:3])
    hours = np.arange(len(data["wind"]))
    for (name, run), color, width in zip(data["policies"].items(), (FAINT, BLUE), (1.0, 1.6)):
        values = np.array(run["power"])
        label = f"{name}: mean {values.mean():.2f} MW, variance {values.var():.3f} MW²"
        if priced:
            earned = values * data["price"]
            label = f"{name}: earns {earned.mean():.2f} per hour, variance {earned.var():,.0f}"
        power.step(hours, values, where="post", color=color, linewidth=width, label=label)
        stored.step(hours, run["energy"], where="post", color=color, linewidth=width)
    weather.step(hours, data["wind"], where="post", color=GREEN, label="wind")
    weather.step(hours, data["load"], where="post", color=PINK, label="load")
    power.set_ylabel("power sold, MW")
    power.set_ylim(None, power.get_ylim()[1] + 0.28 * np.ptp(power.get_ylim()))
    stored.set_ylabel("in batteries, MWh")
    weather.set(ylabel="MW", xlim=(0, len(hours)))
    weather.set_ylim(0, 1.3 * weather.get_ylim()[1])
    weather.set_xticks(range(0, len(hours) + 1, 24))
    if priced:
        rows[3][0].step(hours, data["price"], where="post", color=ORANGE)
        rows[3][0].set_ylabel("price per MWh")
    rows[-1][0].set_xlabel("hour")
    legend_within(power, "upper left", columns=2)
    legend_within(weather, "upper left", columns=2)
    save(figure, path)


def draw_fit(data: Data, path: str | os.PathLike) -> None:
    """Each series' first weeks and levels, how often it is at each level, and its transitions."""
    series = data["series"][:SHOWN_SERIES]
    more = len(data["series"]) - len(series)
    left_out = f" (without {more} more series)" if more else ""
    title = f"{os.path.basename(data['folder'])}: {data['hours']:,} hours as Markov chains{left_out}"
    figure, rows = panels(len(series), 3, (11.0, 0.5 + 2.3 * len(series)), title)
    for (course, shares, chain), found in zip(rows, series):
        levels, values = np.array(found["levels"]), np.array(found["beginning"])
        course.plot(values, color=FAINT, linewidth=0.9, label="measured")
        path_of = levels[np.searchsorted(found["boundaries"], values, side="right")]
        course.step(np.arange(len(values)), path_of, where="mid", color=BLUE, linewidth=1.0, label="its level")
        course.set(xlabel="hour", ylabel=found["unit"], xlim=(0, len(values)))
        course.set_title(f"{found['name']}, the first {len(values)} hours", fontsize=10)
        course.set_ylim(None, course.get_ylim()[1] + 0.3 * np.ptp(course.get_ylim()))
        legend_within(course, "upper left", columns=2)
        place, names = np.arange(len(levels)), [f"{level:.3g}" for level in levels]
        shares.bar(place - 0.2, found["shares"], 0.4, color=FAINT, label="hours")
        shares.bar(place + 0.2, found["steady_state"], 0.4, color=BLUE, label="steady state")
        shares.set(xlabel=found["unit"], ylabel="share", ylim=(0, 1.35 * max(found["shares"])))
        shares.set_xticks(place, names)
        legend_within(shares, "upper left", columns=2)
        gain = found["held_out"]["difference"]
        shares.set_title(f"held-out gain {gain['value']:.2f} nats/h", fontsize=10)
        _draw_chain(chain, np.array(found["transition"]), names, found["unit"])
    save(figure, path)


def _draw_chain(axes: Axes, transition: np.ndarray, names: Sequence[str], unit: str) -> None:
    """A transition matrix with its numbers."""
    axes.imshow(transition, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel=f"to, {unit}", ylabel=f"from, {unit}")
    axes.set_title("transitions per hour", fontsize=10)
    if len(names) <= 8:
        for (row, column), p in np.ndenumerate(transition):
            color = PAPER if p > 0.6 else INK
            axes.text(column, row, f"{p:.2f}".lstrip("0"), ha="center", va="center", fontsize=7, color=color)


def draw_large(data: Data, path: str | os.PathLike) -> None:
    """J of no management, each microgrid alone, and the team's optimum, one panel per price of variance."""
    figure, (row,) = panels(
        1, 2, (9.2, 2.9), f"Scenario 2, {data['states']:,} joint states: what working together is worth"
    )
    names = {"no_management": "no management", "each_alone": "each alone", "optimum": "certified optimum"}
    for axes, (price, found) in zip(row, data["prices"].items()):
        values = [found["no_management"], found["each_alone"], found["optimum"]["objective"]]
        axes.barh(range(3), np.subtract(values, values[0]), color=(FAINT, GREEN, ORANGE), height=0.6)
        for place, value in enumerate(values):
            axes.text(value - values[0], place, f" {value:.5f}", va="center", fontsize=9, color=INK)
        axes.set_yticks(range(3), names.values())
        axes.set(title=f"beta = {price}", xlabel="J above no management, MW")
        axes.set_xlim(0, 1.3 * (values[-1] - values[0]))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(visible=False, axis="y")
    save(figure, path)


def _steps(axes: Axes, history: np.ndarray, order: Sequence[int], color: str, dashes: str = "-") -> None:
    """J before each step, marked by the agent whose turn it is; the last point is the result."""
    axes.plot(history, color=color, linestyle=dashes, linewidth=1.4, zorder=3)
    for place, agent in enumerate(order):
        turns = np.arange(place, len(history) - 1, len(order))
        axes.plot(turns, history[turns], MARKERS[agent], color=color, markersize=3.5, zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _turns(axes: Axes) -> None:
    """Legend entries that say whose turn a mark is."""
    for agent in range(2):
        axes.plot([], [], MARKERS[agent], color=FAINT, markersize=4, label=f"turn of microgrid {agent + 1}")


def _spread(points: np.ndarray) -> list[int]:
    """Points [K, 2] far enough from one another on the picture to carry a number each."""
    scaled = (points - points.min(0)) / np.maximum(np.ptp(points, 0), 1e-12)
    kept: list[int] = []
    for k, point in enumerate(scaled):
        if all(np.hypot(*(point - scaled[other])) > 0.1 for other in kept):
            kept.append(k)
    return kept
