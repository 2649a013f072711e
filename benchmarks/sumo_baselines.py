"""Untrained drivers at the SUMO intersection: `python benchmarks/sumo_baselines.py [--episodes 1000] [--agents 4]`.

Prints, per baseline: collision rate of the episodes, crashed agents per agent, arrivals, crossing time, return.
"""

import argparse

import numpy as np

from averse.environments.sumo.baselines import NAMES, Policy, baseline
from averse.environments.sumo.environment import SumoIntersection


def play(environment: SumoIntersection, policy: Policy, episodes: int, num_envs: int = 8) -> dict[str, np.ndarray]:
    """Play `episodes` seeded episodes (rounded up to a multiple of `num_envs`); each figure [episodes]."""
    per_env = -(-episodes // num_envs)
    figures: dict[str, list[float]] = {name: [] for name in (*environment.metrics, "return", "length")}
    with environment.vector(num_envs) as vector:
        time_step = vector.reset(np.arange(num_envs * per_env, dtype=np.uint32).reshape(num_envs, per_env))
        returns, length = np.zeros(num_envs), np.zeros(num_envs)
        while len(figures["return"]) < num_envs * per_env:
            time_step = vector.step(policy(time_step))
            returns += time_step.rewards.mean(-1)
            length += 1
            for b in np.flatnonzero(time_step.done):
                for name, values in time_step.info.items():
                    figures[name].append(float(values[b]))
                figures["return"].append(returns[b])
                figures["length"].append(length[b])
                returns[b] = length[b] = 0
    return {name: np.array(values) for name, values in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--agents", type=int, default=4)
    arguments = parser.parse_args()
    task = SumoIntersection(num_agents=arguments.agents)
    print(f"{arguments.episodes} episodes, {arguments.agents} agents")
    print(f"{'':16}collision  crashed  arrived  crossing s  near miss m  hard braking s  return (mean over agents)")
    for name in NAMES:
        f = play(*baseline(name, task), arguments.episodes)
        print(
            f"{name:16}{f['collision'].mean():9.3f}{f['collisions'].mean() / task.num_agents:9.3f}"
            f"{f['arrival'].mean():9.3f}{np.nanmean(f['crossing_time']):12.2f}{f['near_miss'].mean():13.2f}"
            f"{f['hard_braking'].mean():16.2f}{f['return'].mean():12.3f} sd {f['return'].std():.2f}"
        )


if __name__ == "__main__":
    main()
