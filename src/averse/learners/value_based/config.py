"""Settings of the value-based family, and which of them go together."""

from dataclasses import dataclass
from typing import Literal

from averse.environments.protocol import Description, Discrete
from averse.errors import AverseError
from averse.learners.parts.value_heads import LINEAR_IN_QUANTILES
from averse.risk import parse

HeadName = Literal["mean", "categorical", "quantile"]
MixerName = Literal["none", "sum", "monotone", "quantile"]


@dataclass(frozen=True)
class ValueBasedConfig:
    """Settings of the value-based family; a preset fixes the first group."""

    head: HeadName = "mean"
    """What an agent predicts of each action's return: the mean, or the distribution (categorical is C51)."""
    mixer: MixerName = "none"
    """How agents' values make the team's: none (each learns alone), sum (VDN), monotone (QMIX), quantile (RiskQ)."""
    measure: str = "mean"
    """Risk measure of the predicted return by which actions are chosen, such as mean, cvar:0.1, wang:0.75, var:0.2."""
    dynamic_risk: bool = False
    """RMIX: utilities are CVaRs whose level a predictor chooses at each step; `measure` is then not used."""
    recurrent: bool = True
    """The last hidden layer is a GRU, so that agents remember."""

    alpha: float | None = None
    """Tail mass in (0, 1], in place of the number in a cvar or var `measure`."""
    eta: float | None = None
    """Distortion, in place of the number in a wang or cpw `measure`."""
    tau: float | None = None
    """Risk tolerance in reward units, in place of the number in an entropic `measure`."""
    weight: float | None = None
    """Variance weight, in place of the number in a mean-variance `measure`."""
    fixed_alpha: float | None = None
    """RMIX with this CVaR level always, instead of the predictor's."""
    risk_levels: int = 10
    """RMIX: the levels 1/K, 2/K ... 1 that its predictor mixes."""
    quantile_weight: float = 0.1
    """RMIX: weight of the quantile regression of the agents' distributions, a mean over quantiles, beside the team's
    temporal difference."""

    num_quantiles: int = 32
    """Quantiles, or atoms of a categorical head."""
    support: tuple[float, float] | None = None
    """Lowest and highest atom in reward units; the environment's return bounds where not given."""
    huber: float = 1.0
    """Quantile heads: errors below this many `value_scale`s count squared, as published. What is learned are then not
    quite quantiles but values drawn towards the mean; 0 learns quantiles exactly."""
    value_scale: float = 1.0
    """Size of a typical return in reward units: networks predict, and mixers mix, in multiples of it. With a monotone
    mixer it must not be much too small. Not for categorical heads."""
    shared: bool = True
    """One network for all agents, told apart by identity (else one network each)."""
    hidden: tuple[int, ...] = (64,)
    """Units of the agents' hidden layers; where recurrent, the last is the GRU's memory."""
    mixer_embedding: int = 32
    """Units of the mixing network."""
    hypernet: int = 64
    """Hidden units of the networks that give the monotone mixer its weights."""

    gamma: float = 0.99
    """Discount per step."""
    lam: float = 0.0
    """Lambda of the temporal-difference targets; 0 looks one step ahead."""
    double: bool = True
    """Double Q-learning: the next action is the online network's choice, valued by the target network."""
    target_rate: float = 0.01
    """The target network moves this fraction towards the online one per gradient step."""
    target_interval: int = 0
    """If above 0, the target network is instead replaced every so many gradient steps."""
    optimiser: Literal["adam", "rmsprop"] = "adam"
    """Adam, or RMSProp with decay .99."""
    learning_rate: float = 5e-4
    """Step size at the start."""
    final_learning_rate: float = 1.0
    """The step size falls in a straight line to this fraction of it."""
    max_gradient_norm: float = 10.0
    """Gradients are clipped to this global norm."""

    exploration_start: float = 1.0
    """Probability of a random action at the start of training."""
    exploration_end: float = 0.05
    """Probability of a random action from `exploration_fraction` on."""
    exploration_fraction: float = 0.3
    """Fraction of training over which exploration falls."""

    buffer_size: int = 5000
    """Sequences of `rollout_steps` steps that the replay buffer holds."""
    batch_size: int = 32
    """Sequences per gradient step."""
    gradient_steps: int = 8
    """Gradient steps per update, that is per `num_envs` new sequences."""
    num_envs: int = 32
    """Environments stepped side by side."""
    rollout_steps: int = 50
    """Steps of each environment per update: the length of a replayed sequence. An environment's fixed episode length
    makes it whole-episode replay."""


