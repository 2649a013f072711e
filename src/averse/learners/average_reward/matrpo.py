"""MV-MATRPO: multi-agent trust-region learning of the long-run mean-variance objective (Hu, Xia, arXiv 2503.22779).

One `update`, on a batch gathered with the current policies:

1. the running mean eta and variance zeta of the team's reward, hence J = eta - beta zeta;
2. the pseudo-reward f = r - beta (r - eta)^2 and its average-reward advantages A, shared by all agents;
3. the agents, one after the other in random or fixed order, each take a trust-region step (Schulman et al. 2015) on the
   mean of ratio_i M A, where M, at first 1, is the product of the probability ratios of the agents that have moved
   before (the sequential scheme of HATRPO, Kuba et al. 2022): each responds to the new policies of those before it,
   without which simultaneous improvements can add up to a loss;
4. the critic, one for the team, is fitted to the state values, whose mean it keeps near zero.

At beta = 0 this is `matrpo`, trust-region learning of the mean reward alone. The team's reward is the mean of the
agents' rewards (which are equal in a team game). Axes: T time, B environments, A agents, N = T B samples.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from averse.environments.protocol import ActionSpace, Description
from averse.learners.average_reward.assembly import learner_of
from averse.learners.average_reward.config import MATRPOConfig, validate
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
from averse.learners.average_reward.trust_region import TrustRegionStep, fisher_product, trust_region_step
from averse.learners.contract import Learner, Metrics, Trajectory
from averse.learners.parts.action_distributions import (
    ActionDistribution,
    action_distribution,
    head_size,
    probabilities,
)
from averse.learners.parts.networks import MLP, Network, Params, agent_networks, one_network
from averse.learners.parts.updates import adam, descend


class MATRPOState(NamedTuple):
    """Everything that training changes or sweeps over."""

    actors: Params  # with a leading axis A
    critic: Params
    critic_optimiser: Any
    moments: Moments
    beta: jax.Array
    max_kl: jax.Array
    learning_rate: jax.Array
    key: jax.Array


class AgentSamples(NamedTuple):
    """What one agent saw and did."""

    observations: jax.Array  # [N, O]
    available: jax.Array  # bool [N, n]
    actions: jax.Array  # [N] or [N, size]


class Turn(NamedTuple):
    """What came of one agent's turn."""

    step: TrustRegionStep  # without its parameters
    entropy: jax.Array  # float32 [], mean of the old policy's, in nats


def matrpo(config: MATRPOConfig, environment: Description, total_updates: int) -> Learner:
    """Build the learner for an environment's sizes.

    Raises AverseError for environments with episodes.
    """
    del total_updates  # nothing here is scheduled
    validate(environment)
    return learner_of(MATRPO.of(config, environment), "beta", "max_kl", "learning_rate")


