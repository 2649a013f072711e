"""Exact studies, mostly of scenario 1 (1,296 joint states, two microgrids): what each one finds, as JSON-ready data.

A study is a function of a `Scale` and a `tick`, which it calls once per piece of work; `pieces` says how many there
are. Powers are in MW, variances in MW^2, the price of variance beta in 1/MW, J in MW.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from averse.environments.microgrids.environment import Microgrids
from averse.experiments.microgrids.large_optimum import certified_optimum
from averse.experiments.microgrids.week import Decide, by_tables, one_week, schedule
from averse.planning import (
    CertifiedOptimum,
    FactoredTeamGame,
    MeanVariancePlan,
    best_joint_policy,
    mean_variance,
    mv_mapi,
    random_policies,
)
from averse.planning.team_games.game import Tables
from averse.report import microgrids as figures

BETAS = (0.0, 0.3, 1.0)
POLICY_SEED, START_SEED = 0, 1
Data = dict[str, Any]
Tick = Callable[[], None]


@dataclass(frozen=True)
class Scale:
    """How much work a study does."""

    policies: int  # random policies of the histogram
    starts: int  # random policies that MV-MAPI starts from, for the end points
    curves: int  # random policies that MV-MAPI starts from, for the curves
    betas: tuple[float, ...]  # of the frontier
    levels: tuple[int, int, int]  # of wind, load and battery in scenario 2; 6 are all
    gap: float  # of the certified optimum of scenario 2, MW


FULL = Scale(10_000, 200, 4, (0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.5, 2, 3, 5, 10),
             (6, 6, 6), 1e-4)  # fmt: skip
QUICK = Scale(300, 10, 2, (0, 0.1, 0.3, 0.5, 1, 2, 5), (2, 3, 4), 1e-4)


@dataclass(frozen=True)
class Study:
    """A named piece of evidence.

    Attributes:
      compute: see above.
      pieces: how many times `compute` ticks.
      draw: its figure, from its data.
      words: what it found, in a line or a few, from its data.
      table: a CSV of it for other programs, where it has one.
      format: of its data; raised when those of an older averse cannot be drawn.
    """

    compute: Callable[[Any, Tick], Data]
    pieces: Callable[[Any], int]
    draw: Callable[[Data, Path], None]
    words: Callable[[Data], str]
    table: Callable[[Data], str] | None = None
    format: int = 1


def microgrids_game() -> tuple[Microgrids, FactoredTeamGame]:
    """Scenario 1 and its exact model."""
    environment = Microgrids(scenario=1)
    game = environment.model()
    assert isinstance(game, FactoredTeamGame)
    return environment, game


def no_management(environment: Microgrids, game: FactoredTeamGame) -> tuple[float, float]:
    """eta and zeta where every battery rests: the same wherever the batteries happen to stand."""
    policy = idle_policy(environment, game)
    start = np.full(game.num_states, 1 / game.num_states)
    return mean_variance(game, policy, 0.0, initial=start)[:2]


def idle_policy(environment: Microgrids, game: FactoredTeamGame) -> Tables:
    """Batteries rest, no wind is thrown away."""
    return [np.tile(np.eye(n)[action], (game.num_states, 1)) for n, action in zip(game.num_actions, environment.idle)]


def optimality(scale: Scale, tick: Tick) -> Data:
    """Random deterministic policies, MV-MAPI's end points from many starts, and the certified global optimum."""
    environment, game = microgrids_game()
    values = []
    for policy in random_policies(game, scale.policies, POLICY_SEED):
        values.append(mean_variance(game, policy, 0.0)[:2])
        tick()
    prices = {}
    for beta in BETAS[1:]:
        ends = []
        for policy, order in zip(random_policies(game, scale.starts, START_SEED), itertools.cycle(_orders(game))):
            ends.append(mv_mapi(game, beta, order, policy).objective)
            tick()
        plan = mv_mapi(game, beta)
        prices[f"{beta:g}"] = {
            "ends": ends,
            "from_uniform": plan.objective,
            "optimum": optimum_of(best_joint_policy(game, beta, plan.policy)),
        }
        tick()
    return {"random": values, "no_management": no_management(environment, game), "prices": prices}


