"""MV-IPPO: independent proximal policy optimisation of the long-run mean-variance objective, a baseline.

Every agent runs PPO (Schulman et al. 2017) on its own, all at the same time, with its own critic of what it observes.
Pseudo-reward and average-reward advantages are those of MV-MATRPO (`averse.learners.average_reward.matrpo`); what is
missing is the coordination: no agent knows that the others move too, so that steps which would each be good alone can
harm together (de Witt et al. 2020 on independent PPO; Hu, Xia, arXiv 2511.20977).

Axes: T time, B environments, A agents, N = T B.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from averse.environments.protocol import Description, Discrete
from averse.learners.average_reward.config import MVIPPOConfig, validate
from averse.learners.average_reward.objective import (
    Moments,
    average_reward_advantages,
    no_moments,
    pseudo_reward,
    updated,
    value_targets,
)
from averse.learners.contract import Learner, Metrics, Trajectory
from averse.learners.parts.action_distributions import CategoricalActions, action_distribution, head_size
from averse.learners.parts.networks import MLP, agent_networks, one_network
from averse.learners.parts.updates import descend


class MVIPPOState(NamedTuple):
    """Everything that training changes or sweeps over; networks and optimisers have a leading axis A."""

    networks: Any  # {"actor": ..., "critic": ...}
    optimisers: Any
    moments: Moments
    beta: jax.Array
    epsilon: jax.Array
    learning_rate: jax.Array
    key: jax.Array


class _Samples(NamedTuple):
    """What one agent learns from."""

    observations: jax.Array  # [N, O]
    available: jax.Array  # bool [N, n]
    actions: jax.Array  # [N] or [N, size]
    log_prob: jax.Array  # [N]
    advantages: jax.Array  # [N]
    targets: jax.Array  # [N]


def mv_ippo(config: MVIPPOConfig, environment: Description, total_updates: int) -> Learner:
    """Build the learner for an environment's sizes.

    Raises AverseError for settings out of range and for environments with episodes.
    """
    del total_updates  # nothing here is scheduled
    validate(config, environment)
    space, num_agents = environment.action_space, environment.num_agents
    actor, critic = MLP(config.hidden, head_size(space), 0.01), MLP(config.hidden, 1, 1.0)
    actors_init, actors_apply = agent_networks(actor, num_agents, environment.observation_size, shared=False)
    critics_init, critics_apply = agent_networks(critic, num_agents, environment.observation_size, shared=False)
    _, actor_apply = one_network(actor, environment.observation_size)
    _, critic_apply = one_network(critic, environment.observation_size)
    adam = optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), optax.scale_by_adam(eps=1e-5))
    optimiser = optax.partition(
        {"actor": adam, "critic": adam}, lambda networks: {name: name for name in networks}
    )  # gradients of actor and critic are clipped apart

    def init(key: jax.Array, **swept: jax.Array) -> MVIPPOState:
        actor_key, critic_key, key = jax.random.split(key, 3)
        networks = {"actor": actors_init(actor_key), "critic": critics_init(critic_key)}
        numbers = {"beta": config.beta, "epsilon": config.epsilon, "learning_rate": config.learning_rate} | swept
        return MVIPPOState(
            networks=networks,
            optimisers=jax.vmap(optimiser.init)(networks),
            moments=no_moments(),
            key=key,
            **{name: jnp.asarray(number, jnp.float32) for name, number in numbers.items()},
        )

    def act(state: MVIPPOState, observations, available, key, memory=(), greedy: bool = False):
        del memory
        choice = action_distribution(space, actors_apply(state.networks["actor"], observations), available)
        actions = choice.mode() if greedy else choice.sample(key)
        return actions, {"log_prob": choice.log_prob(actions)}

    def action_probabilities(state: MVIPPOState, observations, available, memory=()):
        del memory
        choice = cast(
            CategoricalActions,
            action_distribution(space, actors_apply(state.networks["actor"], observations), available),
        )
        return jnp.exp(choice.log_probs)

    def learn(networks: Any, optimisers: Any, samples: _Samples, key: jax.Array, epsilon: jax.Array, rate: jax.Array):
        """One agent's passes over its samples."""

        def loss(networks: Any, data: _Samples):
            choice = action_distribution(space, actor_apply(networks["actor"], data.observations), data.available)
            log_ratio = choice.log_prob(data.actions) - data.log_prob
            ratio = jnp.exp(log_ratio)
            clipped = jnp.clip(ratio, 1.0 - config.clip, 1.0 + config.clip)
            gain = jnp.minimum(ratio * data.advantages, clipped * data.advantages).mean()
            entropy = choice.entropy().mean()
            values = critic_apply(networks["critic"], data.observations)[..., 0]
            critic_loss = 0.5 * ((values - data.targets) ** 2).mean()
            metrics = {
                "entropy": entropy,
                "approximate_kl": (ratio - 1.0 - log_ratio).mean(),
                "clip_fraction": (jnp.abs(ratio - 1.0) > config.clip).mean(),
                "actor_loss": -gain,
                "critic_loss": critic_loss,
            }
            return critic_loss - gain - epsilon * entropy, metrics

        return descend(
            loss, optimiser, networks, optimisers, samples, key,
            learning_rate=rate, epochs=config.epochs, minibatches=config.minibatches,
        )  # fmt: skip

    def update(state: MVIPPOState, trajectory: Trajectory) -> tuple[MVIPPOState, Metrics]:
        key, learn_key = jax.random.split(state.key)
        rewards = trajectory.rewards.mean(-1)
        moments = updated(state.moments, rewards, config.smoothing)
        objective = moments.objective(state.beta)
        values = critics_apply(state.networks["critic"], trajectory.observations)[..., 0]  # [T, B, A]
        advantages = average_reward_advantages(
            values,
            critics_apply(state.networks["critic"], trajectory.next_observations)[..., 0],
            pseudo_reward(rewards, moments.eta, state.beta)[..., None],
            objective,
            trajectory.truncated[..., None],
            config.lam,
        )
        targets = jax.vmap(value_targets, in_axes=(-1, -1, None), out_axes=-1)(
            values, advantages, config.value_constraint
        )
        scaled = (advantages - advantages.mean((0, 1))) / (advantages.std((0, 1)) + 1e-8)
        samples = _Samples(
            trajectory.observations, trajectory.available, trajectory.actions, trajectory.extras["log_prob"],
            scaled, targets,
        )  # fmt: skip
        samples = jax.tree.map(lambda x: jnp.moveaxis(x, 2, 0).reshape(num_agents, -1, *x.shape[3:]), samples)
        networks, optimisers, metrics = jax.vmap(learn, in_axes=(0, 0, 0, 0, None, None))(
            state.networks, state.optimisers, samples, jax.random.split(learn_key, num_agents), state.epsilon,
            state.learning_rate,
        )  # fmt: skip
        metrics = {name: value.mean() for name, value in metrics.items()}
        metrics |= {
            "objective": objective,
            "eta": moments.eta,
            "zeta": moments.zeta,
            "batch_mean": rewards.mean(),
            "batch_square": (rewards**2).mean(),
            "value_mean": values.mean(),
            "explained_variance": 1.0 - advantages.var() / (jnp.var(values + advantages) + 1e-8),
        }
        return MVIPPOState(networks, optimisers, moments, state.beta, state.epsilon, state.learning_rate, key), metrics

    return Learner(
        init=init,
        act=act,
        update=update,
        predict_returns=None,
        initial_memory=lambda num_envs: (),
        sweepable=frozenset({"beta", "epsilon", "learning_rate"}),
        rollout_steps=config.rollout_steps,
        num_envs=config.num_envs,
        gamma=1.0,
        action_probabilities=action_probabilities if isinstance(space, Discrete) else None,
    )
