"""Settings of the learners of the long-run mean-variance objective (`mv-matrpo`, `matrpo`, `mv-ippo`)."""

from dataclasses import dataclass
from typing import Literal

from averse.environments.protocol import Description, is_average_reward
from averse.errors import AverseError


@dataclass(frozen=True)
class AverageRewardConfig:
    """What the learners of J = eta - beta zeta have in common: mean less beta times variance of the reward per step."""

    beta: float = 1.0
    """Price of the variance of the reward per step, in units of 1/reward; 0 is the mean alone."""
    lam: float = 0.5
    """Lambda of the advantages, in [0, 1]: 0 trusts the critic alone, 1 the observed rewards. There is no discount."""
    smoothing: float = 0.1
    """Weight of the newest batch in the running mean and variance of the reward, in (0, 1]."""
    value_constraint: float = 0.3
    """How strongly the critic's mean is drawn to zero, in [0, 1], as values are defined up to a constant only."""

    hidden: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of every actor (one network each) and of the critic."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    epochs: int = 4
    """Passes over the batch per update."""
    minibatches: int = 4
    """Minibatches per pass."""
    max_gradient_norm: float = 0.5
    """Adam's gradients are clipped to this global norm."""

    num_envs: int = 256
    """Environments stepped side by side."""
    rollout_steps: int = 32
    """Steps of each environment per update."""


@dataclass(frozen=True)
class MATRPOConfig(AverageRewardConfig):
    """Settings of multi-agent trust-region policy optimisation; Adam trains the critic only."""

    order: Literal["random", "fixed"] = "random"
    """In which order the agents take their turns: anew for every update, or agent 0 first."""
    max_kl: float = 0.01
    """Radius of each agent's trust region: mean KL divergence of its old policy from the new one, in nats."""
    damping: float = 0.1
    """Added to the Fisher matrix's diagonal."""
    cg_iterations: int = 10
    """Iterations of the conjugate gradient method."""
    backtrack: float = 0.8
    """Factor by which a step is shortened until it is accepted."""
    backtracks: int = 10
    """How many lengths are tried before the old policy is kept."""
    accept: float = 0.5
    """A step is accepted if it gains at least this fraction of what its gradient promises."""
    fisher_stride: int = 4
    """The Fisher matrix is estimated from every so-manieth sample; the KL bound is checked on all of them."""


@dataclass(frozen=True)
class MVIPPOConfig(AverageRewardConfig):
    """Settings of independent PPO on the mean-variance objective; Adam trains actors and critics."""

    clip: float = 0.2
    """Bound on the change of the probability ratio."""
    epsilon: float = 0.0
    """Entropy weight, fixed throughout training."""


def validate(config: AverageRewardConfig, environment: Description) -> None:
    """Raise AverseError where settings are out of range or the environment has ends."""
    if not is_average_reward(environment):
        raise AverseError(
            f"{environment.name} has episodes; learners of the long-run mean and variance need an environment that "
            "never ends (average_reward = True), such as microgrids"
        )
    positive = ["learning_rate", "epochs", "minibatches", "max_gradient_norm", "num_envs", "rollout_steps", "smoothing"]
    unit = ["lam", "smoothing", "value_constraint"]
    if isinstance(config, MATRPOConfig):
        positive += ["max_kl", "cg_iterations", "backtrack", "backtracks", "fisher_stride"]
        unit += ["backtrack", "accept"]
        if config.damping < 0:
            raise AverseError(f"damping must not be negative, not {config.damping}")
        if config.order not in ("random", "fixed"):
            raise AverseError(f"order must be random or fixed, not {config.order!r}")
    if isinstance(config, MVIPPOConfig):
        positive += ["clip"]
        if config.epsilon < 0:
            raise AverseError(f"epsilon must not be negative, not {config.epsilon}")
    for name in positive:
        if not getattr(config, name) > 0:
            raise AverseError(f"{name} must be positive, not {getattr(config, name)}")
    for name in unit:
        if not 0.0 <= getattr(config, name) <= 1.0:
            raise AverseError(f"{name} must lie in [0, 1], not {getattr(config, name)}")
    if not 0.0 <= config.beta < float("inf"):
        raise AverseError(f"beta must be finite and not negative, not {config.beta}")
    if config.num_envs * config.rollout_steps % config.minibatches:
        raise AverseError(
            f"minibatches {config.minibatches} must divide the steps of a batch, num_envs x rollout_steps"
        )
