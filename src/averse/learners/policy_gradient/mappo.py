"""Multi-agent PPO with any critic, risk measure and advantage: one learner, whose presets are six methods of the field.

One `update`: predict with the critic, make lambda-return targets and advantages, then a few epochs of clipped policy
steps (Schulman et al. 2017) and critic regression on minibatches. What makes the policy risk-averse is the advantage
(design of the estimators: `averse.risk.advantages`), not the measure inside a baseline.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from averse.environments.protocol import Description, Discrete
from averse.learners.contract import Learner, Metrics, Trajectory
from averse.learners.parts.action_distributions import (
    ActionDistribution,
    CategoricalActions,
    action_distribution,
    head_size,
)
from averse.learners.parts.critics import (
    CategoricalCritic,
    Critic,
    DistributionalCritic,
    DualCritic,
    QuantileCritic,
    ScalarCritic,
    Transitions,
)
from averse.learners.parts.networks import (
    MLP,
    Memory,
    agent_networks,
    critic_input_size,
    critic_inputs,
    feed_forward,
    recurrent,
)
from averse.learners.policy_gradient.advantages import estimate_advantages
from averse.learners.policy_gradient.config import MAPPOConfig, measure_fields, risk_measure, validate, with_numbers
from averse.risk import RiskMeasure


class MAPPOState(NamedTuple):
    """Everything that training changes or sweeps over."""

    actor: Any
    critic: Any
    actor_optimiser: Any
    critic_optimiser: Any
    measure: RiskMeasure  # the target; `risk_fraction` says how much of it is in force
    epsilon: jax.Array
    learning_rate: jax.Array
    updates: jax.Array  # int32 [], updates done
    key: jax.Array


class _Minibatch(NamedTuple):
    """N sequences of L consecutive steps, leading axes [N, L]."""

    memory: Memory  # of the actor before each step
    first: jax.Array
    observations: jax.Array
    global_state: jax.Array
    available: jax.Array
    actions: jax.Array
    log_prob: jax.Array
    advantages: jax.Array
    targets: jax.Array
    active: jax.Array


def make_critic(config: MAPPOConfig, environment: Description) -> Critic:
    """The critic of a configuration; its support comes from the environment's return bounds where not given."""
    low, high = config.support or environment.return_bounds(config.gamma)
    if config.shaping and config.support is None:
        # A cost is paid once per unsafe event; events that cost for many steps need a support of their own.
        low -= config.shaping
    match config.critic:
        case "scalar":
            return ScalarCritic(config.value_scale)
        case "dual":
            return DualCritic(high - low, config.value_scale)
        case "categorical":
            return CategoricalCritic(jnp.linspace(low, high, config.num_atoms))
        case "quantile":
            return QuantileCritic(config.num_atoms, config.value_scale)


