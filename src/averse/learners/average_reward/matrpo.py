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

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from averse.environments.protocol import Description, Discrete
from averse.learners.average_reward.config import MATRPOConfig, validate
from averse.learners.average_reward.objective import (
    Moments,
    average_reward_advantages,
    no_moments,
    pseudo_reward,
    updated,
    value_targets,
)
from averse.learners.average_reward.trust_region import TrustRegionStep, fisher_product, trust_region_step
from averse.learners.contract import Learner, Metrics, Trajectory
from averse.learners.parts.action_distributions import CategoricalActions, action_distribution, head_size
from averse.learners.parts.networks import MLP, agent_networks, one_network
from averse.learners.parts.updates import descend


class MATRPOState(NamedTuple):
    """Everything that training changes or sweeps over."""

    actors: Any  # parameters with a leading axis A
    critic: Any
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


def matrpo(config: MATRPOConfig, environment: Description, total_updates: int) -> Learner:
    """Build the learner for an environment's sizes.

    Raises AverseError for settings out of range and for environments with episodes.
    """
    del total_updates  # nothing here is scheduled
    validate(config, environment)
    space, num_agents = environment.action_space, environment.num_agents
    actor = MLP(config.hidden, head_size(space), 0.01)
    actors_init, actors_apply = agent_networks(actor, num_agents, environment.observation_size, shared=False)
    _, actor_apply = one_network(actor, environment.observation_size)
    critic_init, critic_apply = one_network(MLP(config.hidden, 1, 1.0), environment.global_state_size)
    optimiser = optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), optax.scale_by_adam(eps=1e-5))

    def init(key: jax.Array, **swept: jax.Array) -> MATRPOState:
        actor_key, critic_key, key = jax.random.split(key, 3)
        critic_params = critic_init(critic_key)
        numbers = {"beta": config.beta, "max_kl": config.max_kl, "learning_rate": config.learning_rate} | swept
        return MATRPOState(
            actors=actors_init(actor_key),
            critic=critic_params,
            critic_optimiser=optimiser.init(critic_params),
            moments=no_moments(),
            key=key,
            **{name: jnp.asarray(number, jnp.float32) for name, number in numbers.items()},
        )

    def act(state: MATRPOState, observations, available, key, memory=(), greedy: bool = False):
        del memory
        choice = action_distribution(space, actors_apply(state.actors, observations), available)
        return (choice.mode() if greedy else choice.sample(key)), {}

    def action_probabilities(state: MATRPOState, observations, available, memory=()):
        del memory
        choice = cast(
            CategoricalActions, action_distribution(space, actors_apply(state.actors, observations), available)
        )
        return jnp.exp(choice.log_probs)

    def values_of(params: Any, global_state: jax.Array) -> jax.Array:
        """V of states [..., G], [...]."""
        return critic_apply(params, global_state)[..., 0]

    def critic_loss(params: Any, data: tuple[jax.Array, jax.Array]):
        loss = 0.5 * ((values_of(params, data[0]) - data[1]) ** 2).mean()
        return loss, {"critic_loss": loss}

    def agent_step(params: Any, samples: AgentSamples, weights: jax.Array, max_kl: jax.Array):
        """One agent's trust-region step on the mean of its probability ratio times weights [N].

        Returns its parameters, the log of its new probability ratios [N], how the step went, and its entropy before.
        """
        flat, unravel = ravel_pytree(params)

        def policy_at(vector: jax.Array, data: AgentSamples):
            return action_distribution(space, actor_apply(unravel(vector), data.observations), data.available)

        old = policy_at(flat, samples)
        old_log_prob = old.log_prob(samples.actions)

        def surrogate(vector: jax.Array) -> jax.Array:
            log_prob = policy_at(vector, samples).log_prob(samples.actions)
            return (jnp.exp(log_prob - old_log_prob) * weights).mean()

        def evaluate(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
            new = policy_at(vector, samples)
            ratio = jnp.exp(new.log_prob(samples.actions) - old_log_prob)
            return (ratio * weights).mean(), old.divergence(new).mean()

        some = jax.tree.map(lambda x: x[:: config.fisher_stride], samples)
        product = fisher_product(
            lambda vector: actor_apply(unravel(vector), some.observations),
            lambda before, after: (
                action_distribution(space, before, some.available)
                .divergence(action_distribution(space, after, some.available))
                .mean()
            ),
            flat,
            config.damping,
        )
        step = trust_region_step(
            flat, *jax.value_and_grad(surrogate)(flat), product, evaluate,
            max_kl=max_kl, cg_iterations=config.cg_iterations, backtrack=config.backtrack,
            backtracks=config.backtracks, accept=config.accept,
        )  # fmt: skip
        log_ratio = policy_at(step.params, samples).log_prob(samples.actions) - old_log_prob
        return unravel(step.params), log_ratio, step, old.entropy().mean()

    def improve(actors: Any, order: jax.Array, samples: AgentSamples, advantages: jax.Array, max_kl: jax.Array):
        """All agents' steps in the given order [A]; samples have a leading axis A, advantages are [N].

        Returns the actors, the log of M over all agents [N], the steps with a leading axis in the order of turns, and
        the mean entropy of the old policies.
        """

        def turn(so_far, agent):
            actors, log_factor = so_far
            mine, seen = jax.tree.map(lambda x: x[agent], (actors, samples))
            params, log_ratio, step, entropy = agent_step(mine, seen, jnp.exp(log_factor) * advantages, max_kl)
            actors = jax.tree.map(lambda x, new: x.at[agent].set(new), actors, params)
            return (actors, log_factor + log_ratio), (step._replace(params=jnp.zeros(())), entropy)

        (actors, log_factor), (steps, entropies) = jax.lax.scan(turn, (actors, jnp.zeros_like(advantages)), order)
        return actors, log_factor, steps, entropies.mean()

    def update(state: MATRPOState, trajectory: Trajectory) -> tuple[MATRPOState, Metrics]:
        key, order_key, critic_key = jax.random.split(state.key, 3)
        rewards = trajectory.rewards.mean(-1)
        moments = updated(state.moments, rewards, config.smoothing)
        objective = moments.objective(state.beta)
        values = values_of(state.critic, trajectory.global_state)
        advantages = average_reward_advantages(
            values,
            values_of(state.critic, trajectory.next_global_state),
            pseudo_reward(rewards, moments.eta, state.beta),
            objective,
            trajectory.truncated,
            config.lam,
        )
        order = jnp.arange(num_agents)
        if config.order == "random":
            order = jax.random.permutation(order_key, order)
        samples = AgentSamples(trajectory.observations, trajectory.available, trajectory.actions)
        samples = jax.tree.map(lambda x: jnp.moveaxis(x, 2, 0).reshape(num_agents, -1, *x.shape[3:]), samples)
        # A constant in A changes no expected gradient, only its variance.
        centred = (advantages - advantages.mean()).reshape(-1)
        actors, log_factor, steps, entropy = improve(state.actors, order, samples, centred, state.max_kl)
        targets = value_targets(values, advantages, config.value_constraint)
        critic_params, critic_optimiser, critic_metrics = descend(
            critic_loss,
            optimiser,
            state.critic,
            state.critic_optimiser,
            (trajectory.global_state.reshape(targets.size, -1), targets.reshape(-1)),
            critic_key,
            learning_rate=state.learning_rate,
            epochs=config.epochs,
            minibatches=config.minibatches,
        )
        metrics = {
            "objective": objective,
            "eta": moments.eta,
            "zeta": moments.zeta,
            "batch_mean": rewards.mean(),
            "batch_square": (rewards**2).mean(),
            "entropy": entropy,
            "value_mean": values.mean(),
            **critic_metrics,
            "explained_variance": 1.0 - advantages.var() / (jnp.var(values + advantages) + 1e-8),
            "joint_ratio_max": jnp.exp(log_factor.max()),
            **_by_agent(order, steps),
        }
        return MATRPOState(
            actors, critic_params, critic_optimiser, moments, state.beta, state.max_kl, state.learning_rate, key
        ), metrics

    return Learner(
        init=init,
        act=act,
        update=update,
        predict_returns=None,
        initial_memory=lambda num_envs: (),
        sweepable=frozenset({"beta", "max_kl", "learning_rate"}),
        rollout_steps=config.rollout_steps,
        num_envs=config.num_envs,
        gamma=1.0,
        action_probabilities=action_probabilities if isinstance(space, Discrete) else None,
    )


def _by_agent(order: jax.Array, steps: TrustRegionStep) -> dict[str, jax.Array]:
    """How each agent's step went; `steps` are in the order of turns."""
    figures = {"accepted": steps.accepted, "kl": steps.kl, "surrogate_gain": steps.gain, "tried": steps.tried}
    metrics: Metrics = {}
    for name, values in figures.items():
        by_agent = jnp.zeros(order.shape).at[order].set(values)
        metrics |= {f"{name}_{agent}": by_agent[agent] for agent in range(len(order))}
    return metrics
