"""Run the benchmarks by name, or all of them."""

import sys

from benchmarks.coverage import coverage
from benchmarks.games import games
from benchmarks.gap_acceptance import gap_acceptance
from benchmarks.host_step import host_step
from benchmarks.markov_learning import markov_learning
from benchmarks.networks import networks
from benchmarks.others import jaxmarl, stable_baselines
from benchmarks.ray_scale import ray_scale
from benchmarks.ray_sumo import ray_sumo
from benchmarks.ray_trials import ray_trials
from benchmarks.set_points import set_points
from benchmarks.spread import spread
from benchmarks.sumo import sumo
from benchmarks.team_games import team_games
from benchmarks.training_speed import methods, seeds
from benchmarks.twin import twin
from benchmarks.update_cost import learner_cost, update_cost
from benchmarks.value_based import value_based

BENCHMARKS = {
    "methods": methods,
    "seeds": seeds,
    "sumo": sumo,
    "twin": twin,
    "update-cost": update_cost,
    "learner-cost": learner_cost,
    "networks": networks,
    "games": games,
    "markov-learning": markov_learning,
    "value-based": value_based,
    "team-games": team_games,
    "coverage": coverage,
    "gap-acceptance": gap_acceptance,
    "host-step": host_step,
    "set-points": set_points,
    "stable-baselines": stable_baselines,
    "jaxmarl": jaxmarl,
    "spread": spread,
    "ray": ray_trials,
    "ray-sumo": ray_sumo,
    "ray-scale": ray_scale,
}

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(BENCHMARKS)
    for name in chosen:
        if name not in BENCHMARKS:
            sys.exit(f"unknown benchmark {name!r}; allowed: {', '.join(BENCHMARKS)}")
    for name in chosen:
        BENCHMARKS[name]()
