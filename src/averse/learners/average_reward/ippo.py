"""MV-IPPO: independent proximal policy optimisation of the long-run mean-variance objective, a baseline.

Every agent runs PPO (Schulman et al. 2017) on its own, all at the same time, with its own critic of what it observes.
Pseudo-reward and average-reward advantages are those of MV-MATRPO (`averse.learners.average_reward.matrpo`); what is
missing is the coordination: no agent knows that the others move too, so that steps which would each be good alone can
harm together (de Witt et al. 2020 on independent PPO; Hu, Xia, arXiv 2511.20977).

Axes: T time, B environments, A agents, N = T B.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from averse.environments.protocol import ActionSpace, Description
from averse.learners.average_reward.assembly import learner_of
from averse.learners.average_reward.config import MVIPPOConfig, validate
from averse.learners.average_reward.objective import (
    Moments,
    average_reward_advantages,
    by_agent,
    no_moments,
    objective_metrics,
    pseudo_reward,
    updated,
    value_targets,
)
from averse.learners.contract import Learner, Metrics, Trajectory
from averse.learners.parts.action_distributions import action_distribution, head_size, probabilities
from averse.learners.parts.entropy import entropy_weight
from averse.learners.parts.networks import MLP, Network, Params, agent_networks, one_network
from averse.learners.parts.updates import adam, apart, descend, normalise, policy_loss, standard_deviation


class MVIPPOState(NamedTuple):
    """Everything that training changes or sweeps over; networks and optimisers have a leading axis A."""

    networks: dict[str, Params]  # "actor" and "critic"
    optimisers: Any
    moments: Moments
    beta: jax.Array
    epsilon: jax.Array
    learning_rate: jax.Array
    key: jax.Array


class Samples(NamedTuple):
    """What one agent learns from."""

    observations: jax.Array  # [N, O]
    available: jax.Array  # bool [N, n]
    actions: jax.Array  # [N] or [N, size]
    log_prob: jax.Array  # [N]
    advantages: jax.Array  # [N], normalised
    targets: jax.Array  # [N]


def mv_ippo(config: MVIPPOConfig, environment: Description, total_updates: int) -> Learner:
    """Build the learner for an environment's sizes.

    Raises AverseError for environments with episodes.
    """
    del total_updates  # nothing here is scheduled
    validate(environment)
    return learner_of(MVIPPO.of(config, environment), "beta", "epsilon", "learning_rate")


@dataclass(frozen=True, eq=False)
class MVIPPO:
    """What the learner is made of, and what it does with it."""

    config: MVIPPOConfig
    space: ActionSpace
    num_agents: int
    actors: Network  # of all agents, [..., A, O] -> [..., A, outputs]
    critics: Network
    actor: Network  # of one agent
    critic: Network
    optimiser: optax.GradientTransformation

    @classmethod
    def of(cls, config: MVIPPOConfig, environment: Description) -> "MVIPPO":
        """The parts that a configuration calls for, sized for an environment."""
        space, num_agents, size = environment.action_space, environment.num_agents, environment.observation_size
        actor, critic = MLP(config.hidden, head_size(space), 0.01), MLP(config.hidden, 1, 1.0)
        return cls(
            config=config,
            space=space,
            num_agents=num_agents,
            actors=agent_networks(actor, num_agents, size, shared=False),
            critics=agent_networks(critic, num_agents, size, shared=False),
            actor=one_network(actor, size),
            critic=one_network(critic, size),
            optimiser=apart(adam(config.max_gradient_norm), "actor", "critic"),
        )

    def init(self, key: jax.Array, **swept: jax.Array) -> MVIPPOState:
        config = self.config
        actor_key, critic_key, key = jax.random.split(key, 3)
        networks = {"actor": self.actors.init(actor_key), "critic": self.critics.init(critic_key)}
        numbers = {"beta": config.beta, "epsilon": config.epsilon, "learning_rate": config.learning_rate} | swept
        return MVIPPOState(
            networks=networks,
            optimisers=jax.vmap(self.optimiser.init)(networks),
            moments=no_moments(),
            key=key,
            **{name: jnp.asarray(number, jnp.float32) for name, number in numbers.items()},
        )

    def act(self, state: MVIPPOState, observations, available, key, memory=(), greedy: bool = False):
        del memory
        outputs = self.actors.apply(state.networks["actor"], observations)
        choice = action_distribution(self.space, outputs, available)
        actions = choice.mode() if greedy else choice.sample(key)
        return actions, {"log_prob": choice.log_prob(actions)}

    def action_probabilities(self, state: MVIPPOState, observations, available, memory=()):
        del memory
        outputs = self.actors.apply(state.networks["actor"], observations)
        return probabilities(action_distribution(self.space, outputs, available))

    def actors_of(self, state: MVIPPOState) -> Params:
        return state.networks["actor"]

    def update(self, state: MVIPPOState, trajectory: Trajectory) -> tuple[MVIPPOState, Metrics]:
        key, learn_key = jax.random.split(state.key)
        rewards = trajectory.rewards.mean(-1)
        moments = updated(state.moments, rewards, self.config.smoothing)
        values = self.values(state, trajectory.observations)
        advantages = average_reward_advantages(
            values,
            self.values(state, trajectory.next_observations),
            pseudo_reward(rewards, moments.eta, state.beta)[..., None],
            moments.objective(state.beta),
            trajectory.truncated[..., None],
            self.config.lam,
        )
        of_each = partial(jax.vmap, in_axes=-1, out_axes=-1)
        targets = of_each(lambda v, a: value_targets(v, a, self.config.value_constraint))(values, advantages)
        deviations = jax.vmap(standard_deviation, in_axes=-1)(advantages)
        samples = Samples(
            observations=trajectory.observations,
            available=trajectory.available,
            actions=trajectory.actions,
            log_prob=trajectory.extras["log_prob"],
            advantages=of_each(normalise)(advantages),
            targets=targets,
        )
        networks, optimisers, metrics = jax.vmap(self.learn, in_axes=(0, 0, 0, 0, 0, None))(
            state.networks,
            state.optimisers,
            by_agent(samples),
            jax.random.split(learn_key, self.num_agents),
            entropy_weight(state.epsilon, self.config.epsilon_units, deviations),
            state.learning_rate,
        )
        metrics = {name: value.mean() for name, value in metrics.items()}
        metrics |= objective_metrics(moments, state.beta, rewards, values, advantages)
        return state._replace(networks=networks, optimisers=optimisers, moments=moments, key=key), metrics

    def values(self, state: MVIPPOState, observations: jax.Array) -> jax.Array:
        """V of what each agent observes, [T, B, A]."""
        return self.critics.apply(state.networks["critic"], observations)[..., 0]

    def learn(
        self,
        networks: dict[str, Params],
        optimiser_state: Any,
        samples: Samples,
        key: jax.Array,
        epsilon: jax.Array,
        learning_rate: jax.Array,
    ) -> tuple[dict[str, Params], Any, Metrics]:
        """One agent's passes over its samples."""
        return descend(
            partial(self.loss, epsilon),
            self.optimiser,
            networks,
            optimiser_state,
            samples,
            key,
            step_size=learning_rate,
            epochs=self.config.epochs,
            minibatches=self.config.minibatches,
        )

    def loss(self, epsilon: jax.Array, networks: dict[str, Params], data: Samples) -> tuple[jax.Array, Metrics]:
        """The loss of one agent's actor and critic."""
        outputs = self.actor.apply(networks["actor"], data.observations)
        actor_loss, metrics = policy_loss(
            action_distribution(self.space, outputs, data.available),
            data.actions,
            data.log_prob,
            data.advantages,
            clip=self.config.clip,
            epsilon=epsilon,
        )
        values = self.critic.apply(networks["critic"], data.observations)[..., 0]
        critic_loss = 0.5 * ((values - data.targets) ** 2).mean()
        return actor_loss + critic_loss, metrics | {"critic_loss": critic_loss}
