"""What a policy of MAPPO computes, for machines without JAX; see `averse.learners.parts.portable`."""

from typing import Any

from averse.environments.protocol import Description
from averse.errors import AverseError
from averse.learners.contract import Portable
from averse.learners.parts.networks import critic_parts
from averse.learners.parts.portable import decision_of, portable_actor, portable_network, portable_reading
from averse.learners.parts.predictions import Prediction
from averse.learners.policy_gradient.config import MAPPOConfig, StaticRiskConfig, layouts_of


def portable_policy(config: MAPPOConfig, environment: Description, prediction: Prediction, state: Any) -> Portable:
    """The actor, and the critic where its prediction is a distribution of the return that an evaluation sees."""
    observation, _ = layouts_of(config, environment)
    networks = state.networks
    actor = portable_actor(
        networks["actor"],
        environment.num_agents,
        shared=config.shared,
        activation=config.activation,
        layout=observation,
    )
    description = {**actor.description, "decision": decision_of(environment.action_space)}
    try:
        critic = _critic(config, environment, prediction, state)
    except AverseError as error:
        return Portable({**description, "no_value": str(error)}, actor.arrays)
    return Portable({**description, "critic": critic.description}, {**actor.arrays, **critic.arrays})


def _critic(config: MAPPOConfig, environment: Description, prediction: Prediction, state: Any) -> Portable:
    """The critic and how it is read. Raises AverseError where there is none to tell of."""
    if not prediction.distributional:
        raise AverseError("its critic predicts no distribution of returns")
    if isinstance(config, StaticRiskConfig) and getattr(environment, "budget", "own") == "team":
        raise AverseError("its critic predicts the team's return")
    if config.shaping:
        raise AverseError("its critic predicts shaped rewards")
    if config.per_action and config.critic == "quantile":
        raise AverseError("its critic predicts quantiles of each action's return, whose mixture has to be sorted")
    num_agents = environment.num_agents
    parts = critic_parts("observations", "global_state", num_agents, centralised=config.centralised)
    layouts = critic_parts(*layouts_of(config, environment), num_agents, centralised=config.centralised)
    network = portable_network(
        "critic",
        state.networks["critic"],
        [*parts, "memory"] if config.recurrent else parts,
        num_agents,
        shared=config.shared,
        activation=config.activation,
        layouts=layouts,
    )
    reading = portable_reading("critic", prediction, state.measure)
    description = {**network.description, "per_action": config.per_action, "reading": reading.description}
    return Portable(description, {**network.arrays, **reading.arrays})
