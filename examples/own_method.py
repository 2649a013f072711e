"""A method of your own: PPO that also pays for every nat by which a policy moves away from the one that acted.

    python examples/own_method.py
    cd examples && averse train --env corridor --method own_method:METHOD --kl-penalty 3 --out ../runs/kl
    averse evaluate ../runs/kl

`averse.learners.register("kl-ppo", *METHOD)` would give it a name of its own.
"""

import averse
from averse.learners import MAPPOConfig, Method
from averse.learners.policy_gradient.mappo import MAPPO, mappo
from averse.settings import NonNegative, settings


@settings
class KLConfig(MAPPOConfig):
    """Settings of PPO with a price for moving away."""

    kl_penalty: NonNegative = 1.0
    """Price of a nat of Kullback-Leibler divergence from the policy that acted."""


class KLPPO(MAPPO):
    """MAPPO with another loss; everything else is inherited."""

    def loss(self, epsilon, networks, data):
        loss, metrics = super().loss(epsilon, networks, data)
        return loss + self.config.kl_penalty * metrics["approximate_kl"], metrics


def build(config: KLConfig, environment, total_updates: int) -> averse.learners.Learner:
    return mappo(config, environment, total_updates, KLPPO)


METHOD = Method(KLConfig(centralised=False), build, "PPO that also pays for moving away from the policy that acted.")

if __name__ == "__main__":
    averse.learners.register("kl-ppo", *METHOD)
    for penalty in (0.0, 10.0):
        run = averse.train("corridor", "kl-ppo", steps=5e4, seeds=2, kl_penalty=penalty)
        print(f"penalty {penalty:g}:", averse.evaluate(run, episodes=1000).summaries[""].mean)
