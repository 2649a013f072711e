"""MAPPO against partners that push back: every agent learns beside others that an adversary of its own has perturbed.

Strategically risk-averse policy optimisation (Qu et al. 2026, arXiv 2602.21515) after the risk-averse quantal response
equilibria of Mazumdar, Panaganti, Shi (2025): agent i maximises, over its policy pi_i,

    min over p of  E_{pi_i, p} sum_t gamma^t [ r_i + tau KL(p(.|s_t) || pi_-i(.|s_t)) ]  +  epsilon entropy of pi_i

where p, what an adversary makes of the policies pi_-i of all others, pays for each nat that it departs from them. That
is the entropic measure, of tolerance tau, over what the others do: in a matrix game an equilibrium is an RQE with the
penalty KL, the entropy as regulariser, and the aggregate form (`averse.games.rqe`), and in a Markov game that of
`averse.games.solve_markov` with neutral transitions. Small tau fears much, tau = inf is `mappo` on a part of the data.

In training each environment has one agent for its ego, in turn; the others act by the adversary of that ego. So a step
teaches one agent and one adversary, and a critic that is the ego's return, prices of the adversary included. The
adversary of several partners perturbs each by what that partner sees. Its network says what it fears of each action,
in reward units: p is proportional to pi exp(-feared / tau). At the optimum that is the ego's value of the action, up to
a constant, and a perturbation follows the policies that it perturbs as they learn.

Axes: T time, B environments, N sequences of L steps, A agents, n actions, K outputs of the actor; `...` batch axes.
"""

from dataclasses import dataclass, fields
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from averse.environments.protocol import Box, Description
from averse.errors import AverseError
from averse.learners.contract import Learner, Metrics, Trajectory
from averse.learners.parts.action_distributions import (
    ActionDistribution,
    CategoricalActions,
    GaussianActions,
    action_distribution,
)
from averse.learners.parts.networks import ACTIVATIONS, MLP, Memory, Network, Params, agent_networks
from averse.learners.parts.updates import adam, apart, policy_loss, weighted_mean
from averse.learners.policy_gradient.advantages import Estimates
from averse.learners.policy_gradient.config import MAPPOConfig, SRPOConfig, layouts_of
from averse.learners.policy_gradient.mappo import MAPPO, MAPPOState, Prices, Samples, mappo
from averse.risk import Categorical, Entropic, RiskMeasure


def srpo_mappo(config: SRPOConfig, environment: Description, total_updates: int) -> Learner:
    """Build the learner for an environment's sizes.

    Args:
      total_updates: what the schedules are stretched over.

    Raises AverseError for an environment without partners, and for settings that do not fit it.
    """
    agents = environment.num_agents
    if agents < 2:
        raise AverseError(f"partners that push back need several agents, and {environment.name} has {agents}")
    if config.num_envs < agents:
        raise AverseError(f"num_envs must be {agents} or more, one for each agent to learn in, not {config.num_envs}")
    return mappo(config, environment, total_updates, SRPO)


def perturbed(choice: ActionDistribution, feared: jax.Array, tau: jax.Array) -> tuple[ActionDistribution, jax.Array]:
    """What an adversary makes of a policy, and its price tau KL(p || pi), in reward units [...].

    Of discrete actions p is proportional to pi exp(-feared / tau). Of continuous ones, where what is feared is linear
    in the action, that is a normal of the same width whose mean has moved by -feared / tau standard deviations.

    Args:
      choice: pi, batch axes [...].
      feared: [..., n], or [..., size] per standard deviation of the action; reward units.
      tau: [], in reward units, in (0, inf].
    """
    if isinstance(choice, GaussianActions):
        moved = -feared / tau
        return choice._replace(mean=choice.mean + jnp.exp(choice.log_std) * moved), -0.5 * (moved * feared).sum(-1)
    log_probs = jax.nn.log_softmax(choice.log_probs - feared / tau)
    # tau KL = entropic measure less mean under p: both are as large as what is feared, however large tau is.
    certain = Entropic(tau)(Categorical(feared, jnp.exp(choice.log_probs)))
    return CategoricalActions(log_probs), certain - (jnp.exp(log_probs) * feared).sum(-1)


