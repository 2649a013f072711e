"""Beside other libraries on the same worlds, with the same sizes: Stable-Baselines3's PPO, JaxMARL's MAPPO.

Neither is a dependency. Where one is not to be had, its benchmark says in a line what to install, and does nothing.
"""

import contextlib
import importlib.util
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import averse
from averse import AverseError
from averse.training import configure
from averse.training.compiled import CompiledGroup
from averse.training.host import HostGroup
from benchmarks.spread import over_seeds
from benchmarks.timing import paired, ratio

UPDATES = 20
SIZES = {"num_envs": 16, "rollout_steps": 64}  # those of a host environment
CHILD = Path(__file__).with_name("stable_baselines_child.py")
SPREAD = "jaxmarl:MPE_simple_spread_v3"
BASELINE = "baselines/MAPPO/mappo_rnn_mpe.py"
LAST = 10  # updates at the end of which returns are averaged


def stable_baselines() -> None:
    """ppo on CartPole-v1 beside Stable-Baselines3's, in turns; 16 x 64 steps per update, 4 passes, 4 minibatches."""
    python = os.environ.get("STABLE_BASELINES_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import stable_baselines3"], capture_output=True, check=False).returncode:
        print(
            "stable-baselines: skipped; python -m venv sb3, sb3/bin/pip install stable-baselines3 torch, and say "
            "STABLE_BASELINES_PYTHON=sb3/bin/python"
        )
        return
    with contextlib.ExitStack() as stack:
        candidates: dict[str, Callable[[], Any]] = {
            "averse, gymnasium:CartPole-v1": stack.enter_context(_hosted("gymnasium:CartPole-v1")),
        }
        try:
            candidates["averse, gymnax:CartPole-v1"] = _compiled("gymnax:CartPole-v1")
        except AverseError as error:
            print(f"without a compiled CartPole: {error}")
        for name, kind in (("one process", "dummy"), ("16 worker processes", "subproc")):
            candidates[f"Stable-Baselines3, {name}"] = stack.enter_context(_theirs(python, kind))
        seconds = paired(candidates, rounds=5)
    steps = UPDATES * SIZES["num_envs"] * SIZES["rollout_steps"]
    print("ppo on CartPole-v1, 16 x 64 steps per update, 4 passes of 4 minibatches, two layers of 64 units:")
    for name, times in seconds.items():
        first = seconds["averse, gymnasium:CartPole-v1"]
        print(f"  {name:38} {steps / statistics.median(times):>9,.0f} steps/s   {ratio(first, times)}")


@contextlib.contextmanager
def _hosted(environment: str) -> Iterator[Callable[[], Any]]:
    config = configure(environment, "ppo", steps=1e7, **SIZES)
    built = config.build_environment()
    learner = config.build_learner(built)
    with built.vector(learner.num_envs) as vector:  # type: ignore[attr-defined]
        group = HostGroup(built, learner, config.trials, vector)  # type: ignore[arg-type]
        group.start()
        yield partial(group.advance, UPDATES)


def _compiled(environment: str, method: str = "ppo", **settings: Any) -> Callable[[], Any]:
    config = configure(environment, method, steps=1e7, **(settings or SIZES))
    built = config.build_environment()
    group = CompiledGroup(built, config.build_learner(built), config.trials)  # type: ignore[arg-type]
    group.start()
    return partial(group.advance, UPDATES)


