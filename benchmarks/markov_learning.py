"""RQE of Markov games learned from play: the cliff walk by the actor-critic, and regret of optimistic plans."""

import os
import time
from typing import Any

import numpy as np

import averse
from averse.games import MarkovGame, equilibrium_gap, learn_actor_critic, learn_optimistic, score, solve_markov
from averse.report.style import legend_within, line_styles, panels, plain_logarithm, save, thousands

EPISODES = int(os.environ.get("MARKOV_EPISODES", "1000000"))
CLIFF: dict[str, Any] = {"tau": 1.0, "epsilon": 0.02}
PLANNED, SEEDS, STARTS = 10_000, 5, (30, 100, 300, 1_000, 3_000, 10_000)
KINDS: dict[str, dict[str, Any]] = {
    "tau 1, epsilon .1": {"tau": 1.0, "epsilon": 0.1},
    "tau 1, epsilon .5": {"tau": 1.0, "epsilon": 0.5},
    "tau .2, epsilon .1": {"tau": 0.2, "epsilon": 0.1},
    "neutral, epsilon .1": {"tau": np.inf, "epsilon": 0.1},
}


def markov_learning() -> None:
    """Prints how near learned play comes; with MARKOV_FIGURE=PATH draws it. MARKOV_EPISODES: of the cliff walk."""
    walked = _cliff_walk()
    planned = _regret()
    if path := os.environ.get("MARKOV_FIGURE"):
        _draw(walked, planned, path)


def _cliff_walk() -> list[dict[str, np.ndarray]]:
    game = averse.make("cliff-walk").model()
    solved = solve_markov(game, **CLIFF)
    uniform = [np.full_like(x, 1 / x.shape[-1]) for x in solved.strategies]
    print(f"cliff walk, tau 1, epsilon .02, KL with log barrier; {EPISODES:,} episodes of 20 steps per seed")
    print("  what            value of both       gap    NashConv at tau 1")

    def line(name, strategies):
        gap, found = equilibrium_gap(game, strategies, **CLIFF), score(game, strategies, CLIFF["tau"])
        print(f"  {name:14} {gap.values[0]:7.3f} {gap.values[1]:7.3f} {gap.gaps.sum():9.4f} {found.nash_conv:9.3f}")

    line("even play", uniform)
    histories = []
    for seed in range(3):
        began = time.perf_counter()
        learned = learn_actor_critic(
            game, **CLIFF, episodes=EPISODES, critic_rate=0.003, actor_rate=0.02, initial=-0.5, snapshots=20, seed=seed
        )
        microseconds = (time.perf_counter() - began) / EPISODES / game.horizon * 1e6
        line(f"seed {seed}", learned.strategies)
        print(f"    {microseconds:.0f} us per step of play, compilation and scores included")
        histories.append(learned.history)
    line("solution", solved.strategies)
    return histories


def random_game(seed: int = 0) -> MarkovGame:
    """Four states, two actions each, four steps, rewards in [0, 1)."""
    generator = np.random.default_rng(seed)
    chance = generator.dirichlet(np.ones(4), (4, 2, 2))
    return MarkovGame.from_tables(generator.random((2, 4, 2, 2)), chance, horizon=4)


def _regret() -> dict[str, list[dict[str, np.ndarray]]]:
    game = random_game()
    even = [np.full((4, 4, 2), 0.5)] * 2
    print(
        f"optimistic plans, a random game of four states and steps, {SEEDS} seeds: regret of both after so many "
        "episodes"
    )
    print("  " + " " * 20 + "".join(f"{episodes:>9,}" for episodes in STARTS) + "   exponent   even play, each episode")
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    for name, ways in KINDS.items():
        found[name] = [learn_optimistic(game, **ways, episodes=PLANNED, seed=seed).history for seed in range(SEEDS)]
        totals = np.array([np.interp(STARTS, h["episodes"], h["regret"].sum(-1)) for h in found[name]])
        exponent = np.polyfit(np.log(STARTS[2:]), np.log(totals[:, 2:].mean(0)), 1)[0]
        each = equilibrium_gap(game, even, **ways).gaps.sum()
        print(f"  {name:20}" + "".join(f"{x:9.3f}" for x in totals.mean(0)) + f"{exponent:11.2f} {each:12.3f}")
    return found


def _draw(walked: list[dict[str, np.ndarray]], planned: dict[str, list[dict[str, np.ndarray]]], path: str) -> None:
    figure, ((left, right),) = panels(1, 2, (8.4, 3.5))
    for name, style in line_styles(planned).items():
        for number, history in enumerate(planned[name]):
            label = name if number == 0 else None
            left.plot(history["episodes"][1:], history["regret"][1:].sum(-1), label=label, linewidth=0.9, **style)
    for name, style in line_styles(f"seed {seed}" for seed in range(len(walked))).items():
        history = walked[int(name.split()[1])]
        right.plot(history["episodes"], history["gap"].sum(-1), label=name, **style)
    left.set(title="optimistic plans: regret of both", ylabel="reward", xscale="log")
    right.set(title="actor-critic, cliff walk: gap of both", ylabel="reward per episode", yscale="log")
    for axis in (left, right):
        axis.set(xlabel="episodes")
    plain_logarithm(left.xaxis, thousands, (1,))
    right.xaxis.set_major_formatter(thousands)
    legend_within(left, "upper left")
    legend_within(right, "upper right")
    save(figure, path)


if __name__ == "__main__":
    markov_learning()