def convergence(scale: Scale, tick: Tick) -> Data:
    """J before each agent's step of MV-MAPI from the uniform policy, at each price of variance."""
    environment, game = microgrids_game()
    prices = {}
    for beta in BETAS:
        plan = mv_mapi(game, beta)
        optimum = optimum_of(best_joint_policy(game, beta, plan.policy))
        prices[f"{beta:g}"] = {**_run(plan), "optimum": optimum}
        tick()
    return {"no_management": no_management(environment, game), "prices": prices}


def starts(scale: Scale, tick: Tick) -> Data:
    """MV-MAPI at beta = 1 from several initial policies in both orders of the agents."""
    _, game = microgrids_game()
    beta = BETAS[-1]
    policies: Iterator[Tables] = itertools.chain(
        [game.uniform_policy()], random_policies(game, scale.curves, START_SEED)
    )
    runs = []
    for number, policy in enumerate(policies):
        for order in _orders(game):
            runs.append({"start": number, "order": order, **_run(mv_mapi(game, beta, order, policy))})
            tick()
    best = max(runs, key=lambda run: run["history"][-1])
    optimum = optimum_of(best_joint_policy(game, beta))
    tick()
    return {"beta": beta, "runs": runs, "best": best["history"][-1], "optimum": optimum}


def frontier(scale: Scale, tick: Tick) -> Data:
    """Mean and variance of what MV-MAPI finds, and of the certified optimum, over the price of variance."""
    environment, game = microgrids_game()
    points = []
    for beta in scale.betas:
        plan = mv_mapi(game, beta)
        points.append({"beta": beta, **_run(plan), "optimum": optimum_of(best_joint_policy(game, beta, plan.policy))})
        tick()
    return {"no_management": no_management(environment, game), "points": points}


def week(scale: Scale, tick: Tick) -> Data:
    """One week of power sold with the certified optimum at beta = 1, and with no management in the same weather."""
    environment, game = microgrids_game()
    beta = BETAS[-1]
    managed = best_joint_policy(game, beta)
    resting = environment.idle
    policies: dict[str, Decide] = {
        "no management": lambda *_: resting,
        "managed": by_tables(environment.system(), managed.policy),
    }
    data = one_week(environment, policies)
    tick()
    return {
        "title": f"One week, scenario 1: the optimum at beta = {beta:g} and no management",
        "beta": beta,
        "optimum": optimum_of(managed),
        "no_management": no_management(environment, game),
        **data,
    }


def large(scale: Scale, tick: Tick) -> Data:
    """Scenario 2: the certified optimum of the team beside each microgrid's own optimum and no management."""
    wind, load, battery = scale.levels
    levels: dict[str, Any] = {"wind_levels": wind, "load_levels": load, "battery_levels": battery}
    environment = Microgrids(scenario=2, **levels)
    alone = Microgrids(scenario=2, microgrids=1, **levels)
    game, count = alone.model(), environment.num_agents
    assert isinstance(game, FactoredTeamGame)
    eta, zeta = no_management(alone, game)
    prices = {}
    for beta in BETAS[1:]:
        found = certified_optimum(environment.local_models(), beta, gap=scale.gap)
        tick()
        prices[f"{beta:g}"] = {
            "no_management": count * (eta - beta * zeta),
            # Microgrids that see only themselves are independent: means and variances add up.
            "each_alone": count * best_joint_policy(game, beta).objective,
            "optimum": {"eta": found.eta, "zeta": found.zeta, "objective": found.objective, "gap": found.gap},
        }
    states = math.prod(model.num_states for model in environment.local_models())
    return {"levels": scale.levels, "states": states, "prices": prices}