class Perturbation(NamedTuple):
    """What the adversary's loss needs to know of a step, [..., A]."""

    ego: jax.Array  # float32 [..., A], 1 for the agent that learns, whose partners are perturbed
    outputs: jax.Array  # [..., A, K], the actor's, of the policies that were perturbed


@dataclass(frozen=True, eq=False)
class SRPO(MAPPO):
    """MAPPO with an adversary for each agent."""

    adversary: Network  # of each partner [..., A], asked with the ego's identity: what it fears, in `value_scale`s

    @classmethod
    def of(cls, config: MAPPOConfig, environment: Description, total_updates: int) -> "SRPO":
        """The parts that a configuration calls for, sized for an environment."""
        parts = MAPPO.of(config, environment, total_updates)
        agents, space = environment.num_agents, environment.action_space
        fears = space.size if isinstance(space, Box) else space.num_actions
        layouts = layouts_of(config, environment)[:1]
        layers = MLP(
            config.hidden, fears, 0.01, ACTIVATIONS[config.activation], layouts=layouts, set_units=config.set_units
        )
        remembered = [parts.actor.memory_size] if config.recurrent else []
        seen = (environment.observation_size, agents, *remembered)
        of_mappo = {field.name: getattr(parts, field.name) for field in fields(parts)}
        optimiser = apart(adam(config.max_gradient_norm), "actor", "critic", "adversary")
        adversary = agent_networks(layers, agents, *seen, shared=config.shared)
        return cls(**of_mappo | {"optimiser": optimiser}, adversary=adversary)

    def init(self, key: jax.Array, **swept: jax.Array) -> MAPPOState:
        mappo_key, adversary_key = jax.random.split(key)
        state = super().init(mappo_key, **swept)
        networks = {**state.networks, "adversary": self.adversary.init(adversary_key)}
        return state._replace(networks=networks, optimiser=self.optimiser.init(networks))

    def behave(self, state: MAPPOState, observations, available, key, memory: Memory = ()):
        """The policy for the ego of each environment [B], its perturbation for all others."""
        outputs, after = self.actor.step(state.networks["actor"], memory, observations)
        own = action_distribution(self.space, outputs, available)
        ego = egos(observations.shape[:-1])
        feared = self.feared(state.networks["adversary"], observations, ego, memory)
        others, price = perturbed(own, feared, tolerance(self.measure_in_force(state)[1]))
        choice = jax.tree.map(lambda mine, theirs: jnp.where(ego[..., None] > 0, mine, theirs), own, others)
        actions = choice.sample(key)
        return actions, {"log_prob": choice.log_prob(actions), "memory": after, "outputs": outputs, "price": price}

    def feared(self, params: Params, observations: jax.Array, ego: jax.Array, memory: Memory) -> jax.Array:
        """What the ego's adversary fears of each partner's actions, reward units [..., A, n]; for the ego, unused."""
        raw = self.adversary.apply(params, observations, ego[..., None, :], *jax.tree.leaves(memory))
        return self.config.value_scale * raw

    def update(self, state: MAPPOState, trajectory: Trajectory) -> tuple[MAPPOState, Metrics]:
        of_each = of_egos(trajectory)
        learned, metrics = super().update(state, of_each)
        acting = of_partners(jnp.ones(of_each.active.shape), of_each.active)
        nats = trajectory.extras["price"] / tolerance(self.measure_in_force(state)[1])
        return learned, metrics | {"partner_divergence": weighted_mean(nats, acting)}

    def estimates(self, state: MAPPOState, trajectory: Trajectory, measure: RiskMeasure) -> Estimates:
        """The ego's advantages, which its adversary loses, and the critic's targets, [T, B, A]."""
        found = super().estimates(state, trajectory, measure)
        advantages = of_ego(found.advantages)
        return found._replace(
            advantages=jnp.where(egos(advantages.shape) > 0, advantages, -advantages),
            metrics={"value": of_ego(found.metrics["value"])},
        )

    def samples(self, trajectory: Trajectory, advantages: jax.Array, targets: jax.Array) -> Samples:
        """What is learned from a trajectory, leading axes [T, B]."""
        perturbation = Perturbation(egos(advantages.shape), trajectory.extras["outputs"])
        return super().samples(trajectory, advantages, targets)._replace(besides=perturbation)

    def loss(self, prices: Prices, networks: dict[str, Params], data: Samples) -> tuple[jax.Array, Metrics]:
        """The loss of the egos, of their adversaries and of the critic on some sequences [N, L].

        Each is weighed by its share of the samples, so that the losses of a batch's parts add up to that of the whole.
        """
        perturbation: Perturbation = data.besides
        ego, others = data.active * perturbation.ego, data.active * (1.0 - perturbation.ego)
        share = ego.sum() / jnp.maximum(data.active.sum(), 1.0)
        loss_of = partial(policy_loss, clip=self.config.clip, penalty=self.config.penalty)
        taken = (data.actions, data.log_prob, data.advantages)
        memory = jax.tree.map(lambda x: x[:, 0], data.memory)
        outputs = self.actor.unroll(networks["actor"], memory, data.observations, data.first, batch_first=True)
        choice = action_distribution(self.space, outputs, data.available)
        actor_loss, metrics = loss_of(choice, *taken, epsilon=prices.epsilon, weights=ego)

        policies = action_distribution(self.space, perturbation.outputs, data.available)
        feared = self.feared(networks["adversary"], data.observations, perturbation.ego, data.memory)
        choice, price = perturbed(policies, feared, tolerance(prices.measure))
        adversary_loss, _ = loss_of(choice, *taken, epsilon=0.0, weights=others)
        adversary_loss += weighted_mean(price, others) / prices.unit

        critic_loss = self.critic_loss(networks["critic"], data, ego)
        loss = share * (actor_loss + critic_loss) + (1.0 - share) * adversary_loss
        return loss, metrics | {"adversary_loss": adversary_loss, "critic_loss": critic_loss}


