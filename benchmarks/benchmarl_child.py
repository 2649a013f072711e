"""Run by an interpreter that has BenchMARL: trains its MAPPO on PettingZoo's simple_spread. Imports nothing of averse.

Arguments: seed, environment steps, environments, steps of each per update. The last line of the output is JSON: for
each update the mean return of the episodes that ended in it (over agents).
"""

import csv
import importlib
import json
import sys
import tempfile
import types
from pathlib import Path

# TorchRL looks for these worlds where PettingZoo had them before they became a package of their own.
old = types.ModuleType("pettingzoo.mpe.all_modules")
old.mpe_environments = {"mpe/simple_spread_v3": importlib.import_module("mpe2.simple_spread_v3")}  # type: ignore[attr-defined]
sys.modules |= {"pettingzoo.mpe": types.ModuleType("pettingzoo.mpe"), "pettingzoo.mpe.all_modules": old}

from benchmarl.algorithms import MappoConfig  # noqa: E402
from benchmarl.environments import PettingZooTask  # noqa: E402
from benchmarl.experiment import Experiment, ExperimentConfig  # noqa: E402
from benchmarl.models.mlp import MlpConfig  # noqa: E402
from torch import nn  # noqa: E402


def main(folder: str, seed: int, steps: int, num_envs: int, rollout_steps: int) -> None:
    """Train, with files in a folder, and say how it went."""
    config = ExperimentConfig.get_from_yaml()
    config.save_folder = folder
    config.prefer_continuous_actions = False
    config.max_n_frames = steps
    config.on_policy_n_envs_per_worker = num_envs
    config.on_policy_collected_frames_per_batch = num_envs * rollout_steps
    config.on_policy_n_minibatch_iters = 4
    config.on_policy_minibatch_size = num_envs * rollout_steps // 4
    config.gamma, config.lr = 0.99, 7e-4
    config.evaluation = config.render = config.create_json = False
    config.loggers = ["csv"]
    algorithm = MappoConfig.get_from_yaml()
    algorithm.entropy_coef, algorithm.lmbda = 0.01, 0.95
    task = PettingZooTask.SIMPLE_SPREAD.get_from_yaml()
    task.config["max_cycles"] = 25
    networks = [MlpConfig(num_cells=[64, 64], layer_class=nn.Linear, activation_class=nn.Tanh) for _ in range(2)]
    experiment = Experiment(task, algorithm, networks[0], seed, config, critic_model_config=networks[1])
    experiment.run()
    (figures,) = Path(config.save_folder).rglob("collection_reward_episode_reward_mean.csv")
    with figures.open() as rows:
        returns = [float(value) for _, value in csv.reader(rows)]
    print(json.dumps({"returns": returns}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(temporary, *map(int, sys.argv[1:5]))