@dataclass(frozen=True, eq=False)
class MATRPO:
    """What the learner is made of, and what it does with it."""

    config: MATRPOConfig
    space: ActionSpace
    num_agents: int
    actors: Network  # of all agents, [..., A, O] -> [..., A, outputs]
    actor: Network  # of one agent
    critic: Network  # of the team
    optimiser: optax.GradientTransformation  # of the critic

    @classmethod
    def of(cls, config: MATRPOConfig, environment: Description) -> "MATRPO":
        """The parts that a configuration calls for, sized for an environment."""
        space, num_agents = environment.action_space, environment.num_agents
        actor = MLP(config.hidden, head_size(space), 0.01)
        return cls(
            config=config,
            space=space,
            num_agents=num_agents,
            actors=agent_networks(actor, num_agents, environment.observation_size, shared=False),
            actor=one_network(actor, environment.observation_size),
            critic=one_network(MLP(config.hidden, 1, 1.0), environment.global_state_size),
            optimiser=adam(config.max_gradient_norm),
        )

    def init(self, key: jax.Array, **swept: jax.Array) -> MATRPOState:
        config = self.config
        actor_key, critic_key, key = jax.random.split(key, 3)
        critic = self.critic.init(critic_key)
        numbers = {"beta": config.beta, "max_kl": config.max_kl, "learning_rate": config.learning_rate} | swept
        return MATRPOState(
            actors=self.actors.init(actor_key),
            critic=critic,
            critic_optimiser=self.optimiser.init(critic),
            moments=no_moments(),
            key=key,
            **{name: jnp.asarray(number, jnp.float32) for name, number in numbers.items()},
        )

    def act(self, state: MATRPOState, observations, available, key, memory=(), greedy: bool = False):
        del memory
        choice = action_distribution(self.space, self.actors.apply(state.actors, observations), available)
        return (choice.mode() if greedy else choice.sample(key)), {}

    def action_probabilities(self, state: MATRPOState, observations, available, memory=()):
        del memory
        return probabilities(action_distribution(self.space, self.actors.apply(state.actors, observations), available))

    def actors_of(self, state: MATRPOState) -> Params:
        return state.actors

    def update(self, state: MATRPOState, trajectory: Trajectory) -> tuple[MATRPOState, Metrics]:
        config = self.config
        key, order_key, critic_key = jax.random.split(state.key, 3)
        rewards = trajectory.rewards.mean(-1)
        moments = updated(state.moments, rewards, config.smoothing)
        values = self.values(state.critic, trajectory.global_state)
        advantages = average_reward_advantages(
            values,
            self.values(state.critic, trajectory.next_global_state),
            pseudo_reward(rewards, moments.eta, state.beta),
            moments.objective(state.beta),
            trajectory.truncated,
            config.lam,
        )
        order = jnp.arange(self.num_agents)
        if config.order == "random":
            order = jax.random.permutation(order_key, order)
        samples = by_agent(AgentSamples(trajectory.observations, trajectory.available, trajectory.actions))
        # A constant in A changes no expected gradient, only its variance.
        centred = (advantages - advantages.mean()).reshape(-1)
        actors, log_factor, turns = self.improve(state.actors, order, samples, centred, state.max_kl)
        targets = value_targets(values, advantages, config.value_constraint)
        critic, critic_optimiser, critic_metrics = descend(
            self.critic_loss,
            self.optimiser,
            state.critic,
            state.critic_optimiser,
            (trajectory.global_state.reshape(targets.size, -1), targets.reshape(-1)),
            critic_key,
            step_size=state.learning_rate,
            epochs=config.epochs,
            minibatches=config.minibatches,
        )
        metrics = {
            **objective_metrics(moments, state.beta, rewards, values, advantages),
            "entropy": turns.entropy.mean(),
            **critic_metrics,
            "joint_ratio_max": jnp.exp(log_factor.max()),
            **_step_metrics(order, turns.step),
        }
        state = state._replace(
            actors=actors, critic=critic, critic_optimiser=critic_optimiser, moments=moments, key=key
        )
        return state, metrics

    def improve(
        self, actors: Params, order: jax.Array, samples: AgentSamples, advantages: jax.Array, max_kl: jax.Array
    ) -> tuple[Params, jax.Array, Turn]:
        """All agents' steps in the given order [A]; samples have a leading axis A, advantages are [N].

        Returns the actors, the log of M over all agents [N], and the turns with a leading axis in their order.
        """

        def take_turn(so_far, agent):
            actors, log_factor = so_far
            mine, seen = jax.tree.map(lambda x: x[agent], (actors, samples))
            params, log_ratio, turn = self.agent_step(mine, seen, jnp.exp(log_factor) * advantages, max_kl)
            actors = jax.tree.map(lambda x, new: x.at[agent].set(new), actors, params)
            return (actors, log_factor + log_ratio), turn

        (actors, log_factor), turns = jax.lax.scan(take_turn, (actors, jnp.zeros_like(advantages)), order)
        return actors, log_factor, turns

    def agent_step(
        self, params: Params, samples: AgentSamples, weights: jax.Array, max_kl: jax.Array
    ) -> tuple[Params, jax.Array, Turn]:
        """One agent's trust-region step on the mean of its probability ratio times weights [N].

        Returns its parameters, the log of its new probability ratios [N], and how the turn went.
        """
        config = self.config
        flat, unravel = ravel_pytree(params)
        old = self.policy(params, samples)
        old_log_prob = old.log_prob(samples.actions)

        def log_ratio(new: ActionDistribution) -> jax.Array:
            return new.log_prob(samples.actions) - old_log_prob

        def surrogate(vector: jax.Array) -> jax.Array:
            return (jnp.exp(log_ratio(self.policy(unravel(vector), samples))) * weights).mean()

        def evaluate(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
            new = self.policy(unravel(vector), samples)
            return (jnp.exp(log_ratio(new)) * weights).mean(), old.divergence(new).mean()

        some = jax.tree.map(lambda x: x[:: config.fisher_stride], samples)

        def divergence(before: jax.Array, after: jax.Array) -> jax.Array:
            old, new = (action_distribution(self.space, outputs, some.available) for outputs in (before, after))
            return old.divergence(new).mean()

        step = trust_region_step(
            flat,
            *jax.value_and_grad(surrogate)(flat),
            fisher_product(
                lambda vector: self.actor.apply(unravel(vector), some.observations), divergence, flat, config.damping
            ),
            evaluate,
            max_kl=max_kl,
            cg_iterations=config.cg_iterations,
            backtrack=config.backtrack,
            backtracks=config.backtracks,
            accept=config.accept,
        )
        new = unravel(step.params)
        turn = Turn(step._replace(params=jnp.zeros(())), old.entropy().mean())
        return new, log_ratio(self.policy(new, samples)), turn

    def policy(self, params: Params, samples: AgentSamples) -> ActionDistribution:
        """One agent's policy at its samples [N]."""
        return action_distribution(self.space, self.actor.apply(params, samples.observations), samples.available)

    def values(self, params: Params, global_state: jax.Array) -> jax.Array:
        """V of states [..., G], [...]."""
        return self.critic.apply(params, global_state)[..., 0]

    def critic_loss(self, params: Params, data: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Metrics]:
        """Squared error of the values of states [N, G] against targets [N]."""
        loss = 0.5 * ((self.values(params, data[0]) - data[1]) ** 2).mean()
        return loss, {"critic_loss": loss}


def _step_metrics(order: jax.Array, steps: TrustRegionStep) -> Metrics:
    """How each agent's step went; `steps` are in the order of turns."""
    figures = {"accepted": steps.accepted, "kl": steps.kl, "surrogate_gain": steps.gain, "tried": steps.tried}
    metrics: Metrics = {}
    for name, values in figures.items():
        of_agent = jnp.zeros(order.shape).at[order].set(values.astype(jnp.float32))
        metrics |= {f"{name}_{agent}": of_agent[agent] for agent in range(len(order))}
    return metrics
