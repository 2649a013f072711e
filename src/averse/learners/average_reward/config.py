"""Settings of the learners of the long-run mean-variance objective (`mv-matrpo`, `matrpo`, `mv-ippo`)."""

from typing import Literal

from averse.environments.protocol import Description, is_average_reward
from averse.errors import AverseError
from averse.learners.parts.entropy import EpsilonUnits
from averse.settings import Count, Fraction, NonNegative, Positive, Share, settings


@settings
class AverageRewardConfig:
    """What the learners of J = eta - beta zeta have in common: mean less beta times variance of the reward per step."""

    beta: NonNegative = 1.0
    """Price of the variance of the reward per step, in units of 1/reward; 0 is the mean alone."""
    lam: Fraction = 0.5
    """Lambda of the advantages, in [0, 1]: 0 trusts the critic alone, 1 the observed rewards. There is no discount."""
    smoothing: Share = 0.1
    """Weight of the newest batch in the running mean and variance of the reward, in (0, 1]."""
    value_constraint: Fraction = 0.3
    """How strongly the critic's mean is drawn to zero, in [0, 1], as values are defined up to a constant only."""

    hidden: tuple[Count, ...] = (64, 64)
    """Units of the hidden layers of every actor (one network each) and of the critic."""
    learning_rate: Positive = 1e-3
    """Adam's step size."""
    epochs: Count = 4
    """Passes over the batch per update."""
    minibatches: Count = 4
    """Minibatches per pass."""
    max_gradient_norm: Positive = 0.5
    """Adam's gradients are clipped to this global norm."""

    num_envs: Count = 256
    """Environments stepped side by side."""
    rollout_steps: Count = 32
    """Steps of each environment per update."""

    def __post_init__(self) -> None:
        if self.num_envs * self.rollout_steps % self.minibatches:
            raise AverseError(
                f"minibatches {self.minibatches} must divide the steps of a batch, num_envs x rollout_steps"
            )


@settings
class MATRPOConfig(AverageRewardConfig):
    """Settings of multi-agent trust-region policy optimisation; Adam trains the critic only."""

    order: Literal["random", "fixed"] = "random"
    """In which order the agents take their turns: anew for every update, or agent 0 first."""
    max_kl: Positive = 0.01
    """Radius of each agent's trust region: mean KL divergence of its old policy from the new one, in nats."""
    damping: NonNegative = 0.1
    """Added to the Fisher matrix's diagonal."""
    cg_iterations: Count = 10
    """Iterations of the conjugate gradient method."""
    backtrack: Share = 0.8
    """Factor by which a step is shortened until it is accepted."""
    backtracks: Count = 10
    """How many lengths are tried before the old policy is kept."""
    accept: Fraction = 0.5
    """A step is accepted if it gains at least this fraction of what its gradient promises."""
    fisher_stride: Count = 4
    """The Fisher matrix is estimated from every so-manieth sample; the KL bound is checked on all of them."""


@settings
class MVIPPOConfig(AverageRewardConfig):
    """Settings of independent PPO on the mean-variance objective; Adam trains actors and critics."""

    clip: Positive = 0.2
    """Bound on the change of the probability ratio."""
    epsilon: NonNegative = 0.0
    """Entropy weight, fixed throughout training, in the units that `epsilon_units` names."""
    epsilon_units: EpsilonUnits = "advantage"
    """What epsilon is measured in. advantage: standard deviations of an agent's advantages, which are normalised.
    reward: reward units per step."""


def validate(environment: Description) -> None:
    """Raise AverseError where an environment has ends."""
    if not is_average_reward(environment):
        raise AverseError(
            f"{environment.name} has episodes; learners of the long-run mean and variance need an environment that "
            "never ends (average_reward = True), such as microgrids"
        )