def tolerance(measure: RiskMeasure) -> jax.Array:
    """tau [] of an entropic measure, in reward units."""
    return jnp.asarray(cast(Entropic, measure).tau)


def egos(shape: tuple[int, ...]) -> jax.Array:
    """Which agents are the egos, float32 of a shape [..., B, A]: each agent in turn, 1 in each environment."""
    return jnp.broadcast_to(jax.nn.one_hot(jnp.arange(shape[-2]) % shape[-1], shape[-1]), shape)


def of_ego(values: jax.Array) -> jax.Array:
    """The ego's in the place of everybody's, [..., B, A]."""
    seats = jnp.broadcast_to(egos(values.shape).argmax(-1, keepdims=True), values.shape)
    return jnp.take_along_axis(values, seats, -1)


def of_partners(values: jax.Array, active: jax.Array) -> jax.Array:
    """Values [..., B, A] of the egos' partners who act (bool), 0 elsewhere."""
    return jnp.where(active & (egos(values.shape) == 0), values, 0.0)


def of_egos(trajectory: Trajectory) -> Trajectory:
    """The trajectory as each environment's ego sees it: its own rewards, its adversary's prices, until its own end."""
    prices = of_partners(trajectory.extras["price"], trajectory.active).sum(-1, keepdims=True)
    rewards = of_ego(trajectory.rewards)
    return trajectory._replace(
        rewards=rewards + jnp.broadcast_to(prices, rewards.shape),
        costs=of_ego(trajectory.costs),
        terminated=of_ego(trajectory.terminated),
        active=trajectory.active & of_ego(trajectory.active),
    )