def _orders(game: FactoredTeamGame) -> list[list[int]]:
    turns = list(range(game.num_agents))
    return [turns, turns[::-1]]


def _run(plan: MeanVariancePlan) -> Data:
    return {"eta": plan.eta, "zeta": plan.zeta, "history": plan.history.tolist(), "rounds": plan.rounds}


def optimum_of(found: CertifiedOptimum) -> Data:
    """What is stored of an optimum."""
    return {"eta": found.eta, "zeta": found.zeta, "objective": found.objective, "gap": found.gap}


def _optimality_words(data: Data) -> str:
    lines = []
    for price, found in data["prices"].items():
        random = np.array(data["random"]) @ [1, -float(price)]
        lines.append(
            f"beta {price}: {len(random):,} random policies up to {random.max():.6f}, MV-MAPI from uniform "
            f"{found['from_uniform']:.6f}, from {len(found['ends'])} random policies {min(found['ends']):.6f} to "
            f"{max(found['ends']):.6f}, certified optimum {_certified(found)}"
        )
    return "\n  ".join(lines)


def _convergence_words(data: Data) -> str:
    return "\n  ".join(
        f"beta {price}: MV-MAPI eta {found['eta']:.6f}, zeta {found['zeta']:.6f}, J {found['history'][-1]:.6f} "
        f"({found['rounds']} rounds), certified optimum {_certified(found)}"
        for price, found in data["prices"].items()
    )


def _starts_words(data: Data) -> str:
    worst = min(run["history"][-1] for run in data["runs"])
    return (
        f"{len(data['runs'])} runs end between {worst:.6f} and {data['best']:.6f}; "
        f"certified optimum {data['optimum']['objective']:.6f}"
    )


def _frontier_words(data: Data) -> str:
    first, last = (data["points"][k]["optimum"] for k in (0, -1))
    return (
        f"{len(data['points'])} prices of variance; variance from {first['zeta']:.4f} down to {last['zeta']:.4f}, mean "
        f"from {first['eta']:.4f} to {last['eta']:.4f}"
    )


def week_words(data: Data) -> str:
    """Mean and variance of the power sold in the week, and with prices of what it earned, for each policy."""
    lines = []
    for policy, run in data["policies"].items():
        line = f"{policy}: mean {np.mean(run['power']):.3f}, variance {np.var(run['power']):.3f}"
        if data["price"] is not None:
            earned = np.multiply(run["power"], data["price"])
            line += f", earned per hour: mean {earned.mean():.3f}, variance {earned.var():,.1f}"
        lines.append(line)
    return ", ".join(lines) if data["price"] is None else "\n  ".join(lines)


def _large_words(data: Data) -> str:
    return "\n  ".join(
        f"beta {price}: no management {found['no_management']:.6f}, each alone {found['each_alone']:.6f}, "
        f"certified optimum {_certified(found)}"
        for price, found in data["prices"].items()
    )


def _certified(found: Data) -> str:
    return f"{found['optimum']['objective']:.6f} (gap {found['optimum']['gap']:.0e})"


STUDIES: dict[str, Study] = {
    "optimality": Study(
        optimality,
        lambda scale: scale.policies + (scale.starts + 1) * len(BETAS[1:]),
        figures.draw_optimality,
        _optimality_words,
    ),
    "convergence": Study(convergence, lambda scale: len(BETAS), figures.draw_convergence, _convergence_words),
    "starts": Study(starts, lambda scale: 2 * (scale.curves + 1) + 1, figures.draw_starts, _starts_words),
    "frontier": Study(frontier, lambda scale: len(scale.betas), figures.draw_frontier, _frontier_words),
    "week": Study(week, lambda scale: 1, figures.draw_week, week_words, schedule, 2),
    "optimum-2": Study(large, lambda scale: len(BETAS[1:]), figures.draw_large, _large_words),
}
