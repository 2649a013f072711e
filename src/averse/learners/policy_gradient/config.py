"""Settings of MAPPO, and which of them go together."""

from typing import Literal

from averse.environments.protocol import Description, Discrete, reward_steps
from averse.environments.sets import SetLayout, global_state_layout, observation_layout
from averse.errors import AverseError
from averse.learners.parts.entropy import EpsilonUnits
from averse.learners.parts.measure import risk_measure
from averse.learners.parts.predictions import NumAtoms, PredictionName, Support, require_ascending, support_std
from averse.risk import Entropic, MeanVariance, VaR, WorstCase
from averse.settings import Count, Fraction, NonNegative, Number, Positive, Share, settings

NetworkName = Literal["dense", "sets"]
ActivationName = Literal["tanh", "relu"]
AdvantageName = Literal[
    "gae", "risk-value", "entropic", "action-value", "influence", "mean-variance", "episode-influence"
]


@settings
class MAPPOConfig:
    """Settings of MAPPO; a preset fixes the first group."""

    critic: PredictionName = "scalar"
    """What it predicts: mean (scalar), second moment too (dual), or the distribution (categorical, quantile)."""
    measure: str = "mean"
    """Risk measure of the return, such as mean, entropic:1, cvar:0.1, mean-variance:0.1, wang:0.75."""
    advantage: AdvantageName = "gae"
    """Advantage estimator. risk-value is kept for comparison: it does not make a policy risk-averse."""
    centralised: bool = True
    """The critic sees the global state (else only the agent's own observation)."""
    shaping: NonNegative = 0.0
    """Reward shaping: this many reward units are taken off per unit of the environment's cost."""
    epsilon: NonNegative = 0.01
    """Entropy weight (bounded rationality), fixed throughout training, in the units that `epsilon_units` names."""
    epsilon_units: EpsilonUnits = "advantage"
    """What epsilon is measured in. advantage: standard deviations of the batch's advantages, where these are
    normalised, so that what it is worth in rewards changes as the policy learns. reward: reward units, as tau."""

    risk_warmup: Fraction = 0.6
    """Fraction of training over which the measure moves from neutral to its target; 0 is risk-averse from the start."""
    exponent_clip: Positive = 5.0
    """Bound on the exponents of the entropic advantage."""

    num_atoms: NumAtoms = 51
    """Atoms of a categorical critic, or quantiles of a quantile critic."""
    support: Support = None
    """Lowest and highest atom in reward units; the environment's return bounds where not given."""
    value_scale: Positive = 1.0
    """Size of a typical return in reward units, in which critics without a support predict. Where returns are far from
    1, a critic in units of reward learns slowly."""
    shared: bool = True
    """One network for all agents, told apart by identity (else one network each)."""
    network: NetworkName = "dense"
    """How actor and critic read what they see. dense: as one row of numbers. sets: the members of a set (other cars,
    say) each alike and then pooled, so that their order means nothing; for environments that describe sets."""
    set_units: Count = 64
    """To how many numbers networks that read sets pool the members of a set."""
    hidden: tuple[Count, ...] = (64, 64)
    """Units of the hidden layers of actor and critic."""
    activation: ActivationName = "tanh"
    """What the hidden layers of actor and critic apply to their sums."""
    recurrent: bool = False
    """Agents remember: the actor's last hidden layer is a GRU, and the critic sees what it remembers. Gradients go back
    through `segment_length` steps."""

    gamma: Fraction = 0.99
    """Discount per step."""
    lam: Fraction = 0.95
    """Lambda of the advantage and of the critic's targets."""
    learning_rate: Positive = 1e-3
    """Adam's step size at the start; it falls linearly to `final_learning_rate` of that."""
    final_learning_rate: Fraction = 0.1
    """Fraction of the step size that is left at the end of training. Near 0 the last policies differ little."""
    clip: Positive = 0.2
    """Bound on the change of the probability ratio."""
    penalty: Positive | None = None
    """Instead of the clipping: price of the squared change of the probability ratio, so that rare heavy losses count in
    full. A ratio moves by its sample's (normalised) advantage divided by the penalty."""
    critic_weight: NonNegative = 0.5
    """Weight of the critic's loss beside the policy's."""
    max_gradient_norm: Positive = 0.5
    """Gradients are clipped to this global norm, actor and critic each."""
    normalise_advantages: bool = True
    """Scale the advantages of a batch to mean 0 and standard deviation 1."""

    num_envs: Count = 64
    """Environments stepped side by side."""
    rollout_steps: Count = 128
    """Steps of each environment per update."""
    epochs: Count = 4
    """Passes over the batch per update."""
    minibatches: Count = 4
    """Minibatches per pass."""
    batch_fraction: Share = 1.0
    """Fraction of the batch that each pass learns from: segments drawn anew for each pass, those with large advantages
    likelier, and weighed to stand for all of it. With segments of one step it saves the most."""
    segment_length: Count = 16
    """Consecutive steps that stay together when a batch is shuffled; must divide `rollout_steps`."""

    @property
    def per_action(self) -> bool:
        """Whether the critic predicts the return of each action."""
        return self.advantage == "action-value"

    @property
    def pass_segments(self) -> int:
        """How many segments a pass learns from, in whole minibatches."""
        segments = self.num_envs * self.rollout_steps // self.segment_length
        return int(self.batch_fraction * segments / self.minibatches) * self.minibatches

    def __post_init__(self) -> None:
        require_ascending(self.support)
        if self.recurrent and not self.hidden:
            raise AverseError("recurrent needs at least one hidden layer, whose size is that of the memory")
        if self.recurrent and self.segment_length == 1:
            raise AverseError(
                "recurrent needs segments of several steps to learn what to remember: segment_length >= 2"
            )
        if self.rollout_steps % self.segment_length:
            raise AverseError(f"segment_length {self.segment_length} must divide rollout_steps {self.rollout_steps}")
        segments = self.num_envs * self.rollout_steps // self.segment_length
        if segments % self.minibatches:
            raise AverseError(f"minibatches {self.minibatches} must divide the {segments} segments of a batch")
        if not self.pass_segments:
            raise AverseError(
                f"batch_fraction {self.batch_fraction} of {segments} segments leaves less than one for each of"
                f" {self.minibatches} minibatches; segments are of segment_length {self.segment_length} steps"
            )
        self._check_risk()

    def _check_risk(self) -> None:
        """Which critics and measures an advantage goes with."""
        measure = risk_measure(self)
        if self.advantage == "mean-variance" and self.critic != "dual":
            raise AverseError("advantage 'mean-variance' needs critic 'dual'")
        if self.critic == "dual" and self.advantage not in ("mean-variance", "gae"):
            raise AverseError(f"critic 'dual' goes with advantage 'mean-variance' or 'gae', not {self.advantage!r:.80}")
        if self.advantage == "mean-variance" and not isinstance(measure, MeanVariance):
            raise AverseError(f"advantage 'mean-variance' needs a mean-variance measure, not {self.measure!r:.80}")
        distributional = self.critic in ("categorical", "quantile")
        risky = ("risk-value", "entropic", "action-value", "influence", "episode-influence")
        if self.advantage in risky and not distributional:
            raise AverseError(
                f"advantage {self.advantage!r} needs critic 'categorical' or 'quantile', not {self.critic!r:.80}"
            )
        if self.advantage == "episode-influence" and not isinstance(self, StaticRiskConfig):
            raise AverseError(
                "advantage 'episode-influence' is of whole episodes: give it to static-cvar-mappo or such"
            )
        if self.advantage == "entropic" and not isinstance(measure, Entropic):
            raise AverseError(
                f"advantage 'entropic' needs an entropic measure, not {self.measure!r:.80}; try 'influence'"
            )
        if self.advantage == "influence" and isinstance(measure, VaR | WorstCase):
            raise AverseError(
                f"advantage 'influence' needs a measure with an influence function, not {self.measure!r:.80}"
            )


