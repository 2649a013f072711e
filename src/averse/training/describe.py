"""The run summary: what is about to be trained, in a few lines."""

import jax

from averse.environments import is_compiled
from averse.environments.protocol import Box
from averse.errors import AverseError
from averse.games import tractability
from averse.learners.average_reward.config import AverageRewardConfig, MATRPOConfig
from averse.learners.parts.measure import measure_fields, risk_measure
from averse.learners.parts.replay import size_in_bytes
from averse.learners.policy_gradient.config import MAPPOConfig, SRPOConfig, added_std, support_of
from averse.learners.value_based.config import RMIXConfig, ValueBasedConfig
from averse.risk import Entropic, Expectation
from averse.training.config import TrainingConfig


def describe(config: TrainingConfig) -> str:
    """A summary for the terminal: sizes, risk, support, and the tractability margin of the settings.

    Raises AverseError for what is no configuration.
    """
    if not isinstance(config, TrainingConfig):
        raise AverseError(f"config must be a TrainingConfig (averse.configure(...)), not {config!r:.60}")
    environment = config.build_environment()
    settings = config.learner_config()
    space = environment.action_space
    actions = f"Box of {space.size}" if isinstance(space, Box) else f"{space.num_actions} actions"
    per_update = settings.num_envs * settings.rollout_steps
    where = "compiled" if is_compiled(environment) else "worker processes"
    trials, updates = counted(len(config.trials), "trial"), counted(config.total_updates, "update")
    lines = [
        f"{config.method} on {config.environment} ({where}; {counted(environment.num_agents, 'agent')}, {actions}, "
        f"horizon {environment.horizon})",
        f"  {trials} x {updates} x {counted(per_update, 'step')}",
    ]
    for name, values in config.sweep.items():
        lines.append(f"  {name}: {', '.join(f'{value:g}' for value in values)}")
    if isinstance(settings, AverageRewardConfig):
        lines.append(
            "  objective J = eta - beta zeta: mean less beta times variance of the reward per step in the long run"
            + ("" if "beta" in config.sweep else f"; beta {settings.beta:g}")
        )
    if isinstance(settings, MATRPOConfig):
        lines.append(
            f"  agents take turns in {settings.order} order, each a trust-region step of at most {settings.max_kl:g} "
            "nats; average-reward advantages, no discount"
        )
    if isinstance(settings, ValueBasedConfig):
        lines += _describe_replay(config, settings, environment)
    if isinstance(settings, MAPPOConfig):
        lines += _describe_risk(config, settings, environment)
    return "\n".join(lines)


def counted(number: int, thing: str) -> str:
    """ "1 trial", "1,000 trials"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _describe_replay(config: TrainingConfig, settings: ValueBasedConfig, environment) -> list[str]:
    if isinstance(settings, RMIXConfig):
        risk = "dynamic" if settings.fixed_alpha is None else f"cvar:{settings.fixed_alpha:g}"
    else:
        risk = _measure_text(config, settings)
    state = jax.eval_shape(config.build_learner(environment).init, jax.random.key(0))
    size = size_in_bytes(state.replay) * len(config.trials)
    fresh = settings.num_envs / (settings.batch_size * settings.gradient_steps)
    return [
        f"  head {settings.head}, mixer {settings.mixer}, measure {risk}",
        f"  {settings.gradient_steps} gradient steps of {settings.batch_size} sequences per {settings.num_envs} new"
        f" ones: each is learned from {1 / fresh:.2g} times",
        f"  memory of the replay buffers: {size / 1e6:.1f} MB ({len(config.trials)} x {settings.buffer_size:,} "
        f"sequences of {settings.rollout_steps} steps)",
    ]


def _describe_risk(config: TrainingConfig, settings: MAPPOConfig, environment) -> list[str]:
    measure = risk_measure(settings)
    lines = [
        f"  critic {settings.critic}, advantage {settings.advantage}, measure {_measure_text(config, settings)}, "
        f"epsilon {settings.epsilon:g}"
    ]
    if isinstance(settings, SRPOConfig):
        lines.append("  the measure is of what partners do: an adversary perturbs them, at tau reward units per nat")
    if settings.critic == "quantile":
        lines.append(f"  {settings.num_atoms} quantiles of the return")
    if settings.critic == "categorical":
        low, high = support_of(settings, environment)
        widened = added_std(settings, environment)
        added = f", which add a standard deviation of up to {widened:.3g}" if widened else ""
        lines.append(f"  support of the return: {low:g} to {high:g} reward units, {settings.num_atoms} atoms{added}")
    if isinstance(measure, Entropic | Expectation) and environment.num_agents > 1:
        lines += _describe_game(config, settings, measure, environment.num_agents)
    return lines


def _describe_game(
    config: TrainingConfig, settings: MAPPOConfig, measure: Entropic | Expectation, agents: int
) -> list[str]:
    """What is known of a game between players with these settings: entropic risk is KL's, the bonus is the entropy."""
    taus = config.sweep.get("tau", (getattr(measure, "tau", float("inf")),))
    epsilons = config.sweep.get("epsilon", (settings.epsilon,))
    stands = [tractability(float(tau), float(epsilon), "kl", "entropy", agents) for tau in taus for epsilon in epsilons]
    number = "one equilibrium" if all(stand.unique for stand in stands) else "several equilibria may exist"
    theorems = ", ".join(sorted({stand.theorem for stand in stands}))
    formula = "eps1 eps2 - tau1 tau2" if agents == 2 else "eps - (agents - 1) tau"
    margins = ", ".join(f"{stand.margin:g}" for stand in stands)
    return [f"  as a matrix game: {number} ({theorems} for kl with entropy); margin {formula} = {margins}"]


def _measure_text(config: TrainingConfig, settings) -> str:
    """The measure; without its number where that is swept over."""
    measure = risk_measure(settings)
    return measure.kind if measure_fields(measure) & config.sweep.keys() else str(measure)
