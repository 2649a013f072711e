"""Studies of measured microgrids (`--data`) and trained policies (`--run`): how the chains fit, a week's schedule.

As those of `studies`, they make JSON-ready data, a figure and a few words of it. Axes: T hours, K levels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from averse.environments.microgrids import fitting
from averse.environments.microgrids.environment import Microgrids
from averse.environments.microgrids.own_data import Recording, read_pinned
from averse.errors import AverseError
from averse.evaluation.known_models import MOST_STATES
from averse.experiments.microgrids.studies import Data, Study, Tick, optimum_of, week_words
from averse.experiments.microgrids.week import by_policy, by_tables, one_week, schedule
from averse.planning import best_joint_policy, mv_mapi
from averse.report import microgrids as figures
from averse.tables import Table
from averse.training.run import Run, load

GAP = 1e-4  # of the certified optimum, relative to the largest reward of an hour


@dataclass(frozen=True)
class OwnScale:
    """What these studies are about.

    Attributes:
      environment: the parameters of the world, its data pinned.
      beta: price of variance of the exact optimum; None where a trained policy acts.
      run: run directory of the trained policy.
      trial: its number.
      updates: how far it was trained.
    """

    environment: dict[str, Any]
    beta: float | None = None
    run: str | None = None
    trial: int | None = None
    updates: int | None = None

    def world(self) -> Microgrids:
        """The environment itself."""
        return Microgrids(**self.environment)


def scale_of_run(path: Path, index: int | None, chosen: dict[str, float]) -> OwnScale:
    """What a week of a run's policy is about.

    Raises AverseError if there is no such run or trial, and if it was not trained in microgrids.
    """
    run = load(path)
    world = run.environment
    if not isinstance(world, Microgrids):
        raise AverseError(f"{path} was trained in {run.config.environment}, not in microgrids: it has no schedule")
    trial = run.trial(index, **chosen)
    return OwnScale(world.parameters(), None, str(path.resolve()), trial, run.updates[trial])


def check_solvable(world: Microgrids) -> None:
    """Raises AverseError if the exact game of a world is too large for its optimum to be computed here."""
    states = world.num_states
    if states > MOST_STATES:
        raise AverseError(
            f"a week of the exact optimum needs at most {MOST_STATES:,} joint states, and there are {states:,}; "
            "choose fewer levels (--wind-levels, --load-levels, --battery-levels, --price-levels), or train a policy "
            "and give it with --run"
        )
    world.model()  # says so where its tables would not fit in memory


def fit_study(scale: OwnScale, tick: Tick) -> Data:
    """Levels, transitions, held-out likelihood and stationarity of every series of a folder."""
    world = scale.world()
    assert world.data is not None
    recording = read_pinned(world.data)
    series = []
    for name, unit, values, count in _series(world, recording):
        found = fitting.fit(name, values, count)
        size = len(found.levels.power)
        held = fitting.held_out(values, count)
        series.append(
            {
                "name": name,
                "unit": unit,
                "levels": found.levels.power.tolist(),
                "boundaries": found.boundaries.tolist(),
                "counts": found.counts.tolist(),
                "transition": found.levels.transition.tolist(),
                "shares": (np.bincount(found.path, minlength=size) / len(values)).tolist(),
                "steady_state": found.levels.steady_state.tolist(),
                "lost_variance": float(1 - np.var(found.levels.power[found.path]) / max(np.var(values), 1e-300)),
                "held_out": {**held._asdict(), "difference": held.difference.to_dict()},
                "between_halves": fitting.between_halves(found.path, size)._asdict(),
                "between_quarters_of_the_day": fitting.between_quarters_of_the_day(
                    found.path, recording.hour_of_day, size
                )._asdict(),
                "beginning": values[: figures.SHOWN_HOURS].tolist(),
            }
        )
        tick()
    return {
        "folder": str(recording.folder),
        "start": recording.start.isoformat(),
        "hours": recording.hours,
        "series": series,
        "no_management": {"hours": _measured(recording), "chains": _modelled(world)},
    }


def _series(world: Microgrids, recording: Recording) -> Iterator[tuple[str, str, np.ndarray, int]]:
    """Name, unit, values [T] and number of levels of each series."""
    for site in recording.sites:
        yield f"wind of {site.name}", "MW", site.wind, world.wind_levels
        yield f"load of {site.name}", "MW", site.load, world.load_levels
    if recording.prices is not None:
        yield "price", "per MWh", recording.prices, world.price_levels


def _measured(recording: Recording) -> list[float]:
    """Mean and variance of the hourly reward without management, as it was in the hours of the recording."""
    net = np.sum([site.wind - site.load for site in recording.sites], 0)
    reward = net if recording.prices is None else net * recording.prices
    return [float(reward.mean()), float(reward.var())]


def _modelled(world: Microgrids) -> list[float]:
    """The same of the chains, which are independent of one another."""
    chains = [(sign, chain) for m in world.local_models() for sign, chain in ((1, m.wind), (-1, m.load))]
    means = [sign * float(chain.steady_state @ chain.power) for sign, chain in chains]
    mean = sum(means)
    variance = sum(float(c.steady_state @ np.square(c.power)) - m**2 for (_, c), m in zip(chains, means))
    price = world.system().price
    if price is not None:
        first, second = (float(price.steady_state @ price.power**k) for k in (1, 2))
        mean, variance = first * mean, second * (variance + mean**2) - (first * mean) ** 2
    return [mean, variance]


def fit_words(data: Data) -> str:
    """The fit of each series, its transitions, and what the chains make of all of them together."""
    rows = []
    for found in data["series"]:
        held = found["held_out"]["difference"]
        rows.append(
            [
                found["name"],
                str(len(found["levels"])),
                f"{100 * found['lost_variance']:.1f} %",
                f"{held['value']:.3f} [{held['low']:.3f}, {held['high']:.3f}]",
                f"{np.max(np.abs(np.subtract(found['shares'], found['steady_state']))):.4f}",
                _p_value(found["between_halves"]),
                _p_value(found["between_quarters_of_the_day"]),
            ]
        )
    headings = (
        "series", "levels", "variance lost", "held-out gain, nats/h", "steady state off by", "p, halves",
        "p, quarters of the day",
    )  # fmt: skip
    summary = Table(
        headings,
        rows,
        title=f"{data['folder']}: {data['hours']:,} hours from {data['start']} on",
        caption="held-out gain: log-likelihood of the last fifth of the hours under the chain of the others, above "
        "that of independent draws. p: chance of transitions that differ so much between the halves of the series, or "
        "between the quarters of the day, were they those of one chain; below .01 the chain leaves a trend or a daily "
        "rhythm out.",
    )
    tables = [summary, *map(_transitions, data["series"])]
    (mean, variance), (chain_mean, chain_variance) = data["no_management"].values()
    together = (
        f"without management: mean {mean:.4g}, variance {variance:.4g} per hour as measured; mean {chain_mean:.4g}, "
        f"variance {chain_variance:.4g} of the chains, which are independent of one another"
    )
    return "\n\n".join([*(table.text() for table in tables), together])


def _transitions(found: Data) -> Table:
    levels = [f"{level:.4g}" for level in found["levels"]]
    rows = [[level, *(f"{p:.3f}" for p in row)] for level, row in zip(levels, found["transition"])]
    return Table((f"from, {found['unit']}", *levels), rows, title=f"{found['name']}: transitions per hour")


def _p_value(test: Data) -> str:
    return "-" if not test["freedom"] else "< .001" if test["p_value"] < 0.001 else f"{test['p_value']:.3f}"


def own_week(scale: OwnScale, tick: Tick) -> Data:
    """A week under the exact optimum at a price of variance, or under a trained policy, beside no management."""
    world = scale.world()
    resting = world.idle
    policies: dict[str, Any] = {"no management": lambda *_: resting}
    found: Data = {"beta": scale.beta, "run": scale.run, "trial": scale.trial}
    if scale.run is None:
        assert scale.beta is not None
        game = world.model()
        best = best_joint_policy(
            game, scale.beta, mv_mapi(game, scale.beta).policy, gap=max(GAP * max(map(abs, world.reward_bounds)), 2e-8)
        )
        policies["optimum"] = by_tables(world.system(), best.policy)
        found |= {"optimum": optimum_of(best), "title": f"One week: the optimum at beta = {scale.beta:g}"}
    else:
        run: Run = load(scale.run)
        method = run.config.method
        policies[method] = by_policy(world, run.policy(scale.trial, greedy=True))
        found["title"] = f"One week: {method}, trial {scale.trial} of {Path(scale.run).name}"
    found["title"] += " and no management"
    week = one_week(world, policies)
    tick()
    return {**found, **week}


def _own_week_words(data: Data) -> str:
    found = data.get("optimum")
    exact = "" if found is None else f"; in the long run J {found['objective']:.6g} (gap {found['gap']:.0e})"
    return week_words(data) + exact


def _fit_pieces(scale: OwnScale) -> int:
    system = scale.world().system()
    return 2 * len(system.models) + (system.price is not None)


OWN_STUDIES: dict[str, Study] = {
    "fit": Study(fit_study, _fit_pieces, figures.draw_fit, fit_words),
    "week": Study(own_week, lambda scale: 1, figures.draw_week, _own_week_words, schedule),
}