@settings
class StaticRiskConfig(MAPPOConfig):
    """Settings of MAPPO on the risk of whole episodes; `measure` is that of an episode's undiscounted return.

    With advantage `gae` and critic `scalar` each step is paid what it does to the risk, and the critic predicts these
    payments. With advantage `episode-influence` and critic `categorical` or `quantile` the critic predicts the
    distribution of the rest of the return, and the risk is in how its outcomes are weighed.
    """

    remembered_episodes: Count = 1024
    """Latest episodes whose returns say what the distribution of returns is now. More of them make it move slowly."""
    cap_floor: Number | None = None
    """Reward units: returns below it count as it where the distribution is taken, so that the cap of a cvar is never
    below it. While a policy is still so bad that all of its returns are poor, a cap among them asks for nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        paid = self.advantage == "gae" and self.critic in ("scalar", "dual")
        if not paid and self.advantage != "episode-influence":
            raise AverseError(
                "the risk is in what the steps are paid: critic 'scalar' and advantage 'gae' go with it, not "
                f"{self.critic!r:.80} and {self.advantage!r:.80}; or 'categorical' and 'episode-influence'"
            )
        if not paid and self.gamma < 1.0:
            raise AverseError(
                f"advantage 'episode-influence' adds to the return so far: gamma must be 1, not {self.gamma}"
            )

    def _check_risk(self) -> None:
        super()._check_risk()
        if isinstance(risk_measure(self), VaR | WorstCase):
            raise AverseError(f"measure needs an influence function, which {self.measure!r:.80} has not")


@settings
class SRPOConfig(MAPPOConfig):
    """Settings of MAPPO against partners that push back; `measure` is that of what the other agents do.

    Its tau is the price, in reward units per nat, at which an adversary perturbs the policies of an agent's partners:
    small tau fears much. `epsilon_units="reward"` makes epsilon comparable with it, as in the theory of equilibria.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(risk_measure(self), Entropic):
            raise AverseError(f"measure must be entropic: its tau is the adversary's price; not {self.measure!r:.80}")
        if self.advantage != "gae" or self.critic != "scalar":
            raise AverseError(
                "the risk is in what the partners do: critic 'scalar' and advantage 'gae' go with it, not "
                f"{self.critic!r:.80} and {self.advantage!r:.80}"
            )


