"""Run by an interpreter that has Stable-Baselines3: trains its PPO on CartPole-v1. Imports nothing of averse.

Arguments: environments, steps of each per update, and "subproc" for worker processes or "dummy" for none. Each line of
the standard input is a number of steps to train; the answer is a line with the seconds that it took.
"""

import sys
import time

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv


def main(num_envs: int, rollout_steps: int, kind: str) -> None:
    """Train for as long as lines come."""
    worlds = make_vec_env("CartPole-v1", num_envs, vec_env_cls={"subproc": SubprocVecEnv, "dummy": DummyVecEnv}[kind])
    model = PPO(
        "MlpPolicy",  # two layers of 64 units, tanh, for the actor and for the critic
        worlds,
        learning_rate=1e-3,
        n_steps=rollout_steps,
        batch_size=num_envs * rollout_steps // 4,
        n_epochs=4,
        ent_coef=0.01,
        device="cpu",
    )
    for line in sys.stdin:
        began = time.perf_counter()
        model.learn(int(line), reset_num_timesteps=False)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