@contextlib.contextmanager
def _theirs(python: str, kind: str) -> Iterator[Callable[[], Any]]:
    """What trains Stable-Baselines3's PPO for as many steps, in its own interpreter."""
    command = [python, str(CHILD), str(SIZES["num_envs"]), str(SIZES["rollout_steps"]), kind]
    steps = UPDATES * SIZES["num_envs"] * SIZES["rollout_steps"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def learn() -> None:
            child.stdin.write(f"{steps}\n")
            child.stdin.flush()
            if not child.stdout.readline():
                raise RuntimeError(f"{' '.join(command)} ended")

        yield learn
        child.stdin.close()


def jaxmarl() -> None:
    """mappo on simple_spread beside JaxMARL's own script: speed, and the team's return at the end of training.

    Both with JaxMARL's sizes: 128 x 128 steps per update, 4 passes of 4 minibatches, episodes of 26 steps. Their script
    is one program, so that they are not in turns: processor time counts, which other work on the machine moves least.
    """
    script = Path(os.environ.get("JAXMARL_CHECKOUT", "JaxMARL"), BASELINE)
    if not script.is_file() or importlib.util.find_spec("distrax") is None:
        print(
            "jaxmarl: skipped; git clone https://github.com/FLAIROx/JaxMARL, pip install jaxmarl gymnax six seaborn "
            "safetensors distrax tfp-nightly hydra-core omegaconf wandb, and say JAXMARL_CHECKOUT=JaxMARL"
        )
        return
    total, seeds = float(os.environ.get("JAXMARL_STEPS", "1e6")), int(os.environ.get("JAXMARL_SEEDS", "5"))
    print(
        f"MPE_simple_spread_v3, {total:g} steps, 128 x 128 per update, {seeds} seeds; return of the team in 26 steps, "
        "95 % intervals:"
    )
    ours = {"num_envs": 128, "rollout_steps": 128, "learning_rate": 2e-3, "final_learning_rate": 0.0}
    for name, settings in {
        "averse mappo, GRU of 128": {**ours, "recurrent": True, "hidden": (128, 128)},
        "averse mappo, dense 64, 64": ours,
        # JaxMARL's activation, and about as long a view: its episodes end after 26 steps, ours are cut there
        "averse mappo, dense, relu, gamma .95": {**ours, "activation": "relu", "gamma": 0.95},
    }.items():
        _report(name, *_our_training(total, seeds, settings))
    _report("JaxMARL mappo_rnn_mpe.py, GRU of 128", *_their_training(script, total, seeds))


def _report(name: str, speed: float, earned: np.ndarray) -> None:
    print(f"  {name:38} {speed:>9,.0f} steps per processor second   return {over_seeds(earned)}", flush=True)


def _our_training(total: float, seeds: int, settings: dict[str, Any]) -> tuple[float, np.ndarray]:
    """Steps per processor second after compilation, and each seed's return: sum over agents, mean of the last updates.

    All seeds are trained side by side, in one program.
    """
    environment = averse.make(SPREAD, horizon=26)
    config = configure(environment, "mappo", steps=total, seeds=seeds, **settings)
    learner = config.build_learner(environment)
    group = CompiledGroup(environment, learner, config.trials)  # type: ignore[arg-type]
    group.start()
    batch = learner.num_envs * learner.rollout_steps
    times, earned = [], []
    for _ in range(int(total) // batch):
        began = time.process_time()
        _, records = group.advance(1)
        times.append(time.process_time() - began)
        earned.append([float(np.nanmean(episodes.returns)) * environment.num_agents for episodes in records])
    return seeds * batch / statistics.median(times[1:]), np.mean(earned[-LAST:], axis=0)


def _their_training(script: Path, total: float, seeds: int) -> tuple[float, np.ndarray]:
    """The same of JaxMARL's: its script's own configuration, and what it would send to Weights & Biases.

    One seed after another, as its callback does not tell them apart.
    """
    yaml = importlib.import_module("omegaconf").OmegaConf
    config = yaml.to_container(yaml.load(script.parent / "config" / "mappo_homogenous_rnn_mpe.yaml"))
    config["TOTAL_TIMESTEPS"] = total
    specification = importlib.util.spec_from_file_location("mappo_rnn_mpe", script)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    notes: list[tuple[float, float]] = []
    module.wandb.log = lambda row: notes.append((time.process_time(), float(row["returns"])))
    train = jax.jit(module.make_train(config))
    times, earned = [], []
    for seed in range(seeds):
        notes.clear()
        jax.block_until_ready(train(jax.random.PRNGKey(seed)))
        jax.effects_barrier()
        times += [later - sooner for (sooner, _), (later, _) in itertools.pairwise(notes)]
        earned.append(statistics.mean(figure for _, figure in notes[-LAST:]))
    batch = config["NUM_ENVS"] * config["NUM_STEPS"]
    return batch / statistics.median(times), np.array(earned)