def validate(config: MAPPOConfig, environment: Description) -> None:
    """Raise AverseError where settings do not fit the environment."""
    if config.per_action and not isinstance(environment.action_space, Discrete):
        raise AverseError("advantage 'action-value' needs discrete actions")
    if config.network == "sets" and observation_layout(environment) is None:
        raise AverseError(
            f"network 'sets' needs an environment that describes a set in its observations; {environment.name} has no "
            "observation_layout, so use 'dense'"
        )


def layouts_of(config: MAPPOConfig, environment: Description) -> tuple[SetLayout | None, SetLayout | None]:
    """How the networks read an observation and the global state: by their sets, or None for as they are."""
    if config.network == "dense":
        return None, None
    return observation_layout(environment), global_state_layout(environment)


def support_of(config: MAPPOConfig, environment: Description) -> tuple[float, float]:
    """The lowest and the highest return of the critic's support, in reward units."""
    low, high = config.support or environment.return_bounds(config.gamma)
    if config.shaping and config.support is None:
        # A cost is paid once per unsafe event; events that cost for many steps need a support of their own.
        low -= config.shaping
    return low, high


def added_std(config: MAPPOConfig, environment: Description) -> float:
    """The standard deviation that a categorical critic's atoms add to a return far from its end, in reward units."""
    if config.critic != "categorical":
        return 0.0
    steps = reward_steps(environment, config.gamma)
    return support_std(support_of(config, environment), config.num_atoms, config.gamma, steps)
