"""Settings of the value-based family, and which of them go together."""

from typing import Literal

from averse.environments.protocol import Description, Discrete
from averse.errors import AverseError
from averse.learners.parts.measure import risk_measure
from averse.learners.parts.predictions import LINEAR_IN_QUANTILES, NumAtoms, Support, require_ascending
from averse.settings import Count, Fraction, NonNegative, Positive, Share, Whole, settings

HeadName = Literal["mean", "categorical", "quantile"]
MixerName = Literal["none", "sum", "monotone", "quantile"]


@settings
class ValueBasedConfig:
    """Settings of the value-based family; a preset fixes the first group."""

    head: HeadName = "mean"
    """What an agent predicts of each action's return: the mean, or the distribution (categorical is C51)."""
    mixer: MixerName = "none"
    """How agents' values make the team's: none (each learns alone), sum (VDN), monotone (QMIX), quantile (RiskQ)."""
    measure: str = "mean"
    """Risk measure of the predicted return by which actions are chosen, such as mean, cvar:0.1, wang:0.75, var:0.2."""
    recurrent: bool = True
    """The last hidden layer is a GRU, so that agents remember."""

    num_atoms: NumAtoms = 32
    """Quantiles, or atoms of a categorical head."""
    support: Support = None
    """Lowest and highest atom in reward units; the environment's return bounds where not given."""
    huber: NonNegative = 1.0
    """Quantile heads: errors below this many `value_scale`s count squared, as published. What is learned are then not
    quite quantiles but values drawn towards the mean; 0 learns quantiles exactly."""
    value_scale: Positive = 1.0
    """Size of a typical return in reward units: networks predict, and mixers mix, in multiples of it. With a monotone
    mixer it must not be much too small. Not for categorical heads."""
    shared: bool = True
    """One network for all agents, told apart by identity (else one network each)."""
    hidden: tuple[Count, ...] = (64,)
    """Units of the agents' hidden layers; where recurrent, the last is the GRU's memory."""
    mixer_embedding: Count = 32
    """Units of the mixing network."""
    hypernet: Count = 64
    """Hidden units of the networks that give the monotone mixer its weights."""

    gamma: Fraction = 0.99
    """Discount per step."""
    lam: Fraction = 0.0
    """Lambda of the temporal-difference targets; 0 looks one step ahead."""
    double: bool = True
    """Double Q-learning: the next action is the online network's choice, valued by the target network."""
    target_rate: Fraction = 0.01
    """The target network moves this fraction towards the online one per gradient step."""
    target_interval: Whole = 0
    """If above 0, the target network is instead replaced every so many gradient steps."""
    optimiser: Literal["adam", "rmsprop"] = "adam"
    """Adam, or RMSProp with decay .99."""
    learning_rate: Positive = 5e-4
    """Step size at the start."""
    final_learning_rate: Fraction = 1.0
    """The step size falls in a straight line to this fraction of it."""
    max_gradient_norm: Positive = 10.0
    """Gradients are clipped to this global norm."""

    exploration_start: Fraction = 1.0
    """Probability of a random action at the start of training."""
    exploration_end: Fraction = 0.05
    """Probability of a random action from `exploration_fraction` on."""
    exploration_fraction: Fraction = 0.3
    """Fraction of training over which exploration falls."""

    buffer_size: Count = 5000
    """Sequences of `rollout_steps` steps that the replay buffer holds."""
    batch_size: Count = 32
    """Sequences per gradient step."""
    gradient_steps: Count = 8
    """Gradient steps per update, that is per `num_envs` new sequences."""
    num_envs: Count = 32
    """Environments stepped side by side."""
    rollout_steps: Count = 50
    """Steps of each environment per update: the length of a replayed sequence. An environment's fixed episode length
    makes it whole-episode replay."""

    def __post_init__(self) -> None:
        require_ascending(self.support)
        if not self.hidden:
            raise AverseError("hidden must name at least one layer")
        if self.buffer_size < max(self.num_envs, self.batch_size):
            raise AverseError(
                f"buffer_size {self.buffer_size} must be at least num_envs {self.num_envs} and batch_size "
                f"{self.batch_size}"
            )
        self._check_risk()

    def _check_risk(self) -> None:
        """Which heads and measures a mixer goes with."""
        measure = risk_measure(self)
        if self.head == "mean" and self.measure != "mean":
            raise AverseError(
                f"a head that predicts the mean alone knows no measure {self.measure!r}; try qr-dqn or riskq"
            )
        if self.mixer in ("sum", "monotone") and self.head != "mean":
            raise AverseError(f"mixer {self.mixer!r} goes with head 'mean', not {self.head!r:.80}")
        if self.mixer == "quantile":
            if self.head != "quantile":
                raise AverseError(f"mixer 'quantile' needs head 'quantile', not {self.head!r:.80}")
            if not isinstance(measure, LINEAR_IN_QUANTILES):
                raise AverseError(
                    f"with mixer 'quantile' agents' own choices are the team's only for mean, cvar, var, wang, cpw and "
                    f"worst-case, not {self.measure!r:.80}"
                )


@settings
class RMIXConfig(ValueBasedConfig):
    """Settings of RMIX: utilities are CVaRs of the agents' distributions, whose level is chosen at each step."""

    head: Literal["quantile"] = "quantile"
    """What an agent predicts of each action's return."""
    mixer: Literal["monotone"] = "monotone"
    """How agents' utilities make the team's value."""
    recurrent: Literal[True] = True
    """Agents remember; what they predicted a step ago is what they remembered then."""
    fixed_alpha: Share | None = None
    """This CVaR level always, instead of the predictor's."""
    risk_levels: Count = 10
    """The levels 1/K, 2/K ... 1 that the predictor mixes."""
    quantile_weight: NonNegative = 0.1
    """Weight of the quantile regression of the agents' distributions, a mean over quantiles, beside the team's temporal
    difference."""

    def _check_risk(self) -> None:
        if self.measure != "mean":
            raise AverseError(
                f"rmix chooses its measure itself, not {self.measure!r:.80}; fixed_alpha holds it at a cvar"
            )


def head_bounds(config: ValueBasedConfig, environment: Description) -> tuple[float, float]:
    """The lowest and the highest return that a head with fixed atoms can tell apart, in reward units."""
    return config.support or environment.return_bounds(config.gamma)


def validate(environment: Description) -> None:
    """Raise AverseError where an environment is not for value-based methods."""
    if not isinstance(environment.action_space, Discrete):
        raise AverseError("value-based methods need discrete actions")
