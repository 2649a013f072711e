"""The built-in methods: each is settings of a learner family."""

from collections.abc import Callable

from averse.learners.average_reward.config import MATRPOConfig, MVIPPOConfig
from averse.learners.contract import Learner, Method
from averse.learners.policy_gradient.config import MAPPOConfig, SRPOConfig, StaticRiskConfig
from averse.learners.value_based.config import RMIXConfig, ValueBasedConfig
from averse.plugins import imported


def _family(path: str) -> Callable[..., Learner]:
    """The function that builds a family's learners, imported when it first does: networks and buffers take time to."""
    return lambda *arguments: imported(path)(*arguments)


_MAPPO = _family("averse.learners.policy_gradient.mappo:mappo")
_STATIC = _family("averse.learners.policy_gradient.static_risk:static_risk_mappo")
_SRPO = _family("averse.learners.policy_gradient.adversaries:srpo_mappo")
_MATRPO = _family("averse.learners.average_reward.matrpo:matrpo")
_MV_IPPO = _family("averse.learners.average_reward.ippo:mv_ippo")
_VALUE_BASED = _family("averse.learners.value_based.learner:value_based")
_RMIX = _family("averse.learners.value_based.rmix:rmix")

METHODS: dict[str, Method] = {
    "ppo": Method(
        MAPPOConfig(centralised=False),
        _MAPPO,
        "Proximal policy optimisation; each agent's critic sees what that agent sees.",
    ),
    "mappo": Method(MAPPOConfig(), _MAPPO, "Multi-agent PPO: the critic sees the global state."),
    "reward-shaped-mappo": Method(
        MAPPOConfig(shaping=5.0), _MAPPO, "MAPPO that pays for each unit of the environment's cost."
    ),
    "mean-variance-mappo": Method(
        MAPPOConfig(critic="dual", measure="mean-variance:0.05", advantage="mean-variance"),
        _MAPPO,
        "MAPPO that maximises the mean less a multiple of the variance of the return.",
    ),
    "c51-cvar-mappo": Method(
        MAPPOConfig(critic="categorical", measure="cvar:0.1", advantage="influence"),
        _MAPPO,
        "MAPPO with a distributional critic that maximises the mean of the worst returns.",
    ),
    "rqe-mappo": Method(
        MAPPOConfig(critic="categorical", measure="entropic:1", advantage="entropic"),
        _MAPPO,
        "MAPPO with a distributional critic that maximises the entropic measure, by risk tolerance tau.",
    ),
    "static-cvar-mappo": Method(
        StaticRiskConfig(measure="cvar:0.05", gamma=1.0),
        _STATIC,
        "MAPPO that maximises the mean of the worst returns of whole episodes; it acts in budget:ENV.",
    ),
    "static-entropic-mappo": Method(
        StaticRiskConfig(measure="entropic:1", gamma=1.0),
        _STATIC,
        "MAPPO that maximises the entropic measure of the return of whole episodes; it acts in budget:ENV.",
    ),
    "srpo-mappo": Method(
        SRPOConfig(measure="entropic:1"),
        _SRPO,
        "MAPPO against partners that an adversary perturbs, at the price of tau per nat of divergence.",
    ),
    "mv-matrpo": Method(
        MATRPOConfig(),
        _MATRPO,
        "Trust-region learning, agent by agent, of the long-run mean and variance of the reward.",
    ),
    "matrpo": Method(
        MATRPOConfig(beta=0.0), _MATRPO, "Trust-region learning, agent by agent, of the long-run mean alone."
    ),
    "mv-ippo": Method(
        MVIPPOConfig(), _MV_IPPO, "Independent PPO on the long-run mean and variance of the reward: no coordination."
    ),
    "dqn": Method(
        ValueBasedConfig(recurrent=False, rollout_steps=16), _VALUE_BASED, "Deep Q-learning, each agent by itself."
    ),
    "c51": Method(
        ValueBasedConfig(head="categorical", num_atoms=51, recurrent=False, rollout_steps=16),
        _VALUE_BASED,
        "Q-learning of return distributions on fixed atoms, each agent by itself.",
    ),
    "qr-dqn": Method(
        ValueBasedConfig(head="quantile", recurrent=False, rollout_steps=16),
        _VALUE_BASED,
        "Q-learning of the quantiles of returns, each agent by itself.",
    ),
    "vdn": Method(ValueBasedConfig(mixer="sum", lam=0.6), _VALUE_BASED, "The team's value is the sum of the agents'."),
    "qmix": Method(
        ValueBasedConfig(mixer="monotone", lam=0.6),
        _VALUE_BASED,
        "The team's value is a monotone mixture of the agents'.",
    ),
    "rmix": Method(
        RMIXConfig(lam=0.6, num_atoms=100, mixer_embedding=48),
        _RMIX,
        "A monotone mixture of CVaRs of the agents' returns, at levels that change from step to step.",
    ),
    "riskq": Method(
        ValueBasedConfig(
            head="quantile", mixer="quantile", measure="wang:0.75", lam=0.6, optimiser="rmsprop", learning_rate=1e-3
        ),
        _VALUE_BASED,
        "The team's quantiles are mixtures of the agents': own risk-averse choices are the team's.",
    ),
}
