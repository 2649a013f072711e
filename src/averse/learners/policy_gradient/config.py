"""Settings of MAPPO, and which of them go together."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, cast

from averse.environments.protocol import Description, Discrete
from averse.errors import AverseError
from averse.risk import RiskMeasure, VaR, WorstCase, parse

AdvantageName = Literal["gae", "risk-value", "entropic", "action-value", "influence", "mean-variance"]
CriticName = Literal["scalar", "dual", "categorical", "quantile"]


@dataclass(frozen=True)
class MAPPOConfig:
    """Settings of MAPPO; a preset fixes the first group."""

    critic: CriticName = "scalar"
    """What it predicts: mean (scalar), second moment too (dual), or the distribution (categorical, quantile)."""
    measure: str = "mean"
    """Risk measure of the return, such as mean, entropic:1, cvar:0.1, mean-variance:0.1, wang:0.75."""
    advantage: AdvantageName = "gae"
    """Advantage estimator. risk-value is kept for comparison: it does not make a policy risk-averse."""
    centralised: bool = True
    """The critic sees the global state (else only the agent's own observation)."""
    shaping: float = 0.0
    """Reward shaping: this many reward units are taken off per unit of the environment's cost."""
    epsilon: float = 0.01
    """Entropy weight (bounded rationality), fixed throughout training."""

    tau: float | None = None
    """Risk tolerance in reward units, in place of the number in an entropic `measure`; inf is risk-neutral."""
    alpha: float | None = None
    """Tail mass in (0, 1], in place of the number in a cvar, var or evar `measure`."""
    weight: float | None = None
    """Variance weight, in place of the number in a mean-variance `measure`."""
    eta: float | None = None
    """Distortion, in place of the number in a wang or cpw `measure`."""
    risk_warmup: float = 0.6
    """Fraction of training over which the measure moves from neutral to its target; 0 is risk-averse from the start."""
    exponent_clip: float = 5.0
    """Bound on the exponents of the entropic advantage."""

    num_atoms: int = 51
    """Atoms of a categorical critic, or quantiles of a quantile critic."""
    support: tuple[float, float] | None = None
    """Lowest and highest atom in reward units; the environment's return bounds where not given."""
    value_scale: float = 1.0
    """Size of a typical return in reward units, in which critics without a support predict. Where returns are far from
    1, a critic in units of reward learns slowly."""
    shared: bool = True
    """One network for all agents, told apart by identity (else one network each)."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of actor and critic."""
    recurrent: bool = False
    """Agents remember: the actor's last hidden layer is a GRU, and the critic sees what it remembers. Gradients go back
    through `segment_length` steps."""

    gamma: float = 0.99
    """Discount per step."""
    lam: float = 0.95
    """Lambda of the advantage and of the critic's targets."""
    learning_rate: float = 1e-3
    """Adam's step size at the start; it falls linearly to a tenth of that."""
    clip: float = 0.2
    """Bound on the change of the probability ratio."""
    critic_weight: float = 0.5
    """Weight of the critic's loss beside the policy's."""
    max_gradient_norm: float = 0.5
    """Gradients are clipped to this global norm, actor and critic each."""
    normalise_advantages: bool = True
    """Scale the advantages of a batch to mean 0 and standard deviation 1."""

    num_envs: int = 64
    """Environments stepped side by side."""
    rollout_steps: int = 128
    """Steps of each environment per update."""
    epochs: int = 4
    """Passes over the batch per update."""
    minibatches: int = 4
    """Minibatches per pass."""
    segment_length: int = 16
    """Consecutive steps that stay together when a batch is shuffled; must divide `rollout_steps`."""


def risk_measure(config: Any) -> RiskMeasure:
    """The measure of a configuration, its number replaced by `tau`, `alpha`, `weight` or `eta` where given.

    Any configuration with these settings will do.
    """
    measure = parse(config.measure)
    fields = measure_fields(measure)
    given = {
        name: getattr(config, name) for name in ("tau", "alpha", "weight", "eta") if getattr(config, name) is not None
    }
    for name in given.keys() - fields:
        allowed = f"its number is called {fields.pop()}" if fields else "it has no number"
        raise AverseError(f"{name} does not belong to the measure {config.measure!r}; {allowed}")
    return with_numbers(measure, given)


def measure_fields(measure: RiskMeasure) -> set[str]:
    """The names of a measure's numbers: {"tau"} of an entropic one."""
    return {field.name for field in dataclasses.fields(cast(Any, measure))}


def with_numbers(measure: RiskMeasure, numbers: dict[str, Any]) -> RiskMeasure:
    """The measure with other numbers, which may be traced."""
    return dataclasses.replace(cast(Any, measure), **numbers)


def validate(config: MAPPOConfig, environment: Description) -> None:
    """Raise AverseError where settings are out of range or do not fit together."""
    positive = (
        "num_envs",
        "rollout_steps",
        "epochs",
        "minibatches",
        "segment_length",
        "learning_rate",
        "clip",
        "exponent_clip",
        "value_scale",
    )
    for name in positive:
        if not getattr(config, name) > 0:
            raise AverseError(f"{name} must be positive, not {getattr(config, name)}")
    for name in ("gamma", "lam", "risk_warmup"):
        if not 0.0 <= getattr(config, name) <= 1.0:
            raise AverseError(f"{name} must lie in [0, 1], not {getattr(config, name)}")
    if config.epsilon < 0 or config.shaping < 0:
        raise AverseError("epsilon and shaping must not be negative")
    if config.support is not None and not config.support[0] < config.support[1]:
        raise AverseError(f"support must be (lowest, highest) with lowest < highest, not {config.support}")
    if config.recurrent and not config.hidden:
        raise AverseError("recurrent needs at least one hidden layer, whose size is that of the memory")
    if config.num_atoms < 2:
        raise AverseError(f"num_atoms must be at least 2, not {config.num_atoms}")
    if config.rollout_steps % config.segment_length:
        raise AverseError(f"segment_length {config.segment_length} must divide rollout_steps {config.rollout_steps}")
    segments = config.num_envs * config.rollout_steps // config.segment_length
    if segments % config.minibatches:
        raise AverseError(f"minibatches {config.minibatches} must divide the {segments} segments of a batch")
    distributional = config.critic in ("categorical", "quantile")
    measure = parse(config.measure)
    if config.advantage == "mean-variance" and config.critic != "dual":
        raise AverseError("advantage 'mean-variance' needs critic 'dual'")
    if config.critic == "dual" and config.advantage not in ("mean-variance", "gae"):
        raise AverseError(f"critic 'dual' goes with advantage 'mean-variance' or 'gae', not {config.advantage!r}")
    if config.advantage == "mean-variance" and not config.measure.startswith("mean-variance"):
        raise AverseError(f"advantage 'mean-variance' needs a mean-variance measure, not {config.measure!r}")
    if config.advantage in ("risk-value", "entropic", "action-value", "influence") and not distributional:
        raise AverseError(
            f"advantage {config.advantage!r} needs critic 'categorical' or 'quantile', not {config.critic!r}"
        )
    if config.advantage == "entropic" and not config.measure.startswith("entropic"):
        raise AverseError(f"advantage 'entropic' needs an entropic measure, not {config.measure!r}; try 'influence'")
    if config.advantage == "action-value" and not isinstance(environment.action_space, Discrete):
        raise AverseError("advantage 'action-value' needs discrete actions")
    if config.advantage == "influence" and isinstance(measure, VaR | WorstCase):
        raise AverseError(f"advantage 'influence' needs a measure with an influence function, not {config.measure!r}")