def validate(config: ValueBasedConfig, environment: Description) -> None:
    """Raise AverseError where settings are out of range or do not fit together."""
    if not isinstance(environment.action_space, Discrete):
        raise AverseError("value-based methods need discrete actions")
    positive = (
        "num_envs", "rollout_steps", "batch_size", "gradient_steps", "buffer_size", "learning_rate", "value_scale",
        "max_gradient_norm", "mixer_embedding", "hypernet",
    )  # fmt: skip
    for name in positive:
        if not getattr(config, name) > 0:
            raise AverseError(f"{name} must be positive, not {getattr(config, name)}")
    unit = (
        "gamma", "lam", "target_rate", "exploration_start", "exploration_end", "exploration_fraction",
        "final_learning_rate",
    )  # fmt: skip
    for name in unit:
        if not 0.0 <= getattr(config, name) <= 1.0:
            raise AverseError(f"{name} must lie in [0, 1], not {getattr(config, name)}")
    if min(config.target_interval, config.quantile_weight, config.huber) < 0:
        raise AverseError("target_interval, quantile_weight and huber must not be negative")
    if not config.hidden:
        raise AverseError("hidden must name at least one layer")
    if config.num_quantiles < 2:
        raise AverseError(f"num_quantiles must be at least 2, not {config.num_quantiles}")
    if config.support is not None and not config.support[0] < config.support[1]:
        raise AverseError(f"support must be (lowest, highest) with lowest < highest, not {config.support}")
    if config.buffer_size < max(config.num_envs, config.batch_size):
        raise AverseError(
            f"buffer_size {config.buffer_size} must be at least num_envs {config.num_envs} and batch_size "
            f"{config.batch_size}"
        )
    _validate_risk(config)


def _validate_risk(config: ValueBasedConfig) -> None:
    measure = parse(config.measure)
    if config.head == "mean" and config.measure != "mean" and not config.dynamic_risk:
        raise AverseError(
            f"a head that predicts the mean alone knows no measure {config.measure!r}; try qr-dqn or riskq"
        )
    if config.mixer in ("sum", "monotone") and not config.dynamic_risk and config.head != "mean":
        raise AverseError(f"mixer {config.mixer!r} goes with head 'mean', not {config.head!r}")
    if config.mixer == "quantile":
        if config.head != "quantile":
            raise AverseError(f"mixer 'quantile' needs head 'quantile', not {config.head!r}")
        if not isinstance(measure, LINEAR_IN_QUANTILES):
            raise AverseError(
                f"with mixer 'quantile' agents' own choices are the team's only for mean, cvar, var, wang, cpw and "
                f"worst-case, not {config.measure!r}"
            )
    if config.dynamic_risk:
        if config.head != "quantile" or config.mixer != "monotone" or not config.recurrent:
            raise AverseError("dynamic_risk needs head 'quantile', mixer 'monotone' and recurrent agents")
        if config.risk_levels < 1:
            raise AverseError(f"risk_levels must be at least 1, not {config.risk_levels}")
    if config.fixed_alpha is not None:
        if not config.dynamic_risk:
            raise AverseError("fixed_alpha belongs to rmix; other methods take --measure cvar:ALPHA")
        if not 0.0 < config.fixed_alpha <= 1.0:
            raise AverseError(f"fixed_alpha must lie in (0, 1], not {config.fixed_alpha}")