def mappo(config: MAPPOConfig, environment: Description, total_updates: int) -> Learner:
    """Build the learner for an environment's sizes; `total_updates` is what the schedules are stretched over.

    Raises AverseError for settings out of range or that contradict each other.
    """
    validate(config, environment)
    target_measure = risk_measure(config)
    space, num_agents = environment.action_space, environment.num_agents
    critic = make_critic(config, environment)
    distributional = cast(DistributionalCritic, critic)  # used only where the critic is one
    per_action = config.advantage == "action-value"
    num_heads = space.num_actions if per_action and isinstance(space, Discrete) else 1
    actor_network = (recurrent if config.recurrent else feed_forward)(
        MLP(config.hidden, head_size(space), 0.01), num_agents, environment.observation_size, shared=config.shared
    )
    critic_init, critic_apply = agent_networks(
        MLP(config.hidden, critic.outputs * num_heads, 1.0 if critic.outputs == 1 else 0.1),
        num_agents,
        critic_input_size(
            environment.observation_size,
            environment.global_state_size,
            actor_network.memory_size,
            num_agents,
            centralised=config.centralised,
        ),
        shared=config.shared,
    )
    optimiser = optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), optax.scale_by_adam(eps=1e-5))

    def init(key: jax.Array, **swept: jax.Array) -> MAPPOState:
        actor_key, critic_key, key = jax.random.split(key, 3)
        actor, critic_params = actor_network.init(actor_key), critic_init(critic_key)
        numbers: dict[str, Any] = {"epsilon": config.epsilon, "learning_rate": config.learning_rate}
        numbers |= {name: swept.pop(name) for name in numbers.keys() & swept.keys()}
        measure = with_numbers(target_measure, swept)
        return MAPPOState(
            actor=actor,
            critic=critic_params,
            actor_optimiser=optimiser.init(actor),
            critic_optimiser=optimiser.init(critic_params),
            measure=jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), measure),
            epsilon=jnp.asarray(numbers["epsilon"], jnp.float32),
            learning_rate=jnp.asarray(numbers["learning_rate"], jnp.float32),
            updates=jnp.int32(0),
            key=key,
        )

    def policy_of(
        params: Any, observations: jax.Array, available: jax.Array, memory: Memory
    ) -> tuple[ActionDistribution, Memory]:
        """The policy at any single steps, [..., A], from what is remembered before each; and the memory after it."""
        outputs, memory = actor_network.step(params, memory, observations)
        return action_distribution(space, outputs, available), memory

    def probabilities(params: Any, observations: jax.Array, available: jax.Array, memory: Memory) -> jax.Array:
        """pi(.|s) of discrete actions, [..., A, n]."""
        choice, _ = policy_of(params, observations, available, memory)
        return jnp.exp(cast(CategoricalActions, choice).log_probs)

    def action_probabilities(state: MAPPOState, observations, available, memory=()):
        return probabilities(state.actor, observations, available, memory)

    def raw_predictions(params: Any, observations: jax.Array, global_state: jax.Array, memory: Memory) -> jax.Array:
        """Critic outputs [..., A, outputs], or [..., A, n, outputs] for a critic per action."""
        seen = critic_inputs(observations, global_state, memory, centralised=config.centralised)
        raw = critic_apply(params, *seen)
        return raw.reshape(*raw.shape[:-1], num_heads, critic.outputs) if per_action else raw

    def act(state: MAPPOState, observations, available, key, memory=(), greedy: bool = False):
        choice, memory = policy_of(state.actor, observations, available, memory)
        actions = choice.mode() if greedy else choice.sample(key)
        return actions, {"log_prob": choice.log_prob(actions), "memory": memory}

    def predict_returns(state: MAPPOState, observations, global_state, available, memory=()):
        raw = raw_predictions(state.critic, observations, global_state, memory)
        if per_action:
            raw = distributional.raw_of(probabilities(state.actor, observations, available, memory), raw)
        return distributional.distribution(raw)

    def update(state: MAPPOState, trajectory: Trajectory) -> tuple[MAPPOState, Metrics]:
        progress = state.updates / total_updates
        risk_fraction = jnp.minimum(1.0, progress / config.risk_warmup) if config.risk_warmup else jnp.float32(1.0)
        measure = state.measure.relaxed(risk_fraction)
        memory, next_memory = trajectory.memory, trajectory.extras["memory"]
        transitions = _transitions(trajectory, config.gamma, config.shaping)
        mixtures = None
        if per_action:
            mixtures = (
                probabilities(state.actor, trajectory.observations, trajectory.available, memory),
                probabilities(state.actor, trajectory.next_observations, trajectory.next_available, next_memory),
            )
        estimates = estimate_advantages(
            config.advantage,
            critic,
            measure,
            raw_predictions(state.critic, trajectory.observations, trajectory.global_state, memory),
            raw_predictions(state.critic, trajectory.next_observations, trajectory.next_global_state, next_memory),
            transitions,
            config.lam,
            exponent_clip=config.exponent_clip,
            actions=trajectory.actions,
            mixtures=mixtures,
        )
        active = trajectory.active.astype(jnp.float32)
        advantages = estimates.advantages
        if config.normalise_advantages:
            advantages = _normalise(advantages, active)
        batch = _Minibatch(
            memory, trajectory.first, trajectory.observations, trajectory.global_state, trajectory.available,
            trajectory.actions, trajectory.extras["log_prob"], advantages, estimates.targets, active,
        )  # fmt: skip
        batch = jax.tree.map(lambda x: _segments(x, config.segment_length), batch)
        step_size = state.learning_rate * (1.0 - 0.9 * progress)

        def actor_loss(params, data: _Minibatch):
            memory = jax.tree.map(lambda x: x[:, 0], data.memory)
            outputs = actor_network.unroll(params, memory, data.observations, data.first, batch_first=True)
            choice = action_distribution(space, outputs, data.available)
            log_ratio = choice.log_prob(data.actions) - data.log_prob
            ratio = jnp.exp(log_ratio)
            clipped = jnp.clip(ratio, 1.0 - config.clip, 1.0 + config.clip)
            gain = jnp.minimum(ratio * data.advantages, clipped * data.advantages)
            entropy = _mean(choice.entropy(), data.active)
            metrics = {
                "entropy": entropy,
                "approximate_kl": _mean(ratio - 1.0 - log_ratio, data.active),
                "clip_fraction": _mean(jnp.abs(ratio - 1.0) > config.clip, data.active),
            }
            return -_mean(gain, data.active) - state.epsilon * entropy, metrics

        def critic_loss(params, data: _Minibatch):
            raw = raw_predictions(params, data.observations, data.global_state, data.memory)
            if per_action:
                raw = (raw * jax.nn.one_hot(data.actions, num_heads)[..., None]).sum(-2)
            return config.critic_weight * _mean(critic.loss(raw, data.targets), data.active)

        def minibatch_step(networks, data: _Minibatch):
            actor, critic_params, actor_optimiser, critic_optimiser = networks
            (policy_loss, metrics), gradient = jax.value_and_grad(actor_loss, has_aux=True)(actor, data)
            changes, actor_optimiser = optimiser.update(gradient, actor_optimiser)
            actor = jax.tree.map(lambda p, c: p - step_size * c, actor, changes)
            value_loss, gradient = jax.value_and_grad(critic_loss)(critic_params, data)
            changes, critic_optimiser = optimiser.update(gradient, critic_optimiser)
            critic_params = jax.tree.map(lambda p, c: p - step_size * c, critic_params, changes)
            metrics |= {"actor_loss": policy_loss, "critic_loss": value_loss}
            return (actor, critic_params, actor_optimiser, critic_optimiser), metrics

        def epoch(networks, key):
            order = jax.random.permutation(key, config.num_envs * config.rollout_steps // config.segment_length)
            order = order.reshape(config.minibatches, -1)
            return jax.lax.scan(
                lambda nets, index: minibatch_step(nets, jax.tree.map(lambda x: x[index], batch)), networks, order
            )

        key, shuffle_key = jax.random.split(state.key)
        networks = (state.actor, state.critic, state.actor_optimiser, state.critic_optimiser)
        networks, metrics = jax.lax.scan(epoch, networks, jax.random.split(shuffle_key, config.epochs))
        metrics = {name: values.mean() for name, values in metrics.items()}
        metrics |= {name: _mean(values, active) for name, values in estimates.metrics.items()}
        metrics["risk_fraction"] = risk_fraction
        state = MAPPOState(*networks, state.measure, state.epsilon, state.learning_rate, state.updates + 1, key)
        return state, metrics

    return Learner(
        init=init,
        act=act,
        update=update,
        # Shaped rewards are not the returns that an evaluation sees.
        predict_returns=predict_returns if hasattr(critic, "distribution") and not config.shaping else None,
        initial_memory=actor_network.initial_memory,
        sweepable=frozenset({"epsilon", "learning_rate"} | measure_fields(target_measure)),
        rollout_steps=config.rollout_steps,
        num_envs=config.num_envs,
        gamma=config.gamma,
        action_probabilities=action_probabilities if isinstance(space, Discrete) else None,
    )


def _transitions(trajectory: Trajectory, gamma: float, shaping: float) -> Transitions:
    """Rewards after shaping, the discount of each next state, and whether the trajectory goes on there."""
    breaks = trajectory.terminated | trajectory.truncated[..., None]
    return Transitions(
        rewards=trajectory.rewards - shaping * trajectory.costs,
        discounts=gamma * (1.0 - trajectory.terminated),
        continues=1.0 - breaks,
    )


def _segments(x: jax.Array, length: int) -> jax.Array:
    """[T, B, ...] to [T/length * B, length, ...]: consecutive steps of one environment in a row."""
    time, batch, *rest = x.shape
    return x.reshape(time // length, length, batch, *rest).swapaxes(1, 2).reshape(-1, length, *rest)


def _mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted mean; 0 where nothing has weight."""
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1.0)


def _normalise(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Shift and scale to weighted mean 0 and standard deviation 1."""
    centred = values - _mean(values, weights)
    return centred / (jnp.sqrt(_mean(centred**2, weights)) + 1e-8)
